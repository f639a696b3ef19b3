//! `querent annotate`: behaviours to labels.

use clap::Args;
use dataset::{Result, Summary};
use serde::{Deserialize, Serialize};

use crate::frame::{Context, Job};

/// Label sampled behaviours as worth keeping or noise: what the cleaner learns from.
///
/// Reads events (as many behaviours of each domain, and in each of rare, repeated and frequent ones) or a labels file.
/// Writes labels, in place of those that there are. With a language model, answers are kept under _cache/annotate, so that nothing
/// is asked twice; its key is taken from the environment variable QUERENT_API_KEY. What the server refuses to judge, or answers with
/// nonsense, is counted and has no label. What it fails to answer is an error, once all else has been asked: the next run asks for the rest.
#[derive(Debug, Args, Serialize, Deserialize)]
#[group(skip)]
pub(crate) struct Annotate {
    #[command(flatten)]
    #[serde(flatten)]
    stage: cleaner::annotate::Annotate,
}

impl Job for Annotate {
    const NAME: &'static str = "annotate";

    fn check(&self) -> Result<()> {
        self.stage.check()
    }

    fn run(&self, context: &Context) -> Result<Vec<Summary>> {
        Ok(vec![context.run(&self.stage, &["labels"])?])
    }
}
