//! `index`: the inverted file over the candidates' vectors, as an artifact.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::Args;
use dataset::{Artifact, Draft, Error, Identity, Inputs, Progress, Resources, Result, Store, Whole};
use schemas::NewsVectors;
use serde::{Deserialize, Serialize};

use crate::pool::{Corpus, POOL};
use crate::{Candidates, Ivf, PoolSettings, Vectors, vectors};

const FILE: &str = "ivf.safetensors";
const ABOUT: &str = "index.json";
const HINT: &str = "run index again";

/// Builds an inverted file of the candidates' vectors: a folder that retrieve maps into memory.
#[derive(Debug, Clone, Args, Serialize, Deserialize)]
#[serde(default)]
pub struct Index {
    /// The articles in it
    #[command(flatten)]
    #[serde(flatten)]
    pub pool: PoolSettings,
    /// Cells that the articles are spread over (nlist) [default: eight times the root of their number]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub cells: Option<NonZeroUsize>,
    /// Whose vectors: none, `embed`'s; else those of the step `embed@NAME`.
    #[arg(skip)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vectors: Option<String>,
}

impl Default for Index {
    fn default() -> Self {
        dataset::defaults()
    }
}

/// How an index is searched.
#[derive(Debug, Clone, PartialEq, Eq, Args, Serialize, Deserialize)]
#[serde(default)]
pub struct SearchSettings {
    /// The index's folder [default: index.CANDIDATES under --data, with the name of the step whose vectors it is of]
    #[arg(long, value_name = "FOLDER")]
    #[serde(skip_serializing)]
    pub index: Option<PathBuf>,
    /// Cells that a search looks into (nprobe), unless every candidate is searched: `index --verify` shows what more or fewer would
    /// do [default: a quarter of the cells]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub probes: Option<NonZeroUsize>,
}

impl Default for SearchSettings {
    fn default() -> Self {
        dataset::defaults()
    }
}

fn at_least_one(number: &str) -> Result<NonZeroUsize, &'static str> {
    number.parse().map_err(|_| "expected a number, at least 1")
}

impl SearchSettings {
    /// The index's folder, for the vectors of `embed@NAME` or of `embed`.
    ///
    /// # Errors
    /// When none is named, and the datasets are not on this machine.
    pub fn folder(&self, store: &Store, candidates: Candidates, vectors: Option<&str>) -> Result<PathBuf> {
        let named = vectors.map_or_else(String::new, |name| format!(".{name}"));
        let beside = || Some(store.local_root()?.join(format!("index.{candidates}{named}")));
        self.index.clone().or_else(beside).ok_or_else(|| {
            let what = "index: expected a folder on this machine, for the index is mapped into memory";
            Error::usage(what, "give --index FOLDER")
        })
    }

    /// Cells of an index that a search looks into.
    pub fn probes(&self, index: &Ivf) -> usize {
        self.probes.map_or(index.cells().div_ceil(4), |probes| probes.get().min(index.cells()))
    }
}

/// What an index's folder holds, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexAbout {
    /// Candidates.
    pub articles: usize,
    /// Cells that they are spread over; 0: they are so few that they are searched exactly, without an index.
    pub cells: usize,
    /// Bytes that a search holds.
    pub held_bytes: usize,
    /// Bytes that are mapped into memory, and read where they are wanted.
    pub mapped_bytes: usize,
}

impl IndexAbout {
    /// What the folder of an index says.
    ///
    /// # Errors
    /// When there is no index.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(ABOUT);
        let json = std::fs::read(&path).map_err(Error::at(&path))?;
        serde_json::from_slice(&json).map_err(|e| Error::unreadable(path.display(), e, HINT))
    }
}

/// What an index is made of.
#[derive(Debug)]
pub struct IndexInputs {
    corpus: Corpus,
    vectors: Whole<NewsVectors>,
    /// Name of the vectors' encoder.
    encoder: String,
}

