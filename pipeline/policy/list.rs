//! Reading what the policy wrote: the strict rule of the structure reward, and a lenient parse that finds queries where it can.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

/// What a list must be. The paper's structure reward is 1 for an output that keeps this, else 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ListRule {
    /// Queries, at least.
    pub min_queries: usize,
    /// Queries, at most.
    pub max_queries: usize,
    /// Words of a query, at least.
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
    /// What stands in `<think>…</think>` before the list.
    pub reasoning: Option<String>,
    /// Whether the output keeps the rule.
    pub valid: bool,
}

/// Marks of reasoning.
pub(crate) const THINK: (&str, &str) = ("<think>", "</think>");

impl List {
    /// Reads an output. `stopped`: it ended by itself; one that was cut off is never valid.
    pub fn parse(text: &str, stopped: bool, rule: ListRule) -> Self {
        let (reasoning, rest) = split_reasoning(text);
        let strict: Option<Vec<String>> = serde_json::from_str(rest.trim()).ok();
        let valid = stopped && strict.as_ref().is_some_and(|queries| rule.keeps(queries));
        let found = strict.unwrap_or_else(|| lenient(rest));
        let mut seen = HashSet::new();
        let queries = found
            .iter()
            .map(|query| query.split_whitespace().collect::<Vec<_>>().join(" "))
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
        (self.min_words..=self.max_words).contains(&query.split_whitespace().count()) && !foreign(query)
    }

    /// Whether these bytes can be the beginning of a query: no address or template token in them, no white space but single spaces.
    pub(crate) fn may_begin(&self, bytes: &[u8]) -> bool {
        // A character that is not complete yet says nothing.
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(e) => std::str::from_utf8(&bytes[..e.valid_up_to()]).unwrap_or_default(),
        };
        !foreign(text) && !text.chars().any(|c| c != ' ' && (c.is_whitespace() || c.is_control()))
    }
}

/// Whether a text has something of an address or of a template.
fn foreign(text: &str) -> bool {
    let lower = text.to_lowercase();
    ["http", "www.", "<", ">", "{", "}", "[", "]", "\u{fffd}"].iter().any(|mark| lower.contains(mark))
}

/// A query without case and spacing: two that differ in these only are one.
pub(crate) fn normal(query: &str) -> String {
    query.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Reasoning, if the output begins with it, and the rest.
fn split_reasoning(text: &str) -> (Option<&str>, &str) {
    let Some(inside) = text.trim_start().strip_prefix(THINK.0) else { return (None, text) };
    match inside.split_once(THINK.1) {
        Some((reasoning, rest)) => (Some(reasoning.trim()), rest),
        None => (Some(inside.trim()), ""),
    }
}

/// Queries in an output that is no JSON list: what stands in quotes after the first bracket (closed or not), else the lines of a
/// list with numbers or dashes.
fn lenient(text: &str) -> Vec<String> {
    let quoted = |text: &str| -> Vec<String> {
        let mut parts = text.split('"').skip(1);
        let mut found = Vec::new();
        while let (Some(inside), Some(_)) = (parts.next(), parts.next()) {
            found.push(inside.to_owned());
        }
        found
    };
    let in_list = text.split_once('[').map(|(_, list)| quoted(list.split(']').next().unwrap_or(list)));
    match in_list {
        Some(found) if !found.is_empty() => found,
        _ => text
            .lines()
            .filter_map(|line| {
                let line = line.trim();
                let item = line.trim_start_matches(|c: char| c.is_ascii_digit());
                let numbered = item.len() < line.len() && item.starts_with(['.', ')']);
                let dashed = line.starts_with(['-', '*', '•']);
                let item = item.trim_start_matches(['.', ')', '-', '*', '•']).trim().trim_matches('"');
                (numbered || dashed).then(|| item.to_owned())
            })
            .collect(),
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
