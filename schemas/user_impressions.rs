//! `user_impressions`: how well methods rank what users' impressions showed.

use crate::kind::{Bool, Float64, Id, Int64, Text};
use crate::table::table;

table! {
    /// One row per method and user, with sums over the user's impressions.
    UserImpressions, UserImpressionsColumns {
        name: "user_impressions",
        version: 1,
        about: "one row per method and user with impressions of which some articles were clicked and some not: sums over these",
        layout: Users,
        key: [method, user_id],
        order: [method, user_id],
        columns: {
            method: Text = "what scored the articles",
            user_id: Id = "keyed hash of the platform's own id",
            split: Text = "the user's: train, valid or test",
            cold: Bool = "fewer than 5 news clicks of history",
            impressions: Int64 = "how many",
            scored: Int64 = "of how many the method scored every article",
            auc: Float64 = "sum of the areas under the ROC curve",
            mrr: Float64 = "sum of the mean reciprocal ranks of what was clicked",
            ndcg_5: Float64 = "sum of the nDCG of the first 5",
            ndcg_10: Float64 = "sum of the nDCG of the first 10",
        }
    }
}
