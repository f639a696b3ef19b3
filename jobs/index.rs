//! `querent index`: the inverted file over the candidates' vectors.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Result;
use clap::Args;
use dataset::plan::Digest;
use dataset::{Dataset, Origin, Progress, Runner, Summary};
use metrics::popularity_query;
use news::{
    Candidates, CountClicks, IndexManifest, Ivf, Measured, Pool, Vectors, measure, open_index, save_index, titles,
};
use schemas::NewsVectors;
use serde::{Deserialize, Serialize};
use text::Encoder;

use crate::context::{ConfigError, Context, Shared};
use crate::embed::{self, EncoderFlags};
use crate::output;

/// Titles that `--verify` asks with.
const QUERIES: usize = 2_000;

/// Build the index that retrieve searches: an inverted file of the candidates' vectors.
///
/// Reads news and news_vectors. Writes a folder: the inverted file (safetensors), and index.json, which says what it is of. The
/// articles are spread over cells by k-means; a query is compared with those of the cells nearest to it (--probes). Up to 20,000
/// candidates are searched exactly, which is fast enough, and need no index (--exact-up-to 0 builds one all the same).
#[derive(Debug, Args)]
pub(crate) struct Flags {
    #[command(flatten)]
    pub(crate) shared: Shared,
    #[command(flatten)]
    pub(crate) encoder: EncoderFlags,
    #[command(flatten)]
    pub(crate) settings: Settings,
    /// Measure recall@10 and queries per second against exact search for 1, 2, 4 … cells looked into, with 2,000 of the candidates'
    /// titles as queries, and write them down. Queries that are less like an article find less
    #[arg(long)]
    verify: bool,
}

#[derive(Debug, Default, Args, Serialize)]
pub(crate) struct Settings {
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) pool: PoolFlags,
    /// Cells that the articles are spread over (nlist) [default: eight times the root of their number]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    cells: Option<NonZeroUsize>,
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
    /// Cells that a search looks into (nprobe), unless every candidate is searched: `index --verify` shows what more or fewer would
    /// do [default: a quarter of the cells]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    probes: Option<NonZeroUsize>,
}

fn at_least_one(number: &str) -> Result<NonZeroUsize, &'static str> {
    number.parse().map_err(|_| "expected a number, at least 1")
}

/// `[index]`, resolved. `retrieve` reads it too.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Resolved {
    pub(crate) candidates: Candidates,
    pub(crate) candidate_days: u32,
    index: Option<PathBuf>,
    pub(crate) exact_up_to: usize,
    cells: Option<NonZeroUsize>,
    probes: Option<NonZeroUsize>,
}

impl Default for Resolved {
    fn default() -> Self {
        Resolved {
            candidates: Candidates::default(),
            candidate_days: 3,
            index: None,
            exact_up_to: 20_000,
            cells: None,
            probes: None,
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

    /// Cells of an index that a search looks into.
    pub(crate) fn probes(&self, index: &Ivf) -> usize {
        self.probes.map_or(index.cells().div_ceil(4), |probes| probes.get().min(index.cells()))
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
    let vectors = Dataset::new(&runner.store, "news_vectors").snapshot::<NewsVectors>()?.reference();
    let fresh = IndexManifest {
        format: IndexManifest::FORMAT,
        file: String::new(),
        blake3: String::new(),
        encoder: encoder.name().into(),
        news_vectors: vectors.content.clone(),
        models: encoder.digests().clone(),
        candidates: settings.candidates,
        pool: pool.content(),
        articles: pool.len(),
        dimensions: encoder.dimensions(),
        cells: settings.cells.map_or(Ivf::usual_cells(pool.len()), NonZeroUsize::get),
        measured: None,
    };
    let current = IndexManifest::current(&folder, &fresh)?;
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
        verify_index(&settings, context, &pool, &folder, &encoder, &vectors.content)?;
    }
    Ok(counted)
}

fn build(context: &Context, pool: &Pool, folder: &Path, manifest: IndexManifest) -> Result<()> {
    let runner = &context.runner;
    let vectors = Vectors::read(&runner.store, pool, &manifest.encoder)?;
    let started = Instant::now();
    let assignments = Ivf::assignments(vectors.len(), manifest.cells);
    let progress = Progress::new("index", "assignments", assignments, runner.progress);
    let index = Ivf::build(&vectors, manifest.cells, runner.threads, &|done| progress.advance(done, done))?;
    let seconds = started.elapsed().as_secs_f64();
    save_index(folder, &index, manifest)?;
    let (held, mapped) = index.memory_bytes();
    output::note(&format!(
        "index: {} in {} cells, built in {seconds:.1} s ({:.0} articles/s), a search holds {:.1} MB and maps {:.1} MB, in {}",
        pool.about,
        index.cells(),
        pool.len() as f64 / seconds,
        held as f64 / 1e6,
        mapped as f64 / 1e6,
        folder.display()
    ))
}

fn verify_index(
    settings: &Resolved,
    context: &Context,
    pool: &Pool,
    folder: &Path,
    encoder: &Encoder,
    vectors: &Digest,
) -> Result<()> {
    let Runner { store, threads, .. } = &context.runner;
    let (manifest, index) = open_index(folder, pool, encoder.name(), vectors, *threads)?;
    let titles = titles(store, pool, QUERIES)?;
    let texts: Vec<&str> = titles.iter().map(String::as_str).collect();
    let queries = encoder.queries(&texts)?.concat();
    let about = format!("{} titles", output::grouped(texts.len() as u64));
    let vectors = Vectors::read(store, pool, encoder.name())?;
    let measured = measure(&index, vectors, &queries, about, settings.probes(&index), *threads)?;
    output::note(&table(&measured))?;
    Ok(IndexManifest { measured: Some(measured), ..manifest }.write(folder)?)
}

fn table(measured: &Measured) -> String {
    let Measured { queries, threads, exact_queries_per_second, probes, by_probes } = measured;
    let mut table = format!("index: against exact search, {queries} as queries, {threads} threads\n");
    table += "  cells looked into  recall@10  queries/s\n";
    for row in by_probes {
        let chosen = if row.probes == *probes { "  <- retrieve" } else { "" };
        table += &format!("  {:17}  {:9.4}  {:9.0}{chosen}\n", row.probes, row.recall_at_10, row.queries_per_second);
    }
    table + &format!("  {:>17}  {:9.4}  {exact_queries_per_second:9.0}", "all, exactly", 1.0)
}
