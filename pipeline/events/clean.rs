//! `clean`: events → clean events and dropped ones, by the score of each event's text.

use std::collections::BTreeMap;

use arrow::array::{BooleanArray, Float32Array, RecordBatch};
use arrow::compute::{filter_record_batch, not};
use dataset::{Account, ByPartition, Done, Error, Inputs, Resources, Result, Rows, Stage, Whole};
use schemas::{CleanEvents, CleanEventsColumns, Events, EventsColumns, TextScores};
use serde::{Deserialize, Serialize};

use crate::score::{Scores, text_hash};

/// Keeps the behaviours that say something about interests: those whose score is at least the threshold.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Clean {
    /// The threshold; without one, nothing is classified and everything is kept, with null scores.
    pub threshold: Option<f32>,
}

/// What a version says of itself when nothing is classified.
const PASS_THROUGH: &str = "pass-through: nothing was classified, nothing was dropped";

impl Stage for Clean {
    const NAME: &'static str = "clean";
    const VERSION: u32 = 3;
    const UNIT: &'static str = "events";
    type Inputs = (ByPartition<Events>, Option<Whole<TextScores>>);
    type Shared = Scores;
    type Outputs = (Rows<CleanEvents>, Rows<CleanEvents>);

    fn inputs(&self, declare: &mut Inputs<'_>) -> Result<Self::Inputs> {
        let events = declare.by_partition("events")?;
        let scores = match self.threshold {
            Some(_) => Some(declare.whole("text_scores")?),
            None => {
                declare.remark(PASS_THROUGH);
                None
            }
        };
        Ok((events, scores))
    }

    fn open(&self, (_, scores): &Self::Inputs, _: &Resources) -> Result<Scores> {
        scores.as_ref().map_or_else(|| Ok(Scores::default()), Scores::read)
    }

    fn run(&self, (events, _): &Self::Inputs, scores: &Scores, bucket: u32) -> Result<Done<Self::Outputs>> {
        let events = events.read(bucket)?;
        let mut account = Account { input: events.len() as u64, ..Account::default() };
        let (mut kept, mut dropped) = (Vec::new(), Vec::new());
        for batch in events.into_batches() {
            let Some(threshold) = self.threshold else {
                account.output += batch.num_rows() as u64;
                kept.push(with_scores(&batch, Float32Array::new_null(batch.num_rows()))?);
                continue;
            };
            let scored = scored(&batch, scores)?;
            let keep: BooleanArray = scored.values().iter().map(|score| Some(*score >= threshold)).collect();
            count(&batch, &keep, &mut account)?;
            let batch = with_scores(&batch, scored)?;
            kept.push(filter_record_batch(&batch, &keep)?);
            dropped.push(filter_record_batch(&batch, &not(&keep)?)?);
        }
        Ok(Done { outputs: (Rows::new(kept), Rows::new(dropped)), accounts: vec![account] })
    }

    fn shared_bytes(&self, scores: &Scores) -> u64 {
        scores.memory_bytes()
    }

    /// Measured: the columns, those of the kept and dropped events, and the encoded parts.
    fn memory_bytes(&self, _: &Scores, input_bytes: u64) -> u64 {
        2 * input_bytes + input_bytes / 2
    }
}

fn scored(batch: &RecordBatch, scores: &Scores) -> Result<Float32Array> {
    let texts = Events::text.of(batch)?;
    let score = |text: Option<&str>| {
        text.and_then(|text| scores.get(text_hash(text))).ok_or_else(|| {
            let what = "text_scores: expected a score for every text of events, got none for one of them";
            Error::retry(what, "run clean again; with --shard, seal text_scores first")
        })
    };
    texts.iter().map(score).collect::<Result<Vec<f32>>>().map(Float32Array::from)
}

/// Kept and dropped events by domain.
fn count(batch: &RecordBatch, keep: &BooleanArray, account: &mut Account) -> Result<()> {
    let domains = Events::domain.of(batch)?;
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

fn with_scores(batch: &RecordBatch, keep_score: Float32Array) -> Result<RecordBatch> {
    let EventsColumns { event_id, user_id, domain, occurred_at, text, news_id, source } =
        EventsColumns::from_batch(batch)?;
    let columns = CleanEventsColumns { event_id, user_id, domain, occurred_at, text, news_id, source, keep_score };
    Ok(columns.into_batch()?)
}
