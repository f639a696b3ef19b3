//! For tests: a table with a column of every kind.

use arrow::buffer::NullBuffer;

use crate::kind::{Bool, Bytes, Float32, Float64, Id, Int32, Int64, Text, Texts, Time, Vector};
use crate::lists::Lists;
use crate::table::{record, table};

table! {
    /// One row per row.
    Every, EveryColumns {
        name: "every",
        version: 3,
        about: "one row per row",
        layout: Users,
        key: [user_id, r#type],
        order: [user_id, occurred_at descending],
        columns: {
            user_id: Id = "who",
            r#type: Text = "a keyword in Rust",
            occurred_at: Time = "when",
            count: Int32 = "how many",
            total: Int64 = "how many more",
            score: Float32 = "how good",
            value: Float64 = "how exact",
            cold: Bool = "whether",
            data: Bytes = "raw",
            vector: Vector = "where",
            queries: Texts = "which",
            shape: Lists<Int32> = "sizes",
            random: Lists<Int64> = "bits",
            visits: Lists<Visits> = "what",
            reason: Option<Text> = "why, perhaps",
            seen_at: Option<Time> = "when, perhaps",
            rank: Option<Int32> = "rank, perhaps",
            tags: Option<Texts> = "tags, perhaps",
        }
    }
}

record! {
    /// Visits of a row.
    Visits {
        domain: Text = "where",
        visited_at: Time = "when",
        news_id: Option<Text> = "what, perhaps",
        words: Texts = "how",
    }
}

/// Two rows.
pub(crate) fn sample() -> EveryColumns {
    let visits = Visits {
        domain: vec!["news", "browse", "news"].into(),
        visited_at: vec![3, 2, 1].into(),
        news_id: vec![Some("N1"), None, Some("N2")].into(),
        words: [vec!["a"], vec![], vec!["b", "c"]].into_iter().collect(),
    };
    EveryColumns {
        user_id: vec!["0f", "1f"].into(),
        r#type: vec!["x", "y"].into(),
        occurred_at: vec![20, 10].into(),
        count: vec![1, -2].into(),
        total: vec![1 << 40, -2].into(),
        score: vec![0.5, 0.25].into(),
        value: vec![0.1, 0.2].into(),
        cold: vec![true, false].into(),
        data: vec![b"\x00\xff".as_slice(), b""].into(),
        vector: [[0.6, 0.8], [1.0, 0.0]].into_iter().collect(),
        queries: [vec!["solar storms", "aurora"], vec![]].into_iter().collect(),
        shape: [vec![2, 3], vec![]].into_iter().collect(),
        random: [vec![u64::MAX.cast_signed()], vec![7, 8]].into_iter().collect(),
        visits: Lists::from_lengths([1, 2], visits),
        reason: vec![None, Some("because")].into(),
        seen_at: vec![Some(5), None].into(),
        rank: vec![None, Some(1)].into(),
        tags: Texts::from_iter([vec!["t"], vec![]]).with_nulls(Some(NullBuffer::from(vec![true, false]))),
    }
}
