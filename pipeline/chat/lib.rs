//! Language models behind servers: who labels behaviours, who judges lists ([`Answers`]), and who says how likely lists are ([`Likelihoods`]).
//!
//! A question is asked once over all runs ([`Answers`]), within bounded waits. One that the server refuses, or answers with nonsense, is counted,
//! and the others go on. What may be had another day is an error, for a result without it would be taken for whole. No question's text gets into
//! an error, and none leaves this machine unless that is allowed ([`Server`]).

mod answers;
mod client;
mod http;
mod likelihoods;
mod schema;
mod server;
#[cfg(test)]
mod testing;
mod wire;

pub use answers::{Answers, Form, Question, Reply, kept_at};
pub use client::Client;
pub use http::Unanswered;
pub use likelihoods::{Likelihoods, Said, Sequence, Wire};
pub use schema::Schema;
pub use server::{Server, ServerSettings};
pub use wire::{Answer, bit};
