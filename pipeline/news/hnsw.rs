//! Approximate search: an HNSW graph (Malkov, Yashunin 2018) by usearch, vectors in bf16, on disk and memory-mapped.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use dataset::{Error, Result};
use serde::{Deserialize, Serialize};
use usearch::{Index, IndexOptions, MetricKind, ScalarKind};

use crate::{Hit, Vectors};

/// How the graph is built and searched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HnswSettings {
    /// Links of a node (M); twice as many on the lowest level.
    pub links: usize,
    /// Nodes looked at when one is added (efConstruction).
    pub expansion_add: usize,
    /// Nodes looked at in a search, at least (ef).
    pub expansion_search: usize,
}

impl Default for HnswSettings {
    fn default() -> Self {
        HnswSettings { links: 16, expansion_add: 128, expansion_search: 64 }
    }
}

/// The graph over a pool's vectors.
pub struct Hnsw {
    index: Index,
}

impl std::fmt::Debug for Hnsw {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Hnsw({} vectors of {})", self.index.size(), self.index.dimensions())
    }
}

fn failed(e: impl std::fmt::Display) -> Error {
    Error::model(format!("usearch: {e}"))
}

fn open(dimensions: usize, settings: &HnswSettings) -> Result<Index> {
    let options = IndexOptions {
        dimensions,
        // Of unit vectors the inner product is the cosine, and one product instead of three.
        metric: MetricKind::IP,
        quantization: ScalarKind::BF16,
        connectivity: settings.links,
        expansion_add: settings.expansion_add,
        expansion_search: settings.expansion_search,
        multi: false,
    };
    Index::new(&options).map_err(failed)
}

impl Hnsw {
    /// Articles that a worker adds before it says so.
    pub const STEP: usize = 256;

    /// Builds the graph with this many threads. `step` is told of every few articles done. With several threads two builds differ
    /// a little.
    pub fn build(
        vectors: &Vectors,
        settings: &HnswSettings,
        threads: usize,
        step: &(dyn Fn(u64) + Sync),
    ) -> Result<Self> {
        let index = open(vectors.dimensions(), settings)?;
        index.reserve_capacity_and_threads(vectors.len(), threads).map_err(failed)?;
        let next = AtomicUsize::new(0);
        let work = || -> Result<()> {
            loop {
                let from = next.fetch_add(Self::STEP, Ordering::Relaxed);
                if from >= vectors.len() {
                    return Ok(());
                }
                let to = vectors.len().min(from + Self::STEP);
                for number in from..to {
                    index.add(number as u64, vectors.get(number)).map_err(failed)?;
                }
                step((to - from) as u64);
            }
        };
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            workers
                .into_iter()
                .try_for_each(|worker| worker.join().unwrap_or_else(|_| Err(failed("a worker panicked"))))
        })?;
        Ok(Hnsw { index })
    }

    /// Writes the graph to a file.
    pub fn save(&self, path: &Path) -> Result<()> {
        self.index.save(&path.to_string_lossy()).map_err(failed)
    }

    /// Maps a graph's file into memory.
    ///
    /// # Errors
    /// When the file is no graph, or one of other vectors.
    pub fn open(path: &Path, dimensions: usize, articles: usize, settings: &HnswSettings) -> Result<Self> {
        let index = open(dimensions, settings)?;
        let hint = "run index again";
        index.view(&path.to_string_lossy()).map_err(|e| Error::unreadable(path.display(), e, hint))?;
        if index.dimensions() != dimensions || index.size() != articles {
            let got = format!("{} vectors of {} values", index.size(), index.dimensions());
            let what = format!("expected {articles} vectors of {dimensions} values, got {got}");
            return Err(Error::unreadable(path.display(), what, hint));
        }
        Ok(Hnsw { index })
    }

    /// About the best `ks[i]` articles for each query `[queries · dimensions]`, best first; similarities as of bf16 vectors.
    pub fn search(&self, queries: &[f32], ks: &[usize]) -> Result<Vec<Vec<Hit>>> {
        let dimensions = self.index.dimensions();
        let one = |(query, &k): (&[f32], &usize)| {
            let matches = self.index.search(query, k).map_err(failed)?;
            let hits = matches.keys.iter().zip(&matches.distances);
            let mut hits: Vec<Hit> =
                hits.map(|(&key, &distance)| Hit { article: key as u32, score: 1.0 - distance }).collect();
            hits.sort_unstable_by(Hit::best_first);
            Ok(hits)
        };
        queries.chunks_exact(dimensions).zip(ks).map(one).collect()
    }

    /// The same graph, searched with this many nodes looked at.
    pub fn with_expansion(&self, expansion_search: usize) -> &Self {
        self.index.change_expansion_search(expansion_search);
        self
    }

    /// Bytes that the graph takes in memory.
    pub fn memory_bytes(&self) -> usize {
        self.index.memory_usage()
    }
}
