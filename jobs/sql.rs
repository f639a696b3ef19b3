//! SQL jobs: a query over datasets, whose result is a dataset and a table for people. Each is a line in the list of commands.

use std::io::Write;
use std::marker::PhantomData;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use arrow::util::display::array_value_to_string;
use clap::{ArgMatches, Args, Command, FromArgMatches};
use dataset::account::grouped;
use dataset::{Result, Summary, Whole};
use metrics::{Query, Sql};
use serde::{Deserialize, Serialize};

use crate::frame::{Context, Job, output};

/// The job that brings a query's table up to date, and prints it. It has no settings.
#[derive(Debug, Serialize, Deserialize)]
#[serde(bound = "")]
pub(crate) struct Table<T> {
    #[serde(skip)]
    of: PhantomData<fn() -> T>,
}

impl<T: Query<Parameters: Default>> Job for Table<T> {
    const NAME: &'static str = <T as schemas::Table>::NAME;

    fn run(&self, context: &Context) -> Result<Vec<Summary>> {
        Ok(vec![context.run(&Sql::<T>::default(), &[Self::NAME])?])
    }

    fn show(&self, context: &Context, out: &mut dyn Write) -> Result<()> {
        let mut rows = Vec::new();
        for part in Whole::<T>::open(context.store(), Self::NAME)?.parts() {
            part?.batches().iter().try_for_each(|batch| add(batch, &mut rows))?;
        }
        writeln!(out)?;
        output::table(out, &rows)
    }
}

impl<T: Query> Args for Table<T> {
    fn augment_args(command: Command) -> Command {
        let (name, about) = (T::NAME, format!("Make {}: {}", T::NAME, T::ABOUT));
        let more = format!("Runs {} over the datasets that it names. Writes {name}, and prints it.", T::FILE);
        command.long_about(format!("{about}.\n\n{more}")).about(about)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<T> FromArgMatches for Table<T> {
    fn from_arg_matches(_: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Table { of: PhantomData })
    }

    fn update_from_arg_matches(&mut self, _: &ArgMatches) -> Result<(), clap::Error> {
        Ok(())
    }
}

/// Some rows for people: counts grouped, other numbers with two decimals, and no column that only says in which order they come.
fn add(batch: &RecordBatch, rows: &mut Vec<Vec<String>>) -> Result<()> {
    let shown: Vec<usize> =
        (0..batch.num_columns()).filter(|c| *batch.schema().field(*c).name() != "position").collect();
    for row in 0..batch.num_rows() {
        let cell = |c: &usize| match batch.column(*c) {
            column if column.is_null(row) => Ok(String::new()),
            column => match column.data_type() {
                DataType::Int64 => Ok(grouped_signed(column.as_primitive::<Int64Type>().value(row))),
                DataType::Float64 => match column.as_primitive::<Float64Type>().value(row) {
                    value if value.fract() == 0.0 && value.abs() < 1e15 => Ok(grouped_signed(value as i64)),
                    value => Ok(format!("{value:.2}")),
                },
                _ => array_value_to_string(column, row),
            },
        };
        rows.push(shown.iter().map(cell).collect::<Result<_, _>>()?);
    }
    Ok(())
}

fn grouped_signed(number: i64) -> String {
    let sign = if number < 0 { "-" } else { "" };
    format!("{sign}{}", grouped(number.unsigned_abs()))
}
