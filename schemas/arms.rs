//! `arms`: an experiment's variants, and whether users were assigned to them as planned.

use crate::kind::{Float64, Int64, Text};
use crate::table::table;

table! {
    /// One row per variant, the control first.
    Arms, ArmsColumns {
        name: "arms",
        version: 1,
        about: "one row per variant of an experiment: its users beside how many there should be",
        layout: Parts,
        key: [variant],
        order: [],
        columns: {
            variant: Text = "the arm",
            users: Int64 = "its users",
            cold_users: Int64 = "those who were cold on their first day",
            share: Float64 = "its share of all users",
            expected_share: Float64 = "the share that the settings expect",
            ratio_p_value: Float64 = "of the sample-ratio check over all arms (chi-squared); small when the assignment cannot be trusted",
        }
    }
}
