//! `embed`: every article becomes a vector; only articles that are new, or whose text is, are put to the encoder.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, FixedSizeListArray, Float32Array, StringArray};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field};
use dataset::bucket::{digest_128, hex};
use dataset::plan::Digest;
use dataset::{Account, Dataset, Done, Error, Input, InputRef, Result, Rows, Source, Stage, from_columns};
use schemas::{News, NewsVectors};
use serde::{Deserialize, Serialize};
use text::Encoder;

use crate::vectors::flat;

/// Articles of one partition: what is lost by a kill, and how often progress is shown.
const ARTICLES_PER_PARTITION: u64 = 4096;

/// What of an article is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Fields {
    /// The title.
    #[serde(rename = "title")]
    Title,
    /// The title, then the abstract if there is one.
    #[default]
    #[serde(rename = "title,abstract")]
    TitleAndAbstract,
}

/// Embeds articles. The encoder enters by its name, which covers its files and options.
#[derive(Debug, Serialize)]
pub struct Embed<'a> {
    /// What of an article is read.
    pub fields: Fields,
    /// The encoder's name.
    pub encoder_name: String,
    /// The encoder.
    #[serde(skip)]
    pub encoder: &'a Encoder,
}

impl<'a> Embed<'a> {
    /// With this encoder.
    pub fn new(fields: Fields, encoder: &'a Encoder) -> Self {
        Embed { fields, encoder_name: encoder.name().to_owned(), encoder }
    }
}

/// One partition's articles, and the vectors that the version before has for some of them.
#[derive(Debug)]
pub struct PartArticles {
    news: Rows<News>,
    known: Vec<Rows<NewsVectors>>,
}

/// `news`, each part cut by hash into partitions of a few thousand articles.
#[derive(Debug)]
pub struct Articles {
    news: Input<News>,
    before: Option<Input<NewsVectors>>,
    cuts: u32,
}

impl Articles {
    /// The current `news`; vectors of the version before are carried over when the same encoder made them.
    pub fn new(news: Input<News>, dataset: &Dataset, encoder: &str) -> Result<Self> {
        let manifest = &news.snapshot().manifest;
        let per_part = manifest.rows / u64::from(manifest.partitions.max(1));
        let cuts = per_part.div_ceil(ARTICLES_PER_PARTITION).clamp(1, 256) as u32;
        let before = match dataset.current()? {
            Some(m) if m.lineage.settings["encoder_name"] == encoder => {
                let before = Input::<NewsVectors>::open(dataset.store(), dataset.name())?;
                (before.partitions().is_multiple_of(manifest.partitions)).then_some(before)
            }
            _ => None,
        };
        Ok(Articles { news: news.columns(&["news_id", "title", "abstract"]), before, cuts })
    }
}

impl Source for Articles {
    type Rows = PartArticles;

    fn partitions(&self) -> u32 {
        self.news.partitions() * self.cuts
    }

    fn inputs(&self) -> BTreeMap<String, InputRef> {
        self.news.inputs()
    }

    fn key(&self, partition: u32) -> Digest {
        self.news.key(partition % self.news.partitions())
    }

    fn memory_bytes(&self, partition: u32) -> u64 {
        self.news.memory_bytes(partition % self.news.partitions())
    }

    fn user_key_check(&self) -> Option<&str> {
        None
    }

    fn read(&self, partition: u32) -> Result<PartArticles> {
        let parts = self.news.partitions();
        let (part, cut) = (partition % parts, partition / parts);
        let mut news = Vec::new();
        for batch in self.news.read(part)?.batches() {
            let ids = Rows::<News>::column::<StringArray>(batch, "news_id")?;
            let mine = ids.iter().map(|id| id.map(|id| cut_of(id, self.cuts) == cut)).collect();
            news.push(filter_record_batch(batch, &mine).map_err(Error::arrow("cutting news"))?);
        }
        // However many partitions the version before had, this part's articles lie in every `parts`-th of them.
        let known = match &self.before {
            Some(before) if before.partitions() == self.partitions() => vec![before.read(partition)?],
            Some(before) => {
                (part..before.partitions()).step_by(parts as usize).map(|p| before.read(p)).collect::<Result<_>>()?
            }
            None => Vec::new(),
        };
        Ok(PartArticles { news: Rows::new(news), known })
    }
}

