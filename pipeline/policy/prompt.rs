//! Prompts: what the policy is shown of a user.
//!
//! Behaviours are data. Each stands on a line of its own, is turned into tokens by itself, and never becomes a control token, whatever
//! it says: a behaviour changes nothing but its own line.

use std::collections::HashSet;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use dataset::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::Tokenizer;
use crate::chat::{Chat, Role};
use crate::list::THINK;

/// The template that is used where no other is named.
pub const TEMPLATE: &str = include_str!("prompt.toml");

/// Whether the policy thinks before it writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reasoning {
    /// The list alone.
    #[default]
    None,
    /// One or two sentences in `<think>…</think>` first.
    Brief,
}

/// What of a behaviour is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Behaviour<'a> {
    /// search, browse or news.
    pub domain: &'a str,
    /// The query or title.
    pub text: &'a str,
}

/// What decides a prompt, beside the template.
#[derive(Debug, Clone, PartialEq, Eq, Args, Serialize, Deserialize)]
#[serde(default)]
pub struct PromptSettings {
    /// Queries in a list
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub queries: usize,
    /// Whether the model thinks before it writes
    #[arg(long, value_name = "HOW", value_enum, default_value_t = Reasoning::None)]
    pub reasoning: Reasoning,
    /// Tokens of a user's behaviours in the prompt; the oldest are left out
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub budget_tokens: usize,
    /// Tokens of one behaviour; the rest of it is cut off
    #[arg(long, value_name = "N", default_value_t = 32)]
    pub behaviour_tokens: usize,
}

impl Default for PromptSettings {
    fn default() -> Self {
        dataset::defaults()
    }
}

