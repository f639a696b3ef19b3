//! `querent statistics`: the paper's Table 1 for a dataset.

use std::io::Write;

use anyhow::{Context as _, Result};
use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Float64Type;
use clap::Args;
use dataset::{Dataset, Input, Origin, Source, Summary};
use metrics::{Tabulate, statistics_query};
use schemas::Statistics;

use crate::context::{Context, Shared};
use crate::output;

/// Count what the datasets hold: the paper's Table 1, printed and as Parquet.
///
/// Reads profiles, news and truth with sql/statistics.sql. Writes statistics.
#[derive(Debug, Args)]
pub(crate) struct Flags {
    #[command(flatten)]
    pub(crate) shared: Shared,
}

pub(crate) fn main(flags: Flags) -> Result<()> {
    let Flags { shared } = flags;
    let context = Context::new(&shared)?;
    output::print_all(&job(&context)?)?;
    print(&context, &mut std::io::stdout().lock())
}

pub(crate) fn job(context: &Context) -> Result<Vec<Summary>> {
    let runner = &context.runner;
    let tabulate: Tabulate = context.settings("statistics", &toml::Table::new())?;
    let query = statistics_query(&runner.store, runner.threads, runner.memory_limit)?;
    Ok(vec![runner.run(&tabulate, &query, &["statistics"], Origin::default())?])
}

/// Prints the table, if there is one.
pub(crate) fn print(context: &Context, out: &mut impl Write) -> Result<()> {
    if Dataset::new(&context.runner.store, "statistics").current()?.is_none() {
        return Ok(());
    }
    let statistics = Input::<Statistics>::open(&context.runner.store, "statistics")?.read(0)?;
    let mut rows = Vec::new();
    for batch in statistics.batches() {
        rows.extend(lines(batch).context("statistics are not what they should be")?);
    }
    writeln!(out)?;
    output::table(out, &rows)
}

fn lines(batch: &RecordBatch) -> Option<Vec<Vec<String>>> {
    let names = batch.column_by_name("statistic")?.as_string_opt::<i32>()?;
    let values = batch.column_by_name("value")?.as_primitive_opt::<Float64Type>()?;
    let number = |name: &str, value: f64| match name.starts_with('#') {
        true => output::grouped(value as u64),
        false => format!("{value:.2}"),
    };
    Some(
        names
            .iter()
            .zip(values)
            .filter_map(|(name, value)| Some(vec![name?.to_owned(), number(name?, value?)]))
            .collect(),
    )
}
