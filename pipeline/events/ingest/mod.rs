//! `ingest`: raw logs → `events`, `truth`, `news` and `events.quarantine`.
//!
//! Raw files are read in parallel and their rows spilled by bucket ([`spill`]); then every bucket is settled by itself
//! ([`Settle`]): de-duplicated, put in order, cut at the cut-off. So memory depends on the size of a bucket and not of the logs;
//! beside it, clicks without titles need the titles of all articles. News comes first for them: a click on an article that is in
//! no news file yet is set aside, and stays so, since its own file is not read again.
//!
//! Ingesting is incremental: files are known by their content, and only new ones are read; their rows are merged with the
//! version before. That version is carried on while the settings are the same, and while moving the cut-off (as a nightly
//! run does) concerns only rows of files that are read anyway; otherwise all files are read again.

mod articles;
mod collect;
mod config;
mod mapping;
mod mind;
mod quarantine;
mod read;
mod settle;
mod spill;
mod time;

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use arrow::array::StringArray;
use dataset::plan::{Digest, digest};
use dataset::{
    Account, Dataset, Error, Input, InputRef, Manifest, Origin, Outcome, Progress, RawFile, Result, Rows, Runner,
    Source, Stage, Store, Summary, UserKey,
};
use rayon::prelude::*;
use schemas::{Events, News, Quarantine, Truth};
use serde_json::{Value, json};

pub use articles::{Articles, Versions};
pub use collect::event_id;
pub use config::{EventLog, Format, Ingest, NewsLog};
pub use quarantine::{Entries, SetAside};
pub use settle::{Bucket, Settle};

use articles::{ArticleCollector, PARTS};
use collect::{Collector, Rules};
use mapping::Titles;
use spill::Spill;

/// Spilled and settled rows are about so large in memory.
const ROW_BYTES: u64 = 200;

/// Runs the whole job. Returns the summaries of news, quarantine and behaviours.
pub fn ingest(runner: &Runner, settings: &Ingest, key: &UserKey) -> Result<Vec<Summary>> {
    settings.check()?;
    let logs = find_logs(settings)?;
    let cut_off = match (settings.cut_off, &settings.mind) {
        (Some(cut_off), _) => cut_off,
        (None, Some(folder)) => mind::first_day(&mind::files(folder)?.0)?,
        (None, None) => unreachable!("checked above"),
    };
    let event_logs = without_files(json!(settings.events));
    let news_logs = without_files(json!(settings.news));
    let settle = Settle {
        cut_off,
        window_days: settings.window_days,
        history_days: settings.history_days,
        mind: settings.mind.is_some(),
        logs: json!([event_logs, news_logs]),
    };
    let articles = Articles { mind: settings.mind.is_some(), logs: news_logs };
    // What can be read does not depend on the times.
    let set_aside = SetAside { recipe: json!([settle.mind, settle.logs, articles]) };
    let intake = Intake::new(runner, key, settings, (&settle, &articles, &set_aside), logs)?;

    // News and quarantine are small: with shards every process makes them whole, and the first one wins.
    let whole = Runner { shard: None, ..runner.clone() };
    let news = whole.run(&articles, &ArticleSource(&intake), &["news"], Origin::default())?;
    let aside = whole.run(&set_aside, &QuarantineSource(&intake), &["events.quarantine"], Origin::default())?;
    let behaviours = runner.run(&settle, &BehaviourSource(&intake), &["events", "truth"], Origin::default())?;
    if matches!(behaviours.outcome, Outcome::Committed | Outcome::UpToDate) && !runner.dry_run {
        intake.remove_spills();
    }
    Ok(vec![news, aside, behaviours])
}

/// Mappings without their files, which are known by their content instead.
fn without_files(mut logs: Value) -> Value {
    for log in logs.as_array_mut().into_iter().flatten() {
        if let Some(log) = log.as_object_mut() {
            log.remove("files");
        }
    }
    logs
}

/// One raw file, and how to read it.
#[derive(Debug, Clone)]
struct Raw<'a> {
    file: RawFile,
    reader: Reader<'a>,
}

