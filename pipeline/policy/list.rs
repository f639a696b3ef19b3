//! What the policy wrote: the strict rule of the structure reward, and the queries that a tolerant reader (`read.rs`) finds.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::read;

/// What a list must be. The paper's structure reward is 1 for an output that keeps this, else 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ListRule {
    /// Queries, at least.
    pub min_queries: usize,
    /// Queries, at most.
    pub max_queries: usize,
    /// Words of a query, at least. Scripts without blanks: by length, see `words` in `list.rs`.
    pub min_words: usize,
    /// Words of a query, at most.
    pub max_words: usize,
}

impl Default for ListRule {
    fn default() -> Self {
        ListRule { min_queries: 3, max_queries: 10, min_words: 2, max_words: 12 }
    }
}

/// What an output says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct List {
    /// The queries that a lenient parse finds: distinct, trimmed, not blank.
    pub queries: Vec<String>,
    /// What stands in `<think>…</think>` before the list; the opening mark may stand in the prompt.
    pub reasoning: Option<String>,
    /// Whether the output keeps the rule.
    pub valid: bool,
}

/// Marks of reasoning.
pub(crate) const THINK: (&str, &str) = ("<think>", "</think>");

impl List {
    /// Reads an output. `stopped`: it ended by itself; one that was cut off is never valid.
    pub fn parse(text: &str, stopped: bool, rule: ListRule) -> Self {
        let strictly = |text: &str| serde_json::from_str::<Vec<String>>(text.trim()).ok();
        let (reasoning, rest) = match strictly(text) {
            Some(_) => (None, text),
            None => split_reasoning(text),
        };
        let strict = strictly(rest);
        let valid = stopped && strict.as_ref().is_some_and(|queries| rule.keeps(queries));
        let found = strict.unwrap_or_else(|| read::queries(rest));
        let mut seen = HashSet::new();
        let queries = found
            .iter()
            .map(|query| query.split(|c: char| c.is_whitespace() || c.is_control()))
            .map(|words| words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" "))
            .filter(|query| !query.is_empty() && seen.insert(query.to_lowercase()))
            .collect();
        List { queries, reasoning: reasoning.map(str::to_owned), valid }
    }
}

impl ListRule {
    /// Whether queries are as many as they should be, distinct, of so many words, and free of addresses and template tokens.
    fn keeps(&self, queries: &[String]) -> bool {
        let distinct: HashSet<String> = queries.iter().map(|query| normal(query)).collect();
        (self.min_queries..=self.max_queries).contains(&queries.len())
            && distinct.len() == queries.len()
            && queries.iter().all(|query| self.keeps_query(query))
    }

    pub(crate) fn keeps_query(&self, query: &str) -> bool {
        (self.min_words..=self.max_words).contains(&words(query)) && !foreign(query)
    }

    /// Whether these bytes can be the beginning of a query: not too many words, no address or template token, no white space but spaces.
    pub(crate) fn may_begin(&self, bytes: &[u8]) -> bool {
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(e) => {
                let (whole, begun) = bytes.split_at(e.valid_up_to());
                let text = std::str::from_utf8(whole).unwrap_or_default();
                // A character is not begun that could not end, for it may be one word too many: a letter, or of a script without blanks.
                let wide = begun.first().is_some_and(|lead| *lead >= 0xe0 && *lead != 0xe2);
                let fits = |next: char| words(&format!("{text}{next}")) <= self.max_words;
                if !fits('\u{e9}') || (wide && !fits('\u{4e2d}')) {
                    return false;
                }
                text
            }
        };
        words(text) <= self.max_words && !foreign(text) && !text.chars().any(|c| c != ' ' && c.is_whitespace())
    }
}

/// Words of a query. What stands between blanks is one if it has a letter or digit: `Marks & Spencer` and `COVID-19 rules` have two.
///
/// Some scripts are written without blanks, and where their words end only a dictionary says. There words are counted by length, at what
/// is usual: two characters of Chinese or Hiragana make a word, four of Katakana, Thai, Lao, Tibetan, Burmese or Khmer, and so does what
/// is left of a run. A longer text never has fewer words, so that a list can be stopped while it is written.
pub(crate) fn words(text: &str) -> usize {
    text.split_whitespace().map(words_between_blanks).sum()
}

