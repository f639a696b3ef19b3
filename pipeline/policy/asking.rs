//! How users are asked: as a flag says, else as the policy was trained, else by default.
//!
//! A checkpoint holds all of it. A policy that learnt with a history of 96 tokens is not asked with 256 by mistake.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use dataset::{Error, Inputs, Result};
use serde::{Deserialize, Serialize};

use crate::template::{SHORT_TEMPLATE, TEMPLATE, Template, file};
use crate::{ListRule, Model};

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

/// Which behaviours are shown, where not all have room, and which come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum History {
    /// Those that stand for most of the others, by their words.
    #[default]
    Representative,
    /// The most recent ones.
    Recent,
}

/// What flags say of how users are asked. What they leave out is as the policy was trained.
#[derive(Debug, Clone, PartialEq, Eq, Args, Serialize, Deserialize)]
#[serde(default)]
pub struct PromptSettings {
    /// The prompt's template [default: as the policy was trained; else pipeline/policy/prompt.toml, and from scratch prompt-short.toml
    /// beside it, which are built in]
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing)]
    pub prompt: Option<PathBuf>,
    /// Queries in a list [default: as the policy was trained; else 5]
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing)]
    pub queries: Option<usize>,
    /// Whether the model thinks before it writes [default: as the policy was trained; else none]
    #[arg(long, value_name = "HOW", value_enum)]
    #[serde(skip_serializing)]
    pub reasoning: Option<Reasoning>,
    /// Which behaviours are shown, where not all have room, and which come first [default: as the policy was trained; else representative]
    #[arg(long, value_name = "WHICH", value_enum)]
    #[serde(skip_serializing)]
    pub history: Option<History>,
    /// Tokens of a user's behaviours in the prompt; the last are left out [default: as the policy was trained; else 256]
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing)]
    pub budget_tokens: Option<usize>,
    /// Tokens of one behaviour; the rest of it is cut off [default: as the policy was trained; else 32]
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing)]
    pub behaviour_tokens: Option<usize>,
    /// Tokens of an answer, at most [default: as the policy was trained; else 64]
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing)]
    pub max_new_tokens: Option<usize>,
}

/// How users are asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prompt {
    /// The words around what a user did.
    pub template: Template,
    /// Queries in a list.
    pub queries: usize,
    /// Whether the model thinks before it writes.
    pub reasoning: Reasoning,
    /// Which behaviours are shown, where not all have room.
    pub history: History,
    /// Tokens of a user's behaviours.
    pub budget_tokens: usize,
    /// Tokens of one behaviour.
    pub behaviour_tokens: usize,
    /// Tokens of an answer, at most.
    pub max_new_tokens: usize,
}

impl Default for PromptSettings {
    fn default() -> Self {
        dataset::defaults()
    }
}

impl PromptSettings {
    /// Checks what is given, as far as that can be told without the policy. `job`: whose it is.
    pub fn check(&self, job: &str) -> Result<()> {
        let PromptSettings { queries, budget_tokens, behaviour_tokens, max_new_tokens, .. } = self;
        check(job, *queries, *budget_tokens, *behaviour_tokens, *max_new_tokens)
    }

    /// Declares how users are asked: as is given, else as the policy (a model's path; none: one from scratch) was trained, else by default.
    ///
    /// # Errors
    /// When a file cannot be read, is no template, or a setting makes no sense.
    pub fn declare(&self, declare: &mut Inputs<'_>, policy: Option<&Path>) -> Result<Prompt> {
        let prompt = self.of(policy)?;
        declare.value("prompt", &prompt)?;
        Ok(prompt)
    }

