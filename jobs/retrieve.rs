//! `querent retrieve`: queries, or a reference method, to recommendations.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::Result;
use clap::Args;
use dataset::{Dataset, InputRef, Origin, Summary};
use news::{
    Exact, Fetch, Fusion, People, Pool, Queries, QueryVectors, Retrieve, Retriever, Vectors, open_index, popularity,
};
use schemas::{News, NewsVectors, Popularity};
use serde::{Deserialize, Serialize};
use serde_json::json;
use text::Encoder;

use crate::context::{ConfigError, Context, Shared};
use crate::embed::{self, EncoderFlags};
use crate::index::{PoolFlags, Resolved as Index, count_clicks};
use crate::output;

/// Recommend news to every user: what their queries fetch, or a reference method.
///
/// Methods: interests (the queries of the dataset interests), own-titles (each user's most recent news titles as queries), popularity
/// (the most clicked articles before the cut-off), random. Each writes a dataset recommendations.METHOD, with the query that fetched
/// each article.
#[derive(Debug, Args)]
pub(crate) struct Flags {
    #[command(flatten)]
    pub(crate) shared: Shared,
    #[command(flatten)]
    pub(crate) encoder: EncoderFlags,
    #[command(flatten)]
    pub(crate) pool: PoolFlags,
    #[command(flatten)]
    pub(crate) settings: Settings,
}

#[derive(Debug, Default, Args, Serialize)]
pub(crate) struct Settings {
    /// Methods to recommend by, with commas between [default: interests]
    #[arg(long, value_name = "METHODS", value_delimiter = ',')]
    methods: Option<Vec<String>>,
    /// Articles for each user [default: 100]
    #[arg(long, value_name = "N")]
    articles: Option<usize>,
    /// How the lists of a user's queries become one: max (best similarity), rrf (reciprocal ranks) or round-robin [default: max]
    #[arg(long, value_name = "HOW", value_parser = ["max", "rrf", "round-robin"])]
    fusion: Option<String>,
    /// Recommend articles that were read before, too
    #[arg(long)]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    keep_seen: bool,
    /// Search every article, however many there are
    #[arg(long)]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    exact: bool,
    /// Titles that own-titles asks with [default: 10]
    #[arg(long, value_name = "N")]
    titles: Option<usize>,
    /// Seed of random [default: 1]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

/// `[retrieve]`, resolved.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Resolved {
    methods: Vec<String>,
    articles: usize,
    fusion: Fusion,
    keep_seen: bool,
    exact: bool,
    titles: usize,
    seed: u64,
}

impl Default for Resolved {
    fn default() -> Self {
        Resolved {
            methods: vec!["interests".into()],
            articles: 100,
            fusion: Fusion::default(),
            keep_seen: false,
            exact: false,
            titles: 10,
            seed: 1,
        }
    }
}

/// Methods of our own.
pub(crate) const METHODS: [&str; 4] = ["interests", "own-titles", "popularity", "random"];

pub(crate) fn main(flags: Flags) -> Result<()> {
    let Flags { shared, encoder, pool, settings } = flags;
    output::print_all(&job(&Context::new(&shared)?, &encoder, &pool, &settings)?)
}

pub(crate) fn job(
    context: &Context,
    encoder: &EncoderFlags,
    pool: &PoolFlags,
    flags: &Settings,
) -> Result<Vec<Summary>> {
    let settings: Resolved = context.settings("retrieve", flags)?;
    if let Some(unknown) = settings.methods.iter().find(|m| !METHODS.contains(&m.as_str())) {
        let what = format!("[retrieve]: methods: expected some of {}, got {unknown:?}", METHODS.join(", "));
        return Err(ConfigError::new(what, "lists of another system come in with `querent import`").into());
    }
    let index = Index::new(context, pool)?;
    let (pool, mut summaries) = index.pool(context)?;
    output::note(&format!("retrieve: from {}", pool.about))?;
    let encoder = match settings.methods.iter().any(|m| m == "interests" || m == "own-titles") {
        true => Some(embed::encoder(context, encoder)?),
        false => None,
    };
    for method in &settings.methods {
        if method == "popularity" {
            summaries.push(count_clicks(context)?);
        }
        let job = Job { context, settings: &settings, index: &index, pool: &pool, encoder: encoder.as_ref() };
        summaries.push(job.recommend(method)?);
    }
    Ok(summaries)
}

