//! `querent statistics`: the paper's Table 1 for a dataset.

use std::io::Write;

use anyhow::Result;
use clap::Args;
use dataset::{Origin, Summary};
use metrics::{Tabulate, statistics_query};

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
    let number = |name: &str, value: f64| match name.starts_with('#') {
        true => output::grouped(value as u64),
        false => format!("{value:.2}"),
    };
    let statistics = ::report::statistics(&context.runner.store)?;
    if statistics.is_empty() {
        return Ok(());
    }
    let rows: Vec<Vec<String>> =
        statistics.into_iter().map(|(name, value)| vec![name.clone(), number(&name, value)]).collect();
    writeln!(out)?;
    output::table(out, &rows)
}
