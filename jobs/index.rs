//! `querent index`: the graph over the candidates' vectors.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Result;
use clap::Args;
use dataset::{Dataset, Origin, Progress, Summary};
use metrics::popularity_query;
use news::{
    Candidates, CountClicks, Hnsw, HnswSettings, IndexManifest, Pool, Vectors, build_index, measure, open_index,
};
use schemas::NewsVectors;
use serde::{Deserialize, Serialize};

use crate::context::{ConfigError, Context, Shared};
use crate::embed::{self, EncoderFlags};
use crate::output;

/// Build the index that retrieve searches: an HNSW graph over the candidates' vectors.
///
/// Reads news and news_vectors. Writes a folder: the graph, and index.json, which says what it is of. Up to 20,000 candidates are
/// searched exactly, which is faster, and need no index (--exact-up-to 0 builds one all the same).
#[derive(Debug, Args)]
pub(crate) struct Flags {
    #[command(flatten)]
    pub(crate) shared: Shared,
    #[command(flatten)]
    pub(crate) encoder: EncoderFlags,
    #[command(flatten)]
    pub(crate) settings: Settings,
    /// Measure recall@10 and queries per second against exact search, and write them down
    #[arg(long)]
    verify: bool,
}

#[derive(Debug, Default, Args, Serialize)]
pub(crate) struct Settings {
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) pool: PoolFlags,
    /// Links of a node (M) [default: 16]
    #[arg(long, value_name = "N")]
    links: Option<usize>,
    /// Nodes looked at when one is added (efConstruction) [default: 128]
    #[arg(long, value_name = "N")]
    expansion_add: Option<usize>,
    /// Nodes looked at in a search, at least (ef) [default: 64]
    #[arg(long, value_name = "N")]
    expansion_search: Option<usize>,
}

/// Which articles, and where their index lies.
#[derive(Debug, Default, Clone, Args, Serialize)]
pub(crate) struct PoolFlags {
    /// Which articles may be recommended: live (published from candidate-days before the cut-off to the window's end), before
    /// (known before the cut-off), or all [default: live]
    #[arg(long, value_name = "WHICH", value_parser = ["live", "before", "all"])]
    candidates: Option<String>,
    /// How long before the cut-off live articles may have been published [default: 3]
    #[arg(long, value_name = "DAYS")]
    candidate_days: Option<u32>,
    /// The index's folder [default: index.CANDIDATES under --data]
    #[arg(long, value_name = "FOLDER")]
    index: Option<PathBuf>,
    /// So many candidates and fewer are searched exactly [default: 20000]
    #[arg(long, value_name = "N")]
    exact_up_to: Option<usize>,
}

/// `[index]`, resolved. `retrieve` reads it too.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Resolved {
    pub(crate) candidates: Candidates,
    pub(crate) candidate_days: u32,
    index: Option<PathBuf>,
    pub(crate) exact_up_to: usize,
    links: usize,
    expansion_add: usize,
    pub(crate) expansion_search: usize,
}

impl Default for Resolved {
    fn default() -> Self {
        let HnswSettings { links, expansion_add, expansion_search } = HnswSettings::default();
        Resolved {
            candidates: Candidates::default(),
            candidate_days: 3,
            index: None,
            exact_up_to: 20_000,
            links,
            expansion_add,
            expansion_search,
        }
    }
}

impl Resolved {
    /// The section `[index]` and a job's flags.
    pub(crate) fn new(context: &Context, flags: &impl Serialize) -> Result<Self> {
        context.settings("index", flags)
    }

    /// The index's folder.
    pub(crate) fn folder(&self, context: &Context) -> Result<PathBuf> {
        let local = context.runner.store.local_root();
        let folder = self.index.clone().or_else(|| Some(local?.join(format!("index.{}", self.candidates))));
        folder.ok_or_else(|| {
            let what = "[index]: index: expected a folder on this machine, for the index is mapped into memory";
            ConfigError::new(what, "give --index FOLDER").into()
        })
    }

    /// The candidates, for which the articles' clicks are counted when they decide.
    pub(crate) fn pool(&self, context: &Context) -> Result<(Pool, Vec<Summary>)> {
        let counted = match self.candidates {
            Candidates::Before => vec![count_clicks(context)?],
            _ => Vec::new(),
        };
        Ok((Pool::open(&context.runner.store, self.candidates, self.candidate_days)?, counted))
    }
}

