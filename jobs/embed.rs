//! `querent embed`: articles to vectors; and the encoder that retrieval opens too.

use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use clap::Args;
use dataset::{Dataset, Input, Origin, Summary};
use news::{Articles, Embed, Fields};
use schemas::News;
use serde::{Deserialize, Serialize};
use text::{Encoder, EncoderOptions, ModelFolder};

use crate::context::{Context, Shared};
use crate::output;

/// Turn articles into vectors: a sentence encoder reads each title and abstract.
///
/// Reads news. Writes news_vectors. Only articles that are new, or whose text is, are put to the encoder. The encoder is a Hugging
/// Face folder (ONNX file, tokenizer.json, config.json) of a sentence-transformers model with mean pooling.
#[derive(Debug, Args)]
pub(crate) struct Flags {
    #[command(flatten)]
    pub(crate) shared: Shared,
    #[command(flatten)]
    pub(crate) encoder: EncoderFlags,
    #[command(flatten)]
    pub(crate) settings: Settings,
}

/// Which encoder, and how texts are put to it.
#[derive(Debug, Default, Clone, Args, Serialize)]
pub(crate) struct EncoderFlags {
    /// The encoder's folder [default: models/minilm, which `make setup` fetches]
    #[arg(long, value_name = "FOLDER")]
    model: Option<String>,
    /// The ONNX file in it, such as onnx/model.onnx [default: model.int8.onnx, else model.onnx]
    #[arg(long, value_name = "FILE")]
    onnx: Option<String>,
    /// Tokens of a text, at most [default: 256]
    #[arg(long, value_name = "N")]
    max_tokens: Option<usize>,
    /// Tokens of a batch, at most [default: 512]
    #[arg(long, value_name = "N")]
    batch_tokens: Option<usize>,
    /// What the model wants before a query, such as "query: " [default: nothing]
    #[arg(long, value_name = "TEXT")]
    query_prefix: Option<String>,
    /// What the model wants before an article, such as "passage: " [default: nothing]
    #[arg(long, value_name = "TEXT")]
    document_prefix: Option<String>,
}

#[derive(Debug, Default, Args, Serialize)]
pub(crate) struct Settings {
    /// What of an article is read: title, or title,abstract [default: title,abstract]
    #[arg(long, value_name = "FIELDS", value_parser = ["title", "title,abstract"])]
    fields: Option<String>,
}

/// `[embed]`, resolved.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Resolved {
    model: String,
    onnx: String,
    max_tokens: usize,
    batch_tokens: usize,
    query_prefix: String,
    document_prefix: String,
    fields: Fields,
}

impl Default for Resolved {
    fn default() -> Self {
        let EncoderOptions { max_tokens, batch_tokens, query_prefix, document_prefix } = EncoderOptions::default();
        Resolved {
            model: "models/minilm".into(),
            onnx: String::new(),
            max_tokens,
            batch_tokens,
            query_prefix,
            document_prefix,
            fields: Fields::default(),
        }
    }
}

/// Flags of `[embed]`: the encoder's and the job's own.
#[derive(Serialize)]
struct Both<'a> {
    #[serde(flatten)]
    encoder: &'a EncoderFlags,
    #[serde(flatten)]
    settings: &'a Settings,
}

pub(crate) fn main(flags: Flags) -> Result<()> {
    let Flags { shared, encoder, settings } = flags;
    output::print_all(&job(&Context::new(&shared)?, &encoder, &settings)?)
}

fn open(settings: Resolved) -> Result<Encoder> {
    let Resolved { model, onnx, max_tokens, batch_tokens, query_prefix, document_prefix, fields: _ } = settings;
    let options = EncoderOptions { max_tokens, batch_tokens, query_prefix, document_prefix };
    Ok(Encoder::open(ModelFolder::open(Path::new(&model), &onnx)?, options)?)
}

/// The encoder that the section `[embed]` and a job's flags name.
pub(crate) fn encoder(context: &Context, flags: &EncoderFlags) -> Result<Encoder> {
    open(context.settings("embed", flags)?)
}

pub(crate) fn job(context: &Context, encoder: &EncoderFlags, settings: &Settings) -> Result<Vec<Summary>> {
    let settings: Resolved = context.settings("embed", &Both { encoder, settings })?;
    let fields = settings.fields;
    let encoder = open(settings)?;
    let runner = &context.runner;
    let news = Input::<News>::open(&runner.store, "news")?;
    let source = Articles::new(news, &Dataset::new(&runner.store, "news_vectors"), encoder.name())?;
    let origin = Origin { models: encoder.digests().clone(), ..Origin::default() };
    let started = Instant::now();
    let summary = runner.run(&Embed::new(fields, &encoder), &source, &["news_vectors"], origin)?;
    output::inference("embed", "embedded", &encoder.timing(), started)?;
    Ok(vec![summary])
}
