//! DataFusion sessions and the threads they run on.

use std::future::Future;
use std::sync::Arc;

use datafusion::error::DataFusionError;
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};
use dataset::{Error, Result};

/// A session that may use so many threads and, before it spills, so many bytes.
pub(crate) fn session(threads: usize, memory_limit: u64) -> Result<SessionContext, DataFusionError> {
    let config = SessionConfig::new().with_target_partitions(threads);
    let runtime =
        RuntimeEnvBuilder::new().with_memory_pool(Arc::new(FairSpillPool::new(memory_limit as usize))).build_arc()?;
    Ok(SessionContext::new_with_config_rt(config, runtime))
}

/// Runs a query to its end, on `threads` threads (1: on this one).
pub(crate) fn wait<T>(threads: usize, query: impl Future<Output = T>) -> Result<T> {
    let runtime = match threads {
        1 => tokio::runtime::Builder::new_current_thread().enable_all().build(),
        _ => tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build(),
    };
    Ok(runtime.map_err(|e| Error::io("starting the query's threads", e))?.block_on(query))
}