#[derive(Debug, Clone, Copy)]
enum Reader<'a> {
    Events(&'a EventLog),
    News(&'a NewsLog),
    MindHistories,
    MindImpressions,
    MindNews,
}

impl Reader<'_> {
    fn reads_behaviours(self) -> bool {
        matches!(self, Reader::Events(_) | Reader::MindHistories | Reader::MindImpressions)
    }

    /// MIND's impressions say when articles were shown.
    fn reads_news(self) -> bool {
        matches!(self, Reader::News(_) | Reader::MindNews | Reader::MindImpressions)
    }
}

/// All raw files that the settings name, with their digests.
fn find_logs(settings: &Ingest) -> Result<Vec<Raw<'_>>> {
    let mut found: Vec<(String, PathBuf, Reader<'_>)> = Vec::new();
    if let Some(folder) = &settings.mind {
        let (behaviours, news) = mind::files(folder)?;
        found.push(("mind-history".into(), behaviours.clone(), Reader::MindHistories));
        found.push(("mind-impressions".into(), behaviours, Reader::MindImpressions));
        found.push(("mind-news".into(), news, Reader::MindNews));
    }
    for log in &settings.events {
        found.extend(matches(&log.name, &log.files)?.into_iter().map(|p| (log.name.clone(), p, Reader::Events(log))));
    }
    for log in &settings.news {
        found.extend(matches(&log.name, &log.files)?.into_iter().map(|p| (log.name.clone(), p, Reader::News(log))));
    }
    let mut logs: Vec<Raw<'_>> = found
        .into_par_iter()
        .map(|(source, path, reader)| {
            let (blake3, bytes) = read::digest(&path)?;
            let path = path.display().to_string();
            Ok(Raw { file: RawFile { source, path, bytes, blake3, rows: 0, latest_us: i64::MIN }, reader })
        })
        .collect::<Result<_>>()?;
    // The same bytes twice in one log are one file.
    logs.sort_by(|a, b| id(&a.file).cmp(&id(&b.file)).then_with(|| a.file.path.cmp(&b.file.path)));
    logs.dedup_by(|a, b| id(&a.file) == id(&b.file));
    Ok(logs)
}

fn matches(name: &str, globs: &[String]) -> Result<Vec<PathBuf>> {
    let setting = format!("ingest.{name}.files");
    let mut paths = BTreeSet::new();
    for pattern in globs {
        let found = glob::glob(pattern).map_err(|e| {
            Error::setting(&setting, "a glob", format!("{pattern:?}: {e}"), "for example logs/*.tsv.gz")
        })?;
        paths.extend(found.flatten().filter(|path| path.is_file()));
    }
    if paths.is_empty() {
        return Err(Error::NoFiles { setting, got: format!("{globs:?}") });
    }
    Ok(paths.into_iter().collect())
}

/// What makes a raw file that file: the log it belongs to, and its content.
fn id(file: &RawFile) -> (&str, &str) {
    (&file.source, &file.blake3)
}

/// Everything that the three stages read: raw files not yet ingested, spilled on first use, and what is carried on.
struct Intake<'a> {
    runner: &'a Runner,
    settings: &'a Ingest,
    rules: Rules,
    fresh: Vec<Raw<'a>>,
    /// Raw files of the version that is carried on.
    known: Vec<RawFile>,
    carried: Option<Carried>,
    key_check: String,
    /// Digest of the set of all raw files, known and fresh.
    files: Digest,
    folder: PathBuf,
    behaviours: OnceLock<Vec<(RawFile, Spill)>>,
    articles: OnceLock<Vec<(RawFile, Spill)>>,
}

/// The versions before, when their rows still hold.
struct Carried {
    events: Input<Events>,
    truth: Input<Truth>,
    news: Input<News>,
    quarantine: Input<Quarantine>,
}

/// The three stages of an ingest.
type Stages<'s> = (&'s Settle, &'s Articles, &'s SetAside);

