//! Language models behind OpenAI-compatible servers: who labels behaviours, and who judges lists.
//!
//! A question is asked once over all runs ([`Answers`]), within bounded waits; a server that leaves too many in a row unanswered ends the
//! run. No question's text gets into an error, and none leaves this machine unless that is allowed ([`Server`]).

mod answers;
mod client;
mod server;

pub use answers::{Answers, Form, Reply};
pub use client::{Answer, Client};
pub use server::{Server, ServerSettings};
