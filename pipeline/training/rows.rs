//! Rows of `rollouts`.

use arrow::array::StringArray;
use policy::{Completion, List};
use reward::{Component, Components, Score};
use schemas::RolloutsColumns;

/// A row of `rollouts`.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) step: u64,
    pub(crate) user_id: String,
    pub(crate) sample: usize,
    pub(crate) seed: u64,
    pub(crate) text: String,
    pub(crate) list: List,
    pub(crate) output: Completion,
    pub(crate) reference: Vec<f32>,
    /// None where lists are not scored.
    pub(crate) score: Option<Score>,
    pub(crate) weighted: Components,
    pub(crate) advantage: Option<f32>,
}

/// The rows, in the table's order.
pub(crate) fn columns(mut rows: Vec<Row>) -> RolloutsColumns {
    rows.sort_by(|a, b| (a.step, &a.user_id, a.sample).cmp(&(b.step, &b.user_id, b.sample)));
    let component =
        |of: fn(&Row) -> Components, component: Component| rows.iter().map(|row| of(row).get(component)).collect();
    let raw = |c| component(|row| row.score.map(|score| score.components).unwrap_or_default(), c);
    let weighted = |c| component(|row| row.weighted, c);
    RolloutsColumns {
        step: rows.iter().map(|row| row.step as i64).collect::<Vec<_>>().into(),
        user_id: rows.iter().map(|row| Some(row.user_id.as_str())).collect(),
        sample: rows.iter().map(|row| row.sample as i32).collect::<Vec<_>>().into(),
        seed: rows.iter().map(|row| row.seed as i64).collect::<Vec<_>>().into(),
        completion: rows.iter().map(|row| Some(row.text.as_str())).collect(),
        queries: rows.iter().map(|row| row.list.queries.iter()).collect(),
        finish: rows.iter().map(|row| Some(row.output.finish.name())).collect::<StringArray>(),
        tokens: rows.iter().map(|row| row.output.tokens.iter().map(|token| *token as i32)).collect(),
        log_probabilities: rows.iter().map(|row| row.output.log_probabilities.iter().copied()).collect(),
        reference: rows.iter().map(|row| row.reference.iter().copied()).collect(),
        align: raw(Component::Align),
        coverage: raw(Component::Coverage),
        specificity: raw(Component::Specificity),
        diversity: raw(Component::Diversity),
        structure: raw(Component::Structure),
        weighted_align: weighted(Component::Align),
        weighted_coverage: weighted(Component::Coverage),
        weighted_specificity: weighted(Component::Specificity),
        weighted_diversity: weighted(Component::Diversity),
        weighted_structure: weighted(Component::Structure),
        reward: rows.iter().map(|row| row.weighted.sum()).collect(),
        copied: rows.iter().map(|row| row.score.map(|score| score.copied)).collect(),
        advantage: rows.iter().map(|row| row.advantage).collect(),
    }
}
