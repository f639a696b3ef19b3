//! A user: interests, activity, and everything they do, as a pure function of (seed, number).

use std::collections::BTreeSet;

use super::Simulate;
use super::noise::NOISE;
use super::random::{Random, Weighted};
use super::world::{Article, TOPICS, World, fill};

/// One latent interest.
#[derive(Debug, Clone)]
pub(super) struct Interest {
    pub(super) topic: usize,
    pub(super) entities: Vec<usize>,
    pub(super) weight: f64,
}

/// What was done.
#[derive(Debug, Clone)]
pub(super) enum Act {
    Search(String),
    Visit(String),
    Click(Article),
}

/// One behaviour, with its truth.
#[derive(Debug, Clone)]
pub(super) struct Behaviour {
    pub(super) at_us: i64,
    pub(super) act: Act,
    /// What prompt B would say: keep?
    pub(super) keep: bool,
    /// `interest`, `misspelt`, `popular`, or the kind of noise.
    pub(super) kind: &'static str,
}

/// Log-normal activity: the logarithm's mean per domain. Solved so that the means of the clean events per user, capped at 50,
/// are the paper's 37 page visits, 13 searches and 39 news clicks, given [`SHARED`], [`OWN`], cold and restless users.
const LOG_MEAN: [f64; 3] = [3.66, 3.95, 2.375];
/// Standard deviation of activity that a user's domains share, and of each domain's own.
const SHARED: f64 = 0.45;
const OWN: f64 = 0.40;
/// Share of users with fewer than five news clicks.
const COLD: f64 = 0.08;
/// Share of users with tens of times the usual activity.
const RESTLESS: f64 = 0.003;
/// Nobody does more than this per domain.
const MOST: f64 = 10_000.0;
/// News clicks per user in the evaluation window, on average.
const WINDOW_CLICKS: f64 = 4.0;
/// Share of news clicks that follow the crowd.
const CROWD: f64 = 0.12;
const MISSPELT: f64 = 0.07;
const HOUR_US: i64 = 3_600_000_000;
/// Relative activity by hour of the day.
const HOURS: [f64; 24] = [
    2.0, 1.0, 0.6, 0.4, 0.4, 0.8, 2.0, 4.0, 5.5, 5.5, 5.0, 5.0, 6.0, 5.5, 5.0, 5.0, 5.0, 5.5, 6.0, 7.0, 8.0, 8.0, 6.0,
    4.0,
];
/// Words around a search that change it little: the long tail of queries.
const BEFORE: [&str; 10] =
    ["", "what is ", "how does ", "latest ", "about ", "learn ", "my ", "good ", "all about ", "is there "];
const AFTER: [&str; 14] = [
    "",
    " 2025",
    " guide",
    " tips",
    " meaning",
    " ideas",
    " help",
    " pictures",
    " facts",
    " questions",
    " for adults",
    " review",
    " history",
    " near home",
];

/// Draws users.
pub(super) struct Users<'a> {
    settings: &'a Simulate,
    world: &'a World<'a>,
    hours: Weighted,
    before: Weighted,
    after: Weighted,
    pattern: Weighted,
}

/// The platform's id of a user.
pub(super) fn raw_id(seed: u64, number: u64) -> String {
    let hash = dataset::bucket::digest_128(&[b"uid", &seed.to_le_bytes(), &number.to_le_bytes()]);
    format!("u{}", dataset::bucket::hex(&hash[..8]))
}

impl<'a> Users<'a> {
    pub(super) fn new(settings: &'a Simulate, world: &'a World<'a>) -> Self {
        Users {
            settings,
            world,
            hours: Weighted::new(HOURS),
            before: Weighted::zipf(BEFORE.len(), 1.0),
            after: Weighted::zipf(AFTER.len(), 0.8),
            pattern: Weighted::zipf(5, 0.5),
        }
    }

    /// The user's interests: 2 to 6 topics, each with some of its entities; weights sum to 1.
    pub(super) fn interests(&self, number: u64) -> Vec<Interest> {
        let mut random = Random::new(self.settings.seed, "interests", number);
        let count = 2 + random.below(5) as usize;
        let mut topics = BTreeSet::new();
        while topics.len() < count {
            topics.insert(self.world.topic_rank.draw(&mut random));
        }
        let mut interests: Vec<Interest> = topics
            .into_iter()
            .map(|topic| {
                let count = 1 + random.below(4) as usize;
                let mut entities = BTreeSet::new();
                while entities.len() < count {
                    entities.insert(self.world.entity_rank.draw(&mut random));
                }
                Interest { topic, entities: entities.into_iter().collect(), weight: 0.15 + random.exponential(1.0) }
            })
            .collect();
        let total: f64 = interests.iter().map(|i| i.weight).sum();
        interests.iter_mut().for_each(|i| i.weight /= total);
        interests
    }