fn cut_of(news_id: &str, cuts: u32) -> u32 {
    (u128::from_be_bytes(digest_128(&[b"cut", news_id.as_bytes()])) % u128::from(cuts)) as u32
}

impl Stage for Embed<'_> {
    const NAME: &'static str = "embed";
    const VERSION: u32 = 1;
    const UNIT: &'static str = "articles";
    type Inputs = PartArticles;
    type Outputs = Rows<NewsVectors>;

    fn run(&self, _: u32, PartArticles { news, known }: PartArticles) -> Result<Done<Self::Outputs>> {
        let before = known_vectors(&known)?;
        let dimensions = self.encoder.dimensions();
        let (mut ids, mut hashes, mut texts) = (Vec::new(), Vec::new(), Vec::new());
        for batch in news.batches() {
            let [id, title, summary] =
                ["news_id", "title", "abstract"].map(|name| Rows::<News>::column::<StringArray>(batch, name));
            let (id, title, summary) = (id?, title?, summary?);
            for row in 0..batch.num_rows() {
                let text = match (self.fields, summary.is_valid(row)) {
                    (Fields::TitleAndAbstract, true) => format!("{} {}", title.value(row), summary.value(row)),
                    _ => title.value(row).to_owned(),
                };
                ids.push(id.value(row).to_owned());
                hashes.push(hex(&digest_128(&[text.as_bytes()])));
                texts.push(text);
            }
        }
        let mut account = Account::all(ids.len() as u64);

        let mut new: Vec<usize> = Vec::new();
        let mut first: HashMap<&str, usize> = HashMap::new();
        let mut slots: Vec<Slot<'_>> = Vec::with_capacity(ids.len());
        for row in 0..ids.len() {
            match before.get(ids[row].as_str()).filter(|(hash, _)| *hash == hashes[row]) {
                Some((_, vector)) => slots.push(Slot::Known(vector)),
                None => {
                    let slot = *first.entry(texts[row].as_str()).or_insert_with(|| {
                        new.push(row);
                        new.len() - 1
                    });
                    slots.push(Slot::New(slot));
                }
            }
        }
        account.note("texts embedded", new.len() as u64);
        account.note("carried over", slots.iter().filter(|slot| matches!(slot, Slot::Known(_))).count() as u64);
        let fresh: Vec<&str> = new.iter().map(|&row| texts[row].as_str()).collect();
        let fresh = self.encoder.documents(&fresh).map_err(Error::model)?;

        let mut values = Vec::with_capacity(ids.len() * dimensions);
        for slot in slots {
            values.extend_from_slice(match slot {
                Slot::Known(vector) => vector,
                Slot::New(at) => &fresh[at],
            });
        }
        let item = Arc::new(Field::new("item", DataType::Float32, false));
        let vectors = FixedSizeListArray::try_new(item, dimensions as i32, Arc::new(Float32Array::from(values)), None)
            .map_err(Error::arrow("vectors"))?;
        let encoder = StringArray::from(vec![self.encoder_name.as_str(); ids.len()]);
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(ids)),
            Arc::new(StringArray::from(hashes)),
            Arc::new(encoder),
            Arc::new(vectors),
        ];
        Ok(Done { outputs: Rows::new(vec![from_columns::<NewsVectors>(columns)?]), accounts: vec![account] })
    }

    /// A part of `news`, and a partition's vectors three times over: as made, as columns, encoded.
    fn memory_bytes(&self, input_bytes: u64) -> u64 {
        2 * input_bytes + 3 * 2 * ARTICLES_PER_PARTITION * 4 * self.encoder.dimensions() as u64
    }
}

enum Slot<'a> {
    Known(&'a [f32]),
    New(usize),
}

/// Text hash and vector by article.
fn known_vectors(known: &[Rows<NewsVectors>]) -> Result<HashMap<&str, (&str, &[f32])>> {
    let mut vectors = HashMap::new();
    for batch in known.iter().flat_map(Rows::batches) {
        let id: &StringArray = Rows::<NewsVectors>::column(batch, "news_id")?;
        let hash: &StringArray = Rows::<NewsVectors>::column(batch, "text_hash")?;
        let vector: &FixedSizeListArray = Rows::<NewsVectors>::column(batch, "vector")?;
        let length = vector.value_length() as usize;
        let values = flat(vector)?;
        for row in 0..batch.num_rows() {
            vectors.insert(id.value(row), (hash.value(row), &values[row * length..(row + 1) * length]));
        }
    }
    Ok(vectors)
}
