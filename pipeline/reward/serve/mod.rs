//! Rewards for other trainers: a server on this machine, for whoever has its token.
//!
//! One process speaks all wires that trainers speak (`wires.rs`). The user of a list travels as a profile's user id. A request's lists are
//! scored together, which gives the same as scoring each by itself. A verdict that could not be had is HTTP 503 at first, for trainers ask
//! again, and then a configured number, which is counted (`patience.rs`). Every refusal is one JSON object, `{"error": …}`, which repeats no
//! text.

mod patience;
mod wires;

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex, PoisonError};

use clap::Args;
use dataset::bucket::{bucket, unhex};
use dataset::{Error, Result, Store, Style, Whole};
use policy::{List, ListRule};
use schemas::Profiles;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tiny_http::{Header, Method, Request, Response};

use crate::people::{PROFILES, People};
use crate::{Component, Score, ScoreLists, Scorer};
use patience::Patience;
use wires::{Asked, Scored, Wire};

/// The environment variable with the token.
pub const TOKEN: &str = "QUERENT_SCORE_TOKEN";
/// Bytes of a request, at most.
const LARGEST_BODY: u64 = 4 << 20;
/// Requests that are worked on at a time.
const WORKERS: usize = 16;
/// Tokens are at least so long.
const SHORTEST_TOKEN: usize = 16;

/// How rewards are served.
#[derive(Debug, Clone, Args, Serialize, Deserialize)]
#[serde(default)]
pub struct ServeSettings {
    /// How often a list on which the judge has no verdict is refused with HTTP 503 before it gets --undecided-reward; while the judge's server
    /// does not answer, all are
    #[arg(long, value_name = "N", default_value_t = 3)]
    #[serde(skip_serializing)]
    pub undecided_attempts: u32,
    /// What such a list gets then, for a trainer takes no null
    #[arg(long, value_name = "REWARD", default_value_t = 0.0)]
    #[serde(skip_serializing)]
    pub undecided_reward: f32,
}

impl Default for ServeSettings {
    fn default() -> Self {
        dataset::defaults()
    }
}

/// Why a request gets no reward.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Refused {
    status: u16,
    what: String,
}

impl Refused {
    fn new(status: u16, what: String) -> Self {
        Refused { status, what }
    }
}

/// A server that is bound, and not at work yet.
pub struct Server {
    http: tiny_http::Server,
    port: u16,
    token: blake3::Hash,
    desk: Desk,
}

/// What answers requests.
struct Desk {
    scorer: Scorer,
    settings: ServeSettings,
    profiles: Whole<Profiles>,
    /// The partitions of `profiles` that somebody asked for.
    people: Mutex<HashMap<u32, Arc<People>>>,
    patience: Patience,
}