struct Job<'a> {
    context: &'a Context,
    settings: &'a Resolved,
    index: &'a Index,
    pool: &'a Pool,
    encoder: Option<&'a Encoder>,
}

impl Job<'_> {
    fn recommend(&self, method: &str) -> Result<Summary> {
        let Job { context, settings, index, pool, encoder } = self;
        let runner = &context.runner;
        let reference = |name: &str| Dataset::new(&runner.store, name);
        let mut others = BTreeMap::from([("news".to_owned(), reference("news").snapshot::<News>()?.reference())]);
        let mut origin = Origin::default();
        let mut decides = json!({ "candidates": index.candidates, "candidate_days": index.candidate_days });
        let started = Instant::now();
        let (queries, fetch) = match (method, encoder) {
            ("popularity", _) => {
                others.insert("popularity".into(), reference("popularity").snapshot::<Popularity>()?.reference());
                (Queries::None, Fetch::Popularity(popularity(&runner.store, pool)?))
            }
            ("random", _) => {
                origin.seed = Some(settings.seed);
                (Queries::None, Fetch::Random { seed: settings.seed })
            }
            (_, Some(encoder)) => {
                let vectors = reference("news_vectors").snapshot::<NewsVectors>()?.reference();
                others.insert("news_vectors".into(), vectors.clone());
                origin.models = encoder.digests().clone();
                let retriever = if settings.exact || pool.len() <= index.exact_up_to {
                    decides["search"] = json!("exact");
                    output::note("retrieve: every one of them is looked at")?;
                    Retriever::Exact(Exact::new(Vectors::read(&runner.store, pool, encoder.name())?)?)
                } else {
                    let folder = index.folder(context)?;
                    let (manifest, ivf) = open_index(&folder, pool, encoder.name(), &vectors.content, runner.threads)?;
                    let probes = index.probes(&ivf);
                    decides["search"] = json!({ "probes": probes });
                    output::note(&format!("retrieve: {probes} of {} cells are looked into", ivf.cells()))?;
                    others.insert("index".into(), InputRef { version: 1, content: manifest.blake3 });
                    Retriever::Ivf { index: ivf, probes }
                };
                decides["encoder"] = json!(encoder.name());
                let queries = match method {
                    "own-titles" => {
                        decides["titles"] = json!(settings.titles);
                        Queries::OwnTitles(settings.titles)
                    }
                    _ => Queries::Interests,
                };
                (queries, Fetch::Queries { vectors: QueryVectors::new(encoder)?, retriever: Box::new(retriever) })
            }
            (_, None) => unreachable!("methods with queries have an encoder"),
        };
        let source = People::open(&runner.store, queries, settings.keep_seen, others)?;
        let stage = Retrieve {
            method: method.to_owned(),
            fusion: settings.fusion,
            articles: settings.articles,
            keep_seen: settings.keep_seen,
            settings: decides,
            pool,
            fetch: &fetch,
        };
        origin.remark = Some(format!("from {}", pool.about));
        let summary = runner.run(&stage, &source, &[&format!("recommendations.{method}")], origin)?;
        if let Fetch::Queries { vectors, .. } = &fetch
            && vectors.texts() > 0
        {
            let seconds = started.elapsed().as_secs_f64();
            output::note(&format!(
                "retrieve: {} distinct queries, {:.0} queries/s with their embedding",
                output::grouped(vectors.texts()),
                vectors.texts() as f64 / seconds
            ))?;
        }
        Ok(summary)
    }
}
