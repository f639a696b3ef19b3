//! Lists, one per row, over items of a known type.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, ListArray, PrimitiveArray, StringArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field};
use arrow::error::ArrowError;

use crate::kind::Values;

/// A list per row. The items of all lists lie one after the other in one `A`; an item is never null.
///
/// ```
/// use schemas::Texts;
///
/// let queries: Texts = [vec!["solar storms", "aurora"], vec![]].into_iter().collect();
/// assert_eq!(queries.row(0).collect::<Vec<_>>(), ["solar storms", "aurora"]);
/// assert_eq!(queries.range(1), 2..2);
/// ```
#[derive(Debug, Clone)]
pub struct Lists<A> {
    offsets: OffsetBuffer<i32>,
    items: A,
    nulls: Option<NullBuffer>,
}

impl<A> Lists<A> {
    /// Lists that are cut out of `items`: row i has those from offset i up to offset i + 1.
    pub fn new(offsets: OffsetBuffer<i32>, items: A) -> Self {
        Lists { offsets, items, nulls: None }
    }

    /// Lists of these lengths, one after the other in `items`.
    ///
    /// # Panics
    /// When there are more than 2^31 - 1 items.
    pub fn from_lengths(lengths: impl IntoIterator<Item = usize>, items: A) -> Self {
        Self::new(OffsetBuffer::from_lengths(lengths), items)
    }

    /// The same, with null in place of some lists.
    pub fn with_nulls(self, nulls: Option<NullBuffer>) -> Self {
        Lists { nulls, ..self }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the list of a row is null.
    pub fn is_null(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    }

    /// Where in [`items`](Self::items) the list of a row lies.
    pub fn range(&self, row: usize) -> Range<usize> {
        self.offsets[row] as usize..self.offsets[row + 1] as usize
    }

    /// The items of all rows. There may be more of them, before the first row's and after the last's.
    pub fn items(&self) -> &A {
        &self.items
    }
}

impl<A: Values> Values for Lists<A> {
    fn data_type() -> DataType {
        DataType::List(item::<A>())
    }

    fn into_array(self) -> Result<ArrayRef, ArrowError> {
        Ok(Arc::new(ListArray::try_new(item::<A>(), self.offsets, self.items.into_array()?, self.nulls)?))
    }

    fn from_array(array: &ArrayRef) -> Option<Self> {
        let lists: &ListArray = array.as_any().downcast_ref()?;
        let items = A::from_array(lists.values())?;
        Some(Lists { offsets: lists.offsets().clone(), items, nulls: lists.nulls().cloned() })
    }
}

fn item<A: Values>() -> Arc<Field> {
    Arc::new(Field::new("item", A::data_type(), false))
}

impl<T: ArrowPrimitiveType> Lists<PrimitiveArray<T>> {
    /// The numbers of a row.
    pub fn row(&self, row: usize) -> &[T::Native] {
        &self.items.values()[self.range(row)]
    }

    /// The numbers of all rows in one piece.
    pub fn flat(&self) -> &[T::Native] {
        &self.items.values()[self.offsets[0] as usize..self.offsets[self.len()] as usize]
    }
}

impl Lists<StringArray> {
    /// The texts of a row.
    pub fn row(&self, row: usize) -> impl ExactSizeIterator<Item = &str> {
        self.range(row).map(|at| self.items.value(at))
    }
}

/// Lists from each row's numbers.
impl<T: ArrowPrimitiveType, R: IntoIterator<Item = T::Native>> FromIterator<R> for Lists<PrimitiveArray<T>> {
    fn from_iter<I: IntoIterator<Item = R>>(rows: I) -> Self {
        let (mut items, mut lengths) = (Vec::new(), Vec::new());
        for row in rows {
            let before = items.len();
            items.extend(row);
            lengths.push(items.len() - before);
        }
        Lists::from_lengths(lengths, PrimitiveArray::from_iter_values(items))
    }
}

/// Lists from each row's texts.
impl<S: AsRef<str>, R: IntoIterator<Item = S>> FromIterator<R> for Lists<StringArray> {
    fn from_iter<I: IntoIterator<Item = R>>(rows: I) -> Self {
        let (mut items, mut lengths) = (arrow::array::StringBuilder::new(), Vec::new());
        for row in rows {
            let mut length = 0;
            for text in row {
                items.append_value(text);
                length += 1;
            }
            lengths.push(length);
        }
        Lists::from_lengths(lengths, items.finish())
    }
}
