//! `clean`: events → clean events and dropped ones, by the score of each event's text.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use arrow::array::{ArrayRef, BooleanArray, Float32Array, RecordBatch, StringArray};
use arrow::compute::{filter_record_batch, not};
use dataset::plan::Digest;
use dataset::{Account, Done, Error, Input, InputRef, Result, Rows, Source, Stage, from_columns};
use schemas::{CleanEvents, Events, TextScores};
use serde::Serialize;

use crate::score::{Scores, text_hash};

/// Keeps the behaviours that say something about interests: those whose score is at least the threshold.
#[derive(Debug, Clone, Serialize)]
pub struct Clean {
    /// The threshold; without one, nothing is classified and everything is kept, with null scores.
    pub threshold: Option<f32>,
}

impl Clean {
    /// What the manifest says beside the counts when nothing is classified.
    pub const PASS_THROUGH: &'static str = "pass-through: nothing was classified, nothing was dropped";
}

/// `events`, and the scores of their texts unless nothing is classified.
#[derive(Debug)]
pub struct ScoredEvents {
    events: Input<Events>,
    text_scores: Option<Input<TextScores>>,
    scores: OnceLock<Arc<Scores>>,
}

impl ScoredEvents {
    /// The current versions; the scores must cover the events.
    pub fn new(events: Input<Events>, text_scores: Option<Input<TextScores>>) -> Self {
        ScoredEvents { events, text_scores, scores: OnceLock::new() }
    }
}

impl Source for ScoredEvents {
    type Rows = (Rows<Events>, Arc<Scores>);

    fn partitions(&self) -> u32 {
        self.events.partitions()
    }

    fn inputs(&self) -> BTreeMap<String, InputRef> {
        let mut inputs = self.events.inputs();
        inputs.extend(self.text_scores.iter().flat_map(Source::inputs));
        inputs
    }

    fn key(&self, partition: u32) -> Digest {
        // The scores follow from the texts and the model, and the model is part of the recipe.
        self.events.key(partition)
    }

    fn memory_bytes(&self, partition: u32) -> u64 {
        self.events.memory_bytes(partition)
    }

    fn user_key_check(&self) -> Option<&str> {
        self.events.user_key_check()
    }

    fn prepare(&self) -> Result<()> {
        let scores = self.text_scores.as_ref().map_or_else(|| Ok(Scores::default()), Scores::read)?;
        let _ = self.scores.set(Arc::new(scores));
        Ok(())
    }

    fn read(&self, partition: u32) -> Result<Self::Rows> {
        Ok((self.events.read(partition)?, self.scores.get().cloned().unwrap_or_default()))
    }
}

impl Stage for Clean {
    const NAME: &'static str = "clean";
    const VERSION: u32 = 2;
    const UNIT: &'static str = "events";
    type Inputs = (Rows<Events>, Arc<Scores>);
    type Outputs = (Rows<CleanEvents>, Rows<CleanEvents>);

    fn run(&self, _: u32, (events, scores): Self::Inputs) -> Result<Done<Self::Outputs>> {
        let mut account = Account { input: events.len() as u64, ..Account::default() };
        let (mut kept, mut dropped) = (Vec::new(), Vec::new());
        for batch in events.into_batches() {
            let Some(threshold) = self.threshold else {
                account.output += batch.num_rows() as u64;
                let none = Float32Array::new_null(batch.num_rows());
                kept.push(with_scores(&batch, none)?);
                continue;
            };
            let scored = scored(&batch, &scores)?;
            let keep: BooleanArray = scored.values().iter().map(|score| Some(*score >= threshold)).collect();
            count(&batch, &keep, &mut account)?;
            let batch = with_scores(&batch, scored)?;
            let failed = || Error::arrow("cleaning");
            kept.push(filter_record_batch(&batch, &keep).map_err(failed())?);
            dropped.push(filter_record_batch(&batch, &not(&keep).map_err(failed())?).map_err(failed())?);
        }
        Ok(Done { outputs: (Rows::new(kept), Rows::new(dropped)), accounts: vec![account] })
    }

    /// Measured: the columns, those of the kept and dropped events, and the encoded parts.
    fn memory_bytes(&self, input_bytes: u64) -> u64 {
        2 * input_bytes + input_bytes / 2
    }
}

fn scored(batch: &RecordBatch, scores: &Scores) -> Result<Float32Array> {
    let texts = Rows::<Events>::column::<StringArray>(batch, "text")?;
    let score = |text: Option<&str>| {
        text.and_then(|text| scores.get(text_hash(text))).ok_or_else(|| Error::Mismatch {
            what: "text_scores".into(),
            expected: "a score for every text of events".into(),
            got: "none for one of them".into(),
            hint: "events changed while clean worked: run it again".into(),
        })
    };
    texts.iter().map(score).collect::<Result<Vec<f32>>>().map(Float32Array::from)
}

/// Kept and dropped events by domain.
fn count(batch: &RecordBatch, keep: &BooleanArray, account: &mut Account) -> Result<()> {
    let domains = Rows::<Events>::column::<StringArray>(batch, "domain")?;
    let mut counts: BTreeMap<&str, [u64; 2]> = BTreeMap::new();
    for (row, domain) in domains.iter().enumerate() {
        counts.entry(domain.unwrap_or_default()).or_default()[usize::from(keep.value(row))] += 1;
    }
    for (domain, [dropped, kept]) in counts {
        account.output += kept;
        account.note(&format!("kept {domain}"), kept);
        account.drop(&format!("noise in {domain}"), dropped);
    }
    Ok(())
}

fn with_scores(batch: &RecordBatch, scores: Float32Array) -> Result<RecordBatch> {
    let mut columns: Vec<ArrayRef> = batch.columns().to_vec();
    columns.push(Arc::new(scores));
    from_columns::<CleanEvents>(columns)
}
