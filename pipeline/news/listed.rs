//! Rows of imported lists: as others' files have them, as they are sent to buckets, and in order.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeBinaryArray, FixedSizeBinaryBuilder, Float32Array, Float32Builder, Int64Array,
    Int64Builder, RecordBatch, StringArray, StringBuilder,
};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type, Schema, SchemaRef};
use dataset::bucket::{hex, unhex};
use dataset::ids::{self, Reason};
use dataset::{Error, Result, UserKey};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

use crate::ImportColumns;

/// Rows of lists: an article of a user's list each.
#[derive(Debug)]
pub(crate) struct Listed {
    user: FixedSizeBinaryArray,
    /// Its place, if the file has one.
    rank: Int64Array,
    score: Float32Array,
    news_id: StringArray,
}

impl Listed {
    /// The columns as they are sent.
    pub(crate) fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![
            Field::new("user", DataType::FixedSizeBinary(16), false),
            Field::new("rank", DataType::Int64, true),
            Field::new("score", DataType::Float32, false),
            Field::new("news_id", DataType::Utf8, false),
        ]))
    }

    /// Rows that were sent.
    pub(crate) fn of(batches: Vec<RecordBatch>) -> Result<Self> {
        let batch = concat_batches(&Self::schema(), &batches)?;
        Ok(Listed {
            user: batch.column(0).as_fixed_size_binary().clone(),
            rank: batch.column(1).as_primitive().clone(),
            score: batch.column(2).as_primitive().clone(),
            news_id: batch.column(3).as_string().clone(),
        })
    }

    /// The rows, to be sent.
    pub(crate) fn into_batch(self) -> Result<RecordBatch> {
        let Listed { user, rank, score, news_id } = self;
        let columns: Vec<ArrayRef> = vec![Arc::new(user), Arc::new(rank), Arc::new(score), Arc::new(news_id)];
        Ok(RecordBatch::try_new(Self::schema(), columns)?)
    }

    pub(crate) fn len(&self) -> usize {
        self.user.len()
    }

    /// Our id of a row's user.
    pub(crate) fn user(&self, row: usize) -> [u8; 16] {
        let mut id = [0; 16];
        id.copy_from_slice(self.user.value(row));
        id
    }

    pub(crate) fn news_id(&self, row: usize) -> &str {
        self.news_id.value(row)
    }

    pub(crate) fn score(&self, row: usize) -> f32 {
        self.score.value(row)
    }

    fn rank(&self, row: usize) -> Option<i64> {
        self.rank.is_valid(row).then(|| self.rank.value(row))
    }

    /// By user, best first: by rank, else by score, of equal scores the greater id.
    fn compare(&self, a: usize, b: usize) -> Ordering {
        let by_user = self.user.value(a).cmp(self.user.value(b)).then(self.rank(a).cmp(&self.rank(b)));
        let better = || self.score(b).total_cmp(&self.score(a)).then_with(|| self.news_id(b).cmp(self.news_id(a)));
        by_user.then_with(better)
    }
}

/// Rows by user, best first, with ranks from 1: an article that is in a list twice counts where it stands first.
///
/// # Errors
/// When two articles of a user have the same rank.
pub(crate) fn in_order(listed: &Listed) -> Result<Vec<(usize, i32)>> {
    let mut rows: Vec<usize> = (0..listed.len()).collect();
    rows.sort_unstable_by(|a, b| listed.compare(*a, *b));
    let mut ordered: Vec<(usize, i32)> = Vec::with_capacity(rows.len());
    let mut taken: HashSet<&str> = HashSet::new();
    for list in rows.chunk_by(|a, b| listed.user.value(*a) == listed.user.value(*b)) {
        let same = |pair: &&[usize]| listed.rank(pair[0]).is_some() && listed.rank(pair[0]) == listed.rank(pair[1]);
        if let Some(twice) = list.windows(2).find(same) {
            let rank = listed.rank(twice[0]).unwrap_or_default();
            let hint = "mend the export, or leave the rank out and give a score";
            let what = format!("expected each rank once, got rank {rank} twice");
            return Err(Error::unreadable(format!("the list of user {}", hex(&listed.user(twice[0]))), what, hint));
        }
        taken.clear();
        let first = list.iter().filter(|row| taken.insert(listed.news_id(**row)));
        ordered.extend(first.copied().zip(1..));
    }
    Ok(ordered)
}

