//! Constrained decoding: only tokens that keep the output a JSON list of n queries, `["…", "…"]`.
//!
//! An automaton says which bytes may follow ([`super::automaton`]); a token is allowed when all its bytes are. What is allowed depends on few
//! facts ([`State`]), so the sets are kept. The grammar is the rule of lists ([`ListRule`]) while a list is written, and bans little else, so
//! that it can stand over models of any training, and they be compared: of ASCII only what JSON would escape (`"`, `\`) and what the rule
//! bans, two blanks together, the queries of the prompt's example, which weak models copy, and queries that begin as one before them. A
//! query gets its share of the tokens that are left, so that a list ends before they do.
//!
//! No two queries begin with the same token. A model that says a behaviour again could be told only where the query would end, and would go
//! on with words that are none (`mountain cooperative gold awards`, then `mountain cooperative gold awardsians`). At its first token it
//! has a choice.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::automaton::{At, Automaton, Length, State};
use crate::Reasoning;
use crate::Tokenizer;
use crate::list::{ListRule, THINK, normal, words};
use crate::template::Template;

/// Tokens besides a query's own that it costs: the quotes and what stands between queries.
const AROUND: usize = 3;
/// Tokens before a query's end at which no new word is begun: three may complete a character, one a space before a missing word.
const LAST_WORD: usize = 4;
/// The share of the tokens that reasoning may take.
const THINKING_SHARE: usize = 3;

/// The grammar of lists, for one tokenizer.
#[derive(Debug)]
pub struct Grammar {
    bytes: Vec<Vec<u8>>,
    /// Tokens that begin with a quote.
    closing: Vec<u32>,
    queries: usize,
    automaton: Automaton,
    /// Queries that may not come: the example's.
    taken: Vec<String>,
    /// What reasoning is opened and closed with.
    think: Option<(Vec<u32>, Vec<u32>)>,
    allowed: Mutex<HashMap<State, Arc<[bool]>>>,
}

/// How far one output has come.
#[derive(Debug, Clone)]
pub(crate) struct Walk {
    state: State,
    /// Tokens that come next, whatever the model says.
    forced: Vec<u32>,
    /// Tokens left for free reasoning.
    thinking: Option<usize>,
    /// Tokens of the current query, and how many it may have.
    used: usize,
    share: usize,
    text: Vec<u8>,
    done: Vec<String>,
    /// What the queries' first tokens brought of them.
    begun: Vec<String>,
}

/// What may come next.
pub(crate) enum Next {
    /// This token.
    Forced(u32),
    /// One of these.
    Allowed(Arc<[bool]>),
    /// Any token but control tokens.
    Thought,
    /// Nothing: the list is complete.
    Nothing,
}

impl Grammar {
    /// Lists of `queries` queries that keep `rule`, written as a template has them, without the queries of its example.
    pub fn new(
        tokenizer: &Tokenizer,
        queries: usize,
        rule: ListRule,
        reasoning: Reasoning,
        template: &Template,
    ) -> Self {
        let bytes: Vec<Vec<u8>> =
            (0..tokenizer.vocabulary() as u32).map(|token| tokenizer.bytes(token).to_vec()).collect();
        let closing =
            (0..).zip(&bytes).filter(|(_, bytes)| bytes.first() == Some(&b'"')).map(|(token, _)| token).collect();
        let close = || tokenizer.encode(&format!("{}\n", THINK.1));
        let think = (reasoning == Reasoning::Brief).then(|| (tokenizer.encode(THINK.0), close()));
        let automaton = Automaton { rule, blank: template.begins_with_blank() };
        let taken = template.example_queries().iter().map(|query| normal(query)).collect();
        Grammar { bytes, closing, queries, automaton, taken, think, allowed: Mutex::default() }
    }

    pub(crate) fn start(&self, max_new_tokens: usize) -> Walk {
        let forced = self.think.as_ref().map_or_else(Vec::new, |(open, _)| open.clone());
        let thinking = self.think.as_ref().map(|_| max_new_tokens / THINKING_SHARE);
        Walk {
            state: State::START,
            forced,
            thinking,
            used: 0,
            share: usize::MAX,
            text: Vec::new(),
            done: Vec::new(),
            begun: Vec::new(),
        }
    }

