//! All that scores lists, put together.

use std::collections::HashMap;

use chat::Server;
use dataset::{Result, Store, Style, Whole};
use news::{Hit, Pool, Searcher, SearcherInputs, Vectors};
use policy::List;
use rayon::prelude::*;
use schemas::News;

use crate::interests::distinct;
use crate::judge::Judge;
use crate::{Lexicon, Look, Looked, RewardSettings, Score, User, UserInterests};

/// What rewards read: [`RewardSettings::declare`].
#[derive(Debug)]
pub struct RewardInputs {
    pub(crate) articles: SearcherInputs,
    pub(crate) news: Whole<News>,
    /// The judge's server, and where its verdicts are kept.
    pub(crate) judge: Option<(Server, Store)>,
}

/// Scores lists.
#[derive(Debug)]
pub struct Rewards {
    settings: RewardSettings,
    searcher: Searcher,
    lexicon: Lexicon,
    judge: Option<Judge>,
}

/// The distinct queries of some lists, each put to encoder and articles once for each number of articles.
struct Asked<'a> {
    at: HashMap<(&'a str, usize), usize>,
    vectors: Vectors,
    hits: Vec<Vec<Hit>>,
}

/// Distinct texts, each encoded once.
struct Encoded<'a> {
    /// In order.
    texts: Vec<&'a str>,
    vectors: Vectors,
}

impl Encoded<'_> {
    /// The vectors of some of the texts, as often as they come.
    fn of<'t>(&self, texts: impl Iterator<Item = &'t str>) -> Vectors {
        let vector = |text: &'t str| self.vectors.get(self.texts.binary_search(&text).expect("all texts are there"));
        Vectors::new(self.vectors.dimensions(), texts.flat_map(vector).copied().collect())
    }
}

impl Rewards {
    /// Opens encoder, vectors and index, and counts the words of the articles. `progress`: how it is shown while a judge is asked.
    pub fn open(settings: &RewardSettings, inputs: &RewardInputs, progress: Style) -> Result<Self> {
        let searcher = Searcher::open(&inputs.articles)?;
        let lexicon = Lexicon::of(&inputs.news, searcher.pool(), settings)?;
        let judge = |(server, store): &(Server, Store)| {
            Judge::open(server, store, settings.judged(), settings.judge.judge_behaviours, progress)
        };
        let judge = inputs.judge.as_ref().map(judge).transpose()?;
        Ok(Rewards { judge, ..Rewards::new(settings.clone(), searcher, lexicon) })
    }

    /// Of what is open, without a judge.
    pub fn new(settings: RewardSettings, searcher: Searcher, lexicon: Lexicon) -> Self {
        Rewards { settings, searcher, lexicon, judge: None }
    }

    /// The settings.
    pub fn settings(&self) -> &RewardSettings {
        &self.settings
    }

    /// What words say.
    pub fn lexicon(&self) -> &Lexicon {
        &self.lexicon
    }

    /// The judge, if there is one.
    pub(crate) fn judge(&self) -> Option<&Judge> {
        self.judge.as_ref()
    }

    /// The articles.
    pub fn pool(&self) -> &Pool {
        self.searcher.pool()
    }

    /// What users are interested in: their behaviours' distinct texts as vectors and themes.
    pub fn interests(&self, users: &[User<'_>]) -> Result<Vec<UserInterests>> {
        let themes = &self.settings.themes;
        let weights = |user: &User<'_>| {
            themes.recency(&user.behaviours.iter().map(|behaviour| behaviour.occurred_at_us).collect::<Vec<_>>())
        };
        let texts: Vec<_> = users.iter().map(|user| distinct(&user.behaviours, &weights(user))).collect();
        let encoded = self.encode(texts.iter().flatten().map(|text| text.text))?;
        let interests = users.par_iter().zip(&texts).map(|(user, texts)| {
            let vectors = encoded.of(texts.iter().map(|text| text.text));
            let weights: Vec<f32> = texts.iter().map(|text| text.weight).collect();
            let own = user.behaviours.iter().filter_map(|behaviour| self.pool().number(behaviour.news_id?));
            UserInterests {
                user_id: user.user_id.to_owned(),
                texts: texts.iter().map(|text| text.text.to_owned()).collect(),
                domains: texts.iter().map(|text| text.domain.to_owned()).collect(),
                themes: themes.of(&vectors, &weights),
                vectors,
                own: own.collect(),
            }
        });
        Ok(interests.collect())
    }

