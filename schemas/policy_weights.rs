//! `policy_weights`: a checkpoint's weights, in `step=000120/weights-0000.parquet` and on: the adapters alone where there are any.

use crate::kind::{Bytes, Int32, Text};
use crate::lists::Lists;
use crate::table::table;

table! {
    /// One row per tensor and part of it.
    PolicyWeights, PolicyWeightsColumns {
        name: "policy_weights",
        version: 2,
        about: "one row per trained tensor and part of it, in a checkpoint",
        layout: Parts,
        key: [name, part],
        order: [name, part],
        columns: {
            name: Text = "the tensor's name, as in Hugging Face's folders; adapters end in .lora_a and .lora_b",
            dtype: Text = "type of its numbers: F32",
            shape: Lists<Int32> = "the tensor's shape, row-major",
            part: Int32 = "number of the part, from 0",
            data: Bytes = "the part's bytes, little-endian; at most 16 MiB",
            blake3: Text = "BLAKE3 of the bytes, hex",
        }
    }
}
