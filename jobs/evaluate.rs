//! `querent evaluate`: recommendations against what users read next.

use std::io::Write;

use ::report::{measures, slices};
use anyhow::Result;
use clap::Args;
use dataset::{Dataset, Origin, Outcome, Summary};
use metrics::{Among, Averages, Evaluate, Judgements, Summarise};
use serde::{Deserialize, Serialize};

use crate::context::{ConfigError, Context, Shared};
use crate::output;

/// Compare what methods recommend with what users clicked in the window.
///
/// Reads truth, profiles and the datasets recommendations.METHOD. Writes user_metrics (sql/metrics.sql), metrics
/// (sql/averages.sql, with 95% intervals) and comparisons of every two methods on the same users. Prints the metrics.
#[derive(Debug, Args)]
pub(crate) struct Flags {
    #[command(flatten)]
    pub(crate) shared: Shared,
    #[command(flatten)]
    pub(crate) settings: Settings,
}

#[derive(Debug, Default, Args, Serialize)]
pub(crate) struct Settings {
    /// Methods to compare, with commas between [default: all there are]
    #[arg(long, value_name = "METHODS", value_delimiter = ',')]
    methods: Option<Vec<String>>,
    /// Ranks at which lists are cut [default: 5,10]
    #[arg(long, value_name = "RANKS", value_delimiter = ',')]
    cuts: Option<Vec<u32>>,
    /// Also recall by what a list of k can reach
    #[arg(long)]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    recall_capped: bool,
    /// Also MIND's own reciprocal rank
    #[arg(long)]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    mrr_mind: bool,
    /// Users who count, for every method alike: all with clicks in the window, or only those that interests names, where not all
    /// were asked for lists [default: all]
    #[arg(long, value_name = "USERS", value_parser = ["all", "interests"])]
    among: Option<String>,
    /// Resamples of intervals and tests [default: 10000]
    #[arg(long, value_name = "N")]
    resamples: Option<usize>,
    /// Seed of the resampling [default: 1]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// More users get normal intervals and z-tests, which are faster and then as good [default: 50000]
    #[arg(long, value_name = "USERS")]
    resample_up_to: Option<u64>,
}

/// `[evaluate]`, resolved.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Resolved {
    methods: Vec<String>,
    cuts: Vec<u32>,
    recall_capped: bool,
    mrr_mind: bool,
    among: Among,
    resamples: usize,
    seed: u64,
    resample_up_to: u64,
}

impl Default for Resolved {
    fn default() -> Self {
        let Evaluate { cuts, recall_capped, mrr_mind, among } = Evaluate::default();
        let Summarise { resamples, seed, resample_up_to } = Summarise::default();
        Resolved { methods: Vec::new(), cuts, recall_capped, mrr_mind, among, resamples, seed, resample_up_to }
    }
}

pub(crate) fn main(flags: Flags) -> Result<()> {
    let Flags { shared, settings } = flags;
    let context = Context::new(&shared)?;
    output::print_all(&job(&context, &settings)?)?;
    print(&context, &mut std::io::stdout().lock())
}

const PREFIX: &str = "recommendations.";

pub(crate) fn job(context: &Context, flags: &Settings) -> Result<Vec<Summary>> {
    let settings: Resolved = context.settings("evaluate", flags)?;
    let runner = &context.runner;
    let mut methods = settings.methods;
    if methods.is_empty() {
        for folder in runner.store.folders()? {
            // Work that was never committed leaves a folder too.
            if let Some(method) = folder.strip_prefix(PREFIX)
                && Dataset::new(&runner.store, &folder).current()?.is_some()
            {
                methods.push(method.to_owned());
            }
        }
    }
    methods.sort_unstable();
    methods.dedup();
    if methods.is_empty() {
        let what = format!("{}: there are no recommendations", runner.store.root());
        return Err(ConfigError::new(what, "run `querent retrieve` first").into());
    }
    let Resolved { cuts, recall_capped, mrr_mind, among, .. } = settings;
    let evaluate = Evaluate { cuts, recall_capped, mrr_mind, among }.checked()?;
    let source = Judgements::open(&runner.store, &methods, among)?;
    let judged = runner.run(&evaluate, &source, &["user_metrics"], Origin::default())?;
    if matches!(judged.outcome, Outcome::ShardDone | Outcome::WouldRun(_)) {
        return Ok(vec![judged]);
    }
    let users = judged.account.output;
    for method in &methods {
        let listed = judged.account.notes.get(&format!("with a list of {method}")).copied().unwrap_or(0);
        if 2 * listed < users && listed > 0 {
            let (listed, users) = (output::grouped(listed), output::grouped(users));
            let hint = match among {
                Among::All => "; --among interests compares on those who were asked for lists",
                Among::Interests => "",
            };
            output::note(&format!(
                "evaluate: {method} has lists for {listed} of {users} users, and counts 0 for the others{hint}"
            ))?;
        }
        // A method that has a list for no reader is a mistake, not a bad method.
        if users > 0 && listed == 0 {
            let what = format!("expected lists for some of the {users} users with truth, got none");
            let hint = "are its users those of this ingest? `querent inspect` shows both; --methods leaves it out";
            return Err(dataset::Error::unreadable(format!("recommendations.{method}"), what, hint).into());
        }
    }
    let summarise =
        Summarise { resamples: settings.resamples, seed: settings.seed, resample_up_to: settings.resample_up_to };
    let averages = Averages::open(&runner.store, runner.memory_limit)?;
    let unsharded = dataset::Runner { shard: None, ..runner.clone() };
    let summarised = unsharded.run(&summarise, &averages, &["metrics", "comparisons"], Origin::default())?;
    Ok(vec![judged, summarised])
}

/// Prints the metrics, if there are any: a table per slice.
pub(crate) fn print(context: &Context, out: &mut impl Write) -> Result<()> {
    let measures = measures(&context.runner.store)?;
    for (slice, users) in slices(&measures) {
        let mut names: Vec<String> = Vec::new();
        let mut table: Vec<Vec<String>> = Vec::new();
        for measure in measures.iter().filter(|measure| measure.slice == slice) {
            if !names.contains(&measure.metric) {
                names.push(measure.metric.clone());
            }
            if table.last().is_none_or(|line| line[0] != measure.method) {
                table.push(vec![measure.method.clone()]);
            }
            let cell = format!("{:.4} ({:.4} to {:.4})", measure.value, measure.low, measure.high);
            table.last_mut().into_iter().for_each(|line| line.push(cell.clone()));
        }
        let heading = format!("{slice}: {} users", output::grouped(users));
        table.insert(0, std::iter::once(heading).chain(names).collect());
        writeln!(out)?;
        output::table(out, &table)?;
    }
    Ok(())
}
