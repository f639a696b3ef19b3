//! The world: topics, their entities and articles, the same for every user.
//!
//! Articles need no memory: article `i` lies in block `i / T` of `T` articles, one per topic in an order of the block's own, so its
//! topic follows from its number and its number from (block, topic).

use std::sync::LazyLock;

use serde::Deserialize;

use super::Simulate;
use super::random::{Random, Weighted};

/// A topic of `topics_*.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Topic {
    pub(super) name: String,
    pub(super) category: String,
    pub(super) subcategory: String,
    pub(super) entities: Vec<String>,
    pub(super) searches: Vec<String>,
    pub(super) pages: Vec<String>,
    headlines: Vec<String>,
    #[serde(rename = "abstract")]
    summary: String,
}

/// All topics.
pub(super) static TOPICS: LazyLock<Vec<Topic>> = LazyLock::new(|| {
    #[derive(Deserialize)]
    struct File {
        topic: Vec<Topic>,
    }
    let parse = |text| toml::from_str::<File>(text).expect("checked by a test").topic;
    let mut topics = parse(include_str!("topics_a.toml"));
    topics.extend(parse(include_str!("topics_b.toml")));
    topics
});

/// News headlines that fit any entity, beside the topics' own.
const HEADLINES: [&str; 12] = [
    "What we know so far about {e}",
    "{E} back in the spotlight after surprise announcement",
    "Experts weigh in as debate over {e} grows",
    "Five charts that explain {e} right now",
    "Opinion: we are asking the wrong questions about {e}",
    "Inside the quiet comeback of {e}",
    "New report casts doubt on {e}",
    "{E}: how one town found its own way",
    "Officials respond to concerns about {e}",
    "Interview: a career spent on {e}",
    "Record interest in {e}, survey finds",
    "Live updates: latest on {e}",
];

/// `{e}` and `{E}` filled in.
pub(super) fn fill(pattern: &str, entity: &str) -> String {
    if pattern.contains("{E}") {
        return pattern.replacen("{E}", &capitalised(entity), 1);
    }
    pattern.replacen("{e}", entity, 1)
}

pub(super) fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// One article.
#[derive(Debug, Clone)]
pub(super) struct Article {
    pub(super) number: u64,
    pub(super) topic: usize,
    pub(super) entity: usize,
    pub(super) published_us: i64,
    /// Relative chance of being clicked; heavy-tailed.
    pub(super) popularity: f64,
}

/// The world of one simulation.
#[derive(Debug)]
pub(super) struct World<'a> {
    settings: &'a Simulate,
    /// How many follow an entity, by its rank within the topic.
    pub(super) entity_rank: Weighted,
    /// How many follow a topic, by its rank.
    pub(super) topic_rank: Weighted,
}

const DAY_US: i64 = 86_400_000_000;
/// News is published from so many days before the history on, so that its first day has something to click.
const LEAD_DAYS: i64 = 3;

impl<'a> World<'a> {
    pub(super) fn new(settings: &'a Simulate) -> Self {
        World {
            settings,
            entity_rank: Weighted::zipf(TOPICS[0].entities.len(), 0.5),
            topic_rank: Weighted::zipf(TOPICS.len(), 0.35),
        }
    }

    /// First moment of the history.
    pub(super) fn start_us(&self) -> i64 {
        self.cut_off_us() - i64::from(self.settings.history_days) * DAY_US
    }

    pub(super) fn cut_off_us(&self) -> i64 {
        self.settings.cut_off.timestamp_micros()
    }

    /// End of the evaluation window.
    pub(super) fn end_us(&self) -> i64 {
        self.cut_off_us() + i64::from(self.settings.window_days) * DAY_US
    }

    /// Microseconds between one article and the next.
    fn gap_us(&self) -> f64 {
        (self.end_us() - self.start_us() + LEAD_DAYS * DAY_US) as f64 / self.settings.news as f64
    }

    /// The number of the first article published at or after a time.
    fn number_at(&self, time_us: i64) -> f64 {
        (time_us - self.start_us() + LEAD_DAYS * DAY_US) as f64 / self.gap_us()
    }

    fn shift(&self, block: u64) -> u64 {
        Random::new(self.settings.seed, "block", block).below(TOPICS.len() as u64)
    }

