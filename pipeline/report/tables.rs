//! Small datasets as rows for people: the terminal's tables and the page are made of the same.

use arrow::array::{Array, Float64Array, RecordBatch, StringArray, UInt32Array, UInt64Array};
use dataset::{Dataset, Input, Result, Rows, Source, Store};
use schemas::{Comparisons, Metrics, SLICES, Statistics, Table};

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
    /// How many users.
    pub users: u64,
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

/// Every batch of a small dataset; none when it is not there.
pub(crate) fn all<T: Table>(store: &Store, name: &str) -> Result<Vec<RecordBatch>> {
    if Dataset::new(store, name).current()?.is_none() {
        return Ok(Vec::new());
    }
    let input = Input::<T>::open(store, name)?;
    let mut batches = Vec::new();
    for partition in 0..input.partitions() {
        batches.extend(input.read(partition)?.into_batches());
    }
    Ok(batches)
}

/// The statistics there are, by name; counts start with `#`.
pub fn statistics(store: &Store) -> Result<Vec<(String, f64)>> {
    let mut rows = Vec::new();
    for batch in all::<Statistics>(store, "statistics")? {
        let names = Rows::<Statistics>::column::<StringArray>(&batch, "statistic")?;
        let values = Rows::<Statistics>::column::<Float64Array>(&batch, "value")?;
        rows.extend(names.iter().flatten().map(str::to_owned).zip(values.values().iter().copied()));
    }
    Ok(rows)
}

/// `recall@10`, `mrr`.
fn named(metric: &str, k: &UInt32Array, row: usize) -> String {
    if k.is_valid(row) { format!("{metric}@{}", k.value(row)) } else { metric.to_owned() }
}

/// The averages there are.
pub fn measures(store: &Store) -> Result<Vec<Measure>> {
    let mut rows = Vec::new();
    for batch in all::<Metrics>(store, "metrics")? {
        let text = |name| Rows::<Metrics>::column::<StringArray>(&batch, name);
        let number = |name| Rows::<Metrics>::column::<Float64Array>(&batch, name);
        let (method, slice, metric) = (text("method")?, text("slice")?, text("metric")?);
        let (value, low, high) = (number("value")?, number("ci_low")?, number("ci_high")?);
        let k = Rows::<Metrics>::column::<UInt32Array>(&batch, "k")?;
        let users = Rows::<Metrics>::column::<UInt64Array>(&batch, "users")?;
        rows.extend((0..batch.num_rows()).map(|row| Measure {
            method: method.value(row).into(),
            slice: slice.value(row).into(),
            metric: named(metric.value(row), k, row),
            value: value.value(row),
            low: low.value(row),
            high: high.value(row),
            users: users.value(row),
        }));
    }
    Ok(rows)
}

/// The slices of some averages, in their order, and their users.
pub fn slices(measures: &[Measure]) -> Vec<(&str, u64)> {
    let mut slices: Vec<(&str, u64)> = measures.iter().map(|m| (m.slice.as_str(), m.users)).collect();
    slices.sort_by_key(|(slice, _)| SLICES.iter().position(|s| s == slice));
    slices.dedup();
    slices
}

/// Methods against each other over all users.
pub(crate) fn comparisons(store: &Store) -> Result<Vec<Comparison>> {
    let mut rows = Vec::new();
    for batch in all::<Comparisons>(store, "comparisons")? {
        let text = |name| Rows::<Comparisons>::column::<StringArray>(&batch, name);
        let number = |name| Rows::<Comparisons>::column::<Float64Array>(&batch, name);
        let (a, b, slice, metric) = (text("a")?, text("b")?, text("slice")?, text("metric")?);
        let (difference, relative, p) = (number("difference")?, number("relative")?, number("p_adjusted")?);
        let k = Rows::<Comparisons>::column::<UInt32Array>(&batch, "k")?;
        for row in (0..batch.num_rows()).filter(|&row| slice.value(row) == "all") {
            rows.push(Comparison {
                a: a.value(row).into(),
                b: b.value(row).into(),
                metric: named(metric.value(row), k, row),
                difference: difference.value(row),
                relative: relative.is_valid(row).then(|| relative.value(row)),
                p_adjusted: p.value(row),
            });
        }
    }
    Ok(rows)
}
