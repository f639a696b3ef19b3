//! `policy_state`: a checkpoint's state, in `step=000120/state.parquet`. It is written last: a step without it is unfinished.

use crate::kind::{Int64, Text};
use crate::lists::Lists;
use crate::table::table;

table! {
    /// One row.
    PolicyState, PolicyStateColumns {
        name: "policy_state",
        version: 5,
        about: "one row: where training stands, and what the checkpoint's other files must be",
        layout: Parts,
        key: [step],
        order: [step],
        columns: {
            step: Int64 = "updates made",
            prompt_cursor: Int64 = "prompts taken from the training set so far",
            random: Lists<Int64> = "state of the random numbers: words of 64 bits, each as the signed number of the same bits",
            settings_digest: Text = "digest of the training's settings",
            base: Text = "digests of the files of the model that training began with, as JSON: name to BLAKE3, hex",
            base_path: Option<Text> = "where that model lay: a checkpoint of adapters needs it",
            config: Text = "the model's configuration, as config.json",
            lora: Option<Text> = "the adapters' rank and alpha, as JSON; null without adapters",
            tokenizer: Text = "the tokenizer, as tokenizer.json",
            prompt: Option<Text> = "how users are asked, as JSON: the prompt's template (TOML), queries, history, tokens; null where there are no prompts",
            metrics: Text = "figures of this step, as JSON: name to number",
            files: Text = "digests of the checkpoint's other files, as JSON: name to BLAKE3, hex",
        }
    }
}