    /// The article of that number.
    pub(super) fn article(&self, number: u64) -> Article {
        let topics = TOPICS.len() as u64;
        let topic = ((number + self.shift(number / topics)) % topics) as usize;
        let mut random = Random::new(self.settings.seed, "article", number);
        let jitter = random.uniform();
        Article {
            number,
            topic,
            entity: self.entity_rank.draw(&mut random),
            published_us: self.start_us() - LEAD_DAYS * DAY_US + ((number as f64 + jitter) * self.gap_us()) as i64,
            popularity: (1.0 - random.uniform()).powf(-0.6),
        }
    }

    /// The article about a topic in the block that is `back` blocks before the one being published at a time; none before the
    /// first or when it is not out yet.
    pub(super) fn recent(&self, topic: usize, time_us: i64, back: u64) -> Option<Article> {
        let topics = TOPICS.len() as u64;
        let last = self.settings.news.checked_sub(1)?;
        let now = (self.number_at(time_us).max(0.0) as u64).min(last) / topics;
        let block = now.checked_sub(back)?;
        let number = block * topics + (topic as u64 + topics - self.shift(block)) % topics;
        (number <= last).then(|| self.article(number)).filter(|a| a.published_us <= time_us)
    }

    /// Any recent article: among a few, the most popular.
    pub(super) fn popular(&self, time_us: i64, random: &mut Random) -> Option<Article> {
        let now = self.number_at(time_us).max(0.0) as u64;
        let window = (self.number_at(time_us) - self.number_at(time_us - DAY_US)).max(1.0) as u64;
        (0..24)
            .filter_map(|_| now.checked_sub(1 + random.below(window)).filter(|n| *n < self.settings.news))
            .map(|number| self.article(number))
            .filter(|a| a.published_us <= time_us)
            .max_by(|a, b| a.popularity.total_cmp(&b.popularity))
    }

    /// Blocks published per day.
    pub(super) fn blocks_per_day(&self) -> f64 {
        DAY_US as f64 / self.gap_us() / TOPICS.len() as f64
    }
}

impl Article {
    pub(super) fn id(&self) -> String {
        format!("A{:08}", self.number)
    }

    pub(super) fn entity_name(&self) -> &'static str {
        &TOPICS[self.topic].entities[self.entity]
    }

    /// The headline and, for two articles of three, a summary.
    pub(super) fn texts(&self, seed: u64) -> (String, Option<String>) {
        let topic = &TOPICS[self.topic];
        let mut random = Random::new(seed, "headline", self.number);
        let pattern =
            if random.chance(0.75) { random.one_of(&topic.headlines).as_str() } else { random.one_of(&HEADLINES) };
        let title = fill(pattern, self.entity_name());
        (title, random.chance(2.0 / 3.0).then(|| fill(&topic.summary, self.entity_name())))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_world_is_large_and_its_phrasings_are_disjoint() {
        assert!(TOPICS.len() >= 150);
        let entities: BTreeSet<_> = TOPICS.iter().flat_map(|t| &t.entities).collect();
        assert!(entities.len() >= 1500, "{} entities", entities.len());
        assert_eq!(entities.len(), TOPICS.iter().map(|t| t.entities.len()).sum::<usize>(), "entities are unique");
        assert_eq!(TOPICS.iter().map(|t| &t.name).collect::<BTreeSet<_>>().len(), TOPICS.len());
        let headlines: Vec<_> = TOPICS.iter().flat_map(|t| &t.headlines).map(String::as_str).chain(HEADLINES).collect();
        for topic in TOPICS.iter() {
            assert_eq!(topic.entities.len(), TOPICS[0].entities.len());
            for pattern in topic.searches.iter().chain(&topic.pages) {
                assert!(!headlines.contains(&pattern.as_str()), "{pattern}");
            }
            for pattern in topic.searches.iter().chain(&topic.pages).chain(&topic.headlines) {
                assert_eq!(pattern.matches("{e}").count() + pattern.matches("{E}").count(), 1, "{pattern}");
            }
        }
    }

    #[test]
    fn articles_are_found_again_by_topic_and_time() {
        let settings = Simulate { news: 5_000, ..Simulate::default() };
        let world = World::new(&settings);
        let time = world.cut_off_us();
        for topic in [0, 17, TOPICS.len() - 1] {
            for back in 1..5 {
                let article = world.recent(topic, time, back).expect("there are blocks before");
                assert_eq!(article.topic, topic);
                assert_eq!(world.article(article.number).published_us, article.published_us);
                assert!(article.published_us <= time && article.published_us > time - 6 * DAY_US);
            }
        }
    }
}