/// A file of lists, read some rows at a time.
pub(crate) struct ListsFile<'a> {
    path: PathBuf,
    columns: &'a ImportColumns,
    key: Option<&'a UserKey>,
    batches: ParquetRecordBatchReader,
    /// Rows before the next batch.
    row: usize,
}

impl<'a> ListsFile<'a> {
    /// Opens a file. Without a key its ids are ours already.
    pub(crate) fn open(path: &Path, columns: &'a ImportColumns, key: Option<&'a UserKey>) -> Result<Self> {
        let bad = |what: String| Error::unreadable(path.display(), what, "export the lists as Parquet");
        let file = File::open(path).map_err(Error::at(path))?;
        let builder =
            ParquetRecordBatchReaderBuilder::try_new(file).map_err(|e| bad(format!("expected Parquet: {e}")))?;
        let there: Vec<String> = builder.schema().fields().iter().map(|field| field.name().clone()).collect();
        let ImportColumns { user_column, news_id_column, rank_column, score_column, .. } = columns;
        let has = |name: &String| there.contains(name);
        let missing = match (has(user_column), has(news_id_column), has(rank_column) || has(score_column)) {
            (false, ..) => Some(user_column.clone()),
            (_, false, _) => Some(news_id_column.clone()),
            (.., false) => Some(format!("{rank_column} or {score_column}")),
            _ => None,
        };
        if let Some(missing) = missing {
            let what = format!("expected a column {missing}, got {}", there.join(", "));
            let hint = "name the columns with --user-column, --news-id-column, --rank-column, --score-column";
            return Err(Error::unreadable(path.display(), what, hint));
        }
        let wanted = [user_column, news_id_column, rank_column, score_column];
        let roots = there.iter().enumerate().filter(|(_, name)| wanted.contains(name)).map(|(at, _)| at);
        let mask = ProjectionMask::roots(builder.parquet_schema(), roots);
        let batches = builder.with_projection(mask).build().map_err(|e| bad(format!("expected Parquet: {e}")))?;
        Ok(ListsFile { path: path.into(), columns, key, batches, row: 0 })
    }

    /// The next rows, about as many as so many bytes hold; none when there are no more.
    ///
    /// # Errors
    /// When a row is none: file, row, column, expected and got.
    pub(crate) fn read(&mut self, budget_bytes: usize) -> Result<Option<Listed>> {
        let mut rows = Builder::default();
        while rows.bytes() < budget_bytes {
            let Some(batch) = self.batches.next() else { break };
            let damaged =
                |e| Error::unreadable(self.path.display(), format!("expected Parquet: {e}"), "copy the file again");
            let batch = batch.map_err(damaged)?;
            self.add(&batch, &mut rows)?;
            self.row += batch.num_rows();
        }
        rows.finish()
    }

    fn column(&self, batch: &RecordBatch, name: &str, to: &DataType) -> Result<Option<ArrayRef>> {
        let Some(column) = batch.column_by_name(name) else { return Ok(None) };
        let hint = "mend the export; see `querent import --help`";
        let wrong = |what: String| Error::unreadable(self.path.display(), what, hint);
        let got = column.data_type();
        let cast =
            cast(column, to).map_err(|_| wrong(format!("column {name}: expected {to} without nulls, got {got}")))?;
        match (0..cast.len()).find(|&row| cast.is_null(row)) {
            Some(row) => {
                Err(wrong(format!("row {}, column {name}: expected {to}, got null or none", self.row + row + 1)))
            }
            None => Ok(Some(cast)),
        }
    }

    fn add(&self, batch: &RecordBatch, rows: &mut Builder) -> Result<()> {
        let ImportColumns { user_column, news_id_column, rank_column, score_column, .. } = self.columns;
        let columns =
            (self.column(batch, user_column, &DataType::Utf8)?, self.column(batch, news_id_column, &DataType::Utf8)?);
        let (Some(users), Some(news)) = columns else { return Ok(()) };
        let (users, news) = (users.as_string::<i32>(), news.as_string::<i32>());
        let ranks = self.column(batch, rank_column, &DataType::Int64)?;
        let scores = self.column(batch, score_column, &DataType::Float64)?;
        let ranks = ranks.as_ref().map(|ranks| ranks.as_primitive::<Int64Type>());
        let scores = scores.as_ref().map(|scores| scores.as_primitive::<Float64Type>());
        for row in 0..batch.num_rows() {
            let at = |column: &str, expected: &str, got: String| {
                let what = format!("row {}, column {column}: expected {expected}, got {got}", self.row + row + 1);
                Error::unreadable(self.path.display(), what, "mend the export")
            };
            let raw = users.value(row);
            let user = match self.key {
                Some(key) => {
                    let id = there(ids::id(raw.as_bytes(), true)).map_err(|got| at(user_column, "an id", got))?;
                    key.user_id(&id)
                }
                None => {
                    unhex(raw).ok_or_else(|| at(user_column, "32 hex digits", format!("{} characters", raw.len())))?
                }
            };
            let article = ids::article_id(news.value(row).as_bytes(), true);
            let article = there(article).map_err(|got| at(news_id_column, "an id", got))?;
            let rank = ranks.map(|ranks| ranks.value(row));
            if let Some(got) = rank.filter(|rank| *rank < 1) {
                return Err(at(rank_column, "a rank from 1", got.to_string()));
            }
            let score = scores.map_or(0.0, |scores| scores.value(row) as f32);
            if score.is_nan() {
                return Err(at(score_column, "a number", "NaN".into()));
            }
            rows.user.append_value(user)?;
            rows.rank.append_option(rank);
            rows.score.append_value(score);
            rows.news_id.append_value(article);
        }
        Ok(())
    }
}

