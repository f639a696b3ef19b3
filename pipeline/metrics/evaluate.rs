//! `evaluate`: every user's list against what the user clicked in the window, by `sql/metrics.sql`, bucket by bucket.

use std::collections::BTreeMap;

use dataset::account::grouped;
use dataset::{ByPartition, Dataset, Done, Error, Inputs, Kind, Resources, Result, Rows, Stage, Store, Summary, Whole};
use schemas::{Fallback, Interests, Profiles, Recommendations, Truth, UserMetrics};
use serde::{Deserialize, Serialize};

use crate::engine::Engine;
use crate::judge::{self, Judged};
use crate::pools::{self, Pools, pool_of};
use crate::seeds::seeds;

/// The datasets of lists: this, and the method's name.
const PREFIX: &str = "recommendations.";

/// Which methods are judged, and by which metrics.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, clap::Args)]
#[serde(default)]
pub struct Evaluate {
    /// Methods to compare, with commas between [default: all there are]
    #[arg(long, value_name = "METHODS", value_delimiter = ',')]
    pub methods: Vec<String>,
    /// Ranks at which lists are cut
    #[arg(long, value_name = "RANKS", value_delimiter = ',', default_values_t = [5, 10])]
    pub cuts: Vec<u32>,
    /// Also recall by what a list of k can reach
    #[arg(long)]
    pub recall_capped: bool,
    /// Also MIND's own reciprocal rank
    #[arg(long)]
    pub mrr_mind: bool,
    /// Users who count, for every method alike
    #[arg(long, value_name = "USERS", value_enum, default_value_t)]
    pub among: Among,
}

/// Which users with truth count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Among {
    /// All with clicks in the window
    #[default]
    All,
    /// Only those that interests names, where not all were asked for lists
    Interests,
}

impl Default for Evaluate {
    fn default() -> Self {
        dataset::defaults()
    }
}

/// The methods that there are lists of, by name.
pub fn methods(store: &Store) -> Result<Vec<String>> {
    let mut methods = Vec::new();
    for folder in store.folders()? {
        // Work that was never committed leaves a folder too.
        if let Some(method) = folder.strip_prefix(PREFIX)
            && Dataset::new(store, &folder).current()?.is_some()
        {
            methods.push(method.to_owned());
        }
    }
    Ok(methods)
}

impl Evaluate {
    /// The same with methods by name (all that there are, where none is named) and cuts in order, each once.
    ///
    /// # Errors
    /// When there are no recommendations, or a cut is no rank.
    pub fn resolved(mut self, store: &Store) -> Result<Self> {
        if self.methods.is_empty() {
            self.methods = methods(store)?;
        }
        self.methods.sort_unstable();
        self.methods.dedup();
        self.cuts.sort_unstable();
        self.cuts.dedup();
        if self.methods.is_empty() {
            let what = format!("{}: there are no recommendations", store.root());
            return Err(Error::usage(what, "run `querent retrieve` first").of_kind(Kind::Missing));
        }
        self.check()?;
        Ok(self)
    }

    /// Checks the cuts, in whatever order they are given.
    ///
    /// # Errors
    /// When there is none, or one that is no rank.
    pub fn check_cuts(&self) -> Result<()> {
        let ranks = 1..=i32::MAX as u32;
        if self.cuts.is_empty() || !self.cuts.iter().all(|k| ranks.contains(k)) {
            let expected = format!("ranks from 1 to {}", ranks.end());
            return Err(Error::setting("evaluate.cuts", expected, format!("{:?}", self.cuts), "such as 5,10"));
        }
        Ok(())
    }

    fn check(&self) -> Result<()> {
        self.check_cuts()?;
        if !self.cuts.is_sorted_by(|a, b| a < b) {
            return Err(Error::bug("cuts that are not in order"));
        }
        if self.methods.is_empty() || !self.methods.is_sorted_by(|a, b| a < b) {
            let got = format!("{:?}", self.methods);
            return Err(Error::setting(
                "evaluate.methods",
                "names of methods, each once",
                got,
                "such as interests,popular",
            ));
        }
        Ok(())
    }

    /// Looks whether the methods have lists for the users who count: says of which many users have none, and what may help.
    ///
    /// # Errors
    /// When a method has a list for nobody: that is a mistake, not a bad method.
    pub fn coverage(&self, judged: &Summary, store: &Store) -> Result<Vec<String>> {
        let asked = || -> Result<bool> {
            Ok(store.folders()?.iter().any(|name| *name == "interests" || name.starts_with("interests.")))
        };
        let users = judged.account.output;
        let mut notes = Vec::new();
        for method in &self.methods {
            let listed = judged.account.notes.get(&with_a_list(method)).copied().unwrap_or(0);
            if users > 0 && listed == 0 {
                let what = format!("expected lists for some of the {users} users with truth, got none");
                let hint = "are its users those of this ingest? `querent inspect` shows both; --methods leaves it out";
                return Err(Error::unreadable(format!("{PREFIX}{method}"), what, hint));
            }
            if 2 * listed < users && judged.account.notes.contains_key(&shown_the_fallback(method)) {
                let (listed, users) = (grouped(listed), grouped(users));
                notes.push(format!(
                    "{method} has lists for {listed} of {users} users; the others are shown popular articles"
                ));
            } else if 2 * listed < users {
                let hint = match self.among {
                    Among::All if asked()? => "; --among interests compares on those who were asked for lists",
                    _ => "",
                };
                let (listed, users) = (grouped(listed), grouped(users));
                notes.push(format!(
                    "{method} has lists for {listed} of {users} users, and counts 0 for the others{hint}"
                ));
            }
        }
        Ok(notes)
    }
}