impl Server {
    /// Opens all that scores lists, and a port of this machine's own address; 0: any that is free.
    ///
    /// # Errors
    /// Also when the token is too short to be one.
    pub fn open(lists: &ScoreLists, settings: &ServeSettings, store: &Store, port: u16, token: &str) -> Result<Self> {
        if token.len() < SHORTEST_TOKEN || !token.bytes().all(|c| c.is_ascii_graphic()) {
            let expected = format!("at least {SHORTEST_TOKEN} visible ASCII characters");
            return Err(Error::setting(
                TOKEN,
                expected,
                "another text",
                format!("export {TOKEN}=$(openssl rand -hex 16)"),
            ));
        }
        if !settings.undecided_reward.is_finite() {
            let got = settings.undecided_reward;
            return Err(Error::setting("score.undecided_reward", "a finite number", got, "leave it out for 0"));
        }
        let busy = |e: &dyn std::fmt::Display| Error::setting("--serve", "a free port", e, "give another; 0 takes any");
        let listener = TcpListener::bind(("127.0.0.1", port)).map_err(|e| busy(&e))?;
        let port = listener.local_addr().map_err(|e| busy(&e))?.port();
        let http = tiny_http::Server::from_listener(listener, None).map_err(|e| busy(&e))?;
        let profiles = Whole::open(store, "profiles")?.columns(&PROFILES);
        let (people, patience) = (Mutex::default(), Patience::new(settings.undecided_attempts));
        let desk =
            Desk { scorer: lists.now(store, Style::Silent)?, settings: settings.clone(), profiles, people, patience };
        Ok(Server { http, port, token: blake3::hash(token.as_bytes()), desk })
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Answers requests until the process ends.
    pub fn run(&self) {
        std::thread::scope(|scope| {
            for _ in 0..WORKERS {
                scope.spawn(|| {
                    while let Ok(request) = self.http.recv() {
                        self.answer(request);
                    }
                });
            }
        });
    }

    fn answer(&self, mut request: Request) {
        let (status, body) = match self.of(&mut request) {
            Ok(answer) => (200, answer),
            Err(Refused { status, what }) => (status, json!({"error": what})),
        };
        let json = Header::from_bytes("content-type", "application/json").expect("a header");
        // Whoever asked may have gone.
        let _ = request.respond(Response::from_string(body.to_string()).with_status_code(status).with_header(json));
    }

    fn of(&self, request: &mut Request) -> Result<Value, Refused> {
        let (path, query) = request.url().split_once('?').unwrap_or((request.url(), ""));
        let wire =
            Wire::of(path).ok_or_else(|| Refused::new(404, "expected /get_reward, /reward or /verify".into()))?;
        let header = |name: &'static str| request.headers().iter().find(move |header| header.field.equiv(name));
        let bearer = header("authorization").and_then(|header| header.value.as_str().strip_prefix("Bearer "));
        let given = bearer.or_else(|| query.split('&').find_map(|pair| pair.strip_prefix("token=")));
        // Hashes are compared in constant time.
        if given.is_none_or(|given| blake3::hash(given.as_bytes()) != self.token) {
            let what = format!("expected the token of {TOKEN}, as `authorization: Bearer TOKEN` or ?token=TOKEN");
            return Err(Refused::new(401, what));
        }
        if *request.method() != Method::Post {
            return Err(Refused::new(405, "expected POST".into()));
        }
        let too_large = || Refused::new(413, format!("expected at most {LARGEST_BODY} bytes"));
        if request.body_length().is_some_and(|length| length as u64 > LARGEST_BODY) {
            return Err(too_large());
        }
        let mut body = Vec::new();
        let read = request.as_reader().take(LARGEST_BODY + 1).read_to_end(&mut body);
        read.map_err(|_| Refused::new(400, "the request's body broke off".into()))?;
        if body.len() as u64 > LARGEST_BODY {
            return Err(too_large());
        }
        let body: Value = serde_json::from_slice(&body).map_err(|e| {
            Refused::new(400, format!("expected JSON; line {}, column {} is none", e.line(), e.column()))
        })?;
        let asked = wire.read(&body)?;
        Ok(wire.write(body, &self.desk.score(&asked)?))
    }
}

impl Desk {
    /// The rewards of a request's lists.
    fn score(&self, asked: &[Asked]) -> Result<Vec<Scored>, Refused> {
        // What cannot be read or asked is worth another try; what is wrong with it is for the server's log.
        let failed = |e: Error| {
            let _ = writeln!(std::io::stderr(), "score: {e}");
            Refused::new(503, "not now: see the server's messages".into())
        };
        let unknown = || Refused::new(422, "expected a user id of profiles, got another".into());
        let people = |asked: &Asked| {
            let id = unhex(&asked.user_id).ok_or_else(unknown)?;
            self.people(bucket(&id, self.profiles.partitions())).map_err(failed)
        };
        let people = asked.iter().map(people).collect::<Result<Vec<_>, _>>()?;
        let users = people.iter().zip(asked).map(|(people, asked)| people.find(&asked.user_id).ok_or_else(unknown));
        let users = users.collect::<Result<Vec<_>, _>>()?;
        let Scorer { rewards, calibration } = &self.scorer;
        let lists: Vec<[List; 1]> =
            asked.iter().map(|asked| [List::parse(&asked.text, true, ListRule::default())]).collect();
        let interests = rewards.interests(&users).map_err(failed)?;
        let groups: Vec<_> = interests.iter().zip(&lists).map(|(user, list)| (user, list.as_slice())).collect();
        let scores: Vec<Score> = rewards.score(&groups).map_err(failed)?.into_iter().flatten().collect();
        let rewards: Vec<Option<f32>> =
            scores.iter().map(|score| rewards.settings().total(&score.components, calibration)).collect();
        let name = |asked: &Asked| blake3::hash(json!([asked.user_id, asked.text]).to_string().as_bytes());
        if self.patience.refuses(&asked.iter().map(name).zip(rewards.iter().map(Option::is_none)).collect()) {
            return Err(Refused::new(503, "undecided: the judge gave no verdict; ask again".into()));
        }
        Ok(scores.iter().zip(rewards).map(|(score, reward)| self.scored(score, reward)).collect())
    }

    /// What is said of a list: numbers alone.
    fn scored(&self, score: &Score, reward: Option<f32>) -> Scored {
        let instead = self.settings.undecided_reward;
        let component = |component: Component| (component.name(), score.components.get(component).unwrap_or(instead));
        let mut log = Component::ALL.map(component).to_vec();
        log.extend([("copied", score.copied), ("undecided", f32::from(u8::from(reward.is_none())))]);
        Scored { reward: reward.unwrap_or(instead), log }
    }

    fn people(&self, partition: u32) -> Result<Arc<People>> {
        let mut known = self.people.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(people) = known.get(&partition) {
            return Ok(people.clone());
        }
        let people = Arc::new(People::read(&self.profiles.read(partition)?)?);
        known.insert(partition, people.clone());
        Ok(people)
    }
}
