//! `querent run`: a pipeline of jobs from one TOML file.

use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::Result;
use clap::Args;
use dataset::{Outcome, Summary};

use crate::context::{ConfigError, Context, JOBS, KeyFlags, Shared};
use crate::embed::EncoderFlags;
use crate::output::{self, grouped};
use crate::{
    annotate, cap, clean, embed, evaluate, generate, index, ingest, report, retrieve, simulate, statistics,
    train_cleaner,
};

/// Run a pipeline: the jobs that the file's section run names, in order, skipping what is up to date.
///
/// Each job has a section with its settings. Ends with a table of stages: units in and out, seconds.
#[derive(Debug, Args)]
pub(crate) struct Flags {
    /// The pipeline, such as jobs/configs/demo.toml
    pipeline: PathBuf,
    #[command(flatten)]
    shared: Shared,
    #[command(flatten)]
    key: KeyFlags,
}

pub(crate) fn main(flags: Flags) -> Result<()> {
    let Flags { pipeline, mut shared, key } = flags;
    if shared.config.is_some() {
        return Err(ConfigError::new("--config: the pipeline's file is the configuration", "leave it out").into());
    }
    shared.config = Some(pipeline);
    let context = Context::new(&shared)?;
    if context.runner.shard.is_some() {
        let hint = "give --shard to each job by itself, and seal each with `querent commit`";
        return Err(ConfigError::new("--shard: a pipeline cannot be sharded", hint).into());
    }
    if context.run.jobs.is_empty() {
        return Err(
            ConfigError::new("[run]: jobs: expected a list of jobs", format!("some of {}", JOBS.join(", "))).into()
        );
    }
    if let Some(unknown) = context.run.jobs.iter().find(|job| !JOBS.contains(&job.as_str())) {
        return Err(ConfigError::new(format!("[run]: jobs: {unknown:?} is no job"), JOBS.join(", ")).into());
    }
    let started = Instant::now();
    let mut stages: Vec<Summary> = Vec::new();
    for name in &context.run.jobs {
        let summaries = match name.as_str() {
            "simulate" => simulate::job(&context, &key, &simulate::Settings::default()),
            "ingest" => ingest::job(&context, &key, &ingest::Settings::default()),
            "annotate" => annotate::job(&context, &annotate::Settings::default()),
            "train-cleaner" => train_cleaner::job(&context, &train_cleaner::Settings::default()).map(|()| Vec::new()),
            "clean" => clean::job(&context, &clean::Settings::default()),
            "cap" => cap::job(&context, &cap::Settings::default()),
            "statistics" => statistics::job(&context),
            "embed" => embed::job(&context, &EncoderFlags::default(), &embed::Settings::default()),
            "index" => index::job(&context, &EncoderFlags::default(), &index::Settings::default(), false),
            "generate" => generate::job(&context, &generate::Settings::default()),
            "retrieve" => {
                let (encoder, pool) = (EncoderFlags::default(), index::PoolFlags::default());
                retrieve::job(&context, &encoder, &pool, &retrieve::Settings::default())
            }
            "evaluate" => evaluate::job(&context, &evaluate::Settings::default()),
            "report" => report::job(&context, &report::Settings::default()).map(|()| Vec::new()),
            other => unreachable!("{other} is checked above"),
        };
        match summaries {
            Ok(summaries) => stages.extend(summaries),
            // In a dry run the jobs before it have written nothing for it to look at.
            Err(e) if context.runner.dry_run && is_missing(&e) => {
                writeln!(std::io::stdout(), "{name}: would run: its inputs are not there yet")?;
            }
            Err(e) => return Err(e.context(format!("job {name}"))),
        }
    }
    let mut out = std::io::stdout().lock();
    if context.runner.dry_run {
        return stages.iter().try_for_each(|stage| output::print(&mut out, stage));
    }
    let mut rows =
        vec![["stage", "unit", "in", "out", "dropped", "set aside", "seconds", ""].map(str::to_owned).to_vec()];
    for stage in &stages {
        let account = &stage.account;
        let cells = [
            stage.unit.clone(),
            grouped(account.input),
            grouped(account.output),
            grouped(account.dropped.values().sum()),
            grouped(account.bad()),
            format!("{:.1}", stage.seconds),
            if stage.outcome == Outcome::UpToDate { "up to date".into() } else { String::new() },
        ];
        rows.push(std::iter::once(stage.job.clone()).chain(cells).collect());
    }
    output::table(&mut out, &rows)?;
    if context.run.jobs.iter().any(|job| job == "statistics") {
        statistics::print(&context, &mut out)?;
    }
    if context.run.jobs.iter().any(|job| job == "evaluate") {
        evaluate::print(&context, &mut out)?;
    }
    writeln!(
        out,
        "\n{} stages in {:.1} s; the datasets lie in {}",
        stages.len(),
        started.elapsed().as_secs_f64(),
        context.runner.store.root()
    )?;
    Ok(())
}

fn is_missing(e: &anyhow::Error) -> bool {
    matches!(e.downcast_ref::<dataset::Error>(), Some(dataset::Error::Missing { .. } | dataset::Error::NoFiles { .. }))
}
