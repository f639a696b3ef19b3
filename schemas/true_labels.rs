//! `true_labels`: which simulated behaviours are noise. Evaluation may read it, nothing else.

use crate::kind::{Bool, Id, Text};
use crate::table::table;

table! {
    /// One row per distinct simulated behaviour before the cut-off.
    TrueLabels, TrueLabelsColumns {
        name: "true_labels",
        version: 1,
        about: "one row per simulated behaviour before the cut-off; evaluation only",
        layout: Users,
        key: [event_id],
        order: [user_id, event_id],
        columns: {
            event_id: Id = "as `events` has it",
            user_id: Id = "keyed hash of the simulated id",
            domain: Text = "search, browse or news",
            label: Bool = "true: driven by an interest; false: noise",
            kind: Text = "interest, misspelt, popular, or the kind of noise",
        }
    }
}