impl Carried {
    /// The current versions, if all are there and hold under these settings. A kill between their commits leaves some newer
    /// than the events; merging the same raw files into them once more changes nothing.
    fn open(store: &Store, buckets: u32, (settle, articles, set_aside): Stages<'_>) -> Option<Self> {
        let carried = Carried {
            events: Input::open(store, "events").ok()?,
            truth: Input::open(store, "truth").ok()?,
            news: Input::open(store, "news").ok()?,
            quarantine: Input::open(store, "events.quarantine").ok()?,
        };
        let (events, truth) = (&carried.events.snapshot().manifest, &carried.truth.snapshot().manifest);
        let holds = still_holds(events, settle, buckets)
            && (truth.fingerprint == events.fingerprint || same(truth, settle))
            && truth.partitions == buckets
            && same(&carried.news.snapshot().manifest, articles)
            && same(&carried.quarantine.snapshot().manifest, set_aside);
        holds.then_some(carried)
    }
}

impl<'a> Intake<'a> {
    fn new(
        runner: &'a Runner,
        key: &UserKey,
        settings: &'a Ingest,
        stages: Stages<'_>,
        logs: Vec<Raw<'a>>,
    ) -> Result<Self> {
        let (settle, articles, _) = stages;
        let events = Dataset::new(&runner.store, "events").current()?;
        let known = events.as_ref().map_or(&[][..], |m| &m.lineage.raw_files);
        let check = key.check();
        if let Some(other) = events.iter().find(|m| m.lineage.user_key_check.as_ref().is_some_and(|k| *k != check)) {
            return Err(Error::OtherKey {
                dataset: other.dataset.clone(),
                expected: check,
                got: other.lineage.user_key_check.clone().unwrap_or_default(),
            });
        }
        let carried = Carried::open(&runner.store, settings.buckets, stages);
        let seen: BTreeSet<_> = known.iter().map(id).collect();
        if carried.is_none() {
            let present: BTreeSet<_> = logs.iter().map(|raw| id(&raw.file)).collect();
            if let Some(gone) = known.iter().find(|file| !present.contains(&id(file))) {
                return Err(Error::unreadable(
                    &gone.path,
                    "the settings changed, so every raw file is read again, but this one is gone or changed",
                    "put it back, or ingest into another --data root",
                ));
            }
        }
        let fresh: Vec<Raw<'a>> =
            logs.into_iter().filter(|raw| carried.is_none() || !seen.contains(&id(&raw.file))).collect();
        let known = if carried.is_some() { known.to_vec() } else { Vec::new() };
        let mut all: Vec<_> = known.iter().chain(fresh.iter().map(|raw| &raw.file)).map(id).collect();
        all.sort_unstable();
        let files = digest(&json!(all));
        let recipe = digest(&json!([files, settle, articles, check, settings.buckets, Settle::VERSION]));
        let name = match runner.shard {
            Some(shard) => format!("{recipe}-{}-of-{}", shard.index, shard.count),
            None => recipe,
        };
        let folder = match runner.store.local_root() {
            Some(root) => root.join("events/_spill"),
            None => std::env::temp_dir().join(format!("querent-spill-{}", std::process::id())),
        };
        let threads = runner.threads.max(1) as u64;
        let flush_rows = (runner.memory_limit / threads / 4 / ROW_BYTES).clamp(1 << 14, 1 << 20) as usize;
        let rules = Rules { key: key.clone(), buckets: settings.buckets, window: settle.window(), flush_rows };
        Ok(Intake {
            runner,
            settings,
            rules,
            fresh,
            known,
            carried,
            key_check: check,
            files,
            folder: folder.join(name),
            behaviours: OnceLock::new(),
            articles: OnceLock::new(),
        })
    }

    fn inputs(&self) -> BTreeMap<String, InputRef> {
        let version = (self.known.len() + self.fresh.len()) as u64;
        BTreeMap::from([("raw files".into(), InputRef { version, content: self.files.clone() })])
    }

    /// The spills of the files that hold articles.
    fn articles(&self) -> Result<&Vec<(RawFile, Spill)>> {
        once(&self.articles, || {
            self.spill(
                "reading news",
                |reader| reader.reads_news(),
                "articles",
                |raw, path| {
                    let mut collector = ArticleCollector::new(path)?;
                    let from = Path::new(&raw.file.path);
                    match raw.reader {
                        Reader::News(log) => mapping::read_news(from, log, &mut collector)?,
                        Reader::MindNews => mind::read_news(from, &mut collector)?,
                        Reader::MindImpressions => mind::read_shown(from, &mut collector)?,
                        Reader::Events(_) | Reader::MindHistories => {}
                    }
                    collector.finish()
                },
            )
        })
    }

