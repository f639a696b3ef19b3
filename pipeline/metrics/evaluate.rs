//! `evaluate`: every user's list against what the user clicked in the window, by `sql/metrics.sql`, bucket by bucket.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray, StringViewArray,
    TimestampMicrosecondArray, UInt32Array, UInt32Builder,
};
use arrow::compute::{cast, filter_record_batch};
use arrow::datatypes::DataType;
use datafusion::datasource::MemTable;
use datafusion::error::DataFusionError;
use dataset::bucket::{split, unhex};
use dataset::plan::{Digest, digest};
use dataset::{Account, Done, Error, Input, InputRef, Result, Rows, Source, Stage, Store, from_columns, same_users};
use schemas::{Interests, Profiles, Recommendations, Table, Truth, UserMetrics};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::session::{session, wait};

/// Users with fewer news clicks of history are cold.
const COLD_BELOW: u32 = 5;
/// The rank of lists that are not cut.
const NOT_CUT: i64 = i64::MAX;

/// Which metrics are computed.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Evaluate {
    /// Lists are cut at each of these ranks.
    pub cuts: Vec<u32>,
    /// Also the recall by what a list of k can reach.
    pub recall_capped: bool,
    /// Also MIND's own reciprocal rank.
    pub mrr_mind: bool,
    /// Who counts.
    pub among: Among,
}

/// Which users with truth count, for every method alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Among {
    /// All.
    #[default]
    All,
    /// Those that `interests` names: only they were asked for.
    Interests,
}

impl Default for Evaluate {
    fn default() -> Self {
        Evaluate { cuts: vec![5, 10], recall_capped: false, mrr_mind: false, among: Among::All }
    }
}

impl Evaluate {
    /// Checks the cuts and puts them in order.
    pub fn checked(mut self) -> Result<Self> {
        self.cuts.sort_unstable();
        self.cuts.dedup();
        match self.cuts.first() {
            None | Some(0) => {
                Err(Error::setting("evaluate.cuts", "ranks from 1", format!("{:?}", self.cuts), "such as 5,10"))
            }
            Some(_) => Ok(self),
        }
    }
}

/// One bucket: who clicked what, who is cold, and each method's lists.
#[derive(Debug)]
pub struct Judged {
    truth: Rows<Truth>,
    profiles: Rows<Profiles>,
    recommendations: Vec<(String, Rows<Recommendations>)>,
    window: Range<i64>,
}

/// `truth`, `profiles` and the recommendations of some methods.
#[derive(Debug)]
pub struct Judgements {
    truth: Input<Truth>,
    profiles: Input<Profiles>,
    recommendations: Vec<(String, Input<Recommendations>)>,
    interests: Option<Input<Interests>>,
    window: Range<i64>,
}

impl Judgements {
    /// The current versions; `methods` name datasets `recommendations.<method>`.
    ///
    /// # Errors
    /// When one is missing, or not of the ingest that the truth is of.
    pub fn open(store: &Store, methods: &[String], among: Among) -> Result<Self> {
        let truth = Input::<Truth>::open(store, "truth")?;
        let window = truth.snapshot().window()?;
        let profiles = Input::<Profiles>::open(store, "profiles")?.columns(&["user_id", "news_clicks"]);
        let mut recommendations = Vec::new();
        for method in methods {
            let input = Input::<Recommendations>::open(store, &format!("recommendations.{method}"))?;
            same_users(&truth, &input)?;
            recommendations.push((method.clone(), input.columns(&["method", "user_id", "rank", "news_id"])));
        }
        recommendations.sort_by(|a, b| a.0.cmp(&b.0));
        let interests = match among {
            Among::All => None,
            Among::Interests => Some(Input::<Interests>::open(store, "interests")?.columns(&["user_id"])),
        };
        interests.as_ref().map_or(Ok(()), |interests| same_users(&truth, interests))?;
        Ok(Judgements { truth, profiles, recommendations, interests, window })
    }
}

