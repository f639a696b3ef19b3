//! One bucket of `evaluate`: who clicked what, who is cold, each method's lists, and the metrics of them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::compute::filter_record_batch;
use dataset::bucket::{split, unhex};
use dataset::{Account, Done, Error, Result, Rows};
use schemas::{Interests, Profiles, Recommendations, Table, Truth, UserMetrics, UserMetricsColumns};

use crate::Evaluate;
use crate::engine::{Engine, Relation, column};
use crate::evaluate::{Among, shown_the_fallback, with_a_list};
use crate::seeds::seeds;

const FILE: &str = "sql/metrics.sql";
pub(crate) const SQL: &str = include_str!("../../sql/metrics.sql");
/// Users with fewer news clicks of history are cold.
pub(crate) const COLD_BELOW: i32 = 5;
/// The rank of lists that are not cut.
const NOT_CUT: i64 = i64::MAX;

/// One bucket's rows.
#[derive(Debug)]
pub struct Judged {
    /// What was clicked in the window.
    pub truth: Rows<Truth>,
    /// How much users had read before it.
    pub profiles: Rows<Profiles>,
    /// The methods' lists, by method.
    pub recommendations: Vec<(String, Rows<Recommendations>)>,
    /// By method: articles, best first, that readers are shown of whom it has no list.
    pub fallbacks: BTreeMap<String, Vec<String>>,
    /// Only users that are here count.
    pub interests: Option<Rows<Interests>>,
    /// The evaluation window, µs since 1970.
    pub window: Range<i64>,
}

impl Evaluate {
    pub(crate) fn judge(&self, judged: Judged, engine: &Engine) -> Result<Done<Rows<UserMetrics>>> {
        let judged = Judged { truth: among(judged.truth, judged.interests.as_ref())?, ..judged };
        let readers = readers(&judged)?;
        let known = known(&judged.profiles)?;
        let mut account = Account { output: readers.len() as u64, ..Account::default() };
        account.drop(
            match self.among {
                Among::All => "no click in the window",
                Among::Interests => "no click in the window, or not in interests",
            },
            known.keys().filter(|user| !readers.contains(*user)).count() as u64,
        );
        account.input = account.accounted();
        account.note("readers without a profile", readers.iter().filter(|u| !known.contains_key(*u)).count() as u64);
        let mut shown: HashMap<String, BTreeSet<String>> = HashMap::new();
        for (method, lists) in &judged.recommendations {
            let mut listed: HashSet<&str> = HashSet::new();
            for batch in lists.batches() {
                // A user's rows lie together: each is looked up once.
                let mut last = "";
                let users = Recommendations::user_id.of(batch)?.iter().flatten();
                let users = users.filter(|&user| std::mem::replace(&mut last, user) != user);
                listed.extend(users.filter(|user| readers.contains(*user)));
            }
            account.note(&with_a_list(method), listed.len() as u64);
            if judged.fallbacks.contains_key(method) {
                let others = readers.iter().filter(|user| !listed.contains(user.as_str()));
                let others: BTreeSet<String> = others.cloned().collect();
                account.note(&shown_the_fallback(method), others.len() as u64);
                shown.insert(method.clone(), others);
            }
        }
        // A mean of seeds is of popular articles where every seed is.
        for (mean, seeds) in seeds(self.methods.iter().map(String::as_str)) {
            let users = seeds.iter().filter_map(|seed| shown.get(*seed)).cloned().reduce(|a, b| &a & &b);
            shown.extend(users.map(|users| (mean, users)));
        }
        let outputs = match readers.is_empty() {
            true => Rows::empty(),
            false => self.melt(&self.query(judged, &shown, engine)?, &known, &shown)?,
        };
        Ok(Done { outputs, accounts: vec![account] })
    }

    /// A row per method, user and cut, in that order.
    fn query(
        &self,
        judged: Judged,
        shown: &HashMap<String, BTreeSet<String>>,
        engine: &Engine,
    ) -> Result<Vec<RecordBatch>> {
        let integers = |values: Vec<i64>| -> ArrayRef { Arc::new(Int64Array::from(values)) };
        let cuts: Vec<i64> = self.cuts.iter().map(|&k| i64::from(k)).collect();
        // No ideal list is longer than the truth.
        let deepest = cuts.last().copied().unwrap_or(1).min(judged.truth.len() as i64);
        let places = RecordBatch::try_from_iter([("place", integers((1..=deepest).collect()))])?;
        let k: Int64Array = cuts.iter().map(|&k| Some(k)).chain([None]).collect();
        let depth = integers(cuts.iter().copied().chain([NOT_CUT]).collect());
        let cuts = RecordBatch::try_from_iter([("k", Arc::new(k) as ArrayRef), ("depth", depth)])?;
        let methods = StringArray::from_iter_values(judged.recommendations.iter().map(|(method, _)| method));
        let methods = RecordBatch::try_from_iter([("method", Arc::new(methods) as ArrayRef)])?;
        let mut lists: Vec<RecordBatch> = Vec::new();
        for (method, rows) in judged.recommendations {
            lists.extend(rows.into_batches());
            if let (Some(users), Some(articles)) = (shown.get(&method), judged.fallbacks.get(&method)) {
                lists.push(shown_to(&method, users, articles)?);
            }
        }
        let lists = lists.iter().map(judged_columns).collect::<Result<Vec<_>>>()?;
        let lists_schema = lists.first().map_or_else(|| Recommendations::contract().schema(), RecordBatch::schema);
        let tables = vec![
            ("truth", Relation::Rows(Truth::contract().schema(), judged.truth.into_batches())),
            ("recommendations", Relation::Rows(lists_schema, lists)),
            ("methods", Relation::Rows(methods.schema(), vec![methods])),
            ("cuts", Relation::Rows(cuts.schema(), vec![cuts])),
            ("places", Relation::Rows(places.schema(), vec![places])),
        ];
        engine.query(FILE, SQL, Vec::new(), tables)
    }

