//! SQL jobs: a query over dataset versions, whose result is a dataset.

use std::fmt::Debug;

use datafusion::common::ScalarValue;
use dataset::{Done, Error, Inputs, Resources, Result, Rows, Stage};
use schemas::Table;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::engine::{Engine, Relation, as_table};
use crate::version::Version;

/// The query that makes a table. `sql!` writes it.
pub trait Query: Table {
    /// The values of the query's `$name`s: a struct with a field for each.
    type Parameters: Serialize + DeserializeOwned + Debug + Sync;
    /// The query's file, for messages.
    const FILE: &'static str;
    /// The query.
    const SQL: &'static str;
    /// What its account counts.
    const UNIT: &'static str;

    /// The tables that the query names, each a dataset's current version.
    fn tables(declare: &mut Inputs<'_>) -> Result<Vec<(&'static str, Version)>>;
}

/// Parameters of a query without any.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct NoParameters {}

/// Makes a table by its query: `Sql::<Popularity>::default()` writes the dataset `popularity`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent, bound = "")]
pub struct Sql<T: Query> {
    /// The values of the query's `$name`s.
    pub parameters: T::Parameters,
}

impl<T: Query<Parameters: Default>> Default for Sql<T> {
    fn default() -> Self {
        Sql { parameters: T::Parameters::default() }
    }
}

impl<T: Query> Stage for Sql<T> {
    const NAME: &'static str = <T as Table>::NAME;
    const VERSION: u32 = 2;
    const UNIT: &'static str = T::UNIT;
    type Inputs = Vec<(&'static str, Version)>;
    type Shared = Engine;
    type Outputs = Rows<T>;

    fn inputs(&self, declare: &mut Inputs<'_>) -> Result<Self::Inputs> {
        declare.value("sql", T::SQL)?;
        T::tables(declare)
    }

    fn open(&self, _: &Self::Inputs, resources: &Resources) -> Result<Engine> {
        Engine::whole(Self::NAME, resources)
    }

    fn run(&self, tables: &Self::Inputs, engine: &Engine, _: u32) -> Result<Done<Self::Outputs>> {
        let tables = tables.iter().map(|(name, version)| (*name, Relation::Version(version.clone())));
        let result = engine.query(T::FILE, T::SQL, values(&self.parameters)?, tables.collect())?;
        Ok(Done { outputs: Rows::new(as_table(T::FILE, &T::contract(), &result)?), accounts: Vec::new() })
    }
}

/// A struct's fields as values for a query.
fn values(parameters: &impl Serialize) -> Result<Vec<(String, ScalarValue)>> {
    let wrong =
        |what: &dyn Debug| Error::bug(format!("parameters of SQL: expected a struct of plain values, got {what:?}"));
    let fields = match serde_json::to_value(parameters) {
        Ok(Value::Object(fields)) => fields,
        other => return Err(wrong(&other)),
    };
    let value = |value: Value| match value {
        Value::Bool(value) => Ok(ScalarValue::from(value)),
        Value::String(value) => Ok(ScalarValue::from(value)),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(value), _) => Ok(ScalarValue::from(value)),
            (None, Some(value)) => Ok(ScalarValue::from(value)),
            (None, None) => Err(wrong(&number)),
        },
        other => Err(wrong(&other)),
    };
    fields.into_iter().map(|(name, field)| Ok((name, value(field)?))).collect()
}

/// `sql!(Table, "file.sql", "unit", table: Table, …)`: the query of a table, and the tables that it names. Each is the dataset of that
/// name, unless another follows: `kept: CleanEvents = "clean_events"`. A query with parameters names their struct:
/// `sql!(Table(Parameters), …)`.
macro_rules! sql {
    (
        $output:ident $(($parameters:ty))?, $file:literal, $unit:literal,
        $($table:ident: $of:ident $(= $dataset:literal)?),+ $(,)?
    ) => {
        impl $crate::sql::Query for schemas::$output {
            type Parameters = $crate::sql::first_type!($($parameters,)? $crate::sql::NoParameters,);
            const FILE: &'static str = concat!("sql/", $file);
            const SQL: &'static str = include_str!(concat!("../../sql/", $file));
            const UNIT: &'static str = $unit;

            fn tables(
                declare: &mut dataset::Inputs<'_>,
            ) -> dataset::Result<Vec<(&'static str, $crate::version::Version)>> {
                Ok(vec![$((
                    stringify!($table),
                    (&declare.whole::<schemas::$of>($crate::sql::first!($($dataset,)? stringify!($table),))?).into(),
                )),+])
            }
        }
    };
}

macro_rules! first_type {
    ($first:ty, $($other:ty,)*) => {
        $first
    };
}

macro_rules! first {
    ($first:expr, $($other:expr,)*) => {
        $first
    };
}

pub(crate) use {first, first_type, sql};
