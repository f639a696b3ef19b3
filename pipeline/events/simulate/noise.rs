//! Noise: behaviours that say nothing about interests, of every kind that the paper's prompt B names.
//!
//! Patterns and fillings come in two disjoint sets: users of the train and valid splits make noise of the one, users of the
//! test split of the other. So a cleaner can be trained on the one and measured on the other.

use std::sync::LazyLock;

use serde::Deserialize;

use super::random::{Random, Weighted};
use super::world::capitalised;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    fill: Fill,
    kind: Vec<Kind>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fill {
    site_train: Vec<String>,
    site_test: Vec<String>,
    city_train: Vec<String>,
    city_test: Vec<String>,
    tld: Vec<String>,
    word: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kind {
    name: String,
    domains: Vec<String>,
    weight: f64,
    train: Patterns,
    test: Patterns,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Patterns {
    search: Vec<String>,
    browse: Vec<String>,
}

/// What noise is drawn from.
#[derive(Debug)]
pub(super) struct Noise {
    file: File,
    /// Kinds and their weights, for searches and for page visits.
    kinds: [(Vec<usize>, Weighted); 2],
    /// Patterns by rank, for each number of patterns.
    pattern_rank: Vec<Weighted>,
    /// Sites by rank: a few that everybody visits.
    site_rank: [Weighted; 2],
}

/// Fitted, with those of [`super::user`], so that 50,000 searches repeat like the 50,000 real ones of TREC Terabyte 2005: 992
/// texts three times or more, 7,441 searches among them, the first 401 times (a Zipf exponent of 0.64 in the middle).
const PATTERN_EXPONENT: f64 = 1.4;
const SITE_EXPONENT: f64 = 1.8;
/// Share of sites that are of the list and not made up.
const LISTED: f64 = 0.5;

pub(super) static NOISE: LazyLock<Noise> = LazyLock::new(|| {
    let file: File = toml::from_str(include_str!("noise.toml")).expect("checked by a test");
    let of = |domain: &str| {
        let kinds: Vec<usize> =
            (0..file.kind.len()).filter(|i| file.kind[*i].domains.iter().any(|d| d == domain)).collect();
        let weights = Weighted::new(kinds.iter().map(|i| file.kind[*i].weight));
        (kinds, weights)
    };
    let kinds = [of("search"), of("browse")];
    let pattern_rank = (0..=40).map(|n| Weighted::zipf(n, PATTERN_EXPONENT)).collect();
    let site_rank = [&file.fill.site_train, &file.fill.site_test].map(|s| Weighted::zipf(s.len(), SITE_EXPONENT));
    Noise { file, kinds, pattern_rank, site_rank }
});

impl Noise {
    /// A noise behaviour for `search` (or else `browse`): its kind and text.
    pub(super) fn draw(&self, search: bool, test: bool, random: &mut Random) -> (&str, String) {
        let (kinds, weights) = &self.kinds[usize::from(!search)];
        let kind = &self.file.kind[kinds[weights.draw(random)]];
        let patterns = if test { &kind.test } else { &kind.train };
        let patterns = if search { &patterns.search } else { &patterns.browse };
        let pattern = &patterns[self.pattern_rank[patterns.len()].draw(random)];
        (&kind.name, self.fill(pattern, test, random))
    }

    fn fill(&self, pattern: &str, test: bool, random: &mut Random) -> String {
        let fill = &self.file.fill;
        let cities = if test { &fill.city_test } else { &fill.city_train };
        let mut text = String::with_capacity(pattern.len() + 16);
        let mut rest = pattern;
        while let Some((before, after)) = rest.split_once('{') {
            text.push_str(before);
            let Some((name, after)) = after.split_once('}') else {
                text.push('{');
                rest = after;
                continue;
            };
            let (name, count) = name.split_once(':').unwrap_or((name, "0"));
            let count = count.parse().unwrap_or(0);
            match name {
                "site" => text.push_str(&self.site(test, random)),
                "Site" => text.push_str(&capitalised(&self.site(test, random))),
                "city" => text.push_str(random.one_of::<String>(cities)),
                "tld" => text.push_str(random.one_of::<String>(&fill.tld)),
                "word" => text.push_str(random.one_of::<String>(&fill.word)),
                "phone" => text.push_str(&phone(random)),
                "digits" => text.extend(letters(b"0123456789", count, random)),
                "hex" => text.extend(letters(b"0123456789abcdef", count, random)),
                "letters" => text.extend(letters(b"abcdefghijklmnopqrstuvwxyz", count, random)),
                "consonants" => text.extend(letters(b"bcdfghjklmnpqrstvwxz", count, random)),
                other => unreachable!("placeholder {other} is checked by a test"),
            }
            rest = after;
        }
        text.push_str(rest);
        text
    }

    /// A site: one of the listed, the first ones most often, or for the long tail the first half of one and the second of
    /// another.
    fn site(&self, test: bool, random: &mut Random) -> String {
        let sites = if test { &self.file.fill.site_test } else { &self.file.fill.site_train };
        if random.chance(LISTED) {
            return sites[self.site_rank[usize::from(test)].draw(random)].clone();
        }
        let (a, b) = (random.one_of::<String>(sites), random.one_of::<String>(sites));
        format!("{}{}", &a[..a.len() / 2 + 1], &b[b.len() / 2..])
    }
}

fn letters<'a>(of: &'a [u8], count: usize, random: &'a mut Random) -> impl Iterator<Item = char> + 'a {
    (0..count).map(move |_| char::from(*random.one_of(of)))
}

fn phone(random: &mut Random) -> String {
    let mut group = |count| letters(b"0123456789", count, random).collect::<String>();
    let (a, b, c) = (group(3), group(3), group(4));
    match random.below(5) {
        0 => format!("{a}-{b}-{c}"),
        1 => format!("({a}) {b}-{c}"),
        2 => format!("{a} {b} {c}"),
        3 => format!("+1 {a} {b} {c}"),
        _ => format!("{a}{b}{c}"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_pattern_fills_and_the_sets_are_disjoint() {
        let mut random = Random::new(1, "test", 0);
        for kind in &NOISE.file.kind {
            for (train, test) in [(&kind.train.search, &kind.test.search), (&kind.train.browse, &kind.test.browse)] {
                assert_eq!(train.is_empty(), test.is_empty(), "{}", kind.name);
                let shared: BTreeSet<_> = train.iter().filter(|p| test.contains(p)).collect();
                assert!(shared.is_empty(), "{}: {shared:?}", kind.name);
                for pattern in train.iter().chain(test) {
                    assert!(!NOISE.fill(pattern, false, &mut random).trim().is_empty(), "{pattern}");
                }
            }
        }
        let fill = &NOISE.file.fill;
        assert!(fill.site_train.iter().all(|site| !fill.site_test.contains(site)));
        assert!(fill.city_train.iter().all(|city| !fill.city_test.contains(city)));
    }
}
