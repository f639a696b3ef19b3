//! A bucket's user-days in the order of users and days, with users as numbers, and with what each user did so far: what SQL adds up fastest.
//! Running sums by its windows take longer than all the rest.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int32Array, Int64Array, RecordBatch, StringArray, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::{DataType, Field, Int32Type, Schema, SchemaRef};
use dataset::bucket::hex;
use dataset::{Error, Result};

use super::checked::schema;

/// The columns of rows on their way to their users' buckets: checked rows, each under our id of 16 bytes.
pub(super) fn sent() -> SchemaRef {
    with_user(Field::new("user_id", DataType::FixedSizeBinary(16), false))
}

/// Checked rows with another column in the place of the user's id.
fn with_user(user: Field) -> SchemaRef {
    let rest = schema().fields().iter().skip(1).cloned().collect::<Vec<_>>();
    Arc::new(Schema::new([vec![Arc::new(user)], rest].concat()))
}

/// A bucket's rows.
#[derive(Debug)]
pub(super) struct Numbered {
    /// By user and day: checked rows, whose `user` is the place of its id in `ids`; `all_active`, `all_impressions` and `all_clicks`, a user's
    /// sums until that row; `entered`, 1 on a user's first row; `again`, 1 where the user has a row of that day before.
    pub(super) days: RecordBatch,
    pub(super) ids: Ids,
}

/// The ids of a bucket's users, in their order.
#[derive(Debug)]
pub(super) struct Ids(Vec<[u8; 16]>);

impl Numbered {
    /// Of rows as they were sent.
    pub(super) fn of(rows: &[RecordBatch]) -> Result<Numbered> {
        let rows = concat_batches(&sent(), rows)?;
        let (raw, days) = (rows.column(0).as_fixed_size_binary(), rows.column(1).as_primitive::<Int32Type>());
        let id = |row: usize| <[u8; 16]>::try_from(raw.value(row)).map_err(|_| Error::bug("an id of 16 bytes"));
        let mut order: Vec<([u8; 16], i32, u32)> = Vec::with_capacity(rows.num_rows());
        for row in 0..rows.num_rows() {
            order.push((id(row)?, days.value(row), row as u32));
        }
        order.sort_unstable();
        let mut ids: Vec<[u8; 16]> = Vec::new();
        let [mut users, mut entered, mut again] = [(); 3].map(|()| Vec::with_capacity(order.len()));
        let mut before = None;
        for (id, day, _) in &order {
            let first = ids.last() != Some(id);
            if first {
                ids.push(*id);
            }
            users.push(ids.len() as i32 - 1);
            entered.push(i32::from(first));
            again.push(i32::from(before == Some((id, day))));
            before = Some((id, day));
        }
        let sorted = take_record_batch(&rows, &UInt32Array::from_iter_values(order.iter().map(|(.., row)| *row)))?;
        let mut fields = with_user(Field::new("user", DataType::Int32, false)).fields().to_vec();
        let mut columns = sorted.columns().to_vec();
        let so_far = |name: &str| -> ArrayRef {
            let counts = sorted.column_by_name(name).map(|counts| counts.as_primitive::<Int32Type>().values().to_vec());
            let mut sum = 0;
            let sums = counts.unwrap_or_default().into_iter().zip(&entered).map(|(count, entered)| {
                sum = i64::from(count) + if *entered == 1 { 0 } else { sum };
                sum
            });
            Arc::new(Int64Array::from_iter_values(sums))
        };
        let more: Vec<(String, ArrayRef)> =
            ["active", "impressions", "clicks"].map(|name| (format!("all_{name}"), so_far(name))).into();
        let flags = [("entered", entered), ("again", again)];
        let flags = flags.map(|(name, flags)| (name.to_owned(), Arc::new(Int32Array::from(flags)) as ArrayRef));
        columns[0] = Arc::new(Int32Array::from(users));
        for (name, column) in more.into_iter().chain(flags) {
            fields.push(Arc::new(Field::new(name, column.data_type().clone(), false)));
            columns.push(column);
        }
        Ok(Numbered { days: RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?, ids: Ids(ids) })
    }
}

