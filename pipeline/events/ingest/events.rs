//! The stage `ingest`: behaviours of all raw files, by user bucket de-duplicated and in order, become `events` and `truth`.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use arrow::array::Array;
use chrono::{DateTime, Utc};
use dataset::{
    Account, Digest, Done, Error, Inputs, Manifest, Regrouped, Resources, Result, Rows, Spill, Stage, UserKey, Whole,
};
use schemas::{Erased, Events, News, Quarantine, RawFiles, RawFilesColumns, Truth};
use serde::{Deserialize, Serialize};

use super::collect::{Collector, Rules, SPILLED, Window};
use super::config::times;
use super::erased::ErasedPeople;
use super::files::{Intake, Paths, RAW_FILES, Raw, Reader, paths, remark};
use super::quarantine::files_and_quarantine;
use super::settle::Bucket;
use super::tally::{Tallies, booked};
use super::{guard, mapping, mind};

/// The oldest version of this stage whose rows still hold.
const CARRIES_FROM: u32 = 8;
/// The declared value that says where history ends and the evaluation window begins and ends, microseconds since 1970.
const WINDOW: &str = "window_us";

/// Titles by article id.
pub(super) type Titles = HashMap<String, String>;

/// Reads behaviours.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct IngestEvents {
    pub(super) cut_off: DateTime<Utc>,
    pub(super) window_days: u32,
    pub(super) history_days: u32,
    pub(super) buckets: u32,
    /// What is read.
    #[serde(skip)]
    pub(super) reading: Reading,
}

/// What a version is made of beside the one before it.
#[derive(Debug, Clone)]
pub(super) enum Reading {
    /// The raw files that there are.
    Logs(Vec<Raw>),
    /// Nothing: the people are erased whose ids this file lists.
    Nothing { erase: PathBuf },
}

impl Default for Reading {
    fn default() -> Self {
        Reading::Logs(Vec::new())
    }
}

/// What is read now, and what is carried on.
#[derive(Debug)]
pub struct EventInputs {
    fresh: Vec<Raw>,
    /// Logs of which files are carried on.
    known: BTreeSet<String>,
    rules: Rules,
    regrouped: Arc<Regrouped>,
    tallies: Tallies,
    carried: Option<Carried>,
    news: Whole<News>,
    titles: OnceLock<Titles>,
}

#[derive(Debug)]
struct Carried {
    events: Whole<Events>,
    truth: Whole<Truth>,
    quarantine: Whole<Quarantine>,
    files: Whole<RawFiles>,
    /// Where files lie now that were moved.
    moved: Paths,
}

impl EventInputs {
    /// Titles of all articles; read once.
    fn titles(&self) -> Result<&Titles> {
        if self.titles.get().is_none() {
            let mut titles = Titles::new();
            for rows in self.news.parts() {
                for batch in rows?.batches() {
                    let (ids, names) = (News::news_id.of(batch)?, News::title.of(batch)?);
                    titles.extend((0..ids.len()).map(|row| (ids.value(row).to_owned(), names.value(row).to_owned())));
                }
            }
            let _ = self.titles.set(titles);
        }
        Ok(self.titles.get().expect("it was set"))
    }
}

impl IngestEvents {
    fn window(&self) -> Result<Window> {
        times(self.cut_off, self.window_days, self.history_days)
    }

    /// Who was erased before: they stay so, whatever is read and however.
    fn erased_before(&self, before: Option<&Manifest>, table: Option<&Whole<Erased>>) -> Result<ErasedPeople> {
        let people = ErasedPeople::of(table)?;
        let known = before.and_then(|before| before.lineage.erased).unwrap_or_default();
        if people.len() < known {
            let what = format!("expected {known} people who were erased, got {}", people.len());
            let hint = "restore the folder: without it, they would come back";
            return Err(Error::unreadable("events.erased", what, hint));
        }
        Ok(people)
    }

    /// Why the rows of a version would not be the same under these settings; `None`: they would.
    fn unfit(&self, before: &Manifest, files: Option<Whole<RawFiles>>) -> Result<Option<String>> {
        if before.partitions != self.buckets {
            return Ok(Some(format!("buckets {} → {}", before.partitions, self.buckets)));
        }
        if before.lineage.stage_version < CARRIES_FROM {
            return Ok(Some("an earlier querent read them differently".into()));
        }
        let settings = before.lineage.settings.clone();
        let Ok(old) = serde_json::from_value::<Self>(settings) else { return Ok(Some("the settings changed".into())) };
        let same = |a: &Self, b: &Self| {
            (a.cut_off, a.window_days, a.history_days) == (b.cut_off, b.window_days, b.history_days)
        };
        if same(&old, self) {
            return Ok(None);
        }
        // The times moved. That is no matter while no known file has a row that one of the two cut-offs left out or counts as truth. The
        // history's start may move forward only: older rows are gone.
        let first = old.cut_off.min(self.cut_off).timestamp_micros();
        let moved = "the cut-off, window or history moved past rows that were placed by the old one".to_owned();
        if self.window()?.start < old.window()?.start {
            return Ok(Some("the history begins earlier than before".into()));
        }
        let Some(files) = files else { return Ok(Some(moved)) };
        for rows in files.parts() {
            for columns in rows?.columns() {
                let RawFilesColumns { file, latest_at, dated_from_cut_off, .. } = columns?;
                let late = |i| dated_from_cut_off.value(i) || (latest_at.is_valid(i) && latest_at.value(i) >= first);
                if (0..file.len()).any(late) {
                    return Ok(Some(moved));
                }
            }
        }
        Ok(None)
    }
}

