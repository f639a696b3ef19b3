//! `rollouts`: the lists that a policy wrote while it was trained, and what became of them.

use crate::kind::{Float32, Id, Int32, Int64, Text, Texts, Vector};
use crate::lists::Lists;
use crate::table::table;

table! {
    /// One row per step, user and sample.
    Rollouts, RolloutsColumns {
        name: "rollouts",
        version: 2,
        about: "one row per step of a training, user and sampled list: tokens, scores, advantage",
        layout: Parts,
        key: [step, user_id, sample],
        order: [step, user_id, sample],
        columns: {
            step: Int64 = "the update that the list is for; updates made before it: one less",
            user_id: Id = "keyed hash of the platform's own id",
            sample: Int32 = "number of the sample in the user's group",
            seed: Int64 = "seed of the sample: 64 bits, as the signed number of the same bits",
            completion: Text = "what the policy wrote",
            queries: Texts = "the queries in it; empty when it has no list",
            finish: Text = "how the output ended",
            tokens: Lists<Int32> = "token ids, the one that ended it included",
            log_probabilities: Vector = "of each token, when it was sampled",
            reference: Vector = "of each token, by the reference policy or the teacher; empty without one",
            align: Option<Float32> = "0 to 1, raw; null where a verdict could not be had or lists are not scored, as in all components",
            coverage: Option<Float32> = "0 to 1, raw",
            specificity: Option<Float32> = "0 to 1, raw",
            diversity: Option<Float32> = "0 to 1, raw",
            structure: Option<Float32> = "0 or 1",
            weighted_align: Option<Float32> = "align on the run's scale, times its weight: its part of the reward",
            weighted_coverage: Option<Float32> = "the same of coverage",
            weighted_specificity: Option<Float32> = "the same of specificity",
            weighted_diversity: Option<Float32> = "the same of diversity",
            weighted_structure: Option<Float32> = "the same of structure",
            reward: Option<Float32> = "the sum of the weighted components; null when one is",
            copied: Option<Float32> = "0 to 1: share of the queries that are near copies of a behaviour; null where lists are not scored",
            advantage: Option<Float32> = "how much better than its group's mean; null where the list took no part in the update",
        }
    }
}
