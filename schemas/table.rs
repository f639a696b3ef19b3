//! The macros that make a table from one definition.
//!
//! ```text
//! table! {
//!     /// One row per user and article clicked in the window.
//!     Truth, TruthColumns {
//!         name: "truth",
//!         version: 1,
//!         about: "one row per user and article clicked in the evaluation window",
//!         layout: Users,
//!         key: [user_id, news_id],
//!         order: [user_id, news_id],                      // `occurred_at descending`: largest first
//!         columns: {
//!             user_id: Id = "keyed hash of the platform's own id",
//!             news_id: Option<Text> = "the article",      // an Option may be null
//!         }
//!     }
//! }
//! ```
//!
//! gives `Truth` with its [`Table`](crate::Table), a token per column (`Truth::user_id`), and `TruthColumns`, whose fields are the
//! columns' arrays. Key and order are columns' names, or it does not compile.

/// Columns side by side, as a struct of typed arrays.
macro_rules! record {
    ($(#[$doc:meta])* $record:ident { $($column:ident: $kind:ty = $about:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone)]
        pub struct $record {
            $(#[doc = $about] pub $column: <$kind as $crate::kind::Kind>::Values,)+
        }

        impl $crate::kind::Record for $record {
            fn columns() -> Vec<$crate::Column> {
                vec![$($crate::Column {
                    name: $crate::column::plain(stringify!($column)),
                    data_type: <<$kind as $crate::kind::Kind>::Values as $crate::kind::Values>::data_type(),
                    nullable: <$kind as $crate::kind::Kind>::NULLABLE,
                    about: $about,
                }),+]
            }

            fn into_arrays(self) -> Result<Vec<arrow::array::ArrayRef>, arrow::error::ArrowError> {
                Ok(vec![$($crate::kind::Values::into_array(self.$column)?),+])
            }

            fn from_arrays(arrays: &mut dyn Iterator<Item = &arrow::array::ArrayRef>) -> Option<Self> {
                Some($record { $($column: $crate::kind::Values::from_array(arrays.next()?)?),+ })
            }
        }
    };
}

/// A table: its contract, columns and tokens.
macro_rules! table {
    (
        $(#[$doc:meta])*
        $table:ident, $record:ident {
            name: $name:literal,
            version: $version:literal,
            about: $about:literal,
            layout: $layout:ident,
            key: [$($key:ident),*],
            order: [$($order:ident $($descending:ident)?),*],
            columns: { $($column:ident: $kind:ty = $meaning:literal),+ $(,)? }
        }
    ) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $table;

        #[allow(non_upper_case_globals, reason = "a column's token is called as the column is")]
        impl $table {
            $(#[doc = $meaning]
            pub const $column: $crate::Col<Self, <$kind as $crate::kind::Kind>::Values> = $crate::Col::new(
                $crate::column::plain(stringify!($column)),
                <$kind as $crate::kind::Kind>::NULLABLE,
            );)+
        }

        impl $crate::Table for $table {
            type Columns = $record;
            const NAME: &'static str = $name;
            const VERSION: u32 = $version;
            const ABOUT: &'static str = $about;
            const LAYOUT: $crate::Layout = $crate::Layout::$layout;
            const KEY: &'static [&'static str] = &[$(Self::$key.name()),*];
            const ORDER: &'static [$crate::SortColumn] = &[$($crate::SortColumn {
                name: Self::$order.name(),
                descending: $crate::table::is_descending!($($descending)?),
            }),*];
        }

        $crate::table::record! {
            #[doc = concat!("Columns of `", $name, "`: ", $about, ".")]
            $record { $($column: $kind = $meaning),+ }
        }

        impl $record {
            /// The columns as a batch: [`Table::into_batch`](crate::Table::into_batch).
            ///
            /// # Errors
            /// When the columns differ in length, or one that is never null has nulls.
            pub fn into_batch(self) -> Result<arrow::array::RecordBatch, arrow::error::ArrowError> {
                <$table as $crate::Table>::into_batch(self)
            }

            /// A batch's columns: [`Table::from_batch`](crate::Table::from_batch).
            ///
            /// # Errors
            /// When a column is missing, has another type, or has nulls where the contract allows none.
            pub fn from_batch(batch: &arrow::array::RecordBatch) -> Result<Self, arrow::error::ArrowError> {
                <$table as $crate::Table>::from_batch(batch)
            }
        }
    };
}

