//! `select`: an SQL expression for what a log's columns do not say as they are, such as a user's id within a path.
//!
//! `SELECT … FROM log WHERE …` gives at most one row for each row: DataFusion plans it, and its filter and columns are computed batch by
//! batch, without any of what would need a whole file (groups, orders, joins), which is refused. Everything that is read stays countable: a
//! row that the filter leaves out, one that cannot be computed, and each row's line.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Field as ArrowField, Schema, SchemaRef};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, DataFusionError};
use datafusion::datasource::empty::EmptyTable;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlan, Volatility};
use datafusion::physical_plan::PhysicalExpr;
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    Expr as Written, SelectItem, SetExpr, Statement as SqlStatement, visit_expressions,
};
use dataset::{Error, Result};

use super::cells::Cells;
use super::parquet::Column;
use super::{Each, Field, Found, Reason, Row, Shape, reason, rows};

/// Rows that are computed together.
const BATCH_ROWS: usize = 8192;
/// What the file is called.
const TABLE: &str = "log";
const HINT: &str = "one row for each row, as in SELECT user_id AS user, lower(q) AS query FROM log WHERE q <> ''";

/// What a log's rows are made into before its mapping reads them.
#[derive(Debug, Clone)]
pub(crate) struct Select {
    /// The key, for messages.
    setting: String,
    sql: String,
    /// The columns that it names.
    columns: Vec<String>,
}

impl Select {
    /// # Errors
    /// For what is no query, or none that names its columns.
    pub(crate) fn new(setting: String, sql: &str) -> Result<Self> {
        let wrong = |what: String| Error::setting(&setting, "one SELECT … FROM log", what, HINT);
        let dialect = STATE.config().options().sql_parser.dialect;
        let statement = STATE.sql_to_statement(sql, &dialect).map_err(|e| wrong(plain(&e)))?;
        let Statement::Statement(statement) = statement else { return Err(wrong("another statement".into())) };
        let SqlStatement::Query(query) = statement.as_ref() else { return Err(wrong("another statement".into())) };
        let SetExpr::Select(select) = query.body.as_ref() else { return Err(wrong("another query".into())) };
        let star = |item: &SelectItem| matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..));
        if select.projection.iter().any(star) {
            return Err(wrong("*: name the columns".into()));
        }
        let mut columns = BTreeSet::new();
        let _ = visit_expressions(statement.as_ref(), |expression| {
            match expression {
                Written::Identifier(name) => columns.insert(name.value.clone()),
                Written::CompoundIdentifier(parts) => {
                    parts.last().is_some_and(|name| columns.insert(name.value.clone()))
                }
                _ => false,
            };
            ControlFlow::<()>::Continue(())
        });
        Ok(Select { setting: setting.clone(), sql: sql.to_owned(), columns: columns.into_iter().collect() })
    }

    /// The columns that it reads.
    pub(crate) fn columns(&self) -> Vec<&str> {
        self.columns.iter().map(String::as_str).collect()
    }

    /// Reads a file, and hands on the wanted columns of what is selected from it.
    pub(super) fn rows(&self, path: &Path, shape: &Shape<'_>, wanted: &[&str], each: &mut Each<'_>) -> Result<Found> {
        let shape = Shape { select: None, ..shape.clone() };
        let mut batch = Batch::new(self, wanted);
        let found = rows(path, &shape, &self.columns(), &mut |row, fields| match fields {
            Err(reason) => each(row, Err(reason)),
            Ok(fields) => {
                if let Err(reason) = batch.push(row, fields) {
                    return each(row, Err(reason));
                }
                if batch.rows.len() == BATCH_ROWS { batch.flush(each) } else { Ok(()) }
            }
        })?;
        batch.flush(each)?;
        Ok(Found { left_out: batch.left_out, ..found })
    }

    /// What is computed of columns of these types.
    fn plan(&self, schema: &SchemaRef) -> Result<Vec<Step>> {
        let wrong = |what: String| Error::setting(&self.setting, "one row for each row", what, HINT);
        // One of its own: files are read in parallel, and each has its columns' types.
        let context = context();
        let table = Arc::new(EmptyTable::new(schema.clone()));
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        let plan = runtime.block_on(async {
            context.register_table(TABLE, table)?;
            context.state().create_logical_plan(&self.sql).await
        });
        let plan = plan.map_err(|e| wrong(plain(&e)))?;
        let mut steps = Vec::new();
        add_steps(&plan, &mut steps).map_err(wrong)?;
        Ok(steps)
    }
}

