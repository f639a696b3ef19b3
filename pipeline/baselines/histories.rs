//! Whom baselines learn from: the users of the splits `train` and `valid`, by what they clicked before the cut-off.

use dataset::{Result, Whole};
use news::Pool;
use schemas::Profiles;

use crate::{Clicks, Vocabulary};

/// Clicks of users, each split in the order of their ids. Who has fewer than two clicks has none to be told from others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Histories {
    /// Those that are learnt from.
    pub train: Vec<Clicks>,
    /// Those whose last click says how well it goes.
    pub valid: Vec<Clicks>,
}

impl Histories {
    /// The columns of `profiles` that are read.
    pub(crate) const COLUMNS: [&str; 3] =
        [Profiles::user_id.name(), Profiles::split.name(), Profiles::behaviours.name()];

    /// Reads them. `all` numbers the articles; with a vocabulary searches and visits are read, too. Users of the split `test` are nobody's to
    /// learn from.
    pub(crate) fn read(profiles: &Whole<Profiles>, all: &Pool, vocabulary: Option<&Vocabulary>) -> Result<Self> {
        let (mut train, mut valid) = (Vec::new(), Vec::new());
        for part in profiles.parts() {
            for batch in part?.batches() {
                let (ids, splits) = (Profiles::user_id.of(batch)?, Profiles::split.of(batch)?);
                let behaviours = Profiles::behaviours.of(batch)?;
                for row in 0..batch.num_rows() {
                    let to = match splits.value(row) {
                        "train" => &mut train,
                        "valid" => &mut valid,
                        _ => continue,
                    };
                    let clicks = Clicks::read(&behaviours, row, |id| all.number(id), vocabulary);
                    if clicks.len() >= 2 {
                        to.push((ids.value(row).to_owned(), Clicks { places: Vec::new(), ..clicks }));
                    }
                }
            }
        }
        let in_order = |mut users: Vec<(String, Clicks)>| {
            users.sort_unstable_by(|a, b| a.0.cmp(&b.0));
            users.into_iter().map(|(_, clicks)| clicks).collect()
        };
        Ok(Histories { train: in_order(train), valid: in_order(valid) })
    }

    /// The articles that users of `train` clicked, ascending, and how often.
    pub fn clicked(&self) -> Vec<(u32, u64)> {
        let mut articles: Vec<u32> = self.train.iter().flat_map(|clicks| &clicks.articles).copied().collect();
        articles.sort_unstable();
        articles.chunk_by(|a, b| a == b).map(|same| (same[0], same.len() as u64)).collect()
    }

    /// All articles that are named, ascending.
    pub fn named(&self) -> Vec<u32> {
        let users = self.train.iter().chain(&self.valid);
        let mut articles: Vec<u32> = users.flat_map(|clicks| &clicks.articles).copied().collect();
        articles.sort_unstable();
        articles.dedup();
        articles
    }
}
