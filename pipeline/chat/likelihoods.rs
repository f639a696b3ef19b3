//! How likely a model behind a server finds given tokens: what a teacher says of lists that is not on this machine's own engine.
//!
//! Two ways of asking, each a server's own. Both are sent tokens by their numbers, so model and student must have the same ones; where the server
//! says what it takes a token for, that is compared.

use clap::ValueEnum;
use dataset::{Error, Result, in_parallel};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::Server;
use crate::http::{Http, Patience, Refusal, Unanswered};

const LARGEST_ANSWER: u64 = 64 << 20;

/// How a server is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Wire {
    /// vLLM: POST completions, with prompt_logprobs.
    #[default]
    Vllm,
    /// SGLang: POST generate, with return_logprob.
    Sglang,
}

/// Tokens, the last of which are asked about.
#[derive(Debug, Clone)]
pub struct Sequence {
    /// All of them; at least one more than are asked about.
    pub tokens: Vec<u32>,
    /// How many of the last.
    pub asked: usize,
    /// The text that they are: no error repeats it.
    pub text: String,
}

/// What is said of a token.
#[derive(Debug, Clone, PartialEq)]
pub struct Said {
    /// `ln q(token)` after all before it.
    pub log_probability: f32,
    /// What the server takes the token for, if it says so.
    pub text: Option<String>,
}

/// A server that says how likely tokens are.
#[derive(Debug)]
pub struct Likelihoods {
    http: Http,
    server: Server,
    wire: Wire,
}

impl Likelihoods {
    /// Sends nothing yet.
    ///
    /// # Errors
    /// When the key in the environment is none.
    pub fn open(server: &Server, wire: Wire) -> Result<Self> {
        let path = match wire {
            Wire::Vllm => "completions",
            Wire::Sglang => "generate",
        };
        Ok(Likelihoods { http: Http::open(server, path, LARGEST_ANSWER)?, server: server.clone(), wire })
    }

    /// For each sequence what is said of its last tokens, in order.
    ///
    /// # Errors
    /// When the server fails to answer one as often as it may be asked, or says nothing of its tokens.
    pub fn of(&self, sequences: &[Sequence]) -> Result<Vec<Vec<Said>>> {
        in_parallel(sequences.len(), self.server.concurrency, |at| self.one(&sequences[at]))
    }

    fn one(&self, sequence: &Sequence) -> Result<Vec<Said>> {
        let body = self.wire.request(&self.server.model, sequence);
        // A server that repeats the tokens says as much as one that repeats the text.
        let question = format!("{} {:?}", sequence.text, sequence.tokens);
        let mut patience = Patience::new();
        loop {
            let answer = self.http.post(&body, &question);
            let answer = answer.and_then(|answer| {
                serde_json::from_str::<Value>(&answer).map_err(|_| Refusal::unanswered("an answer that is no JSON"))
            });
            let refusal = match answer {
                Ok(answer) => {
                    return self.wire.read(&answer, sequence).ok_or_else(|| {
                        let expected =
                            format!("a server that says how likely a prompt's tokens are ({})", self.wire.asks());
                        let hint = "start it with the student's tokens, or name the other wire";
                        Error::setting(&self.server.setting("endpoint"), expected, "an answer without that", hint)
                    });
                }
                Err(refusal) => refusal,
            };
            match self.http.wait(refusal, &mut patience)? {
                Ok(()) => {}
                Err(Unanswered::Refused(got)) => return Err(self.http.refused(&got)),
                Err(Unanswered::Failed(why)) => {
                    let what = format!("{}: no answer ({why})", self.server.setting("endpoint"));
                    return Err(Error::retry(what, "mend the cause, then run again: it goes on from its last look"));
                }
            }
        }
    }
}

