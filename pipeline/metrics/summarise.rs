//! `metrics` and `comparisons`: averages by `sql/averages.sql`, with intervals, and methods against each other.

use std::collections::BTreeMap;

use arrow::array::{Array, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray};
use dataset::{Account, Done, Error, Inputs, Resources, Result, Rows, Stage, Whole};
use schemas::{Comparisons, ComparisonsColumns, Metrics, MetricsColumns, SLICES, UserMetrics, method_and_step};
use serde::{Deserialize, Serialize};

use crate::engine::{Engine, Relation, column};
use crate::pools::{Pools, apart, remark};
use crate::seeds::seeds;
use crate::significance::{bootstrap, holm, interval_of_nothing, normal_interval, paired_normal, randomisation};
use crate::values::Values;

/// Resamples, at most: the averages of all of them are held at once.
const MOST_RESAMPLES: u32 = 100_000;
const FILE: &str = "sql/averages.sql";
const SQL: &str = include_str!("../../sql/averages.sql");

/// How intervals and tests are made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, clap::Args)]
#[serde(default)]
pub struct Summarise {
    /// Resamples of intervals and tests
    #[arg(long, default_value_t = 10_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub resamples: u32,
    /// Seed of the resampling
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    pub seed: u64,
    /// More users get normal intervals and z-tests, which are faster and then as good
    #[arg(long, default_value_t = 50_000, value_name = "USERS", value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    pub resample_up_to: u64,
}

impl Default for Summarise {
    fn default() -> Self {
        dataset::defaults()
    }
}

impl Summarise {
    /// Checks that the settings make sense.
    ///
    /// # Errors
    /// The first that does not.
    pub fn check(&self) -> Result<()> {
        if !(1..=MOST_RESAMPLES).contains(&self.resamples) {
            let (expected, hint) = (format!("1 to {MOST_RESAMPLES}"), "10000 is enough for two digits of p");
            return Err(Error::setting("evaluate.resamples", expected, self.resamples, hint));
        }
        for (name, value) in [("evaluate.seed", self.seed), ("evaluate.resample_up_to", self.resample_up_to)] {
            if i64::try_from(value).is_err() {
                return Err(Error::setting(name, format!("at most {}", i64::MAX), value, "give a smaller one"));
            }
        }
        Ok(())
    }
}

/// `user_metrics`, and which pool each method chose from.
#[derive(Debug)]
pub struct Averages {
    values: Whole<UserMetrics>,
    pools: Pools,
}

/// The averages' engine, and how many values are resampled.
#[derive(Debug)]
pub struct Resampling {
    engine: Engine,
    values: u64,
}

impl Stage for Summarise {
    const NAME: &'static str = "summarise";
    const VERSION: u32 = 7;
    const UNIT: &'static str = "averages";
    /// The resampling has all threads.
    const ALONE: bool = true;
    type Inputs = Averages;
    type Shared = Resampling;
    type Outputs = (Rows<Metrics>, Rows<Comparisons>);

    fn inputs(&self, declare: &mut Inputs<'_>) -> Result<Averages> {
        self.check()?;
        declare.value("sql", SQL)?;
        let values = declare.whole::<UserMetrics>("user_metrics")?;
        let pools = values.manifest().lineage.values.get("pools").cloned().unwrap_or_default();
        let pools: Pools = serde_json::from_value(pools).map_err(|e| {
            let what = format!("its version {} has no pools: {e}", values.manifest().version);
            Error::unreadable("user_metrics", what, "run evaluate again")
        })?;
        declare.value("pools", &pools)?;
        if let Some(remark) = remark(&pools) {
            declare.remark(remark);
        }
        Ok(Averages { values, pools })
    }

    fn open(&self, inputs: &Averages, resources: &Resources) -> Result<Resampling> {
        Ok(Resampling { engine: Engine::in_order("metrics", resources)?, values: inputs.values.manifest().rows })
    }

    fn run(&self, inputs: &Averages, shared: &Resampling, _: u32) -> Result<Done<Self::Outputs>> {
        let tables = vec![("user_metrics", Relation::Version((&inputs.values).into()))];
        let averages = Average::read(&shared.engine.query(FILE, SQL, Vec::new(), tables)?)?;
        self.summarise(averages, &Values::read(inputs.values.parts())?, &inputs.pools)
    }

    /// The values, those of one slice, and as much again to grow into.
    fn memory_bytes(&self, shared: &Resampling, _: u64) -> u64 {
        3 * 8 * shared.values
    }
}

