//! `popularity`, as the reference method reads it: a pool's articles by clicks before the cut-off.

use dataset::{Result, Whole};
use schemas::Popularity;

use crate::Pool;

/// A pool's articles by clicks, most clicked first, with their clicks; of equally popular ones the greater id first.
pub fn popularity(clicks: &Whole<Popularity>, pool: &Pool) -> Result<Vec<(u32, i64)>> {
    let mut by_article = vec![0; pool.len()];
    for part in clicks.parts() {
        for columns in part?.columns() {
            let columns = columns?;
            for (id, count) in columns.news_id.iter().flatten().zip(columns.clicks.values()) {
                if let Some(number) = pool.number(id) {
                    by_article[number as usize] = *count;
                }
            }
        }
    }
    let mut ranking: Vec<(u32, i64)> = (0..).zip(by_article).collect();
    ranking.sort_unstable_by(|a, b| b.1.cmp(&a.1).then(b.0.cmp(&a.0)));
    Ok(ranking)
}
