//! The engine: a decoder's forward and backward over whole batches, written out, for rollouts and training alike.
//!
//! ```text
//! kernel ─ linear ─┐                    ┌─ rollout: lists, token by token
//! ops, attention ──┼─ forward ──────────┤
//! cache (keys, values of past tokens) ──┘ └─ backward, by way of the forward's activations: gradients
//! ```
//!
//! Products are chains in one order (`kernel.rs`), attention runs over positions in one order (`attention.rs`), sums have a fixed
//! number of lanes (`ops.rs`). So a row's numbers depend on nothing but its own past, and the trainer's are the sampler's.

mod attention;
mod attention_back;
mod backward;
mod cache;
mod config;
mod forward;
mod gradients;
mod head;
mod kernel;
mod linear;
mod ops;
mod pass;
mod weights;

pub use cache::{Piece, Shape};
pub use config::{Config, Family};
pub use forward::{Block, Rows};
pub use gradients::Gradients;
pub use head::{LogSum, Objective, Prediction, log_sum, softmax};
pub use kernel::WIDTH;
pub use ops::{Rotary, exp};
pub use pass::{Pass, Reference, Tree};
use serde::{Deserialize, Serialize};
pub use weights::{Adapter, Snapshot, Weights};

/// Whether adapters take part in a forward. Off is the reference policy of LoRA training.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Adapters {
    /// `W + α/r · B·A`.
    On,
    /// `W` alone.
    Off,
}

/// Low-rank adapters: rank r and α of LoRA (Hu et al., 2021).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Lora {
    /// Rank.
    pub rank: usize,
    /// The update is scaled by `alpha / rank`.
    pub alpha: f64,
}
