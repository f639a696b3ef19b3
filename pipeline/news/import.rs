//! `import`: lists that another system recommends, as `recommendations.<method>`, so that they are evaluated like ours.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{Array, ArrayRef, AsArray, Float32Array, RecordBatch, StringArray, UInt32Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use dataset::bucket::{bucket, hex, unhex};
use dataset::plan::{Digest, digest, file_digest};
use dataset::{Account, Done, Error, Input, InputRef, Result, Rows, Source, Stage, UserKey, from_columns};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use schemas::{Profiles, Recommendations};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::Pool;

/// Which columns of the files are what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ImportColumns {
    /// The user: the platform's id, or ours when `hashed`.
    pub user: String,
    /// The article's id.
    pub news_id: String,
    /// From 1, best first. Without such a column `score` decides.
    pub rank: String,
    /// Larger is better, as 32-bit floats; of equal ones the greater id comes first, as in trec_eval.
    pub score: String,
    /// Users are ours already: 32 hex digits.
    pub hashed: bool,
}

impl Default for ImportColumns {
    fn default() -> Self {
        ImportColumns {
            user: "user_id".into(),
            news_id: "news_id".into(),
            rank: "rank".into(),
            score: "score".into(),
            hashed: false,
        }
    }
}

/// One row: an article of a user's list.
#[derive(Debug, Clone, PartialEq)]
pub struct Listed {
    /// Our id.
    pub user: [u8; 16],
    /// Its place, if the file has one.
    pub rank: Option<i64>,
    /// Its score.
    pub score: f32,
    /// The article.
    pub news_id: String,
}

/// The files' rows by bucket, and the users who have a profile.
#[derive(Debug)]
pub struct Lists {
    files: Vec<PathBuf>,
    columns: ImportColumns,
    key: UserKey,
    key_check: String,
    content: Digest,
    profiles: Input<Profiles>,
    buckets: Vec<Mutex<Vec<Listed>>>,
}

impl Lists {
    /// Files to import; they are read when the runner asks for it.
    pub fn new(files: Vec<PathBuf>, columns: ImportColumns, key: UserKey, profiles: Input<Profiles>) -> Result<Self> {
        let key_check = key.check();
        let digests: Vec<String> = files.iter().map(|file| Ok(file_digest(file)?.0)).collect::<Result<_>>()?;
        let content = digest(&json!([digests, columns]));
        let buckets = (0..profiles.partitions()).map(|_| Mutex::default()).collect();
        let profiles = profiles.columns(&["user_id"]);
        Ok(Lists { files, columns, key, key_check, content, profiles, buckets })
    }

