//! `policy_weights`: a checkpoint's weights, in `step=000120/weights.parquet`.

use arrow::datatypes::DataType;

use crate::{Column, Layout, SortColumn, Table, ascending, column, list, text, uint32};

/// One row per tensor and part of it.
#[derive(Debug)]
pub struct PolicyWeights;

impl Table for PolicyWeights {
    const NAME: &'static str = "policy_weights";
    const VERSION: u32 = 1;
    const ABOUT: &'static str = "one row per tensor and part of it, in a checkpoint";
    const LAYOUT: Layout = Layout::Parts;
    const KEY: &'static [&'static str] = &["name", "part"];
    const ORDER: &'static [SortColumn] = &[ascending("name"), ascending("part")];

    fn columns() -> Vec<Column> {
        vec![
            column(
                "name",
                text(),
                "the tensor's name, as in Hugging Face's folders; adapters end in .lora_a and .lora_b",
            ),
            column("dtype", text(), "type of its numbers: F32"),
            column("shape", list(uint32()), "the tensor's shape, row-major"),
            column("part", uint32(), "number of the part, from 0"),
            column("data", DataType::Binary, "the part's bytes, little-endian; at most 16 MiB"),
            column("blake3", text(), "BLAKE3 of the bytes, hex"),
        ]
    }
}
