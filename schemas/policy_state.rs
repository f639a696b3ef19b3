//! `policy_state`: a checkpoint's state, in `step=000120/state.parquet`. It is written last: a step without it is unfinished.

use crate::{Column, Layout, SortColumn, Table, ascending, column, list, nullable, text, uint64};

/// One row.
#[derive(Debug)]
pub struct PolicyState;

impl Table for PolicyState {
    const NAME: &'static str = "policy_state";
    const VERSION: u32 = 1;
    const ABOUT: &'static str = "one row: where training stands, and what the checkpoint's other files must be";
    const LAYOUT: Layout = Layout::Parts;
    const KEY: &'static [&'static str] = &["step"];
    const ORDER: &'static [SortColumn] = &[ascending("step")];

    fn columns() -> Vec<Column> {
        vec![
            column("step", uint64(), "updates made"),
            column("prompt_cursor", uint64(), "prompts taken from the training set so far"),
            column("random", list(uint64()), "state of the random numbers"),
            column("settings_digest", text(), "digest of the training's settings"),
            column("base", text(), "digests of the model that training began with, as JSON: file to SHA-256"),
            column("config", text(), "the model's configuration, as config.json"),
            nullable("lora", text(), "the adapters' rank and alpha, as JSON; null without adapters"),
            column("tokenizer", text(), "the tokenizer, as tokenizer.json"),
            column("metrics", text(), "figures of this step, as JSON: name to number"),
            column("weights_blake3", text(), "BLAKE3 of weights.parquet, hex"),
            column("optimizer_blake3", text(), "BLAKE3 of optimizer.parquet, hex"),
        ]
    }
}
