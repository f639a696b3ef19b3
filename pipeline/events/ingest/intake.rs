//! What ingest reads: raw files not yet ingested, spilled on first use, and the versions that are carried on.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use arrow::array::StringArray;
use dataset::plan::{Digest, digest};
use dataset::{
    Account, Dataset, Error, Input, InputRef, Manifest, Progress, RawFile, Result, Rows, Runner, Source, Stage, Store,
    UserKey,
};
use rayon::prelude::*;
use schemas::{Events, News, Quarantine, Truth};
use serde_json::json;

use super::articles::{ArticleCollector, Articles};
use super::collect::{Collector, Rules};
use super::config::Ingest;
use super::mapping::Titles;
use super::quarantine::SetAside;
use super::settle::Settle;
use super::spill::Spill;
use super::{Raw, Reader, id, mapping, mind};

/// Spilled and settled rows are about so large in memory.
const ROW_BYTES: u64 = 200;

/// Everything that the three stages read: raw files not yet ingested, spilled on first use, and what is carried on.
pub(super) struct Intake<'a> {
    runner: &'a Runner,
    pub(super) settings: &'a Ingest,
    rules: Rules,
    fresh: Vec<Raw<'a>>,
    /// Raw files of the version that is carried on.
    known: Vec<RawFile>,
    pub(super) carried: Option<Carried>,
    pub(super) key_check: String,
    /// Digest of the set of all raw files, known and fresh.
    pub(super) files: Digest,
    folder: PathBuf,
    pub(super) behaviours: OnceLock<Vec<(RawFile, Spill)>>,
    pub(super) articles: OnceLock<Vec<(RawFile, Spill)>>,
}

/// The versions before, when their rows still hold.
pub(super) struct Carried {
    pub(super) events: Input<Events>,
    pub(super) truth: Input<Truth>,
    pub(super) news: Input<News>,
    pub(super) quarantine: Input<Quarantine>,
}

/// The three stages of an ingest.
pub(super) type Stages<'s> = (&'s Settle, &'s Articles, &'s SetAside);

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
    pub(super) fn new(
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

    pub(super) fn inputs(&self) -> BTreeMap<String, InputRef> {
        let version = (self.known.len() + self.fresh.len()) as u64;
        BTreeMap::from([("raw files".into(), InputRef { version, content: self.files.clone() })])
    }

    /// The spills of the files that hold articles.
    pub(super) fn articles(&self) -> Result<&Vec<(RawFile, Spill)>> {
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
    pub(super) fn behaviours(&self) -> Result<&Vec<(RawFile, Spill)>> {
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
    pub(super) fn raw_files(&self, spills: &OnceLock<Vec<(RawFile, Spill)>>) -> Vec<RawFile> {
        let read: BTreeMap<_, _> = spills.get().into_iter().flatten().map(|(file, _)| (id(file), file)).collect();
        let fresh = self.fresh.iter().map(|raw| (*read.get(&id(&raw.file)).unwrap_or(&&raw.file)).clone());
        self.known.iter().cloned().chain(fresh).collect()
    }

    pub(super) fn remove_spills(&self) {
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
pub(super) fn booked(spills: &[(RawFile, Spill)]) -> Account {
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
