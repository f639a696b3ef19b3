//! `evaluate --impressions`: how well methods rank what impressions showed, by `sql/impressions.sql`, bucket by bucket; and averages over
//! impressions, by `sql/impression_metrics.sql`.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray};
use dataset::bucket::{split, unhex};
use dataset::{Account, ByPartition, Dataset, Done, Error, Inputs, Kind, Resources, Result, Rows, Stage, Store, Whole};
use schemas::{
    ImpressionMetrics, Impressions, Profiles, Recommendations, Table, UserImpressions, UserImpressionsColumns,
};
use serde::{Deserialize, Serialize};

use crate::engine::{Engine, Relation, as_table, column};
use crate::judge::COLD_BELOW;

const FILE: &str = "sql/impressions.sql";
const SQL: &str = include_str!("../../sql/impressions.sql");
const AVERAGES_FILE: &str = "sql/impression_metrics.sql";
const AVERAGES_SQL: &str = include_str!("../../sql/impression_metrics.sql");
/// The datasets of what methods say of shown articles: this, and the method's name.
const PREFIX: &str = "shown.";

/// Judges methods on impressions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvaluateImpressions {
    /// Methods, in order.
    pub methods: Vec<String>,
}

impl EvaluateImpressions {
    /// Of these methods, or of all that ranked what was shown, where none is named.
    ///
    /// # Errors
    /// When there are none.
    pub fn of(named: &[String], store: &Store) -> Result<Self> {
        let mut methods = named.to_vec();
        if methods.is_empty() {
            for folder in store.folders()? {
                if let Some(method) = folder.strip_prefix(PREFIX)
                    && Dataset::new(store, &folder).current()?.is_some()
                {
                    methods.push(method.to_owned());
                }
            }
        }
        methods.sort_unstable();
        methods.dedup();
        match methods.is_empty() {
            false => Ok(EvaluateImpressions { methods }),
            true => {
                let what = format!("{}: no method has ranked what impressions showed", store.root());
                let hint = "run `querent retrieve --impressions` or `querent baseline --impressions` first";
                Err(Error::usage(what, hint).of_kind(Kind::Missing))
            }
        }
    }
}

/// Impressions, and what methods say of what they showed.
#[derive(Debug)]
pub struct Ranked {
    impressions: ByPartition<Impressions>,
    profiles: ByPartition<Profiles>,
    scores: Vec<ByPartition<Recommendations>>,
}

impl Stage for EvaluateImpressions {
    const NAME: &'static str = "evaluate-impressions";
    const VERSION: u32 = 1;
    const UNIT: &'static str = "impressions";
    type Inputs = Ranked;
    type Shared = Engine;
    type Outputs = Rows<UserImpressions>;

    fn inputs(&self, declare: &mut Inputs<'_>) -> Result<Ranked> {
        declare.value("sql", SQL)?;
        let columns = [
            Impressions::user_id.name(),
            Impressions::impression_id.name(),
            Impressions::position.name(),
            Impressions::news_id.name(),
            Impressions::clicked.name(),
        ];
        let impressions = declare.by_partition::<Impressions>("impressions")?.columns(&columns);
        let columns = [Profiles::user_id.name(), Profiles::news_clicks.name()];
        let profiles = declare.by_partition::<Profiles>("profiles")?.columns(&columns);
        let columns = [
            Recommendations::method.name(),
            Recommendations::user_id.name(),
            Recommendations::news_id.name(),
            Recommendations::score.name(),
        ];
        let scores = self.methods.iter().map(|method| {
            let of_method = declare.by_partition::<Recommendations>(&format!("{PREFIX}{method}"))?;
            Ok(of_method.columns(&columns))
        });
        let scores = scores.collect::<Result<_>>()?;
        Ok(Ranked { impressions, profiles, scores })
    }

    fn open(&self, _: &Ranked, resources: &Resources) -> Result<Engine> {
        Engine::shared(resources.threads)
    }

    fn run(&self, inputs: &Ranked, engine: &Engine, bucket: u32) -> Result<Done<Self::Outputs>> {
        let impressions = inputs.impressions.read(bucket)?;
        let scores: Vec<_> = inputs.scores.iter().map(|scores| scores.read(bucket)).collect::<Result<_>>()?;
        self.judge(impressions, &inputs.profiles.read(bucket)?, scores, engine)
    }
}

