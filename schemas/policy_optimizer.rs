//! `policy_optimizer`: a checkpoint's optimizer, in `step=000120/optimizer-0000.parquet` and on.

use crate::kind::{Bytes, Int32, Text};
use crate::lists::Lists;
use crate::table::table;

table! {
    /// One row per trained tensor, moment and part of it.
    PolicyOptimizer, PolicyOptimizerColumns {
        name: "policy_optimizer",
        version: 2,
        about: "one row per trained tensor, moment and part of it, in a checkpoint",
        layout: Parts,
        key: [name, moment, part],
        order: [name, moment, part],
        columns: {
            name: Text = "the trained tensor's name",
            moment: Int32 = "1: mean of the gradient, 2: mean of its square",
            dtype: Text = "type of its numbers: F32",
            shape: Lists<Int32> = "the tensor's shape, row-major",
            part: Int32 = "number of the part, from 0",
            data: Bytes = "the part's bytes, little-endian; at most 16 MiB",
            blake3: Text = "BLAKE3 of the bytes, hex",
        }
    }
}