    /// The same, undeclared.
    pub(crate) fn of(&self, policy: Option<&Path>) -> Result<Prompt> {
        let trained = policy.map(Model::prompt).transpose()?.flatten();
        let built_in = if policy.is_some() { TEMPLATE } else { SHORT_TEMPLATE };
        let mut prompt = match trained {
            Some(prompt) => prompt,
            None => Prompt::new(Template::parse(built_in)?),
        };
        if let Some(path) = &self.prompt {
            prompt.template = Template::parse(&file(path)?)?;
        }
        let PromptSettings { queries, reasoning, history, budget_tokens, behaviour_tokens, max_new_tokens, .. } = *self;
        let prompt = Prompt {
            queries: queries.unwrap_or(prompt.queries),
            reasoning: reasoning.unwrap_or(prompt.reasoning),
            history: history.unwrap_or(prompt.history),
            budget_tokens: budget_tokens.unwrap_or(prompt.budget_tokens),
            behaviour_tokens: behaviour_tokens.unwrap_or(prompt.behaviour_tokens),
            max_new_tokens: max_new_tokens.unwrap_or(prompt.max_new_tokens),
            template: prompt.template,
        };
        let Prompt { queries, budget_tokens, behaviour_tokens, max_new_tokens, .. } = prompt;
        check("prompt", Some(queries), Some(budget_tokens), Some(behaviour_tokens), Some(max_new_tokens))?;
        Ok(prompt)
    }
}

impl Prompt {
    /// With a template, else as it is by default.
    pub fn new(template: Template) -> Self {
        Prompt {
            template,
            queries: 5,
            reasoning: Reasoning::default(),
            history: History::default(),
            budget_tokens: 256,
            behaviour_tokens: 32,
            max_new_tokens: 64,
        }
    }
}

fn check(
    job: &str,
    queries: Option<usize>,
    budget_tokens: Option<usize>,
    behaviour_tokens: Option<usize>,
    max_new_tokens: Option<usize>,
) -> Result<()> {
    let rule = ListRule::default();
    let (least, most) = (rule.min_queries.max(1), rule.max_queries);
    let shown = |value: Option<usize>| value.map_or_else(String::new, |value| value.to_string());
    for (setting, ok, expected, got) in [
        ("queries", queries.is_none_or(|n| (least..=most).contains(&n)), format!("{least} to {most}"), shown(queries)),
        ("behaviour_tokens", behaviour_tokens.is_none_or(|n| n >= 4), "at least 4".into(), shown(behaviour_tokens)),
        (
            "budget_tokens",
            budget_tokens.zip(behaviour_tokens).is_none_or(|(budget, one)| budget > one),
            format!("more than behaviour_tokens, which is {}", shown(behaviour_tokens)),
            shown(budget_tokens),
        ),
        ("max_new_tokens", max_new_tokens.is_none_or(|n| n >= 1), "at least 1".into(), shown(max_new_tokens)),
    ] {
        if !ok {
            let hint = "see `querent generate --help`";
            return Err(Error::setting(&format!("{job}.{setting}"), expected, got, hint));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_given_is_as_it_was_trained() -> Result<()> {
        let asked = PromptSettings::default().of(Some(Path::new("a model of others")));
        assert!(asked.is_err(), "there is none");
        let scratch = PromptSettings { budget_tokens: Some(96), ..PromptSettings::default() }.of(None)?;
        let expected = Prompt { budget_tokens: 96, ..Prompt::new(Template::parse(SHORT_TEMPLATE)?) };
        assert_eq!(scratch, expected);
        let text = serde_json::to_string(&scratch).expect("JSON");
        assert_eq!(serde_json::from_str::<Prompt>(&text).expect("a prompt"), scratch);
        Ok(())
    }

    #[test]
    fn values_make_sense_or_are_named() {
        let none = PromptSettings::default;
        assert!(none().check("grpo").is_ok());
        let below = PromptSettings { budget_tokens: Some(20), ..none() };
        assert!(below.check("grpo").is_ok(), "the policy may be used to short behaviours");
        for (wrong, named) in [
            (PromptSettings { queries: Some(11), ..none() }, "grpo.queries"),
            (PromptSettings { behaviour_tokens: Some(3), ..none() }, "grpo.behaviour_tokens"),
            (PromptSettings { behaviour_tokens: Some(20), ..below.clone() }, "grpo.budget_tokens"),
            (PromptSettings { max_new_tokens: Some(0), ..none() }, "grpo.max_new_tokens"),
        ] {
            let error = wrong.check("grpo").expect_err(named);
            assert!(error.to_string().starts_with(named) && error.exit_code() == 2, "{error}");
        }
        let error = below.of(None).expect_err("less than a behaviour by default");
        assert!(error.to_string().starts_with("prompt.budget_tokens"), "{error}");
    }
}
