//! Training of policies.
//!
//! ```text
//! (profile, list) pairs ──sft──▶ warm start ──grpo──▶ teacher
//!                                   ▲            lists ─ rewards ─ advantages ─ gradients, step by step
//! ```

mod adamw;
#[cfg(test)]
mod laws;
mod objective;

pub use adamw::{AdamW, Parameters, Update};
pub use objective::{Fitted, Form, Grpo, Kl, Likelihood, Ratio, Said, Sampled};