    /// The scores of each user's lists. However many are scored together, each score is the same to the bit.
    ///
    /// # Errors
    /// Also when a judge's server does not answer at all.
    pub fn score(&self, groups: &[(&UserInterests, &[List])]) -> Result<Vec<Vec<Score>>> {
        let score = |((user, _), looked): (&(&UserInterests, &[List]), Vec<Looked>)| {
            looked.iter().map(|looked| looked.score(user, &self.settings)).collect()
        };
        Ok(groups.iter().zip(self.look_at(groups)?).map(score).collect())
    }

    /// What is seen of a user's lists: why they score what they score.
    pub fn look(&self, user: &UserInterests, lists: &[List]) -> Result<Vec<(Looked, Score)>> {
        let looked = self.look_at(&[(user, lists)])?.remove(0);
        let with_score = |looked: Looked| {
            let score = looked.score(user, &self.settings);
            (looked, score)
        };
        Ok(looked.into_iter().map(with_score).collect())
    }

    fn look_at(&self, groups: &[(&UserInterests, &[List])]) -> Result<Vec<Vec<Looked>>> {
        let asked = self.ask(groups)?;
        let of_group = |(user, lists): &(&UserInterests, &[List])| -> Vec<Looked> {
            lists.iter().map(|list| self.looked(&asked, user, list)).collect()
        };
        let mut looked: Vec<Vec<Looked>> = groups.par_iter().map(of_group).collect();
        if let Some(judge) = &self.judge {
            let lists =
                groups.iter().zip(&looked).flat_map(|((user, _), looked)| looked.iter().map(move |of| (*user, of)));
            let lists = lists.filter(|(_, of)| !of.queries.is_empty());
            let questions: Vec<_> =
                lists.map(|(user, of)| (user, of.queries.iter().map(|look| look.query.as_str()).collect())).collect();
            let mut verdicts = judge.judge(&questions)?.into_iter();
            for of in looked.iter_mut().flatten().filter(|of| !of.queries.is_empty()) {
                of.verdict = verdicts.next();
            }
        }
        Ok(looked)
    }

    fn encode<'a>(&self, texts: impl Iterator<Item = &'a str>) -> Result<Encoded<'a>> {
        let mut texts: Vec<&str> = texts.collect();
        texts.sort_unstable();
        texts.dedup();
        let vectors = self.searcher.vectors(&texts)?;
        Ok(Encoded { texts, vectors })
    }

    /// Articles that a user's query fetches: so many that enough are left when their own are taken away. An index looks further for more of them,
    /// so that the first ones may be others.
    fn articles(&self, user: &UserInterests) -> usize {
        self.settings.align_articles.saturating_add(user.own.len()).min(self.pool().len())
    }

    fn ask<'a>(&self, groups: &[(&UserInterests, &'a [List])]) -> Result<Asked<'a>> {
        let (mut texts, mut ks): (Vec<&str>, Vec<usize>) = (Vec::new(), Vec::new());
        let mut at: HashMap<(&str, usize), usize> = HashMap::new();
        for (user, lists) in groups {
            let k = self.articles(user);
            for query in lists.iter().flat_map(|list| &list.queries) {
                at.entry((query.as_str(), k)).or_insert_with(|| {
                    texts.push(query);
                    ks.push(k);
                    texts.len() - 1
                });
            }
        }
        let vectors = self.encode(texts.iter().copied())?.of(texts.iter().copied());
        let hits = self.searcher.search(&vectors, &ks)?;
        Ok(Asked { at, vectors, hits })
    }

    fn looked(&self, asked: &Asked<'_>, user: &UserInterests, list: &List) -> Looked {
        let k = self.articles(user);
        let mut queries: Vec<(&str, usize)> =
            list.queries.iter().map(|query| (query.as_str(), asked.at[&(query.as_str(), k)])).collect();
        queries.sort_unstable();
        let vectors: Vec<&[f32]> = queries.iter().map(|(_, at)| asked.vectors.get(*at)).collect();
        let look = |((query, at), vector): (&(&str, usize), &&[f32])| {
            Look::new(
                query,
                vector,
                &asked.hits[*at],
                self.lexicon.wording(query),
                user,
                &self.searcher,
                &self.settings,
            )
        };
        let looks = queries.iter().zip(&vectors).map(look).collect();
        Looked::new(list, looks, &vectors)
    }

    /// Bytes that a user's interests take, with 150 distinct behaviours: their vectors, distances and texts.
    pub fn bytes_per_user(&self) -> u64 {
        150 * (4 * self.searcher.dimensions() as u64 + 8 * 150 + 200)
    }

    /// Bytes in memory.
    pub fn shared_bytes(&self) -> u64 {
        self.searcher.memory_bytes() + self.lexicon.memory_bytes()
    }
}
