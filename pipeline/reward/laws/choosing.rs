//! Best-of-N chooses the largest reward, and what it chooses follows from the lists alone, however they are cut.

use std::collections::BTreeMap;
use std::path::Path;

use arrow::array::{Float32Array, Int32Array, StringArray, TimestampMicrosecondArray};
use dataset::bucket::{bucket, digest_128, hex};
use dataset::{
    ByPartition, Done, Inputs, KeySource, Outcome, Resources, Result, Rows, Runner, Stage, Store, Style, Whole,
};
use news::{Embed, EncoderSettings};
use schemas::{
    Behaviours, Events, Interests, InterestsColumns, Lists, News, NewsColumns, Popularity, PopularityColumns, Profiles,
    ProfilesColumns, Scores,
};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use super::{ARTICLES, WORDS, encoder};
use crate::{Choose, Normalise, RewardSettings, ScoreLists};

const USERS: usize = 40;
/// After all that happens.
const CUT_OFF: i64 = 1_000_000;

/// Users who searched for some words, and the few articles.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct World {
    buckets: u32,
}

/// Any words, the same each time.
fn words(of: &[&[u8]], count: usize) -> String {
    let word = |at: usize| {
        let chosen = digest_128(&[of.concat().as_slice(), &at.to_le_bytes()]);
        WORDS[chosen[0] as usize % (WORDS.len() - 1)].0
    };
    (0..count).map(word).collect::<Vec<_>>().join(" ")
}

impl Stage for World {
    const NAME: &'static str = "world";
    const VERSION: u32 = 1;
    const UNIT: &'static str = "users";
    type Inputs = ();
    type Shared = ();
    type Outputs = (Rows<Profiles>, Rows<Events>, Rows<News>, Rows<Popularity>);

    fn inputs(&self, declare: &mut Inputs<'_>) -> Result<()> {
        declare.value("window_us", [CUT_OFF, 2 * CUT_OFF])?;
        declare.partitions(self.buckets)
    }

    fn open(&self, (): &(), _: &Resources) -> Result<()> {
        Ok(())
    }

    fn run(&self, (): &(), (): &(), partition: u32) -> Result<Done<Self::Outputs>> {
        let mut users: Vec<[u8; 16]> = (0..USERS).map(|user| digest_128(&[&user.to_le_bytes()])).collect();
        users.retain(|id| bucket(id, self.buckets) == partition);
        users.sort_unstable();
        let acts = || users.iter().flat_map(|id| (0..4).map(move |at: u8| words(&[id, &[at]], 2)));
        let (many, each) = (users.len(), 4 * users.len());
        let numbers = || Int32Array::from(vec![1; many]);
        let profiles = ProfilesColumns {
            user_id: users.iter().map(|id| Some(hex(id))).collect(),
            split: StringArray::from(vec!["test"; many]),
            behaviours: Lists::from_lengths(
                vec![4; many],
                Behaviours {
                    domain: StringArray::from(vec!["search"; each]),
                    occurred_at: TimestampMicrosecondArray::from(vec![0; each]),
                    text: acts().map(Some).collect(),
                    news_id: StringArray::new_null(each),
                },
            ),
            browse_events: numbers(),
            browse_clean: numbers(),
            browse_kept: numbers(),
            news_events: numbers(),
            news_clean: numbers(),
            news_kept: numbers(),
            search_events: numbers(),
            search_clean: numbers(),
            search_kept: numbers(),
            news_clicks: numbers(),
        };
        let articles: Vec<(&str, &str)> = ARTICLES.into_iter().filter(|_| partition == 0).collect();
        let nothing = || StringArray::new_null(articles.len());
        let news = NewsColumns {
            news_id: articles.iter().map(|(id, _)| Some(*id)).collect(),
            published_at: vec![0; articles.len()].into(),
            category: nothing(),
            subcategory: nothing(),
            title: articles.iter().map(|(_, title)| Some(*title)).collect(),
            r#abstract: nothing(),
            entities: articles.iter().map(|_| [""; 0]).collect(),
        };
        let none = PopularityColumns { news_id: StringArray::from(vec![""; 0]), clicks: Vec::<i64>::new().into() };
        let outputs = (Rows::of(profiles)?, Rows::empty(), Rows::of(news)?, Rows::of(none)?);
        Ok(Done { outputs, accounts: Vec::new() })
    }
}

/// So many lists of each user: a few words each, some of them the same, some without the form, and every seventh not known to have it.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Samples {
    lists: usize,
}