impl Source for Judgements {
    type Rows = Judged;

    fn partitions(&self) -> u32 {
        self.truth.partitions()
    }

    fn inputs(&self) -> BTreeMap<String, InputRef> {
        let mut inputs = self.truth.inputs();
        inputs.extend(self.profiles.inputs());
        inputs.extend(self.recommendations.iter().flat_map(|(_, input)| input.inputs()));
        inputs.extend(self.interests.iter().flat_map(Source::inputs));
        inputs
    }

    fn key(&self, partition: u32) -> Digest {
        let methods: Vec<_> = self.recommendations.iter().map(|(name, i)| (name, i.key(partition))).collect();
        let interests = self.interests.as_ref().map(|interests| interests.key(partition));
        digest(&json!([self.truth.key(partition), self.profiles.key(partition), methods, interests, SQL]))
    }

    fn memory_bytes(&self, partition: u32) -> u64 {
        let lists: u64 = self.recommendations.iter().map(|(_, i)| i.memory_bytes(partition)).sum();
        self.truth.memory_bytes(partition) + lists
    }

    fn user_key_check(&self) -> Option<&str> {
        self.truth.user_key_check()
    }

    fn read(&self, partition: u32) -> Result<Judged> {
        let lists = self.recommendations.iter().map(|(method, i)| Ok((method.clone(), i.read(partition)?)));
        let truth = self.truth.read(partition)?;
        Ok(Judged {
            truth: match &self.interests {
                Some(interests) => of_users(truth, &interests.read(partition)?)?,
                None => truth,
            },
            profiles: self.profiles.read(partition)?,
            recommendations: lists.collect::<Result<_>>()?,
            window: self.window.clone(),
        })
    }
}

/// The truth of users that `interests` names.
fn of_users(truth: Rows<Truth>, interests: &Rows<Interests>) -> Result<Rows<Truth>> {
    let mut users: HashSet<&str> = HashSet::new();
    for batch in interests.batches() {
        users.extend(Rows::<Interests>::column::<StringArray>(batch, "user_id")?.iter().flatten());
    }
    let filtered = truth.batches().iter().map(|batch| {
        let ids = Rows::<Truth>::column::<StringArray>(batch, "user_id")?;
        let kept: BooleanArray = ids.iter().map(|id| id.map(|id| users.contains(id))).collect();
        filter_record_batch(batch, &kept).map_err(Error::arrow("truth of users with interests"))
    });
    Ok(Rows::new(filtered.collect::<Result<_>>()?))
}

const SQL: &str = include_str!("../../sql/metrics.sql");

impl Stage for Evaluate {
    const NAME: &'static str = "evaluate";
    const VERSION: u32 = 1;
    const UNIT: &'static str = "users";
    type Inputs = Judged;
    type Outputs = Rows<UserMetrics>;

    fn run(&self, _: u32, judged: Judged) -> Result<Done<Self::Outputs>> {
        let readers = readers(&judged)?;
        let mut clicks: HashMap<String, u32> = HashMap::new();
        for batch in judged.profiles.batches() {
            let users = Rows::<Profiles>::column::<StringArray>(batch, "user_id")?;
            let counts = Rows::<Profiles>::column::<UInt32Array>(batch, "news_clicks")?;
            clicks.extend(users.iter().flatten().map(str::to_owned).zip(counts.values().iter().copied()));
        }
        let mut account = Account { output: readers.len() as u64, ..Account::default() };
        account.drop(
            match self.among {
                Among::All => "no click in the window",
                Among::Interests => "no click in the window, or not in interests",
            },
            clicks.keys().filter(|user| !readers.contains(*user)).count() as u64,
        );
        account.input = account.accounted();
        account.note("readers without a profile", readers.iter().filter(|u| !clicks.contains_key(*u)).count() as u64);
        for (method, lists) in &judged.recommendations {
            let mut listed: HashSet<&str> = HashSet::new();
            for batch in lists.batches() {
                let users = Rows::<Recommendations>::column::<StringArray>(batch, "user_id")?;
                let mut last = "";
                for user in users.iter().flatten().filter(|&user| std::mem::replace(&mut last, user) != user) {
                    if readers.contains(user) {
                        listed.insert(user);
                    }
                }
            }
            account.note(&format!("with a list of {method}"), listed.len() as u64);
        }
        let failed =
            |e: DataFusionError| Error::unreadable("sql/metrics.sql", e, "check its inputs with `querent inspect`");
        let rows = match readers.is_empty() {
            true => Vec::new(),
            false => wait(1, self.query(judged))?.map_err(failed)?,
        };
        Ok(Done { outputs: Rows::new(vec![self.melt(&rows, &clicks)?]), accounts: vec![account] })
    }

