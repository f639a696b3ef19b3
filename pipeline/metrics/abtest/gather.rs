//! From user-days to users, and from users to moments: the first half of `abtest`.
//!
//! Rows are sent to their users' buckets; then SQL adds each bucket up. Memory is a bucket's, whatever the table's size.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, FixedSizeBinaryArray, Int64Array, RecordBatch};
use arrow::buffer::Buffer;
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Date32Type, Int32Type};
use clap::Args;
use dataset::bucket::bucket;
use dataset::plan::{digest, file_digest};
use dataset::{Account, Done, Error, Inputs, Kind, Regrouped, Resources, Result, Rows, Spill, Stage, UserKey};
use schemas::{ExperimentMoments, ExperimentUsers, Table};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::METRICS;
use super::numbered::{Numbered, sent};
use super::user_days::{Piece, UserDayColumns};
use crate::engine::{Engine, Relation, as_table, column};

const USERS_FILE: &str = "sql/experiment_users.sql";
const USERS_SQL: &str = include_str!("../../../sql/experiment_users.sql");
const MOMENTS_FILE: &str = "sql/experiment_moments.sql";
const MOMENTS_SQL: &str = include_str!("../../../sql/experiment_moments.sql");
/// User-days per bucket.
const BUCKET_ROWS: u64 = 250_000;
const MOST_BUCKETS: u32 = 4096;
/// What users' rows are that contradict each other, by the query's columns: what was expected, what was got.
const CONTRADICTIONS: [(&str, &str, &str); 2] = [
    ("in_two_variants", "every user in one variant", "in several"),
    ("with_two_pasts", "one past per user in all rows", "with several"),
];

/// Adds up an experiment's table.
#[derive(Debug, Clone, Args, Serialize, Deserialize)]
#[serde(default)]
pub struct GatherExperiment {
    /// Parquet or CSV files, or globs of such. Their contents decide, not where they lie.
    #[arg(skip)]
    #[serde(skip_serializing)]
    pub files: Vec<PathBuf>,
    /// Which columns are what
    #[command(flatten)]
    #[serde(flatten)]
    pub columns: UserDayColumns,
    /// Buckets that users are spread over [default: one per 250,000 rows]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(MOST_BUCKETS)))]
    pub buckets: Option<u32>,
}

impl Default for GatherExperiment {
    fn default() -> Self {
        dataset::defaults()
    }
}

/// The pieces of the table, and where their rows go.
#[derive(Debug)]
pub struct UserDays {
    pieces: Vec<Piece>,
    key: UserKey,
    rows: Arc<Regrouped>,
}

/// What a piece holds: its rows by day and variant.
type Seen = BTreeMap<i32, BTreeMap<String, u64>>;

impl Stage for GatherExperiment {
    const NAME: &'static str = "gather-experiment";
    const VERSION: u32 = 1;
    const UNIT: &'static str = "user-days";
    type Inputs = UserDays;
    type Shared = Engine;
    type Outputs = (Rows<ExperimentUsers>, Rows<ExperimentMoments>);

