//! What of a policy is trained.

use std::path::Path;

use clap::Args;
use dataset::Result;
use policy::{Lora, Model, Policy};
use serde::{Deserialize, Serialize};

use crate::candle;
use crate::checks::check;

/// All weights, or low-rank adapters beside them (Hu et al., 2021).
#[derive(Debug, Clone, PartialEq, Args, Serialize, Deserialize)]
#[serde(default)]
pub struct Adaptation {
    /// Rank of the low-rank adapters that are trained; 0: all weights are, as always from scratch and of a pruned model
    #[arg(long, value_name = "RANK", default_value_t = 16)]
    pub lora_rank: usize,
    /// The adapters' α: an update is scaled by α/rank
    #[arg(long, value_name = "ALPHA", default_value_t = 32.0)]
    pub lora_alpha: f64,
}

impl Default for Adaptation {
    fn default() -> Self {
        dataset::defaults()
    }
}

impl Adaptation {
    /// Errs when a setting makes no sense.
    pub(crate) fn check(&self, job: &str) -> Result<()> {
        let alpha = self.lora_alpha > 0.0 && self.lora_alpha.is_finite();
        check(job, &[("lora_alpha", alpha, "a number above 0", self.lora_alpha.to_string())])
    }

    /// A model to start from, with something to train. What adapters it came with are part of its weights then.
    pub(crate) fn start(&self, path: &Path, seed: u64) -> Result<Model> {
        let Model { policy, tokenizer } = Model::open(path)?;
        let mut policy = policy.merged().map_err(candle)?;
        self.prepare(&mut policy, seed)?;
        Ok(Model { policy, tokenizer })
    }

    fn prepare(&self, policy: &mut Policy, seed: u64) -> Result<()> {
        match self.lora_rank {
            0 => policy.train_all(),
            rank => policy.add_lora(Lora { rank, alpha: self.lora_alpha }, seed),
        }
        .map_err(candle)
    }
}
