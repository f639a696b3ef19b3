//! The index's folder: an inverted file and, in `index.json`, what it is of. It changes by one rename.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use dataset::plan::{Digest, file_digest};
use dataset::{Error, Result, empty_folder};
use serde::{Deserialize, Serialize};

use crate::vectors::check_encoder;
use crate::{Candidates, Exact, Hit, Ivf, Pool, Vectors};

const MANIFEST: &str = "index.json";
/// The folder, within the index's, of what is being written.
const UNFINISHED: &str = "unfinished";
const HINT: &str = "run index again";

/// What an index is of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IndexManifest {
    /// How manifests and inverted files are made.
    pub format: u32,
    /// The inverted file, in the same folder.
    pub file: String,
    /// BLAKE3 of the inverted file.
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
    /// Cells that the articles were to be spread over.
    pub cells: usize,
    /// How well it does, once `index --verify` has measured it.
    pub measured: Option<Measured>,
}

/// An index against exact search.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// What was asked.
    pub queries: String,
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

impl IndexManifest {
    /// Of manifests and of how inverted files are built: of another format, an index is built anew.
    pub const FORMAT: u32 = 1;

    /// The manifest in a folder; `None`: there is no index.
    ///
    /// # Errors
    /// When the folder is there and holds something else.
    pub fn read(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(MANIFEST);
        match fs::read(&path) {
            Ok(json) => serde_json::from_slice(&json).map(Some).map_err(|e| Error::unreadable(path.display(), e, HINT)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                let mut files = fs::read_dir(folder).into_iter().flatten().flatten();
                match files.all(|file| ours(&file.file_name())) {
                    true => Ok(None), // A killed build leaves such.
                    false => {
                        let hint = "index did not make this folder: name another";
                        Err(Error::setting("[index]: index", "a new folder or an index", folder.display(), hint))
                    }
                }
            }
            Err(e) => Err(Error::io(path.display(), e)),
        }
    }

    /// The folder's manifest if it is `fresh` but for what was built and measured, and if the inverted file is whole. An older or a
    /// damaged manifest is as none, for a new one takes its place.
    ///
    /// # Errors
    /// When the folder is there and holds something else.
    pub fn current(folder: &Path, fresh: &IndexManifest) -> Result<Option<Self>> {
        let found = match Self::read(folder) {
            Err(Error::Unreadable { .. }) => None,
            found => found?,
        };
        let (file, blake3, measured) = (String::new(), String::new(), None);
        let same = |found: &Self| Self { file, blake3, measured, ..found.clone() } == *fresh;
        Ok(found.filter(same).filter(|found| found.whole(folder).is_ok()))
    }

    fn whole(&self, folder: &Path) -> Result<()> {
        let path = folder.join(&self.file);
        match file_digest(&path) {
            Ok((blake3, _)) if blake3 == self.blake3 => Ok(()),
            Ok(_) => Err(Error::unreadable(path.display(), "the file has changed since it was written", HINT)),
            Err(e) => Err(Error::unreadable(path.display(), e, HINT)),
        }
    }

    /// Writes the manifest; from then on the folder is this index.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let unfinished = unfinished(folder)?;
        let json = serde_json::to_vec_pretty(self).expect("our own types can be written as JSON");
        fs::write(unfinished.join(MANIFEST), json).map_err(Error::at(&unfinished))?;
        fs::rename(unfinished.join(MANIFEST), folder.join(MANIFEST)).map_err(Error::at(folder))?;
        fs::remove_dir(&unfinished).map_err(Error::at(&unfinished))?;
        for file in fs::read_dir(folder).map_err(Error::at(folder))?.flatten() {
            if ours(&file.file_name()) && file.file_name() != *self.file {
                fs::remove_file(file.path()).map_err(Error::at(&file.path()))?;
            }
        }
        Ok(())
    }
}

/// Whether a build made this, other than the manifest.
fn ours(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| name == UNFINISHED || (name.starts_with("ivf-") && name.ends_with(".safetensors")))
}

/// An empty folder for what is being written.
fn unfinished(folder: &Path) -> Result<PathBuf> {
    let path = folder.join(UNFINISHED);
    empty_folder(&path)?;
    Ok(path)
}

/// Saves an inverted file in a folder beside whatever is there, and writes its manifest. `fresh` names neither yet.
pub fn save_index(folder: &Path, index: &Ivf, fresh: IndexManifest) -> Result<()> {
    let unfinished = unfinished(folder)?.join("ivf.safetensors");
    index.save(&unfinished)?;
    let (blake3, _) = file_digest(&unfinished)?;
    fs::File::open(&unfinished).and_then(|file| file.sync_all()).map_err(Error::at(&unfinished))?;
    let file = format!("ivf-{}.safetensors", &blake3[..16]);
    fs::rename(&unfinished, folder.join(&file)).map_err(Error::at(folder))?;
    IndexManifest { file, blake3, ..fresh }.write(folder)
}

/// Opens the index of a folder for a pool, an encoder's queries and the current `news_vectors`.
///
/// # Errors
/// When there is none, or one of other articles, of another encoder or of other vectors.
pub fn open_index(
    folder: &Path,
    pool: &Pool,
    encoder: &str,
    vectors: &Digest,
    threads: usize,
) -> Result<(IndexManifest, Ivf)> {
    let manifest = IndexManifest::read(folder)?.ok_or_else(|| {
        let hint = "run `querent index` first, or give --exact";
        Error::unreadable(folder.display(), "there is no index of the news here", hint)
    })?;
    let what = format!("the index in {}", folder.display());
    check_encoder(&what, &manifest.encoder, encoder)?;
    let other = |expected: &str, got: String, hint: &str| Error::Mismatch {
        what: what.clone(),
        expected: expected.into(),
        got,
        hint: hint.into(),
    };
    if manifest.pool != pool.content() {
        let got = format!("{} others (candidates = \"{}\")", manifest.articles, manifest.candidates);
        let hint = "news or the candidates changed since: run index again, with the same candidates";
        return Err(other(&pool.about, got, hint));
    }
    if manifest.news_vectors != *vectors || manifest.format != IndexManifest::FORMAT {
        return Err(other("the current news_vectors", "earlier ones".into(), HINT));
    }
    manifest.whole(folder)?;
    let index = Ivf::open(&folder.join(&manifest.file), manifest.dimensions, manifest.articles, threads)?;
    Ok((manifest, index))
}

/// Measures an index against exact search: recall@10 and queries per second with 1, 2, 4 … and `probes` cells looked into. `about`:
/// what the queries `[queries · dimensions]` are.
pub fn measure(
    index: &Ivf,
    vectors: Vectors,
    queries: &[f32],
    about: String,
    probes: usize,
    threads: usize,
) -> Result<Measured> {
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
    Ok(Measured { queries: about, threads, exact_queries_per_second: per_second(exact_seconds), probes, by_probes })
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
