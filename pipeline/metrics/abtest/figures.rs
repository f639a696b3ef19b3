//! An experiment's moments, day by day: of each metric, segment and variant, of what users did until then.

use std::collections::{BTreeMap, BTreeSet};

use dataset::{Result, Rows};
use schemas::ExperimentMoments;

use super::{METRICS, Moments, SEGMENTS};

/// Moments by metric, segment, variant and day.
#[derive(Debug, Default)]
pub(super) struct Figures {
    /// The days, in order, without gaps.
    pub(super) days: Vec<i32>,
    /// The variants, in order.
    pub(super) variants: Vec<String>,
    /// `[metrics · segments · variants · days]`.
    moments: Vec<Moments>,
}

impl Figures {
    /// Adds up what each day and bucket adds.
    pub(super) fn read(parts: impl Iterator<Item = Result<Rows<ExperimentMoments>>>) -> Result<Self> {
        let mut added: BTreeMap<(String, bool, String, i32), Moments> = BTreeMap::new();
        for part in parts {
            for row in part?.columns() {
                let row = row?;
                for at in 0..row.day.len() {
                    let sums = [&row.n, &row.d, &row.p, &row.q].map(|sum| sum.value(at));
                    let products =
                        [&row.nn, &row.nd, &row.np, &row.nq, &row.dd, &row.dp, &row.dq, &row.pp, &row.pq, &row.qq];
                    let products = products.map(|sum| sum.value(at));
                    let moments = Moments { users: row.users.value(at) as f64, sums, products };
                    let (metric, variant) = (row.metric.value(at).to_owned(), row.variant.value(at).to_owned());
                    let all = added.entry((metric, row.cold.value(at), variant, row.day.value(at))).or_default();
                    *all = all.plus(&moments);
                }
            }
        }
        Ok(Self::cumulated(&added))
    }

    fn cumulated(added: &BTreeMap<(String, bool, String, i32), Moments>) -> Self {
        let variants: BTreeSet<&String> = added.keys().map(|(_, _, variant, _)| variant).collect();
        let days = || added.keys().map(|(.., day)| *day);
        let days: Vec<i32> =
            days().min().zip(days().max()).map_or(Vec::new(), |(first, last)| (first..=last).collect());
        let mut figures = Figures { days, variants: variants.into_iter().cloned().collect(), moments: Vec::new() };
        for metric in METRICS {
            for segment in SEGMENTS {
                for variant in &figures.variants {
                    let mut until = Moments::default();
                    for day in &figures.days {
                        for cold in [false, true].into_iter().filter(|cold| belongs(segment, *cold)) {
                            let today = added.get(&(metric.to_owned(), cold, variant.clone(), *day));
                            until = today.map_or(until, |today| until.plus(today));
                        }
                        figures.moments.push(until);
                    }
                }
            }
        }
        figures
    }

    /// The moments of what users did until a day, all by their numbers.
    pub(super) fn until(&self, metric: usize, segment: usize, variant: usize, day: usize) -> &Moments {
        &self.moments[((metric * SEGMENTS.len() + segment) * self.variants.len() + variant) * self.days.len() + day]
    }

    /// The moments of the whole experiment.
    pub(super) fn all(&self, metric: usize, segment: usize, variant: usize) -> &Moments {
        self.until(metric, segment, variant, self.days.len() - 1)
    }

    /// What turns a ratio of sums into the metric: active days become a share of the days until then.
    pub(super) fn scale(metric: usize, day: usize) -> f64 {
        if METRICS[metric] == "dau" { 1.0 / (day + 1) as f64 } else { 1.0 }
    }
}

/// Whether a user belongs to a segment.
pub(super) fn belongs(segment: &str, cold: bool) -> bool {
    match segment {
        "cold" => cold,
        "warm" => !cold,
        _ => true,
    }
}
