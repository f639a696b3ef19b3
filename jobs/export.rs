//! `querent export`: a policy as a Hugging Face folder.

use std::path::PathBuf;

use clap::Args;
use dataset::{Error, Result, Summary};
use serde::{Deserialize, Serialize};

use crate::frame::{Context, Job};

/// Write a policy as a Hugging Face folder, which transformers and vLLM load.
///
/// Reads a policy (the name of the step that made it, or its folder, such as data/policy.grpo), a GGUF file or a Hugging Face folder.
/// Writes config.json, model.safetensors in float32, with adapters merged in, and the tokenizer. The folder appears whole.
#[derive(Debug, Args, Serialize, Deserialize)]
pub(crate) struct Export {
    /// The model: a path, or a step that makes one
    policy: Option<PathBuf>,
    /// The folder to write
    folder: Option<PathBuf>,
    /// Where the base of a checkpoint of adapters lies, if it is not where it was
    #[arg(long, value_name = "PATH")]
    base: Option<PathBuf>,
}

impl Job for Export {
    const NAME: &'static str = "export";
    const NAMED: bool = true;

    fn run(&self, context: &Context) -> Result<Vec<Summary>> {
        let (Some(policy), Some(folder)) = (&self.policy, &self.folder) else {
            let hint = "for example: querent export grpo models/student";
            return Err(Error::setting("export", "a policy and a folder to write", "none", hint));
        };
        let artifact = policy::Export { policy: context.folder(policy)?, base: self.base.clone() };
        Ok(vec![context.make(&artifact, folder)?])
    }

    fn target(&self, _: &Context) -> Result<Option<PathBuf>> {
        Ok(self.folder.clone())
    }
}
