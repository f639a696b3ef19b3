//! Fields as an Arrow column: what `select` computes with.

use std::sync::Arc;

use arrow::array::{ArrayRef, ListBuilder, NullArray, StringBuilder, TimestampMicrosecondBuilder};

use super::{Field, Reason, reason};

/// A column's values. What they are is known from the first one of the file on.
pub(super) enum Cells {
    /// So many rows, none with a value.
    Nothing(usize),
    Text(StringBuilder),
    /// Of UTC, or by the wall clock.
    Micros(TimestampMicrosecondBuilder, bool),
    Texts(ListBuilder<StringBuilder>),
}

impl Cells {
    /// Whether a value can be one of them; the first decides.
    pub(super) fn fits(&mut self, field: &Field<'_>) -> Result<(), Reason> {
        if let (Cells::Nothing(before), false) = (&self, matches!(field, Field::Missing)) {
            let before = *before;
            *self = match field {
                Field::Micros(_) | Field::WallMicros(_) => {
                    Cells::Micros(TimestampMicrosecondBuilder::new(), matches!(field, Field::Micros(_)))
                }
                Field::List(_) => Cells::Texts(ListBuilder::new(StringBuilder::new())),
                _ => Cells::Text(StringBuilder::new()),
            };
            (0..before).for_each(|_| self.push(&Field::Missing));
        }
        let text = |bytes: &[u8]| str::from_utf8(bytes).map(|_| ()).map_err(|_| reason::UTF8);
        match (&*self, field) {
            (_, Field::Missing) => Ok(()),
            (_, Field::Coarse(_)) => Err(reason::INEXACT_ID),
            (Cells::Text(_) | Cells::Texts(_), Field::Text(bytes)) => text(bytes),
            (Cells::Micros(_, utc), field) if matches!(field, Field::Micros(_)) == *utc => match field {
                Field::Micros(_) | Field::WallMicros(_) => Ok(()),
                _ => Err(reason::MIXED),
            },
            (Cells::Texts(_), Field::List(items)) => items.iter().try_for_each(|item| match item {
                Field::Missing => Ok(()),
                Field::Text(bytes) => text(bytes),
                _ => Err(reason::MIXED),
            }),
            _ => Err(reason::MIXED),
        }
    }

    /// Takes a value that fits.
    pub(super) fn push(&mut self, field: &Field<'_>) {
        fn text<'a>(field: &'a Field<'_>) -> Option<&'a str> {
            match field {
                Field::Text(bytes) => str::from_utf8(bytes).ok(),
                _ => None,
            }
        }
        match self {
            Cells::Nothing(rows) => *rows += 1,
            Cells::Text(texts) => texts.append_option(text(field)),
            Cells::Micros(times, _) => times.append_option(match field {
                Field::Micros(micros) | Field::WallMicros(micros) => Some(*micros),
                _ => None,
            }),
            Cells::Texts(lists) => match field {
                Field::Missing => lists.append_null(),
                Field::List(items) => lists.append_value(items.iter().map(text)),
                // A list of one that is not written as one.
                item => lists.append_value([text(item)]),
            },
        }
    }

    /// The values so far. Those that follow are of the same kind.
    pub(super) fn take(&mut self) -> ArrayRef {
        match self {
            Cells::Nothing(rows) => Arc::new(NullArray::new(std::mem::take(rows))),
            Cells::Text(texts) => Arc::new(texts.finish()),
            Cells::Micros(times, false) => Arc::new(times.finish()),
            Cells::Micros(times, true) => Arc::new(times.finish().with_timezone_utc()),
            Cells::Texts(lists) => Arc::new(lists.finish()),
        }
    }
}