    /// The lists, the join's table, and the metrics.
    fn memory_bytes(&self, input_bytes: u64) -> u64 {
        3 * input_bytes
    }
}

/// The users with truth.
fn readers(judged: &Judged) -> Result<HashSet<String>> {
    let mut readers = HashSet::new();
    for batch in judged.truth.batches() {
        let users = Rows::<Truth>::column::<StringArray>(batch, "user_id")?;
        let times = Rows::<Truth>::column::<TimestampMicrosecondArray>(batch, "occurred_at")?;
        if let Some(row) = times.values().iter().position(|at| !judged.window.contains(at)) {
            let got = format!("one at {} µs, outside {:?}", times.value(row), judged.window);
            let what = format!("expected clicks in the evaluation window, got {got}");
            let hint = "delete the dataset's folder and run ingest again";
            return Err(Error::unreadable(format!("truth, user {}", users.value(row)), what, hint));
        }
        readers.extend(users.iter().flatten().map(str::to_owned));
    }
    Ok(readers)
}

impl Evaluate {
    async fn query(&self, judged: Judged) -> Result<Vec<RecordBatch>, DataFusionError> {
        let context = session(1, u64::MAX)?;
        let methods: Vec<String> = judged.recommendations.iter().map(|(method, _)| method.clone()).collect();
        let lists: Vec<RecordBatch> =
            judged.recommendations.into_iter().flat_map(|(_, rows)| rows.into_batches()).collect();
        let lists_schema = lists.first().map_or_else(|| Recommendations::contract().schema(), RecordBatch::schema);
        let cuts: Vec<i64> = self.cuts.iter().map(|&k| i64::from(k)).collect();
        let k: Int64Array = cuts.iter().map(|&k| Some(k)).chain([None]).collect();
        let integers =
            |values: &mut dyn Iterator<Item = i64>| -> ArrayRef { Arc::new(Int64Array::from_iter_values(values)) };
        let depth = integers(&mut cuts.iter().copied().chain([NOT_CUT]));
        let deepest = cuts.last().copied().unwrap_or(1);
        let places = RecordBatch::try_from_iter([("place", integers(&mut (1..=deepest)))])?;
        let methods = RecordBatch::try_from_iter([("method", Arc::new(StringArray::from(methods)) as ArrayRef)])?;
        let cuts = RecordBatch::try_from_iter([("k", Arc::new(k) as ArrayRef), ("depth", depth)])?;
        for (name, schema, batches) in [
            ("truth", Truth::contract().schema(), judged.truth.into_batches()),
            ("recommendations", lists_schema, lists),
            ("methods", methods.schema(), vec![methods]),
            ("cuts", cuts.schema(), vec![cuts]),
            ("places", places.schema(), vec![places]),
        ] {
            context.register_table(name, Arc::new(MemTable::try_new(schema, vec![batches])?))?;
        }
        context.sql(SQL).await?.collect().await
    }