    fn read_file(&self, path: &Path) -> Result<()> {
        let bad = |what: String, hint: &str| Error::unreadable(path.display(), what, hint);
        let file = File::open(path).map_err(|e| Error::io(path.display(), e))?;
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).and_then(|builder| builder.build());
        let reader = reader.map_err(|e| bad(format!("expected Parquet: {e}"), "export the lists as Parquet"))?;
        let mut first_row = 0;
        for batch in reader {
            let batch = batch.map_err(|e| bad(format!("expected Parquet: {e}"), "copy the file again"))?;
            self.read_batch(path, &batch, first_row)?;
            first_row += batch.num_rows();
        }
        Ok(())
    }

    fn read_batch(&self, path: &Path, batch: &RecordBatch, first_row: usize) -> Result<()> {
        let ImportColumns { user, news_id, rank, score, hashed } = &self.columns;
        let names: Vec<String> = batch.schema().fields().iter().map(|f| f.name().clone()).collect();
        let column = |name: &str, to: &DataType| -> Result<Option<ArrayRef>> {
            let Some(column) = batch.column_by_name(name) else { return Ok(None) };
            let wrong = || format!("column {name}: expected {to} without nulls, got {}", column.data_type());
            let hint = "mend the export; see `querent import --help`";
            let cast = cast(column, to).map_err(|_| Error::unreadable(path.display(), wrong(), hint))?;
            match (0..cast.len()).find(|&row| cast.is_null(row)) {
                Some(row) => {
                    let what = format!("row {}, column {name}: expected {to}, got null or none", first_row + row + 1);
                    Err(Error::unreadable(path.display(), what, hint))
                }
                None => Ok(Some(cast)),
            }
        };
        let missing = |name: &str| {
            let what = format!("expected a column {name}, got {}", names.join(", "));
            Error::unreadable(
                path.display(),
                what,
                "name the columns with --user-column, --news-id-column, --rank-column, --score-column",
            )
        };
        let users = column(user, &DataType::Utf8)?.ok_or_else(|| missing(user))?;
        let news = column(news_id, &DataType::Utf8)?.ok_or_else(|| missing(news_id))?;
        let ranks = column(rank, &DataType::Int64)?;
        let scores = column(score, &DataType::Float64)?;
        if ranks.is_none() && scores.is_none() {
            return Err(missing(&format!("{rank} or {score}")));
        }
        let (users, news) = (users.as_string::<i32>(), news.as_string::<i32>());
        let ranks = ranks.as_ref().map(|ranks| ranks.as_primitive::<Int64Type>());
        let scores = scores.as_ref().map(|scores| scores.as_primitive::<Float64Type>());
        for row in 0..batch.num_rows() {
            let at = |column: &str, expected: &str, got: String| {
                let what = format!("row {}, column {column}: expected {expected}, got {got}", first_row + row + 1);
                Error::unreadable(path.display(), what, "mend the export")
            };
            let raw = users.value(row);
            let id = match hashed {
                true => unhex(raw).ok_or_else(|| at(user, "32 hex digits", format!("{} characters", raw.len())))?,
                false => self.key.user_id(raw.as_bytes()),
            };
            let rank_here = ranks.map(|ranks| ranks.value(row));
            if let Some(got) = rank_here.filter(|rank| *rank < 1) {
                return Err(at(rank, "a rank from 1", got.to_string()));
            }
            let score_here = scores.map_or(0.0, |scores| scores.value(row) as f32);
            if score_here.is_nan() {
                return Err(at(score, "a number", "NaN".into()));
            }
            let listed = Listed { user: id, rank: rank_here, score: score_here, news_id: news.value(row).to_owned() };
            let mut bucket = self.buckets[bucket(&id, self.buckets.len() as u32) as usize]
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            bucket.push(listed);
        }
        Ok(())
    }
}

impl Source for Lists {
    type Rows = (Vec<Listed>, Rows<Profiles>);

    fn partitions(&self) -> u32 {
        self.profiles.partitions()
    }

    fn inputs(&self) -> BTreeMap<String, InputRef> {
        let files = InputRef { version: 1, content: self.content.clone() };
        self.profiles.inputs().into_iter().chain([("files".to_owned(), files)]).collect()
    }

    fn key(&self, partition: u32) -> Digest {
        digest(&json!([self.content, self.profiles.key(partition), partition]))
    }

    fn memory_bytes(&self, partition: u32) -> u64 {
        64 * self.buckets[partition as usize].lock().unwrap_or_else(PoisonError::into_inner).len() as u64
    }

    fn user_key_check(&self) -> Option<&str> {
        // Ids that are ours already carry the key of whoever made them: the profiles'.
        if self.columns.hashed { self.profiles.user_key_check() } else { Some(&self.key_check) }
    }

    fn prepare(&self) -> Result<()> {
        if self.profiles.user_key_check() != self.user_key_check() {
            return Err(Error::OtherKey {
                dataset: "profiles".into(),
                expected: self.key_check.clone(),
                got: self.profiles.user_key_check().unwrap_or("none").into(),
            });
        }
        self.files.iter().try_for_each(|file| self.read_file(file))
    }

