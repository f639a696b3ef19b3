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
mod forward;
mod gradients;
mod head;
mod kernel;
mod linear;
mod ops;
mod pass;
mod weights;

pub(crate) use cache::Piece;
pub(crate) use forward::{Block, Rows};
pub use gradients::Gradients;
pub use head::{LogSum, Objective, Prediction, log_sum, softmax};
pub(crate) use kernel::WIDTH;
pub(crate) use ops::{Rotary, exp};
pub use pass::{Pass, Reference, Tree};
pub use weights::Snapshot;