    /// The query's rows, which lie by method, user and cut, as the contract has them: by method, user, metric and cut.
    fn melt(&self, rows: &[RecordBatch], clicks: &HashMap<String, u32>) -> Result<RecordBatch> {
        let wide = Wide::read(rows)?;
        let each = self.cuts.len() + 1;
        let uncut = self.cuts.len();
        let mut cells: Vec<(&str, Option<u32>, usize, &Vec<f64>)> = Vec::new();
        for (at, &k) in self.cuts.iter().enumerate() {
            cells.push(("ndcg", Some(k), at, &wide.ndcg));
            cells.push(("recall", Some(k), at, &wide.recall));
            if self.recall_capped {
                cells.push(("recall_capped", Some(k), at, &wide.recall_capped));
            }
        }
        cells.push(("rr", self.cuts.last().copied(), uncut - 1, &wide.rr));
        cells.push(("rr", None, uncut, &wide.rr));
        if self.mrr_mind {
            cells.push(("rr_mind", None, uncut, &wide.rr_mind));
        }
        cells.sort_by_key(|cell| (cell.0, cell.1.is_none(), cell.1));

        let lists = wide.user_id.len() / each;
        let count = lists * cells.len();
        let (mut method, mut user_id, mut splits, mut metric) = (
            Vec::with_capacity(count),
            Vec::with_capacity(count),
            Vec::with_capacity(count),
            Vec::with_capacity(count),
        );
        let (mut cold, mut value) = (Vec::with_capacity(count), Vec::with_capacity(count));
        let mut k = UInt32Builder::with_capacity(count);
        for list in 0..lists {
            let first = list * each;
            let user = wide.user_id[first].as_str();
            let split = unhex(user).map_or("", |id| split(&id));
            let is_cold = clicks.get(user).is_none_or(|&clicks| clicks < COLD_BELOW);
            for &(name, cut, at, values) in &cells {
                method.push(wide.method[first].as_str());
                user_id.push(user);
                splits.push(split);
                cold.push(is_cold);
                metric.push(name);
                k.append_option(cut);
                value.push(values[first + at]);
            }
        }
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(method)),
            Arc::new(StringArray::from(user_id)),
            Arc::new(StringArray::from(splits)),
            Arc::new(BooleanArray::from(cold)),
            Arc::new(StringArray::from(metric)),
            Arc::new(k.finish()),
            Arc::new(Float64Array::from(value)),
        ];
        from_columns::<UserMetrics>(columns)
    }
}

/// The query's columns.
#[derive(Default)]
struct Wide {
    method: Vec<String>,
    user_id: Vec<String>,
    recall: Vec<f64>,
    recall_capped: Vec<f64>,
    ndcg: Vec<f64>,
    rr: Vec<f64>,
    rr_mind: Vec<f64>,
}

impl Wide {
    fn read(rows: &[RecordBatch]) -> Result<Self> {
        let mut wide = Wide::default();
        for batch in rows {
            for (name, into) in [("method", &mut wide.method), ("user_id", &mut wide.user_id)] {
                let column = as_type(batch, name, &DataType::Utf8View)?;
                let column = column.as_any().downcast_ref::<StringViewArray>();
                into.extend(column.into_iter().flatten().flatten().map(str::to_owned));
            }
            for (name, into) in [
                ("recall", &mut wide.recall),
                ("recall_capped", &mut wide.recall_capped),
                ("ndcg", &mut wide.ndcg),
                ("rr", &mut wide.rr),
                ("rr_mind", &mut wide.rr_mind),
            ] {
                let column = as_type(batch, name, &DataType::Float64)?;
                let column = column.as_any().downcast_ref::<Float64Array>();
                into.extend(column.into_iter().flat_map(|column| column.values().iter().copied()));
            }
        }
        Ok(wide)
    }
}

fn as_type(batch: &RecordBatch, name: &str, to: &DataType) -> Result<ArrayRef> {
    let column = batch
        .column_by_name(name)
        .ok_or_else(|| Error::unreadable("sql/metrics.sql", format!("it gives no column {name}"), "this is a bug"))?;
    cast(column, to).map_err(Error::arrow("sql/metrics.sql"))
}