/// Adds the steps of a plan, the first one first; or says what of it is none.
fn add_steps(plan: &LogicalPlan, steps: &mut Vec<Step>) -> Result<(), String> {
    let computed = |expression: &Expr, input: &DFSchema| -> Result<_, String> {
        if let Some(changing) = changing(expression) {
            return Err(format!("{changing}(), which gives something else every time"));
        }
        STATE.create_physical_expr(expression.clone(), input).map_err(|e| plain(&e))
    };
    match plan {
        LogicalPlan::Projection(projection) => {
            add_steps(&projection.input, steps)?;
            let input = projection.input.schema();
            let expressions: Vec<_> =
                projection.expr.iter().map(|expression| computed(expression, input)).collect::<Result<_, _>>()?;
            let names = projection.schema.fields().iter().map(|field| field.name().clone());
            steps.push(Step::Columns(names.zip(expressions).collect()));
        }
        LogicalPlan::Filter(filter) => {
            add_steps(&filter.input, steps)?;
            steps.push(Step::Filter(computed(&filter.predicate, filter.input.schema())?));
        }
        LogicalPlan::SubqueryAlias(alias) => add_steps(&alias.input, steps)?,
        LogicalPlan::TableScan(_) => {}
        other => {
            let display = other.display().to_string();
            return Err(display.split([':', ' ']).next().unwrap_or_default().to_owned());
        }
    }
    Ok(())
}

/// DataFusion as it is used here: names mean what they say, whatever their case.
fn context() -> SessionContext {
    let config = SessionConfig::new().with_target_partitions(1);
    SessionContext::new_with_config(config.set_bool("datafusion.sql_parser.enable_ident_normalization", false))
}

/// What reads SQL and computes expressions; it knows no table.
static STATE: LazyLock<SessionState> = LazyLock::new(|| context().state());

/// An error of DataFusion's in a line.
fn plain(e: &DataFusionError) -> String {
    e.strip_backtrace().lines().next().unwrap_or_default().to_owned()
}

/// A function whose result is not that of its arguments alone, such as now().
fn changing(expression: &Expr) -> Option<String> {
    let mut found = None;
    let _ = expression.apply(|expression| {
        if let Expr::ScalarFunction(call) = expression
            && call.func.signature().volatility != Volatility::Immutable
        {
            found = Some(call.func.name().to_owned());
            return Ok(TreeNodeRecursion::Stop);
        }
        Ok(TreeNodeRecursion::Continue)
    });
    found
}

/// What is done to a batch.
enum Step {
    /// Rows of which this is not true are left out.
    Filter(Arc<dyn PhysicalExpr>),
    /// The columns become these.
    Columns(Vec<(String, Arc<dyn PhysicalExpr>)>),
}

/// Rows that are not handed on yet.
struct Batch<'a> {
    select: &'a Select,
    wanted: &'a [&'a str],
    cells: Vec<Cells>,
    rows: Vec<Row>,
    /// What is computed, and of columns of which types.
    plan: Option<(SchemaRef, Vec<Step>)>,
    left_out: u64,
}