    /// The query's rows, which lie by method, user and cut, as the contract has them: by method, user, metric and cut.
    fn melt(
        &self,
        rows: &[RecordBatch],
        known: &HashMap<String, Known>,
        shown: &HashMap<String, BTreeSet<String>>,
    ) -> Result<Rows<UserMetrics>> {
        let each = self.cuts.len() + 1;
        let wide = Wide::read(rows)?.with_means_of_seeds();
        let uncut = self.cuts.len();
        let mut cells: Vec<(&str, Option<i32>, usize, &Vec<f64>)> = Vec::new();
        for (at, &k) in self.cuts.iter().enumerate() {
            cells.push(("ndcg", Some(k as i32), at, &wide.ndcg));
            cells.push(("recall", Some(k as i32), at, &wide.recall));
            if self.recall_capped {
                cells.push(("recall_capped", Some(k as i32), at, &wide.recall_capped));
            }
        }
        cells.push(("rr", self.cuts.last().map(|&k| k as i32), uncut - 1, &wide.rr));
        cells.push(("rr", None, uncut, &wide.rr));
        if self.mrr_mind {
            cells.push(("rr_mind", None, uncut, &wide.rr_mind));
        }
        cells.sort_by_key(|cell| (cell.0, cell.1.is_none(), cell.1));

        // Row by row: the list, which has `each` rows of the query, and the cell.
        let rows = || {
            let lists = wide.user_id.len() / each;
            (0..lists * cells.len()).map(|row| (row / cells.len() * each, &cells[row % cells.len()]))
        };
        let split_of = |user: &str| unhex(user).map_or("", |id| split(&id));
        let cold = |user: &str| known.get(user).is_none_or(|known| known.clicks < COLD_BELOW);
        let history = |user: &str| known.get(user).is_some_and(|known| known.behaviours > 0);
        let fallback = |list: usize| shown.get(&wide.method[list]).is_some_and(|of| of.contains(&wide.user_id[list]));
        Rows::of(UserMetricsColumns {
            method: StringArray::from_iter_values(rows().map(|(list, _)| &wide.method[list])),
            user_id: StringArray::from_iter_values(rows().map(|(list, _)| &wide.user_id[list])),
            split: StringArray::from_iter_values(rows().map(|(list, _)| split_of(&wide.user_id[list]))),
            cold: rows().map(|(list, _)| Some(cold(&wide.user_id[list]))).collect::<BooleanArray>(),
            history: rows().map(|(list, _)| Some(history(&wide.user_id[list]))).collect::<BooleanArray>(),
            fallback: rows().map(|(list, _)| Some(fallback(list))).collect::<BooleanArray>(),
            metric: StringArray::from_iter_values(rows().map(|(_, cell)| cell.0)),
            k: rows().map(|(_, cell)| cell.1).collect::<Int32Array>(),
            value: Float64Array::from_iter_values(rows().map(|(list, cell)| cell.3[list + cell.2])),
        })
    }
}

/// What is known of a user before the cut-off.
struct Known {
    /// News clicks.
    clicks: i32,
    /// Behaviours of any kind that are in the profile.
    behaviours: i32,
}

fn known(profiles: &Rows<Profiles>) -> Result<HashMap<String, Known>> {
    let mut known = HashMap::new();
    for batch in profiles.batches() {
        let (users, clicks) = (Profiles::user_id.of(batch)?, Profiles::news_clicks.of(batch)?);
        let kept = [Profiles::browse_kept.of(batch)?, Profiles::news_kept.of(batch)?, Profiles::search_kept.of(batch)?];
        known.extend((0..users.len()).map(|row| {
            let behaviours = kept.iter().map(|kept| kept.value(row)).sum();
            (users.value(row).to_owned(), Known { clicks: clicks.value(row), behaviours })
        }));
    }
    Ok(known)
}

