//! `text_scores`: every distinct text of `events` scored once, within and across runs.
//!
//! Texts are sent to the partition that their hash names, so that however many users typed a text, one partition has it. Scores that the
//! version before has from the same model are taken over; only new texts are put to the model.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use arrow::array::{AsArray, RecordBatch, StringBuilder};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use dataset::bucket::{digest_128, hex, unhex};
use dataset::{
    Account, Digest, Done, Error, Exit, Inputs, Manifest, Regrouped, Resources, Result, Rows, Spill, Stage, Whole,
};
use rayon::prelude::*;
use schemas::{Events, TextScores, TextScoresColumns};
use serde::{Deserialize, Serialize};
use text::{Classifier, ClassifierOptions, ModelFolder};

use crate::Only;

/// Events for which a partition of their texts is made.
const EVENTS_PER_PARTITION: u64 = 1 << 16;

/// A text on its way.
static SENT: LazyLock<SchemaRef> =
    LazyLock::new(|| Arc::new(Schema::new(vec![Field::new("text", DataType::Utf8, false)])));

/// A text's name in `text_scores`.
pub(crate) fn text_hash(text: &str) -> u128 {
    u128::from_be_bytes(digest_128(&[text.as_bytes()]))
}

/// Scores texts.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Score {
    /// How texts are put to the model.
    pub options: ClassifierOptions,
    /// The model's folder. Its files decide, not its place.
    #[serde(default, skip_serializing)]
    pub model: PathBuf,
    /// The ONNX file in it; empty for the usual one.
    #[serde(default, skip_serializing)]
    pub onnx: String,
    /// The domains whose texts are scored.
    #[serde(default, skip_serializing_if = "Only::is_all")]
    pub only: Only,
}

/// The events' parts, a task each, and the scores that are known.
#[derive(Debug)]
pub struct Texts {
    events: Whole<Events>,
    regrouped: Arc<Regrouped>,
    known: Option<Whole<TextScores>>,
    folder: ModelFolder,
}

impl Stage for Score {
    const NAME: &'static str = "score";
    const VERSION: u32 = 3;
    const UNIT: &'static str = "texts";
    type Inputs = Texts;
    type Shared = Classifier;
    type Outputs = Rows<TextScores>;

    fn inputs(&self, declare: &mut Inputs<'_>) -> Result<Texts> {
        let events = declare.whole::<Events>("events")?;
        let folder = ModelFolder::open(&self.model, &self.onnx)?;
        declare.files("classifier", &folder.files())?;
        // A text's score is the same whatever else is scored.
        let options = serde_json::to_value(&self.options).map_err(|e| Error::bug(format!("settings of score: {e}")))?;
        let options = Some(options);
        let models = declare.models().clone();
        let same = |m: &Manifest| {
            let lineage = &m.lineage;
            lineage.models == models
                && lineage.settings.get("options") == options.as_ref()
                && lineage.stage_version == Self::VERSION
        };
        let known = declare.cache(0, same);
        // Powers of two: the partitions of another version hold whole numbers of ours, or are whole numbers of ours.
        let partitions = (events.manifest().rows / EVENTS_PER_PARTITION).next_power_of_two().clamp(2, 8192) as u32;
        let manifest = events.manifest();
        let empty = |part| format!("no rows {part}");
        let tasks: Vec<Digest> = (0..manifest.partitions)
            .map(|part| manifest.part(part).map_or_else(|| empty(part), |part| part.blake3.clone()))
            .collect();
        let regrouped = declare.regroup(partitions, SENT.clone(), tasks)?;
        let columns = [Events::domain.name(), Events::text.name()];
        Ok(Texts { events: events.columns(&columns), regrouped, known, folder })
    }

    fn open(&self, texts: &Texts, _: &Resources) -> Result<Classifier> {
        Classifier::open(texts.folder.clone(), self.options.clone())
    }

    /// The distinct texts of one part.
    fn map(&self, texts: &Texts, part: usize, spill: &mut Spill<'_>) -> Result<()> {
        let mut seen = HashSet::new();
        let (mut partition, mut distinct) = (Vec::new(), StringBuilder::new());
        let rows = texts.events.read(part as u32)?;
        for batch in rows.batches() {
            for (domain, text) in Events::domain.of(batch)?.iter().zip(Events::text.of(batch)?) {
                let (Some(text), true) = (text, domain.is_some_and(|domain| self.only.has(domain))) else { continue };
                let hash = text_hash(text);
                if seen.insert(hash) {
                    partition.push((hash % u128::from(spill.partitions())) as u32);
                    distinct.append_value(text);
                }
                if distinct.values_slice().len() >= spill.budget_bytes {
                    send(spill, &mut partition, &mut distinct)?;
                }
            }
        }
        send(spill, &mut partition, &mut distinct)
    }

