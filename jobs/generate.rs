//! `querent generate`: profiles to interests, by a language model.

use clap::Args;
use dataset::account::grouped;
use dataset::{Result, Summary};
use serde::{Deserialize, Serialize};

use crate::frame::{Context, Job};

/// Write news search queries for every user: a language model reads their profile and answers with a list.
///
/// Reads profiles. Writes interests. The model is a Hugging Face folder or GGUF file of a chat model of the Llama or Qwen2 family, or a
/// checkpoint of ours. Only lists can come out of it, trained or not, so that models are compared under one regime (--constrained). Users
/// without behaviours get no prompt. The same model, profiles and seed give the same lists, however the work is cut.
#[derive(Debug, Args, Serialize, Deserialize)]
#[group(skip)]
pub(crate) struct Generate {
    #[command(flatten)]
    #[serde(flatten)]
    stage: policy::Generate,
}

impl Job for Generate {
    const NAME: &'static str = "generate";
    const NAMED: bool = true;

    fn run(&self, context: &Context) -> Result<Vec<Summary>> {
        let stage = policy::Generate { policy: context.folder(&self.stage.policy)?, ..self.stage.clone() };
        let summary = context.run(&stage, &["interests"])?;
        let count = |name: &str| summary.account.notes.get(name).copied().unwrap_or(0);
        let (valid, lists) = (count("valid lists"), count("lists"));
        if lists > 0 {
            let share = 100.0 * valid as f64 / lists as f64;
            context.note(&format!("{} of {} lists keep the form ({share:.1}%)", grouped(valid), grouped(lists)))?;
        }
        Ok(vec![summary])
    }
}
