//! What decides a reward.

use chat::Server;
use clap::{Args, ValueEnum};
use dataset::{Error, Inputs, Result, Store, Whole};
use news::{Candidates, EncoderSettings, PoolSettings, Search, SearchSettings, ThemeSettings};
use schemas::News;
use serde::{Deserialize, Serialize};

use crate::judge::{Judged, VERSION};
use crate::{Calibration, Component, Components, JudgeSettings, Normalise, RewardInputs};

/// How far a theme is covered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Coverage {
    /// Wholly, when some query is near enough (`covered_at`), else not at all: the paper's.
    #[default]
    Threshold,
    /// As far as the nearest query's cosine says, floored at 0: small steps count.
    Soft,
}

/// What makes an article that a query fetches a good one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Align {
    /// It is near to the query: the paper's. Titles are nearest to other titles of their form, whatever these are about.
    Query,
    /// It is near to the query and to one of the user's themes: the lesser of both cosines.
    #[default]
    Interests,
}

/// How lists are scored. Training, best-of-N and `score` share these settings.
#[derive(Debug, Clone, PartialEq, Args, Serialize, Deserialize)]
#[serde(default)]
pub struct RewardSettings {
    /// Weight of align: the queries fetch articles that the user cares about
    #[arg(long, value_name = "W", default_value_t = 1.0)]
    pub align_weight: f32,
    /// Weight of coverage: the list covers the user's themes
    #[arg(long, value_name = "W", default_value_t = 1.0)]
    pub coverage_weight: f32,
    /// Weight of specificity: the queries say something in particular
    #[arg(long, value_name = "W", default_value_t = 1.0)]
    pub specificity_weight: f32,
    /// Weight of diversity: the queries differ from each other
    #[arg(long, value_name = "W", default_value_t = 1.0)]
    pub diversity_weight: f32,
    /// Weight of structure: the output keeps the form of a list
    #[arg(long, value_name = "W", default_value_t = 1.0)]
    pub structure_weight: f32,
    /// Components to leave out of the reward, with commas between
    #[arg(long, value_name = "COMPONENTS", value_enum, value_delimiter = ',')]
    pub without: Vec<Component>,
    /// A list without the form gets nothing for the other components
    #[arg(long)]
    pub gate: bool,
    /// How components are brought to one scale
    #[arg(long, value_name = "HOW", value_enum, default_value_t = Normalise::Calibrated)]
    pub normalise: Normalise,
    /// What makes a fetched article a good one
    #[arg(long, value_name = "WHAT", value_enum, default_value_t = Align::Interests)]
    pub align: Align,
    /// Articles of a query that align looks at
    #[arg(long, value_name = "K", default_value_t = 10)]
    pub align_articles: usize,
    /// How far a theme is covered
    #[arg(long, value_name = "HOW", value_enum, default_value_t = Coverage::Threshold)]
    pub coverage: Coverage,
    /// Cosine of theme and query from which the theme is covered
    #[arg(long, value_name = "COSINE", default_value_t = 0.45)]
    pub covered_at: f32,
    /// How behaviours become themes
    #[command(flatten)]
    #[serde(flatten)]
    pub themes: ThemeSettings,
    /// Content words of a specific query, at least
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub content_words: usize,
    /// A word in a larger share of the articles is too common to be a content word
    #[arg(long, value_name = "SHARE", default_value_t = 0.08)]
    pub common_share: f32,
    /// Who judges coverage and specificity
    #[command(flatten)]
    #[serde(flatten)]
    pub judge: JudgeSettings,
    /// Cosine of query and behaviour from which the query is a copy
    #[arg(long, value_name = "COSINE", default_value_t = 0.9)]
    pub copied_at: f32,
    /// So many articles and fewer are searched exactly, and need no index
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    pub exact_up_to: usize,
    /// Search every article, however many there are
    #[arg(long)]
    pub exact: bool,
    /// How an index is searched
    #[command(flatten)]
    #[serde(flatten)]
    pub search: SearchSettings,
    /// The encoder
    #[command(flatten)]
    #[serde(flatten)]
    pub encoder: EncoderSettings,
}