impl Ids {
    /// A query's rows, one per user in their order, with the users' ids as a column more.
    pub(super) fn join(&self, users: &[RecordBatch]) -> Result<RecordBatch> {
        let schema = users.first().ok_or_else(|| Error::bug("a query's result without its columns"))?.schema();
        let users = concat_batches(&schema, users)?;
        let ids = StringArray::from_iter_values(self.0.iter().map(|id| hex(id)));
        let field = Arc::new(Field::new("user_id", DataType::Utf8, false));
        let fields = schema.fields().iter().cloned().chain([field]).collect::<Vec<_>>();
        let columns = users.columns().iter().cloned().chain([Arc::new(ids) as _]).collect();
        // A length of its own is refused.
        Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::FixedSizeBinaryArray;
    use arrow::buffer::Buffer;
    use arrow::compute::cast;
    use arrow::datatypes::Int64Type;
    use proptest::prelude::*;

    use super::*;

    /// A row as it is sent: user, day, active, impressions, clicks.
    type Row = (u8, i32, i32, i32, i32);

    fn sent_rows(rows: &[Row]) -> RecordBatch {
        let ids: Vec<u8> = rows.iter().flat_map(|row| [row.0; 16]).collect();
        let ids = FixedSizeBinaryArray::try_new(16, Buffer::from_vec(ids), None);
        let counts = |of: fn(&Row) -> i32| Arc::new(Int32Array::from_iter_values(rows.iter().map(of))) as ArrayRef;
        let nothing = || Arc::new(Int32Array::new_null(rows.len())) as ArrayRef;
        let columns = vec![
            Arc::new(ids.expect("16 bytes each")) as ArrayRef,
            counts(|row| row.1),
            Arc::new(StringArray::from(vec!["a"; rows.len()])),
            counts(|row| row.2),
            counts(|row| row.3),
            counts(|row| row.4),
            counts(|_| 0),
            nothing(),
            nothing(),
            nothing(),
        ];
        RecordBatch::try_new(sent(), columns).expect("as they are sent")
    }

    proptest! {
        /// Whatever the order and the batches: each row once, by user and day, with sums over the user's rows until it.
        #[test]
        fn sums_are_those_of_the_rows_until_then(
            rows in proptest::collection::vec((0_u8..4, 0..4, 0..2, 0..i32::MAX, 0..9), 1..30),
            cut in 0_usize..30,
        ) {
            let (first, second) = rows.split_at(cut.min(rows.len()));
            let Numbered { days, ids } = Numbered::of(&[sent_rows(first), sent_rows(second)]).expect("sound");
            let column = |name: &str| -> Vec<i64> {
                let column = cast(days.column_by_name(name).expect(name), &DataType::Int64).expect("numbers");
                column.as_primitive::<Int64Type>().values().to_vec()
            };
            let [users, day, entered, again] = ["user", "day", "entered", "again"].map(column);
            let counts = ["active", "impressions", "clicks"].map(column);
            let sums = ["all_active", "all_impressions", "all_clicks"].map(column);
            let mut found = Vec::new();
            for row in 0..days.num_rows() {
                let user = ids.0[users[row] as usize];
                let before: Vec<usize> = (0..row).filter(|before| users[*before] == users[row]).collect();
                prop_assert_eq!(entered[row] == 1, before.is_empty());
                prop_assert_eq!(again[row] == 1, before.iter().any(|before| day[*before] == day[row]));
                prop_assert!(before.iter().all(|before| day[*before] <= day[row]));
                for (counts, sums) in counts.iter().zip(&sums) {
                    prop_assert_eq!(sums[row], counts[row] + before.iter().map(|before| counts[*before]).sum::<i64>());
                }
                found.push((user[0], day[row] as i32, counts[0][row] as i32, counts[1][row] as i32, counts[2][row] as i32));
            }
            let mut expected = rows;
            expected.sort_unstable();
            found.sort_unstable();
            prop_assert_eq!(found, expected);
            prop_assert!(ids.0.is_sorted() && users.is_sorted());
        }
    }
}
