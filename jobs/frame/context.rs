//! A job's surroundings: the settings and flags that all jobs share, and from both a runner.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use clap::builder::Resettable;
use clap::{ArgMatches, Args, Command, FromArgMatches};
use dataset::{
    Artifact, Error, KeySource, Outcome, Resources, Result, Runner, Shard, Stage, Store, Style, Summary, parse_bytes,
};
use serde::{Deserialize, Serialize};

use super::config::{Config, RUN};
use super::{Commands, Job, Step, find, layers, output};

/// `[run]`: what all jobs share, and the pipeline.
#[derive(Debug, Clone, Args, Serialize, Deserialize)]
#[command(next_help_heading = "What all jobs share, on the command line or in [run]")]
pub(crate) struct RunSettings {
    /// Root of the datasets: a folder (or s3://bucket/prefix, when built with the feature s3)
    #[arg(long, value_name = "ROOT", env = "QUERENT_DATA", default_value = "data")]
    pub(crate) data: String,
    /// Threads, for everything [default: all cores]
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// Memory for the partitions in work together
    #[arg(long, value_name = "BYTES", default_value = "2GiB")]
    memory_limit: String,
    /// Fail when a larger share of the input cannot be read
    #[arg(long, value_name = "SHARE", default_value_t = 0.01, value_parser = share)]
    max_bad_ratio: f64,
    /// Versions before the current one to keep, for slow readers and for looking back
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) keep_versions: usize,
    /// File with the secret that keys user ids [default: the environment variable QUERENT_USER_KEY]
    #[arg(long, value_name = "FILE")]
    user_key_file: Option<PathBuf>,
    /// The pipeline's steps, in order ([`Config`] reads them).
    #[arg(skip)]
    jobs: Vec<String>,
    /// How often steps run whose names end in `-sN`, with another seed each.
    #[arg(skip)]
    seeds: u64,
}

/// What only the command line may say.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "What all jobs share")]
pub(crate) struct Common {
    /// One setting, such as cap.events_per_domain=20; may be repeated
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Say what would run and why; write nothing
    #[arg(long)]
    dry_run: bool,
    /// No progress
    #[arg(long)]
    quiet: bool,
    /// Key user ids with a key that everybody knows: for simulated and public data only
    #[arg(long)]
    insecure_dev_key: bool,
}

/// What only a job by itself may be told.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "What all jobs share")]
struct Alone {
    /// Settings file: a section per job, and one named run for what all share (see jobs/configs/)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Work on every N-th partition only, from the I-th, and do not commit: `querent commit` seals the run when all
    /// shards are done
    #[arg(long, value_name = "I/N")]
    shard: Option<Shard>,
}

/// Keys that no section has.
pub(crate) const FLAGS_ONLY: [&str; 6] = ["set", "dry_run", "quiet", "insecure_dev_key", "config", "shard"];

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse::<f64>().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "expected a share from 0 to 1".into())
}

/// A job's arguments: its own, then the shared ones.
pub(crate) fn command_of_job<J: Job>() -> Command {
    let own = J::augment_args(Command::new(J::NAME));
    let (about, long_about) = (own.get_about().cloned(), own.get_long_about().cloned());
    // The docs of structs that are flattened into others are no job's.
    let command = RunSettings::augment_args(Common::augment_args(Alone::augment_args(own)));
    command.about(Resettable::from(about)).long_about(Resettable::from(long_about))
}

/// More threads than any machine has cores for: starting them would take minutes.
const MOST_THREADS: usize = 4096;

impl RunSettings {
    /// `[run]`, under the flags.
    pub(crate) fn resolve(config: &Config, matches: &ArgMatches) -> Result<Self> {
        layers::resolve(config, &[RUN], None, matches)
    }

    /// What may be used of the machine, which every pool of threads is told.
    fn runner(&self, common: &Common, shard: Option<Shard>) -> Result<Runner> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = self.threads.map_or(cores, usize::from);
        if threads > MOST_THREADS {
            return Err(Error::setting(
                "--threads",
                format!("at most {MOST_THREADS}"),
                threads,
                "leave it out for all cores",
            ));
        }
        let resources = Resources {
            store: Store::open(&self.data)?,
            threads,
            memory_limit: parse_bytes(&self.memory_limit)?,
            max_bad_ratio: self.max_bad_ratio,
            progress: if common.quiet { Style::Silent } else { Style::Auto },
            user_key: KeySource { file: self.user_key_file.clone(), insecure_dev_key: common.insecure_dev_key },
        };
        Ok(Runner {
            resources,
            shard,
            dry_run: common.dry_run,
            keep_versions: self.keep_versions,
            git_revision: env!("QUERENT_GIT_REVISION").into(),
        })
    }
}

/// A job's surroundings.
#[derive(Clone)]
pub(crate) struct Context {
    config: Arc<Config>,
    /// The step at work.
    step: Step,
    /// The runner, after flags and file.
    pub(crate) runner: Runner,
}

impl Context {
    /// A job's by itself, from its command line.
    pub(crate) fn of_job(commands: Commands, step: Step, matches: &ArgMatches) -> Result<Self> {
        let alone = Alone::from_arg_matches(matches).map_err(layers::unparsed)?;
        let common = Common::from_arg_matches(matches).map_err(layers::unparsed)?;
        let config = Config::read(commands, alone.config.as_deref(), &common.set, Some(step.clone()))?;
        let runner = RunSettings::resolve(&config, matches)?.runner(&common, alone.shard)?;
        Ok(Context { config: Arc::new(config), step, runner })
    }

