//! Articles as raw files have them, on their way to the parts of `news`.

use std::sync::{Arc, LazyLock};

use arrow::array::{RecordBatch, StringBuilder};
use arrow::datatypes::{Field, Schema, SchemaRef};
use dataset::bucket::digest_128;
use dataset::{Error, Result, Spill};
use schemas::{News, NewsColumns, Table};

use super::read::reason;
use super::tally::Tally;
use crate::scrub::{Counts, normalise, scrub};

/// Parts of `news`, by hash of the article's id.
pub(super) const PARTS: u32 = 8;
const MAX_ID_BYTES: usize = 256;
const MAX_TEXT_BYTES: usize = 64 * 1024;

/// An article as one raw row has it. A row without a title only says when the article was shown.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Article {
    pub(super) summary: Option<String>,
    pub(super) title: Option<String>,
    pub(super) category: Option<String>,
    pub(super) subcategory: Option<String>,
    pub(super) entities: Vec<String>,
}

/// The columns of articles on their way: those of `news`, but titles may be missing.
pub(super) static SENT: LazyLock<SchemaRef> = LazyLock::new(|| {
    let nullable = |c: &schemas::Column| c.nullable || c.name == News::title.name();
    let fields = News::contract().columns.into_iter().map(|c| Field::new(c.name, c.data_type.clone(), nullable(&c)));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
});

/// Rows of `news` in the making, titles perhaps missing.
#[derive(Default)]
pub(super) struct Builder {
    news_id: StringBuilder,
    published_at: Vec<Option<i64>>,
    category: StringBuilder,
    subcategory: StringBuilder,
    title: StringBuilder,
    summary: StringBuilder,
    entities: Vec<Vec<String>>,
}

impl Builder {
    pub(super) fn push(&mut self, news_id: &str, published_at: Option<i64>, article: &Article) {
        self.news_id.append_value(news_id);
        self.published_at.push(published_at);
        self.category.append_option(article.category.as_ref());
        self.subcategory.append_option(article.subcategory.as_ref());
        self.title.append_option(article.title.as_ref());
        self.summary.append_option(article.summary.as_ref());
        self.entities.push(article.entities.clone());
    }

    /// The rows so far; none are left.
    pub(super) fn take(&mut self) -> NewsColumns {
        NewsColumns {
            news_id: self.news_id.finish(),
            published_at: std::mem::take(&mut self.published_at).into(),
            category: self.category.finish(),
            subcategory: self.subcategory.finish(),
            title: self.title.finish(),
            r#abstract: self.summary.finish(),
            entities: std::mem::take(&mut self.entities).into_iter().collect(),
        }
    }

    fn bytes(&self) -> usize {
        let texts = [&self.category, &self.subcategory, &self.title, &self.summary, &self.news_id];
        texts.iter().map(|text| text.values_slice().len()).sum::<usize>() + 64 * self.published_at.len()
    }
}

/// Articles of one raw file on their way to their parts.
pub(super) struct ArticleCollector<'a, 's> {
    spill: &'a mut Spill<'s>,
    pub(super) tally: Tally,
    part: Vec<u32>,
    rows: Builder,
}

impl<'a, 's> ArticleCollector<'a, 's> {
    pub(super) fn new(spill: &'a mut Spill<'s>) -> Self {
        ArticleCollector { spill, tally: Tally::new(), part: Vec::new(), rows: Builder::default() }
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
        if self.rows.bytes() >= self.spill.budget_bytes { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        if self.part.is_empty() {
            return Ok(());
        }
        let columns = schemas::Record::into_arrays(self.rows.take())?;
        let rows = RecordBatch::try_new(SENT.clone(), columns).map_err(Error::arrow("regrouping articles"))?;
        self.spill.send(&std::mem::take(&mut self.part), &rows)
    }

    pub(super) fn finish(mut self) -> Result<()> {
        self.flush()?;
        self.spill.say(&self.tally)
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
