//! A teacher behind a server, which says how likely it finds the tokens of a list.

use chat::{Likelihoods, Said, Sequence, Server, ServerSettings, Wire};
use clap::Args;
use dataset::{Error, Result};
use engine::Tree;
use policy::Task;
use serde::{Deserialize, Serialize};

/// A server whose model is the teacher, if one is named.
#[derive(Debug, Clone, PartialEq, Args, Serialize, Deserialize)]
#[serde(default)]
pub struct ServedSettings {
    /// A server whose model is the teacher, in place of --teacher: vLLM's, such as http://localhost:8000/v1, or SGLang's, such as
    /// http://localhost:30000. It has the student's tokens, and says of a list's tokens how likely each is: so --divergence is sampled. Its key is
    /// taken from the environment: QUERENT_API_KEY [default: none]
    #[arg(long, value_name = "URL", default_value = "", hide_default_value = true)]
    #[serde(skip_serializing)]
    pub teacher_endpoint: String,
    /// The model, as the server names it
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    #[serde(skip_serializing)]
    pub teacher_model: String,
    /// How the server is asked
    #[arg(long, value_name = "WHICH", value_enum, default_value_t)]
    #[serde(skip_serializing)]
    pub teacher_wire: Wire,
    /// Requests to the server at a time
    #[arg(long, value_name = "N", default_value_t = 8)]
    #[serde(skip_serializing)]
    pub teacher_concurrency: usize,
    /// Seconds until a request to the server is given up
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0)]
    #[serde(skip_serializing)]
    pub teacher_timeout_s: f64,
    /// How often a request that the server refuses (429, 5xx) or that times out is sent in all
    #[arg(long, value_name = "N", default_value_t = 5)]
    #[serde(skip_serializing)]
    pub teacher_attempts: u32,
    /// Let people's texts leave this machine: prompts show what they did
    #[arg(long)]
    #[serde(skip_serializing)]
    pub allow_remote_text: bool,
}

impl Default for ServedSettings {
    fn default() -> Self {
        dataset::defaults()
    }
}

/// The server.
pub(crate) struct Served(Likelihoods);

impl ServedSettings {
    /// The server, if one is named.
    pub(crate) fn server(&self) -> Result<Option<Server>> {
        if self.teacher_endpoint.is_empty() {
            return Ok(None);
        }
        let settings = ServerSettings {
            prefix: "distill.teacher_",
            endpoint: &self.teacher_endpoint,
            model: &self.teacher_model,
            concurrency: self.teacher_concurrency,
            timeout_s: self.teacher_timeout_s,
            attempts: self.teacher_attempts,
            allow_remote_text: self.allow_remote_text,
        };
        Server::new(&settings).map(Some)
    }
}

impl Served {
    pub(crate) fn open(server: &Server, wire: Wire) -> Result<Self> {
        Likelihoods::open(server, wire).map(Served)
    }

    /// The teacher's log-probability of each token, by tree and list; `−∞` from the first on that is none of the `vocabulary`: a server refuses it.
    ///
    /// # Errors
    /// When the server fails, or takes a token for another.
    pub(crate) fn read(&self, task: &Task, trees: &[Tree<'_>], vocabulary: usize) -> Result<Vec<Vec<Vec<f32>>>> {
        let known = |list: &[u32]| list.iter().take_while(|token| (**token as usize) < vocabulary).count();
        let sequence = |prompt: &[u32], list: &[u32]| {
            let list = &list[..known(list)];
            let text = task.text(&[prompt, list].concat());
            Sequence { tokens: [task.prefix(), prompt, list].concat(), asked: list.len(), text }
        };
        let of_tree = |tree: &Tree<'_>| tree.lists.iter().map(|list| sequence(tree.prompt, list)).collect::<Vec<_>>();
        let sequences: Vec<Sequence> = trees.iter().flat_map(of_tree).collect();
        let said = self.0.of(&sequences)?;
        for (sequence, said) in sequences.iter().zip(&said) {
            let list = &sequence.tokens[sequence.tokens.len() - sequence.asked..];
            if let Some((token, _)) =
                list.iter().zip(said).find(|(token, said)| !is_the_same(&task.text(&[**token]), said))
            {
                let got = format!("token {token} for another");
                let hint = "take a student and a teacher of one family";
                return Err(Error::setting("distill.teacher_endpoint", "the student's tokens", got, hint));
            }
        }
        let mut said = said.into_iter();
        let mut of_list = |list: &&[u32]| {
            let mut said: Vec<f32> = said.next().unwrap_or_default().iter().map(|said| said.log_probability).collect();
            said.resize(list.len(), f32::NEG_INFINITY);
            said
        };
        Ok(trees.iter().map(|tree| tree.lists.iter().map(&mut of_list).collect()).collect())
    }
}

/// Whether the server takes a token for what it is here, as far as it says so. Servers write blanks and parts of letters each in their own way.
fn is_the_same(text: &str, said: &Said) -> bool {
    let word = text.trim();
    let is_plain = !word.is_empty() && word.bytes().all(|c| c.is_ascii_alphanumeric());
    !is_plain || said.text.as_ref().is_none_or(|said| said.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_compared_where_they_are_plain_words() {
        let said = |text: Option<&str>| Said { log_probability: -1.0, text: text.map(str::to_owned) };
        for (text, theirs, same) in [
            (" news", Some(" news"), true),
            (" news", Some("\u{120}news"), true),
            (" news", Some("\u{2581}news"), true),
            (" news", Some(" old"), false),
            (" news", None, true),
            ("\n", Some("\u{10a}"), true),
            ("\u{fffd}", Some("x"), true),
        ] {
            assert_eq!(is_the_same(text, &said(theirs)), same, "{text:?}, {theirs:?}");
        }
    }
}