impl Stage for Samples {
    const NAME: &'static str = "generate";
    const VERSION: u32 = 1;
    const UNIT: &'static str = "users";
    type Inputs = ByPartition<Profiles>;
    type Shared = ();
    type Outputs = Rows<Interests>;

    fn inputs(&self, declare: &mut Inputs<'_>) -> Result<ByPartition<Profiles>> {
        Ok(declare.by_partition::<Profiles>("profiles")?.columns(&[Profiles::user_id.name()]))
    }

    fn open(&self, _: &ByPartition<Profiles>, _: &Resources) -> Result<()> {
        Ok(())
    }

    fn run(&self, profiles: &ByPartition<Profiles>, (): &(), partition: u32) -> Result<Done<Self::Outputs>> {
        let mut users = Vec::new();
        for batch in profiles.read(partition)?.batches() {
            users.extend(Profiles::user_id.of(batch)?.iter().flatten().map(str::to_owned));
        }
        let rows: Vec<(&String, u8)> =
            users.iter().flat_map(|user| (0..self.lists as u8).map(move |sample| (user, sample))).collect();
        let queries = |(user, sample): &(&String, u8)| {
            // Sample 4 is sample 1 once more.
            let sample = if *sample == 4 { 1 } else { *sample };
            (0..3u8).map(|at| words(&[user.as_bytes(), &[sample, at, 7]], 2)).collect::<Vec<_>>()
        };
        let draw = |(user, sample): &(&String, u8)| digest_128(&[user.as_bytes(), &[*sample % 4, 9]])[0];
        let structure = |row: &(&String, u8)| (draw(row) % 7 != 0).then(|| f32::from(draw(row) % 3 != 0));
        let samples = || rows.iter().map(|(_, sample)| i32::from(*sample)).collect::<Vec<_>>().into();
        let columns = InterestsColumns {
            user_id: rows.iter().map(|(user, _)| Some(user)).collect(),
            candidate: samples(),
            queries: rows.iter().map(queries).collect(),
            reasoning: StringArray::new_null(rows.len()),
            reward: Float32Array::new_null(rows.len()),
            structure: rows.iter().map(structure).collect(),
            policy: StringArray::from(vec!["somebody"; rows.len()]),
            sample: samples(),
            seed: vec![1; rows.len()].into(),
            finish: StringArray::from(vec!["stop"; rows.len()]),
        };
        Ok(Done { outputs: Rows::of(columns)?, accounts: Vec::new() })
    }
}

/// Sample, queries and the bits of the reward of each list, by user, in their order.
type Kept = BTreeMap<String, Vec<(i32, Vec<String>, Option<u32>)>>;

struct Bench {
    _folder: TempDir,
    runner: Runner,
    encoder: EncoderSettings,
}

impl Bench {
    fn new(buckets: u32, threads: usize, lists: usize) -> Result<Self> {
        let folder = TempDir::new().expect("a folder");
        drop(self::encoder(&folder)?);
        let encoder = EncoderSettings { model: folder.path().into(), ..EncoderSettings::default() };
        let runner = runner(&folder.path().join("data"), threads)?;
        runner.run(&World { buckets }, &["profiles", "events", "news", "popularity"])?;
        runner.run(&Embed { encoder: encoder.clone(), ..Embed::default() }, &["news_vectors"])?;
        let bench = Bench { _folder: folder, runner, encoder };
        bench.sample(lists)?;
        Ok(bench)
    }

    fn sample(&self, lists: usize) -> Result<()> {
        self.runner.run(&Samples { lists }, &["samples"]).map(|_| ())
    }

    fn rewards(&self, normalise: Normalise) -> RewardSettings {
        RewardSettings {
            align_articles: 2,
            common_share: 0.6,
            normalise,
            encoder: self.encoder.clone(),
            ..Default::default()
        }
    }

    fn choose(&self, normalise: Normalise, keep_all: bool) -> Result<Kept> {
        let choose = Choose { keep_all, rewards: self.rewards(normalise), ..Choose::default() };
        let made = self.runner.run(&choose, &["interests"])?;
        assert_eq!((made.outcome, made.account.output), (Outcome::Committed, USERS as u64));
        let mut kept = Kept::new();
        for part in Whole::<Interests>::open(self.runner.store(), "interests")?.parts() {
            for columns in part?.columns() {
                let columns = columns?;
                for row in 0..columns.candidate.len() {
                    let lists = kept.entry(columns.user_id.value(row).to_owned()).or_default();
                    assert_eq!(columns.candidate.value(row) as usize, lists.len());
                    let reward = columns.reward.iter().nth(row).expect("a row").map(f32::to_bits);
                    let queries = columns.queries.row(row).map(str::to_owned).collect();
                    lists.push((columns.sample.value(row), queries, reward));
                }
            }
        }
        Ok(kept)
    }