    fn inputs(&self, declare: &mut Inputs<'_>) -> Result<UserDays> {
        declare.value("sql", [USERS_SQL, MOMENTS_SQL])?;
        // In the order of their contents: which file was named first decides nothing.
        let files = found(&self.files)?.into_iter().map(|file| Ok((file_digest(&file)?.0, file)));
        let mut files: Vec<(String, PathBuf)> = files.collect::<Result<_>>()?;
        files.sort();
        if let Some(twice) = files.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            let what = format!("expected each file once, got the same as {}", twice[0].1.display());
            return Err(Error::unreadable(twice[1].1.display(), what, "leave one of them out"));
        }
        let (mut pieces, mut tasks) = (Vec::new(), Vec::new());
        for (blake3, file) in &files {
            for piece in Piece::of(file)? {
                tasks.push(digest(&json!([blake3, piece.place()])));
                pieces.push(piece);
            }
        }
        let rows: u64 = pieces.iter().map(|piece| piece.rows).sum();
        let buckets = rows.div_ceil(BUCKET_ROWS).clamp(1, MOST_BUCKETS.into()) as u32;
        let rows = declare.regroup(self.buckets.unwrap_or(buckets), sent(), tasks)?;
        Ok(UserDays { pieces, key: declare.user_key()?, rows })
    }

    fn map(&self, inputs: &UserDays, task: usize, spill: &mut Spill<'_>) -> Result<()> {
        let mut seen = Seen::new();
        let (mut held, mut to) = (Vec::new(), Vec::new());
        let mut bytes = 0;
        inputs.pieces[task].read(&self.columns, |batch| {
            look(&batch, &mut seen);
            let batch = keyed(&batch, &inputs.key, spill.partitions(), &mut to)?;
            bytes += batch.get_array_memory_size();
            held.push(batch);
            if bytes >= spill.budget_bytes {
                spill.send(&to, &concat_batches(&sent(), &held)?)?;
                (bytes, held, to) = (0, Vec::new(), Vec::new());
            }
            Ok(())
        })?;
        if !held.is_empty() {
            spill.send(&to, &concat_batches(&sent(), &held)?)?;
        }
        spill.say(&seen)
    }

    /// Looks whether all variants have all days.
    fn mapped(&self, inputs: &UserDays, _: &Resources) -> Result<()> {
        let mut seen = Seen::new();
        for piece in inputs.rows.said::<Seen>()? {
            for (day, variants) in piece {
                let all = seen.entry(day).or_default();
                variants.into_iter().for_each(|(variant, rows)| *all.entry(variant).or_default() += rows);
            }
        }
        let wrong =
            |what: String, hint: &str| Err(Error::new(dataset::Exit::Data, format!("the experiment: {what}"), hint));
        let variants: BTreeSet<&String> = seen.values().flat_map(BTreeMap::keys).collect();
        let ((Some(first), Some(last)), true) = ((seen.keys().next(), seen.keys().next_back()), variants.len() > 1)
        else {
            let got = variants.first().map_or("no rows".into(), |only| format!("{only:?} alone"));
            return wrong(
                format!("expected a control and a treatment, got {got}"),
                "is --variant-column the assignment?",
            );
        };
        for day in *first..=*last {
            for variant in &variants {
                if !seen.get(&day).is_some_and(|rows| rows.contains_key(*variant)) {
                    let span = format!("{} to {}", date(*first), date(*last));
                    let what = format!(
                        "expected rows of every variant on every day from {span}, got none of {variant:?} on {}",
                        date(day)
                    );
                    return wrong(
                        what,
                        "export the missing day too, or begin and end the experiment for all variants at once",
                    );
                }
            }
        }
        Ok(())
    }

    fn open(&self, _: &UserDays, resources: &Resources) -> Result<Engine> {
        Engine::shared(resources.threads)
    }

    fn run(&self, inputs: &UserDays, engine: &Engine, partition: u32) -> Result<Done<Self::Outputs>> {
        let rows: Vec<RecordBatch> = inputs.rows.read(partition)?.into_iter().map(|(_, batch)| batch).collect();
        let Numbered { days, ids } = Numbered::of(&rows)?;
        let mut account = Account::all(days.num_rows() as u64);
        if days.num_rows() == 0 {
            let outputs = (Rows::new(Vec::new()), Rows::new(Vec::new()));
            return Ok(Done { outputs, accounts: vec![account.clone(), account] });
        }
        let days = || Relation::Rows(days.schema(), vec![days.clone()]);
        let users = engine.query(USERS_FILE, USERS_SQL, Vec::new(), vec![("user_days", days())])?;
        check(&users, partition)?;
        for (what, name) in
            [("users whose `cold` changes", "warmed"), ("users of whom nothing before is known", "without_past")]
        {
            account.note(what, count(&users, name)?);
        }
        let users = ids.join(&users)?;
        let tables = vec![("user_days", days()), ("users", Relation::Rows(users.schema(), vec![users.clone()]))];
        let moments = engine.query(MOMENTS_FILE, MOMENTS_SQL, Vec::new(), tables)?;
        once_a_day(&moments)?;
        let users = as_table(USERS_FILE, &ExperimentUsers::contract(), &[users])?;
        let moments = as_table(MOMENTS_FILE, &ExperimentMoments::contract(), &moments)?;
        let accounts = vec![account.clone(), Account::all(account.input)];
        Ok(Done { outputs: (Rows::new(users), Rows::new(moments)), accounts })
    }

    /// The rows, the same in order and with running sums, and the users.
    fn memory_bytes(&self, _: &Engine, input_bytes: u64) -> u64 {
        6 * input_bytes
    }
}

