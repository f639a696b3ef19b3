//! `metrics` and `comparisons`: averages by `sql/averages.sql`, with intervals, and methods against each other.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, Float64Array, RecordBatch, StringArray, UInt32Array, UInt64Array};
use arrow::datatypes::DataType;
use dataset::plan::{Digest, digest};
use dataset::{Account, Dataset, Done, Error, Input, InputRef, Result, Rows, Source, Stage, Store, from_columns};
use schemas::{
    Comparisons, Contract, Metrics, SLICES, Table, UserMetrics, column, float64, nullable, text, uint32, uint64,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::Query;
use crate::significance::{bootstrap, holm, normal_interval, paired_normal, randomisation};

/// How intervals and tests are made.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Summarise {
    /// Resamples of bootstrap and randomisation test.
    pub resamples: usize,
    /// Seed of the resampling.
    pub seed: u64,
    /// Slices of more users get normal intervals and paired z-tests instead.
    pub resample_up_to: u64,
}

impl Default for Summarise {
    fn default() -> Self {
        Summarise { resamples: 10_000, seed: 1, resample_up_to: 50_000 }
    }
}

/// `sql/averages.sql` over `user_metrics`, and the values themselves.
#[derive(Debug)]
pub struct Averages {
    query: Query,
    values: Input<UserMetrics>,
}

impl Averages {
    /// Over the current `user_metrics`.
    pub fn open(store: &Store, memory_limit: u64) -> Result<Self> {
        let query = Query {
            name: "averages",
            sql: include_str!("../../sql/averages.sql"),
            parameters: Vec::new(),
            tables: vec![("user_metrics", Dataset::new(store, "user_metrics").snapshot::<UserMetrics>()?)],
            // Sums of floats depend on their order: on one thread it is always the same.
            threads: 1,
            memory_limit,
            contract: averages(),
        };
        Ok(Averages { query, values: Input::open(store, "user_metrics")? })
    }
}

/// The columns of `sql/averages.sql`.
fn averages() -> Contract {
    Contract {
        columns: vec![
            column("method", text(), ""),
            column("slice", text(), ""),
            column("metric", text(), ""),
            nullable("k", uint32(), ""),
            column("mean", float64(), ""),
            column("users", uint64(), ""),
            column("squares", float64(), ""),
        ],
        ..Metrics::contract()
    }
}

impl Source for Averages {
    type Rows = (Vec<RecordBatch>, Values);

    fn partitions(&self) -> u32 {
        1
    }

    fn inputs(&self) -> BTreeMap<String, InputRef> {
        self.query.inputs()
    }

    fn key(&self, partition: u32) -> Digest {
        digest(&json!(self.query.key(partition)))
    }

    fn memory_bytes(&self, _: u32) -> u64 {
        // Eight bytes a value; a row has a user id and four more texts beside it.
        self.values.snapshot().manifest.rows * 8
    }

    fn user_key_check(&self) -> Option<&str> {
        self.values.user_key_check()
    }

    fn read(&self, partition: u32) -> Result<Self::Rows> {
        Ok((self.query.read(partition)?, Values::read(&self.values)?))
    }
}

/// Every user's values, side by side.
#[derive(Debug, Default)]
pub struct Values {
    methods: Vec<String>,
    metrics: Vec<(String, Option<u32>)>,
    /// For each user, whether they are of each slice.
    slices: Vec<[bool; 4]>,
    /// `[users · methods · metrics]`.
    values: Vec<f64>,
}

impl Values {
    fn read(input: &Input<UserMetrics>) -> Result<Self> {
        let mut all = Values::default();
        for bucket in 0..input.partitions() {
            all.add(&input.read(bucket)?)?;
        }
        Ok(all)
    }