    /// Whether the list is complete.
    pub(crate) fn complete(&self, walk: &Walk) -> bool {
        walk.state.at == At::End
    }

    /// What may come next.
    pub(crate) fn next(&self, walk: &Walk) -> Next {
        match (walk.forced.first(), walk.thinking, walk.state.at) {
            (Some(token), _, _) => Next::Forced(*token),
            (_, Some(_), _) => Next::Thought,
            (_, _, At::End) => Next::Nothing,
            _ => Next::Allowed(self.allowed(walk.state)),
        }
    }

    /// Goes on by a token that [`Grammar::next`] allows; `left` tokens may follow it. False, and nothing changes, when it would begin a query
    /// as another begins, or end one that the list already has or that breaks the rule.
    pub(crate) fn accept(&self, walk: &mut Walk, token: u32, left: usize) -> bool {
        if walk.forced.first() == Some(&token) {
            walk.forced.remove(0);
            return true;
        }
        if let Some(thinking) = walk.thinking {
            walk.thinking = thinking.checked_sub(1).filter(|left| *left > 0);
            if walk.thinking.is_none() {
                walk.forced = self.think.as_ref().map_or_else(Vec::new, |(_, close)| close.clone());
            }
            return true;
        }
        let (mut state, mut text, mut ended) = (walk.state, walk.text.clone(), None);
        for byte in &self.bytes[token as usize] {
            let inside = state.at == At::Inside;
            let Some(next) = self.automaton.step(state, *byte) else { return false };
            state = next;
            match (inside, state.at) {
                (true, At::Inside) => {
                    text.push(*byte);
                    if !self.automaton.rule.may_begin(&text) {
                        return false;
                    }
                }
                (true, _) if ended.is_some() => return false,
                (true, _) => ended = Some(std::mem::take(&mut text)),
                _ => {}
            }
        }
        let begins = !text.is_empty() && (walk.text.is_empty() || ended.is_some());
        let beginning = if begins { beginning(&text) } else { None };
        if beginning.as_ref().is_some_and(|beginning| walk.begun.contains(beginning)) {
            return false;
        }
        if let Some(query) = ended {
            let query = String::from_utf8_lossy(&query).into_owned();
            let normal = normal(&query);
            if [&walk.done, &self.taken].iter().any(|known| known.contains(&normal))
                || !self.automaton.rule.keeps_query(&query)
            {
                return false;
            }
            walk.done.push(normal);
            (walk.used, walk.share) = (0, usize::MAX);
        }
        walk.begun.extend(beginning);
        if state.at == At::Inside && walk.share == usize::MAX {
            let to_come = self.queries - walk.done.len();
            walk.share = (left / to_come.max(1)).saturating_sub(AROUND);
        } else if state.at == At::Inside {
            walk.used += 1;
        }
        let begun = walk.done.len() + usize::from(state.at != At::After);
        state.more = begun < self.queries;
        state.length = match walk.share.saturating_sub(walk.used) {
            _ if state.at != At::Inside => Length::Free,
            0 => Length::Close,
            // Without blanks, words are only told by the rule.
            _ if state.wide
                && state.rest.is_none()
                && words(&String::from_utf8_lossy(&text)) >= self.automaton.rule.max_words =>
            {
                Length::Close
            }
            left if left <= LAST_WORD => Length::LastWord,
            _ => Length::Free,
        };
        (walk.state, walk.text) = (state, text);
        true
    }

    /// Near a query's end, where no other word may begin: what could come if one might. Where the model would begin another word, the query
    /// ends instead; else the model's next choice would go on with the word that it is done with (`safe ornot`).
    pub(crate) fn unhurried(&self, walk: &Walk) -> Option<Arc<[bool]>> {
        let State { at, length, words, .. } = walk.state;
        let last = at == At::Inside && length == Length::LastWord && words >= self.automaton.rule.min_words;
        last.then(|| self.allowed(State { length: Length::Free, ..walk.state }))
    }

    /// Tokens that end a query.
    pub(crate) fn closing(&self) -> &[u32] {
        &self.closing
    }