impl Artifact for Index {
    const NAME: &'static str = "index";
    const VERSION: u32 = 2;
    type Inputs = IndexInputs;

    fn inputs(&self, declare: &mut Inputs<'_>) -> Result<IndexInputs> {
        let corpus = self.pool.declare(declare)?;
        declare.remark(format!("of {}", corpus.about()));
        let (vectors, encoder) = vectors::declare_vectors(declare, self.vectors.as_deref())?;
        Ok(IndexInputs { corpus, vectors, encoder })
    }

    fn make(&self, inputs: &IndexInputs, draft: &Draft, resources: &Resources) -> Result<()> {
        let pool = inputs.corpus.open()?;
        let articles = pool.len();
        if articles <= self.pool.exact_up_to {
            return draft.write_json(ABOUT, &IndexAbout { articles, cells: 0, held_bytes: 0, mapped_bytes: 0 });
        }
        let vectors = Vectors::read(&inputs.vectors, &pool, &inputs.encoder)?;
        let cells = self.cells.map_or(Ivf::usual_cells(articles), NonZeroUsize::get);
        let assignments = Ivf::assignments(articles, cells);
        let progress = Progress::new(Self::NAME, "assignments", assignments, resources.progress);
        let index = Ivf::build(&vectors, cells, &|done| progress.advance(done, done))?;
        draft.write_through(FILE, |path| index.save(path))?;
        let (held_bytes, mapped_bytes) = index.memory_bytes();
        draft.write_json(ABOUT, &IndexAbout { articles, cells: index.cells(), held_bytes, mapped_bytes })
    }
}

/// Opens the index of a folder for the current candidates and `news_vectors`.
///
/// # Errors
/// When there is none, or one of other articles or of other vectors.
pub(crate) fn read_index(
    folder: &Path,
    corpus: &Corpus,
    vectors: &Whole<NewsVectors>,
    dimensions: usize,
    articles: usize,
) -> Result<Ivf> {
    match Identity::read(folder)? {
        Some(identity) => open_index(folder, &identity, corpus, vectors, dimensions, articles),
        None => Err(missing(folder)),
    }
}

/// There is no index, and too many articles to do without.
pub(crate) fn missing(folder: &Path) -> Error {
    let hint = "run `querent index` first, with the same candidates and exact_up_to, or give --exact";
    Error::unreadable(folder.display(), "there is no index of the news here", hint)
}

/// The same for an index whose identity is known.
pub(crate) fn open_index(
    folder: &Path,
    identity: &Identity,
    corpus: &Corpus,
    vectors: &Whole<NewsVectors>,
    dimensions: usize,
    articles: usize,
) -> Result<Ivf> {
    let lineage = &identity.lineage;
    let what = format!("the index in {}", folder.display());
    if (lineage.job.as_str(), lineage.stage_version) != (Index::NAME, Index::VERSION) {
        let got = format!("{} of version {}", lineage.job, lineage.stage_version);
        return Err(Error::retry(format!("{what}: expected one of this program, got {got}"), HINT));
    }
    if lineage.values.get(POOL).is_none_or(|pool| *pool != corpus.digest) {
        let got = lineage.remark.as_deref().unwrap_or("of others");
        let hint = "news or the candidates changed since: run index again, with the same candidates";
        return Err(Error::retry(format!("{what}: expected one of {}, got one {got}", corpus.about()), hint));
    }
    let dataset = vectors.snapshot().dataset.name();
    if lineage.inputs.get(dataset).is_none_or(|input| input.content != vectors.manifest().content) {
        return Err(Error::retry(
            format!("{what}: expected one of the current {dataset}, got one of earlier ones, or of others"),
            HINT,
        ));
    }
    if !identity.files.contains_key(FILE) {
        return Err(missing(folder));
    }
    identity.check(folder, FILE)?;
    Ivf::open(&folder.join(FILE), dimensions, articles)
}