    /// Everything the user does in the history and the window, by time. `test`: the user is of the test split, whose noise has
    /// patterns of its own.
    pub(super) fn behaviours(&self, number: u64, test: bool) -> Vec<Behaviour> {
        let mut random = Random::new(self.settings.seed, "behaviours", number);
        let interests = self.interests(number);
        let weights = Weighted::new(interests.iter().map(|i| i.weight));
        let shared = SHARED * random.normal();
        let restless = if random.chance(RESTLESS) { 20.0 + 100.0 * random.uniform() } else { 1.0 };
        let mut count = |mean: f64| {
            let activity = (mean + shared + OWN * random.normal()).exp() * restless;
            activity.min(MOST).round() as u64
        };
        let [visits, mut clicks, searches] = LOG_MEAN.map(&mut count);
        if random.chance(COLD) {
            clicks = random.below(5);
        }

        let mut behaviours = Vec::new();
        let mut read = BTreeSet::new();
        for (signals, search) in [(visits, false), (searches, true)] {
            for _ in 0..signals {
                let interest = &interests[weights.draw(&mut random)];
                let (text, kind) = self.phrase(interest, search, &mut random);
                let act = if search { Act::Search(text) } else { Act::Visit(text) };
                behaviours.push(Behaviour { at_us: self.time(&mut random), act, keep: true, kind });
            }
            let odds = self.settings.noise / (1.0 - self.settings.noise);
            let noise = (signals as f64 * odds * (0.6 + 0.8 * random.uniform()) + random.uniform()) as u64;
            for _ in 0..noise {
                let (kind, text) = NOISE.draw(search, test, &mut random);
                let act = if search { Act::Search(text) } else { Act::Visit(text) };
                behaviours.push(Behaviour { at_us: self.time(&mut random), act, keep: false, kind });
            }
        }
        for _ in 0..clicks {
            let at_us = self.time(&mut random);
            behaviours.extend(self.click(at_us, i64::MIN, &interests, &weights, &mut read, &mut random));
        }
        let window = (random.exponential(WINDOW_CLICKS).round() as u64).min(60);
        for _ in 0..window {
            let (start, end) = (self.world.cut_off_us(), self.world.end_us());
            let at_us = start + HOUR_US + (random.uniform() * (end - start - HOUR_US) as f64) as i64;
            behaviours.extend(self.click(at_us, start, &interests, &weights, &mut read, &mut random));
        }
        behaviours.sort_by_key(|b| b.at_us);
        behaviours
    }

    /// A moment of the history, by the rhythm of the day.
    fn time(&self, random: &mut Random) -> i64 {
        let day = random.below(u64::from(self.settings.history_days)) as i64;
        let hour = self.hours.draw(random) as i64;
        self.world.start_us() + (day * 24 + hour) * HOUR_US + random.below(HOUR_US as u64) as i64
    }

    /// A query or page title about an interest.
    fn phrase(&self, interest: &Interest, search: bool, random: &mut Random) -> (String, &'static str) {
        let topic = &TOPICS[interest.topic];
        let entity = &topic.entities[*random.one_of(&interest.entities)];
        if !search {
            return (fill(random.one_of::<String>(&topic.pages), entity), "interest");
        }
        let bare = match self.pattern.draw(random) {
            0 => entity.clone(),
            i => fill(&topic.searches[i - 1], entity),
        };
        let query = format!("{}{bare}{}", BEFORE[self.before.draw(random)], AFTER[self.after.draw(random)]);
        if random.chance(MISSPELT) { (misspell(&query, random), "misspelt") } else { (query, "interest") }
    }

    /// A click on an article that is out at `at_us`, not before `from_us`, and not read yet; none when there is no such.
    fn click(
        &self,
        at_us: i64,
        from_us: i64,
        interests: &[Interest],
        weights: &Weighted,
        read: &mut BTreeSet<u64>,
        random: &mut Random,
    ) -> Option<Behaviour> {
        for _ in 0..8 {
            let (article, kind) = if random.chance(CROWD) {
                (self.world.popular(at_us, random), "popular")
            } else {
                let interest = &interests[weights.draw(random)];
                (self.choose(interest, at_us, random), "interest")
            };
            if let Some(article) = article.filter(|a| a.published_us >= from_us && !read.contains(&a.number)) {
                read.insert(article.number);
                return Some(Behaviour { at_us, act: Act::Click(article), keep: true, kind });
            }
        }
        None
    }

    /// One of the recent articles about the interest: popular ones and those about its entities more often, old ones less.
    fn choose(&self, interest: &Interest, at_us: i64, random: &mut Random) -> Option<Article> {
        let lag = self.world.blocks_per_day().max(2.0);
        let candidates: Vec<Article> = (0..8)
            .filter_map(|_| {
                let back = random.exponential(lag) as u64;
                self.world.recent(interest.topic, at_us, back)
            })
            .collect();
        let weights = Weighted::new(candidates.iter().map(|article| {
            let follows = if interest.entities.contains(&article.entity) { 12.0 } else { 1.0 };
            follows * article.popularity
        }));
        candidates.get(weights.draw(random)).cloned()
    }
}

/// One slip of the fingers in a word of five letters or more.
fn misspell(query: &str, random: &mut Random) -> String {
    let mut words: Vec<Vec<char>> = query.split(' ').map(|word| word.chars().collect()).collect();
    let long: Vec<usize> = (0..words.len()).filter(|i| words[*i].len() >= 5).collect();
    if !long.is_empty() {
        let word = &mut words[*random.one_of(&long)];
        let at = 1 + random.below(word.len() as u64 - 2) as usize;
        match random.below(3) {
            0 => word.swap(at, at + 1),
            1 => {
                word.remove(at);
            }
            _ => word.insert(at, word[at]),
        }
    }
    words.iter().map(|word| word.iter().collect::<String>()).collect::<Vec<_>>().join(" ")
}
