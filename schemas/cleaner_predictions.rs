//! `cleaner_predictions`: what a classifier says of labelled behaviours that it was not trained on.

use crate::kind::{Bool, Float32, Int32, Text};
use crate::table::table;

table! {
    /// One row per labelled behaviour.
    CleanerPredictions, CleanerPredictionsColumns {
        name: "cleaner_predictions",
        version: 2,
        about: "one row per labelled behaviour, scored by a classifier that was trained without its fold",
        layout: Parts,
        key: [text],
        order: [text],
        columns: {
            text: Text = "the behaviour",
            domain: Text = "as `labels` has it",
            fold: Int32 = "the fold that it was left out with, from 0",
            label: Bool = "true: keep; false: noise",
            keep_score: Float32 = "the classifier's calibrated probability of keep",
            kept: Bool = "what its threshold decides",
        }
    }
}
