//! `querent export`: a policy as a Hugging Face folder.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use policy::Model;

use crate::output;

/// Write a policy as a Hugging Face folder, which transformers and vLLM load.
///
/// Reads a checkpoint (data/teacher/step=000120), a GGUF file or a Hugging Face folder. Writes config.json, model.safetensors in float32,
/// with adapters merged in, and the tokenizer. The folder must not be there yet; it appears whole.
#[derive(Debug, Args)]
pub(crate) struct Flags {
    /// The model
    policy: PathBuf,
    /// The folder to write
    folder: PathBuf,
}

pub(crate) fn main(flags: &Flags) -> Result<()> {
    let Flags { policy, folder } = flags;
    let model = Model::open(policy)?;
    ::policy::export(&model, folder)?;
    output::note(&format!("export: {}", folder.display()))
}
