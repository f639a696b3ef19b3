//! What is to be learnt: losses over lists, with their gradients by the logits written down.

mod grpo;
mod likelihood;

pub use grpo::{Form, Grpo, Kl, Ratio, Said, Sampled};
pub use likelihood::{Fitted, Likelihood};
