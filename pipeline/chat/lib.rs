//! Language models behind OpenAI-compatible servers: who labels behaviours, and who judges lists.
//!
//! A question is asked once over all runs ([`Answers`]), within bounded waits. One that the server refuses, or answers with nonsense, is counted,
//! and the others go on. What may be had another day is an error, for a result without it would be taken for whole. No question's text gets into
//! an error, and none leaves this machine unless that is allowed ([`Server`]).

mod answers;
mod client;
mod server;
mod wire;

pub use answers::{Answers, Form, Reply};
pub use client::{Client, Unanswered};
pub use server::{Server, ServerSettings};
pub use wire::{Answer, bit};
