//! The queries of `sql/` on small tables: `sql/NAME.slt` beside each `sql/NAME.sql`, run by sqllogictest.
//!
//! In such a file, `statistics.sql` is the query of that file, and `borderline.sql threshold=0.5 texts=2` gives it parameters.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Float64Type};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::{DataFrame, SessionConfig, SessionContext};
use sqllogictest::{DB, DBOutput, DefaultColumnType, Runner};
use tokio::runtime::Runtime;

struct Session {
    runtime: Runtime,
    context: SessionContext,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sql")
}

impl Session {
    fn open(threads: usize) -> Self {
        let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(threads));
        Session { runtime: Runtime::new().unwrap(), context }
    }

    async fn execute(&self, sql: &str) -> Result<DBOutput<DefaultColumnType>, DataFusionError> {
        let mut words = sql.split_whitespace();
        let query = match words.next() {
            Some(file) if file.ends_with(".sql") => {
                let text = std::fs::read_to_string(folder().join(file))?;
                let values: Vec<(&str, ScalarValue)> = words
                    .map(|word| {
                        let (name, value) = word.split_once('=').unwrap();
                        (
                            name,
                            value
                                .parse::<i64>()
                                .map_or_else(|_| value.parse::<f64>().unwrap().into(), ScalarValue::from),
                        )
                    })
                    .collect();
                let query = self.context.sql(&text).await?;
                let query = if values.is_empty() { query } else { query.with_param_values(values)? };
                self.reads_each_table_once(file, &text, &query)?;
                query
            }
            _ => self.context.sql(sql).await?,
        };
        let columns = query.schema().fields().len();
        let mut rows = Vec::new();
        for batch in query.collect().await? {
            let columns: Vec<Vec<String>> = batch.columns().iter().map(|column| texts(column)).collect();
            rows.extend((0..batch.num_rows()).map(|row| columns.iter().map(|column| column[row].clone()).collect()));
        }
        match columns {
            0 => Ok(DBOutput::StatementComplete(0)),
            _ => Ok(DBOutput::Rows { types: vec![DefaultColumnType::Any; columns], rows }),
        }
    }

    /// A name in WITH stands for its text, and what is named twice is read and computed twice. A query whose first lines say
    /// `truth twice` may read it so.
    fn reads_each_table_once(&self, file: &str, text: &str, query: &DataFrame) -> Result<(), DataFusionError> {
        let mut scans: BTreeMap<String, usize> = BTreeMap::new();
        let plan = self.context.state().optimize(query.logical_plan())?;
        plan.apply_with_subqueries(|node| {
            if let LogicalPlan::TableScan(scan) = node {
                *scans.entry(scan.table_name.table().to_owned()).or_default() += 1;
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        assert!(!scans.is_empty(), "{file}: no table is read");
        let about: String = text.lines().take_while(|line| line.starts_with("--")).collect();
        for (table, scans) in scans {
            let twice = about.contains(&format!("{table} twice"));
            assert_eq!(scans, 1 + usize::from(twice), "{file}: times that {table} is read");
        }
        Ok(())
    }
}

impl DB for Session {
    type Error = DataFusionError;
    type ColumnType = DefaultColumnType;

    fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, DataFusionError> {
        self.runtime.block_on(self.execute(sql))
    }
}

/// A column for people: floats to six places.
fn texts(column: &dyn Array) -> Vec<String> {
    let options = FormatOptions::default().with_null("NULL");
    let plain = ArrayFormatter::try_new(column, &options).unwrap();
    let text = |row: usize| match column.data_type() {
        DataType::Float64 if column.is_valid(row) => {
            let text = format!("{:.6}", column.as_primitive::<Float64Type>().value(row));
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        }
        _ => plain.value(row).to_string(),
    };
    (0..column.len()).map(text).collect()
}

#[test]
fn every_query_gives_the_expected_rows() {
    let mut tested = 0;
    for entry in std::fs::read_dir(folder()).unwrap() {
        let sql = entry.unwrap().path();
        if sql.extension().is_some_and(|ending| ending == "sql") {
            let cases = sql.with_extension("slt");
            assert!(cases.exists(), "{}: expected cases beside {}", cases.display(), sql.display());
            for threads in [1, 4] {
                let mut runner = Runner::new(|| async move { Ok(Session::open(threads)) });
                runner.run_file(&cases).unwrap_or_else(|e| panic!("on {threads} threads: {}", e.display(false)));
            }
            tested += 1;
        }
    }
    assert!(tested >= 5, "{tested} queries were tested");
}
