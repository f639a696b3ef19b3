//! Which domains the cleaner judges, and what to think of how it judged them.

use std::collections::BTreeMap;

use dataset::{Account, Error, Result, Store, Whole};
use schemas::{DOMAINS, Events};
use serde::{Deserialize, Serialize};
use text::Languages;

/// Fewer behaviours say nothing of a domain.
const FEW: u64 = 100;
/// A domain that loses half of its behaviours, and so many times the share that the others lose, is suspicious.
const TIMES: f64 = 10.0;
/// Texts of a domain that are looked at for their language; of ten times as many behaviours.
const LOOKED_AT: usize = 4000;
/// Pieces of text whose language must be told before anything is said of it.
const TOLD: u64 = 10;

/// The domains that are classified. The others are kept as they are, without a score.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Only(Vec<String>);

impl Only {
    /// Some domains; none are all.
    ///
    /// # Errors
    /// For a domain that there is not.
    pub fn of(domains: &[String]) -> Result<Self> {
        if let Some(other) = domains.iter().find(|domain| !DOMAINS.contains(&domain.as_str())) {
            let expected = format!("some of {}", DOMAINS.join(", "));
            return Err(Error::setting("clean.only", expected, format!("{other:?}"), "such as search,browse"));
        }
        let named: Vec<String> =
            DOMAINS.iter().filter(|domain| domains.iter().any(|d| d == *domain)).map(|d| (*d).to_owned()).collect();
        Ok(Only(if named.len() == DOMAINS.len() { Vec::new() } else { named }))
    }

    /// Whether all are.
    pub fn is_all(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn has(&self, domain: &str) -> bool {
        self.is_all() || self.0.iter().any(|only| only == domain)
    }

    /// What a reader of the result should know.
    pub(crate) fn remark(&self) -> Option<String> {
        let others: Vec<&str> = DOMAINS.into_iter().filter(|domain| !self.has(domain)).collect();
        (!others.is_empty()).then(|| format!("not classified, and all kept: {}", others.join(", ")))
    }

    /// Domains whose texts are mostly in languages that the cleaner was not trained on, in words.
    ///
    /// # Errors
    /// When events cannot be read.
    pub fn foreign(&self, store: &Store, trained_on: &Languages) -> Result<Vec<String>> {
        if trained_on.told() == 0 {
            return Ok(Vec::new());
        }
        let events = Whole::<Events>::open(store, "events")?.columns(&[Events::domain.name(), Events::text.name()]);
        let mut rows_read = 0;
        let judged = DOMAINS.into_iter().filter(|domain| self.has(domain));
        let mut texts: BTreeMap<&str, Vec<String>> = judged.map(|domain| (domain, Vec::new())).collect();
        for rows in events.parts() {
            for batch in rows?.batches() {
                rows_read += batch.num_rows();
                for (domain, text) in Events::domain.of(batch)?.iter().zip(Events::text.of(batch)?) {
                    if let (Some(domain), Some(text)) = (domain, text)
                        && let Some(known) = texts.get_mut(domain).filter(|known| known.len() < LOOKED_AT)
                    {
                        known.push(text.to_owned());
                    }
                }
            }
            if rows_read >= 10 * LOOKED_AT {
                break;
            }
        }
        let mut said = Vec::new();
        for (domain, texts) in texts {
            let languages = Languages::of(texts.iter().map(String::as_str));
            if languages.told() >= TOLD && languages.share_in(trained_on) < 0.5 {
                said.push(format!(
                    "the texts of {domain} are in {languages}; the cleaner was trained on {trained_on}, so what it drops of them means \
                     little. Train one on labels of theirs, or leave {domain} out (--only)"
                ));
            }
        }
        Ok(said)
    }
}

/// Domains that lose a share wildly larger than the others do, in words.
pub fn lopsided(cleaned: &Account) -> Vec<String> {
    let counts = |domain: &str| {
        let dropped = cleaned.dropped.get(&format!("noise in {domain}")).copied().unwrap_or_default();
        (dropped, dropped + cleaned.notes.get(&format!("kept {domain}")).copied().unwrap_or_default())
    };
    let share = |(dropped, all): (u64, u64)| dropped as f64 / all.max(1) as f64;
    let mut said = Vec::new();
    for domain in DOMAINS {
        let own = counts(domain);
        let others = DOMAINS.iter().filter(|other| **other != domain).map(|other| counts(other));
        let others = others.fold((0, 0), |sum, of| (sum.0 + of.0, sum.1 + of.1));
        if own.1 >= FEW && others.1 >= FEW && share(own) >= 0.5 && share(own) >= TIMES * share(others) {
            said.push(format!(
                "{:.0}% of {domain} was dropped, and {:.1}% of the others: look at borderline, and at clean_events.dropped, before you \
                 believe it. --only with the other domains keeps all of {domain}",
                100.0 * share(own),
                100.0 * share(others)
            ));
        }
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_that_loses_far_more_than_the_others_is_named() {
        let account = |browse: [u64; 2], news: [u64; 2], search: [u64; 2]| {
            let mut account = Account::default();
            for (domain, [dropped, kept]) in [("browse", browse), ("news", news), ("search", search)] {
                account.drop(&format!("noise in {domain}"), dropped);
                account.note(&format!("kept {domain}"), kept);
            }
            account
        };
        // As in the demo: news titles are hardly ever noise.
        assert_eq!(lopsided(&account([34518, 115325], [148, 115826], [9357, 32656])), [""; 0]);
        let said = lopsided(&account([900, 100], [10, 990], [10, 990]));
        assert!(
            said.len() == 1 && said[0].starts_with("90% of browse was dropped, and 1.0% of the others"),
            "{said:?}"
        );
        assert_eq!(lopsided(&account([90, 5], [1, 990], [1, 990])), [""; 0], "too few to say");
        assert_eq!(lopsided(&account([900, 100], [0, 0], [0, 0])), [""; 0], "no others");
    }

    #[test]
    fn domains_are_those_that_there_are() {
        let only = |domains: &[&str]| Only::of(&domains.iter().map(|d| (*d).to_owned()).collect::<Vec<_>>());
        assert!(
            only(&[]).is_ok_and(|only| only.is_all()) && only(&["search", "news", "browse"]).is_ok_and(|o| o.is_all())
        );
        let some = only(&["search", "browse", "search"]).expect("domains");
        assert_eq!(some.remark().as_deref(), Some("not classified, and all kept: news"));
        assert!(some.has("search") && !some.has("news"));
        assert!(only(&["mail"]).is_err_and(|e| e.to_string().contains("browse, news, search")));
    }
}
