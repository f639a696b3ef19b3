//! `statistics`: a dataset in a few numbers, the paper's Table 1 among them.

use crate::{Column, Layout, SortColumn, Table, ascending, column, float64, text, uint32};

/// One row per statistic.
#[derive(Debug)]
pub struct Statistics;

impl Table for Statistics {
    const NAME: &'static str = "statistics";
    const VERSION: u32 = 1;
    const ABOUT: &'static str = "one row per statistic of the profiles, news and truth";
    const LAYOUT: Layout = Layout::Parts;
    const KEY: &'static [&'static str] = &["position"];
    const ORDER: &'static [SortColumn] = &[ascending("position")];

    fn columns() -> Vec<Column> {
        vec![
            column("position", uint32(), "order in which to print"),
            column("statistic", text(), "its name, as in the paper's Table 1 where it is there"),
            column("value", float64(), "its value"),
        ]
    }
}
