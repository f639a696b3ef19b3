//! Laws of the news side: search is exact where it says so; what a stage makes is what it would make from nothing.

mod best;
mod encoder;
mod fetching;
mod freshness;
mod lists;
mod search;

use std::path::Path;

use arrow::array::{BooleanArray, Int64Array, StringArray, TimestampMicrosecondArray};
use arrow::compute::filter_record_batch;
use dataset::bucket::{bucket, digest_128, hex};
use dataset::{
    Dataset, Done, Inputs, KeySource, Manifest, Resources, Result, Rows, Runner, Stage, Store, Style, UserKey,
};
use schemas::{
    Behaviours, Events, EventsColumns, Lists, News, NewsColumns, NewsVectors, NewsVectorsColumns, Popularity,
    PopularityColumns, Profiles, ProfilesColumns, Table,
};
use serde::{Deserialize, Serialize};

const HOUR: i64 = 3_600_000_000;
const CUT_OFF: i64 = 480 * HOUR;

/// A runner over a root on this machine.
fn runner(root: &Path) -> Result<Runner> {
    let store = Store::open(&root.display().to_string())?;
    let user_key = KeySource { file: None, insecure_dev_key: true };
    let resources =
        Resources { store, threads: 2, memory_limit: 1 << 30, progress: Style::Silent, user_key, max_bad_ratio: 0.0 };
    let git_revision = String::new();
    Ok(Runner { resources, shard: None, dry_run: false, keep_versions: 0, git_revision })
}

fn manifest(runner: &Runner, dataset: &str) -> Result<Manifest> {
    Ok(Dataset::new(runner.store(), dataset).current()?.expect("it was made"))
}

/// A small platform: user i has clicked article i, articles appear one an hour.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct World {
    users: usize,
    articles: usize,
    buckets: u32,
    window_hours: i64,
}

const WORLD: World = World { users: 40, articles: 500, buckets: 4, window_hours: 168 };

impl World {
    /// Puts it into `profiles`, `events`, `news` and `popularity`.
    fn make(&self, runner: &Runner) -> Result<()> {
        runner.run(self, &["profiles", "events", "news", "popularity"]).map(|_| ())
    }

    fn raw(user: usize) -> String {
        format!("user-{user}")
    }

    fn article(number: usize) -> String {
        format!("n{number:04}")
    }
}

/// The rows of a batch for which something holds.
fn only(batch: arrow::array::RecordBatch, of: impl Iterator<Item = bool>) -> Result<Vec<arrow::array::RecordBatch>> {
    Ok(vec![filter_record_batch(&batch, &of.map(Some).collect::<BooleanArray>())?])
}

impl Stage for World {
    const NAME: &'static str = "world";
    const VERSION: u32 = 1;
    const UNIT: &'static str = "users";
    type Inputs = UserKey;
    type Shared = ();
    type Outputs = (Rows<Profiles>, Rows<Events>, Rows<News>, Rows<Popularity>);

    fn inputs(&self, declare: &mut Inputs<'_>) -> Result<UserKey> {
        declare.partitions(self.buckets)?;
        declare.value("window_us", [CUT_OFF, CUT_OFF + self.window_hours * HOUR])?;
        declare.user_key()
    }

    fn open(&self, _: &UserKey, _: &Resources) -> Result<()> {
        Ok(())
    }

    fn run(&self, key: &UserKey, (): &(), partition: u32) -> Result<Done<Self::Outputs>> {
        let mut users: Vec<([u8; 16], usize)> =
            (0..self.users).map(|user| (key.user_id(Self::raw(user).as_bytes()), user)).collect();
        users.sort_unstable();
        let ids = || users.iter().map(|(id, _)| Some(hex(id))).collect::<StringArray>();
        let clicked = || users.iter().map(|(_, user)| Some(Self::article(*user))).collect::<StringArray>();
        let texts = |text: &str| StringArray::from(vec![text; self.users]);
        let numbers = || vec![1; self.users].into();
        let times = || TimestampMicrosecondArray::from(vec![0; self.users]);
        let clicks = Behaviours { domain: texts("news"), occurred_at: times(), text: clicked(), news_id: clicked() };
        let profiles = Profiles::into_batch(ProfilesColumns {
            user_id: ids(),
            split: texts("test"),
            behaviours: Lists::from_lengths(vec![1; self.users], clicks),
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
        })?;
        let events = Events::into_batch(EventsColumns {
            event_id: users.iter().map(|(id, _)| Some(hex(&digest_128(&[id])))).collect(),
            user_id: ids(),
            domain: texts("news"),
            occurred_at: times(),
            text: clicked(),
            news_id: clicked(),
            source: texts("world"),
        })?;
        let nothing = || StringArray::new_null(self.articles);
        let names = || (0..self.articles).map(|number| Some(Self::article(number))).collect::<StringArray>();
        let news = News::into_batch(NewsColumns {
            news_id: names(),
            published_at: (0..self.articles as i64).map(|number| number * HOUR).collect::<Vec<_>>().into(),
            category: nothing(),
            subcategory: nothing(),
            title: names(),
            r#abstract: nothing(),
            entities: (0..self.articles).map(|_| [""; 0]).collect(),
        })?;
        let popularity = Popularity::into_batch(PopularityColumns {
            news_id: names(),
            clicks: (0..self.articles as i64).map(|number| number % 7).collect::<Int64Array>(),
        })?;
        let mine = || users.iter().map(|(id, _)| bucket(id, self.buckets) == partition);
        let part = || (0..self.articles).map(|number| number as u32 % self.buckets == partition);
        let outputs = (
            Rows::new(only(profiles, mine())?),
            Rows::new(only(events, mine())?),
            Rows::new(only(news, part())?),
            Rows::new(only(popularity, part())?),
        );
        Ok(Done { outputs, accounts: Vec::new() })
    }
}

/// Vectors of the world's articles, by an encoder of this name.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Embedded {
    encoder: String,
}

impl Stage for Embedded {
    const NAME: &'static str = "embed";
    const VERSION: u32 = 1;
    const UNIT: &'static str = "articles";
    type Inputs = ();
    type Shared = ();
    type Outputs = Rows<NewsVectors>;

    fn inputs(&self, declare: &mut Inputs<'_>) -> Result<()> {
        declare.value("encoder", &self.encoder)
    }

    fn open(&self, (): &(), _: &Resources) -> Result<()> {
        Ok(())
    }

    fn run(&self, (): &(), (): &(), _: u32) -> Result<Done<Self::Outputs>> {
        let articles = WORLD.articles;
        let names: StringArray = (0..articles).map(|number| Some(World::article(number))).collect();
        let vectors = search::vectors(articles, 16, 1);
        let columns = NewsVectorsColumns {
            news_id: names.clone(),
            text_hash: names,
            encoder: StringArray::from(vec![self.encoder.as_str(); articles]),
            vector: Lists::from_lengths(vec![16; articles], vectors.values().to_vec().into()),
        };
        Ok(Done { outputs: Rows::of(columns)?, accounts: Vec::new() })
    }
}