    /// What the job score says of the kept lists, in the same order.
    fn scored(&self, normalise: Normalise) -> Result<BTreeMap<String, Vec<Option<u32>>>> {
        let score = ScoreLists { rewards: self.rewards(normalise), ..ScoreLists::default() };
        self.runner.run(&score, &["scores"])?;
        let mut scored: BTreeMap<String, Vec<Option<u32>>> = BTreeMap::new();
        for part in Whole::<Scores>::open(self.runner.store(), "scores")?.parts() {
            for columns in part?.columns() {
                let columns = columns?;
                for (user, reward) in columns.user_id.iter().zip(columns.reward.iter()) {
                    scored.entry(user.expect("a user").to_owned()).or_default().push(reward.map(f32::to_bits));
                }
            }
        }
        Ok(scored)
    }
}

fn runner(root: &Path, threads: usize) -> Result<Runner> {
    let store = Store::open(&root.display().to_string())?;
    let user_key = KeySource { file: None, insecure_dev_key: true };
    let resources =
        Resources { store, threads, memory_limit: 1 << 30, progress: Style::Silent, user_key, max_bad_ratio: 0.0 };
    Ok(Runner { resources, shard: None, dry_run: false, keep_versions: 0, git_revision: String::new() })
}

#[test]
fn the_largest_reward_is_chosen_and_of_equal_ones_the_list_sampled_first() -> Result<()> {
    let bench = Bench::new(4, 2, 6)?;
    for normalise in [Normalise::Raw, Normalise::Calibrated] {
        let kept = bench.choose(normalise, true)?;
        let (mut ties, mut undecided, mut moved) = (0, 0, 0);
        for (user, lists) in &kept {
            let mut samples: Vec<i32> = lists.iter().map(|(sample, ..)| *sample).collect();
            moved += usize::from(samples[0] != 0);
            for (a, b) in lists.iter().zip(&lists[1..]) {
                match (a.2.map(f32::from_bits), b.2.map(f32::from_bits)) {
                    (Some(a), Some(b)) if a > b => {}
                    (x, y) if x == y => {
                        assert!(a.0 < b.0, "{user}: {lists:?}");
                        ties += 1;
                    }
                    (x, y) => assert!(x.is_some() && y.is_none(), "{user}: {lists:?}"),
                }
            }
            undecided += lists.iter().filter(|(.., reward)| reward.is_none()).count();
            samples.sort_unstable();
            assert_eq!(samples, [0, 1, 2, 3, 4, 5], "{user}");
        }
        assert!(ties > 10 && undecided > 5 && moved > 10, "{ties} {undecided} {moved}: the test tests something");
        let rewards: BTreeMap<String, Vec<Option<u32>>> = kept
            .iter()
            .map(|(user, lists)| (user.clone(), lists.iter().map(|(.., reward)| *reward).collect()))
            .collect();
        assert_eq!(bench.scored(normalise)?, rewards, "score says the same of them, on the same scale");

        let chosen = bench.choose(normalise, false)?;
        assert!(chosen.iter().all(|(user, lists)| lists[..] == kept[user][..1]), "the first of all is the chosen one");
    }
    Ok(())
}

#[test]
fn what_is_chosen_follows_from_the_lists_however_they_are_cut() -> Result<()> {
    let bench = Bench::new(4, 2, 6)?;
    let all = bench.choose(Normalise::Calibrated, true)?;
    let other = Bench::new(1, 1, 6)?;
    assert_eq!(other.choose(Normalise::Calibrated, true)?, all, "other buckets, other threads");
    // Of fewer samples what all of them say of these.
    for lists in [1, 3] {
        bench.sample(lists)?;
        let fewer = |(user, kept): (&String, &Vec<_>)| {
            let first = |(sample, ..): &&(i32, Vec<String>, Option<u32>)| (*sample as usize) < lists;
            (user.clone(), kept.iter().filter(first).cloned().collect::<Vec<_>>())
        };
        assert_eq!(bench.choose(Normalise::Calibrated, true)?, all.iter().map(fewer).collect(), "{lists}");
    }
    Ok(())
}