    /// The spills of the files that hold behaviours.
    fn behaviours(&self) -> Result<&Vec<(RawFile, Spill)>> {
        once(&self.behaviours, || {
            let needs_titles = self.settings.mind.is_some()
                || self.fresh.iter().any(|raw| matches!(raw.reader, Reader::Events(log) if log.text.is_none()));
            let titles = if needs_titles { self.titles()? } else { Titles::new() };
            self.spill(
                "reading logs",
                |reader| reader.reads_behaviours(),
                "behaviours",
                |raw, path| {
                    let runner = self.runner.clone();
                    let takes = Box::new(move |bucket| runner.takes(bucket));
                    let mut collector = Collector::new(&self.rules, path, takes)?;
                    let from = Path::new(&raw.file.path);
                    match raw.reader {
                        Reader::Events(log) => mapping::read_events(from, log, &titles, &mut collector)?,
                        Reader::MindHistories => {
                            mind::read_histories(from, self.rules.window.cut_off, &titles, &mut collector)?;
                        }
                        Reader::MindImpressions => mind::read_impressions(from, &titles, &mut collector)?,
                        Reader::News(_) | Reader::MindNews => {}
                    }
                    collector.finish()
                },
            )
        })
    }

    fn spill(
        &self,
        what: &str,
        wanted: impl Fn(Reader<'_>) -> bool,
        unit: &'static str,
        read: impl Fn(&Raw<'_>, &Path) -> Result<Spill> + Sync,
    ) -> Result<Vec<(RawFile, Spill)>> {
        // What people wrote lies there for a while: for nobody else to read.
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.folder)
            .map_err(|e| Error::io(self.folder.display(), e))?;
        let files: Vec<&Raw<'_>> = self.fresh.iter().filter(|raw| wanted(raw.reader)).collect();
        let progress = Progress::new(what, unit, files.len() as u64, self.runner.progress);
        let one = |raw: &&Raw<'_>| {
            let name = digest(&json!([unit, id(&raw.file)]));
            let path = self.folder.join(name).with_extension("spill");
            let spill = match Spill::find(&path) {
                Some(spill) => spill,
                None => read(raw, &path)?,
            };
            let tally = spill.tally();
            progress.step(tally.units);
            let file = RawFile { rows: tally.units, latest_us: tally.latest_us, ..raw.file.clone() };
            Ok((file, spill))
        };
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(self.runner.threads)
            .build()
            .map_err(|e| Error::setting("--threads", "threads that the system can start", e, "give fewer"))?;
        let spills: Vec<(RawFile, Spill)> = pool.install(|| files.par_iter().map(one).collect::<Result<_>>())?;
        self.check_bad_ratio(unit, &spills)?;
        Ok(spills)
    }

    /// Too much set aside fails the job before anything is written.
    fn check_bad_ratio(&self, unit: &str, spills: &[(RawFile, Spill)]) -> Result<()> {
        let booked = booked(spills);
        let total: u64 = spills.iter().map(|(_, spill)| spill.tally().units).sum();
        if booked.bad() as f64 <= self.runner.max_bad_ratio * total as f64 {
            return Ok(());
        }
        let first = spills.iter().find_map(|(file, spill)| {
            spill.tally().quarantined.first().map(|(line, reason)| format!(" (first: {}:{line}, {reason})", file.path))
        });
        Err(Error::TooBad {
            job: Settle::NAME.into(),
            bad: booked.bad(),
            total,
            unit: unit.into(),
            reasons: dataset::account::list(&booked.quarantined),
            limit: self.runner.max_bad_ratio,
            example: first.unwrap_or_default(),
        })
    }

    /// Titles of all articles ingested so far.
    fn titles(&self) -> Result<Titles> {
        let news = Input::<News>::open(&self.runner.store, "news")?.columns(&["news_id", "title"]);
        let mut titles = Titles::new();
        for part in 0..news.partitions() {
            for batch in news.read(part)?.batches() {
                let ids: &StringArray = Rows::<News>::column(batch, "news_id")?;
                let names: &StringArray = Rows::<News>::column(batch, "title")?;
                titles
                    .extend(ids.iter().zip(names).filter_map(|(id, title)| Some((id?.to_owned(), title?.to_owned()))));
            }
        }
        Ok(titles)
    }

