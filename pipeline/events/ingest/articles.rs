//! Articles: raw news rows, and when articles were first shown, become `news`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use arrow::array::{
    Array, ArrayRef, ListArray, ListBuilder, RecordBatch, StringArray, StringBuilder, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use dataset::bucket::digest_128;
use dataset::{Account, Done, Error, Result, Rows, Stage, from_columns};
use schemas::{News, Table};
use serde::Serialize;
use serde_json::Value;

use super::read::reason;
use super::spill::{Spill, SpillWriter, Tally};
use crate::scrub::{Counts, normalise, scrub};

/// Parts of `news`, by hash of the article's id.
pub(super) const PARTS: u32 = 8;
const FLUSH_ROWS: usize = 64 * 1024;
const MAX_ID_BYTES: usize = 256;
const MAX_TEXT_BYTES: usize = 64 * 1024;

/// Merges articles of all raw files by id.
///
/// The merge does not depend on order: of several versions of an article the greatest stays (one with an abstract before one
/// without, then by text), and it counts as published when it is first known to be.
#[derive(Debug, Clone, Serialize)]
pub struct Articles {
    pub(super) mind: bool,
    /// The logs' mappings, without their files.
    pub(super) logs: Value,
}

/// An article as one raw row has it. A row without a title only says when the article was shown.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Article {
    pub(super) summary: Option<String>,
    pub(super) title: Option<String>,
    pub(super) category: Option<String>,
    pub(super) subcategory: Option<String>,
    pub(super) entities: Vec<String>,
}

static SPILLED: LazyLock<SchemaRef> = LazyLock::new(|| {
    let fields: Vec<Field> =
        News::columns().into_iter().map(|c| Field::new(c.name, c.data_type, c.nullable || c.name == "title")).collect();
    Arc::new(Schema::new(fields))
});

/// Rows of `news` in the making, titles perhaps missing.
#[derive(Default)]
struct Builder {
    news_id: StringBuilder,
    published_at: Vec<Option<i64>>,
    category: StringBuilder,
    subcategory: StringBuilder,
    title: StringBuilder,
    summary: StringBuilder,
    entities: Option<ListBuilder<StringBuilder>>,
}

impl Builder {
    fn push(&mut self, news_id: &str, published_at: Option<i64>, article: &Article) {
        self.news_id.append_value(news_id);
        self.published_at.push(published_at);
        self.category.append_option(article.category.as_ref());
        self.subcategory.append_option(article.subcategory.as_ref());
        self.title.append_option(article.title.as_ref());
        self.summary.append_option(article.summary.as_ref());
        let entities = self.entities.get_or_insert_with(|| {
            ListBuilder::new(StringBuilder::new()).with_field(Field::new("item", DataType::Utf8, false))
        });
        entities.append_value(article.entities.iter().map(Some));
    }

    fn columns(&mut self) -> Vec<ArrayRef> {
        let entities = self.entities.take().map(|mut list| list.finish());
        let item = Arc::new(Field::new("item", DataType::Utf8, false));
        vec![
            Arc::new(self.news_id.finish()),
            Arc::new(TimestampMicrosecondArray::from(std::mem::take(&mut self.published_at)).with_timezone("UTC")),
            Arc::new(self.category.finish()),
            Arc::new(self.subcategory.finish()),
            Arc::new(self.title.finish()),
            Arc::new(self.summary.finish()),
            Arc::new(entities.unwrap_or_else(|| ListArray::new_null(item, 0))),
        ]
    }
}

/// Articles of one raw file on their way to its spill.
pub(super) struct ArticleCollector {
    spill: SpillWriter,
    pub(super) tally: Tally,
    part: Vec<u32>,
    rows: Builder,
}

impl ArticleCollector {
    pub(super) fn new(path: &Path) -> Result<Self> {
        Ok(ArticleCollector {
            spill: SpillWriter::create(path, PARTS, Box::new(|_| true))?,
            tally: Tally::new(),
            part: Vec::new(),
            rows: Builder::default(),
        })
    }

    /// Counts a row that cannot be read.
    pub(super) fn reject(&mut self, line: u64, reason: &str) {
        self.tally.units += 1;
        self.tally.quarantine(line, reason);
    }

    /// Adds a raw row's article.
    pub(super) fn push(
        &mut self,
        line: u64,
        news_id: &[u8],
        published_at: Option<i64>,
        article: Result<Article, &'static str>,
    ) -> Result<()> {
        self.tally.units += 1;
        let valid = valid_id(news_id).and_then(|id| {
            let article = article?;
            if article.title.is_some() { Ok((id, article)) } else { Err(reason::NO_TEXT) }
        });
        match valid {
            Ok((id, article)) => self.add(id, published_at, &article),
            Err(reason) => {
                self.tally.quarantine(line, reason);
                Ok(())
            }
        }
    }

