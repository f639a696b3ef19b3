//! A dataset version as a DataFusion table, read as everything else of ours is read: part by part, each checked against its digest.
//!
//! DataFusion lists and opens nothing, so names with `*` or `[` in them are names, and a version that another one supersedes meanwhile
//! is a clear error instead of an empty table.

use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use dataset::{Error, Part, Result, Snapshot, Whole, read_part};
use futures::{StreamExt, TryStreamExt, stream};
use schemas::{Contract, Table};

/// A version of a dataset, for a query to read.
#[derive(Debug, Clone)]
pub struct Version(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    snapshot: Snapshot,
    contract: Contract,
}

impl<T: Table> From<&Whole<T>> for Version {
    fn from(whole: &Whole<T>) -> Self {
        Version(Arc::new(Inner { snapshot: whole.snapshot().clone(), contract: T::contract() }))
    }
}

/// Where a reader leaves the error that made a query fail: DataFusion would only hand back its text.
#[derive(Debug, Clone, Default)]
pub(crate) struct Failure(Arc<Mutex<Option<Error>>>);

impl Failure {
    fn leave(&self, error: Error) -> DataFusionError {
        let text = error.to_string();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        DataFusionError::Execution(text)
    }

    pub(crate) fn take(&self) -> Option<Error> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A version within one query.
#[derive(Debug)]
pub(crate) struct VersionTable {
    version: Version,
    schema: SchemaRef,
    failure: Failure,
}

impl VersionTable {
    pub(crate) fn new(version: Version, failure: Failure) -> Self {
        VersionTable { schema: version.0.contract.schema(), version, failure }
    }
}

#[async_trait]
impl TableProvider for VersionTable {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    /// As many streams as the session has partitions. Each has its own run of parts, in their order, and holds one part at a time.
    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        let schema = match projection {
            Some(columns) => Arc::new(self.schema.project(columns)?),
            None => self.schema.clone(),
        };
        let columns = &self.version.0.contract.columns;
        let columns: Vec<&'static str> = match projection {
            Some(projected) => projected.iter().map(|column| columns[*column].name).collect(),
            None => columns.iter().map(|column| column.name).collect(),
        };
        let parts = &self.version.0.snapshot.manifest.parts;
        let each = parts.len().div_ceil(session.config().target_partitions().max(1)).max(1);
        let streams = parts.chunks(each).chain(parts.is_empty().then_some(&[][..])).map(|parts| {
            let (version, failure) = (self.version.clone(), self.failure.clone());
            let reader = Reader { version, columns: columns.clone(), schema: schema.clone(), failure };
            Arc::new(Parts { reader, parts: parts.to_vec() }) as Arc<dyn PartitionStream>
        });
        Ok(Arc::new(StreamingTableExec::try_new(schema.clone(), streams.collect(), None, None, false, limit)?))
    }
}

/// The parts of one stream.
#[derive(Debug)]
struct Parts {
    reader: Reader,
    parts: Vec<Part>,
}

#[derive(Debug, Clone)]
struct Reader {
    version: Version,
    columns: Vec<&'static str>,
    schema: SchemaRef,
    failure: Failure,
}

impl PartitionStream for Parts {
    fn schema(&self) -> &SchemaRef {
        &self.reader.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let reader = self.reader.clone();
        let read = move |part| {
            let reader = reader.clone();
            // The store blocks, which only a thread outside of the runtime may.
            async move {
                let read = tokio::task::spawn_blocking(move || reader.read(&part)).await;
                read.map_err(|e| DataFusionError::External(Box::new(e)))?
            }
        };
        let batches = stream::iter(self.parts.clone())
            .then(read)
            .map_ok(|batches| stream::iter(batches.into_iter().map(Ok)))
            .try_flatten();
        Box::pin(RecordBatchStreamAdapter::new(self.reader.schema.clone(), batches))
    }
}

impl Reader {
    fn read(&self, part: &Part) -> Result<Vec<RecordBatch>, DataFusionError> {
        self.batches(part).map_err(|e| self.failure.leave(e))
    }

    /// A part's batches, with the projected columns in the order that the query has them.
    fn batches(&self, part: &Part) -> Result<Vec<RecordBatch>> {
        let Inner { snapshot, contract } = &*self.version.0;
        // Where a query only counts rows, one column tells, and its part is checked like any other.
        let columns = match self.columns.as_slice() {
            [] => &[contract.columns[0].name][..],
            columns => columns,
        };
        let batches = read_part(&snapshot.dataset, contract, part, columns)?;
        let arranged = batches.into_iter().map(|batch| {
            let columns: Option<Vec<ArrayRef>> =
                self.columns.iter().map(|name| batch.column_by_name(name).cloned()).collect();
            let columns = columns.ok_or_else(|| Error::bug(format!("{}: a column was not read", contract.name)))?;
            let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
            Ok(RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?)
        });
        arranged.collect()
    }
}