    /// All raw files, the fresh ones with what reading them told.
    fn raw_files(&self, spills: &OnceLock<Vec<(RawFile, Spill)>>) -> Vec<RawFile> {
        let read: BTreeMap<_, _> = spills.get().into_iter().flatten().map(|(file, _)| (id(file), file)).collect();
        let fresh = self.fresh.iter().map(|raw| (*read.get(&id(&raw.file)).unwrap_or(&&raw.file)).clone());
        self.known.iter().cloned().chain(fresh).collect()
    }

    fn remove_spills(&self) {
        // What stays behind is removed by `querent gc`.
        let _ = std::fs::remove_dir_all(&self.folder);
        if let Some(spills) = self.folder.parent() {
            let _ = std::fs::remove_dir(spills);
        }
    }
}

/// Whether a version was made with these settings.
fn same<S: Stage>(manifest: &Manifest, stage: &S) -> bool {
    let lineage = &manifest.lineage;
    lineage.stage_version == S::VERSION && serde_json::to_value(stage).is_ok_and(|s| s == lineage.settings)
}

/// Whether the rows of a version of `events` would be the same under these settings.
fn still_holds(events: &Manifest, settle: &Settle, buckets: u32) -> bool {
    if events.partitions != buckets {
        return false;
    }
    if same(events, settle) {
        return true;
    }
    // Only the times differ, and no known file has a row that one of the two cut-offs left out or counts as truth. The
    // history's start may move forward only: older rows are gone.
    let as_of = |field: &str| events.lineage.settings[field].clone();
    let old = (|| {
        let cut_off: chrono::DateTime<chrono::Utc> = serde_json::from_value(as_of("cut_off")).ok()?;
        let window_days = serde_json::from_value(as_of("window_days")).ok()?;
        let history_days = serde_json::from_value(as_of("history_days")).ok()?;
        Some(Settle { cut_off, window_days, history_days, ..settle.clone() })
    })();
    let Some(old) = old.filter(|old| same(events, old)) else { return false };
    let first = old.cut_off.min(settle.cut_off).timestamp_micros();
    events.lineage.raw_files.iter().all(|file| file.latest_us < first) && settle.window().start >= old.window().start
}

/// What was left out or set aside before it had a partition.
fn booked(spills: &[(RawFile, Spill)]) -> Account {
    let mut account = Account::default();
    for (_, spill) in spills {
        let tally = spill.tally();
        for (reason, units) in &tally.dropped {
            account.drop(reason, *units);
        }
        for (_, reason) in &tally.quarantined {
            account.quarantine(reason, 1);
        }
        for (what, count) in &tally.notes {
            account.note(what, *count);
        }
    }
    account.input = account.accounted();
    account
}

fn once<T>(cell: &OnceLock<T>, make: impl FnOnce() -> Result<T>) -> Result<&T> {
    match cell.get() {
        Some(made) => Ok(made),
        None => {
            let made = make()?;
            Ok(cell.get_or_init(|| made))
        }
    }
}

struct ArticleSource<'a>(&'a Intake<'a>);

impl Source for ArticleSource<'_> {
    type Rows = Versions;

    fn partitions(&self) -> u32 {
        PARTS
    }

    fn inputs(&self) -> BTreeMap<String, InputRef> {
        self.0.inputs()
    }

    fn raw_files(&self) -> Vec<RawFile> {
        self.0.raw_files(&self.0.articles)
    }

    fn carries(&self, _: &str) -> Option<u64> {
        self.0.carried.as_ref().map(|carried| carried.news.snapshot().manifest.version)
    }

    fn key(&self, _: u32) -> Digest {
        self.0.files.clone()
    }

    fn memory_bytes(&self, part: u32) -> u64 {
        self.0.articles.get().into_iter().flatten().map(|(_, spill)| spill.memory_bytes(part)).sum()
    }

    fn user_key_check(&self) -> Option<&str> {
        None
    }

    fn prepare(&self) -> Result<()> {
        self.0.articles().map(|_| ())
    }

    fn read(&self, part: u32) -> Result<Versions> {
        let spills = self.0.articles()?;
        let mut spilled = Vec::new();
        for (_, spill) in spills {
            spilled.extend(spill.read(part)?);
        }
        let booked = if part == 0 { booked(spills) } else { Account::default() };
        let carried = match &self.0.carried {
            Some(carried) => carried.news.read(part)?,
            None => Rows::empty(),
        };
        Ok(Versions { spilled, carried, booked })
    }
}

