//! `querent generate`: profiles to interests, by a language model.

use clap::Args;
use dataset::account::grouped;
use dataset::{Result, Summary};
use serde::{Deserialize, Serialize};

use crate::frame::{Context, Job};
use crate::index::popularity;

/// Write news search queries for every user: a language model reads their profile and answers with a list.
///
/// Reads profiles. Writes interests. The model is a Hugging Face folder or GGUF file of a chat model of the Llama or Qwen2 family, or a
/// checkpoint of ours. Only lists can come out of it, trained or not, so that models are compared under one regime (--constrained). Users
/// without behaviours get no prompt. The same model, profiles and seed give the same lists, however the work is cut.
///
/// With --samples N, N lists are written for each user, as the dataset samples, and interests has the one of the largest reward: best-of-N. Rewards
/// are those of the section score, whose settings count here too; they read news and news_vectors. --keep-all keeps all N with their rewards, of which
/// `querent retrieve --best-of n` takes the best of the first n. Other rewards choose among the same lists: none is written again. With --shard, the
/// lists come first: seal them with `querent commit samples`, then run the same shards again.
#[derive(Debug, Args, Serialize, Deserialize)]
#[group(skip)]
pub(crate) struct Generate {
    #[command(flatten)]
    #[serde(flatten)]
    stage: policy::Generate,
    #[command(flatten)]
    #[serde(flatten)]
    choice: reward::Choose,
}

const INTERESTS: &str = "interests";
const SAMPLES: &str = "samples";

impl Job for Generate {
    const NAME: &'static str = "generate";
    const SHARES: &'static [&'static str] = &["embed", "index", "score"];
    const NAMED: bool = true;

    fn check(&self) -> Result<()> {
        self.stage.check()?;
        self.choice.rewards.check(Self::NAME)
    }

    fn run(&self, context: &Context) -> Result<Vec<Summary>> {
        let stage = policy::Generate { policy: context.folder(&self.stage.policy)?, ..self.stage.clone() };
        if stage.samples <= 1 {
            return Ok(vec![written(context, &stage, INTERESTS)?]);
        }
        let choice = reward::Choose { lists: context.dataset(SAMPLES), ..self.choice.clone() };
        let mut summaries = popularity(context, choice.rewards.pool().reads_popularity())?;
        choice.ready(context.store())?;
        let lists = written(context, &stage, SAMPLES)?;
        let complete = lists.is_complete();
        summaries.push(lists);
        if complete {
            let chosen = context.run(&choice, &[INTERESTS])?;
            summaries.push(Summary { job: format!("{} best of {}", chosen.job, stage.samples), ..chosen });
        }
        Ok(summaries)
    }
}

/// Writes lists, and says how many keep the form.
fn written(context: &Context, stage: &policy::Generate, dataset: &str) -> Result<Summary> {
    let summary = context.run(stage, &[dataset])?;
    let count = |name: &str| summary.account.notes.get(name).copied().unwrap_or(0);
    let (valid, lists) = (count("valid lists"), count("lists"));
    if lists > 0 {
        let share = 100.0 * valid as f64 / lists as f64;
        context.note(&format!("{} of {} lists keep the form ({share:.1}%)", grouped(valid), grouped(lists)))?;
    }
    Ok(summary)
}