impl EvaluateImpressions {
    pub(crate) fn judge(
        &self,
        impressions: Rows<Impressions>,
        profiles: &Rows<Profiles>,
        scores: Vec<Rows<Recommendations>>,
        engine: &Engine,
    ) -> Result<Done<Rows<UserImpressions>>> {
        let mut account = Account { input: count(&impressions)?, ..Account::default() };
        if impressions.is_empty() {
            return Ok(Done { outputs: Rows::empty(), accounts: vec![account] });
        }
        let mut warm: HashSet<&str> = HashSet::new();
        for batch in profiles.batches() {
            let clicks = Profiles::news_clicks.of(batch)?.values();
            let users = Profiles::user_id.of(batch)?.iter().flatten().zip(clicks);
            warm.extend(users.filter(|(_, clicks)| **clicks >= COLD_BELOW).map(|(user, _)| user));
        }
        let methods = StringArray::from_iter_values(&self.methods);
        let methods = RecordBatch::try_from_iter([("method", Arc::new(methods) as ArrayRef)])?;
        let relation = |batches: Vec<RecordBatch>, empty: &dyn Fn() -> arrow::datatypes::SchemaRef| {
            Relation::Rows(batches.first().map_or_else(empty, RecordBatch::schema), batches)
        };
        let tables = vec![
            ("impressions", relation(impressions.into_batches(), &|| Impressions::contract().schema())),
            (
                "scores",
                relation(scores.into_iter().flat_map(Rows::into_batches).collect(), &|| {
                    Recommendations::contract().schema()
                }),
            ),
            ("methods", relation(vec![methods], &|| Impressions::contract().schema())),
        ];
        let mut rows = Vec::new();
        for batch in engine.query(FILE, SQL, Vec::new(), tables)? {
            let (method, user_id) = (column(FILE, &batch, "method")?, column::<StringArray>(FILE, &batch, "user_id")?);
            let impressions: Int64Array = column(FILE, &batch, "impressions")?;
            let method: StringArray = method;
            // Every method is judged on the same ones.
            let first = method.iter().zip(&impressions).filter(|(method, _)| *method == Some(self.methods[0].as_str()));
            account.output += first.filter_map(|(_, count)| count).sum::<i64>() as u64;
            let float = |name| column::<Float64Array>(FILE, &batch, name);
            let users = || user_id.iter().flatten();
            let columns = UserImpressionsColumns {
                split: users().map(|user| Some(unhex(user).map_or("", |id| split(&id)))).collect(),
                cold: users().map(|user| Some(!warm.contains(user))).collect::<BooleanArray>(),
                impressions,
                scored: column(FILE, &batch, "scored")?,
                auc: float("auc")?,
                mrr: float("mrr")?,
                ndcg_5: float("ndcg_5")?,
                ndcg_10: float("ndcg_10")?,
                method,
                user_id,
            };
            rows.extend(Rows::<UserImpressions>::of(columns)?.into_batches());
        }
        account.drop("nothing or everything was clicked", account.input - account.output);
        Ok(Done { outputs: Rows::new(rows), accounts: vec![account] })
    }
}

/// How many impressions there are: their rows lie together.
fn count(impressions: &Rows<Impressions>) -> Result<u64> {
    let (mut count, mut last) = (0, None);
    for batch in impressions.batches() {
        for id in Impressions::impression_id.of(batch)?.iter().flatten() {
            if last.as_deref() != Some(id) {
                count += 1;
                last = Some(id.to_owned());
            }
        }
    }
    Ok(count)
}

/// Averages over impressions.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct SummariseImpressions {}

impl Stage for SummariseImpressions {
    const NAME: &'static str = "summarise-impressions";
    const VERSION: u32 = 1;
    const UNIT: &'static str = "averages";
    type Inputs = Whole<UserImpressions>;
    type Shared = Engine;
    type Outputs = Rows<ImpressionMetrics>;

    fn inputs(&self, declare: &mut Inputs<'_>) -> Result<Self::Inputs> {
        declare.value("sql", AVERAGES_SQL)?;
        declare.whole("user_impressions")
    }

    /// Sums of floats depend on their order.
    fn open(&self, _: &Self::Inputs, resources: &Resources) -> Result<Engine> {
        Engine::in_order("impression_metrics", resources)
    }

