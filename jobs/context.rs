//! What every job needs: the flags that all share, the configuration file, and from both a runner.
//!
//! A setting is taken from its flag, else from `--set`, else from the file, else it has its default. The resolved settings go
//! into the manifests.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::Args;
use dataset::{Runner, Shard, Store, Style, UserKey, parse_bytes};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::embed::EncoderFlags;
use crate::index::PoolFlags;

/// The jobs that a pipeline may name, in their usual order; also the sections of a configuration file.
pub(crate) const JOBS: [&str; 13] = [
    "simulate",
    "ingest",
    "annotate",
    "train-cleaner",
    "clean",
    "cap",
    "statistics",
    "embed",
    "index",
    "generate",
    "retrieve",
    "evaluate",
    "report",
];

/// Where the datasets lie, for the jobs that only look at them or tidy up.
#[derive(Debug, Clone, Args)]
pub(crate) struct Place {
    /// Root of the datasets: a folder (or s3://bucket/prefix, when built with the feature s3) [default: data]
    #[arg(long, value_name = "ROOT", env = "QUERENT_DATA")]
    data: Option<String>,
}

impl Place {
    /// The store; it must be there.
    pub(crate) fn open(&self) -> Result<Store> {
        let root = self.data.as_deref().unwrap_or(DEFAULT_ROOT);
        if !root.contains("://") && !Path::new(root).is_dir() {
            return Err(
                ConfigError::new(format!("{root}: no such folder"), "--data names the root of the datasets").into()
            );
        }
        Ok(Store::open(root)?)
    }
}

const DEFAULT_ROOT: &str = "data";

/// Flags that all jobs share.
#[derive(Debug, Clone, Args)]
pub(crate) struct Shared {
    #[command(flatten)]
    place: Place,
    /// Settings file: a section per job, and one named run for what all share (see jobs/configs/)
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// One setting, such as cap.events_per_domain=20; may be repeated
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Partitions worked on in parallel [default: all cores]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Memory for the partitions in work together, such as 2GiB [default: 2GiB]
    #[arg(long, value_name = "BYTES")]
    memory_limit: Option<String>,
    /// Work on every N-th partition only, from the i-th, and do not commit: `querent commit` seals the run when all
    /// shards are done
    #[arg(long, value_name = "I/N")]
    shard: Option<Shard>,
    /// Say what would run and why; write nothing
    #[arg(long)]
    dry_run: bool,
    /// Fail when a larger share of the input cannot be read [default: 0.01]
    #[arg(long, value_name = "SHARE")]
    max_bad_ratio: Option<f64>,
    /// No progress
    #[arg(long)]
    quiet: bool,
}

/// Where the key of the user ids comes from. Never from an argument.
#[derive(Debug, Clone, Args)]
pub(crate) struct KeyFlags {
    /// File with the secret that keys user ids [default: the environment variable QUERENT_USER_KEY]
    #[arg(long, value_name = "FILE")]
    user_key_file: Option<PathBuf>,
    /// Use a key that everybody knows: for simulated and public data only
    #[arg(long)]
    insecure_dev_key: bool,
}

impl KeyFlags {
    pub(crate) fn find(&self) -> Result<UserKey> {
        Ok(UserKey::find(self.user_key_file.as_deref(), self.insecure_dev_key)?)
    }
}

/// A configuration that makes no sense: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{what}\nhint: {hint}")]
pub(crate) struct ConfigError {
    what: String,
    hint: String,
}

impl ConfigError {
    pub(crate) fn new(what: impl Into<String>, hint: impl Into<String>) -> Self {
        ConfigError { what: what.into(), hint: hint.into() }
    }
}

/// `[run]`: settings that all jobs share, and the pipeline.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RunSettings {
    /// Root of the datasets.
    pub(crate) data: Option<String>,
    /// The jobs of the pipeline, in order.
    pub(crate) jobs: Vec<String>,
    /// Partitions in parallel.
    pub(crate) threads: Option<usize>,
    /// Memory for the partitions in work.
    pub(crate) memory_limit: Option<String>,
    /// Share of the input that may be unreadable.
    pub(crate) max_bad_ratio: Option<f64>,
}

/// A job's surroundings.
#[derive(Debug)]
pub(crate) struct Context {
    config: Table,
    /// `[run]`.
    pub(crate) run: RunSettings,
    /// The runner, after flags and file.
    pub(crate) runner: Runner,
}

impl Context {
    pub(crate) fn new(shared: &Shared) -> Result<Self> {
        let config = read_config(shared)?;
        let run: RunSettings = section(&config, "run", None::<&()>)?;
        let Shared {
            place: Place { data },
            config: _,
            set: _,
            threads,
            memory_limit,
            shard,
            dry_run,
            max_bad_ratio,
            quiet,
        } = shared;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let data = data.clone().or_else(|| run.data.clone()).unwrap_or_else(|| DEFAULT_ROOT.into());
        let memory_limit = memory_limit.as_deref().or(run.memory_limit.as_deref()).unwrap_or("2GiB");
        let threads = threads.or(run.threads).unwrap_or(cores);
        if threads == 0 {
            return Err(ConfigError::new("--threads: expected at least 1, got 0", "leave it out for all cores").into());
        }
        let runner = Runner {
            store: Store::open(&data)?,
            threads,
            memory_limit: parse_bytes(memory_limit)?,
            shard: *shard,
            dry_run: *dry_run,
            max_bad_ratio: max_bad_ratio.or(run.max_bad_ratio).unwrap_or(0.01),
            progress: if *quiet { Style::Silent } else { Style::Auto },
            git_revision: env!("QUERENT_GIT_REVISION").into(),
        };
        Ok(Context { config, run, runner })
    }

