//! One SQL query over dataset versions.

use std::collections::BTreeMap;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::cast;
use datafusion::common::ScalarValue;
use datafusion::error::DataFusionError;
use datafusion::prelude::ParquetReadOptions;
use dataset::plan::{Digest, digest};
use dataset::{Error, InputRef, Result, Snapshot, Source};
use schemas::Contract;
use serde_json::json;

use crate::session::{session, wait};

/// A SQL query as a source of one partition: the result's batches.
#[derive(Debug)]
pub struct Query {
    /// The query's name, for messages.
    pub name: &'static str,
    /// The query.
    pub sql: &'static str,
    /// The values of its `$name`s.
    pub parameters: Vec<(&'static str, f64)>,
    /// The tables it names, each a dataset version.
    pub tables: Vec<(&'static str, Snapshot)>,
    /// Threads to use.
    pub threads: usize,
    /// Bytes that it may hold before it spills.
    pub memory_limit: u64,
    /// The result's contract; columns are cast to its types.
    pub contract: Contract,
}

impl Query {
    async fn collect(&self, files: &[Vec<String>]) -> Result<Vec<RecordBatch>, DataFusionError> {
        let session = session(self.threads, self.memory_limit)?;
        for ((name, snapshot), files) in self.tables.iter().zip(files) {
            if let Some((scheme, rest)) = snapshot.dataset.store().root().split_once("://") {
                let bucket = rest.split('/').next().unwrap_or_default();
                let url = url::Url::parse(&format!("{scheme}://{bucket}"))
                    .map_err(|e| DataFusionError::External(Box::new(e)))?;
                session.register_object_store(&url, snapshot.dataset.store().objects().clone());
            }
            let table = session.read_parquet(files.clone(), ParquetReadOptions::default()).await?;
            session.register_table(*name, table.into_view())?;
        }
        let query = session.sql(self.sql).await?;
        let values: Vec<(&str, ScalarValue)> =
            self.parameters.iter().map(|(name, value)| (*name, ScalarValue::from(*value))).collect();
        let query = if values.is_empty() { query } else { query.with_param_values(values)? };
        query.collect().await
    }
}

impl Source for Query {
    type Rows = Vec<RecordBatch>;

    fn partitions(&self) -> u32 {
        1
    }

    fn inputs(&self) -> BTreeMap<String, InputRef> {
        let sql = InputRef { version: 1, content: digest(&json!([self.sql, self.parameters])) };
        let tables = self.tables.iter().map(|(_, s)| (s.dataset.name().to_owned(), s.reference()));
        tables.chain([(format!("sql/{}.sql", self.name), sql)]).collect()
    }

    fn key(&self, _: u32) -> Digest {
        digest(&json!([
            self.sql,
            self.parameters,
            self.inputs().values().map(|i| i.content.clone()).collect::<Vec<_>>()
        ]))
    }

    fn memory_bytes(&self, _: u32) -> u64 {
        0
    }

    fn user_key_check(&self) -> Option<&str> {
        self.tables.iter().find_map(|(_, s)| s.manifest.lineage.user_key_check.as_deref())
    }

    fn read(&self, _: u32) -> Result<Vec<RecordBatch>> {
        let failed = |e: DataFusionError| {
            Error::unreadable(format!("sql/{}.sql", self.name), e, "check its inputs with `querent inspect`")
        };
        // DataFusion reads the files on its own.
        self.tables.iter().try_for_each(|(_, snapshot)| snapshot.verify())?;
        let files: Vec<Vec<String>> = self.tables.iter().map(|(_, s)| s.files()).collect::<Result<_>>()?;
        let batches = wait(self.threads, self.collect(&files))?.map_err(failed)?;
        let schema = self.contract.schema();
        batches
            .into_iter()
            .map(|batch| {
                let columns: Vec<ArrayRef> = schema
                    .fields()
                    .iter()
                    .zip(batch.columns())
                    .map(|(field, column)| cast(column, field.data_type()))
                    .collect::<Result<_, _>>()
                    .map_err(Error::arrow(self.name))?;
                RecordBatch::try_new(schema.clone(), columns).map_err(Error::arrow(self.name))
            })
            .collect()
    }
}
