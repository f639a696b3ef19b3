//! `querent annotate`: behaviours to labels.

use std::path::Path;

use anyhow::Result;
use clap::Args;
use cleaner::annotate::{Annotate, Annotator, Endpoint, Label, LabelsFile, Sample};
use dataset::{Input, Origin, Summary};
use schemas::Events;
use serde::Serialize;

use crate::context::{ConfigError, Context, Shared};
use crate::output;

/// Label sampled behaviours as worth keeping or noise: what the cleaner learns from.
///
/// Reads events (as many behaviours of each domain, and in each of rare, repeated and frequent ones) or a labels file.
/// Writes labels, in place of those that there are. With a language model, answers are kept under _cache/annotate, so that nothing
/// is asked twice; its key is taken from the environment variable QUERENT_API_KEY.
#[derive(Debug, Args)]
pub(crate) struct Flags {
    #[command(flatten)]
    pub(crate) shared: Shared,
    #[command(flatten)]
    pub(crate) settings: Settings,
}

#[derive(Debug, Default, Args, Serialize)]
pub(crate) struct Settings {
    /// Who labels: rules (built in), file (--labels-file) or endpoint (--endpoint and --model) [default: rules]
    #[arg(long, value_name = "WHO")]
    annotator: Option<String>,
    /// Distinct behaviours to label [default: 4000]
    #[arg(long, value_name = "N")]
    sample: Option<usize>,
    /// Another seed, another sample [default: 0]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// TSV or CSV with a header line, or JSONL: text, label (1 keep, 0 noise) and perhaps domain (or source) and reason
    #[arg(long, value_name = "FILE")]
    labels_file: Option<String>,
    /// An OpenAI-compatible server, such as http://localhost:8000/v1
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    /// The model, as the server names it
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// Requests at a time [default: 8]
    #[arg(long, value_name = "N")]
    concurrency: Option<usize>,
    /// Seconds until a request is given up [default: 60]
    #[arg(long, value_name = "SECONDS")]
    timeout_s: Option<f64>,
    /// How often a request that is refused (429, 5xx) or times out is sent in all [default: 5]
    #[arg(long, value_name = "N")]
    attempts: Option<u32>,
    /// Let people's texts leave this machine
    #[arg(long)]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    allow_remote_text: bool,
}

pub(crate) fn main(flags: Flags) -> Result<()> {
    let Flags { shared, settings } = flags;
    output::print_all(&job(&Context::new(&shared)?, &settings)?)
}

pub(crate) fn job(context: &Context, flags: &Settings) -> Result<Vec<Summary>> {
    let settings: Annotate = context.settings("annotate", flags)?;
    let runner = &context.runner;
    let endpoint = match settings.annotator {
        Annotator::Endpoint => Some(Endpoint::new(&settings, &runner.store)?),
        _ => None,
    };
    let label = Label::new(&settings, endpoint.as_ref());
    let outputs = ["labels"];
    let summary = match settings.annotator {
        Annotator::File => {
            if settings.labels_file.is_empty() {
                return Err(ConfigError::new("[annotate]: labels_file: expected a file", "give --labels-file").into());
            }
            runner.run(&label, &LabelsFile::open(Path::new(&settings.labels_file))?, &outputs, Origin::default())?
        }
        _ => {
            let events = Input::<Events>::open(&runner.store, "events")?;
            let sample = Sample::new(events, settings.sample, settings.seed);
            // The endpoint's concurrency is its own.
            let threads = if endpoint.is_some() { 1 } else { runner.threads };
            let runner = dataset::Runner { threads, ..runner.clone() };
            runner.run(&label, &sample, &outputs, Origin { seed: Some(settings.seed), ..Origin::default() })?
        }
    };
    if let Some(endpoint) = &endpoint {
        let (requests, cached) = endpoint.traffic();
        output::note(&format!("annotate: {requests} requests sent, {cached} behaviours answered from the cache"))?;
    }
    Ok(vec![summary])
}
