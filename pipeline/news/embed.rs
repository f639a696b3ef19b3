//! `embed`: every article becomes a vector; only articles that are new, or whose text is, are put to the encoder.

use std::collections::HashMap;

use arrow::array::{Array, Float32Array, RecordBatch, StringArray};
use clap::{Args, ValueEnum};
use dataset::bucket::{digest_128, hex};
use dataset::{Account, ByPartition, Done, Manifest, Resources, Result, Rows, Stage, Whole};
use schemas::{Lists, News, NewsVectors, NewsVectorsColumns};
use serde::{Deserialize, Serialize};
use text::Encoder;

use crate::EncoderSettings;
use crate::encoder::Declared;

/// Articles of one partition: what is lost by a kill, and how often progress is shown.
const ARTICLES_PER_PARTITION: u64 = 4096;

/// What of an article is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize, Deserialize)]
pub enum Fields {
    /// The title.
    #[serde(rename = "title")]
    Title,
    /// The title, then the abstract if there is one.
    #[default]
    #[serde(rename = "title,abstract")]
    #[value(name = "title,abstract")]
    TitleAndAbstract,
}

impl Fields {
    /// The text of each article of a batch with the columns `title` and `abstract`.
    pub(crate) fn texts(self, batch: &RecordBatch) -> Result<Vec<String>> {
        let (title, summary) = (News::title.of(batch)?, News::r#abstract.of(batch)?);
        let text = |row: usize| match (self, summary.is_valid(row)) {
            (Fields::TitleAndAbstract, true) => format!("{} {}", title.value(row), summary.value(row)),
            _ => title.value(row).to_owned(),
        };
        Ok((0..batch.num_rows()).map(text).collect())
    }
}

/// Embeds articles.
#[derive(Debug, Clone, Args, Serialize, Deserialize)]
#[serde(default)]
pub struct Embed {
    /// What of an article is read
    #[arg(long, value_name = "FIELDS", value_enum, default_value_t = Fields::TitleAndAbstract)]
    pub fields: Fields,
    /// The encoder
    #[command(flatten)]
    #[serde(flatten)]
    pub encoder: EncoderSettings,
}

impl Default for Embed {
    fn default() -> Self {
        dataset::defaults()
    }
}

/// What embed reads: `news`, each part cut by hash into partitions of a few thousand articles.
#[derive(Debug)]
pub struct Articles {
    news: ByPartition<News>,
    cuts: u32,
    /// Vectors of the version before that the same encoder made.
    known: Option<Whole<NewsVectors>>,
    encoder: Declared,
}

impl Articles {
    /// The articles of one partition.
    fn read(&self, partition: u32) -> Result<Vec<RecordBatch>> {
        let cut = partition / self.news.manifest().partitions;
        let mut news = Vec::new();
        for batch in self.news.read(partition)?.batches() {
            let mine = News::news_id.of(batch)?.iter().map(|id| id.map(|id| cut_of(id, self.cuts) == cut)).collect();
            news.push(arrow::compute::filter_record_batch(batch, &mine)?);
        }
        Ok(news)
    }

    /// The vectors that there may be for them. However many partitions the version before had, this part's articles lie in every
    /// `parts`-th of them.
    fn known(&self, partition: u32) -> Result<Vec<RecordBatch>> {
        let Some(known) = &self.known else { return Ok(Vec::new()) };
        let parts = self.news.manifest().partitions;
        let batches = |partition| Ok(known.read(partition)?.into_batches());
        match known.partitions() == parts * self.cuts {
            true => batches(partition),
            false => {
                let from = (partition % parts..known.partitions()).step_by(parts as usize);
                Ok(from.map(batches).collect::<Result<Vec<_>>>()?.concat())
            }
        }
    }
}

fn cuts(news: &Manifest) -> u32 {
    let per_part = news.rows / u64::from(news.partitions.max(1));
    per_part.div_ceil(ARTICLES_PER_PARTITION).clamp(1, 256) as u32
}

fn cut_of(news_id: &str, cuts: u32) -> u32 {
    (u128::from_be_bytes(digest_128(&[b"cut", news_id.as_bytes()])) % u128::from(cuts)) as u32
}

impl Stage for Embed {
    const NAME: &'static str = "embed";
    const VERSION: u32 = 2;
    const UNIT: &'static str = "articles";
    type Inputs = Articles;
    type Shared = Encoder;
    type Outputs = Rows<NewsVectors>;

