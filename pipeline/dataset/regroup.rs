//! Regrouping: rows to partitions by hash. Every task reads one thing and sends its rows to the partitions that they belong to; then each
//! partition reads what it was sent.
//!
//! What tasks send lies in the run's folder, in files of a few megabytes that each hold rows of all partitions. So memory is bounded,
//! people's texts lie only where datasets lie, and a killed run goes on with the tasks that are left. A task is done when its index is
//! there, which is written last, the files are whole that it names, and their rows have the columns that are wanted now.
//!
//! A shard syncs what it sends, because other machines read it. Any other run does not. What such a run sent is taken over by its digest:
//! a loss of power may have left files of other bytes.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::SchemaRef;
use arrow::ipc::CompressionType;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::fault;
use crate::plan::Digest;
use crate::receipts::to_json;
use crate::{Error, Result, Store};

/// A file of sent rows is written once it is so large.
const FILE_BYTES: usize = 16 << 20;

/// Rows that tasks send to partitions.
#[derive(Debug)]
pub struct Regrouped {
    /// How many partitions there are.
    pub partitions: u32,
    schema: SchemaRef,
    pub(crate) tasks: Vec<Digest>,
    done: OnceLock<(Store, Vec<Arc<Index>>)>,
}

/// What one task sent.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Index {
    /// The columns of the rows, for another program to know whether it can read them.
    columns: String,
    chunks: Vec<Chunk>,
    /// The files of the chunks, with their BLAKE3 digests.
    files: BTreeMap<String, Digest>,
    /// Whether the files were durable before the index was written.
    synced: bool,
    /// What the task says about what it read.
    said: Value,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Chunk {
    partition: u32,
    file: String,
    start: u64,
    bytes: usize,
    memory_bytes: u64,
}

impl Regrouped {
    pub(crate) fn new(partitions: u32, schema: SchemaRef, tasks: Vec<Digest>) -> Self {
        Regrouped { partitions, schema, tasks, done: OnceLock::new() }
    }

    pub(crate) fn fill(&self, store: &Store, indexes: Vec<Arc<Index>>) {
        let _ = self.done.set((store.clone(), indexes));
    }

    fn columns(&self) -> String {
        let columns = self.schema.fields().iter();
        columns.map(|column| format!("{} {}", column.name(), column.data_type())).collect::<Vec<_>>().join(", ")
    }

    fn indexes(&self) -> &[Arc<Index>] {
        self.done.get().map_or(&[], |(_, indexes)| indexes)
    }

    pub(crate) fn memory_bytes(&self, partition: u32) -> u64 {
        let chunks = self.indexes().iter().flat_map(|index| &index.chunks);
        chunks.filter(|chunk| chunk.partition == partition).map(|chunk| chunk.memory_bytes).sum()
    }

    /// What each task said, in their order.
    pub fn said<T: DeserializeOwned>(&self) -> Result<Vec<T>> {
        let said = self.indexes().iter().map(|index| serde_json::from_value(index.said.clone()));
        said.collect::<Result<_, _>>().map_err(|e| Error::bug(format!("what a task said: {e}")))
    }

    /// The rows that a partition was sent, each batch with the number of its task; a task's rows are in its own order.
    pub fn read(&self, partition: u32) -> Result<Vec<(usize, RecordBatch)>> {
        let Some((store, indexes)) = self.done.get() else { return Ok(Vec::new()) };
        let mut batches = Vec::new();
        for (task, index) in indexes.iter().enumerate() {
            for chunk in index.chunks.iter().filter(|chunk| chunk.partition == partition) {
                let bytes = store.get_range(&chunk.file, chunk.start, chunk.bytes)?;
                let reader =
                    StreamReader::try_new(bytes.as_ref(), None).map_err(Error::arrow("reading regrouped rows"))?;
                for batch in reader {
                    batches.push((task, batch.map_err(Error::arrow("reading regrouped rows"))?));
                }
            }
        }
        Ok(batches)
    }
}

/// Where a task sends its rows.
#[derive(Debug)]
pub struct Spill<'a> {
    store: &'a Store,
    folder: String,
    regrouped: &'a Regrouped,
    bytes: Vec<u8>,
    /// Where they will be written. Nobody else writes there: who does the same task at the same time may cut its rows otherwise.
    file: String,
    index: Index,
    /// Bytes that a task may hold before it sends them.
    pub budget_bytes: usize,
}

impl<'a> Spill<'a> {
    pub(crate) fn new(
        store: &'a Store,
        folder: String,
        regrouped: &'a Regrouped,
        budget_bytes: usize,
        synced: bool,
    ) -> Self {
        let index = Index { columns: regrouped.columns(), synced, ..Index::default() };
        let file = new_file(&folder);
        Spill { store, folder, regrouped, bytes: Vec::new(), file, index, budget_bytes }
    }

    /// Where rows may be sent.
    pub fn partitions(&self) -> u32 {
        self.regrouped.partitions
    }

    /// The columns of the rows.
    pub fn schema(&self) -> SchemaRef {
        self.regrouped.schema.clone()
    }

