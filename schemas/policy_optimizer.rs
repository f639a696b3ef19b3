//! `policy_optimizer`: a checkpoint's optimizer, in `step=000120/optimizer.parquet`.

use arrow::datatypes::DataType;

use crate::{Column, Layout, SortColumn, Table, ascending, column, list, text, uint32};

/// One row per trained tensor, moment and part of it.
#[derive(Debug)]
pub struct PolicyOptimizer;

impl Table for PolicyOptimizer {
    const NAME: &'static str = "policy_optimizer";
    const VERSION: u32 = 1;
    const ABOUT: &'static str = "one row per trained tensor, moment and part of it, in a checkpoint";
    const LAYOUT: Layout = Layout::Parts;
    const KEY: &'static [&'static str] = &["name", "moment", "part"];
    const ORDER: &'static [SortColumn] = &[ascending("name"), ascending("moment"), ascending("part")];

    fn columns() -> Vec<Column> {
        vec![
            column("name", text(), "the trained tensor's name"),
            column("moment", uint32(), "1: mean of the gradient, 2: mean of its square"),
            column("dtype", text(), "type of its numbers: F32"),
            column("shape", list(uint32()), "the tensor's shape, row-major"),
            column("part", uint32(), "number of the part, from 0"),
            column("data", DataType::Binary, "the part's bytes, little-endian; at most 16 MiB"),
            column("blake3", text(), "BLAKE3 of the bytes, hex"),
        ]
    }
}
