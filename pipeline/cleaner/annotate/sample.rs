//! A sample of distinct behaviours: as many of each domain, and in each of rare, repeated and frequent ones.

use std::collections::{BTreeMap, HashMap};

use dataset::bucket::stream;
use dataset::{Result, Whole};
use schemas::Events;

use super::Candidate;

/// Distinct texts that are counted at a time; of more, those with the lowest hashes.
pub(super) const COUNTED: usize = 2_000_000;

/// A stratified sample of so many distinct behaviours. The same events, settings and seed give the same sample, whatever the order or
/// the buckets.
pub(super) fn choose(events: &Whole<Events>, sample: usize, seed: u64) -> Result<Vec<Candidate>> {
    let mut counts = Counts::new(seed);
    for part in events.parts() {
        for batch in part?.batches() {
            let domains = Events::domain.of(batch)?;
            for (domain, text) in domains.iter().zip(Events::text.of(batch)?) {
                counts.add(domain.unwrap_or_default(), text.unwrap_or_default());
            }
        }
    }
    Ok(counts.choose(sample))
}

/// How often texts with a hash below the cut-off occur, by domain.
struct Counts {
    seed: u64,
    cut_off: u64,
    texts: HashMap<String, (u64, BTreeMap<String, u64>)>,
}

impl Counts {
    fn new(seed: u64) -> Self {
        Counts { seed, cut_off: u64::MAX, texts: HashMap::new() }
    }

    fn add(&mut self, domain: &str, text: &str) {
        let hash = stream(self.seed, "annotate", text);
        if hash > self.cut_off {
            return;
        }
        if !self.texts.contains_key(text) {
            self.texts.insert(text.to_owned(), (hash, BTreeMap::new()));
        }
        let Some((_, domains)) = self.texts.get_mut(text) else { return };
        match domains.get_mut(domain) {
            Some(count) => *count += 1,
            None => drop(domains.insert(domain.to_owned(), 1)),
        }
        while self.texts.len() > COUNTED {
            self.cut_off /= 2;
            self.texts.retain(|_, (hash, _)| *hash <= self.cut_off);
        }
    }

    /// Equal shares of every stratum; what a small one lacks goes to the larger ones. Within one, the lowest hashes.
    fn choose(self, sample: usize) -> Vec<Candidate> {
        let mut strata: BTreeMap<(String, u32), Vec<(u64, String)>> = BTreeMap::new();
        for (text, (hash, domains)) in self.texts {
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
