//! DataFusion: its threads, its memory, and one query at a time over tables that it is given.

use std::fs;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::cast;
use arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::common::ScalarValue;
use datafusion::datasource::MemTable;
use datafusion::error::DataFusionError;
use datafusion::execution::memory_pool::{FairSpillPool, MemoryPool, UnboundedMemoryPool};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::prelude::{SessionConfig, SessionContext};
use dataset::{Error, Resources, Result};
use schemas::{Contract, Values};
use tokio::runtime::Runtime;

use crate::version::{Failure, Version, VersionTable};

/// Threads and memory for queries, opened once for many.
#[derive(Debug)]
pub struct Engine {
    runtime: Runtime,
    environment: Arc<RuntimeEnv>,
    partitions: usize,
}

/// What a query calls a table, and where its rows are.
#[derive(Debug)]
pub(crate) enum Relation {
    Version(Version),
    Rows(SchemaRef, Vec<RecordBatch>),
}

impl Engine {
    /// For one query that has all threads and all memory. What it spills lies among the unfinished work of its job's dataset, where gc
    /// finds what a kill leaves; on an object store, in the system's temporary folder.
    pub(crate) fn whole(job: &str, resources: &Resources) -> Result<Self> {
        let mut environment = RuntimeEnvBuilder::new();
        if let Some(root) = resources.store.local_root() {
            let spills = root.join(job).join("_runs");
            fs::create_dir_all(&spills).map_err(Error::at(&spills))?;
            environment = environment.with_temp_file_path(spills);
        }
        let memory = usize::try_from(resources.memory_limit).unwrap_or(usize::MAX);
        Self::new(environment, Arc::new(FairSpillPool::new(memory)), resources.threads, resources.threads)
    }

    /// The same, but rows are read and added up in one order, whatever the threads: sums of floats depend on it.
    pub(crate) fn in_order(job: &str, resources: &Resources) -> Result<Self> {
        Ok(Engine { partitions: 1, ..Self::whole(job, resources)? })
    }

    /// For many small queries at a time, each on the thread that asks, whose memory the runner has counted.
    pub(crate) fn shared(threads: usize) -> Result<Self> {
        Self::new(RuntimeEnvBuilder::new(), Arc::new(UnboundedMemoryPool::default()), threads, 1)
    }

    fn new(
        environment: RuntimeEnvBuilder,
        memory: Arc<dyn MemoryPool>,
        threads: usize,
        partitions: usize,
    ) -> Result<Self> {
        let failed =
            |e: DataFusionError| Error::retry(format!("starting DataFusion: {e}"), "mend the cause, then run again");
        let environment = environment.with_memory_pool(memory).build_arc().map_err(failed)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads.max(1)).enable_all().build();
        let runtime = runtime.map_err(|e| Error::io("starting the query's threads", e))?;
        Ok(Engine { runtime, environment, partitions })
    }

    /// The result of a query: `file` names it in messages.
    ///
    /// # Errors
    /// When a table cannot be read: what its reader said. When the query needs more memory than there is.
    pub(crate) fn query(
        &self,
        file: &str,
        sql: &str,
        parameters: Vec<(String, ScalarValue)>,
        tables: Vec<(&str, Relation)>,
    ) -> Result<Vec<RecordBatch>> {
        let failure = Failure::default();
        let result = self.runtime.block_on(self.collect(sql, parameters, tables, &failure));
        result.map_err(|e| failure.take().unwrap_or_else(|| failed(file, &e)))
    }

    async fn collect(
        &self,
        sql: &str,
        parameters: Vec<(String, ScalarValue)>,
        tables: Vec<(&str, Relation)>,
        failure: &Failure,
    ) -> Result<Vec<RecordBatch>, DataFusionError> {
        let config = SessionConfig::new().with_target_partitions(self.partitions);
        let session = SessionContext::new_with_config_rt(config, self.environment.clone());
        for (name, relation) in tables {
            let table: Arc<dyn TableProvider> = match relation {
                Relation::Version(version) => Arc::new(VersionTable::new(version, failure.clone())),
                Relation::Rows(schema, batches) => Arc::new(MemTable::try_new(schema, vec![batches])?),
            };
            session.register_table(name, table)?;
        }
        let query = session.sql(sql).await?;
        let query = if parameters.is_empty() { query } else { query.with_param_values(parameters)? };
        query.collect().await
    }
}

fn failed(file: &str, e: &DataFusionError) -> Error {
    match e.find_root() {
        DataFusionError::ResourcesExhausted(what) => Error::retry(format!("{file}: {what}"), "raise --memory-limit"),
        _ => Error::unreadable(file, e, "check its inputs with `querent inspect`"),
    }
}

/// A result as rows of a table: its columns by their names, cast to the contract's types.
pub(crate) fn as_table(file: &str, contract: &Contract, batches: &[RecordBatch]) -> Result<Vec<RecordBatch>> {
    let schema = contract.schema();
    let table = |batch: &RecordBatch| {
        let columns =
            contract.columns.iter().map(|column| Ok(cast(find(file, batch, column.name)?, &column.data_type)?));
        Ok(RecordBatch::try_new(schema.clone(), columns.collect::<Result<_>>()?)?)
    };
    batches.iter().map(table).collect()
}

/// A column of a result that is no table of ours.
pub(crate) fn column<A: Values>(file: &str, batch: &RecordBatch, name: &str) -> Result<A> {
    let array = cast(find(file, batch, name)?, &A::data_type())?;
    A::from_array(&array).ok_or_else(|| Error::bug(format!("{file}: column {name} cannot be read")))
}

fn find<'a>(file: &str, batch: &'a RecordBatch, name: &str) -> Result<&'a arrow::array::ArrayRef> {
    batch.column_by_name(name).ok_or_else(|| Error::bug(format!("{file}: expected a column {name}, got none")))
}
