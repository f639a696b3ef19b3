//! How well an index does: recall and queries per second, beside exact search.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Instant;

use dataset::{Error, Resources, Result, Store, Whole};
use schemas::News;
use serde::{Deserialize, Serialize};

use crate::index::read_index;
use crate::{EncoderSettings, Exact, Hit, Index, Ivf, Pool, SearchSettings, Vectors, vectors};

/// Titles that are asked with.
const QUERIES: usize = 2_000;
/// The file beside the index that keeps what was measured. It is none of the index's own: measuring changes no index.
const MEASURED: &str = "measured.json";

/// An index against exact search.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Queries asked: titles of candidates.
    pub queries: usize,
    /// Threads that asked.
    pub threads: usize,
    /// Queries per second of exact search, of all threads together.
    pub exact_queries_per_second: f64,
    /// Cells that `retrieve` looks into with the same settings.
    pub probes: usize,
    /// The index, by cells looked into.
    pub by_probes: Vec<ByProbes>,
}

/// How an index does when so many cells are looked into.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ByProbes {
    /// Cells looked into (nprobe).
    pub probes: usize,
    /// Share of the exact ten best that the index finds.
    pub recall_at_10: f64,
    /// Queries per second, of all threads together.
    pub queries_per_second: f64,
}

impl Index {
    /// Measures the index in a folder against exact search, with titles of its articles as queries, and keeps the figures beside it.
    ///
    /// # Errors
    /// When the folder has no index of the current candidates and vectors, or the encoder is not the vectors'.
    pub fn verify(
        &self,
        folder: &Path,
        search: &SearchSettings,
        encoder: &EncoderSettings,
        resources: &Resources,
    ) -> Result<Measured> {
        let store = &resources.store;
        let corpus = self.pool.now(store)?;
        let pool = corpus.open()?;
        let news_vectors = Whole::open(store, &vectors::dataset(self.vectors.as_deref()))?;
        let encoder = encoder.open()?;
        let exact = Vectors::read(&news_vectors, &pool, encoder.name())?;
        let index = read_index(folder, &corpus, &news_vectors, exact.dimensions(), pool.len())?;
        let titles = titles(store, &pool, QUERIES)?;
        let titles: Vec<&str> = titles.iter().map(String::as_str).collect();
        let queries = encoder.queries(&titles)?.concat();
        let measured = measure(&index, exact, &queries, search.probes(&index), resources.threads)?;
        let json = serde_json::to_vec_pretty(&measured).expect("our own types can be written as JSON");
        let (path, unfinished) = (folder.join(MEASURED), folder.join(format!(".{MEASURED}")));
        fs::write(&unfinished, json).and_then(|()| fs::rename(&unfinished, &path)).map_err(Error::at(&path))?;
        Ok(measured)
    }
}

impl std::fmt::Display for Measured {
    /// A table for people.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Measured { queries, threads, exact_queries_per_second, probes, by_probes } = self;
        writeln!(f, "against exact search, {queries} titles as queries, {threads} threads")?;
        writeln!(f, "  cells looked into  recall@10  queries/s")?;
        for row in by_probes {
            let chosen = if row.probes == *probes { "  <- retrieve" } else { "" };
            let ByProbes { probes, recall_at_10, queries_per_second } = row;
            writeln!(f, "  {probes:17}  {recall_at_10:9.4}  {queries_per_second:9.0}{chosen}")?;
        }
        write!(f, "  {:>17}  {:9.4}  {exact_queries_per_second:9.0}", "all, exactly", 1.0)
    }
}

/// Titles of at most so many articles of a pool, evenly spread, where they have one.
fn titles(store: &Store, pool: &Pool, count: usize) -> Result<Vec<String>> {
    let count = count.min(pool.len());
    let wanted: BTreeSet<u32> = (0..count).map(|at| (at * pool.len() / count) as u32).collect();
    let news = Whole::<News>::open(store, "news")?.columns(&[News::news_id.name(), News::title.name()]);
    let mut titles = Vec::new();
    for part in news.parts() {
        for batch in part?.batches() {
            let (id, title) = (News::news_id.of(batch)?, News::title.of(batch)?);
            let taken = |row: &usize| {
                !title.value(*row).is_empty() && pool.number(id.value(*row)).is_some_and(|n| wanted.contains(&n))
            };
            titles.extend((0..batch.num_rows()).filter(taken).map(|row| title.value(row).to_owned()));
        }
    }
    match titles.is_empty() {
        true => {
            Err(Error::unreadable("news", "no article of the pool has a title", "ingest titles, or leave --verify out"))
        }
        false => Ok(titles),
    }
}

/// Recall@10 and queries per second with 1, 2, 4 … and `probes` cells looked into, of queries `[queries · dimensions]`.
fn measure(index: &Ivf, vectors: Vectors, queries: &[f32], probes: usize, threads: usize) -> Result<Measured> {
    let dimensions = vectors.dimensions();
    let exact = Exact::new(vectors)?;
    let (truth, exact_seconds) = ask(queries, dimensions, threads, |queries, ks| exact.search(queries, ks))?;
    let per_second = |seconds: f64| truth.len() as f64 / seconds;
    let by_probes = |probes: usize| {
        let (found, seconds) = ask(queries, dimensions, threads, |queries, ks| index.search(queries, ks, probes))?;
        Ok(ByProbes { probes, recall_at_10: recall(&truth, &found), queries_per_second: per_second(seconds) })
    };
    let mut steps: BTreeSet<usize> =
        (0..).map(|power| 1 << power).take_while(|&probes| probes < index.cells()).collect();
    steps.insert(probes);
    let by_probes = steps.into_iter().map(by_probes).collect::<Result<_>>()?;
    let (queries, exact_queries_per_second) = (truth.len(), per_second(exact_seconds));
    Ok(Measured { queries, threads, exact_queries_per_second, probes, by_probes })
}

/// Hits by query, and seconds.
pub type Searched = (Vec<Vec<Hit>>, f64);

/// Share of the true best that were found, over as many queries as both have.
pub fn recall(truth: &[Vec<Hit>], found: &[Vec<Hit>]) -> f64 {
    let of =
        |truth: &[Hit], found: &[Hit]| truth.iter().filter(|t| found.iter().any(|f| f.article == t.article)).count();
    let both: usize = truth.iter().zip(found).map(|(truth, found)| of(truth, found)).sum();
    let all: usize = truth.iter().zip(found).map(|(truth, _)| truth.len()).sum();
    both as f64 / all.max(1) as f64
}

/// The ten best for each query, and the seconds that all threads took together.
pub fn ask(
    queries: &[f32],
    dimensions: usize,
    threads: usize,
    search: impl Fn(&[f32], &[usize]) -> Result<Vec<Vec<Hit>>> + Sync,
) -> Result<Searched> {
    let started = Instant::now();
    let each = (queries.len() / dimensions).div_ceil(threads.max(1)).max(1);
    let found: Vec<Result<Vec<Vec<Hit>>>> = std::thread::scope(|scope| {
        let search = &search;
        let workers: Vec<_> = queries
            .chunks(each * dimensions)
            .map(|queries| scope.spawn(move || search(queries, &vec![10; queries.len() / dimensions])))
            .collect();
        workers.into_iter().map(|w| w.join().unwrap_or_else(|_| Err(Error::bug("a worker panicked")))).collect()
    });
    let seconds = started.elapsed().as_secs_f64();
    Ok((found.into_iter().collect::<Result<Vec<_>>>()?.concat(), seconds))
}
