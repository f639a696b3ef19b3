//! What the settings make of the logs, in words: nothing is written.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use chrono::DateTime;
use dataset::account::{grouped, list};
use dataset::{Result, plain};
use schemas::DOMAINS;

use super::articles::Article;
use super::collect::{TRUTH, Window, judge};
use super::config::{Ingest, times};
use super::events::Titles;
use super::files::{self, Raw, Reader};
use super::mapping::{self, Articles, Behaviour, Behaviours, Counted};
use super::read::Row;
use super::tally::{Aside, Tally, booked};
use super::{guard, mind};

/// So many rows of every log are shown.
const SHOWN: usize = 3;

/// Reads all logs and says, of each: its columns, its first rows as they were understood, what would be left out or set aside and why,
/// and why the job would refuse it, if it would. Texts are as they would be kept, scrubbed; user ids are the log's own.
///
/// # Errors
/// A setting that makes no sense; files that are not there.
pub fn explain(settings: &Ingest, max_bad_ratio: f64) -> Result<String> {
    settings.check()?;
    let window = times(settings.cut_off()?, settings.window_days, settings.history_days)?;
    let (behaviours, articles) = files::find(settings)?;
    let (mut said, mut titles) = (String::new(), Titles::new());
    for files in logs(&articles) {
        let mut log = Log::default();
        let read = files.iter().try_for_each(|file| {
            let mut sample = ArticleSample { log: &mut log, titles: &mut titles, tally: Tally::new() };
            match &file.reader {
                Reader::News(log) => mapping::read_news(&file.path, log, &mut sample)?,
                Reader::MindNews => mind::read_news(&file.path, &mut sample)?,
                _ => {}
            }
            let tally = sample.tally;
            log.tallies.push(tally);
            Ok(())
        });
        log.describe("articles", files, read, max_bad_ratio, &mut said);
    }
    for files in logs(&behaviours) {
        let mut log = Log::default();
        let read = files.iter().try_for_each(|file| {
            let mut sample = BehaviourSample { window, log: &mut log, tally: Tally::new() };
            match &file.reader {
                Reader::Events(log) => mapping::read_events(&file.path, log, &titles, &mut sample)?,
                Reader::MindHistories => mind::read_histories(&file.path, window.cut_off, &titles, &mut sample)?,
                Reader::MindImpressions => mind::read_impressions(&file.path, &titles, &mut sample)?,
                _ => {}
            }
            let tally = sample.tally;
            log.tallies.push(tally);
            Ok(())
        });
        log.describe("behaviours", files, read, max_bad_ratio, &mut said);
    }
    Ok(said)
}

/// The files of each log that has rows of its own.
fn logs(files: &[Raw]) -> impl Iterator<Item = &[Raw]> {
    let one_log = |a: &Raw, b: &Raw| a.id.source == b.id.source;
    files.chunk_by(one_log).filter(|files| !matches!(files[0].reader, Reader::MindShown))
}

/// What is known of a log.
#[derive(Default)]
struct Log {
    shown: Vec<String>,
    tallies: Vec<Tally>,
    /// Rows that would be kept, by what becomes of them.
    kept: BTreeMap<String, u64>,
}

impl Log {
    fn show(&mut self, row: Row, what: impl FnOnce() -> String) {
        if self.shown.len() < SHOWN {
            self.shown.push(format!("row {}: {}", row.line, what()));
        }
    }

    fn keep(&mut self, what: &str) {
        *self.kept.entry(what.to_owned()).or_default() += 1;
    }