    /// A pipeline's, whose steps take it from here.
    pub(crate) fn of_pipeline(commands: Commands, file: &Path, common: &Common, matches: &ArgMatches) -> Result<Self> {
        let config = Config::read(commands, Some(file), &common.set, None)?;
        let runner = RunSettings::resolve(&config, matches)?.runner(common, None)?;
        Ok(Context { config: Arc::new(config), step: Step::of(RUN), runner })
    }

    /// The configuration.
    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// The step at work.
    pub(crate) fn step(&self) -> &Step {
        &self.step
    }

    /// The same surroundings, for another step.
    pub(crate) fn of_step(&self, step: &Step) -> Self {
        Context { step: step.clone(), ..self.clone() }
    }

    /// The same, for what all steps of the job share: datasets without the step's name.
    pub(crate) fn unnamed(&self) -> Self {
        self.of_step(&Step::of(&self.step.job))
    }

    /// The same, for what is too small to be sharded: every process makes it whole, and the first one wins.
    pub(crate) fn unsharded(&self) -> Self {
        Context { runner: self.runner.unsharded(), ..self.clone() }
    }

    /// The datasets' store.
    pub(crate) fn store(&self) -> &Store {
        self.runner.store()
    }

    /// What this step calls a dataset that its job writes: `interests`, or `interests.student`.
    pub(crate) fn dataset(&self, name: &str) -> String {
        self.step.named(name)
    }

    /// The folder of an artifact: where `--output` says, else `name` under the root.
    ///
    /// # Errors
    /// When nothing is said, and the root is no folder of this machine.
    pub(crate) fn output(&self, said: Option<&Path>, name: &str) -> Result<PathBuf> {
        said.map_or_else(|| self.beside(name, "--output"), |folder| Ok(folder.to_owned()))
    }

    /// A file or folder of this step's under the root, for what is no dataset and was given no name.
    ///
    /// # Errors
    /// When the root is no folder of this machine; `flag` names another place.
    pub(crate) fn beside(&self, name: &str, flag: &str) -> Result<PathBuf> {
        let root = self.store().local_root().ok_or_else(|| {
            Error::setting(
                flag,
                "a place on this machine, for the datasets lie elsewhere",
                "none",
                format!("give {flag}"),
            )
        })?;
        Ok(root.join(name))
    }

    /// What a setting names that may be a step of a pipeline (`train-cleaner`, `grpo@teacher`): the folder that the step makes. Else it is
    /// a path. A step's name counts when the pipeline has that step, or no file has that name.
    pub(crate) fn folder(&self, named: &Path) -> Result<PathBuf> {
        let step = named.to_str().and_then(|text| text.parse::<Step>().ok());
        let step = step.filter(|step| self.config.steps.contains(step) || !named.exists());
        let job = step.as_ref().and_then(|step| find(self.config.commands, &step.job));
        let (Some(step), Some(job)) = (step, job) else { return Ok(named.to_owned()) };
        let target = (job.settle)(&self.config, &step, None)?.target(&self.of_step(&step))?;
        target.ok_or_else(|| {
            let expected = "a path, or a step that makes a folder";
            Error::setting(&self.step.to_string(), expected, named.display(), "name another")
        })
    }

    /// Whether the pipeline has a step.
    pub(crate) fn has_step(&self, step: &str) -> bool {
        self.config.steps.iter().any(|known| known.to_string() == step)
    }

    /// Brings datasets up to date that bear this step's name.
    pub(crate) fn run<S: Stage>(&self, stage: &S, outputs: &[&str]) -> Result<Summary> {
        let outputs: Vec<String> = outputs.iter().map(|name| self.dataset(name)).collect();
        let outputs: Vec<&str> = outputs.iter().map(String::as_str).collect();
        let summary = self.runner.run(stage, &outputs)?;
        Ok(Summary { job: self.label(S::NAME), ..summary })
    }

    /// Brings an artifact up to date.
    pub(crate) fn make<A: Artifact>(&self, artifact: &A, target: &Path) -> Result<Summary> {
        let started = Instant::now();
        let outcome = self.runner.make(artifact, target)?;
        if matches!(outcome, Outcome::Committed | Outcome::UpToDate) {
            self.note(&format!("in {}", target.display()))?;
        }
        Ok(Summary::artifact(&self.label(A::NAME), outcome, started.elapsed().as_secs_f64()))
    }

    fn label(&self, stage: &str) -> String {
        Step { job: stage.to_owned(), ..self.step.clone() }.to_string()
    }

    /// Says something of this step on stdout.
    pub(crate) fn note(&self, line: &str) -> Result<()> {
        output::note(&format!("{}: {line}", self.step))
    }
}

/// Where the datasets lie, for the commands that only look at them or tidy up.
#[derive(Debug, Clone, Args)]
pub(crate) struct Place {
    /// Root of the datasets: a folder (or s3://bucket/prefix, when built with the feature s3) [default: data]
    #[arg(long, value_name = "ROOT", env = "QUERENT_DATA")]
    data: Option<String>,
    /// Settings file, whose section run says where the datasets lie
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Place {
    /// The store, which must be there, and what `[run]` says.
    pub(crate) fn open(&self, commands: Commands) -> Result<(Store, RunSettings)> {
        let config = Config::read(commands, self.config.as_deref(), &[], None)?;
        let run = RunSettings::resolve(&config, &layers::no_flags::<RunSettings>())?;
        Ok((Store::existing(self.data.as_ref().unwrap_or(&run.data))?, run))
    }
}
