//! Templates of prompts: the words around what a user did, and how a list is written.

use std::path::Path;

use dataset::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::files::read;

/// The template that is used where no other is named.
pub const TEMPLATE: &str = include_str!("prompt.toml");
/// The one for policies from scratch: a few tokens.
pub const SHORT_TEMPLATE: &str = include_str!("prompt-short.toml");

/// A template's text.
pub(crate) fn file(path: &Path) -> Result<String> {
    let hint = "--prompt takes a template like pipeline/policy/prompt.toml";
    String::from_utf8(read(path, hint)?)
        .map_err(|_| Error::unreadable(path.display(), "expected a text in UTF-8", hint))
}

/// A template, as its file's text says it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Template {
    /// The file's text.
    text: String,
    pub(crate) parts: Parts,
}

/// What a template file holds.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Parts {
    pub(crate) system: String,
    pub(crate) brief: String,
    pub(crate) example: Vec<Example>,
    pub(crate) example_reasoning: String,
    pub(crate) example_queries: Vec<String>,
    pub(crate) headings: Headings,
    pub(crate) request: String,
    /// Whether a blank stands before each query, inside its quotes. Then its first word has the same tokens as in the history, where a blank
    /// stands before every word.
    #[serde(default)]
    blank: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Example {
    pub(crate) domain: String,
    pub(crate) text: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Headings {
    pub(crate) search: String,
    pub(crate) browse: String,
    pub(crate) news: String,
}

impl Template {
    /// Reads a template (see [`TEMPLATE`]).
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(toml: &str) -> Result<Self> {
        let parts: Parts = toml::from_str(toml).map_err(|e| {
            let hint = "pipeline/policy/prompt.toml is the template to start from";
            Error::usage(format!("prompt: {}", e.message()), hint)
        })?;
        Ok(Template { text: toml.to_owned(), parts })
    }

    /// Queries as the JSON list that a policy is to answer with.
    pub fn list(&self, queries: &[String]) -> String {
        let blank = if self.parts.blank { " " } else { "" };
        let quoted = queries.iter().map(|query| serde_json::Value::from(format!("{blank}{query}")).to_string());
        format!("[{}]", quoted.collect::<Vec<_>>().join(", "))
    }

    /// Whether a blank stands before each query, inside its quotes.
    pub(crate) fn begins_with_blank(&self) -> bool {
        self.parts.blank
    }

    /// The example's queries.
    pub fn example_queries(&self) -> &[String] {
        &self.parts.example_queries
    }
}

impl TryFrom<String> for Template {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        Template::parse(&text)
    }
}

impl From<Template> for String {
    fn from(template: Template) -> String {
        template.text
    }
}