    fn read(&self, partition: u32) -> Result<Self::Rows> {
        let mut bucket = self.buckets[partition as usize].lock().unwrap_or_else(PoisonError::into_inner);
        Ok((std::mem::take(&mut *bucket), self.profiles.read(partition)?))
    }
}

/// Puts lists in order: ranks without gaps, each article once.
#[derive(Debug, Serialize)]
pub struct Import<'a> {
    /// What the lists are called.
    pub method: String,
    /// All articles, to count unknown ones.
    #[serde(skip)]
    pub news: &'a Pool,
}

impl Stage for Import<'_> {
    const NAME: &'static str = "import";
    const VERSION: u32 = 1;
    const UNIT: &'static str = "rows";
    type Inputs = (Vec<Listed>, Rows<Profiles>);
    type Outputs = Rows<Recommendations>;

    fn run(&self, _: u32, (rows, profiles): Self::Inputs) -> Result<Done<Self::Outputs>> {
        let mut known: HashSet<[u8; 16]> = HashSet::new();
        for batch in profiles.batches() {
            known.extend(Rows::<Profiles>::column::<StringArray>(batch, "user_id")?.iter().flatten().filter_map(unhex));
        }
        let mut account = Account { input: rows.len() as u64, ..Account::default() };
        let ordered = in_order(rows)?;
        account.output = ordered.len() as u64;
        account.drop("an article again in one list", account.input - account.output);
        let unknown = ordered.iter().filter(|(listed, _)| self.news.number(&listed.news_id).is_none()).count();
        account.note("unknown articles", unknown as u64);
        let strangers = ordered.iter().filter(|(listed, _)| !known.contains(&listed.user)).count();
        account.note("of users without a profile", strangers as u64);
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(vec![self.method.as_str(); ordered.len()])),
            Arc::new(ordered.iter().map(|(listed, _)| Some(hex(&listed.user))).collect::<StringArray>()),
            Arc::new(ordered.iter().map(|(_, rank)| *rank).collect::<UInt32Array>()),
            Arc::new(ordered.iter().map(|(listed, _)| Some(listed.news_id.as_str())).collect::<StringArray>()),
            Arc::new(ordered.iter().map(|(listed, _)| listed.score).collect::<Float32Array>()),
            Arc::new(StringArray::new_null(ordered.len())),
        ];
        Ok(Done { outputs: Rows::new(vec![from_columns::<Recommendations>(columns)?]), accounts: vec![account] })
    }
}

/// Rows by user, best first, with ranks from 1: an article that is in a list twice counts where it stands first.
///
/// # Errors
/// When two articles of a user have the same rank.
pub fn in_order(mut rows: Vec<Listed>) -> Result<Vec<(Listed, u32)>> {
    rows.sort_unstable_by(|a, b| {
        let better = b.score.total_cmp(&a.score).then_with(|| b.news_id.cmp(&a.news_id));
        a.user.cmp(&b.user).then(a.rank.cmp(&b.rank)).then(better)
    });
    if let Some(twice) =
        rows.windows(2).find(|w| w[0].user == w[1].user && w[0].rank.is_some() && w[0].rank == w[1].rank)
    {
        let what = format!("expected each rank once, got rank {} twice", twice[0].rank.unwrap_or_default());
        let hint = "mend the export, or leave the rank out and give a score";
        return Err(Error::unreadable(format!("the list of user {}", hex(&twice[0].user)), what, hint));
    }
    let mut ordered: Vec<(Listed, u32)> = Vec::with_capacity(rows.len());
    let mut taken: HashSet<String> = HashSet::new();
    for listed in rows {
        let rank = match ordered.last() {
            Some((last, rank)) if last.user == listed.user => rank + 1,
            _ => {
                taken.clear();
                1
            }
        };
        if taken.insert(listed.news_id.clone()) {
            ordered.push((listed, rank));
        }
    }
    Ok(ordered)
}