/// The columns of lists that the query reads.
fn judged_columns(lists: &RecordBatch) -> Result<RecordBatch> {
    let columns: [(&str, ArrayRef); 4] = [
        (Recommendations::method.name(), Arc::new(Recommendations::method.of(lists)?.clone())),
        (Recommendations::user_id.name(), Arc::new(Recommendations::user_id.of(lists)?.clone())),
        (Recommendations::rank.name(), Arc::new(Recommendations::rank.of(lists)?.clone())),
        (Recommendations::news_id.name(), Arc::new(Recommendations::news_id.of(lists)?.clone())),
    ];
    Ok(RecordBatch::try_from_iter(columns)?)
}

/// One list, of several users.
fn shown_to(method: &str, users: &BTreeSet<String>, articles: &[String]) -> Result<RecordBatch> {
    let rows = || users.iter().flat_map(|user| articles.iter().map(move |article| (user, article)));
    let ranks: Int32Array = users.iter().flat_map(|_| 1..=articles.len() as i32).collect::<Vec<_>>().into();
    let columns: [(&str, ArrayRef); 4] = [
        (Recommendations::method.name(), Arc::new(StringArray::from(vec![method; ranks.len()]))),
        (Recommendations::user_id.name(), Arc::new(rows().map(|(user, _)| Some(user)).collect::<StringArray>())),
        (Recommendations::rank.name(), Arc::new(ranks)),
        (Recommendations::news_id.name(), Arc::new(rows().map(|(_, article)| Some(article)).collect::<StringArray>())),
    ];
    Ok(RecordBatch::try_from_iter(columns)?)
}

/// The truth of users that `interests` names.
fn among(truth: Rows<Truth>, interests: Option<&Rows<Interests>>) -> Result<Rows<Truth>> {
    let Some(interests) = interests else { return Ok(truth) };
    let mut users: HashSet<&str> = HashSet::new();
    for batch in interests.batches() {
        users.extend(Interests::user_id.of(batch)?.iter().flatten());
    }
    let filtered = truth.batches().iter().map(|batch| {
        let kept: BooleanArray = Truth::user_id.of(batch)?.iter().map(|id| id.map(|id| users.contains(id))).collect();
        Ok(filter_record_batch(batch, &kept)?)
    });
    Ok(Rows::new(filtered.collect::<Result<_>>()?))
}

/// The users with truth.
fn readers(judged: &Judged) -> Result<HashSet<String>> {
    let mut readers = HashSet::new();
    for batch in judged.truth.batches() {
        let (users, times) = (Truth::user_id.of(batch)?, Truth::occurred_at.of(batch)?);
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
            let texts = |name| column::<StringArray>(FILE, batch, name);
            let floats = |name| column::<Float64Array>(FILE, batch, name);
            wide.method.extend(texts("method")?.iter().flatten().map(str::to_owned));
            wide.user_id.extend(texts("user_id")?.iter().flatten().map(str::to_owned));
            wide.recall.extend(floats("recall")?.values());
            wide.recall_capped.extend(floats("recall_capped")?.values());
            wide.ndcg.extend(floats("ndcg")?.values());
            wide.rr.extend(floats("rr")?.values());
            wide.rr_mind.extend(floats("rr_mind")?.values());
        }
        Ok(wide)
    }

    /// The same with the means over seeds, by method again.
    fn with_means_of_seeds(self) -> Self {
        // Every method has the same rows, and a method's lie together.
        let mut starts: BTreeMap<&str, usize> = BTreeMap::new();
        for (row, method) in self.method.iter().enumerate() {
            starts.entry(method).or_insert(row);
        }
        let rows = self.method.len() / starts.len().max(1);
        let means = seeds(starts.keys().copied());
        let mut of: BTreeMap<&str, Vec<usize>> = starts.iter().map(|(method, start)| (*method, vec![*start])).collect();
        of.extend(means.iter().map(|(name, seeds)| (name.as_str(), seeds.iter().map(|seed| starts[seed]).collect())));
        let mean = |values: &[f64]| -> Vec<f64> {
            let of_method = |starts: &Vec<usize>| -> Vec<f64> {
                let mean =
                    |row: usize| starts.iter().map(|start| values[start + row]).sum::<f64>() / starts.len() as f64;
                (0..rows).map(mean).collect()
            };
            of.values().flat_map(of_method).collect()
        };
        Wide {
            method: of.keys().flat_map(|method| std::iter::repeat_n(method.to_string(), rows)).collect(),
            user_id: of.values().flat_map(|starts| self.user_id[starts[0]..starts[0] + rows].iter().cloned()).collect(),
            recall: mean(&self.recall),
            recall_capped: mean(&self.recall_capped),
            ndcg: mean(&self.ndcg),
            rr: mean(&self.rr),
            rr_mind: mean(&self.rr_mind),
        }
    }
}
