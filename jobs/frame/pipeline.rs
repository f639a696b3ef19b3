//! `querent run`: a pipeline of jobs from one settings file.

use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use clap::{ArgMatches, Args};
use dataset::{Error, Kind, Result, Summary};

use super::context::{Common, RunSettings};
use super::{Commands, Context, Ready, Step, Tool, cli, find, jobs, output};

/// Run a pipeline: the jobs that the file's section run names, in order, skipping what is up to date.
///
/// Each job has a section with its settings. A step may have a name: generate@student has the settings of section generate and,
/// over them, of section generate.student, and writes interests.student. Ends with a table of stages: units in and out,
/// seconds. To spread work over processes, give --shard to each job by itself.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The pipeline, such as jobs/configs/demo.toml
    pipeline: PathBuf,
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    run: RunSettings,
}

impl Tool for Run {
    const NAME: &'static str = "run";

    fn run(&self, matches: &ArgMatches, commands: Commands) -> Result<()> {
        let Run { pipeline, common, run: _ } = self;
        let context = Context::of_pipeline(commands, pipeline, common, matches)?;
        let steps = &context.config().steps;
        if steps.is_empty() {
            let names: Vec<&str> = jobs(commands).map(|(name, _)| name).collect();
            let what = format!("{}: [run] jobs", pipeline.display());
            return Err(Error::setting(&what, "a list of jobs", "none", format!("some of {}", names.join(", "))));
        }
        // All settings are read and checked before anything runs: a mistake in the last section shows at once.
        let ready = steps
            .iter()
            .map(|step| {
                let job = settle(&context, step)?;
                job.check().map_err(|e| e.during(format!("step {step}")))?;
                Ok((context.of_step(step), job))
            })
            .collect::<Result<Vec<_>>>()?;
        cli::begin(&context.runner)?;
        run_all(&context, &ready)
    }
}

fn settle(context: &Context, step: &Step) -> Result<Box<dyn Ready>> {
    let job = find(context.config().commands, &step.job).expect("the steps were checked");
    (job.settle)(context.config(), step, None)
}

fn run_all(pipeline: &Context, ready: &[(Context, Box<dyn Ready>)]) -> Result<()> {
    let started = Instant::now();
    let dry_run = pipeline.runner.dry_run;
    let mut stages: Vec<Summary> = Vec::new();
    for (context, job) in ready {
        match job.run(context) {
            Ok(summaries) if dry_run => {
                let mut out = output::stdout();
                summaries.iter().try_for_each(|summary| output::print(&mut out, summary))?;
            }
            Ok(summaries) => stages.extend(summaries),
            // In a dry run the steps before it have written nothing for it to look at.
            Err(e) if dry_run && e.kind() == Kind::Missing => {
                let said = e.to_string();
                let missing = said.lines().next().unwrap_or_default();
                context.note(&format!("would run: its inputs are not there yet ({missing})"))?;
            }
            Err(e) => return Err(e.during(format!("step {}", context.step()))),
        }
    }
    if dry_run {
        return Ok(());
    }
    let mut out = output::stdout();
    output::stages(&mut out, &stages)?;
    for (context, job) in ready {
        job.show(context, &mut out)?;
    }
    let seconds = started.elapsed().as_secs_f64();
    writeln!(out, "\n{} stages in {seconds:.1} s; the datasets lie in {}", stages.len(), pipeline.store().root())?;
    Ok(())
}
