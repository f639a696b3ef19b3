//! `querent report`: one HTML page of what the jobs found.

use std::fs;
use std::path::PathBuf;

use ::report::{gather, page};
use anyhow::{Context as _, Result};
use clap::Args;
use serde::{Deserialize, Serialize};

use crate::context::{ConfigError, Context, Shared};
use crate::output;

/// Write one HTML page: results with intervals and charts, the data, some users' behaviours, queries and news, the run.
///
/// Reads whatever datasets there are. The page needs no network and no scripts. It shows texts of the sampled users: keep it where
/// the logs are kept.
#[derive(Debug, Args)]
pub(crate) struct Flags {
    #[command(flatten)]
    pub(crate) shared: Shared,
    #[command(flatten)]
    pub(crate) settings: Settings,
}

#[derive(Debug, Default, Args, Serialize)]
pub(crate) struct Settings {
    /// The page [default: report.html under --data]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Users to show [default: 10]
    #[arg(long, value_name = "N")]
    users: Option<usize>,
    /// Whose lists to show [default: interests, else own-titles, else what there is]
    #[arg(long, value_name = "METHOD")]
    method: Option<String>,
}

/// `[report]`, resolved.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Resolved {
    output: Option<PathBuf>,
    users: usize,
    method: Option<String>,
}

impl Default for Resolved {
    fn default() -> Self {
        Resolved { output: None, users: 10, method: None }
    }
}

pub(crate) fn main(flags: Flags) -> Result<()> {
    let Flags { shared, settings } = flags;
    job(&Context::new(&shared)?, &settings)
}

pub(crate) fn job(context: &Context, flags: &Settings) -> Result<()> {
    let settings: Resolved = context.settings("report", flags)?;
    let store = &context.runner.store;
    let output = settings
        .output
        .or_else(|| Some(store.local_root()?.join("report.html")))
        .ok_or_else(|| ConfigError::new("[report]: output: expected a file on this machine", "give --output FILE"))?;
    if context.runner.dry_run {
        return output::note(&format!("report: would write {}", output.display()));
    }
    let content = gather(store, settings.users, settings.method.as_deref())?;
    let unfinished = output.with_extension("html.unfinished");
    fs::write(&unfinished, page(&content))
        .and_then(|()| fs::rename(&unfinished, &output))
        .with_context(|| output.display().to_string())?;
    output::note(&format!("report: {}", output.display()))
}