struct QuarantineSource<'a>(&'a Intake<'a>);

impl Source for QuarantineSource<'_> {
    type Rows = Entries;

    fn partitions(&self) -> u32 {
        1
    }

    fn inputs(&self) -> BTreeMap<String, InputRef> {
        self.0.inputs()
    }

    fn prepare(&self) -> Result<()> {
        self.0.articles()?;
        self.0.behaviours().map(|_| ())
    }

    fn raw_files(&self) -> Vec<RawFile> {
        self.0.raw_files(&self.0.behaviours)
    }

    fn carries(&self, _: &str) -> Option<u64> {
        self.0.carried.as_ref().map(|carried| carried.quarantine.snapshot().manifest.version)
    }

    fn key(&self, _: u32) -> Digest {
        self.0.files.clone()
    }

    fn memory_bytes(&self, _: u32) -> u64 {
        0
    }

    fn user_key_check(&self) -> Option<&str> {
        None
    }

    fn read(&self, part: u32) -> Result<Entries> {
        let spills = self.0.articles()?.iter().chain(self.0.behaviours()?);
        let fresh = spills.flat_map(|(file, spill)| {
            spill
                .tally()
                .quarantined
                .iter()
                .map(|(line, reason)| (file.path.clone(), *line, reason.clone(), file.source.clone()))
        });
        let fresh = fresh.collect();
        let carried = match &self.0.carried {
            Some(carried) => carried.quarantine.read(part)?,
            None => Rows::empty(),
        };
        Ok(Entries { fresh, carried })
    }
}

struct BehaviourSource<'a>(&'a Intake<'a>);

impl Source for BehaviourSource<'_> {
    type Rows = Bucket;

    fn partitions(&self) -> u32 {
        self.0.settings.buckets
    }

    fn inputs(&self) -> BTreeMap<String, InputRef> {
        self.0.inputs()
    }

    fn raw_files(&self) -> Vec<RawFile> {
        self.0.raw_files(&self.0.behaviours)
    }

    fn carries(&self, dataset: &str) -> Option<u64> {
        let carried = self.0.carried.as_ref()?;
        let (events, truth) = (carried.events.snapshot(), carried.truth.snapshot());
        [events, truth].iter().find(|s| s.dataset.name() == dataset).map(|s| s.manifest.version)
    }

    fn key(&self, _: u32) -> Digest {
        self.0.files.clone()
    }

    fn memory_bytes(&self, bucket: u32) -> u64 {
        let spilled: u64 =
            self.0.behaviours.get().into_iter().flatten().map(|(_, spill)| spill.memory_bytes(bucket)).sum();
        let carried = self.0.carried.as_ref();
        spilled + carried.map_or(0, |c| c.events.memory_bytes(bucket) + c.truth.memory_bytes(bucket))
    }

    fn user_key_check(&self) -> Option<&str> {
        Some(&self.0.key_check)
    }

    fn prepare(&self) -> Result<()> {
        self.0.behaviours().map(|_| ())
    }

    fn read(&self, bucket: u32) -> Result<Bucket> {
        let spills = self.0.behaviours()?;
        let mut spilled = Vec::new();
        for (file, spill) in spills {
            spilled.extend(spill.read(bucket)?.into_iter().map(|batch| (file.source.clone(), batch)));
        }
        let booked = if bucket == 0 { booked(spills) } else { Account::default() };
        let (events, truth) = match &self.0.carried {
            Some(carried) => (carried.events.read(bucket)?, carried.truth.read(bucket)?),
            None => (Rows::empty(), Rows::empty()),
        };
        Ok(Bucket { spilled, events, truth, booked })
    }
}
