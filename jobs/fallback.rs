//! What every method's readers without a list are shown, brought up to date by the jobs that recommend.

use dataset::{Result, Summary};
use news::{Fallback, PoolSettings};

use crate::frame::Context;
use crate::index::popularity;

/// Counts clicks and chooses the popular candidates of a pool. `context` bears no step's name: steps of one pool share them.
pub(crate) fn fallback(context: &Context, pool: &PoolSettings) -> Result<Vec<Summary>> {
    let mut summaries = popularity(context, true)?;
    let stage = Fallback { pool: settled(pool) };
    if summaries.iter().all(Summary::is_complete) {
        summaries.push(context.unsharded().run(&stage, &[&stage.output()])?);
    }
    Ok(summaries)
}

/// Without what decides nothing here.
fn settled(pool: &PoolSettings) -> PoolSettings {
    let default = PoolSettings::default();
    let candidate_days = match pool.candidates {
        news::Candidates::Live => pool.candidate_days,
        _ => default.candidate_days,
    };
    PoolSettings { candidates: pool.candidates, candidate_days, exact_up_to: default.exact_up_to }
}