    /// A job's settings: flags over file over defaults.
    pub(crate) fn settings<S: DeserializeOwned>(&self, job: &str, flags: &impl Serialize) -> Result<S> {
        section(&self.config, job, Some(flags))
    }
}

/// The section of a key that jobs of other sections have a flag for.
fn home(key: &str) -> Option<&'static str> {
    let (embed, index) = (clap::Command::new("embed"), clap::Command::new("index"));
    let shared = [("embed", EncoderFlags::augment_args(embed)), ("index", PoolFlags::augment_args(index))];
    shared.into_iter().find(|(_, flags)| flags.get_arguments().any(|flag| flag.get_id() == key)).map(|(name, _)| name)
}

fn read_config(shared: &Shared) -> Result<Table> {
    let mut config = match &shared.config {
        None => Table::new(),
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(|e| {
                ConfigError::new(format!("{}: {e}", path.display()), "--config takes a TOML file, as in jobs/configs/")
            })?;
            text.parse().map_err(|e| ConfigError::new(format!("{}: {e}", path.display()), "expected TOML"))?
        }
    };
    for assignment in &shared.set {
        let wrong = || {
            ConfigError::new(
                format!("--set {assignment}: expected SECTION.KEY=VALUE"),
                "for example cap.events_per_domain=20",
            )
        };
        let (path, value) = assignment.split_once('=').ok_or_else(wrong)?;
        let (name, key) = path.split_once('.').ok_or_else(wrong)?;
        // What is no TOML value is a text: `--set ingest.mind=folder` needs no quotes.
        let value =
            format!("v = {value}").parse::<Table>().map_or_else(|_| Value::String(value.into()), |t| t["v"].clone());
        let table = config.entry(name).or_insert_with(|| Value::Table(Table::new()));
        table.as_table_mut().ok_or_else(wrong)?.insert(key.into(), value);
    }
    for name in config.keys() {
        if name != "run" && !JOBS.contains(&name.as_str()) {
            let hint = nearest(name, JOBS.iter().copied().chain(["run"]));
            return Err(ConfigError::new(format!("[{name}]: expected run or a job ({})", JOBS.join(", ")), hint).into());
        }
    }
    Ok(config)
}

/// A section of the configuration with flags laid over it, as settings.
fn section<S: DeserializeOwned>(config: &Table, name: &str, flags: Option<&impl Serialize>) -> Result<S> {
    let mut table = match config.get(name) {
        None => Table::new(),
        Some(Value::Table(table)) => table.clone(),
        Some(_) => {
            return Err(ConfigError::new(format!("{name}: expected a section"), format!("write [{name}]")).into());
        }
    };
    if let Some(flags) = flags {
        table.extend(Table::try_from(flags).context("flags that TOML cannot hold")?);
    }
    S::deserialize(Value::Table(table)).map_err(|e| {
        let message = e.message().to_owned();
        let mut quoted = message.split('`').skip(1).step_by(2);
        let hint = match (message.starts_with("unknown"), quoted.next()) {
            (true, Some(unknown)) => match home(unknown) {
                Some(section) if section != name => format!("{unknown} belongs to [{section}]"),
                _ => nearest(unknown, quoted),
            },
            _ => format!("see `querent {} --help`", if name == "run" { "run" } else { name }),
        };
        ConfigError::new(format!("[{name}]: {message}"), hint).into()
    })
}

/// `did you mean "cap"?`
fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    known
        .into_iter()
        .max_by(|a, b| strsim::jaro_winkler(a, word).total_cmp(&strsim::jaro_winkler(b, word)))
        .map_or_else(|| "see the README's list of jobs".into(), |near| format!("did you mean {near:?}?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_win_over_the_file_and_unknown_keys_are_named() -> Result<()> {
        let config: Table = "[cap]\nevents_per_domain = 7\n".parse()?;
        let mut flags = Table::new();
        let settings: events::Cap = section(&config, "cap", Some(&flags))?;
        assert_eq!(settings.events_per_domain, 7);
        flags.insert("events_per_domain".into(), Value::Integer(9));
        let settings: events::Cap = section(&config, "cap", Some(&flags))?;
        assert_eq!(settings.events_per_domain, 9);

        let config: Table = "[cap]\nevents_per_doman = 7\n".parse()?;
        let error = section::<events::Cap>(&config, "cap", None::<&()>).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("did you mean \"events_per_domain\"?"), "{error}");

        let config: Table = "[cap]\nprobes = 3\n[ingest]\ncut_off = \"2025-12-01\"\n".parse()?;
        let error = section::<events::Cap>(&config, "cap", None::<&()>).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("probes belongs to [index]"), "{error}");
        let error =
            section::<events::ingest::Ingest>(&config, "ingest", None::<&()>).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("cut_off: expected a time such as") && error.contains("2025-12-01"), "{error}");
        Ok(())
    }
}
