//! The stage `ingest-news`: articles of all raw files, merged by id, become `news`.
//!
//! The merge does not depend on order: of several versions of an article the greatest stays (one with an abstract before one without,
//! then by text), and it counts as published when it is first known to be.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{Array, RecordBatch, StringArray};
use dataset::{
    Account, Digest, Done, Error, Inputs, Manifest, Regrouped, Resources, Result, Rows, Spill, Stage, Whole,
};
use schemas::{News, Quarantine, RawFiles};
use serde::{Deserialize, Serialize};

use super::articles::{Article, ArticleCollector, Builder, PARTS, SENT};
use super::erased::ErasedPeople;
use super::files::{Intake, Paths, RAW_FILES, Raw, Reader, paths, remark};
use super::quarantine::files_and_quarantine;
use super::tally::{Tallies, booked};
use super::{guard, mapping, mind};

/// The oldest version of this stage whose rows still hold.
const CARRIES_FROM: u32 = 7;

/// Reads articles.
#[derive(Debug, Serialize, Deserialize)]
pub struct IngestNews {
    /// The raw files that there are.
    #[serde(skip)]
    pub(super) found: Vec<Raw>,
}

/// What is read now, and what is carried on.
#[derive(Debug)]
pub struct NewsInputs {
    fresh: Vec<Raw>,
    /// Logs of which files are carried on.
    known: BTreeSet<String>,
    regrouped: Arc<Regrouped>,
    tallies: Tallies,
    carried: Option<(Whole<News>, Whole<Quarantine>, Whole<RawFiles>)>,
    /// Where the files of `carried` lie now that were moved.
    moved: Paths,
}

impl Stage for IngestNews {
    const NAME: &'static str = "ingest-news";
    const VERSION: u32 = 7;
    const UNIT: &'static str = "articles";
    type Inputs = NewsInputs;
    type Shared = ();
    type Outputs = (Rows<News>, Rows<Quarantine>, Rows<RawFiles>);

    fn inputs(&self, declare: &mut Inputs<'_>) -> Result<NewsInputs> {
        let lay = paths(declare.cache::<RawFiles>(2, |_| true).as_ref())?;
        let intake = Intake::new(self.found.clone(), declare.before(0), &lay, |before| {
            Ok((before.lineage.stage_version < CARRIES_FROM).then(|| "an earlier querent read them differently".into()))
        })?;
        declare.value(RAW_FILES, &intake.all)?;
        remark(&intake.replaced).into_iter().for_each(|remark| declare.remark(remark));
        let tasks: Vec<Digest> = intake.fresh.iter().map(Raw::task).collect();
        let of_before = |_: &Manifest| true;
        let carried = if intake.carries {
            let news = declare.cache(0, of_before).ok_or_else(incomplete)?;
            let quarantine = declare.cache(1, of_before).ok_or_else(incomplete)?;
            Some((news, quarantine, declare.cache(2, of_before).ok_or_else(incomplete)?))
        } else {
            None
        };
        let regrouped = declare.regroup_increment(PARTS, SENT.clone(), tasks)?;
        Ok(NewsInputs {
            fresh: intake.fresh,
            known: intake.known,
            regrouped,
            tallies: Tallies::default(),
            carried,
            moved: intake.moved,
        })
    }

    fn open(&self, _: &NewsInputs, _: &Resources) -> Result<()> {
        Ok(())
    }

    fn map(&self, inputs: &NewsInputs, task: usize, spill: &mut Spill<'_>) -> Result<()> {
        let Raw { path, reader, .. } = &inputs.fresh[task];
        let mut collector = ArticleCollector::new(spill);
        match reader {
            Reader::News(log) => mapping::read_news(path, log, &mut collector)?,
            Reader::MindNews => mind::read_news(path, &mut collector)?,
            Reader::MindShown => mind::read_shown(path, &mut collector)?,
            Reader::Events(_) | Reader::MindHistories | Reader::MindImpressions => {}
        }
        collector.finish()
    }

    fn mapped(&self, inputs: &NewsInputs, resources: &Resources) -> Result<()> {
        guard::check(Self::UNIT, &inputs.fresh, &inputs.regrouped.said()?, &inputs.known, resources.max_bad_ratio)
    }