    /// Lets a query that must end, but may not end as it is, go on for a token.
    pub(crate) fn extend(&self, walk: &mut Walk) {
        walk.share = walk.used + 1;
        walk.state.length = Length::Free;
        // To the automaton every character beyond ASCII is a letter. To the rule some are marks.
        walk.state.words = walk.state.words.min(words(&String::from_utf8_lossy(&walk.text)));
    }

    /// Ends the reasoning: the model said that it is done with it.
    pub(crate) fn end_thought(&self, walk: &mut Walk) {
        walk.thinking = None;
        walk.forced = self.think.as_ref().map_or_else(Vec::new, |(_, close)| close.clone());
    }

    /// Whether a token would end the reasoning: it begins a mark, or is a control token.
    pub(crate) fn ends_thought(&self, token: u32) -> bool {
        self.bytes.get(token as usize).is_none_or(|bytes| bytes.is_empty() || bytes.contains(&b'<'))
    }

    fn allowed(&self, state: State) -> Arc<[bool]> {
        let mut allowed = self.allowed.lock().unwrap_or_else(PoisonError::into_inner);
        let set = allowed.entry(state).or_insert_with(|| {
            let fits = |bytes: &Vec<u8>| {
                let mut end = Some(state);
                for byte in bytes {
                    end = end.and_then(|end| self.automaton.step(end, *byte));
                }
                // Near its end a query begins no character that other tokens must complete.
                let whole = |end: State| state.length == Length::Free || end.rest.is_none() || state.rest.is_some();
                end.is_some_and(whole) && !bytes.is_empty()
            };
            self.bytes.iter().map(fits).collect()
        });
        set.clone()
    }
}