pub(crate) fn with_a_list(method: &str) -> String {
    format!("with a list of {method}")
}

pub(crate) fn shown_the_fallback(method: &str) -> String {
    format!("shown popular articles, without a list of {method}")
}

/// The articles of a fallback, best first.
fn articles(list: &Whole<Fallback>) -> Result<Vec<String>> {
    let mut articles = Vec::new();
    for rows in list.parts() {
        for batch in rows?.batches() {
            articles.extend(Fallback::news_id.of(batch)?.iter().flatten().map(str::to_owned));
        }
    }
    Ok(articles)
}

/// `truth`, `profiles` and the recommendations of some methods.
#[derive(Debug)]
pub struct Judgements {
    truth: ByPartition<Truth>,
    profiles: ByPartition<Profiles>,
    recommendations: Vec<(String, ByPartition<Recommendations>)>,
    /// By method: what its readers are shown of whom it has no list. Lists of other systems are all that there is of them.
    fallbacks: BTreeMap<String, Whole<Fallback>>,
    interests: Option<ByPartition<Interests>>,
    /// The evaluation window: its start and its end, µs since 1970.
    window: [i64; 2],
}

impl Stage for Evaluate {
    const NAME: &'static str = "evaluate";
    const VERSION: u32 = 3;
    const UNIT: &'static str = "users";
    type Inputs = Judgements;
    type Shared = Engine;
    type Outputs = Rows<UserMetrics>;

    fn inputs(&self, declare: &mut Inputs<'_>) -> Result<Judgements> {
        self.check()?;
        declare.value("sql", judge::SQL)?;
        let truth = declare.by_partition("truth")?;
        let profiles = declare.by_partition("profiles")?.columns(&[
            Profiles::user_id.name(),
            Profiles::browse_kept.name(),
            Profiles::news_kept.name(),
            Profiles::search_kept.name(),
            Profiles::news_clicks.name(),
        ]);
        let mut recommendations = Vec::new();
        for method in &self.methods {
            let lists = declare.by_partition(&format!("{PREFIX}{method}"))?.columns(&[
                Recommendations::method.name(),
                Recommendations::user_id.name(),
                Recommendations::rank.name(),
                Recommendations::news_id.name(),
            ]);
            recommendations.push((method.clone(), lists));
        }
        let mut pools: Pools =
            recommendations.iter().map(|(method, lists)| (method.clone(), pool_of(lists.manifest()))).collect();
        for (mean, seeds) in seeds(self.methods.iter().map(String::as_str)) {
            let pool = pools[seeds[0]].clone();
            if let Some(other) = seeds.iter().find(|seed| pools[**seed] != pool) {
                let hint = "retrieve them again, with the same settings";
                return Err(Error::setting(
                    &mean,
                    "seeds that chose from one pool",
                    format!("{other} of another"),
                    hint,
                ));
            }
            pools.insert(mean, pool);
        }
        declare.value("pools", &pools)?;
        let mut fallbacks = BTreeMap::new();
        let found = pools::fallbacks(declare.store())?;
        for (method, pool) in pools.iter().filter(|(method, _)| self.methods.contains(method)) {
            if let Some(name) = found.get(&pool.to_string()) {
                let columns = [Fallback::rank.name(), Fallback::news_id.name()];
                fallbacks.insert(method.clone(), declare.whole::<Fallback>(name)?.columns(&columns));
            }
        }
        let interests = match self.among {
            Among::All => None,
            Among::Interests => Some(declare.by_partition("interests")?.columns(&[Interests::user_id.name()])),
        };
        let window = declare.value_of::<Truth, _>("truth", "window_us")?;
        Ok(Judgements { truth, profiles, recommendations, fallbacks, interests, window })
    }

    fn open(&self, _: &Judgements, resources: &Resources) -> Result<Engine> {
        Engine::shared(resources.threads)
    }

    fn run(&self, inputs: &Judgements, engine: &Engine, bucket: u32) -> Result<Done<Self::Outputs>> {
        let lists = inputs.recommendations.iter().map(|(method, lists)| Ok((method.clone(), lists.read(bucket)?)));
        let fallbacks = inputs.fallbacks.iter().map(|(method, list)| Ok((method.clone(), articles(list)?)));
        let judged = Judged {
            truth: inputs.truth.read(bucket)?,
            profiles: inputs.profiles.read(bucket)?,
            recommendations: lists.collect::<Result<_>>()?,
            fallbacks: fallbacks.collect::<Result<_>>()?,
            interests: inputs.interests.as_ref().map(|interests| interests.read(bucket)).transpose()?,
            window: inputs.window[0]..inputs.window[1],
        };
        self.judge(judged, engine)
    }
}
