//! `list_metrics`: how much of the catalogue lists cover, how alike and how well known their articles are, by `sql/list_metrics.sql`.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Builder, Int64Array, RecordBatch, StringArray, StringBuilder};
use dataset::{Done, Inputs, Resources, Result, Rows, Stage, Whole};
use schemas::{ListMetrics, News, NewsVectors, Popularity, Recommendations, RecommendationsColumns, Table};
use serde::{Deserialize, Serialize};

use crate::engine::{Engine, Relation, as_table};

const FILE: &str = "sql/list_metrics.sql";
const SQL: &str = include_str!("../../sql/list_metrics.sql");

/// Describes the lists of some methods.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DescribeLists {
    /// Methods, in order.
    pub methods: Vec<String>,
    /// Lists are cut here.
    pub k: u32,
}

/// Lists, and what is known of articles.
#[derive(Debug)]
pub struct Described {
    lists: Vec<Whole<Recommendations>>,
    /// By method: how many articles it chose from.
    candidates: Vec<i64>,
    vectors: Whole<NewsVectors>,
    news: Whole<News>,
    popularity: Whole<Popularity>,
}

impl Stage for DescribeLists {
    const NAME: &'static str = "describe-lists";
    const VERSION: u32 = 1;
    const UNIT: &'static str = "averages";
    /// One query that has all memory.
    const ALONE: bool = true;
    type Inputs = Described;
    type Shared = Engine;
    type Outputs = Rows<ListMetrics>;

    fn inputs(&self, declare: &mut Inputs<'_>) -> Result<Described> {
        declare.value("sql", SQL)?;
        let lists = self.methods.iter().map(|method| declare.whole(&format!("recommendations.{method}")));
        let lists: Vec<Whole<Recommendations>> = lists.collect::<Result<_>>()?;
        let vectors = declare.whole::<NewsVectors>("news_vectors")?;
        let vectors = vectors.columns(&[NewsVectors::news_id.name(), NewsVectors::vector.name()]);
        let news = declare.whole::<News>("news")?.columns(&[News::news_id.name()]);
        // What a method chose from, as it said; of imported lists nobody knows, and they may have chosen from all.
        let candidates = |lists: &Whole<Recommendations>| {
            let said = lists.manifest().account.notes.get("candidates").copied();
            said.unwrap_or(news.manifest().rows) as i64
        };
        let candidates: Vec<i64> = lists.iter().map(candidates).collect();
        declare.value("candidates", &candidates)?;
        Ok(Described { lists, candidates, vectors, news, popularity: declare.whole("popularity")? })
    }

    /// Sums of floats depend on their order.
    fn open(&self, _: &Described, resources: &Resources) -> Result<Engine> {
        Engine::in_order("list_metrics", resources)
    }

    fn run(&self, inputs: &Described, engine: &Engine, _: u32) -> Result<Done<Self::Outputs>> {
        let vectors = Vectors::read(&inputs.vectors)?;
        let (mut lists, mut diversities) = (Vec::new(), Vec::new());
        for parts in inputs.lists.iter().map(Whole::parts) {
            for part in parts {
                for columns in part?.columns() {
                    let (list, diversity) = self.described(&columns?, &vectors)?;
                    lists.push(list);
                    diversities.push(diversity);
                }
            }
        }
        let candidates = Int64Array::from(inputs.candidates.clone());
        let methods: ArrayRef = Arc::new(StringArray::from_iter_values(&self.methods));
        let methods = RecordBatch::try_from_iter([("method", methods), ("candidates", Arc::new(candidates))])?;
        let rows = |batches: Vec<RecordBatch>, none: RecordBatch| {
            let schema = batches.first().unwrap_or(&none).schema();
            Relation::Rows(schema, batches)
        };
        let tables = vec![
            ("lists", rows(lists, Listed::default().finish()?.0)),
            ("diversities", rows(diversities, Listed::default().finish()?.1)),
            ("methods", Relation::Rows(methods.schema(), vec![methods])),
            ("news", Relation::Version((&inputs.news).into())),
            ("popularity", Relation::Version((&inputs.popularity).into())),
        ];
        let found = engine.query(FILE, SQL, vec![("k".into(), i64::from(self.k).into())], tables)?;
        let found = as_table(FILE, &ListMetrics::contract(), &found)?;
        Ok(Done { outputs: Rows::new(found), accounts: Vec::new() })
    }
}

/// Rows on their way into the query.
#[derive(Default)]
struct Listed {
    lists: [StringBuilder; 3],
    of: [StringBuilder; 2],
    diversity: Float64Builder,
}