fn words_between_blanks(text: &str) -> usize {
    // Characters of the current word without blanks around it, and whether a word of letters has begun.
    let (mut words, mut length, mut letters) = (0, 0, false);
    for c in text.chars() {
        match characters_per_word(c) {
            Some(most) => {
                if length == 0 || length >= most {
                    (words, length) = (words + 1, 0);
                }
                (length, letters) = (length + 1, false);
            }
            None if c.is_alphanumeric() => {
                words += usize::from(!letters);
                (length, letters) = (0, true);
            }
            None => length = 0,
        }
    }
    words
}

/// Characters that make a word in a script without blanks; `None` for other scripts.
fn characters_per_word(c: char) -> Option<usize> {
    match c {
        '\u{3005}'..='\u{3007}' | '\u{3041}'..='\u{309f}' | '\u{3105}'..='\u{312f}' => Some(2),
        '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}' => {
            Some(2)
        }
        '\u{30a0}'..='\u{30ff}' | '\u{31f0}'..='\u{31ff}' | '\u{ff66}'..='\u{ff9f}' => Some(4),
        '\u{0e00}'..='\u{0fff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}' => Some(4),
        _ => None,
    }
}

/// Whether a text has something of an address or of a template, or a control character.
fn foreign(text: &str) -> bool {
    let lower = text.to_lowercase();
    text.chars().any(char::is_control)
        || ["http", "www.", "<", ">", "{", "}", "[", "]", "\u{fffd}"].iter().any(|mark| lower.contains(mark))
}

/// A text without case and spacing: two that differ in these only are one.
pub fn normal(query: &str) -> String {
    query.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Reasoning, if the output begins with it, and the rest. The opening mark may stand in the prompt.
fn split_reasoning(text: &str) -> (Option<&str>, &str) {
    let inside = text.trim_start().strip_prefix(THINK.0);
    match (inside.unwrap_or(text).split_once(THINK.1), inside) {
        (Some((reasoning, rest)), _) => (Some(reasoning.trim()), rest),
        (None, Some(reasoning)) => (Some(reasoning.trim()), ""),
        (None, None) => (None, text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> List {
        List::parse(text, true, ListRule::default())
    }

    #[test]
    fn a_list_that_keeps_the_rule() {
        let list = parse(" [\"solar power prices\", \"rate cuts\",\n\"Swiss train delays\"] ");
        assert!(list.valid);
        assert_eq!(list.queries, ["solar power prices", "rate cuts", "Swiss train delays"]);
        let list = parse("<think>likes trains</think>\n[\"a b\", \"c d\", \"e f\"]");
        assert_eq!((list.valid, list.reasoning.as_deref()), (true, Some("likes trains")));
    }

    #[test]
    fn what_breaks_the_rule() {
        for bad in [
            "[\"a b\", \"c d\"]",                       // too few
            "[\"a b\", \"c d\", \"A  b\"]",             // a duplicate
            "[\"a b\", \"c d\", \"e\"]",                // one word
            "[\"a b\", \"c d\", \"see http://e.f g\"]", // an address
            "[\"a b\", \"c d\", \"<|im_end|> f\"]",     // a template token
            "Sure: [\"a b\", \"c d\", \"e f\"]",        // not alone
            "[\"a b\", \"c d\", 3]",                    // not only strings
            "[\"a b\", \"c d\", \"e f\"",               // not closed
            "",
        ] {
            assert!(!parse(bad).valid, "{bad}");
        }
        assert!(!List::parse("[\"a b\", \"c d\", \"e f\"]", false, ListRule::default()).valid);
        let long = format!("[\"a b\", \"c d\", \"{}\"]", "w ".repeat(13));
        assert!(!parse(&long).valid);
    }

    #[test]
    fn queries_are_found_where_they_can_be() {
        assert_eq!(parse("Here: [\"one two\", \"three\", \"fo").queries, ["one two", "three"]);
        assert_eq!(parse("1. one two\n2) \"three\"\n- four\ntext").queries, ["one two", "three", "four"]);
        assert_eq!(parse("[\"a\", \"a \", \"\", \" \"]").queries, ["a"]);
        assert!(parse("nothing here").queries.is_empty());
        assert_eq!(parse("<think>never closed").reasoning.as_deref(), Some("never closed"));
    }
}