impl<'a> Batch<'a> {
    fn new(select: &'a Select, wanted: &'a [&'a str]) -> Self {
        let cells = select.columns.iter().map(|_| Cells::Nothing(0)).collect();
        Batch { select, wanted, cells, rows: Vec::new(), plan: None, left_out: 0 }
    }

    fn push(&mut self, row: Row, fields: &[Field<'_>]) -> Result<(), Reason> {
        self.cells.iter_mut().zip(fields).try_for_each(|(cells, field)| cells.fits(field))?;
        self.cells.iter_mut().zip(fields).for_each(|(cells, field)| cells.push(field));
        self.rows.push(row);
        Ok(())
    }

    /// Computes and hands on what is there.
    fn flush(&mut self, each: &mut Each<'_>) -> Result<()> {
        let rows = std::mem::take(&mut self.rows);
        if rows.is_empty() {
            return Ok(());
        }
        let arrays: Vec<ArrayRef> = self.cells.iter_mut().map(Cells::take).collect();
        let fields = self.select.columns.iter().zip(&arrays);
        let fields: Vec<_> =
            fields.map(|(name, array)| ArrowField::new(name, array.data_type().clone(), true)).collect();
        let schema = Arc::new(Schema::new(fields));
        if self.plan.as_ref().is_none_or(|(known, _)| *known != schema) {
            self.plan = Some((schema.clone(), self.select.plan(&schema)?));
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        let batch = RecordBatch::try_new_with_options(schema, arrays, &options)?;
        self.hand_on(batch, &rows, each)
    }

    /// Hands on what is selected of a batch. If it cannot be computed, its rows are taken one by one: one row decides no other.
    fn hand_on(&mut self, batch: RecordBatch, rows: &[Row], each: &mut Each<'_>) -> Result<()> {
        let steps = &self.plan.as_ref().expect("it was planned").1;
        match computed(&batch, rows, steps) {
            Ok((batch, kept)) => {
                self.left_out += (rows.len() - kept.len()) as u64;
                let columns = self.wanted.iter().map(|name| self.column(&batch, name)).collect::<Result<Vec<_>>>()?;
                for (at, row) in kept.into_iter().enumerate() {
                    let fields: Vec<Field<'_>> = columns.iter().map(|column| column.field(at)).collect();
                    each(row, Ok(&fields))?;
                }
                Ok(())
            }
            Err(_) if rows.len() == 1 => each(rows[0], Err(reason::SELECT)),
            Err(_) => (0..rows.len()).try_for_each(|row| self.hand_on(batch.slice(row, 1), &rows[row..=row], each)),
        }
    }

    fn column(&self, batch: &RecordBatch, name: &str) -> Result<Column> {
        let setting = &self.select.setting;
        let mut found = batch.schema_ref().fields().iter().enumerate().filter(|(_, field)| field.name() == name);
        let (Some((at, _)), None) = (found.next(), found.next()) else {
            let names: Vec<&str> = batch.schema_ref().fields().iter().map(|field| field.name().as_str()).collect();
            let expected = format!("one column {name:?}, which the mapping names");
            return Err(Error::setting(setting, expected, names.join(", "), "say what is what with AS"));
        };
        Column::of(batch.column(at), &[], false).map_err(|why| {
            Error::setting(
                setting,
                "text, numbers, times, or lists of them",
                format!("column {name:?}: {}", why.got),
                why.hint,
            )
        })
    }
}

/// A batch after the steps, and its rows.
fn computed(batch: &RecordBatch, rows: &[Row], steps: &[Step]) -> Result<(RecordBatch, Vec<Row>), DataFusionError> {
    let (mut batch, mut rows) = (batch.clone(), rows.to_vec());
    for step in steps {
        match step {
            Step::Filter(predicate) => {
                let kept = predicate.evaluate(&batch)?.into_array(batch.num_rows())?;
                let kept =
                    kept.as_boolean_opt().ok_or_else(|| DataFusionError::Plan("WHERE: expected a truth".into()))?;
                batch = filter_record_batch(&batch, kept)?;
                let mut row = 0..;
                rows.retain(|_| row.next().is_some_and(|row: usize| kept.is_valid(row) && kept.value(row)));
            }
            Step::Columns(columns) => {
                let arrays = columns.iter().map(|(_, column)| column.evaluate(&batch)?.into_array(batch.num_rows()));
                let arrays = arrays.collect::<Result<Vec<_>, DataFusionError>>()?;
                let fields = columns.iter().zip(&arrays);
                let fields = fields.map(|((name, _), array)| ArrowField::new(name, array.data_type().clone(), true));
                let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
                let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
                batch = RecordBatch::try_new_with_options(schema, arrays, &options)?;
            }
        }
    }
    Ok((batch, rows))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::config::EventLog;
    use proptest::prelude::*;

    /// What is read of a file: rows with their lines, and what was set aside or left out.
    #[derive(Debug, Default, PartialEq)]
    struct Read {
        rows: Vec<(u64, Vec<String>)>,
        aside: Vec<(u64, String)>,
        left_out: u64,
    }

    fn read(log: &str, name: &str, content: &[u8], wanted: &[&str]) -> Result<Read> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join(name);
        std::fs::write(&path, content)?;
        let log: EventLog = toml::from_str(log).expect("a log");
        let mut read = Read::default();
        let found = rows(&path, &log.shape()?, wanted, &mut |row, fields| {
            match fields {
                Ok(fields) => read.rows.push((row.line, fields.iter().map(|field| format!("{field:?}")).collect())),
                Err(reason) => read.aside.push((row.line, reason.to_string())),
            }
            Ok(())
        })?;
        read.left_out = found.left_out;
        Ok(read)
    }

    fn text(text: &str) -> String {
        format!("{:?}", Field::Text(text.as_bytes().into()))
    }

    #[test]
    fn columns_are_made_and_rows_left_out_and_every_row_keeps_its_line() -> Result<()> {
        let csv = b"path,q,status\n/u/7/x, Rate Cuts ,200\n/u/8,a,404\n\"/u/9\n\",\"two\nlines\",200\n/u/1,,200\n";
        let log = r#"format = "csv"
            select = "SELECT split_part(path, '/', 3) AS user, lower(trim(q)) AS Query FROM log WHERE status = '200'""#;
        let got = read(log, "log.csv", csv, &["user", "Query"])?;
        let missing = "Missing".to_owned();
        let rows = vec![
            (2, vec![text("7"), text("rate cuts")]),
            (4, vec![text("9\n"), text("two\nlines")]),
            (7, vec![text("1"), missing]),
        ];
        assert_eq!(got, Read { rows, left_out: 1, ..Read::default() });
        Ok(())
    }

    #[test]
    fn a_row_that_cannot_be_computed_decides_no_other() -> Result<()> {
        let csv = b"at\n1700000000\nsoon\n1700000001\n\xff\n";
        let log = r#"format = "csv"
            select = "SELECT to_timestamp_seconds(CAST(at AS BIGINT)) AS t FROM log""#;
        let got = read(log, "log.csv", csv, &["t"])?;
        let at = |seconds: i64| vec![format!("{:?}", Field::WallMicros(1_000_000 * seconds))];
        assert_eq!(got.rows, [(2, at(1_700_000_000)), (4, at(1_700_000_001))]);
        let aside = [(3, reason::SELECT.to_string()), (5, reason::UTF8.to_string())];
        let mut sorted = got.aside.clone();
        sorted.sort();
        assert_eq!(sorted, aside);
        Ok(())
    }

    #[test]
    fn lists_and_members_of_objects_are_columns_too() -> Result<()> {
        let json = br#"{"u": {"id": 5}, "tags": ["a", "b"], "n": 1}
{"u": {"id": 6}, "n": 2}
{"u": {"id": 7}, "tags": "c", "n": 3}
{"u": {"id": 8}, "tags": [["d"]], "n": 4}
"#;
        let log = r#"format = "jsonl"
            select = "SELECT \"u.id\" AS user, array_to_string(tags, ' ') AS t, CAST(n AS INT) + 1 AS n FROM log""#;
        let got = read(log, "log.jsonl", json, &["user", "t", "n"])?;
        let rows = vec![
            (1, vec![text("5"), text("a b"), text("2")]),
            (2, vec![text("6"), "Missing".into(), text("3")]),
            (3, vec![text("7"), text("c"), text("4")]),
        ];
        assert_eq!(got, Read { rows, aside: vec![(4, reason::MIXED.to_string())], left_out: 0 });
        Ok(())
    }

    #[test]
    fn what_is_not_a_row_for_each_row_is_refused() {
        for (sql, named) in [
            ("SELECT * FROM log", "name the columns"),
            ("SELEC a FROM log", "got SQL error"),
            ("DELETE FROM log", "another statement"),
            ("SELECT a FROM log UNION SELECT b FROM log", "another query"),
            ("SELECT count(a) AS a FROM log", "got Aggregate"),
            ("SELECT DISTINCT a FROM log", "got Distinct"),
            ("SELECT a FROM log ORDER BY a", "got Sort"),
            ("SELECT a FROM log LIMIT 1", "got Limit"),
            ("SELECT row_number() OVER (ORDER BY a) AS a FROM log", "got WindowAggr"),
            ("SELECT l.a FROM log l JOIN log m ON l.a = m.a", "got Inner"),
            ("SELECT unnest(make_array(a, a)) AS a FROM log", "got Unnest"),
            ("SELECT a FROM other", "other"),
            ("SELECT now() AS a, a AS b FROM log", "now()"),
            ("SELECT nosuch(a) AS a FROM log", "nosuch"),
            ("SELECT a AS other FROM log", "expected one column \"a\", which the mapping names, got other"),
            ("SELECT make_date(2020, 1, CAST(a AS INT)) AS a, struct(a) AS b FROM log WHERE a", "WHERE"),
        ] {
            let log = format!("format = \"csv\"\nselect = {sql:?}");
            let error = read(&log, "log.csv", b"a,b\n1,2\n", &["a"]).expect_err(sql);
            let message = error.to_string();
            assert!(message.starts_with("ingest.events[].select: ") && message.contains(named), "{sql}: {message}");
            assert_eq!(error.exit_code(), 2, "{message}");
        }
        let missing = read("format = \"csv\"\nselect = \"SELECT c AS a FROM log\"", "log.csv", b"a,b\n1,2\n", &["a"]);
        assert!(missing.expect_err("no c").to_string().contains("expected a column \"c\", got a, b"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Selecting the columns as they are is reading them, but for what is not UTF-8.
        #[test]
        fn columns_as_they_are(rows in proptest::collection::vec(("[a-zé\"\n,; ]{0,6}", "[0-9.]{0,4}"), 0..40)) {
            let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
            let lines = rows.iter().map(|(a, b)| format!("{},{}\n", quoted(a), quoted(b)));
            let csv = format!("a,b\n{}", lines.collect::<String>());
            let plain = read("format = \"csv\"", "log.csv", csv.as_bytes(), &["b", "a"])?;
            let select = "format = \"csv\"\nselect = \"SELECT b, a FROM log\"";
            prop_assert_eq!(read(select, "log.csv", csv.as_bytes(), &["b", "a"])?, plain);
        }
    }
}
