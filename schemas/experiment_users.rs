//! `experiment_users`: who took part in an experiment, and what they did in it.

use crate::kind::{Bool, Id, Int32, Int64, Text};
use crate::table::table;

table! {
    /// One row per user of an experiment.
    ExperimentUsers, ExperimentUsersColumns {
        name: "experiment_users",
        version: 1,
        about: "one row per user of an experiment: their arm, and sums over its days",
        layout: Users,
        key: [user_id],
        order: [user_id],
        columns: {
            user_id: Id = "keyed hash of the platform's own id",
            variant: Text = "the arm that the user was assigned to",
            cold: Bool = "whether the user was cold on their first day in the experiment",
            days: Int32 = "days with a row; on the others the user was not active",
            active: Int64 = "days on which the user was active",
            impressions: Int64 = "articles shown",
            clicks: Int64 = "articles clicked",
            pre_active: Int64 = "active days before the experiment; 0 when none are known, and so below",
            pre_impressions: Int64 = "articles shown before it",
            pre_clicks: Int64 = "articles clicked before it",
        }
    }
}
