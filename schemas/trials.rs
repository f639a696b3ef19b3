//! `trials`: settings that were tried for a baseline, and how well users of `valid` were told with each.

use crate::kind::{Bool, Float64, Int32, Int64};
use crate::table::table;

table! {
    /// One row per trial; a dataset `trials.<method>` per tuned baseline.
    Trials, TrialsColumns {
        name: "trials",
        version: 1,
        about: "one row per setting that was tried for a baseline",
        layout: Parts,
        key: [trial],
        order: [trial],
        columns: {
            trial: Int32 = "from 0, which is the setting as it was given",
            learning_rate: Float64 = "learning rate, once warm",
            dropout: Float64 = "share of values that are dropped out",
            temperature: Float64 = "cosines are divided by this",
            width: Int32 = "width of articles, users and layers",
            layers: Int32 = "layers",
            best_step: Int64 = "the step of its best look at the users of valid",
            recall_10: Float64 = "share of those whose last click was among the first ten then",
            ndcg_10: Float64 = "nDCG of the first ten then",
            chosen: Bool = "whether it is the one of the largest recall (of equals: nDCG; then the first)",
        }
    }
}
