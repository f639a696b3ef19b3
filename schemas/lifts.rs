//! `lifts`: what a treatment changed, by metric and segment of users.

use crate::kind::{Bool, Float64, Int64, Text};
use crate::table::table;

table! {
    /// One row per treatment, metric, segment and estimator. Intervals are of 95%.
    Lifts, LiftsColumns {
        name: "lifts",
        version: 1,
        about: "one row per treatment, metric, segment of users and estimator: a treatment against the control",
        layout: Parts,
        key: [treatment, metric, segment, cuped],
        order: [],
        columns: {
            treatment: Text = "the arm that is compared with the control",
            metric: Text = "dau: share of user-days that were active; ctr: clicks per impression",
            segment: Text = "all, cold or warm users, as they were on their first day",
            cuped: Bool = "adjusted by what users did before the experiment",
            control_users: Int64 = "users of the control",
            treatment_users: Int64 = "users of the treatment",
            control_value: Float64 = "the metric of the control",
            treatment_value: Float64 = "the metric of the treatment",
            difference: Float64 = "treatment minus control",
            difference_low: Float64 = "lower end of its interval (Welch's t)",
            difference_high: Float64 = "upper end",
            lift: Option<Float64> = "the difference, relative to the control; null, and so the next four, where that is not positive",
            lift_low: Option<Float64> = "lower end of its interval (delta method for the logarithm of the ratio)",
            lift_high: Option<Float64> = "upper end",
            always_low: Option<Float64> = "lower end of the lift's always-valid interval, which holds at every look at once",
            always_high: Option<Float64> = "upper end",
            p_value: Float64 = "two-sided, of the difference",
            p_adjusted: Float64 = "over treatments, metrics and segments of one estimator",
            always_p_value: Option<Float64> = "two-sided, of the lift, however often one looks",
            detectable: Option<Float64> = "lift that is found with a probability of 80%",
            power: Option<Float64> = "probability of finding the lift that the settings expect",
            margin: Option<Float64> = "of guardrails: the relative loss that is tolerated",
            worst: Option<Float64> = "of guardrails: lower end of the difference's one-sided interval",
            inferiority_p_value: Option<Float64> = "of guardrails: one-sided; small when the loss is less than the margin",
            false_positives: Option<Float64> = "share of random re-assignments of the users that find p < 0.05",
        }
    }
}
