//! Figures of sampled lists, for `train_log`.

use std::collections::HashSet;

use dataset::Result;
use policy::{Completion, Finish, List};
use reward::{Component, Components, Score};

use crate::log::{Log, moments};

/// What lists are like: rewards, each component with its spread within groups and its share of the reward's variance, lengths, copies.
pub(crate) fn figures(
    log: &mut Log,
    step: u64,
    of: &str,
    outputs: &[Vec<Completion>],
    lists: &[Vec<List>],
    scores: &[Vec<Score>],
    weighted: &[Vec<Components>],
) -> Result<()> {
    let reward = |weighted: &Components| weighted.sum().map(f64::from);
    let rewards: Vec<f64> = weighted.iter().flatten().filter_map(reward).collect();
    log.spread(step, &format!("{of}reward"), &rewards)?;
    let covariance = |component: Component| {
        // Σ of a component's deviations times the reward's, within groups.
        weighted
            .iter()
            .map(|group| {
                let known: Vec<(f64, f64)> =
                    group.iter().filter_map(|w| Some((f64::from(w.get(component)?), reward(w)?))).collect();
                let n = known.len().max(1) as f64;
                let (x, y) = known.iter().fold((0.0, 0.0), |(a, b), (x, y)| (a + x / n, b + y / n));
                known.iter().map(|(a, b)| (a - x) * (b - y)).sum::<f64>()
            })
            .sum::<f64>()
    };
    let shares: Vec<f64> = Component::ALL.iter().map(|component| covariance(*component)).collect();
    let all: f64 = shares.iter().sum();
    for (component, share) in Component::ALL.into_iter().zip(shares) {
        let raw: Vec<f64> =
            scores.iter().flatten().filter_map(|s| s.components.get(component)).map(f64::from).collect();
        let Some((mean, _)) = moments(&raw) else { continue };
        log.note(step, format!("{of}{component}.mean"), mean)?;
        let within: Vec<f64> = scores
            .iter()
            .filter_map(|group| {
                let values: Vec<f64> =
                    group.iter().filter_map(|s| s.components.get(component)).map(f64::from).collect();
                Some(moments(&values)?.1)
            })
            .collect();
        log.note(step, format!("{of}{component}.deviation_in_groups"), moments(&within).map_or(0.0, |(mean, _)| mean))?;
        if all > 1e-12 {
            log.note(step, format!("{of}{component}.share_of_variance"), share / all)?;
        }
    }
    let lengths: Vec<f64> = outputs.iter().flatten().map(|output| output.tokens.len() as f64).collect();
    log.spread(step, &format!("{of}length"), &lengths)?;
    let count = lengths.len().max(1) as f64;
    let stopped = outputs.iter().flatten().filter(|output| output.finish == Finish::Stop).count();
    log.note(step, format!("{of}truncated"), 1.0 - stopped as f64 / count)?;
    let copied: f64 = scores.iter().flatten().map(|score| f64::from(score.copied)).sum();
    log.note(step, format!("{of}copied"), copied / count)?;
    let queries = lists.iter().flatten().map(|list| list.queries.len()).sum::<usize>();
    log.note(step, format!("{of}queries"), queries as f64 / count)?;
    // How much the lists of a group are the same: 0 when no query comes twice.
    let repeated = lists.iter().map(|group| {
        let all: Vec<String> = group.iter().flat_map(|list| &list.queries).map(|query| query.to_lowercase()).collect();
        let distinct: HashSet<&String> = all.iter().collect();
        1.0 - distinct.len() as f64 / all.len().max(1) as f64
    });
    log.note(step, format!("{of}repeated"), repeated.sum::<f64>() / lists.len().max(1) as f64)
}