    /// Adds that an article was shown at a time. Not a unit of its own.
    pub(super) fn shown(&mut self, news_id: &str, at: i64) -> Result<()> {
        self.add(news_id, Some(at), &Article::default())
    }

    fn add(&mut self, news_id: &str, published_at: Option<i64>, article: &Article) -> Result<()> {
        let hash = digest_128(&[news_id.as_bytes()]);
        self.part.push(u32::from(hash[0]) % PARTS);
        self.rows.push(news_id, published_at, article);
        if self.part.len() >= FLUSH_ROWS { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        if self.part.is_empty() {
            return Ok(());
        }
        let rows = RecordBatch::try_new(SPILLED.clone(), self.rows.columns()).map_err(Error::arrow("spilling"))?;
        self.spill.write(&std::mem::take(&mut self.part), &rows)
    }

    pub(super) fn finish(mut self) -> Result<Spill> {
        self.flush()?;
        self.spill.finish(self.tally)
    }
}

/// An article's id as text.
pub(super) fn valid_id(id: &[u8]) -> Result<&str, &'static str> {
    let id = id.trim_ascii();
    if id.is_empty() || id.len() > MAX_ID_BYTES {
        return Err(reason::NO_NEWS_ID);
    }
    std::str::from_utf8(id).map_err(|_| reason::UTF8)
}

/// A news text as one clean line; none when nothing is left of it.
pub(super) fn clean_text(bytes: &[u8]) -> Result<Option<String>, &'static str> {
    if bytes.len() > MAX_TEXT_BYTES {
        return Err(reason::LONG_TEXT);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| reason::UTF8)?;
    let text = normalise(text);
    let text = scrub(&text, &mut Counts::default());
    Ok((!text.is_empty()).then(|| text.into_owned()))
}

/// What one part of `news` is made of.
#[derive(Debug)]
pub struct Versions {
    pub(super) spilled: Vec<RecordBatch>,
    pub(super) carried: Rows<News>,
    pub(super) booked: Account,
}

impl Stage for Articles {
    const NAME: &'static str = "ingest-news";
    const VERSION: u32 = 1;
    const UNIT: &'static str = "articles";
    type Inputs = Versions;
    type Outputs = Rows<News>;

    fn run(&self, _: u32, versions: Versions) -> Result<Done<Self::Outputs>> {
        let mut account = versions.booked;
        let mut merged: BTreeMap<&str, (Option<i64>, Article)> = BTreeMap::new();
        for batch in versions.spilled.iter().chain(versions.carried.batches()) {
            let texts = |name: &str| Rows::<News>::column::<StringArray>(batch, name);
            let (ids, titles, summaries) = (texts("news_id")?, texts("title")?, texts("abstract")?);
            let (categories, subcategories) = (texts("category")?, texts("subcategory")?);
            let times: &TimestampMicrosecondArray = Rows::<News>::column(batch, "published_at")?;
            let entities: &ListArray = Rows::<News>::column(batch, "entities")?;
            for row in 0..batch.num_rows() {
                let text = |column: &StringArray| (!column.is_null(row)).then(|| column.value(row).to_owned());
                let published_at = (!times.is_null(row)).then(|| times.value(row));
                let names = entities.value(row);
                let names = names.as_any().downcast_ref::<StringArray>();
                let article = Article {
                    summary: text(summaries),
                    title: text(titles),
                    category: text(categories),
                    subcategory: text(subcategories),
                    entities: names.iter().flat_map(|n| n.iter().flatten().map(str::to_owned)).collect(),
                };
                account.input += u64::from(article.title.is_some());
                let known = merged.entry(ids.value(row)).or_default();
                known.0 = known.0.into_iter().chain(published_at).min();
                known.1 = article.max(std::mem::take(&mut known.1));
            }
        }
        account.note("shown, but in no news log", merged.values().filter(|(_, a)| a.title.is_none()).count() as u64);
        let mut rows = Builder::default();
        let mut count = 0;
        for (id, (published_at, article)) in merged.iter().filter(|(_, (_, a))| a.title.is_some()) {
            rows.push(id, *published_at, article);
            count += 1;
        }
        account.output = count;
        let repeated = account.input - account.accounted();
        account.drop("repeated", repeated);
        let batches = if count == 0 { Vec::new() } else { vec![from_columns::<News>(rows.columns())?] };
        Ok(Done { outputs: Rows::new(batches), accounts: vec![account] })
    }

    fn memory_bytes(&self, input_bytes: u64) -> u64 {
        4 * input_bytes
    }
}