impl Wire {
    /// What is asked for, by the server's name for it.
    fn asks(self) -> &'static str {
        match self {
            Wire::Vllm => "prompt_logprobs",
            Wire::Sglang => "return_logprob",
        }
    }

    fn request(self, model: &str, Sequence { tokens, asked, .. }: &Sequence) -> Value {
        match self {
            // One token more is written, for none may be too few; nobody reads it.
            Wire::Vllm => json!({
                "model": model, "prompt": tokens, "max_tokens": 1, "temperature": 0, "prompt_logprobs": 0,
                "add_special_tokens": false,
            }),
            // Of the first token that it speaks of it does not say how likely it was.
            Wire::Sglang => json!({
                "input_ids": tokens, "sampling_params": {"max_new_tokens": 1, "temperature": 0}, "return_logprob": true,
                "logprob_start_len": tokens.len() - asked - 1, "return_text_in_logprobs": true,
            }),
        }
    }

    /// What is said of the last tokens; nothing where one is left out, or is another.
    fn read(self, answer: &Value, Sequence { tokens, asked, .. }: &Sequence) -> Option<Vec<Said>> {
        let asked_for = &tokens[tokens.len() - asked..];
        let all = match self {
            Wire::Vllm => &answer["choices"][0]["prompt_logprobs"],
            Wire::Sglang => &answer["meta_info"]["input_token_logprobs"],
        };
        // vLLM speaks of all tokens; SGLang of those from the start that it was given, by some versions of the one after the last, too, as token -1.
        let is_one = |said: &&Value| self == Wire::Vllm || said[1].as_i64() >= Some(0);
        let all: Vec<&Value> = all.as_array()?.iter().filter(is_one).collect();
        let complete = self == Wire::Sglang || all.len() == tokens.len();
        let last = all.get(all.len().checked_sub(*asked)?..).filter(|_| complete)?;
        let said = |(token, said): (&u32, &&Value)| {
            let (log_probability, text) = match self {
                Wire::Vllm => {
                    let said = &said[token.to_string()];
                    (&said["logprob"], &said["decoded_token"])
                }
                // The last token of a vocabulary it calls 0.
                Wire::Sglang if said[1] == *token || said[1] == 0 => (&said[0], &said[2]),
                Wire::Sglang => return None,
            };
            let log_probability = log_probability.as_f64().filter(|x| *x <= 1e-3)? as f32;
            Some(Said { log_probability, text: text.as_str().map(str::to_owned) })
        };
        asked_for.iter().zip(last).map(said).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::ServerSettings;
    use crate::testing::serve;

    fn ask(address: &str, wire: Wire, attempts: u32) -> Result<Vec<Vec<Said>>> {
        let server = Server::new(&ServerSettings { attempts, ..ServerSettings::local(address) })?;
        let sequence = |tokens: &[u32], asked| Sequence { tokens: tokens.to_vec(), asked, text: "planted".into() };
        Likelihoods::open(&server, wire)?.of(&[
            sequence(&[700, 800, 900], 2),
            sequence(&[5, 400], 1),
            sequence(&[1, 700, 800], 1),
        ])
    }

    /// What both servers say of a token: its number decides how likely it is.
    fn likely(token: &Value) -> f64 {
        -0.5 * token.as_f64().expect("a number")
    }

    fn vllm(path: &str, body: &Value) -> (u16, String) {
        assert_eq!((path, &body["prompt_logprobs"], &body["model"]), ("/v1/completions", &json!(0), &json!("m")));
        let tokens = body["prompt"].as_array().expect("tokens");
        let of = |(at, token): (usize, &Value)| match at {
            0 => Value::Null,
            _ => {
                json!({token.to_string(): {"logprob": likely(token), "rank": 1, "decoded_token": format!("t{token}")}})
            }
        };
        let all: Vec<Value> = tokens.iter().enumerate().map(of).collect();
        (200, json!({"choices": [{"text": "x", "prompt_logprobs": all}]}).to_string())
    }

    fn sglang(path: &str, body: &Value) -> (u16, String) {
        assert_eq!((path, &body["return_logprob"]), ("/v1/generate", &json!(true)));
        let start = body["logprob_start_len"].as_u64().expect("a start") as usize;
        let of = |(at, token): (usize, &Value)| json!([(at > 0).then(|| likely(token)), token, format!("t{token}")]);
        let tokens = &body["input_ids"].as_array().expect("tokens")[start..];
        let all: Vec<Value> = tokens.iter().enumerate().map(of).chain([json!([-9.0, -1, null])]).collect();
        (200, json!({"text": "x", "meta_info": {"input_token_logprobs": all}}).to_string())
    }

    #[test]
    fn tokens_are_as_likely_as_the_server_says() -> Result<()> {
        let said = |token: u32| Said { log_probability: -0.5 * token as f32, text: Some(format!("t{token}")) };
        let expected = vec![vec![said(800), said(900)], vec![said(400)], vec![said(800)]];
        assert_eq!(ask(&serve(vllm), Wire::Vllm, 1)?, expected);
        assert_eq!(ask(&serve(sglang), Wire::Sglang, 1)?, expected);
        // As SGLang calls the last token of a vocabulary.
        let last = |path: &str, body: &Value| (200, sglang(path, body).1.replace(",900,", ",0,"));
        assert_eq!(ask(&serve(last), Wire::Sglang, 1)?, expected);
        Ok(())
    }

    #[test]
    fn what_may_pass_is_asked_again_and_what_will_not_is_an_error() {
        // Busy at first.
        let calls = AtomicUsize::new(0);
        let busy = serve(move |path, body| match calls.fetch_add(1, Ordering::Relaxed) {
            0 => (503, String::new()),
            1 => (200, "{\"choices\": [{\"prom".into()),
            _ => vllm(path, body),
        });
        assert_eq!(ask(&busy, Wire::Vllm, 4).map(|said| said.len()).ok(), Some(3));
        let said = |answer: (u16, &str), wire: Wire| {
            let (status, body) = (answer.0, answer.1.to_owned());
            ask(&serve(move |_, _| (status, body.clone())), wire, 1).expect_err("no likelihoods")
        };
        let always = said((503, ""), Wire::Vllm);
        assert!(always.exit_code() != 2 && always.to_string().contains("HTTP 503"), "{always}");
        for (answer, wire) in [
            ((404, "{\"detail\": \"Not Found\"}"), Wire::Vllm),
            ((400, "{\"error\": {\"message\": \"planted is too long\"}}"), Wire::Vllm),
            ((400, "{\"error\": {\"message\": \"too long: [700, 800\"}}"), Wire::Vllm),
            // What chat servers say that know no likelihoods of prompts; and what would not be of the tokens that were asked about.
            ((200, "{\"choices\": [{\"text\": \"x\"}]}"), Wire::Vllm),
            ((200, "{\"choices\": [{\"prompt_logprobs\": [null, {\"800\": {\"logprob\": -1}}]}]}"), Wire::Vllm),
            (
                (
                    200,
                    "{\"choices\": [{\"prompt_logprobs\": [null, {\"800\": {\"logprob\": 1}}, {\"900\": {\"logprob\": -1}}]}]}",
                ),
                Wire::Vllm,
            ),
            ((200, "{\"meta_info\": {\"input_token_logprobs\": [[-1, 800, null], [-1, 10, null]]}}"), Wire::Sglang),
            ((200, "{\"meta_info\": {\"input_token_logprobs\": [[null, 900, null]]}}"), Wire::Sglang),
        ] {
            let error = said(answer, wire);
            assert!(error.exit_code() == 2 && error.to_string().contains("annotate.endpoint"), "{answer:?}: {error}");
            assert!(!["planted", "700"].iter().any(|text| error.to_string().contains(text)), "{error}");
        }
    }
}
