//! The policy: a language model that reads a user's profile and writes news search queries.
//!
//! ```text
//! Hugging Face folder ┐                       ┌─ forward (differentiable): training
//! GGUF file           ├─ Model { Policy, Tokenizer }
//! checkpoint          ┘                       └─ Snapshot ─ Rollout: whole batches, no graph
//!
//! profiles ─ Prompter ─ Rollout ─ List ─▶ interests          (the stage Generate)
//! ```
//!
//! One decoder covers the Llama and Qwen2 families. A [`Snapshot`] is a version of its weights as the [`engine`] reads them, packed for
//! products of whole batches; rollouts and training share it. `decoder.rs` is the same decoder in candle's operations, which tests compare
//! with. What candle alone can fail at returns candle's own error; all else returns the
//! [`dataset::Error`].

mod asking;
mod chat;
pub mod checkpoint;
mod decoder;
mod export;
mod files;
mod generate;
mod gguf;
#[cfg(test)]
mod laws;
mod list;
mod model;
mod pieces;
mod prompt;
mod read;
mod representative;
pub mod rollout;
mod template;
mod throughput;
mod tokenizer;
mod writer;

pub use asking::{History, Prompt, PromptSettings, Reasoning};
pub use decoder::{Packed, log_probs};
pub use engine::{Adapters, Config, Family, Lora, Snapshot};
pub use export::Export;
pub use files::Model;
pub use generate::{Generate, Inputs, Shared, asked};
pub use list::{List, ListRule, normal};
pub use model::Policy;
pub use prompt::{Behaviour, Fitted, Prompter};
pub use rollout::{Batching, Completion, Finish, Grammar, Request, Rollout, Sampling, Spent};
pub use template::{SHORT_TEMPLATE, TEMPLATE, Template};
pub use throughput::{MeasureThroughput, Ready, ThroughputInputs};
pub use tokenizer::Tokenizer;
pub use writer::{Task, Writer, Written, seed};