/// An id, or what there is instead of one.
fn there<T>(id: Result<Option<T>, Reason>) -> Result<T, String> {
    match id {
        Ok(Some(id)) => Ok(id),
        Ok(None) => Err("none".to_owned()),
        Err(why) => Err(why.into_owned()),
    }
}

/// Rows in the making.
struct Builder {
    user: FixedSizeBinaryBuilder,
    rank: Int64Builder,
    score: Float32Builder,
    news_id: StringBuilder,
}

impl Default for Builder {
    fn default() -> Self {
        let (rank, score, news_id) = (Int64Builder::new(), Float32Builder::new(), StringBuilder::new());
        Builder { user: FixedSizeBinaryBuilder::new(16), rank, score, news_id }
    }
}

impl Builder {
    fn bytes(&self) -> usize {
        use arrow::array::ArrayBuilder;
        self.user.len() * (16 + 8 + 4 + 4) + self.news_id.values_slice().len()
    }

    fn finish(mut self) -> Result<Option<Listed>> {
        let user = self.user.finish();
        let (rank, score, news_id) = (self.rank.finish(), self.score.finish(), self.news_id.finish());
        Ok((!user.is_empty()).then_some(Listed { user, rank, score, news_id }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(rows: &[(u8, Option<i64>, f32, &str)]) -> Result<Listed> {
        let mut builder = Builder::default();
        for (user, rank, score, news_id) in rows {
            builder.user.append_value([*user; 16])?;
            builder.rank.append_option(*rank);
            builder.score.append_value(*score);
            builder.news_id.append_value(news_id);
        }
        Ok(builder.finish()?.expect("rows"))
    }

    fn order(rows: &[(u8, Option<i64>, f32, &str)]) -> Result<Vec<(u8, i32, String)>> {
        let listed = Listed::of(vec![listed(rows)?.into_batch()?])?;
        let named = |(row, rank)| (listed.user(row)[0], rank, listed.news_id(row).to_owned());
        Ok(in_order(&listed)?.into_iter().map(named).collect())
    }

    #[test]
    fn ranks_have_no_gaps_and_an_article_counts_where_it_stands_first() -> Result<()> {
        let rows = [(2, Some(9), 0.0, "a"), (1, Some(7), 0.0, "b"), (1, Some(3), 0.0, "a"), (1, Some(9), 0.0, "a")];
        let expected = [(1, 1, "a"), (1, 2, "b"), (2, 1, "a")];
        assert_eq!(order(&rows)?, expected.map(|(user, rank, id)| (user, rank, id.to_owned())));
        Ok(())
    }

    #[test]
    fn scores_decide_where_there_are_no_ranks() -> Result<()> {
        let rows = [(1, None, 0.5, "a"), (1, None, 0.5, "b"), (1, None, 0.9, "c"), (1, None, 0.1, "c")];
        assert_eq!(order(&rows)?.into_iter().map(|(.., id)| id).collect::<Vec<_>>(), ["c", "b", "a"]);
        Ok(())
    }

    #[test]
    fn a_rank_twice_is_refused() -> Result<()> {
        let error =
            order(&[(1, Some(3), 0.0, "a"), (2, Some(3), 0.0, "a"), (1, Some(3), 0.0, "b")]).expect_err("twice");
        assert!(error.to_string().contains("rank 3 twice"), "{error}");
        assert_eq!(error.exit_code(), 3);
        Ok(())
    }
}