impl Listed {
    fn finish(mut self) -> Result<(RecordBatch, RecordBatch)> {
        let text = |mut of: StringBuilder| -> ArrayRef { Arc::new(of.finish()) };
        let [method, user_id, news_id] = self.lists.map(text);
        let lists = RecordBatch::try_from_iter([("method", method), ("user_id", user_id), ("news_id", news_id)])?;
        let [method, user_id] = self.of.map(text);
        let diversity: ArrayRef = Arc::new(self.diversity.finish());
        let columns = [("method", method, false), ("user_id", user_id, false), ("diversity", diversity, true)];
        Ok((lists, RecordBatch::try_from_iter_with_nullable(columns)?))
    }
}

impl DescribeLists {
    /// The first k articles of each list, and how far apart they are. A list's rows lie together, by rank, and in one batch with its user's.
    fn described(&self, rows: &RecommendationsColumns, vectors: &Vectors) -> Result<(RecordBatch, RecordBatch)> {
        let RecommendationsColumns { method, user_id, rank, news_id, .. } = rows;
        let mut listed = Listed::default();
        let kept: Vec<usize> = (0..rank.len()).filter(|&row| rank.value(row) as u32 <= self.k).collect();
        for list in kept.chunk_by(|a, b| user_id.value(*a) == user_id.value(*b)) {
            for &row in list {
                let [methods, users, news] = &mut listed.lists;
                methods.append_value(method.value(row));
                users.append_value(user_id.value(row));
                news.append_value(news_id.value(row));
            }
            let [methods, users] = &mut listed.of;
            methods.append_value(method.value(list[0]));
            users.append_value(user_id.value(list[0]));
            listed.diversity.append_option(vectors.distance(list.iter().map(|&row| news_id.value(row))));
        }
        listed.finish()
    }
}

/// Vectors of articles by their ids.
#[derive(Debug, Default)]
struct Vectors(HashMap<String, Vec<f32>>);

impl Vectors {
    fn read(vectors: &Whole<NewsVectors>) -> Result<Self> {
        let mut all = Vectors::default();
        for part in vectors.parts() {
            for batch in part?.batches() {
                let (ids, vectors) = (NewsVectors::news_id.of(batch)?, NewsVectors::vector.of(batch)?);
                all.0.extend((0..batch.num_rows()).map(|row| (ids.value(row).to_owned(), vectors.row(row).to_vec())));
            }
        }
        Ok(all)
    }

    /// The mean cosine distance of two of these articles that have vectors of unit length; none of fewer than two. Of n vectors the cosines of
    /// all pairs sum to (|Σ v|² - Σ |v|²) / 2.
    fn distance<'a>(&self, articles: impl Iterator<Item = &'a str>) -> Option<f64> {
        let (mut sum, mut squares, mut n) = (Vec::new(), 0.0, 0.0);
        for vector in articles.filter_map(|article| self.0.get(article)) {
            sum.resize(vector.len(), 0.0);
            for (sum, x) in sum.iter_mut().zip(vector) {
                *sum += f64::from(*x);
                squares += f64::from(*x).powi(2);
            }
            n += 1.0;
        }
        let pairs = sum.iter().map(|x| x * x).sum::<f64>() - squares;
        (n > 1.0).then(|| 1.0 - pairs / (n * (n - 1.0)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_lists_distance_is_the_mean_over_its_pairs(vectors in prop::collection::vec(prop::array::uniform3(-1.0_f32..1.0), 2..8)) {
            let unit = |v: &[f32; 3]| {
                let length = v.iter().map(|x| x * x).sum::<f32>().sqrt().max(1e-3);
                v.iter().map(|x| x / length).collect::<Vec<f32>>()
            };
            let vectors: Vec<Vec<f32>> = vectors.iter().map(unit).collect();
            let names: Vec<String> = (0..vectors.len()).map(|n| n.to_string()).collect();
            let all = Vectors(names.iter().cloned().zip(vectors.clone()).collect());
            let mut distances = Vec::new();
            for (at, a) in vectors.iter().enumerate() {
                for b in &vectors[..at] {
                    distances.push(1.0 - a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>());
                }
            }
            let expected = distances.iter().sum::<f64>() / distances.len() as f64;
            let got = all.distance(names.iter().map(String::as_str).chain(["unknown"])).unwrap();
            prop_assert!((got - expected).abs() < 1e-9, "{got} {expected}");
            prop_assert_eq!(all.distance(["0", "unknown"].into_iter()), None);
        }
    }
}
