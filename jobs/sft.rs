//! `querent sft`: profiles and lists to a policy.

use std::path::PathBuf;

use clap::Args;
use dataset::{Result, Summary};
use serde::{Deserialize, Serialize};

use crate::frame::{Context, Job};
use crate::index::popularity;

/// Teach a policy to write lists, by showing it some: the warm start of grpo.
///
/// Reads profiles, news, news_vectors and clean_events (which articles are popular); with --lists interests.NAME. Writes a folder that is a policy, with train_log/ in it. The lists to
/// learn are made of each user's themes (content words of a behaviour of each theme; never a title word for word), or are those of another
/// model. Users of the split train are learnt from, those of valid say which checkpoint is kept, those of test are never seen. With
/// --init scratch a small policy is made from random weights, with --init pruned of some layers of a larger one. A killed run goes on from its last look.
#[derive(Debug, Args, Serialize, Deserialize)]
#[group(skip)]
pub(crate) struct Sft {
    /// The folder to write [default: policy.sft under --data]
    #[arg(long, value_name = "FOLDER")]
    #[serde(skip_serializing)]
    output: Option<PathBuf>,
    #[command(flatten)]
    #[serde(flatten)]
    artifact: training::Sft,
}

impl Job for Sft {
    const NAME: &'static str = "sft";
    const NAMED: bool = true;
    const SHARES: &'static [&'static str] = &["embed", "index", "score"];

    fn check(&self) -> Result<()> {
        self.artifact.check()
    }

    fn run(&self, context: &Context) -> Result<Vec<Summary>> {
        let mut summaries = popularity(context, self.artifact.rewards.pool().reads_popularity())?;
        let policy = match self.artifact.init {
            training::Init::Policy | training::Init::Pruned => context.folder(&self.artifact.policy)?,
            training::Init::Scratch => PathBuf::new(),
        };
        let vocabulary_of = self.artifact.vocabulary_of.as_ref().map(|path| context.folder(path)).transpose()?;
        let artifact = training::Sft { policy, vocabulary_of, ..self.artifact.clone() };
        summaries.push(context.make(&artifact, &self.folder(context)?)?);
        Ok(summaries)
    }

    fn target(&self, context: &Context) -> Result<Option<PathBuf>> {
        self.folder(context).map(Some)
    }
}

impl Sft {
    fn folder(&self, context: &Context) -> Result<PathBuf> {
        context.output(self.output.as_deref(), &context.dataset("policy.sft"))
    }
}