impl Default for RewardSettings {
    fn default() -> Self {
        dataset::defaults()
    }
}

impl RewardSettings {
    /// The articles that rewards look at: those known before the cut-off, or the window's news would be seen in training.
    pub fn pool(&self) -> PoolSettings {
        PoolSettings { candidates: Candidates::Before, exact_up_to: self.exact_up_to, ..PoolSettings::default() }
    }

    /// λ of equation 9, in the order of [`Component::ALL`]: 0 for what is left out.
    pub fn weights(&self) -> [f32; 5] {
        Component::ALL.map(|component| match component {
            _ if self.without.contains(&component) => 0.0,
            Component::Align => self.align_weight,
            Component::Coverage => self.coverage_weight,
            Component::Specificity => self.specificity_weight,
            Component::Diversity => self.diversity_weight,
            Component::Structure => self.structure_weight,
        })
    }

    /// Each component as it enters the reward, `λ_m R_m`: on one scale, weighted, and nothing but structure for a list that a gate stops.
    pub fn weighted(&self, raw: &Components, calibration: &Calibration) -> Components {
        let stopped = self.gate && raw.get(Component::Structure).is_some_and(|structure| structure < 1.0);
        let weights = self.weights();
        Components(Component::ALL.map(|component| match (weights[component as usize], component) {
            (0.0, _) => Some(0.0),
            (_, component) if stopped && component != Component::Structure => Some(0.0),
            (weight, _) => raw.get(component).map(|value| weight * calibration.apply(component, value)),
        }))
    }

    /// The reward, equation 9; `None` where a component that counts is null.
    pub fn total(&self, raw: &Components, calibration: &Calibration) -> Option<f32> {
        self.weighted(raw, calibration).sum()
    }

    /// Checks that the settings make sense. `job`: whose they are.
    pub fn check(&self, job: &str) -> Result<()> {
        self.themes.check(job)?;
        let all = [
            self.align_weight,
            self.coverage_weight,
            self.specificity_weight,
            self.diversity_weight,
            self.structure_weight,
        ];
        let names = Component::ALL.map(|component| format!("{component}_weight"));
        let cosine = |value: f32| (-1.0..=1.0).contains(&value);
        let some = self.weights().iter().any(|weight| *weight > 0.0);
        let weights = names.iter().zip(all).map(|(name, weight)| {
            (name.as_str(), weight >= 0.0 && weight.is_finite(), "a number, 0 or more", weight.to_string())
        });
        let others = [
            ("without", some, "some component that counts", "none".to_owned()),
            ("align_articles", self.align_articles >= 1, "at least 1", self.align_articles.to_string()),
            ("covered_at", cosine(self.covered_at), "a cosine, -1 to 1", self.covered_at.to_string()),
            ("copied_at", cosine(self.copied_at), "a cosine, -1 to 1", self.copied_at.to_string()),
            (
                "common_share",
                self.common_share > 0.0 && self.common_share <= 1.0,
                "a share above 0, up to 1",
                self.common_share.to_string(),
            ),
        ];
        for (setting, ok, expected, got) in weights.chain(others) {
            if !ok {
                let hint = format!("see `querent {job} --help`");
                return Err(Error::setting(&format!("{job}.{setting}"), expected, got, hint));
            }
        }
        Ok(())
    }

    /// Declares what rewards read: `news`, `news_vectors`, `popularity`, the encoder, and the index where there are many articles.
    /// `popularity` must be up to date, for it says which older articles were known ([`PoolSettings::reads_popularity`]).
    pub fn declare(&self, declare: &mut Inputs<'_>) -> Result<RewardInputs> {
        let pool = self.pool();
        let articles = self.articles(&pool).declare(declare)?;
        let judge = self.judge_server(declare.store())?;
        if let Some((server, _)) = &judge {
            declare.value("judge", ([server.name(), &server.model, VERSION], self.judged()))?;
        }
        Ok(RewardInputs { articles, news: words(declare.whole::<News>("news")?), judge })
    }