    fn run(&self, inputs: &NewsInputs, (): &(), part: u32) -> Result<Done<Self::Outputs>> {
        let tallies = inputs.tallies.of(&inputs.regrouped)?;
        let account = if part == 0 { booked(tallies) } else { Account::default() };
        let sent = inputs.regrouped.read(part)?.into_iter();
        let sent = sent.map(|(task, batch)| (Some(inputs.fresh[task].id.source.as_str()), batch));
        let (carried, quarantine, files) = match &inputs.carried {
            Some((news, quarantine, files)) => (news.read(part)?, quarantine.read(part)?, files.read(part)?),
            None => (Rows::empty(), Rows::empty(), Rows::empty()),
        };
        let (news, account) =
            merge(sent.chain(carried.into_batches().into_iter().map(|batch| (None, batch))), account)?;
        let read = inputs.fresh.iter().zip(tallies);
        let ((files, of_files), (rows, of_rows)) =
            files_and_quarantine(read, (&files, &quarantine, &inputs.moved), &ErasedPeople::default(), part, PARTS)?;
        Ok(Done { outputs: (news, rows, files), accounts: vec![account, of_rows, of_files] })
    }

    fn memory_bytes(&self, (): &(), input_bytes: u64) -> u64 {
        4 * input_bytes
    }
}

fn incomplete() -> Error {
    let hint = "delete the folders news, news.quarantine and news.raw_files, and run ingest again";
    Error::unreadable("news", "its other outputs are not there, or of another querent", hint)
}

/// An article's versions: the greatest of each log, and that of the version before, in which it is not known which log told it.
#[derive(Default)]
struct Versions<'a> {
    published_at: Option<i64>,
    told: Vec<(Option<&'a str>, Article)>,
}

impl<'a> Versions<'a> {
    fn add(&mut self, log: Option<&'a str>, article: Article) {
        match self.told.iter_mut().find(|(told_by, _)| *told_by == log) {
            Some((_, known)) => *known = article.max(std::mem::take(known)),
            None => self.told.push((log, article)),
        }
    }

    /// The one that stays; none, if no log tells it.
    fn greatest(&self) -> Option<&Article> {
        self.told.iter().map(|(_, article)| article).max()
    }

    /// Whether several logs tell it, and not the same.
    fn differ(&self) -> bool {
        let mut told = self.told.iter().filter(|(log, _)| log.is_some()).map(|(_, article)| article);
        let first = told.next();
        told.any(|other| Some(other) != first)
    }
}

/// Articles by id, each in its greatest version. A batch comes with the log that tells it.
fn merge<'a>(
    batches: impl Iterator<Item = (Option<&'a str>, RecordBatch)>,
    mut account: Account,
) -> Result<(Rows<News>, Account)> {
    let mut merged: BTreeMap<String, Versions<'_>> = BTreeMap::new();
    for (log, batch) in batches {
        let titles = batch.column_by_name(News::title.name()).and_then(|titles| titles.as_any().downcast_ref());
        let Some(titles): Option<&StringArray> = titles else { continue };
        let text = |column: &StringArray, row: usize| (!column.is_null(row)).then(|| column.value(row).to_owned());
        let (ids, times) = (News::news_id.of(&batch)?, News::published_at.of(&batch)?);
        let (summaries, entities) = (News::r#abstract.of(&batch)?, News::entities.of(&batch)?);
        let (categories, subcategories) = (News::category.of(&batch)?, News::subcategory.of(&batch)?);
        for row in 0..batch.num_rows() {
            let versions = merged.entry(ids.value(row).to_owned()).or_default();
            let time = (!times.is_null(row)).then(|| times.value(row));
            versions.published_at = versions.published_at.into_iter().chain(time).min();
            // A row without a title only says when the article was shown.
            let Some(title) = text(titles, row) else { continue };
            account.input += 1;
            let article = Article {
                summary: text(summaries, row),
                title: Some(title),
                category: text(categories, row),
                subcategory: text(subcategories, row),
                entities: entities.row(row).map(str::to_owned).collect(),
            };
            versions.add(log, article);
        }
    }
    let shown_only = merged.values().filter(|versions| versions.told.is_empty()).count();
    account.note("shown, but in no news log", shown_only as u64);
    let differ = merged.values().filter(|versions| versions.differ()).count();
    account.note("articles that several logs tell differently", differ as u64);
    let mut rows = Builder::default();
    for (id, versions) in &merged {
        if let Some(article) = versions.greatest() {
            rows.push(id, versions.published_at, article);
            account.output += 1;
        }
    }
    account.drop("repeated", account.input - account.accounted());
    Ok((Rows::of(rows.take())?, account))
}