    fn describe(&self, unit: &str, files: &[Raw], read: Result<()>, max_bad_ratio: f64, said: &mut String) {
        let mut line = |text: String| {
            let _ = writeln!(said, "{}", plain(&text));
        };
        let (first, more) = (files[0].path.display(), files.len() - 1);
        let more = if more > 0 { format!(" and {more} more files") } else { String::new() };
        line(format!("{}: {unit} of {first}{more}", files[0].id.source));
        let columns: BTreeSet<&str> =
            self.tallies.iter().flat_map(|tally| &tally.columns).map(String::as_str).collect();
        if !columns.is_empty() {
            line(format!("  columns: {}", columns.into_iter().collect::<Vec<_>>().join(", ")));
        }
        self.shown.iter().for_each(|row| line(format!("  {row}")));
        let account = booked(&self.tallies);
        let units: u64 = self.tallies.iter().map(|tally| tally.units).sum();
        line(format!(
            "  {} {unit}: {}",
            grouped(units),
            if self.kept.is_empty() { "none kept".to_owned() } else { list(&self.kept) }
        ));
        if !account.dropped.is_empty() {
            line(format!("  left out: {}", list(&account.dropped)));
        }
        if !account.quarantined.is_empty() {
            let first =
                files.iter().zip(&self.tallies).find_map(|(file, tally)| Some((file, tally.quarantined.first()?)));
            let first = first.map(|(file, Aside { line, reason, .. })| {
                format!(" (first: {}:{line}, {reason})", file.path.display())
            });
            line(format!("  set aside: {}{}", list(&account.quarantined), first.unwrap_or_default()));
        }
        if !account.notes.is_empty() {
            line(format!("  noted: {}", list(&account.notes)));
        }
        let judged = read.and_then(|()| guard::check(unit, files, &self.tallies, &BTreeSet::new(), max_bad_ratio));
        if let Err(e) = judged {
            line(format!("  would be refused: {}", e.to_string().replace('\n', "\n  ")));
        }
    }
}

fn time(micros: i64) -> String {
    DateTime::from_timestamp_micros(micros)
        .map_or_else(String::new, |at| at.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true))
}

struct BehaviourSample<'a> {
    window: Window,
    log: &'a mut Log,
    tally: Tally,
}

impl Counted for BehaviourSample<'_> {
    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }
}

impl Behaviours for BehaviourSample<'_> {
    fn take(&mut self, row: Row, domain: u8, behaviour: Behaviour<'_>) -> Result<()> {
        let Behaviour { user, at, news_id, .. } = &behaviour;
        let judged = judge(self.window, domain, &behaviour, |role, text, _| (role, text.to_owned()));
        let (becomes, text) = match judged {
            Ok((Ok(role), text)) => {
                let becomes = if role == TRUTH { "truth" } else { "history" };
                self.tally.units += 1;
                self.log.keep(becomes);
                (becomes, text)
            }
            Ok((Err(why), text)) => {
                self.tally.leave_out(why);
                (why, text)
            }
            Err(why) => {
                self.tally.reject(row, &why);
                return Ok(());
            }
        };
        let article = news_id.as_deref().map(|id| format!(", article {id}")).unwrap_or_default();
        self.log.show(row, || {
            let user = String::from_utf8_lossy(user);
            format!("{}, user {user}, {}, {text:?}{article}: {becomes}", DOMAINS[usize::from(domain)], time(*at))
        });
        Ok(())
    }
}

struct ArticleSample<'a> {
    log: &'a mut Log,
    titles: &'a mut Titles,
    tally: Tally,
}

impl Counted for ArticleSample<'_> {
    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }
}

impl Articles for ArticleSample<'_> {
    fn take(&mut self, row: Row, id: &str, published_at: Option<i64>, article: Article) -> Result<()> {
        let Article { title, category, entities, .. } = article;
        let title = title.unwrap_or_default();
        self.log.keep("kept");
        self.log.show(row, || {
            let published = published_at.map_or_else(|| "undated".to_owned(), time);
            let category = category.map(|category| format!(", {category}")).unwrap_or_default();
            format!("article {id}, {published}, {title:?}{category}, {} entities", entities.len())
        });
        self.titles.insert(id.to_owned(), title);
        Ok(())
    }
}
