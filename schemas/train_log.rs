//! `train_log`: what a training saw, step by step.

use crate::kind::{Float64, Int64, Text};
use crate::table::table;

table! {
    /// One row per step and figure. Which figures there are depends on the job; a reader turns them into columns.
    TrainLog, TrainLogColumns {
        name: "train_log",
        version: 1,
        about: "one row per step of a training and figure: losses, rewards, lengths, seconds",
        layout: Parts,
        key: [step, figure],
        order: [step, figure],
        columns: {
            step: Int64 = "updates made; 0: before the first",
            figure: Text = "what was measured; its parts have dots between: reward.mean, seconds.rollout",
            value: Float64 = "the figure",
        }
    }
}