impl Summarise {
    fn summarise(
        &self,
        averages: Vec<Average>,
        values: &Values,
        pools: &Pools,
    ) -> Result<Done<(Rows<Metrics>, Rows<Comparisons>)>> {
        let mut compared = Vec::new();
        let mut intervals: BTreeMap<&str, Vec<(f64, f64)>> = BTreeMap::new();
        let (apart, pairs): (Vec<_>, Vec<_>) = pairs(&values.methods)
            .into_iter()
            .partition(|&(_, (a, b))| apart(pools, &values.methods[a], &values.methods[b]));
        // Each step asks a question of its own, as does each method by several steps, so each has a correction of its own.
        let mut by_question: BTreeMap<Question<'_>, Vec<(usize, usize)>> = BTreeMap::new();
        for (question, pair) in pairs {
            by_question.entry(question).or_default().push(pair);
        }
        for (slice, name) in SLICES.into_iter().enumerate() {
            let users = averages.iter().find(|a| a.slice == name).map_or(0, |a| a.users);
            if users == 0 {
                continue;
            }
            let rows = values.nonzero(slice);
            if users <= self.resample_up_to {
                intervals.insert(name, bootstrap(&rows, values.width(), users as usize, self.resamples, self.seed));
            }
            for pairs in by_question.values() {
                self.compare(values, pairs, &rows, name, users, &mut compared);
            }
        }
        let interval = |average: &Average| {
            if average.squares == 0.0 {
                return interval_of_nothing(average.users);
            }
            let method = values.methods.iter().position(|m| *m == average.method);
            let metric = values.metrics.iter().position(|(metric, k)| *metric == average.metric && *k == average.k);
            match (intervals.get(average.slice.as_str()), method.zip(metric)) {
                (Some(intervals), Some((method, metric))) => intervals[method * values.metrics.len() + metric],
                _ => normal_interval(average.mean, average.squares, average.users),
            }
        };
        let intervals: Vec<(f64, f64)> = averages.iter().map(interval).collect();
        let mut account = Account::all(averages.len() as u64);
        account.note("pairs of methods not compared, as they chose from different pools", apart.len() as u64);
        let accounts = vec![account, Account::all(compared.len() as u64)];
        let metrics = Rows::of(MetricsColumns {
            method: texts(&averages, |a| &a.method),
            slice: texts(&averages, |a| &a.slice),
            metric: texts(&averages, |a| averaged(&a.metric)),
            k: averages.iter().map(|a| a.k).collect::<Int32Array>(),
            value: floats(&averages, |a| a.mean),
            ci_low: floats(&intervals, |i| i.0),
            ci_high: floats(&intervals, |i| i.1),
            users: averages.iter().map(|a| a.users as i64).collect::<Vec<_>>().into(),
            fallback: averages.iter().map(|a| a.fallback).collect::<Vec<_>>().into(),
        })?;
        let comparisons = Rows::of(ComparisonsColumns {
            a: texts(&compared, |c| c.a),
            b: texts(&compared, |c| c.b),
            slice: texts(&compared, |c| c.slice),
            metric: texts(&compared, |c| averaged(c.metric)),
            k: compared.iter().map(|c| c.k).collect::<Int32Array>(),
            difference: floats(&compared, |c| c.difference),
            relative: compared.iter().map(|c| (c.base != 0.0).then(|| c.difference / c.base)).collect::<Float64Array>(),
            p_value: floats(&compared, |c| c.p),
            p_adjusted: floats(&compared, |c| c.p_adjusted),
        })?;
        Ok(Done { outputs: (metrics, comparisons), accounts })
    }

