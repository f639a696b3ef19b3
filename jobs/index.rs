//! `querent index`: the inverted file over the candidates' vectors.

use std::path::PathBuf;

use clap::Args;
use dataset::account::grouped;
use dataset::{Dataset, Outcome, Result, Summary};
use metrics::Sql;
use news::{EncoderSettings, IndexAbout, SearchSettings};
use schemas::Popularity;
use serde::{Deserialize, Serialize};

use crate::embed::vectors;
use crate::frame::{Context, Job, output};

/// Build the index that retrieve searches: an inverted file of the candidates' vectors.
///
/// Reads news and news_vectors. Writes a folder: the inverted file (safetensors), and index.json, which says what it holds. The
/// articles are spread over cells by k-means; a query is compared with those of the cells nearest to it (--probes). Up to 20,000
/// candidates are searched exactly, which is fast enough, and need no index (--exact-up-to 0 builds one all the same).
#[derive(Debug, Args, Serialize, Deserialize)]
#[group(skip)]
pub(crate) struct Index {
    #[command(flatten)]
    #[serde(flatten)]
    artifact: news::Index,
    #[command(flatten)]
    #[serde(flatten)]
    search: SearchSettings,
    #[command(flatten)]
    #[serde(flatten)]
    encoder: EncoderSettings,
    /// Measure recall@10 and queries per second against exact search for 1, 2, 4 … cells looked into, with 2,000 of the candidates'
    /// titles as queries, and write them down. Queries that are less like an article find less
    #[arg(long)]
    verify: bool,
}

impl Job for Index {
    const NAME: &'static str = "index";
    const SHARES: &'static [&'static str] = &["embed"];
    const NAMED: bool = true;

    fn run(&self, context: &Context) -> Result<Vec<Summary>> {
        let pool = &self.artifact.pool;
        let mut summaries = popularity(context, pool.reads_popularity())?;
        let news = Dataset::new(context.store(), "news").current()?;
        if let Some(articles) = news.map(|news| news.rows).filter(|rows| *rows <= pool.exact_up_to as u64) {
            context.note(&format!("none needed: {} articles, which are searched exactly", grouped(articles)))?;
            return Ok(summaries);
        }
        let artifact = news::Index { vectors: vectors(context)?, ..self.artifact.clone() };
        let folder = self.search.folder(context.store(), pool.candidates, artifact.vectors.as_deref())?;
        let made = context.make(&artifact, &folder)?;
        let would_run = matches!(made.outcome, Outcome::WouldRun(_));
        summaries.push(made);
        if would_run {
            return Ok(summaries);
        }
        let IndexAbout { articles, cells, held_bytes, mapped_bytes } = IndexAbout::read(&folder)?;
        let articles = grouped(articles as u64);
        if cells == 0 {
            context.note(&format!("none needed: {articles} candidates, which are searched exactly"))?;
        } else {
            let (held, mapped) = (output::megabytes(held_bytes as u64), output::megabytes(mapped_bytes as u64));
            context
                .note(&format!("{articles} candidates in {cells} cells; a search holds {held} and maps {mapped}"))?;
            if self.verify {
                let measured = artifact.verify(&folder, &self.search, &self.encoder, &context.runner.resources)?;
                context.note(&measured.to_string())?;
            }
        }
        Ok(summaries)
    }

    fn target(&self, context: &Context) -> Result<Option<PathBuf>> {
        let vectors = vectors(context)?;
        self.search.folder(context.store(), self.artifact.pool.candidates, vectors.as_deref()).map(Some)
    }
}

/// Counts the articles' clicks, where somebody reads them.
pub(crate) fn popularity(context: &Context, wanted: bool) -> Result<Vec<Summary>> {
    let count = || context.unnamed().unsharded().run(&Sql::<Popularity>::default(), &["popularity"]);
    wanted.then(count).into_iter().collect()
}