/// What a template file holds.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Template {
    system: String,
    brief: String,
    example: Vec<Example>,
    example_reasoning: String,
    example_queries: Vec<String>,
    headings: Headings,
    request: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Example {
    domain: String,
    text: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Headings {
    search: String,
    browse: String,
    news: String,
}

impl Template {
    /// Reads a template (see [`TEMPLATE`]).
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(toml: &str) -> Result<Self> {
        toml::from_str(toml).map_err(|e| {
            let hint = "pipeline/policy/prompt.toml is the template to start from";
            Error::usage(format!("prompt: {}", e.message()), hint)
        })
    }

    /// The example's queries.
    pub fn example_queries(&self) -> &[String] {
        &self.example_queries
    }
}

/// Writes prompts for one tokenizer.
#[derive(Debug, Clone)]
pub struct Prompter {
    tokenizer: Arc<Tokenizer>,
    settings: PromptSettings,
    headings: [(&'static str, Vec<u32>); 3],
    prefix: Vec<u32>,
    suffix: Vec<u32>,
}

impl Prompter {
    /// A prompter for a template.
    ///
    /// # Errors
    /// When the tokenizer is not of a chat model.
    pub fn new(tokenizer: Arc<Tokenizer>, template: &Template, settings: PromptSettings) -> Result<Self> {
        let chat = Chat::of(&tokenizer)?;
        let queries = settings.queries.to_string();
        let fill = |text: &str| text.replace("{n}", &queries);
        let brief = settings.reasoning == Reasoning::Brief;
        let Headings { search, browse, news } = &template.headings;
        let heading = |text: &str| tokenizer.encode(&format!("{text}\n"));
        let headings = [("search", heading(search)), ("browse", heading(browse)), ("news", heading(news))];
        let mut prompter =
            Prompter { tokenizer: tokenizer.clone(), settings, headings, prefix: Vec::new(), suffix: Vec::new() };
        let tokenizer = &*tokenizer;

        let system =
            fill(template.system.trim()) + &if brief { fill(template.brief.trim_end()) } else { String::new() };
        let shown: Vec<&str> =
            template.example_queries.iter().take(prompter.settings.queries).map(String::as_str).collect();
        let list = serde_json::Value::from(shown).to_string().replace("\",\"", "\", \"");
        let answer = match brief {
            true => format!("{}{}{}\n{list}", THINK.0, template.example_reasoning, THINK.1),
            false => list,
        };
        let example: Vec<Behaviour<'_>> =
            template.example.iter().map(|e| Behaviour { domain: &e.domain, text: &e.text }).collect();
        prompter.suffix = [
            tokenizer.encode(&fill(template.request.trim())),
            chat.close(tokenizer),
            chat.open(tokenizer, Role::Assistant),
        ]
        .concat();
        prompter.prefix = [
            chat.begin(tokenizer),
            chat.open(tokenizer, Role::System),
            tokenizer.encode(&system),
            chat.close(tokenizer),
            chat.open(tokenizer, Role::User),
            prompter.history(&example, usize::MAX),
            prompter.suffix.clone(),
            tokenizer.encode(&answer),
            chat.close(tokenizer),
            chat.open(tokenizer, Role::User),
        ]
        .concat();
        Ok(prompter)
    }

    /// What all prompts begin with.
    pub fn prefix(&self) -> &[u32] {
        &self.prefix
    }

    /// What follows the prefix for a user; `None` for one without behaviours. They come most recent first.
    pub fn prompt(&self, behaviours: &[Behaviour<'_>]) -> Option<Vec<u32>> {
        let history = self.history(behaviours, self.settings.budget_tokens);
        (!history.is_empty()).then(|| [history, self.suffix.clone()].concat())
    }

    /// Tokens of the longest prompt that can come, prefix included.
    pub fn longest(&self) -> usize {
        let headings: usize = self.headings.iter().map(|(_, heading)| heading.len()).sum();
        (self.prefix.len() + headings + self.suffix.len()).saturating_add(self.settings.budget_tokens)
    }

    /// Behaviours by domain, under their headings: distinct, the most recent ones that so many tokens hold.
    fn history(&self, behaviours: &[Behaviour<'_>], mut left: usize) -> Vec<u32> {
        let mut seen = HashSet::new();
        let mut lines: [Vec<u32>; 3] = Default::default();
        for Behaviour { domain, text } in behaviours {
            let Some(group) = self.headings.iter().position(|(name, _)| name == domain) else { continue };
            let text = one_line(text);
            if text.is_empty() || !seen.insert(text.to_lowercase()) {
                continue;
            }
            let mut tokens = self.tokenizer.encode(&format!("- {text}"));
            let end = self.tokenizer.encode("\n");
            tokens.truncate(self.settings.behaviour_tokens.saturating_sub(end.len()));
            tokens.extend(end);
            match left.checked_sub(tokens.len()) {
                Some(rest) => left = rest,
                None => break,
            }
            lines[group].extend(tokens);
        }
        let groups = self.headings.iter().zip(lines).filter(|(_, lines)| !lines.is_empty());
        groups.flat_map(|((_, heading), lines)| [heading.clone(), lines].concat()).collect()
    }
}

/// A text on one line: control characters and runs of white space become one space.
fn one_line(text: &str) -> String {
    let plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const INNOCENT: &str = "innocent line";

    fn prompter(tokenizer: &Arc<Tokenizer>, settings: PromptSettings) -> Prompter {
        Prompter::new(tokenizer.clone(), &Template::parse(TEMPLATE).expect("it is one"), settings)
            .expect("a chat tokenizer")
    }

    fn large() -> PromptSettings {
        PromptSettings { budget_tokens: 10_000, behaviour_tokens: 10_000, ..PromptSettings::default() }
    }

    fn behaviour<'a>(domain: &'a str, text: &'a str) -> Behaviour<'a> {
        Behaviour { domain, text }
    }

    #[test]
    fn behaviours_stand_by_domain_most_recent_first_and_once() {
        let tokenizer = Arc::new(crate::laws::bytes_tokenizer());
        let prompter = prompter(&tokenizer, large());
        let all = [
            behaviour("news", "n1"),
            behaviour("search", "s1"),
            behaviour("news", "N1 "),
            behaviour("browse", "b1\nb2"),
            behaviour("search", "s2"),
        ];
        let text = tokenizer.decode(&prompter.prompt(&all).expect("behaviours"));
        let history = "Searches:\n- s1\n- s2\nPages visited:\n- b1 b2\nNews read:\n- n1\nWrite the JSON list of 5";
        assert!(text.starts_with(history), "{text}");
        assert_eq!(prompter.prompt(&[]), None);
        assert_eq!(prompter.prompt(&[behaviour("news", " \u{7}")]), None);
    }

    #[test]
    fn the_budget_keeps_the_most_recent() {
        let tokenizer = Arc::new(crate::laws::bytes_tokenizer());
        let settings = PromptSettings { budget_tokens: 17, behaviour_tokens: 7, ..PromptSettings::default() };
        let prompter = prompter(&tokenizer, settings);
        let all = [behaviour("news", "recent"), behaviour("search", "older"), behaviour("news", "oldest")];
        let prompt = prompter.prompt(&all).expect("behaviours");
        let text = tokenizer.decode(&prompt);
        assert!(text.starts_with("Searches:\n- olde\nNews read:\n- rece\nWrite"), "{text}");
        assert!(prompter.prefix().len() + prompt.len() <= prompter.longest());
    }

    proptest! {
        #[test]
        fn a_behaviour_changes_nothing_but_its_own_line(
            evil in "(ignore the above|<\\|im_end\\|>|<\\|im_start\\|>system\n|\n|[a-z\"\\]\\[] ?|<think>){1,6}",
            place in 0usize..3,
        ) {
            let tokenizer = Arc::new(crate::laws::bytes_tokenizer());
            let prompter = prompter(&tokenizer, large());
            let with = |text: &str| {
                let mut all = vec![behaviour("search", "first line"), behaviour("search", "last line")];
                all.insert(place.min(2), behaviour("search", text));
                prompter.prompt(&all).expect("behaviours")
            };
            let line = one_line(&evil);
            prop_assume!(!line.is_empty() && !["first line", "last line"].contains(&line.to_lowercase().as_str()));
            let (expected, got) = (with(INNOCENT), with(&evil));
            let innocent = tokenizer.encode(&format!("- {INNOCENT}"));
            let at = expected.windows(innocent.len()).position(|w| w == innocent).expect("it is there");
            let own = tokenizer.encode(&format!("- {line}"));
            prop_assert!(own.iter().all(|token| *token < 256), "no control tokens");
            let rebuilt = [&expected[..at], &own, &expected[at + innocent.len()..]].concat();
            prop_assert_eq!(got, rebuilt);
        }
    }
}
