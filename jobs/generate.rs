//! `querent generate`: profiles to interests, by a language model.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::Result;
use arrow::array::StringArray;
use clap::Args;
use dataset::plan::digest;
use dataset::{Input, Origin, Outcome, Progress, Rows, Runner, Source, Style, Summary};
use policy::{
    Adapters, Generate, GenerateSettings, Model, Snapshot, Spent, StructureAlone, TEMPLATE, Template, Watch, Writer,
    asked,
};
use schemas::Profiles;
use serde::Serialize;

use crate::context::{ConfigError, Context, Shared};
use crate::output::{self, grouped};

/// Write news search queries for every user: a language model reads their profile and answers with a list.
///
/// Reads profiles. Writes interests. The model is a Hugging Face folder or GGUF file of a chat model of the Llama or Qwen2 family, or a
/// checkpoint of ours. Of a model that was not trained to write lists only lists can come out (--constrained). Users without behaviours
/// get no prompt. The same model, profiles and seed give the same lists, however the work is cut.
#[derive(Debug, Args)]
pub(crate) struct Flags {
    #[command(flatten)]
    pub(crate) shared: Shared,
    #[command(flatten)]
    pub(crate) settings: Settings,
}

#[derive(Debug, Default, Args, Serialize)]
pub(crate) struct Settings {
    /// The model [default: models/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf, which `make setup` fetches]
    #[arg(long, value_name = "PATH")]
    policy: Option<PathBuf>,
    /// The prompt's template [default: pipeline/policy/prompt.toml, which is built in]
    #[arg(long, value_name = "FILE")]
    prompt: Option<PathBuf>,
    /// Queries in a list [default: 5]
    #[arg(long, value_name = "N")]
    queries: Option<usize>,
    /// Lists per user, of which the best is chosen [default: 1]
    #[arg(long, value_name = "N")]
    samples: Option<usize>,
    /// Keep all lists, not only the chosen one
    #[arg(long)]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    keep_all: bool,
    /// Whether the model thinks before it writes: none, or brief (a sentence or two) [default: none]
    #[arg(long, value_name = "HOW", value_parser = ["none", "brief"])]
    reasoning: Option<String>,
    /// Whether only lists can come out [default: true for models that were not trained here]
    #[arg(long, value_name = "true|false")]
    constrained: Option<bool>,
    /// Tokens of a user's behaviours in the prompt; the oldest are left out [default: 256]
    #[arg(long, value_name = "N")]
    budget_tokens: Option<usize>,
    /// Tokens of an answer, at most [default: 64]
    #[arg(long, value_name = "N")]
    max_new_tokens: Option<usize>,
    /// Larger is more varied; 0 always takes the most likely token [default: 0.7]
    #[arg(long, value_name = "T")]
    temperature: Option<f32>,
    /// Draw from the most likely tokens that together have this probability [default: 0.9]
    #[arg(long, value_name = "P")]
    top_p: Option<f32>,
    /// Draw from so many of the most likely tokens; 0: all [default: 0]
    #[arg(long, value_name = "N")]
    top_k: Option<usize>,
    /// Share of the users outside the test split who get lists; test users always do [default: 1]
    #[arg(long, value_name = "SHARE")]
    share: Option<f64>,
    /// Another seed, other lists [default: 1]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

pub(crate) fn main(flags: Flags) -> Result<()> {
    let Flags { shared, settings } = flags;
    output::print_all(&job(&Context::new(&shared)?, &settings)?)
}

pub(crate) fn job(context: &Context, flags: &Settings) -> Result<Vec<Summary>> {
    let settings: GenerateSettings = context.settings("generate", flags)?;
    settings.check()?;
    let template = match &settings.prompt {
        Some(path) => std::fs::read_to_string(path).map_err(|e| {
            ConfigError::new(
                format!("{}: {e}", path.display()),
                "--prompt takes a template like pipeline/policy/prompt.toml",
            )
        })?,
        None => TEMPLATE.to_owned(),
    };
    let (digest, template) = (digest(&template.as_str().into()), Template::parse(&template)?);
    let profiles = Input::<Profiles>::open(&context.runner.store, "profiles")?;
    let Model { policy, tokenizer, digests, trained } = Model::open(&settings.policy)?;
    let snapshot = Snapshot::new(&policy, Adapters::On)?;
    drop(policy); // the snapshot is all that rollouts need
    let grammar = Writer::grammar(&tokenizer, trained, &template, &settings);
    let writer = Writer::new(&tokenizer, &snapshot, grammar.as_ref(), &template, &settings, context.runner.threads)?;
    let live = Live::new(&profiles, &settings, context.runner.progress)?;
    let stage = Generate {
        constrained: grammar.is_some(),
        template: digest,
        policy: name(&settings.policy),
        writer: &writer,
        score: &StructureAlone,
        watch: &live,
        settings,
    };
    let origin = Origin { models: digests, seed: Some(stage.settings.seed), ..Origin::default() };
    // One partition at a time: the model has all threads for it, and its own progress.
    let runner = Runner { threads: 1, progress: Style::Silent, ..context.runner.clone() };
    let started = Instant::now();
    let summary = runner.run(&stage, &profiles, &["interests"], origin)?;
    live.finish(started)?;
    let notes = &summary.account.notes;
    let count = |name: &str| notes.get(name).copied().unwrap_or(0);
    if !matches!(summary.outcome, Outcome::WouldRun(_)) && count("lists") > 0 {
        output::note(&format!(
            "generate: {} of {} lists keep the form ({:.1}%)",
            grouped(count("valid lists")),
            grouped(count("lists")),
            100.0 * count("valid lists") as f64 / count("lists") as f64
        ))?;
    }
    Ok(vec![summary])
}

/// What `interests.policy` calls a model: its file's or folder's name, a checkpoint's with the run's.
fn name(path: &Path) -> String {
    let path = &path.canonicalize().unwrap_or_else(|_| path.into());
    let last = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    match path.parent() {
        Some(parent) if last(path).starts_with("step=") => format!("{}/{}", last(parent), last(path)),
        _ => last(path),
    }
}

/// Progress by user, with tokens per second, while partitions are in work.
struct Live {
    progress: Progress,
    /// Users asked for before each partition.
    before: Vec<u64>,
    state: Mutex<(u64, Spent)>,
}

impl Live {
    fn new(profiles: &Input<Profiles>, settings: &GenerateSettings, style: Style) -> Result<Self> {
        let columns = profiles.reopen().columns(&["user_id", "split"]);
        let (mut before, mut users) = (Vec::new(), 0);
        for partition in 0..columns.partitions() {
            before.push(users);
            for batch in columns.read(partition)?.batches() {
                let ids = Rows::<Profiles>::column::<StringArray>(batch, "user_id")?;
                let splits = Rows::<Profiles>::column::<StringArray>(batch, "split")?;
                for row in 0..batch.num_rows() {
                    users += u64::from(asked(ids.value(row), splits.value(row), settings.share)?);
                }
            }
        }
        Ok(Live { progress: Progress::new("generate", "tokens", users, style), before, state: Mutex::default() })
    }