    fn inputs(&self, declare: &mut dataset::Inputs<'_>) -> Result<Articles> {
        let encoder = self.encoder.declare(declare)?;
        let news = declare.by_cut::<News>("news", cuts)?;
        let (parts, cuts) = (news.manifest().partitions, cuts(news.manifest()));
        let same = |before: &Manifest| {
            before.lineage.stage_version == Self::VERSION
                && before.lineage.values.get("encoder").is_some_and(|name| *name == encoder.name)
                && before.partitions.is_multiple_of(parts)
        };
        let known = declare.cache::<NewsVectors>(0, same).map(|known| {
            known.columns(&[NewsVectors::news_id.name(), NewsVectors::text_hash.name(), NewsVectors::vector.name()])
        });
        let news = news.columns(&[News::news_id.name(), News::title.name(), News::r#abstract.name()]);
        Ok(Articles { news, cuts, known, encoder })
    }

    fn open(&self, articles: &Articles, _: &Resources) -> Result<Encoder> {
        articles.encoder.open()
    }

    fn run(&self, articles: &Articles, encoder: &Encoder, partition: u32) -> Result<Done<Self::Outputs>> {
        let known = articles.known(partition)?.iter().map(Known::of).collect::<Result<Vec<_>>>()?;
        let texts = texts(&articles.read(partition)?, self.fields)?;
        let found: Vec<Option<&[f32]>> = find(&texts, &known, encoder.dimensions());
        let mut new: Vec<&str> = Vec::new();
        let mut first: HashMap<&str, usize> = HashMap::new();
        for (text, found) in texts.iter().zip(&found) {
            if found.is_none() {
                first.entry(text.text.as_str()).or_insert_with(|| {
                    new.push(&text.text);
                    new.len() - 1
                });
            }
        }
        let mut account = Account::all(texts.len() as u64);
        account.note("texts embedded", new.len() as u64);
        account.note("carried over", found.iter().flatten().count() as u64);
        let made = encoder.documents(&new)?;
        let mut values = Vec::with_capacity(texts.len() * encoder.dimensions());
        for (text, found) in texts.iter().zip(found) {
            values.extend_from_slice(found.unwrap_or_else(|| &made[first[text.text.as_str()]]));
        }
        let lengths = std::iter::repeat_n(encoder.dimensions(), texts.len());
        let rows = NewsVectorsColumns {
            news_id: texts.iter().map(|text| Some(text.news_id.as_str())).collect(),
            text_hash: texts.iter().map(|text| Some(text.hash.as_str())).collect(),
            encoder: StringArray::from(vec![encoder.name(); texts.len()]),
            vector: Lists::from_lengths(lengths, Float32Array::from(values)),
        };
        Ok(Done { outputs: Rows::of(rows)?, accounts: vec![account] })
    }

    fn said(&self, encoder: &Encoder, seconds: f64) -> Option<String> {
        encoder.timing().said("embedded", seconds)
    }

    /// A part of `news`, and a partition's vectors three times over: as made, as columns, encoded.
    fn memory_bytes(&self, encoder: &Encoder, input_bytes: u64) -> u64 {
        2 * input_bytes + 3 * 2 * ARTICLES_PER_PARTITION * 4 * encoder.dimensions() as u64
    }
}

/// What of an article is put to the encoder.
#[derive(Debug, PartialEq, Eq)]
struct Text {
    news_id: String,
    text: String,
    hash: String,
}

fn texts(news: &[RecordBatch], fields: Fields) -> Result<Vec<Text>> {
    let mut texts = Vec::new();
    for batch in news {
        for (id, text) in News::news_id.of(batch)?.iter().flatten().zip(fields.texts(batch)?) {
            let hash = hex(&digest_128(&[text.as_bytes()]));
            texts.push(Text { news_id: id.to_owned(), text, hash });
        }
    }
    Ok(texts)
}

/// Vectors of the version before.
struct Known {
    news_id: StringArray,
    text_hash: StringArray,
    vector: Lists<Float32Array>,
}

impl Known {
    fn of(batch: &RecordBatch) -> Result<Self> {
        Ok(Known {
            news_id: NewsVectors::news_id.of(batch)?.clone(),
            text_hash: NewsVectors::text_hash.of(batch)?.clone(),
            vector: NewsVectors::vector.of(batch)?,
        })
    }
}

/// For each text the vector that is known of it: that of the same article, made of the same text.
fn find<'a>(texts: &[Text], known: &'a [Known], dimensions: usize) -> Vec<Option<&'a [f32]>> {
    let rows = known.iter().flat_map(|known| (0..known.vector.len()).map(move |row| (known, row)));
    let vectors: HashMap<&str, (&str, &[f32])> = rows
        .map(|(known, row)| (known.news_id.value(row), (known.text_hash.value(row), known.vector.row(row))))
        .collect();
    let of = |text: &Text| {
        let (hash, vector) = vectors.get(text.news_id.as_str())?;
        (*hash == text.hash && vector.len() == dimensions).then_some(*vector)
    };
    texts.iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use arrow::array::TimestampMicrosecondArray;
    use schemas::{NewsColumns, Table};

