//! `querent schema`: the contracts.

use std::io::Write;

use clap::{ArgMatches, Args};
use dataset::{Error, Result};
use schemas::Contract;

use crate::frame::{Commands, Tool, output};

/// Print what a table holds: its columns, their types and meaning. Without a name, list the tables.
#[derive(Debug, Args)]
pub(crate) struct Schema {
    /// The table
    table: Option<String>,
}

impl Tool for Schema {
    const NAME: &'static str = "schema";

    fn run(&self, _: &ArgMatches, _: Commands) -> Result<()> {
        let contracts = schemas::all();
        let Some(name) = &self.table else {
            let rows: Vec<Vec<String>> = contracts.iter().map(|c| vec![format!("{:<21}{}", c.name, c.about)]).collect();
            return output::table(&mut output::stdout(), &rows);
        };
        let contract = contracts.iter().find(|c| c.name == *name).ok_or_else(|| {
            let names: Vec<_> = contracts.iter().map(|c| c.name).collect();
            Error::usage(format!("{name}: no such table"), format!("one of {}", names.join(", ")))
        })?;
        print(&mut output::stdout(), contract)
    }
}

fn print(out: &mut impl Write, contract: &Contract) -> Result<()> {
    let order: Vec<String> =
        contract.order.iter().map(|o| format!("{}{}", o.name, if o.descending { " descending" } else { "" })).collect();
    writeln!(out, "{} version {}: {}", contract.name, contract.version, contract.about)?;
    writeln!(out, "key: {}", if contract.key.is_empty() { "none".into() } else { contract.key.join(", ") })?;
    writeln!(out, "order within a part: {}\n", order.join(", "))?;
    let width = |cells: &dyn Fn(&schemas::Column) -> usize| contract.columns.iter().map(cells).max().unwrap_or(0);
    let name_width = width(&|c| c.name.len());
    let type_width = width(&|c| c.data_type.to_string().len()).min(48);
    for column in &contract.columns {
        let null = if column.nullable { "null " } else { "     " };
        let data_type = column.data_type.to_string();
        writeln!(out, "{:<name_width$}  {data_type:<type_width$}  {null}{}", column.name, column.about)?;
    }
    Ok(())
}
