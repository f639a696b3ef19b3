//! `text_scores`: every distinct text of `events` scored once, within and across runs.
//!
//! Texts are regrouped by their hash, so that however many users typed a text, one partition has it. Scores that the version
//! before has from the same model are taken over; only new texts are put to the model.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, Write};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{ArrayRef, Float32Array, StringArray};
use dataset::bucket::{digest_128, hex, unhex};
use dataset::plan::{Digest, digest};
use dataset::{Account, Dataset, Done, Error, Input, InputRef, Result, Rows, Source, Stage, from_columns};
use rayon::prelude::*;
use schemas::{Events, TextScores};
use serde::Serialize;
use serde_json::json;
use text::{Classifier, ClassifierOptions};

/// Events for which a partition of their texts is made.
const EVENTS_PER_PARTITION: u64 = 1 << 16;

/// A text's name in `text_scores`.
pub(crate) fn text_hash(text: &str) -> u128 {
    u128::from_be_bytes(digest_128(&[text.as_bytes()]))
}

/// Scores texts. The model itself enters by its files' digests.
#[derive(Debug, Serialize)]
pub struct Score<'a> {
    /// How texts are put to the model.
    pub options: ClassifierOptions,
    /// The model.
    #[serde(skip)]
    pub classifier: &'a Classifier,
}

impl Stage for Score<'_> {
    const NAME: &'static str = "score";
    const VERSION: u32 = 1;
    const UNIT: &'static str = "texts";
    type Inputs = PartitionTexts;
    type Outputs = Rows<TextScores>;

    fn run(&self, _: u32, PartitionTexts { new, known }: PartitionTexts) -> Result<Done<Self::Outputs>> {
        let texts: Vec<&str> = new.iter().map(String::as_str).collect();
        let scores = self.classifier.scores(&texts).map_err(Error::model)?;
        let mut account = Account::all((new.len() + known.len()) as u64);
        account.note("scored", new.len() as u64);
        account.note("from the cache", known.len() as u64);
        let mut rows = known;
        rows.extend(texts.iter().map(|text| text_hash(text)).zip(scores));
        rows.sort_unstable_by_key(|row| row.0);
        let hashes: StringArray = rows.iter().map(|(hash, _)| Some(hex(&hash.to_be_bytes()))).collect();
        let scores: Float32Array = rows.iter().map(|(_, score)| *score).collect();
        let columns: Vec<ArrayRef> = vec![Arc::new(hashes), Arc::new(scores)];
        Ok(Done { outputs: Rows::new(vec![from_columns::<TextScores>(columns)?]), accounts: vec![account] })
    }

    /// Measured: token ids and logits beside the texts.
    fn memory_bytes(&self, input_bytes: u64) -> u64 {
        8 * input_bytes
    }
}

/// What one partition has to score, and what it knows.
#[derive(Debug, Default)]
pub struct PartitionTexts {
    new: Vec<String>,
    known: Vec<(u128, f32)>,
}

/// The distinct texts of `events`, regrouped by hash in temporary files that have no name: nobody else reads people's texts,
/// and however the process ends, they are gone.
#[derive(Debug)]
pub struct DistinctTexts {
    events: Input<Events>,
    before: Option<Input<TextScores>>,
    partitions: u32,
    found: Vec<Mutex<Found>>,
}

/// One partition's texts, as they are found.
#[derive(Debug, Default)]
struct Found {
    seen: HashSet<u128>,
    known: Vec<(u128, f32)>,
    file: Option<BufWriter<File>>,
    /// What the texts take in memory, about.
    bytes: u64,
}

impl DistinctTexts {
    /// The texts of a version of `events`; the scores of the version before are taken over when the same model, with the
    /// same options, gave them.
    pub fn new(
        events: Input<Events>,
        dataset: &Dataset,
        models: &BTreeMap<String, String>,
        options: &ClassifierOptions,
    ) -> Result<Self> {
        let manifest = &events.snapshot().manifest;
        let partitions = (manifest.rows / EVENTS_PER_PARTITION).clamp(2, 256) as u32;
        let same = |m: &dataset::Manifest| {
            m.lineage.models == *models && m.lineage.settings["options"] == json!(options) && m.table_version == 1
        };
        let before = match dataset.current()? {
            Some(m) if same(&m) => Some(Input::<TextScores>::open(dataset.store(), dataset.name())?),
            _ => None,
        };
        let found = (0..partitions).map(|_| Mutex::default()).collect();
        Ok(DistinctTexts { events: events.columns(&["text"]), before, partitions, found })
    }

