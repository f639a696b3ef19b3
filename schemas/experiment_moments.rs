//! `experiment_moments`: sums over users from which every figure of an experiment follows.

use crate::kind::{Bool, Float64, Int32, Int64, Text};
use crate::table::table;

table! {
    /// What a day adds to the sums over users of what they did until then. Summed over days and parts, a row holds a variant's moments.
    ///
    /// A metric is a ratio of sums, n / d. For active users n is a user's active days and d is 1. For the click-through rate n is a user's
    /// clicks and d their impressions. p / q is the same of the time before the experiment.
    ExperimentMoments, ExperimentMomentsColumns {
        name: "experiment_moments",
        version: 1,
        about: "one row per metric, segment, variant and day: what the day adds to sums over users of what they did until then",
        layout: Users,
        key: [metric, cold, variant, day],
        order: [metric, cold, variant, day],
        columns: {
            metric: Text = "dau or ctr",
            cold: Bool = "of users who were cold on their first day, or of the others",
            variant: Text = "the arm",
            day: Int32 = "days since 1970-01-01",
            users: Int64 = "users whose first day it is",
            n: Float64 = "Σ n",
            d: Float64 = "Σ d",
            p: Float64 = "Σ p",
            q: Float64 = "Σ q",
            nn: Float64 = "Σ n²",
            nd: Float64 = "Σ n d",
            np: Float64 = "Σ n p",
            nq: Float64 = "Σ n q",
            dd: Float64 = "Σ d²",
            dp: Float64 = "Σ d p",
            dq: Float64 = "Σ d q",
            pp: Float64 = "Σ p²",
            pq: Float64 = "Σ p q",
            qq: Float64 = "Σ q²",
        }
    }
}
