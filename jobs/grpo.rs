//! `querent grpo`: profiles and rewards to a better policy.

use std::path::PathBuf;

use clap::Args;
use dataset::{Result, Summary};
use serde::{Deserialize, Serialize};

use crate::frame::{Context, Job};
use crate::index::popularity;

/// Train a policy by its rewards: Dr.GRPO.
///
/// Reads profiles, news, news_vectors and clean_events (which articles are popular). Writes a folder that is a policy, with
/// train_log/ (a row per step and figure) and rollouts/ (every list, with its tokens, scores and advantage) in it. Each step samples a group of lists for some users, scores them as the section score says, and
/// makes likelier what is better than its group's mean. Users of the split train are learnt from; after every few steps those of valid say
/// how good the policy is, and the best checkpoint is the one that is kept; users of test are never seen. A killed run goes on from its last
/// look, and ends with the same weights to the bit.
#[derive(Debug, Args, Serialize, Deserialize)]
#[group(skip)]
pub(crate) struct Grpo {
    /// The folder to write [default: policy.grpo under --data]
    #[arg(long, value_name = "FOLDER")]
    #[serde(skip_serializing)]
    output: Option<PathBuf>,
    #[command(flatten)]
    #[serde(flatten)]
    artifact: training::TrainGrpo,
}

impl Job for Grpo {
    const NAME: &'static str = "grpo";
    const NAMED: bool = true;
    const SHARES: &'static [&'static str] = &["embed", "index", "score"];

    fn check(&self) -> Result<()> {
        self.artifact.check()
    }

    fn run(&self, context: &Context) -> Result<Vec<Summary>> {
        let mut summaries = popularity(context, self.artifact.rewards.pool().reads_popularity())?;
        let policy = context.folder(&self.artifact.policy)?;
        let artifact = training::TrainGrpo { policy, ..self.artifact.clone() };
        summaries.push(context.make(&artifact, &self.folder(context)?)?);
        Ok(summaries)
    }

    fn target(&self, context: &Context) -> Result<Option<PathBuf>> {
        self.folder(context).map(Some)
    }
}

impl Grpo {
    fn folder(&self, context: &Context) -> Result<PathBuf> {
        context.output(self.output.as_deref(), &context.dataset("policy.grpo"))
    }
}