    /// Says how fast it was.
    fn finish(self, started: Instant) -> Result<()> {
        let Live { progress, state, .. } = self;
        drop(progress);
        let (_, spent) = state.into_inner().unwrap_or_else(PoisonError::into_inner);
        if spent.users == 0 {
            return Ok(());
        }
        let rate = |tokens: u64, time: std::time::Duration| tokens as f64 / time.as_secs_f64().max(1e-9);
        output::note(&format!(
            "generate: {} users, {:.2} users/s; prompts: {} tokens, {:.0} tokens/s; answers: {} tokens, {:.0} tokens/s",
            grouped(spent.users),
            spent.users as f64 / started.elapsed().as_secs_f64(),
            grouped(spent.prompt_tokens),
            rate(spent.prompt_tokens, spent.prompts),
            grouped(spent.sampled_tokens),
            rate(spent.sampled_tokens, spent.sampling),
        ))
    }
}

impl Watch for Live {
    fn partition(&self, partition: u32) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.before.get(partition as usize).copied().unwrap_or(0);
        // Partitions that were done before, or are another shard's, are passed over.
        self.progress.skip(before.saturating_sub(state.0));
        state.0 = before.max(state.0);
    }

    fn spent(&self, spent: Spent) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.0 += spent.users;
        state.1 += spent;
        self.progress.advance(spent.users, spent.prompt_tokens + spent.sampled_tokens);
    }
}