    /// Adds a slice's comparisons of the given pairs of methods.
    fn compare<'a>(
        &self,
        values: &'a Values,
        pairs: &[(usize, usize)],
        rows: &[f64],
        slice: &'static str,
        users: u64,
        into: &mut Vec<Compared<'a>>,
    ) {
        let each = values.metrics.len();
        for (metric, (name, k)) in values.metrics.iter().enumerate() {
            let mut tested: Vec<Compared<'a>> = pairs
                .iter()
                .map(|&(a, b)| {
                    let of =
                        |method: usize| rows.chunks_exact(values.width()).map(move |row| row[method * each + metric]);
                    let differences: Vec<f64> = of(a).zip(of(b)).map(|(a, b)| a - b).filter(|d| *d != 0.0).collect();
                    let p = match users <= self.resample_up_to {
                        true => randomisation(&differences, self.resamples, self.seed),
                        false => paired_normal(&differences, users),
                    };
                    Compared {
                        a: &values.methods[a],
                        b: &values.methods[b],
                        slice,
                        metric: name,
                        k: *k,
                        difference: differences.iter().sum::<f64>() / users as f64,
                        base: of(b).sum::<f64>() / users as f64,
                        p,
                        p_adjusted: p,
                    }
                })
                .collect();
            let adjusted = holm(&tested.iter().map(|t| t.p).collect::<Vec<_>>());
            tested.iter_mut().zip(adjusted).for_each(|(tested, p)| tested.p_adjusted = p);
            into.extend(tested);
        }
    }
}

/// What two methods are compared for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Question<'a> {
    /// Whose lists of one step of `retrieve` are better.
    Method(Option<&'a str>),
    /// By which step one method's lists are: vectors or words, the best of how many lists.
    Step(&'a str),
}

/// Two methods that one step retrieved, or one method by two steps; others are not compared.
fn question<'a>(a: &'a str, b: &'a str) -> Option<Question<'a>> {
    let ((a, step_a), (b, step_b)) = (method_and_step(a), method_and_step(b));
    match (step_a == step_b, a == b) {
        (true, _) => Some(Question::Method(step_a)),
        (false, true) => Some(Question::Step(a)),
        (false, false) => None,
    }
}

/// Every two methods between which there is a question, by their places; of seeds of one method, their mean alone.
fn pairs(methods: &[String]) -> Vec<(Question<'_>, (usize, usize))> {
    let means = seeds(methods.iter().map(String::as_str));
    let seed = |at: usize| means.values().flatten().any(|seed| *seed == methods[at]);
    let compared: Vec<usize> = (0..methods.len()).filter(|at| !seed(*at)).collect();
    let all = (0..compared.len()).flat_map(|a| (a + 1..compared.len()).map(move |b| (a, b)));
    let all = all.map(|(a, b)| (compared[a], compared[b]));
    all.filter_map(|(a, b)| Some((question(&methods[a], &methods[b])?, (a, b)))).collect()
}

/// What a user's metric is called once averaged: the mean reciprocal rank has a name of its own.
fn averaged(metric: &str) -> &str {
    match metric {
        "rr" => "mrr",
        "rr_mind" => "mrr_mind",
        other => other,
    }
}

fn texts<'a, R>(rows: &'a [R], of: impl Fn(&'a R) -> &'a str) -> StringArray {
    StringArray::from_iter_values(rows.iter().map(of))
}

fn floats<R>(rows: &[R], of: impl Fn(&R) -> f64) -> Float64Array {
    Float64Array::from_iter_values(rows.iter().map(of))
}

/// One method against another, by one metric over one slice.
struct Compared<'a> {
    a: &'a str,
    b: &'a str,
    slice: &'static str,
    metric: &'a str,
    k: Option<i32>,
    difference: f64,
    /// The mean of b.
    base: f64,
    p: f64,
    p_adjusted: f64,
}

/// A row of `sql/averages.sql`.
struct Average {
    method: String,
    slice: String,
    metric: String,
    k: Option<i32>,
    mean: f64,
    users: u64,
    squares: f64,
    fallback: i64,
}

impl Average {
    fn read(batches: &[RecordBatch]) -> Result<Vec<Self>> {
        let mut averages = Vec::new();
        for batch in batches {
            let texts = |name| column::<StringArray>(FILE, batch, name);
            let floats = |name| column::<Float64Array>(FILE, batch, name);
            let (method, slice, metric) = (texts("method")?, texts("slice")?, texts("metric")?);
            let (mean, squares) = (floats("mean")?, floats("squares")?);
            let k = column::<Int32Array>(FILE, batch, "k")?;
            let (users, fallback) =
                (column::<Int64Array>(FILE, batch, "users")?, column::<Int64Array>(FILE, batch, "fallback")?);
            averages.extend((0..batch.num_rows()).map(|row| Average {
                method: method.value(row).into(),
                slice: slice.value(row).into(),
                metric: metric.value(row).into(),
                k: k.is_valid(row).then(|| k.value(row)),
                mean: mean.value(row),
                users: users.value(row) as u64,
                squares: squares.value(row),
                fallback: fallback.value(row),
            }));
        }
        Ok(averages)
    }
}