macro_rules! is_descending {
    () => {
        false
    };
    (descending) => {
        true
    };
}

pub(crate) use {is_descending, record, table};

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Array, ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
    use arrow::buffer::OffsetBuffer;
    use arrow::error::ArrowError;

    use crate::every::{Every, EveryColumns, Visits, sample};
    use crate::{Lists, SortColumn, Table, Truth, TruthColumns, all};

    /// The batch with another array in place of a column, or without it.
    fn replaced(batch: &RecordBatch, column: &str, array: Option<ArrayRef>) -> RecordBatch {
        let columns = batch.schema_ref().fields().iter().zip(batch.columns()).filter_map(|(field, old)| {
            let array = if field.name() == column { array.clone()? } else { old.clone() };
            Some((field.name().clone(), array, true))
        });
        RecordBatch::try_from_iter_with_nullable(columns).unwrap()
    }

    fn message<T>(result: Result<T, ArrowError>) -> String {
        result.err().expect("an error").to_string()
    }

    #[test]
    fn what_a_definition_says_is_in_the_contract() {
        let contract = Every::contract();
        assert_eq!((contract.name, contract.version, contract.about), ("every", 3, "one row per row"));
        assert_eq!(contract.key, ["user_id", "type"]);
        let order = [("user_id", false), ("occurred_at", true)];
        assert_eq!(contract.order, order.map(|(name, descending)| SortColumn { name, descending }));
        assert_eq!(contract.columns[1].name, "type");
        assert_eq!(contract.columns.iter().filter(|c| c.nullable).count(), 4);
        assert_eq!(contract.columns[9].about, "where");
        assert_eq!(Every::r#type.name(), "type");
    }

    #[test]
    fn columns_of_every_kind_come_back_from_a_batch() {
        let batch = sample().into_batch().unwrap();
        assert_eq!(batch.schema(), Every::contract().schema());
        let back = EveryColumns::from_batch(&batch).unwrap();
        assert_eq!(back.clone().into_batch().unwrap(), batch);
        assert_eq!(back.vector.row(1), [1.0, 0.0]);
        assert_eq!(back.vector.flat(), [0.6, 0.8, 1.0, 0.0]);
        assert_eq!(back.queries.row(0).collect::<Vec<_>>(), ["solar storms", "aurora"]);
        assert_eq!(back.random.row(0), [-1]);
        let visits = back.visits.items();
        assert_eq!(back.visits.range(1), 1..3);
        assert_eq!(visits.domain.value(1), "browse");
        assert!(visits.news_id.is_null(1));
        assert_eq!(visits.words.row(2).collect::<Vec<_>>(), ["b", "c"]);
        assert!(!back.tags.is_null(0) && back.tags.is_null(1));
    }

    #[test]
    fn a_slice_of_a_batch_has_its_own_rows() {
        let batch = sample().into_batch().unwrap().slice(1, 1);
        let back = EveryColumns::from_batch(&batch).unwrap();
        assert_eq!(back.user_id.value(0), "1f");
        assert_eq!((back.vector.len(), back.vector.row(0), back.vector.flat()), (1, &[1.0, 0.0][..], &[1.0, 0.0][..]));
        let texts = back.visits.range(0).map(|visit| back.visits.items().domain.value(visit));
        assert_eq!(texts.collect::<Vec<_>>(), ["browse", "news"]);
        assert!(back.tags.is_null(0));
        assert_eq!(back.into_batch().unwrap(), batch);
    }

    #[test]
    fn every_table_is_made_of_no_rows() {
        fn check<T: Table>() {
            let empty = RecordBatch::new_empty(T::contract().schema());
            assert_eq!(T::into_batch(T::from_batch(&empty).unwrap()).unwrap(), empty, "{}", T::NAME);
        }
        macro_rules! check {
            ($($table:ident)+) => {
                $(check::<crate::$table>();)+
                assert_eq!([$(crate::$table::NAME),+].to_vec(), all().iter().map(|c| c.name).collect::<Vec<_>>());
            };
        }
        check! {
            RawSearches RawVisits RawClicks RawNews RawExperiment LatentInterests TrueLabels TrueLifts Events Quarantine
            RawFiles Erased News Truth Impressions Labels CleanerPredictions TextScores CleanEvents Borderline Profiles
            Statistics NewsVectors Popularity PolicyWeights PolicyOptimizer PolicyState TrainLog Rollouts Trials Interests
            Throughput Scores Recommendations Fallback UserMetrics Metrics Comparisons ListMetrics UserImpressions ImpressionMetrics ExperimentUsers ExperimentMoments Arms Lifts DailyLifts
        }
    }

    #[test]
    fn a_token_reads_its_column_from_some_of_them() {
        let batch = sample().into_batch().unwrap().project(&[9, 13, 16]).unwrap();
        assert_eq!(Every::rank.of(&batch).unwrap().value(1), 1);
        assert_eq!(Every::vector.of(&batch).unwrap().row(0), [0.6, 0.8]);
        assert_eq!(Every::visits.of(&batch).unwrap().items().domain.value(2), "news");
        assert_eq!(
            message(Every::tags.of(&batch)),
            "Schema error: table every, column tags: expected List(non-null Utf8), got no such column"
        );
    }

    #[test]
    fn a_wrong_column_is_named_with_what_was_expected_and_got() {
        let batch = sample().into_batch().unwrap();
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
        let read = |column, array| message(EveryColumns::from_batch(&replaced(&batch, column, array)));
        assert_eq!(
            read("user_id", Some(numbers.clone())),
            "Schema error: table every, column user_id: expected Utf8, got Int64"
        );
        assert_eq!(read("count", Some(numbers)), "Schema error: table every, column count: expected Int32, got Int64");
        assert_eq!(read("type", None), "Schema error: table every, column type: expected Utf8, got no such column");
        let gaps: ArrayRef = Arc::new(StringArray::from(vec![None, Some("1f")]));
        assert_eq!(
            read("user_id", Some(gaps.clone())),
            "Schema error: table every, column user_id: expected no nulls, got 1"
        );
        let some = replaced(&batch, "user_id", Some(gaps.clone()));
        assert_eq!(message(Every::user_id.of(&some)), read("user_id", Some(gaps)));
        let local: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![1, 2]));
        assert!(read("occurred_at", Some(local)).contains("column occurred_at: expected Timestamp"));
    }

    #[test]
    fn arrays_that_do_not_belong_together_make_no_batch() {
        let truth = |users: Vec<Option<&str>>| TruthColumns {
            user_id: users.into(),
            news_id: vec!["N1", "N2"].into(),
            occurred_at: vec![1, 2].into(),
        };
        assert!(truth(vec![Some("0f"), Some("1f")]).into_batch().is_ok());
        assert_eq!(
            message(truth(vec![Some("0f"), None]).into_batch()),
            "Schema error: table truth, column user_id: expected no nulls, got 1"
        );
        assert_eq!(
            message(truth(vec![Some("0f")]).into_batch()),
            "Schema error: table truth, column news_id: expected 1 rows, as in user_id, got 2 rows"
        );
        let short = Visits { domain: vec!["news"].into(), ..sample().visits.items().clone() };
        let visits = Lists::from_lengths([1, 2], short);
        assert!(EveryColumns { visits, ..sample() }.into_batch().is_err());
        let past_the_items = OffsetBuffer::from_lengths([2, 4]);
        let vector = Lists::new(past_the_items, vec![1.0; 4].into());
        assert!(EveryColumns { vector, ..sample() }.into_batch().is_err());
    }

    #[test]
    fn times_are_written_with_their_zone() {
        let batch = sample().into_batch().unwrap();
        assert_eq!(Every::occurred_at.of(&batch).unwrap().timezone(), Some("UTC"));
        assert_eq!(Every::visits.of(&batch).unwrap().items().visited_at.timezone(), Some("UTC"));
        assert_eq!(Truth::occurred_at.name(), "occurred_at");
    }
}
