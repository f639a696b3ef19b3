//! A sample of distinct behaviours: as many of each domain, and in each of rare, repeated and frequent ones.

use std::collections::{BTreeMap, HashMap};
use std::sync::OnceLock;

use arrow::array::StringArray;
use dataset::bucket::digest_128;
use dataset::plan::{Digest, digest};
use dataset::{Input, InputRef, Result, Rows, Source};
use schemas::Events;
use serde_json::json;

use super::{Candidate, PARTITIONS, by_partition};

/// Distinct texts that are counted at a time; of more, those with the lowest hashes.
const COUNTED: usize = 2_000_000;

/// A stratified sample of the behaviours in `events`. The same events, settings and seed give the same sample, whatever the
/// order or the buckets.
#[derive(Debug)]
pub struct Sample {
    events: Input<Events>,
    size: usize,
    seed: u64,
    chosen: OnceLock<Vec<Vec<Candidate>>>,
}

impl Sample {
    /// A sample of `size` distinct behaviours of a version of `events`.
    pub fn new(events: Input<Events>, size: usize, seed: u64) -> Self {
        Sample { events: events.columns(&["domain", "text"]), size, seed, chosen: OnceLock::new() }
    }

    fn choose(&self) -> Result<Vec<Candidate>> {
        let mut counts = Counts::new(self.seed);
        for partition in 0..self.events.partitions() {
            for batch in self.events.read(partition)?.batches() {
                let domains = Rows::<Events>::column::<StringArray>(batch, "domain")?;
                let texts = Rows::<Events>::column::<StringArray>(batch, "text")?;
                domains.iter().zip(texts).for_each(|(domain, text)| {
                    if let (Some(domain), Some(text)) = (domain, text) {
                        counts.add(domain, text);
                    }
                });
            }
        }
        Ok(counts.choose(self.size))
    }
}

/// How often texts with a hash below the cut-off occur, by domain.
struct Counts {
    seed: u64,
    cut_off: u128,
    texts: HashMap<u128, (String, BTreeMap<String, u64>)>,
}

impl Counts {
    fn new(seed: u64) -> Self {
        Counts { seed, cut_off: u128::MAX, texts: HashMap::new() }
    }

    fn add(&mut self, domain: &str, text: &str) {
        let hash = u128::from_be_bytes(digest_128(&[b"annotate", &self.seed.to_le_bytes(), text.as_bytes()]));
        if hash > self.cut_off {
            return;
        }
        let (_, domains) = self.texts.entry(hash).or_insert_with(|| (text.to_owned(), BTreeMap::new()));
        match domains.get_mut(domain) {
            Some(count) => *count += 1,
            None => drop(domains.insert(domain.to_owned(), 1)),
        }
        while self.texts.len() > COUNTED {
            self.cut_off /= 2;
            self.texts.retain(|hash, _| *hash <= self.cut_off);
        }
    }

    /// Equal shares of every stratum; what a small one lacks goes to the larger ones. Within one, the lowest hashes.
    fn choose(self, sample: usize) -> Vec<Candidate> {
        let mut strata: BTreeMap<(String, u32), Vec<(u128, String)>> = BTreeMap::new();
        for (hash, (text, domains)) in self.texts {
            let count: u64 = domains.values().sum();
            // The first of the most frequent, by name.
            let most = domains.into_iter().max_by(|a, b| a.1.cmp(&b.1).then(b.0.cmp(&a.0)));
            let domain = most.map(|(domain, _)| domain).unwrap_or_default();
            let class = match count {
                1 => 0,
                2..=9 => 1,
                _ => 2,
            };
            strata.entry((domain, class)).or_default().push((hash, text));
        }
        let mut strata: Vec<_> = strata.into_iter().collect();
        strata.sort_by_key(|(_, texts)| texts.len());
        let (mut left, mut chosen, count) = (sample, Vec::new(), strata.len());
        for (i, ((domain, _), mut texts)) in strata.into_iter().enumerate() {
            texts.sort_unstable();
            texts.truncate(left / (count - i));
            left -= texts.len();
            chosen.extend(texts.into_iter().map(|(_, text)| Candidate { text, domain: domain.clone(), given: None }));
        }
        chosen
    }
}

impl Source for Sample {
    type Rows = Vec<Candidate>;

    fn partitions(&self) -> u32 {
        PARTITIONS
    }

    fn inputs(&self) -> BTreeMap<String, InputRef> {
        self.events.inputs()
    }

    fn key(&self, partition: u32) -> Digest {
        digest(&json!([self.events.snapshot().reference().content, partition]))
    }

    fn memory_bytes(&self, _: u32) -> u64 {
        0
    }

    fn user_key_check(&self) -> Option<&str> {
        None
    }

    fn prepare(&self) -> Result<()> {
        let chosen = by_partition(self.choose()?);
        let _ = self.chosen.set(chosen);
        Ok(())
    }

    fn read(&self, partition: u32) -> Result<Vec<Candidate>> {
        Ok(self.chosen.get().map(|chosen| chosen[partition as usize].clone()).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(order: impl Iterator<Item = usize>) -> Counts {
        let mut counts = Counts::new(7);
        for i in order {
            let domain = ["browse", "news", "search"][i % 3];
            // Some texts once, some five times, some twenty times.
            for _ in 0..[1, 5, 20][i / 3 % 3] {
                counts.add(domain, &format!("text {i}"));
            }
        }
        counts
    }

    #[test]
    fn strata_have_equal_shares_and_order_does_not_matter() {
        let chosen = counts(0..900).choose(90);
        assert_eq!(chosen.len(), 90);
        for domain in ["browse", "news", "search"] {
            assert_eq!(chosen.iter().filter(|c| c.domain == domain).count(), 30);
        }
        assert_eq!(chosen, counts((0..900).rev()).choose(90));
    }

    #[test]
    fn small_strata_leave_their_share_to_the_others() {
        let mut counts = counts(0..90);
        (0..500).for_each(|i| counts.add("search", &format!("once {i}")));
        let chosen = counts.choose(300);
        assert_eq!(chosen.len(), 300);
        assert_eq!(chosen.iter().filter(|c| c.domain != "search").count(), 60);
    }
}