    fn collect(&self, bucket: u32, known: &Scores) -> Result<()> {
        let mut new: Vec<Vec<(u128, String)>> = vec![Vec::new(); self.partitions as usize];
        let mut seen = HashSet::new();
        for batch in self.events.read(bucket)?.batches() {
            for text in Rows::<Events>::column::<StringArray>(batch, "text")?.iter().flatten() {
                let hash = text_hash(text);
                if seen.insert(hash) {
                    new[(hash % u128::from(self.partitions)) as usize].push((hash, text.to_owned()));
                }
            }
        }
        for (partition, texts) in (0..).zip(new) {
            let mut found = self.found[partition as usize].lock().unwrap_or_else(PoisonError::into_inner);
            for (hash, text) in texts {
                if !found.seen.insert(hash) {
                    continue;
                }
                match known.get(hash) {
                    Some(score) => found.known.push((hash, score)),
                    None => found.spill(&text).map_err(spilling)?,
                }
            }
        }
        Ok(())
    }
}

fn spilling(e: std::io::Error) -> Error {
    Error::io(std::env::temp_dir().display(), e)
}

impl Found {
    fn spill(&mut self, text: &str) -> std::io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(BufWriter::new(tempfile::tempfile()?)),
        };
        file.write_all(&(text.len() as u32).to_le_bytes())?;
        file.write_all(text.as_bytes())?;
        self.bytes += text.len() as u64 + 24;
        Ok(())
    }

    /// The spilled texts; their file is gone afterwards.
    fn take(&mut self) -> std::io::Result<Vec<String>> {
        let Some(file) = self.file.take() else { return Ok(Vec::new()) };
        let mut file = file.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        file.rewind()?;
        let (mut file, mut left, mut texts) = (BufReader::new(file), self.bytes, Vec::new());
        while left > 0 {
            let mut length = [0; 4];
            file.read_exact(&mut length)?;
            let mut text = vec![0; u32::from_le_bytes(length) as usize];
            file.read_exact(&mut text)?;
            left -= text.len() as u64 + 24;
            texts.push(String::from_utf8(text).map_err(std::io::Error::other)?);
        }
        Ok(texts)
    }
}

impl Source for DistinctTexts {
    type Rows = PartitionTexts;

    fn partitions(&self) -> u32 {
        self.partitions
    }

    fn inputs(&self) -> BTreeMap<String, InputRef> {
        self.events.inputs()
    }

    fn key(&self, partition: u32) -> Digest {
        digest(&json!([self.events.snapshot().reference().content, partition]))
    }

    fn memory_bytes(&self, partition: u32) -> u64 {
        self.found[partition as usize].lock().unwrap_or_else(PoisonError::into_inner).bytes
    }

    fn user_key_check(&self) -> Option<&str> {
        self.events.user_key_check()
    }

    fn prepare(&self) -> Result<()> {
        let known = match &self.before {
            Some(before) => Scores::read(before)?,
            None => Scores::default(),
        };
        (0..self.events.partitions()).into_par_iter().try_for_each(|bucket| self.collect(bucket, &known))?;
        for found in &self.found {
            found.lock().unwrap_or_else(PoisonError::into_inner).seen = HashSet::new();
        }
        Ok(())
    }

    fn read(&self, partition: u32) -> Result<PartitionTexts> {
        let mut found = self.found[partition as usize].lock().unwrap_or_else(PoisonError::into_inner);
        let new = found.take().map_err(spilling)?;
        let mut texts = PartitionTexts { new, known: std::mem::take(&mut found.known) };
        // In the order of their hashes, whatever the order in which buckets were read.
        texts.new.sort_by_cached_key(|text| text_hash(text));
        Ok(texts)
    }
}

/// Scores by text: per partition, sorted hashes and their scores (20 bytes a text).
#[derive(Debug, Default)]
pub struct Scores {
    partitions: Vec<(Vec<u128>, Vec<f32>)>,
}

impl Scores {
    /// Reads a version of `text_scores`.
    pub fn read(input: &Input<TextScores>) -> Result<Self> {
        let read = |partition: u32| -> Result<(Vec<u128>, Vec<f32>)> {
            let rows = input.read(partition)?;
            let (mut hashes, mut scores) = (Vec::with_capacity(rows.len()), Vec::with_capacity(rows.len()));
            for batch in rows.batches() {
                for hash in Rows::<TextScores>::column::<StringArray>(batch, "text_hash")?.iter().flatten() {
                    let hash = unhex(hash)
                        .ok_or_else(|| Error::unreadable("text_scores", "a hash that is none", "run clean again"))?;
                    hashes.push(u128::from_be_bytes(hash));
                }
                scores.extend_from_slice(Rows::<TextScores>::column::<Float32Array>(batch, "keep_score")?.values());
            }
            Ok((hashes, scores))
        };
        Ok(Scores { partitions: (0..input.partitions()).into_par_iter().map(read).collect::<Result<_>>()? })
    }

    /// A text's score.
    pub fn get(&self, hash: u128) -> Option<f32> {
        let (hashes, scores) = self.partitions.get((hash % (self.partitions.len() as u128).max(1)) as usize)?;
        Some(scores[hashes.binary_search(&hash).ok()?])
    }
}
