//! Training of policies.
//!
//! ```text
//! (profile, list) pairs ──sft──▶ warm start ──grpo──▶ teacher ──distill──▶ student
//!                                     lists ─ rewards ─ advantages    lists ─ distance from the teacher
//! ```

mod adamw;
mod adaptation;
mod checks;
mod distill;
mod draw;
mod examples;
mod figures;
mod groups;
mod grpo;
mod history;
mod induction;
#[cfg(test)]
mod laws;
mod learner;
mod log;
mod objective;
mod order;
mod people;
mod pruned;
mod pseudo;
mod ranked;
mod rows;
mod run;
mod scratch;
mod served;
mod sft;

pub use adamw::{AdamW, Parameters, Update};
pub use adaptation::Adaptation;
pub use distill::{Distill, DistillInputs};
pub use groups::Advantage;
pub use grpo::{GrpoInputs, TrainGrpo};
pub use history::{History, thinned};
pub use learner::Learner;
pub use log::Log;
pub use objective::{
    Apart, Distance, Divergence, Fitted, Form, Grpo, Kl, Likelihood, Ratio, Said, Sampled, Told, Whole,
};
pub use order::Order;
pub use ranked::{Ranked, Rolled};
pub use run::{Run, Trainee, has_ended};
pub use scratch::Scratch;
pub use served::ServedSettings;
pub use sft::{Init, Sft, SftInputs};

/// What only a fault of ours makes fail.
fn candle(e: candle_core::Error) -> dataset::Error {
    dataset::Error::bug(format!("tensors: {e}"))
}
