//! Spill files: one raw file's rows, regrouped by partition, on a local disk.
//!
//! A spill file is a run of small Arrow IPC streams, each of one partition; its index, a JSON file beside it, is written
//! last and by rename, so a spill is there whole or not at all. A spill is named after all that went into it and so can
//! be reused by the next attempt of the same run.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::ipc::CompressionType;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};
use dataset::{Error, Result, fault};
use serde::{Deserialize, Serialize};

/// What a raw file held beside its spilled rows.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Tally {
    /// Units read: behaviours or articles.
    pub(crate) units: u64,
    /// Units left out on purpose, by reason.
    pub(crate) dropped: BTreeMap<String, u64>,
    /// Units set aside: line and reason.
    pub(crate) quarantined: Vec<(u64, String)>,
    /// Other counts.
    pub(crate) notes: BTreeMap<String, u64>,
    /// Latest time in the file, microseconds since 1970.
    pub(crate) latest_us: i64,
}

impl Tally {
    pub(crate) fn new() -> Self {
        Tally { latest_us: i64::MIN, ..Tally::default() }
    }

    pub(crate) fn drop(&mut self, reason: &str) {
        *self.dropped.entry(reason.to_owned()).or_default() += 1;
    }

    pub(crate) fn quarantine(&mut self, line: u64, reason: &str) {
        self.quarantined.push((line, reason.to_owned()));
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Chunk {
    partition: u32,
    offset: u64,
    bytes: u64,
    rows: u64,
    memory_bytes: u64,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Index {
    chunks: Vec<Chunk>,
    tally: Tally,
}

/// A raw file's spill, complete.
#[derive(Debug, Clone)]
pub(crate) struct Spill {
    path: PathBuf,
    index: Arc<Index>,
}

/// A spill in the making.
pub(crate) struct SpillWriter {
    path: PathBuf,
    partial: PathBuf,
    file: BufWriter<File>,
    offset: u64,
    chunks: Vec<Chunk>,
    partitions: u32,
    takes: Box<dyn Fn(u32) -> bool + Send>,
}

fn index_path(path: &Path) -> PathBuf {
    path.with_extension("json")
}

impl SpillWriter {
    /// Starts the spill `path`. Rows of partitions that this process does not take are left out.
    pub(crate) fn create(path: &Path, partitions: u32, takes: Box<dyn Fn(u32) -> bool + Send>) -> Result<Self> {
        // Written under a name of its own: another process may be reading the same raw file.
        let partial = path.with_extension(format!("{}.partial", std::process::id()));
        let file = File::create(&partial).map_err(|e| Error::io(partial.display(), e))?;
        Ok(SpillWriter {
            path: path.to_owned(),
            partial,
            file: BufWriter::with_capacity(1 << 20, file),
            offset: 0,
            chunks: Vec::new(),
            partitions,
            takes,
        })
    }

    /// Adds rows, each with its partition, keeping their order within a partition.
    pub(crate) fn write(&mut self, partition: &[u32], batch: &RecordBatch) -> Result<()> {
        let failed = Error::arrow("spilling");
        let mut starts = vec![0u32; self.partitions as usize + 1];
        for p in partition {
            starts[*p as usize + 1] += 1;
        }
        for p in 0..self.partitions as usize {
            starts[p + 1] += starts[p];
        }
        let mut next = starts.clone();
        let mut order = vec![0u32; partition.len()];
        for (row, p) in partition.iter().enumerate() {
            order[next[*p as usize] as usize] = row as u32;
            next[*p as usize] += 1;
        }
        let sorted = take_record_batch(batch, &UInt32Array::from(order)).map_err(failed)?;
        for p in 0..self.partitions {
            let (start, end) = (starts[p as usize] as usize, starts[p as usize + 1] as usize);
            if end > start && (self.takes)(p) {
                self.chunk(p, &sorted.slice(start, end - start))?;
            }
        }
        Ok(())
    }

    fn chunk(&mut self, partition: u32, rows: &RecordBatch) -> Result<()> {
        let failed = |source| Error::Arrow { what: "spilling".into(), source };
        let options =
            IpcWriteOptions::default().try_with_compression(Some(CompressionType::LZ4_FRAME)).map_err(failed)?;
        let mut writer = StreamWriter::try_new_with_options(Vec::new(), &rows.schema(), options).map_err(failed)?;
        writer.write(rows).map_err(failed)?;
        let bytes = writer.into_inner().map_err(failed)?;
        self.file.write_all(&bytes).map_err(|e| Error::io(self.path.display(), e))?;
        let whole: usize = rows.columns().iter().map(|c| c.to_data().get_slice_memory_size().unwrap_or(0)).sum();
        self.chunks.push(Chunk {
            partition,
            offset: self.offset,
            bytes: bytes.len() as u64,
            rows: rows.num_rows() as u64,
            memory_bytes: whole as u64,
        });
        self.offset += bytes.len() as u64;
        Ok(())
    }

    /// Completes the spill.
    pub(crate) fn finish(mut self, tally: Tally) -> Result<Spill> {
        let failed = |e| Error::io(self.path.display(), e);
        self.file.flush().map_err(failed)?;
        let index = Index { chunks: self.chunks, tally };
        let json = serde_json::to_vec(&index).map_err(|e| Error::io(self.path.display(), e.into()))?;
        let partial = self.partial.with_extension("index");
        std::fs::rename(&self.partial, &self.path)
            .and_then(|()| std::fs::write(&partial, json))
            .and_then(|()| std::fs::rename(&partial, index_path(&self.path)))
            .map_err(failed)?;
        fault::point(fault::SPILLED);
        Ok(Spill { path: self.path, index: Arc::new(index) })
    }
}

impl Spill {
    /// The spill that an earlier attempt completed, if there is one.
    pub(crate) fn find(path: &Path) -> Option<Self> {
        let json = std::fs::read(index_path(path)).ok()?;
        let index: Index = serde_json::from_slice(&json).ok()?;
        let bytes = index.chunks.last().map_or(0, |c| c.offset + c.bytes);
        (std::fs::metadata(path).ok()?.len() == bytes).then(|| Spill { path: path.to_owned(), index: Arc::new(index) })
    }

    pub(crate) fn tally(&self) -> &Tally {
        &self.index.tally
    }

    pub(crate) fn memory_bytes(&self, partition: u32) -> u64 {
        self.index.chunks.iter().filter(|c| c.partition == partition).map(|c| c.memory_bytes).sum()
    }

    /// The rows of one partition.
    pub(crate) fn read(&self, partition: u32) -> Result<Vec<RecordBatch>> {
        let mut batches = Vec::new();
        let mut file: Option<File> = None;
        for chunk in self.index.chunks.iter().filter(|c| c.partition == partition) {
            let failed = |e| Error::io(self.path.display(), e);
            let file = match &mut file {
                Some(file) => file,
                None => file.insert(File::open(&self.path).map_err(failed)?),
            };
            file.seek(SeekFrom::Start(chunk.offset)).map_err(failed)?;
            let mut bytes = vec![0; chunk.bytes as usize];
            file.read_exact(&mut bytes).map_err(failed)?;
            let reader = StreamReader::try_new(bytes.as_slice(), None).map_err(Error::arrow("reading a spill"))?;
            for batch in reader {
                batches.push(batch.map_err(Error::arrow("reading a spill"))?);
            }
        }
        Ok(batches)
    }
}
