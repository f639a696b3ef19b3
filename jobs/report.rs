//! `querent report`: one HTML page of what the jobs found.

use std::path::PathBuf;

use clap::Args;
use dataset::{Result, Summary};
use report::Report as Page;
use serde::{Deserialize, Serialize};

use crate::frame::{Context, Job};

/// Write one HTML page: results with intervals and charts, the data, some users' behaviours, queries and news, the run.
///
/// Reads whatever datasets there are, and training runs: curves of what they were trained for. The page needs no network and no scripts. It
/// shows texts of the sampled users, and lists that were written in training: keep it where the logs are kept.
#[derive(Debug, Args, Serialize, Deserialize)]
#[group(skip)]
pub(crate) struct Report {
    /// The page [default: report.html under --data; for a step with a name, report.NAME.html]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    #[serde(flatten)]
    page: Page,
}

impl Job for Report {
    const NAME: &'static str = "report";
    const NAMED: bool = true;

    fn run(&self, context: &Context) -> Result<Vec<Summary>> {
        Ok(vec![context.make(&self.page, &self.output(context)?)?])
    }

    fn target(&self, context: &Context) -> Result<Option<PathBuf>> {
        self.output(context).map(Some)
    }
}

impl Report {
    fn output(&self, context: &Context) -> Result<PathBuf> {
        let beside = || context.beside(&format!("{}.html", context.dataset("report")), "--output");
        self.output.clone().map_or_else(beside, Ok)
    }
}
