//! `interests`: the news search queries that say what a user is interested in.

use arrow::datatypes::DataType;

use crate::{Column, Layout, SortColumn, Table, ascending, column, id, list, nullable, text, uint32, uint64};

/// One row per user and candidate list.
#[derive(Debug)]
pub struct Interests;

impl Table for Interests {
    const NAME: &'static str = "interests";
    const VERSION: u32 = 2;
    const ABOUT: &'static str = "one row per user and candidate list of queries";
    const LAYOUT: Layout = Layout::Users;
    const KEY: &'static [&'static str] = &["user_id", "candidate"];
    const ORDER: &'static [SortColumn] = &[ascending("user_id"), ascending("candidate")];

    fn columns() -> Vec<Column> {
        vec![
            column("user_id", id(), "keyed hash of the platform's own id"),
            column("candidate", uint32(), "0: the chosen list; others are the lists it was chosen from"),
            column("queries", list(text()), "news search queries; empty when the output had no list"),
            nullable("reasoning", text(), "what the policy wrote before the list"),
            nullable("reward", DataType::Float32, "what the list was chosen by"),
            nullable("structure", DataType::Float32, "1 when the output keeps the form of a list, else 0"),
            column("policy", text(), "who wrote it"),
            column("sample", uint32(), "number of the sample"),
            column("seed", uint64(), "seed of the sampling"),
            column("finish", text(), "how the output ended"),
        ]
    }
}