    /// The same as they are now, outside of any run: for people's eyes, and for servers.
    pub fn now(&self, store: &Store) -> Result<RewardInputs> {
        let pool = self.pool();
        let articles = self.articles(&pool).now(store)?;
        Ok(RewardInputs { articles, news: words(Whole::open(store, "news")?), judge: self.judge_server(store)? })
    }

    /// What a judge is asked about: what it judges, as far as that counts.
    pub(crate) fn judged(&self) -> Vec<Judged> {
        let weights = self.weights();
        let named = |judged: &Judged| self.judge.judge_components.contains(judged);
        let counts = |judged: &Judged| weights[judged.component() as usize] > 0.0;
        [Judged::Coverage, Judged::Specificity].into_iter().filter(|judged| named(judged) && counts(judged)).collect()
    }

    /// The judge's server, and where its verdicts are kept: if one is named, and what it judges counts.
    fn judge_server(&self, store: &Store) -> Result<Option<(Server, Store)>> {
        Ok(self.judge.server()?.filter(|_| !self.judged().is_empty()).map(|server| (server, store.clone())))
    }

    fn articles<'a>(&'a self, pool: &'a PoolSettings) -> Search<'a> {
        Search { pool, index: &self.search, encoder: &self.encoder, vectors: None, exact: self.exact }
    }
}

/// What of the news the lexicon reads.
fn words(news: Whole<News>) -> Whole<News> {
    news.columns(&[News::news_id.name(), News::title.name(), News::r#abstract.name()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equation_9_by_hand() {
        let raw = Components([Some(0.5), Some(0.25), Some(1.0), Some(0.75), Some(1.0)]);
        let calibration = Calibration::raw();
        let settings =
            RewardSettings { coverage_weight: 2.0, without: vec![Component::Diversity], ..Default::default() };
        assert_eq!(settings.total(&raw, &calibration), Some(3.0));
        let invalid = raw.with(Component::Structure, Some(0.0));
        assert_eq!(settings.total(&invalid, &calibration), Some(2.0));
        let gated = RewardSettings { gate: true, ..settings.clone() };
        assert_eq!((gated.total(&invalid, &calibration), gated.total(&raw, &calibration)), (Some(0.0), Some(3.0)));
        let undecided = raw.with(Component::Coverage, None);
        assert_eq!(settings.total(&undecided, &calibration), None);
        assert_eq!(settings.total(&raw.with(Component::Diversity, None), &calibration), Some(3.0), "it does not count");
    }

    #[test]
    fn a_judge_is_asked_about_what_counts() {
        let judged = |judge_components: &[Judged], without: &[Component]| {
            let judge = JudgeSettings { judge_components: judge_components.to_vec(), ..Default::default() };
            RewardSettings { judge, without: without.to_vec(), ..Default::default() }.judged()
        };
        let both = [Judged::Coverage, Judged::Specificity];
        assert_eq!(RewardSettings::default().judged(), both);
        assert_eq!(judged(&[both[1], both[0], both[1]], &[]), both, "however they are written");
        assert_eq!(judged(&both, &[Component::Coverage, Component::Align]), [Judged::Specificity]);
        assert_eq!(judged(&[Judged::Coverage], &[]), [Judged::Coverage]);
        assert_eq!(judged(&[Judged::Coverage], &[Component::Coverage]), []);
    }

    #[test]
    fn settings_make_sense_or_are_named() {
        assert!(RewardSettings::default().check("grpo").is_ok());
        let json = serde_json::to_value(RewardSettings::default()).expect("JSON");
        let back: RewardSettings = serde_json::from_value(json).expect("settings");
        assert_eq!(back, RewardSettings::default());
        for (wrong, named) in [
            (RewardSettings { coverage_weight: f32::NAN, ..Default::default() }, "grpo.coverage_weight"),
            (RewardSettings { without: Component::ALL.to_vec(), ..Default::default() }, "grpo.without"),
            (RewardSettings { covered_at: 45.0, ..Default::default() }, "grpo.covered_at"),
            (RewardSettings { common_share: 0.0, ..Default::default() }, "grpo.common_share"),
        ] {
            let error = wrong.check("grpo").expect_err(named);
            assert!(error.to_string().starts_with(named) && error.exit_code() == 2, "{error}");
        }
    }
}
