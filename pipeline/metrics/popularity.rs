//! `sql/popularity.sql` as a source.

use dataset::{Dataset, Result, Store};
use schemas::{CleanEvents, Popularity, Table};

use crate::Query;

/// `sql/popularity.sql` over the current clean events.
pub fn popularity_query(store: &Store, threads: usize, memory_limit: u64) -> Result<Query> {
    Ok(Query {
        name: "popularity",
        sql: include_str!("../../sql/popularity.sql"),
        parameters: Vec::new(),
        tables: vec![("clean_events", Dataset::new(store, "clean_events").snapshot::<CleanEvents>()?)],
        threads,
        memory_limit,
        contract: Popularity::contract(),
    })
}