    fn run(&self, texts: &Texts, classifier: &Classifier, partition: u32) -> Result<Done<Self::Outputs>> {
        let known = texts.known(partition)?;
        let mut found: HashMap<u128, String> = HashMap::new();
        for (_, batch) in texts.regrouped.read(partition)? {
            for text in batch.column(0).as_string::<i32>().iter().flatten() {
                found.entry(text_hash(text)).or_insert_with(|| text.to_owned());
            }
        }
        let mut account = Account::all(found.len() as u64);
        let mut rows: Vec<(u128, f32)> = known.into_iter().filter(|(hash, _)| found.remove(hash).is_some()).collect();
        account.note("from the cache", rows.len() as u64);
        account.note("scored", found.len() as u64);
        // In the order of their hashes, whatever the order in which they came.
        let mut new: Vec<(u128, String)> = found.into_iter().collect();
        new.sort_unstable_by_key(|(hash, _)| *hash);
        let scores = classifier.scores(&new.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>())?;
        rows.extend(new.iter().map(|(hash, _)| *hash).zip(scores));
        rows.sort_unstable_by_key(|(hash, _)| *hash);
        let columns = TextScoresColumns {
            text_hash: rows.iter().map(|(hash, _)| Some(hex(&hash.to_be_bytes()))).collect(),
            keep_score: rows.iter().map(|(_, score)| *score).collect::<Vec<f32>>().into(),
        };
        Ok(Done { outputs: Rows::of(columns)?, accounts: vec![account] })
    }

    fn said(&self, classifier: &Classifier, seconds: f64) -> Option<String> {
        classifier.timing().said("scored", seconds)
    }

    /// Measured: the texts, their token ids and logits.
    fn memory_bytes(&self, _: &Classifier, input_bytes: u64) -> u64 {
        8 * input_bytes
    }
}

fn send(spill: &mut Spill<'_>, partition: &mut Vec<u32>, texts: &mut StringBuilder) -> Result<()> {
    if partition.is_empty() {
        return Ok(());
    }
    let rows = RecordBatch::try_new(spill.schema(), vec![Arc::new(texts.finish())])?;
    spill.send(&std::mem::take(partition), &rows)
}

impl Texts {
    /// The known scores of one partition's texts, whatever the number of partitions of the version that has them.
    fn known(&self, partition: u32) -> Result<Vec<(u128, f32)>> {
        let Some(known) = &self.known else { return Ok(Vec::new()) };
        let (theirs, ours) = (known.partitions(), self.regrouped.partitions);
        let mut scores = Vec::new();
        for part in (partition % theirs.min(ours)..theirs).step_by(ours as usize) {
            for columns in known.read(part)?.columns() {
                let TextScoresColumns { text_hash, keep_score } = columns?;
                for (hash, score) in text_hash.iter().flatten().zip(keep_score.values()) {
                    let hash = parse(hash)?;
                    if hash % u128::from(ours) == u128::from(partition) {
                        scores.push((hash, *score));
                    }
                }
            }
        }
        Ok(scores)
    }
}

fn parse(hash: &str) -> Result<u128> {
    unhex(hash)
        .map(u128::from_be_bytes)
        .ok_or_else(|| Error::new(Exit::Data, "text_scores: text_hash: expected 32 hex digits", "run clean again"))
}

/// Scores by text: per partition, sorted hashes and their scores (20 bytes a text).
#[derive(Debug, Default)]
pub struct Scores {
    partitions: Vec<(Vec<u128>, Vec<f32>)>,
}

impl Scores {
    /// Reads a version of `text_scores`.
    pub(crate) fn read(input: &Whole<TextScores>) -> Result<Self> {
        let read = |partition: u32| -> Result<(Vec<u128>, Vec<f32>)> {
            let rows = input.read(partition)?;
            let (mut hashes, mut scores) = (Vec::with_capacity(rows.len()), Vec::with_capacity(rows.len()));
            for columns in rows.columns() {
                let TextScoresColumns { text_hash, keep_score } = columns?;
                hashes.extend(text_hash.iter().flatten().map(parse).collect::<Result<Vec<_>>>()?);
                scores.extend_from_slice(keep_score.values());
            }
            Ok((hashes, scores))
        };
        Ok(Scores { partitions: (0..input.partitions()).into_par_iter().map(read).collect::<Result<_>>()? })
    }

    /// A text's score.
    pub(crate) fn get(&self, hash: u128) -> Option<f32> {
        let (hashes, scores) = self.partitions.get((hash % (self.partitions.len() as u128).max(1)) as usize)?;
        Some(scores[hashes.binary_search(&hash).ok()?])
    }

    pub(crate) fn memory_bytes(&self) -> u64 {
        self.partitions.iter().map(|(hashes, _)| 20 * hashes.len() as u64).sum()
    }
}