    /// Adds a bucket. Its rows lie by method, user, metric and cut, and all methods have the same users.
    fn add(&mut self, rows: &Rows<UserMetrics>) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let uneven = || Error::unreadable("user_metrics", "methods with different users", "run evaluate again");
        let mut methods: Vec<String> = Vec::new();
        let mut metrics: Vec<(String, Option<u32>)> = Vec::new();
        let mut slices = Vec::new();
        let mut by_method: Vec<Vec<f64>> = Vec::new();
        let (mut users, mut last_user) = (0, String::new());
        for batch in rows.batches() {
            let column = |name| Rows::<UserMetrics>::column::<StringArray>(batch, name);
            let (method, user, split, metric) =
                (column("method")?, column("user_id")?, column("split")?, column("metric")?);
            let k = Rows::<UserMetrics>::column::<UInt32Array>(batch, "k")?;
            let cold = Rows::<UserMetrics>::column::<BooleanArray>(batch, "cold")?;
            let value = Rows::<UserMetrics>::column::<Float64Array>(batch, "value")?;
            for row in 0..batch.num_rows() {
                if methods.last().is_none_or(|last| last != method.value(row)) {
                    methods.push(method.value(row).to_owned());
                    by_method.push(Vec::new());
                }
                let values = by_method.last_mut().expect("a method was pushed");
                if methods.len() == 1 {
                    if user.value(row) != last_user {
                        (users, last_user) = (users + 1, user.value(row).to_owned());
                        slices.push([true, split.value(row) == "test", cold.value(row), !cold.value(row)]);
                    }
                    if users == 1 {
                        metrics.push((metric.value(row).to_owned(), k.is_valid(row).then(|| k.value(row))));
                    }
                }
                values.push(value.value(row));
            }
        }
        if self.methods.is_empty() {
            (self.methods, self.metrics) = (methods.clone(), metrics.clone());
        }
        let each = metrics.len();
        let same = self.methods == methods && self.metrics == metrics;
        if !same || by_method.iter().any(|values| values.len() != slices.len() * each) {
            return Err(uneven());
        }
        for user in 0..slices.len() {
            for values in &by_method {
                self.values.extend_from_slice(&values[user * each..(user + 1) * each]);
            }
        }
        self.slices.extend(slices);
        Ok(())
    }

    fn width(&self) -> usize {
        self.methods.len() * self.metrics.len()
    }

    /// The rows of a slice's users of whom any value is not 0.
    fn nonzero(&self, slice: usize) -> Vec<f64> {
        let rows = self.values.chunks_exact(self.width().max(1)).zip(&self.slices);
        let rows = rows.filter(|(row, slices)| slices[slice] && row.iter().any(|x| *x != 0.0));
        rows.flat_map(|(row, _)| row.iter().copied()).collect()
    }
}

impl Stage for Summarise {
    const NAME: &'static str = "summarise";
    const VERSION: u32 = 1;
    const UNIT: &'static str = "averages";
    type Inputs = (Vec<RecordBatch>, Values);
    type Outputs = (Rows<Metrics>, Rows<Comparisons>);

    fn run(&self, _: u32, (averages, values): Self::Inputs) -> Result<Done<Self::Outputs>> {
        let averages = Average::read(&averages)?;
        let (mut metrics, mut comparisons) = (MetricRows::default(), ComparisonRows::default());
        let mut intervals: BTreeMap<&str, Vec<(f64, f64)>> = BTreeMap::new();
        for (slice, name) in SLICES.iter().enumerate() {
            let users = averages.iter().find(|a| a.slice == *name).map_or(0, |a| a.users);
            if users == 0 {
                continue;
            }
            let rows = values.nonzero(slice);
            if users <= self.resample_up_to {
                intervals.insert(name, bootstrap(&rows, values.width(), users as usize, self.resamples, self.seed));
            }
            self.compare(&values, &rows, name, users, &mut comparisons);
        }
        for average in averages {
            let place = values
                .methods
                .iter()
                .position(|m| *m == average.method)
                .zip(values.metrics.iter().position(|(metric, k)| *metric == average.metric && *k == average.k));
            let (ci_low, ci_high) = match (intervals.get(average.slice.as_str()), place) {
                (Some(intervals), Some((method, metric))) => intervals[method * values.metrics.len() + metric],
                _ => normal_interval(average.mean, average.squares, average.users),
            };
            metrics.push(&average, ci_low, ci_high);
        }
        let account = Account::all(metrics.value.len() as u64);
        let compared = Account::all(comparisons.p_value.len() as u64);
        Ok(Done {
            outputs: (Rows::new(vec![metrics.finish()?]), Rows::new(vec![comparisons.finish()?])),
            accounts: vec![account, compared],
        })
    }
}

impl Summarise {
    fn compare(&self, values: &Values, rows: &[f64], slice: &str, users: u64, into: &mut ComparisonRows) {
        let each = values.metrics.len();
        let pairs: Vec<(usize, usize)> =
            (0..values.methods.len()).flat_map(|a| (a + 1..values.methods.len()).map(move |b| (a, b))).collect();
        for (metric, (name, k)) in values.metrics.iter().enumerate() {
            let tested: Vec<(f64, f64, f64)> = pairs
                .iter()
                .map(|&(a, b)| {
                    let of =
                        |method: usize| rows.chunks_exact(values.width()).map(move |row| row[method * each + metric]);
                    let base: f64 = of(b).sum();
                    let differences: Vec<f64> = of(a).zip(of(b)).map(|(a, b)| a - b).filter(|d| *d != 0.0).collect();
                    let p = match users <= self.resample_up_to {
                        true => randomisation(&differences, self.resamples, self.seed),
                        false => paired_normal(&differences, users),
                    };
                    (differences.iter().sum::<f64>() / users as f64, base / users as f64, p)
                })
                .collect();
            let adjusted = holm(&tested.iter().map(|t| t.2).collect::<Vec<_>>());
            for ((&(a, b), (difference, base, p)), p_adjusted) in pairs.iter().zip(tested).zip(adjusted) {
                into.a.push(values.methods[a].clone());
                into.b.push(values.methods[b].clone());
                into.slice.push(slice.to_owned());
                into.metric.push(averaged(name));
                into.k.push(*k);
                into.difference.push(difference);
                into.relative.push((base != 0.0).then(|| difference / base));
                into.p_value.push(p);
                into.p_adjusted.push(p_adjusted);
            }
        }
    }
}

