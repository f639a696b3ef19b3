//! The index's folder: a graph and, in `index.json`, what it is of. It changes by one rename.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Instant;

use dataset::plan::{Digest, file_digest};
use dataset::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::vectors::check_encoder;
use crate::{Candidates, Exact, Hit, Hnsw, HnswSettings, Pool, Vectors};

const MANIFEST: &str = "index.json";
const HINT: &str = "run index again";

/// What an index is of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IndexManifest {
    /// The graph's file, in the same folder.
    pub file: String,
    /// BLAKE3 of the graph's file.
    pub blake3: Digest,
    /// Name of the encoder that made the vectors.
    pub encoder: String,
    /// Content of the `news_vectors` it was built of.
    pub news_vectors: Digest,
    /// SHA-256 of the encoder's files.
    pub models: BTreeMap<String, String>,
    /// Which articles are in it.
    pub candidates: Candidates,
    /// Digest of their ids.
    pub pool: Digest,
    /// Number of articles.
    pub articles: usize,
    /// Values per vector.
    pub dimensions: usize,
    /// How it was built.
    pub settings: HnswSettings,
    /// How well it does, once `index --verify` has measured it.
    pub measured: Option<Measured>,
}

/// An index against exact search, on vectors of the index as queries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Queries asked.
    pub queries: usize,
    /// Share of the exact ten best that the index finds.
    pub recall_at_10: f64,
    /// Queries per second, of all threads together.
    pub queries_per_second: f64,
    /// The same for exact search.
    pub exact_queries_per_second: f64,
    /// Threads that asked.
    pub threads: usize,
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.display().to_string();
    move |e| Error::io(path, e)
}

impl IndexManifest {
    /// The manifest in a folder; `None`: there is no index.
    ///
    /// # Errors
    /// When the folder is there and holds something else.
    pub fn read(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(MANIFEST);
        match fs::read(&path) {
            Ok(json) => serde_json::from_slice(&json).map(Some).map_err(|e| Error::unreadable(path.display(), e, HINT)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                // A killed build leaves its graph only.
                let mut files = fs::read_dir(folder).into_iter().flatten().flatten();
                match files.any(|file| file.path().extension().is_none_or(|extension| extension != "usearch")) {
                    true => {
                        let hint = "index did not make this folder: name another";
                        Err(Error::setting("index.output", "a new folder or an index", folder.display(), hint))
                    }
                    false => Ok(None),
                }
            }
            Err(e) => Err(io(&path)(e)),
        }
    }

    /// Writes the manifest; from then on the folder is this index.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let path = folder.join(MANIFEST);
        let unfinished = folder.join("index.json.unfinished.usearch");
        let json = serde_json::to_vec_pretty(self).expect("our own types can be written as JSON");
        fs::write(&unfinished, json).map_err(io(&unfinished))?;
        fs::rename(&unfinished, &path).map_err(io(&path))?;
        for file in fs::read_dir(folder).map_err(io(folder))?.flatten() {
            let superseded = file.path().extension().is_some_and(|e| e == "usearch") && file.file_name() != *self.file;
            if superseded {
                fs::remove_file(file.path()).map_err(io(&file.path()))?;
            }
        }
        Ok(())
    }
}

/// Saves a graph in a folder beside whatever is there; [`IndexManifest::write`] makes it current. Gives its file's name and digest.
pub fn build_index(folder: &Path, graph: &Hnsw) -> Result<(String, Digest)> {
    fs::create_dir_all(folder).map_err(io(folder))?;
    let unfinished = folder.join("unfinished.usearch");
    graph.save(&unfinished)?;
    let (blake3, _) = file_digest(&unfinished)?;
    fs::File::open(&unfinished).and_then(|file| file.sync_all()).map_err(io(&unfinished))?;
    let name = format!("{}.usearch", &blake3[..16]);
    fs::rename(&unfinished, folder.join(&name)).map_err(io(folder))?;
    Ok((name, blake3))
}

/// Opens the index of a folder for a pool and an encoder's queries.
///
/// # Errors
/// When there is none, when it is of other articles, or when another encoder made its vectors.
pub fn open_index(
    folder: &Path,
    pool: &Pool,
    encoder: &str,
    expansion: Option<usize>,
) -> Result<(IndexManifest, Hnsw)> {
    let manifest = IndexManifest::read(folder)?.ok_or_else(|| {
        let hint = "run `querent index` first, or give --exact";
        Error::unreadable(folder.display(), "there is no index of the news here", hint)
    })?;
    let what = format!("the index in {}", folder.display());
    check_encoder(&what, &manifest.encoder, encoder)?;
    if manifest.pool != pool.content() {
        return Err(Error::Mismatch {
            what,
            expected: pool.about.clone(),
            got: format!("{} others (candidates = \"{}\")", manifest.articles, manifest.candidates),
            hint: "news or the candidates changed since: run index again, with the same candidates".into(),
        });
    }
    let mut settings = manifest.settings.clone();
    settings.expansion_search = expansion.unwrap_or(settings.expansion_search);
    let graph = Hnsw::open(&folder.join(&manifest.file), manifest.dimensions, manifest.articles, &settings)?;
    Ok((manifest, graph))
}

/// Measures a graph against exact search: recall@10 and queries per second, with queries spread evenly over the vectors.
pub fn measure(graph: &Hnsw, vectors: Vectors, queries: usize, threads: usize) -> Result<Measured> {
    let dimensions = vectors.dimensions();
    let queries = queries.min(vectors.len());
    let asked: Vec<f32> =
        (0..queries).flat_map(|query| vectors.get(query * vectors.len() / queries).to_vec()).collect();
    let exact = Exact::new(vectors)?;
    let (truth, exact_seconds) = ask(&asked, dimensions, threads, |queries, ks| exact.search(queries, ks))?;
    let (found, seconds) = ask(&asked, dimensions, threads, |queries, ks| graph.search(queries, ks))?;
    Ok(Measured {
        queries,
        recall_at_10: recall(&truth, &found),
        queries_per_second: queries as f64 / seconds,
        exact_queries_per_second: queries as f64 / exact_seconds,
        threads,
    })
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
        workers.into_iter().map(|w| w.join().unwrap_or_else(|_| Err(Error::model("a worker panicked")))).collect()
    });
    let seconds = started.elapsed().as_secs_f64();
    Ok((found.into_iter().collect::<Result<Vec<_>>>()?.concat(), seconds))
}
