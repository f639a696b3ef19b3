//! `querent statistics`: the paper's Table 1 for a dataset.

use std::io::Write;

use clap::Args;
use dataset::account::grouped;
use dataset::{Result, Summary};
use metrics::Sql;
use serde::{Deserialize, Serialize};

use crate::frame::{Context, Job, output};

/// Count what the datasets hold: the paper's Table 1, printed and as Parquet.
///
/// Reads profiles, news and truth with sql/statistics.sql. Writes statistics.
#[derive(Debug, Args, Serialize, Deserialize)]
pub(crate) struct Statistics {}

impl Job for Statistics {
    const NAME: &'static str = "statistics";

    fn run(&self, context: &Context) -> Result<Vec<Summary>> {
        Ok(vec![context.run(&Sql::<schemas::Statistics>::default(), &["statistics"])?])
    }

    fn show(&self, context: &Context, out: &mut dyn Write) -> Result<()> {
        let number = |name: &str, value: f64| match name.starts_with('#') {
            true => grouped(value as u64),
            false => format!("{value:.2}"),
        };
        let statistics = report::statistics(context.store())?;
        let rows: Vec<_> = statistics.iter().map(|(name, value)| vec![name.clone(), number(name, *value)]).collect();
        writeln!(out)?;
        output::table(out, &rows)
    }
}