/// What a query's first token says of it; nothing where it is part of a character, or a mark.
fn beginning(text: &[u8]) -> Option<String> {
    std::str::from_utf8(text).ok().map(normal).filter(|text| text.chars().any(char::is_alphanumeric))
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_xoshiro::Xoshiro256PlusPlus;

    use super::*;
    use crate::list::List;

    /// The short template, whose example has `taken query` alone.
    fn template(blank: bool) -> Template {
        let short = crate::SHORT_TEMPLATE.replace("blank = true", &format!("blank = {blank}"));
        Template::parse(&short.replace("\"a b\", \"b a\"", "\"taken query\", \"b a\"")).expect("a template")
    }

    /// Draws allowed tokens with no model at all: whatever is drawn must be a list.
    fn drawn(tokenizer: &Tokenizer, grammar: &Grammar, tokens: usize, seed: u64) -> Vec<u32> {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
        let (mut walk, mut output, mut refused) = (grammar.start(tokens), Vec::new(), std::collections::HashSet::new());
        for _ in 0..100_000 {
            if output.len() == tokens {
                break;
            }
            let left = tokens - output.len() - 1;
            let token = match grammar.next(&walk) {
                Next::Nothing => break,
                Next::Forced(token) => token,
                Next::Thought => tokenizer.encode("x")[0],
                Next::Allowed(allowed) => {
                    let all = (0..).zip(allowed.iter()).filter(|(t, ok)| **ok && !refused.contains(t));
                    let all: Vec<u32> = all.map(|(t, _)| t).collect();
                    if all.is_empty() {
                        grammar.extend(&mut walk);
                        refused.clear();
                        continue;
                    }
                    all[random.random_range(0..all.len())]
                }
            };
            if grammar.accept(&mut walk, token, left) {
                output.push(token);
                refused.clear();
            } else {
                refused.insert(token);
            }
        }
        output
    }

    #[test]
    fn what_keeps_the_rule_may_be_written() {
        for tokenizer in [crate::laws::bytes_tokenizer(), crate::laws::qwen_like_tokenizer()] {
            let grammar = Grammar::new(&tokenizer, 3, ListRule::default(), Reasoning::None, &template(false));
            for (list, fits) in [
                (r##"["Ukraine war: peace talks?", "Marks & Spencer (UK)", "#metoo, 5 years on!"]"##, true),
                (r#"["AT&T's $85bn bid", "what's new @ CES 2026", "x/b; c = d - e*f ~ 50%"]"#, true),
                (r#"["太阳能电池板价格走势", "Zürich Straßenbahn", "รถไฟล่าช้า"]"#, true),
                (r#"["one", "two three", "four five"]"#, false),
                (r#"["taken query", "two three", "four five"]"#, false),
                (r#"["two three", "Two three", "four five"]"#, false),
                (r#"["two  three", "four five", "six seven"]"#, false),
                (r#"["two {three}", "four five", "six seven"]"#, false),
                (r#"["see www.x y", "four five", "six seven"]"#, false),
                (r#"["经济", "四五六", "六七八"]"#, false),
            ] {
                let mut walk = grammar.start(2_000);
                let written = tokenizer.encode(list).into_iter().all(|token| match grammar.next(&walk) {
                    Next::Allowed(allowed) => allowed[token as usize] && grammar.accept(&mut walk, token, 1_000),
                    _ => false,
                });
                assert_eq!(written && grammar.complete(&walk), fits, "{list}");
            }
        }
    }

    #[test]
    fn whatever_is_drawn_is_a_list() {
        let tokenizer = crate::laws::bytes_tokenizer();
        for (queries, reasoning) in [(3, Reasoning::None), (5, Reasoning::None), (4, Reasoning::Brief)] {
            let rule = ListRule { min_queries: queries, max_queries: queries, ..ListRule::default() };
            for seed in 0..200 {
                let grammar = Grammar::new(&tokenizer, queries, rule, reasoning, &template(seed % 2 == 0));
                let output = drawn(&tokenizer, &grammar, 220, seed);
                let text = tokenizer.decode(&output);
                let list = List::parse(&text, true, rule);
                assert!(list.valid && list.queries.len() == queries, "{text}");
                let letters = list.queries.iter().filter_map(|query| beginning(&query.as_bytes()[..1]));
                let distinct: std::collections::HashSet<String> = letters.clone().collect();
                assert_eq!(letters.count(), distinct.len(), "{text}");
                assert_eq!(list.reasoning.is_some(), reasoning == Reasoning::Brief);
                assert_eq!(text.contains("\" "), seed % 2 == 0, "a blank before each query: {text}");
            }
        }
    }

    #[test]
    fn no_query_begins_as_one_before_it() {
        let tokenizer = crate::laws::bytes_tokenizer();
        let one = |text: &str| tokenizer.encode(text)[0];
        let grammar = Grammar::new(&tokenizer, 3, ListRule::default(), Reasoning::None, &template(false));
        let mut walk = grammar.start(100);
        for token in tokenizer.encode("[\"a b\", \"") {
            assert!(grammar.accept(&mut walk, token, 50));
        }
        assert!(!grammar.accept(&mut walk, one("a"), 50));
        assert!(!grammar.accept(&mut walk, one("A"), 50));
        for token in tokenizer.encode("b aa\", \"") {
            assert!(grammar.accept(&mut walk, token, 50), "within a query anything may come again");
        }
        assert!(!grammar.accept(&mut walk, one("b"), 50));
        for token in tokenizer.encode("c aa\"]") {
            assert!(grammar.accept(&mut walk, token, 50));
        }
        assert!(grammar.complete(&walk));
        // The first of three bytes says nothing yet, and neither does a mark.
        let mut walk = grammar.start(1_000);
        for token in
            tokenizer.encode("[\"\u{592a}\u{9633}\u{80fd}\u{7535}\", \"\u{592a}\u{9633}\u{80fd}\u{6c60}\", \"#a b\"]")
        {
            assert!(grammar.accept(&mut walk, token, 500));
        }
        assert!(grammar.complete(&walk));
    }

    #[test]
    fn a_query_that_is_there_already_does_not_end() {
        let tokenizer = crate::laws::bytes_tokenizer();
        let grammar = Grammar::new(&tokenizer, 3, ListRule::default(), Reasoning::None, &template(false));
        let mut walk = grammar.start(100);
        let mut all = tokenizer.encode("[\"#a b\", \"#A b\"");
        let last = all.pop().expect("a quote");
        for token in all {
            assert!(grammar.accept(&mut walk, token, 50));
        }
        assert!(!grammar.accept(&mut walk, last, 50));
        assert!(grammar.accept(&mut walk, tokenizer.encode("c")[0], 50));
        assert!(grammar.accept(&mut walk, last, 50));
    }
}
