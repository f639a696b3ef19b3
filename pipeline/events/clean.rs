//! `clean`: events → clean events and dropped ones, by the score of each event's text.

use std::collections::BTreeMap;

use arrow::array::{Array, BooleanArray, Float32Array, RecordBatch};
use arrow::compute::{filter_record_batch, not};
use dataset::{Account, ByPartition, Done, Error, Inputs, Resources, Result, Rows, Stage, Whole};
use schemas::{CleanEvents, CleanEventsColumns, Events, EventsColumns, TextScores};
use serde::{Deserialize, Serialize};

use crate::Only;
use crate::score::{Scores, text_hash};

/// Keeps the behaviours that say something about interests: those whose score is at least the threshold.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Clean {
    /// The threshold; without one, nothing is classified and everything is kept, with null scores.
    pub threshold: Option<f32>,
    /// The domains that are classified, see [`Only`].
    #[serde(default, skip_serializing_if = "Only::is_all")]
    pub only: Only,
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
            Some(_) => {
                if let Some(remark) = self.only.remark() {
                    declare.remark(remark);
                }
                Some(declare.whole("text_scores")?)
            }
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
            let scored = self.scored(&batch, scores)?;
            let keep: BooleanArray = scored.iter().map(|score| Some(score.is_none_or(|s| s >= threshold))).collect();
            count(&batch, &keep, &scored, &mut account)?;
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

impl Clean {
    /// The scores of a batch's texts; null where the domain is not classified.
    fn scored(&self, batch: &RecordBatch, scores: &Scores) -> Result<Float32Array> {
        let (domains, texts) = (Events::domain.of(batch)?, Events::text.of(batch)?);
        let score = |(domain, text): (Option<&str>, Option<&str>)| {
            if !domain.is_some_and(|domain| self.only.has(domain)) {
                return Ok(None);
            }
            text.and_then(|text| scores.get(text_hash(text))).map(Some).ok_or_else(|| {
                let what = "text_scores: expected a score for every text of events, got none for one of them";
                Error::retry(what, "run clean again; with --shard, seal text_scores first")
            })
        };
        domains.iter().zip(texts.iter()).map(score).collect::<Result<Float32Array>>()
    }
}

/// Kept and dropped events by domain; those without a score were not classified.
fn count(batch: &RecordBatch, keep: &BooleanArray, scored: &Float32Array, account: &mut Account) -> Result<()> {
    let domains = Events::domain.of(batch)?;
    let mut unclassified: BTreeMap<&str, u64> = BTreeMap::new();
    let mut counts: BTreeMap<&str, [u64; 2]> = BTreeMap::new();
    for (row, domain) in domains.iter().enumerate() {
        match scored.is_valid(row) {
            true => counts.entry(domain.unwrap_or_default()).or_default()[usize::from(keep.value(row))] += 1,
            false => *unclassified.entry(domain.unwrap_or_default()).or_default() += 1,
        }
    }
    for (domain, events) in unclassified {
        account.output += events;
        account.note(&format!("kept {domain}, unclassified"), events);
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
