//! `labels`: which behaviours an annotator would keep.

use crate::kind::{Bool, Text};
use crate::table::table;

table! {
    /// One row per distinct behaviour that was labelled.
    Labels, LabelsColumns {
        name: "labels",
        version: 1,
        about: "one row per distinct behaviour that was labelled",
        layout: Parts,
        key: [text],
        order: [text],
        columns: {
            text: Text = "the behaviour",
            domain: Text = "where it occurs most: search, browse or news (or as the labels file says)",
            label: Bool = "true: keep; false: noise",
            annotator: Text = "who said so: rules, the endpoint's model, or the labels file",
            reason: Option<Text> = "why, when the annotator gave a reason",
        }
    }
}