    use super::*;

    fn news(rows: &[(&str, &str, Option<&str>)]) -> Result<RecordBatch> {
        let nothing = || StringArray::new_null(rows.len());
        Ok(News::into_batch(NewsColumns {
            news_id: rows.iter().map(|(id, ..)| Some(*id)).collect(),
            published_at: TimestampMicrosecondArray::new_null(rows.len()),
            category: nothing(),
            subcategory: nothing(),
            title: rows.iter().map(|(_, title, _)| Some(*title)).collect(),
            r#abstract: rows.iter().map(|(.., summary)| *summary).collect(),
            entities: rows.iter().map(|_| [""; 0]).collect(),
        })?)
    }

    #[test]
    fn an_article_s_text_is_its_title_and_its_abstract() -> Result<()> {
        let news = [news(&[("a", "rain", Some("in Basel")), ("b", "sun", None)])?];
        let read =
            |fields| Ok::<_, dataset::Error>(texts(&news, fields)?.into_iter().map(|t| t.text).collect::<Vec<_>>());
        assert_eq!(read(Fields::TitleAndAbstract)?, ["rain in Basel", "sun"]);
        assert_eq!(read(Fields::Title)?, ["rain", "sun"]);
        Ok(())
    }

    #[test]
    fn a_vector_is_carried_over_for_the_same_article_with_the_same_text() -> Result<()> {
        let texts = texts(&[news(&[("a", "rain", None), ("b", "sun", None), ("c", "rain", None)])?], Fields::Title)?;
        let known = Known {
            news_id: vec!["a", "b"].into(),
            text_hash: vec![texts[0].hash.as_str(), "of another text"].into(),
            vector: [[1.0, 0.0], [0.0, 1.0]].into_iter().collect(),
        };
        let known = [known];
        assert_eq!(find(&texts, &known, 2), [Some([1.0, 0.0].as_slice()), None, None]);
        assert_eq!(find(&texts, &known, 3), [None, None, None], "another encoder's are too short");
        Ok(())
    }

    #[test]
    fn settings_survive_being_written_down() {
        let settings = Embed::default();
        assert_eq!((settings.fields, settings.encoder.options.max_tokens), (Fields::TitleAndAbstract, 256));
        let json = serde_json::to_value(&settings).expect("JSON");
        assert_eq!(json["fields"], "title,abstract");
        let back: Embed = serde_json::from_value(json.clone()).expect("settings");
        assert_eq!(serde_json::to_value(back).expect("JSON"), json);
    }
}
