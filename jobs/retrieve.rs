//! `querent retrieve`: queries, or a reference method, to recommendations.

use clap::Args;
use dataset::{Dataset, Error, Result, Summary};
use news::{METHODS, MedoidSettings, Medoids};
use serde::{Deserialize, Serialize};

use crate::embed::vectors;
use crate::fallback::fallback;
use crate::frame::{Context, Job};

/// Recommend news to every user: what their queries fetch, or a reference method.
///
/// Reads profiles and news, and for methods with queries news_vectors and the index; clean_events, whose clicks it counts
/// (popularity); events, whose articles are recommended to nobody again.
/// Methods: interests (the queries of the dataset interests, and of each interests.NAME that there is, as a method NAME), NAME (only
/// those), own-titles (each user's most recent news titles as queries), themes (a behaviour from the middle of each of the user's themes as
/// queries), attainable (of simulated users, the latent_interests themselves as queries: what can be reached), popularity (the most clicked
/// articles before the cut-off), random. Each writes a dataset recommendations.METHOD, with the query that fetched each article. Readers of
/// whom a method has no list are shown popular candidates, whatever the method: the dataset fallback.CANDIDATES.
///
/// A step retrieve@STEP writes recommendations.METHOD.STEP. So the same queries can be put to several retrievers, and evaluate and
/// report show them side by side. So is best-of-n: where generate --keep-all kept N lists of each user, `querent retrieve@best4 --best-of 4` asks
/// the queries of the best of the first four.
#[derive(Debug, Args, Serialize, Deserialize)]
#[group(skip)]
pub(crate) struct Retrieve {
    /// Methods to recommend by, with commas between
    #[arg(long, value_name = "METHODS", value_delimiter = ',', default_values_t = ["interests".to_owned()])]
    methods: Vec<String>,
    /// Also rank what impressions showed each user: writes shown.METHOD, for evaluate --impressions
    #[arg(long)]
    impressions: bool,
    #[command(flatten)]
    #[serde(flatten)]
    medoids: MedoidSettings,
    #[command(flatten)]
    #[serde(flatten)]
    stage: news::Retrieve,
}

const INTERESTS: &str = "interests";

impl Job for Retrieve {
    const NAME: &'static str = "retrieve";
    const SHARES: &'static [&'static str] = &["embed", "index"];
    const NAMED: bool = true;

    fn check(&self) -> Result<()> {
        self.medoids.themes.check(Self::NAME)?;
        let checked = |method: &String| {
            let stage = self.stage.by(method);
            stage.check()?;
            if self.impressions { stage.of_shown().check() } else { Ok(()) }
        };
        self.methods.iter().try_for_each(checked)
    }

    fn run(&self, context: &Context) -> Result<Vec<Summary>> {
        let (step, vectors) = (context.step().name.clone(), vectors(context)?);
        let settings = news::Retrieve { step, vectors, ..self.stage.clone() };
        let mut stages: Vec<_> = self.methods(context)?.iter().map(|method| settings.by(method)).collect();
        // What steps share bears no step's name, and neither do lists: theirs is in the method's.
        let context = &context.unnamed();
        let mut summaries = fallback(context, &settings.pool)?;
        // Under another encoder the themes are those that were found by the first.
        if stages.iter().any(news::Retrieve::reads_themes) && settings.vectors.is_none() {
            let medoids =
                Medoids { settings: self.medoids, among: self.stage.among, encoder: self.stage.encoder.clone() };
            let themes = context.run(&medoids, &[Medoids::OUTPUT])?;
            if !themes.is_complete() {
                // A dry run, or a shard: the lists wait until the themes are there.
                stages.retain(|stage| !stage.reads_themes());
            }
            summaries.push(themes);
        }
        if self.impressions {
            stages = stages.into_iter().flat_map(|stage| [stage.clone(), stage.of_shown()]).collect();
        }
        for stage in stages {
            let summary = context.run(&stage, &[&stage.output()])?;
            let of = if stage.shown { " of what was shown" } else { "" };
            summaries.push(Summary { job: format!("{} {}{of}", summary.job, stage.name()), ..summary });
        }
        Ok(summaries)
    }
}

impl Retrieve {
    /// The methods, each once, with the steps' own for `interests`.
    fn methods(&self, context: &Context) -> Result<Vec<String>> {
        let store = context.store();
        let is_there = |dataset: &str| Ok::<_, Error>(Dataset::new(store, dataset).current()?.is_some());
        let mut methods: Vec<String> = Vec::new();
        for method in &self.methods {
            let dataset = format!("{INTERESTS}.{method}");
            if method == INTERESTS {
                for folder in store.folders()? {
                    let named = folder.strip_prefix(INTERESTS).and_then(|rest| rest.strip_prefix('.'));
                    if (named.is_some() || folder == INTERESTS) && is_there(&folder)? {
                        methods.push(named.unwrap_or(INTERESTS).to_owned());
                    }
                }
                if methods.is_empty() {
                    methods.push(INTERESTS.to_owned());
                }
            } else if METHODS.contains(&method.as_str())
                || context.has_step(&format!("generate@{method}"))
                || is_there(&dataset)?
            {
                methods.push(method.clone());
            } else {
                let expected = format!("some of {}, or NAME of a dataset interests.NAME", METHODS.join(", "));
                let hint = "lists of another system come in with `querent import`";
                return Err(Error::setting("retrieve.methods", expected, method, hint));
            }
        }
        let mut seen = std::collections::BTreeSet::new();
        methods.retain(|method| seen.insert(method.clone()));
        // The stage has a field of that name, which is set for each method.
        if !self.stage.method.is_empty() || self.stage.interests.is_some() || self.stage.shown {
            let what = "[retrieve]: it has no setting method, interests or shown";
            return Err(Error::usage(what, "did you mean \"methods\"? What was shown is ranked with \"impressions\""));
        }
        match methods.is_empty() {
            false => Ok(methods),
            true => Err(Error::setting("retrieve.methods", "some methods", "none", METHODS.join(", "))),
        }
    }
}
