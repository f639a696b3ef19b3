//! A client of OpenAI-compatible chat servers, which finds out by asking what a server takes.

use std::sync::atomic::{AtomicBool, Ordering};

use dataset::{Error, Result};
use serde::Serialize;
use serde_json::Value;

use crate::http::{Http, Patience, Refusal, Unanswered};
use crate::wire::{Answer, read};
use crate::{Schema, Server};

const LARGEST_ANSWER: u64 = 1 << 20;

/// One server and model.
#[derive(Debug)]
pub struct Client {
    http: Http,
    model: String,
    /// What the server was found to do.
    manners: Manners,
}

/// Found out by asking: servers differ in what they take.
#[derive(Debug, Default)]
struct Manners {
    /// It answered under a schema. What it refuses from then on, it does not refuse for the schema.
    takes_schema: AtomicBool,
    /// It answered without one what it had refused with one.
    refuses_schema: AtomicBool,
    /// It calls the bound of an answer `max_completion_tokens`.
    renamed_bound: AtomicBool,
}

/// What is sent.
#[derive(Serialize)]
struct Request<'a> {
    model: &'a str,
    messages: &'a Value,
    temperature: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<ResponseFormat<'a>>,
}

#[derive(Serialize)]
struct ResponseFormat<'a> {
    r#type: &'a str,
    json_schema: Named<'a>,
}

#[derive(Serialize)]
struct Named<'a> {
    name: &'a str,
    strict: bool,
    schema: &'a Schema,
}

impl Refusal {
    /// What servers say that take no schema: 400, 422, or as llama-cpp-python, 500.
    fn may_be_the_schemas(&self) -> bool {
        matches!(self.status, Some(400 | 422 | 500))
    }

    /// What servers say that know the bound of an answer by its newer name.
    fn renames_the_bound(&self) -> bool {
        matches!(self.status, Some(400 | 422)) && self.body.contains("max_completion_tokens")
    }
}

fn is(flag: &AtomicBool) -> bool {
    flag.load(Ordering::Relaxed)
}

impl Client {
    /// Takes the key from the environment; sends nothing yet.
    ///
    /// # Errors
    /// When the key is none.
    pub fn open(server: &Server) -> Result<Self> {
        let http = Http::open(server, "chat/completions", LARGEST_ANSWER)?;
        Ok(Client { http, model: server.model.clone(), manners: Manners::default() })
    }

    /// Requests sent so far.
    pub fn requests(&self) -> u64 {
        self.http.requests()
    }

    /// The server cannot be asked as it is set up: it refused what it was asked.
    pub(crate) fn refused(&self, got: &str) -> Error {
        self.http.refused(got)
    }

    /// Asks once, and again while the server says later. A server that refuses under a schema is asked without, once; if it answers then, it is
    /// asked without from then on.
    ///
    /// # Errors
    /// When the server refuses whoever asks.
    pub fn ask(&self, messages: &Value, schema: &Schema, max_tokens: u32) -> Result<Result<Answer, Unanswered>> {
        let Manners { takes_schema, refuses_schema, renamed_bound } = &self.manners;
        let (mut patience, mut bare) = (Patience::new(), false);
        loop {
            let with_schema = !bare && !is(refuses_schema);
            let renamed = is(renamed_bound);
            match self.request(messages, with_schema.then_some(schema), max_tokens, renamed) {
                Ok(answer) => {
                    if with_schema {
                        takes_schema.store(true, Ordering::Relaxed);
                    } else if bare && !is(takes_schema) {
                        refuses_schema.store(true, Ordering::Relaxed);
                    }
                    return Ok(Ok(answer));
                }
                Err(refusal) if !renamed && refusal.renames_the_bound() => renamed_bound.store(true, Ordering::Relaxed),
                Err(refusal) if with_schema && !is(takes_schema) && refusal.may_be_the_schemas() => bare = true,
                Err(refusal) => {
                    if let Err(unanswered) = self.http.wait(refusal, &mut patience)? {
                        return Ok(Err(unanswered));
                    }
                    // The schema was not what it refused.
                    bare = false;
                }
            }
        }
    }

    fn request(
        &self,
        messages: &Value,
        schema: Option<&Schema>,
        max_tokens: u32,
        renamed: bool,
    ) -> Result<Answer, Refusal> {
        let body = Request {
            model: &self.model,
            messages,
            temperature: 0,
            max_tokens: (!renamed).then_some(max_tokens),
            max_completion_tokens: renamed.then_some(max_tokens),
            response_format: schema.map(|schema| ResponseFormat {
                r#type: "json_schema",
                json_schema: Named { name: "verdict", strict: true, schema },
            }),
        };
        // The last message is the question; the others are ours.
        let question = messages.as_array().and_then(|all| all.last()).and_then(|last| last["content"].as_str());
        read(&self.http.post(&body, question.unwrap_or_default())?).map_err(Refusal::unanswered)
    }
}