/// The files that are named, or match a glob.
fn found(named: &[PathBuf]) -> Result<BTreeSet<PathBuf>> {
    let mut files = BTreeSet::new();
    for name in named {
        if name.exists() {
            files.insert(name.clone());
            continue;
        }
        let pattern = name.to_string_lossy();
        let bad = |e: &dyn Display| {
            Error::setting("FILES", "files or globs", format!("{pattern:?}: {e}"), "for example days/*.parquet")
        };
        let matching: Vec<_> = glob::glob(&pattern).map_err(|e| bad(&e))?.collect();
        if matching.is_empty() {
            return Err(Error::setting("FILES", "files that are there", format!("{pattern:?}"), "check the path")
                .of_kind(Kind::Missing));
        }
        for path in matching {
            files.insert(path.map_err(|e| Error::io(e.path().display().to_string(), e.into()))?);
        }
    }
    match files.is_empty() {
        true => Err(Error::setting(
            "FILES",
            "Parquet or CSV files with a row per user and day",
            "none",
            "see `querent abtest --help`",
        )),
        false => Ok(files),
    }
}

/// Counts rows by day and variant.
fn look(batch: &RecordBatch, seen: &mut Seen) {
    let (days, variants) = (batch.column(1).as_primitive::<Int32Type>(), batch.column(2).as_string::<i32>());
    for row in 0..batch.num_rows() {
        let all = seen.entry(days.value(row)).or_default();
        match all.get_mut(variants.value(row)) {
            Some(rows) => *rows += 1,
            None => _ = all.insert(variants.value(row).to_owned(), 1),
        }
    }
}

/// The same rows under our ids, and the buckets that they go to.
fn keyed(batch: &RecordBatch, key: &UserKey, buckets: u32, to: &mut Vec<u32>) -> Result<RecordBatch> {
    let raw = batch.column(0).as_string::<i32>();
    let (mut last, mut id, mut ours) = (None, [0; 16], 0);
    let mut ids = Vec::with_capacity(16 * raw.len());
    for user in raw.iter() {
        // Files that lie by user say the same many times.
        if last != user {
            id = key.user_id(user.unwrap_or_default().as_bytes());
            (last, ours) = (user, bucket(&id, buckets));
        }
        ids.extend_from_slice(&id);
        to.push(ours);
    }
    let mut columns = batch.columns().to_vec();
    columns[0] = Arc::new(FixedSizeBinaryArray::try_new(16, Buffer::from_vec(ids), None)?) as ArrayRef;
    Ok(RecordBatch::try_new(sent(), columns)?)
}

/// How many users a column of the query is true of.
fn count(users: &[RecordBatch], name: &str) -> Result<u64> {
    let counts = users.iter().map(|batch| Ok(column::<BooleanArray>(USERS_FILE, batch, name)?.true_count() as u64));
    counts.sum()
}

/// Refuses users whose rows contradict each other.
fn check(users: &[RecordBatch], partition: u32) -> Result<()> {
    for (name, expected, got) in CONTRADICTIONS {
        let bad = count(users, name)?;
        if bad > 0 {
            let all: usize = users.iter().map(RecordBatch::num_rows).sum();
            let what = format!(
                "the experiment: expected {expected}, got {bad} users {got}, among the {all} of bucket {partition}"
            );
            return Err(Error::new(
                dataset::Exit::Data,
                what,
                "mend the table: what such users were shown cannot be told",
            ));
        }
    }
    Ok(())
}

/// Refuses users with several rows of a day.
fn once_a_day(moments: &[RecordBatch]) -> Result<()> {
    let mut again = 0;
    for batch in moments {
        again += column::<Int64Array>(MOMENTS_FILE, batch, "again")?.values().iter().sum::<i64>();
    }
    if again > 0 {
        // Every metric counts them.
        let got = again / METRICS.len() as i64;
        let what = format!("the experiment: expected one row per user and day, got {got} more");
        return Err(Error::new(dataset::Exit::Data, what, "add up the rows of a user's day, or keep one of them"));
    }
    Ok(())
}

/// A day for people: YYYY-MM-DD.
pub(super) fn date(day: i32) -> String {
    let days = arrow::array::PrimitiveArray::<Date32Type>::from(vec![day]);
    arrow::util::display::array_value_to_string(&days, 0).unwrap_or_else(|_| format!("{} {day}", DataType::Date32))
}
