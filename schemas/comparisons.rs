//! `comparisons`: methods against each other, on the same users.

use crate::{Column, Layout, SortColumn, Table, column, float64, nullable, text, uint32};

/// One row per pair of methods, slice, metric and cut.
#[derive(Debug)]
pub struct Comparisons;

impl Table for Comparisons {
    const NAME: &'static str = "comparisons";
    const VERSION: u32 = 1;
    const ABOUT: &'static str = "one row per pair of methods, slice of users, metric and cut";
    const LAYOUT: Layout = Layout::Parts;
    const KEY: &'static [&'static str] = &["a", "b", "slice", "metric", "k"];
    const ORDER: &'static [SortColumn] = &[];

    fn columns() -> Vec<Column> {
        vec![
            column("a", text(), "one method"),
            column("b", text(), "the other"),
            column("slice", text(), "see metrics"),
            column("metric", text(), "see metrics"),
            nullable("k", uint32(), "see metrics"),
            column("difference", float64(), "mean over users of a minus b"),
            nullable("relative", float64(), "the difference, relative to b; null when b is 0"),
            column("p_value", float64(), "two-sided, of the paired randomisation test"),
            column("p_adjusted", float64(), "by Holm, over the pairs of one slice, metric and cut"),
        ]
    }
}
