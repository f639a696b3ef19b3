//! `querent import`: another system's lists, to be evaluated beside ours.

use std::path::PathBuf;

use clap::Args;
use dataset::{Error, Result, Summary};
use news::ImportColumns;
use serde::{Deserialize, Serialize};

use crate::frame::{Context, Job};

/// Bring in the lists of another recommender, to evaluate them beside ours.
///
/// Reads Parquet files with a row per user and article, and a rank or a score. Writes recommendations.METHOD. Of an article that is
/// in a list twice the first counts; equal ranks and scores that are no numbers are errors.
#[derive(Debug, Args, Serialize, Deserialize)]
pub(crate) struct Import {
    /// What the method is called from now on; a step import@METHOD says it with its name
    method: Option<String>,
    /// Parquet files
    files: Vec<PathBuf>,
    #[command(flatten)]
    #[serde(flatten)]
    columns: ImportColumns,
}

impl Job for Import {
    const NAME: &'static str = "import";
    const NAMED: bool = true;

    fn run(&self, context: &Context) -> Result<Vec<Summary>> {
        let method = context.step().name.as_ref().or(self.method.as_ref()).ok_or_else(|| {
            Error::setting(
                "METHOD",
                "a name for the method",
                "none",
                "for example: querent import production lists.parquet",
            )
        })?;
        let stage = news::Import { method: method.clone(), files: self.files.clone(), columns: self.columns.clone() };
        let summary = context.unnamed().run(&stage, &[&stage.output()])?;
        Ok(vec![Summary { job: format!("import {method}"), ..summary }])
    }
}