    /// Sends rows, each to its partition, in their order.
    pub fn send(&mut self, partition: &[u32], rows: &RecordBatch) -> Result<()> {
        let partitions = self.regrouped.partitions as usize;
        let mut starts = vec![0u32; partitions + 1];
        partition.iter().for_each(|p| starts[*p as usize + 1] += 1);
        (0..partitions).for_each(|p| starts[p + 1] += starts[p]);
        let mut next = starts.clone();
        let mut order = vec![0u32; partition.len()];
        for (row, p) in (0..).zip(partition) {
            order[next[*p as usize] as usize] = row;
            next[*p as usize] += 1;
        }
        let sorted = take_record_batch(rows, &UInt32Array::from(order)).map_err(Error::arrow("regrouping rows"))?;
        for p in 0..partitions {
            let (start, end) = (starts[p] as usize, starts[p + 1] as usize);
            if end > start {
                self.chunk(p as u32, &sorted.slice(start, end - start))?;
            }
        }
        if self.bytes.len() >= FILE_BYTES { self.flush() } else { Ok(()) }
    }

    fn chunk(&mut self, partition: u32, rows: &RecordBatch) -> Result<()> {
        let failed = || Error::arrow("regrouping rows");
        let options =
            IpcWriteOptions::default().try_with_compression(Some(CompressionType::LZ4_FRAME)).map_err(failed())?;
        let start = self.bytes.len();
        let mut writer =
            StreamWriter::try_new_with_options(&mut self.bytes, &rows.schema(), options).map_err(failed())?;
        writer.write(rows).and_then(|()| writer.finish()).map_err(failed())?;
        drop(writer);
        let memory: usize = rows.columns().iter().map(|c| c.to_data().get_slice_memory_size().unwrap_or(0)).sum();
        self.index.chunks.push(Chunk {
            partition,
            file: self.file.clone(),
            start: start as u64,
            bytes: self.bytes.len() - start,
            memory_bytes: memory as u64,
        });
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        if !self.bytes.is_empty() {
            let file = std::mem::replace(&mut self.file, new_file(&self.folder));
            let bytes = Bytes::from(std::mem::take(&mut self.bytes));
            let digest = blake3::hash(&bytes).to_hex().to_string();
            self.put(&file, bytes.clone())?;
            self.index.files.insert(file, digest);
            // The next file's bytes take the place of these, unless an object store still has them.
            if let Ok(mut bytes) = bytes.try_into_mut() {
                bytes.clear();
                self.bytes = bytes.into();
            }
        }
        Ok(())
    }

    fn put(&self, path: &str, content: Bytes) -> Result<()> {
        match self.index.synced {
            true => self.store.put(path, content),
            false => self.store.put_unsynced(path, content),
        }
    }

    /// Says something about what was read: counts, for the partitions to book.
    pub fn say(&mut self, said: &impl Serialize) -> Result<()> {
        self.index.said = serde_json::to_value(said).map_err(|e| Error::bug(format!("what a task says: {e}")))?;
        Ok(())
    }

    pub(crate) fn finish(mut self) -> Result<Arc<Index>> {
        self.flush()?;
        self.put(&index_path(&self.folder), to_json(&self.index))?;
        fault::point(fault::SPILLED);
        Ok(Arc::new(self.index))
    }
}

fn new_file(folder: &str) -> String {
    format!("{folder}-{:016x}.rows", crate::random())
}

fn index_path(folder: &str) -> String {
    format!("{folder}.json")
}

/// The index that an earlier attempt, or another shard, wrote for a task, if its files are whole and have the same columns.
pub(crate) fn find(store: &Store, folder: &str, regrouped: &Regrouped) -> Result<Option<Arc<Index>>> {
    let Some(json) = store.get(&index_path(folder))? else { return Ok(None) };
    let Ok(index) = serde_json::from_slice::<Index>(&json) else { return Ok(None) };
    if index.columns != regrouped.columns() {
        return Ok(None);
    }
    for (file, digest) in &index.files {
        let whole = match index.synced {
            true => store.exists(file)?,
            false => store.get(file)?.is_some_and(|bytes| blake3::hash(&bytes).to_hex().as_str() == digest),
        };
        if !whole {
            return Ok(None);
        }
    }
    Ok(Some(Arc::new(index)))
}

#[cfg(test)]
mod tests {
    use arrow::array::Int64Array;
    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;

    #[test]
    fn what_was_sent_with_other_columns_is_not_found() -> Result<()> {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(&folder.path().to_string_lossy())?;
        let regrouped = |name: &str, data_type: DataType| {
            let columns = Schema::new(vec![Field::new(name, data_type, false)]);
            Regrouped::new(2, Arc::new(columns), Vec::new())
        };
        let [same, again] = [(), ()].map(|()| regrouped("at", DataType::Int64));
        let rows = RecordBatch::try_new(same.schema.clone(), vec![Arc::new(Int64Array::from(vec![7, 8]))]);
        let mut spill = Spill::new(&store, "run/sent/task".into(), &same, 1 << 20, false);
        spill.send(&[1, 0], &rows.map_err(Error::arrow("a test"))?)?;
        spill.finish()?;
        assert!(find(&store, "run/sent/task", &again)?.is_some());
        for other in [regrouped("since", DataType::Int64), regrouped("at", DataType::Utf8)] {
            assert!(find(&store, "run/sent/task", &other)?.is_none(), "{}", other.columns());
        }
        Ok(())
    }
}
