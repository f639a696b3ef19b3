//! Articles as raw files have them, on their way to the parts of `news`.

use std::sync::{Arc, LazyLock};

use arrow::array::{RecordBatch, StringBuilder};
use arrow::datatypes::{Field, Schema, SchemaRef};
use dataset::bucket::digest_128;
use dataset::ids::article_id;
use dataset::{Error, Result, Spill};
use schemas::{News, NewsColumns, Table};

use super::mapping::{Articles, Counted};
use super::read::{Reason, Row, reason};
use super::tally::Tally;
use super::text::one_line;
use crate::scrub::{Counts, scrub_published};

/// Parts of `news`, by hash of the article's id.
pub(super) const PARTS: u32 = 8;
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

impl Counted for ArticleCollector<'_, '_> {
    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }
}

impl Articles for ArticleCollector<'_, '_> {
    fn take(&mut self, _: Row, id: &str, published_at: Option<i64>, article: Article) -> Result<()> {
        self.add(id, published_at, &article)
    }
}

impl<'a, 's> ArticleCollector<'a, 's> {
    pub(super) fn new(spill: &'a mut Spill<'s>) -> Self {
        ArticleCollector { spill, tally: Tally::new(), part: Vec::new(), rows: Builder::default() }
    }

    /// Adds that an article was shown at a time. Not a unit of its own.
    pub(super) fn shown(&mut self, news_id: &str, at: i64) -> Result<()> {
        match article_id(news_id.as_bytes(), false) {
            Ok(Some(id)) => self.add(&id, Some(at), &Article::default()),
            _ => Ok(()),
        }
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

/// A news text as one clean line; none when nothing is left of it.
pub(super) fn clean_text(bytes: &[u8]) -> Result<Option<String>, Reason> {
    if bytes.len() > MAX_TEXT_BYTES {
        return Err(reason::LONG_TEXT);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| reason::UTF8)?;
    let text = one_line(text);
    let text = scrub_published(&text, &mut Counts::default());
    Ok((!text.is_empty()).then(|| text.into_owned()))
}