/// Brings `popularity` up to date.
pub(crate) fn count_clicks(context: &Context) -> Result<Summary> {
    let runner = dataset::Runner { shard: None, ..context.runner.clone() };
    let query = popularity_query(&runner.store, runner.threads, runner.memory_limit)?;
    Ok(runner.run(&CountClicks {}, &query, &["popularity"], Origin::default())?)
}

pub(crate) fn main(flags: Flags) -> Result<()> {
    let Flags { shared, encoder, settings, verify } = flags;
    output::print_all(&job(&Context::new(&shared)?, &encoder, &settings, verify)?)
}

pub(crate) fn job(
    context: &Context,
    encoder: &EncoderFlags,
    settings: &Settings,
    verify: bool,
) -> Result<Vec<Summary>> {
    let settings = Resolved::new(context, settings)?;
    let runner = &context.runner;
    let (pool, counted) = settings.pool(context)?;
    if pool.len() <= settings.exact_up_to {
        output::note(&format!("index: none needed: {}, which are searched exactly", pool.about))?;
        return Ok(counted);
    }
    let encoder = embed::encoder(context, encoder)?;
    let folder = settings.folder(context)?;
    let before = IndexManifest::read(&folder)?;
    let vectors = Dataset::new(&runner.store, "news_vectors").snapshot::<NewsVectors>()?.reference();
    let graph = HnswSettings {
        links: settings.links,
        expansion_add: settings.expansion_add,
        expansion_search: settings.expansion_search,
    };
    let fresh = IndexManifest {
        file: String::new(),
        blake3: String::new(),
        encoder: encoder.name().into(),
        news_vectors: vectors.content,
        models: encoder.digests().clone(),
        candidates: settings.candidates,
        pool: pool.content(),
        articles: pool.len(),
        dimensions: encoder.dimensions(),
        settings: graph.clone(),
        measured: None,
    };
    let same = |m: &IndexManifest| {
        IndexManifest { file: String::new(), blake3: String::new(), measured: None, ..m.clone() } == fresh
    };
    let current = before.filter(same);
    if runner.dry_run {
        let what = if current.is_some() { "up to date" } else { "would run: there is no such index" };
        output::note(&format!("index: {what}"))?;
        return Ok(counted);
    }
    match current {
        Some(_) => output::note(&format!("index: up to date: {}, in {}", pool.about, folder.display()))?,
        None => build(context, &pool, &folder, fresh)?,
    }
    if verify {
        measured(context, &pool, &folder, encoder.name())?;
    }
    Ok(counted)
}

fn build(context: &Context, pool: &Pool, folder: &Path, manifest: IndexManifest) -> Result<()> {
    let runner = &context.runner;
    let vectors = Vectors::read(&runner.store, pool, &manifest.encoder)?;
    let started = Instant::now();
    let progress = Progress::new("index", "articles", vectors.len().div_ceil(Hnsw::STEP) as u64, runner.progress);
    let graph = Hnsw::build(&vectors, &manifest.settings, runner.threads, &|done| progress.step(done))?;
    let seconds = started.elapsed().as_secs_f64();
    let (file, blake3) = build_index(folder, &graph)?;
    let manifest = IndexManifest { file, blake3, ..manifest };
    manifest.write(folder)?;
    output::note(&format!(
        "index: {}, built in {seconds:.1} s ({:.0} articles/s), {:.1} MB in memory, in {}",
        pool.about,
        pool.len() as f64 / seconds,
        graph.memory_bytes() as f64 / 1e6,
        folder.display()
    ))
}

fn measured(context: &Context, pool: &Pool, folder: &Path, encoder: &str) -> Result<()> {
    let (manifest, graph) = open_index(folder, pool, encoder, None)?;
    let vectors = Vectors::read(&context.runner.store, pool, encoder)?;
    let measured = measure(&graph, vectors, 10_000, context.runner.threads)?;
    output::note(&format!(
        "index: recall@10 {:.4} against exact search, {:.0} queries/s ({:.0} exact), {} queries, {} threads",
        measured.recall_at_10,
        measured.queries_per_second,
        measured.exact_queries_per_second,
        output::grouped(measured.queries as u64),
        measured.threads
    ))?;
    Ok(IndexManifest { measured: Some(measured), ..manifest }.write(folder)?)
}
