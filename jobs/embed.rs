//! `querent embed`: articles to vectors.

use clap::Args;
use dataset::{Result, Summary};
use serde::{Deserialize, Serialize};

use crate::frame::{Context, Job};

/// Turn articles into vectors: a sentence encoder reads each title and abstract.
///
/// Reads news. Writes news_vectors. Only articles that are new, or whose text is, are put to the encoder. The encoder is a Hugging
/// Face folder (ONNX file, tokenizer.json, config.json) of a sentence-transformers model with mean pooling.
#[derive(Debug, Args, Serialize, Deserialize)]
pub(crate) struct Embed {
    #[command(flatten)]
    #[serde(flatten)]
    stage: news::Embed,
}

impl Job for Embed {
    const NAME: &'static str = "embed";

    fn run(&self, context: &Context) -> Result<Vec<Summary>> {
        Ok(vec![context.run(&self.stage, &["news_vectors"])?])
    }
}
