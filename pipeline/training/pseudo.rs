//! Pseudo-lists: what a first policy is taught, made of the user's own themes. Each theme gives a query, the content words of one of its
//! behaviours; a title is never taken word for word.

use std::collections::HashSet;

use news::Theme;
use reward::{Lexicon, UserInterests, Word};

/// Words of a query, at most.
const MOST_WORDS: usize = 6;

/// A list for a user, of `queries` queries where there are as many, the heaviest theme's first; fewer than `least`: none.
pub(crate) fn list(user: &UserInterests, lexicon: &Lexicon, queries: usize, least: usize) -> Option<Vec<String>> {
    let mut list: Vec<String> = Vec::new();
    let mut seen = HashSet::new();
    // A round gives a query of each theme; the next ones look at the behaviours that are left.
    let mut left: Vec<Vec<usize>> = user.themes.iter().map(by_closeness).collect();
    while list.len() < queries && left.iter().any(|members| !members.is_empty()) {
        for members in &mut left {
            while list.len() < queries && !members.is_empty() {
                let member = members.remove(0);
                let taken = shorten(&user.texts[member], user.domains[member] != "search", lexicon);
                if let Some(query) = taken.filter(|query| seen.insert(query.to_lowercase())) {
                    list.push(query);
                    break;
                }
            }
        }
    }
    (list.len() >= least).then_some(list)
}

/// A theme's behaviours: the medoid, then the others, the most recent first.
fn by_closeness(theme: &Theme) -> Vec<usize> {
    let (medoid, others): (Vec<usize>, Vec<usize>) = theme.members.iter().partition(|member| **member == theme.medoid);
    [medoid, others].concat()
}

/// A behaviour's content words in their order, two at least. A title never stays as it is.
fn shorten(text: &str, title: bool, lexicon: &Lexicon) -> Option<String> {
    let plain = |word: &str| word.trim_matches(|c: char| !c.is_alphanumeric()).to_owned();
    let all: Vec<String> = text.split_whitespace().map(plain).filter(|word| !word.is_empty()).collect();
    let says = |word: &String| {
        let words = lexicon.wording(word).words;
        !words.is_empty() && words.iter().all(|(_, is)| matches!(is, Word::Content { .. } | Word::Number))
    };
    let mut kept: Vec<&str> = all.iter().filter(|word| says(word)).map(String::as_str).take(MOST_WORDS).collect();
    if title && kept.len() == all.len() {
        kept.pop();
    }
    let letters = kept.iter().filter(|word| word.chars().any(char::is_alphabetic)).count();
    (letters >= 2).then(|| kept.join(" "))
}

#[cfg(test)]
mod tests {
    use reward::RewardSettings;

    use super::*;

    #[test]
    fn titles_are_shortened_and_searches_may_stay() {
        let titles = ["Ferry strike in Greece ends", "New pear trees planted", "Rate cuts announced", "Greece votes"];
        // In so few titles every word is common.
        let settings = RewardSettings { common_share: 1.0, ..RewardSettings::default() };
        let lexicon = Lexicon::new(titles, &settings).expect("a lexicon");
        let short = |text, title| shorten(text, title, &lexicon);
        assert_eq!(short("ferry strike Greece", false).as_deref(), Some("ferry strike Greece"));
        assert_eq!(short("Ferry strike Greece", true).as_deref(), Some("Ferry strike"));
        assert_eq!(short("Ferry strike in Greece: what is next?", true).as_deref(), Some("Ferry strike Greece"));
        assert_eq!(short("the", false), None);
        assert_eq!(short("Greece votes", true), None);
        assert_eq!(short("", false), None);
    }
}