    fn run(&self, sums: &Self::Inputs, engine: &Engine, _: u32) -> Result<Done<Self::Outputs>> {
        let tables = vec![("user_impressions", Relation::Version(sums.into()))];
        let rows = engine.query(AVERAGES_FILE, AVERAGES_SQL, Vec::new(), tables)?;
        let rows = as_table(AVERAGES_FILE, &ImpressionMetrics::contract(), &rows)?;
        Ok(Done { outputs: Rows::new(rows), accounts: Vec::new() })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use schemas::{ImpressionsColumns, RecommendationsColumns};

    use super::*;

    #[derive(Deserialize)]
    struct User {
        impressions: Vec<Impression>,
        scores: BTreeMap<String, BTreeMap<String, f64>>,
        expected: BTreeMap<String, Expected>,
    }

    #[derive(Deserialize)]
    struct Impression {
        articles: Vec<String>,
        clicked: Vec<bool>,
    }

    #[derive(Deserialize)]
    struct Expected {
        impressions: i64,
        sums: Vec<f64>,
    }

    fn id(number: usize) -> String {
        format!("{number:032x}")
    }

    fn impressions(users: &[User]) -> Rows<Impressions> {
        let mut rows = Vec::new();
        for (user, of) in users.iter().enumerate() {
            for (number, shown) in of.impressions.iter().enumerate() {
                for (position, (news_id, clicked)) in (1..).zip(shown.articles.iter().zip(&shown.clicked)) {
                    rows.push((id(user), number as i64, id(100 * user + number), position, news_id.clone(), *clicked));
                }
            }
        }
        let columns = ImpressionsColumns {
            user_id: rows.iter().map(|row| Some(&row.0)).collect(),
            occurred_at: rows.iter().map(|row| row.1).collect::<Vec<_>>().into(),
            impression_id: rows.iter().map(|row| Some(&row.2)).collect(),
            position: rows.iter().map(|row| row.3).collect::<Vec<i32>>().into(),
            news_id: rows.iter().map(|row| Some(&row.4)).collect(),
            clicked: rows.iter().map(|row| Some(row.5)).collect(),
        };
        Rows::of(columns).unwrap()
    }

    fn scores(users: &[User], method: &str) -> Rows<Recommendations> {
        let mut rows = Vec::new();
        for (user, of) in users.iter().enumerate() {
            let mut list: Vec<_> = of.scores[method].iter().collect();
            list.sort_by(|a, b| b.1.total_cmp(a.1));
            rows.extend(
                (1..).zip(list).map(|(rank, (news_id, score))| (id(user), rank, news_id.clone(), *score as f32)),
            );
        }
        let columns = RecommendationsColumns {
            method: vec![method; rows.len()].into(),
            user_id: rows.iter().map(|row| Some(&row.0)).collect(),
            rank: rows.iter().map(|row| row.1).collect::<Vec<i32>>().into(),
            news_id: rows.iter().map(|row| Some(&row.2)).collect(),
            score: rows.iter().map(|row| row.3).collect::<Vec<_>>().into(),
            query: StringArray::new_null(rows.len()),
        };
        Rows::of(columns).unwrap()
    }

    #[test]
    fn impressions_are_judged_as_minds_scorer_judges_them() {
        let users: Vec<User> = serde_json::from_str(include_str!("../../fixtures/impressions.json")).unwrap();
        let methods = ["few", "many", "none"].map(str::to_owned).to_vec();
        let stage = EvaluateImpressions { methods };
        let engine = Engine::shared(2).unwrap();
        let both = vec![scores(&users, "few"), scores(&users, "many")];
        let Done { outputs, accounts } = stage.judge(impressions(&users), &Rows::empty(), both, &engine).unwrap();
        let mut found: BTreeMap<(String, String), (i64, Vec<f64>)> = BTreeMap::new();
        for columns in outputs.columns() {
            let rows = columns.unwrap();
            for row in 0..rows.auc.len() {
                let sums = [&rows.auc, &rows.mrr, &rows.ndcg_5, &rows.ndcg_10].map(|sums| sums.value(row)).to_vec();
                let key = (rows.method.value(row).to_owned(), rows.user_id.value(row).to_owned());
                assert!(rows.cold.value(row), "nobody has a profile");
                assert_eq!(rows.scored.value(row) > 0, key.0 == "many" || (key.0 == "few" && key.1 != id(3)));
                found.insert(key, (rows.impressions.value(row), sums));
            }
        }
        let (mut all, mut kept) = (0, 0);
        for (number, user) in users.iter().enumerate() {
            all += user.impressions.len() as u64;
            for (method, expected) in &user.expected {
                let got = found.get(&(method.clone(), id(number)));
                if expected.impressions == 0 {
                    assert!(got.is_none());
                    continue;
                }
                let (count, sums) = got.unwrap();
                assert_eq!(*count, expected.impressions);
                for (got, expected) in sums.iter().zip(&expected.sums) {
                    assert!((got - expected).abs() < 1e-9, "{method}, user {number}: {sums:?} {expected}");
                }
                kept += if method == "few" { expected.impressions as u64 } else { 0 };
            }
            // Without any score, AUCs are a half each.
            if let Some((count, sums)) = found.get(&("none".to_owned(), id(number))) {
                assert!((sums[0] - *count as f64 / 2.0).abs() < 1e-9);
            }
        }
        assert_eq!((accounts[0].input, accounts[0].output), (all, kept));
        assert!(all > kept);
    }
}