/// What a user's metric is called once averaged: the mean reciprocal rank has a name of its own.
fn averaged(metric: &str) -> String {
    match metric {
        "rr" => "mrr".into(),
        "rr_mind" => "mrr_mind".into(),
        other => other.into(),
    }
}

struct Average {
    method: String,
    slice: String,
    metric: String,
    k: Option<u32>,
    mean: f64,
    users: u64,
    squares: f64,
}

impl Average {
    fn read(batches: &[RecordBatch]) -> Result<Vec<Self>> {
        let mut averages = Vec::new();
        for batch in batches {
            let column = |name: &str, to: &DataType| {
                let array = batch.column_by_name(name).filter(|array| array.data_type() == to);
                array.ok_or_else(|| Error::unreadable("sql/averages.sql", format!("no column {name}"), "this is a bug"))
            };
            let texts = |name| Ok::<_, Error>(column(name, &DataType::Utf8)?.as_any().downcast_ref::<StringArray>());
            let floats =
                |name| Ok::<_, Error>(column(name, &DataType::Float64)?.as_any().downcast_ref::<Float64Array>());
            let k = column("k", &DataType::UInt32)?.as_any().downcast_ref::<UInt32Array>();
            let users = column("users", &DataType::UInt64)?.as_any().downcast_ref::<UInt64Array>();
            let all =
                (texts("method")?, texts("slice")?, texts("metric")?, k, floats("mean")?, users, floats("squares")?);
            let (Some(method), Some(slice), Some(metric), Some(k), Some(mean), Some(users), Some(squares)) = all else {
                unreachable!("their types were looked at");
            };
            averages.extend((0..batch.num_rows()).map(|row| Average {
                method: method.value(row).into(),
                slice: slice.value(row).into(),
                metric: metric.value(row).into(),
                k: k.is_valid(row).then(|| k.value(row)),
                mean: mean.value(row),
                users: users.value(row),
                squares: squares.value(row),
            }));
        }
        Ok(averages)
    }
}

#[derive(Default)]
struct MetricRows {
    method: Vec<String>,
    slice: Vec<String>,
    metric: Vec<String>,
    k: Vec<Option<u32>>,
    value: Vec<f64>,
    ci_low: Vec<f64>,
    ci_high: Vec<f64>,
    users: Vec<u64>,
}

impl MetricRows {
    fn push(&mut self, average: &Average, ci_low: f64, ci_high: f64) {
        self.method.push(average.method.clone());
        self.slice.push(average.slice.clone());
        self.metric.push(averaged(&average.metric));
        self.k.push(average.k);
        self.value.push(average.mean);
        self.ci_low.push(ci_low);
        self.ci_high.push(ci_high);
        self.users.push(average.users);
    }

    fn finish(self) -> Result<RecordBatch> {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(self.method)),
            Arc::new(StringArray::from(self.slice)),
            Arc::new(StringArray::from(self.metric)),
            Arc::new(UInt32Array::from(self.k)),
            Arc::new(Float64Array::from(self.value)),
            Arc::new(Float64Array::from(self.ci_low)),
            Arc::new(Float64Array::from(self.ci_high)),
            Arc::new(UInt64Array::from(self.users)),
        ];
        from_columns::<Metrics>(columns)
    }
}

#[derive(Default)]
struct ComparisonRows {
    a: Vec<String>,
    b: Vec<String>,
    slice: Vec<String>,
    metric: Vec<String>,
    k: Vec<Option<u32>>,
    difference: Vec<f64>,
    relative: Vec<Option<f64>>,
    p_value: Vec<f64>,
    p_adjusted: Vec<f64>,
}

impl ComparisonRows {
    fn finish(self) -> Result<RecordBatch> {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(self.a)),
            Arc::new(StringArray::from(self.b)),
            Arc::new(StringArray::from(self.slice)),
            Arc::new(StringArray::from(self.metric)),
            Arc::new(UInt32Array::from(self.k)),
            Arc::new(Float64Array::from(self.difference)),
            Arc::new(Float64Array::from(self.relative)),
            Arc::new(Float64Array::from(self.p_value)),
            Arc::new(Float64Array::from(self.p_adjusted)),
        ];
        from_columns::<Comparisons>(columns)
    }
}