impl Stage for IngestEvents {
    const NAME: &'static str = "ingest";
    const VERSION: u32 = 9;
    const UNIT: &'static str = "behaviours";
    type Inputs = EventInputs;
    type Shared = ();
    type Outputs = (Rows<Events>, Rows<Truth>, Rows<Quarantine>, Rows<RawFiles>, Rows<Erased>);

    fn inputs(&self, declare: &mut Inputs<'_>) -> Result<EventInputs> {
        let key: UserKey = declare.user_key()?;
        let window = self.window()?;
        declare.value(WINDOW, [window.cut_off, window.end])?;
        let news = declare.whole::<News>("news")?.columns(&[News::news_id.name(), News::title.name()]);
        let files = declare.cache::<RawFiles>(3, |_| true);
        let lay = paths(files.as_ref())?;
        let before = declare.before(0);
        // Who was to be forgotten stays so, even if the run that was told was broken off.
        let mut erased = self.erased_before(before, declare.newest::<Erased>(4).as_ref())?;
        let intake = match &self.reading {
            Reading::Logs(found) => Intake::new(found.clone(), before, &lay, |before| self.unfit(before, files))?,
            Reading::Nothing { erase } => {
                erased.add_listed(erase, &key)?;
                Intake::nothing(before, |before| self.unfit(before, files))?
            }
        };
        declare.value(RAW_FILES, &intake.all)?;
        declare.erased(erased.len());
        if !erased.is_empty() {
            declare.value("people erased", erased.digest())?;
        }
        remark(&intake.replaced).into_iter().for_each(|remark| declare.remark(remark));
        let tasks: Vec<Digest> = intake.fresh.iter().map(Raw::task).collect();
        let carried = if intake.carries {
            let of_before = |_: &Manifest| true;
            Some(Carried {
                events: declare.cache(0, of_before).ok_or_else(incomplete)?,
                truth: declare.cache(1, of_before).ok_or_else(incomplete)?,
                quarantine: declare.cache(2, of_before).ok_or_else(incomplete)?,
                files: declare.cache(3, of_before).ok_or_else(incomplete)?,
                moved: intake.moved,
            })
        } else {
            None
        };
        let regrouped = declare.regroup_increment(self.buckets, SPILLED.clone(), tasks)?;
        let rules = Rules { key, buckets: self.buckets, window, erased };
        Ok(EventInputs {
            fresh: intake.fresh,
            known: intake.known,
            rules,
            regrouped,
            tallies: Tallies::default(),
            carried,
            news,
            titles: OnceLock::new(),
        })
    }

    fn open(&self, inputs: &EventInputs, _: &Resources) -> Result<()> {
        inputs.titles().map(|_| ())
    }

    fn map(&self, inputs: &EventInputs, task: usize, spill: &mut Spill<'_>) -> Result<()> {
        let Raw { path, reader, .. } = &inputs.fresh[task];
        let titles = inputs.titles()?;
        let mut collector = Collector::new(&inputs.rules, spill);
        match reader {
            Reader::Events(log) => mapping::read_events(path, log, titles, &mut collector)?,
            Reader::MindHistories => mind::read_histories(path, inputs.rules.window.cut_off, titles, &mut collector)?,
            Reader::MindImpressions => mind::read_impressions(path, titles, &mut collector)?,
            Reader::News(_) | Reader::MindNews | Reader::MindShown => {}
        }
        collector.finish()
    }

    fn mapped(&self, inputs: &EventInputs, resources: &Resources) -> Result<()> {
        guard::check(Self::UNIT, &inputs.fresh, &inputs.regrouped.said()?, &inputs.known, resources.max_bad_ratio)
    }

    fn run(&self, inputs: &EventInputs, (): &(), bucket: u32) -> Result<Done<Self::Outputs>> {
        let tallies = inputs.tallies.of(&inputs.regrouped)?;
        let account = if bucket == 0 { booked(tallies) } else { Account::default() };
        let mut rows = Bucket::new(&inputs.rules, inputs.titles()?, account);
        let sent = inputs.regrouped.read(bucket)?;
        rows.reserve(sent.iter().map(|(_, batch)| batch.num_rows()).sum());
        for (task, batch) in sent {
            let Raw { id, reader, .. } = &inputs.fresh[task];
            rows.add_read(&id.source, reader.gives_titles(), &batch);
        }
        let (mut quarantine, mut files, mut moved) = (Rows::empty(), Rows::empty(), &Paths::new());
        if let Some(carried) = &inputs.carried {
            for columns in carried.events.read(bucket)?.columns() {
                rows.add_events(columns?)?;
            }
            for columns in carried.truth.read(bucket)?.columns() {
                rows.add_truth(&columns?)?;
            }
            (quarantine, files, moved) =
                (carried.quarantine.read(bucket)?, carried.files.read(bucket)?, &carried.moved);
        }
        let (events, truth, account, clicks) = rows.settle()?;
        let read = inputs.fresh.iter().zip(tallies);
        let ((files, of_files), (rows, of_rows)) =
            files_and_quarantine(read, (&files, &quarantine, moved), &inputs.rules.erased, bucket, self.buckets)?;
        let (erased, of_erased) = inputs.rules.erased.part(bucket, self.buckets)?;
        let accounts = vec![account, clicks, of_rows, of_files, of_erased];
        Ok(Done { outputs: (events, truth, rows, files, erased), accounts })
    }

    /// Measured: keys, their sort, and the rows as they were and as they will be.
    fn memory_bytes(&self, (): &(), input_bytes: u64) -> u64 {
        8 * input_bytes
    }
}

fn incomplete() -> Error {
    let hint = "delete the folders events, truth, events.quarantine and events.raw_files, but not events.erased, and run ingest again";
    Error::unreadable("events", "its other outputs are not there, or of another querent", hint)
}
