//! `querent embed`: articles to vectors.

use clap::Args;
use dataset::{Dataset, Result, Summary};
use news::NEWS_VECTORS;
use serde::{Deserialize, Serialize};

use crate::frame::{Context, Job};

/// Turn articles into vectors: a sentence encoder reads each title and abstract.
///
/// Reads news. Writes news_vectors. Only articles that are new, or whose text is, are put to the encoder. The encoder is a Hugging
/// Face folder (ONNX file, tokenizer.json, config.json) of a sentence-transformers model with mean pooling. A step embed@NAME writes
/// news_vectors.NAME, which steps index@NAME and retrieve@NAME read: another encoder beside the first.
#[derive(Debug, Args, Serialize, Deserialize)]
#[group(skip)]
pub(crate) struct Embed {
    #[command(flatten)]
    #[serde(flatten)]
    stage: news::Embed,
}

impl Job for Embed {
    const NAME: &'static str = "embed";
    const NAMED: bool = true;

    fn run(&self, context: &Context) -> Result<Vec<Summary>> {
        Ok(vec![context.run(&self.stage, &[NEWS_VECTORS])?])
    }
}

/// Whose vectors a step reads: those of the embed step of its own name, if there is such a step or were its vectors made; else embed's.
pub(crate) fn vectors(context: &Context) -> Result<Option<String>> {
    let Some(name) = &context.step().name else { return Ok(None) };
    let made = Dataset::new(context.store(), &context.dataset(NEWS_VECTORS)).current()?.is_some();
    Ok((made || context.has_step(&format!("{}@{name}", Embed::NAME))).then(|| name.clone()))
}
