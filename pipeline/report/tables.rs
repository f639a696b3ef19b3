//! Small datasets as rows for people: the terminal's tables and the page are made of the same.

use arrow::array::{Array, Float64Array, Int32Array};
use dataset::{Result, Store};
use schemas::{Comparisons, ImpressionMetrics, ListMetrics, Metrics, SLICES, Statistics};

use crate::found::Found;

/// One average with its interval.
#[derive(Debug, Clone)]
pub struct Measure {
    /// What recommended.
    pub method: String,
    /// Which users.
    pub slice: String,
    /// Such as `recall@10`.
    pub metric: String,
    /// The mean.
    pub value: f64,
    /// Lower end of the 95% interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// How many users; of impressions, how many of those.
    pub users: u64,
    /// How many of them were shown popular articles, because the method has no list for them.
    pub fallback: u64,
}

/// Two methods against each other.
#[derive(Debug, Clone)]
pub struct Comparison {
    /// One method.
    pub a: String,
    /// The other.
    pub b: String,
    /// Such as `recall@10`.
    pub metric: String,
    /// Mean of a minus b.
    pub difference: f64,
    /// Relative to b, where b is not 0.
    pub relative: Option<f64>,
    /// By Holm.
    pub p_adjusted: f64,
}

/// The statistics there are, by name; counts start with `#`.
pub fn statistics(store: &Store) -> Result<Vec<(String, f64)>> {
    Found::open(store, &["statistics"])?.statistics()
}

/// The averages there are.
pub fn measures(store: &Store) -> Result<Vec<Measure>> {
    Found::open(store, &["metrics"])?.measures()
}

/// The averages over impressions there are. Without an interval both its ends are NaN.
pub fn impression_measures(store: &Store) -> Result<Vec<Measure>> {
    Found::open(store, &["impression_metrics"])?.impression_measures()
}

/// A method's lists: values by name, such as `coverage@10`; NaN where there is none.
pub type ListMeasures = (String, Vec<(String, f64)>);

/// What methods' lists are like, by method.
pub fn list_measures(store: &Store) -> Result<Vec<ListMeasures>> {
    Found::open(store, &["list_metrics"])?.list_measures()
}

impl Found {
    pub(crate) fn statistics(&self) -> Result<Vec<(String, f64)>> {
        let mut rows = Vec::new();
        for columns in self.all::<Statistics>("statistics")? {
            let names = columns.statistic.iter().flatten().map(str::to_owned);
            rows.extend(names.zip(columns.value.values().iter().copied()));
        }
        Ok(rows)
    }

    pub(crate) fn measures(&self) -> Result<Vec<Measure>> {
        let mut rows = Vec::new();
        for columns in self.all::<Metrics>("metrics")? {
            rows.extend((0..columns.value.len()).map(|row| Measure {
                method: columns.method.value(row).into(),
                slice: columns.slice.value(row).into(),
                metric: named(columns.metric.value(row), &columns.k, row),
                value: columns.value.value(row),
                low: columns.ci_low.value(row),
                high: columns.ci_high.value(row),
                users: columns.users.value(row) as u64,
                fallback: columns.fallback.value(row) as u64,
            }));
        }
        Ok(rows)
    }

    pub(crate) fn impression_measures(&self) -> Result<Vec<Measure>> {
        let mut rows = Vec::new();
        for columns in self.all::<ImpressionMetrics>("impression_metrics")? {
            let end = |ends: &Float64Array, row| if ends.is_valid(row) { ends.value(row) } else { f64::NAN };
            rows.extend((0..columns.value.len()).map(|row| Measure {
                method: columns.method.value(row).into(),
                slice: columns.slice.value(row).into(),
                metric: named(columns.metric.value(row), &columns.k, row),
                value: columns.value.value(row),
                low: end(&columns.ci_low, row),
                high: end(&columns.ci_high, row),
                users: columns.impressions.value(row) as u64,
                fallback: 0,
            }));
        }
        Ok(rows)
    }

    pub(crate) fn list_measures(&self) -> Result<Vec<ListMeasures>> {
        let mut rows: Vec<ListMeasures> = Vec::new();
        for columns in self.all::<ListMetrics>("list_metrics")? {
            for row in 0..columns.value.len() {
                let value = if columns.value.is_valid(row) { columns.value.value(row) } else { f64::NAN };
                let measure = (format!("{}@{}", columns.metric.value(row), columns.k.value(row)), value);
                match rows.last_mut().filter(|(method, _)| method == columns.method.value(row)) {
                    Some((_, measures)) => measures.push(measure),
                    None => rows.push((columns.method.value(row).to_owned(), vec![measure])),
                }
            }
        }
        Ok(rows)
    }

    /// Methods against each other over all users.
    pub(crate) fn comparisons(&self) -> Result<Vec<Comparison>> {
        let mut rows = Vec::new();
        for columns in self.all::<Comparisons>("comparisons")? {
            for row in (0..columns.difference.len()).filter(|&row| columns.slice.value(row) == "all") {
                rows.push(Comparison {
                    a: columns.a.value(row).into(),
                    b: columns.b.value(row).into(),
                    metric: named(columns.metric.value(row), &columns.k, row),
                    difference: columns.difference.value(row),
                    relative: columns.relative.is_valid(row).then(|| columns.relative.value(row)),
                    p_adjusted: columns.p_adjusted.value(row),
                });
            }
        }
        Ok(rows)
    }
}

/// `recall@10`, `mrr`.
fn named(metric: &str, k: &Int32Array, row: usize) -> String {
    if k.is_valid(row) { format!("{metric}@{}", k.value(row)) } else { metric.to_owned() }
}

/// The slices of some averages, in their order, and their users.
pub fn slices(measures: &[Measure]) -> Vec<(&str, u64)> {
    let mut slices: Vec<(&str, u64)> = measures.iter().map(|m| (m.slice.as_str(), m.users)).collect();
    slices.sort_by_key(|(slice, _)| SLICES.iter().position(|s| s == slice));
    slices.dedup();
    slices
}
