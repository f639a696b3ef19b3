//! The field's recommenders, as their authors define them, to compare with: the same histories, candidates and lists as all methods.
//!
//! ```text
//! profiles, news_vectors ──gru, sasrec, hstu, nrhub──▶ baseline.<name> (an artifact) ──▶ recommendations.<name>
//!                        ─────────pinnersage──────────────────────────────────────────▶ recommendations.pinnersage
//! ```
//!
//! Trained ones learn to tell each click of the users of `train` from the clicks before it. Users of `valid` say when to stop; those of `test`
//! are never looked at.

mod clicks;
mod gru;
mod histories;
mod hstu;
#[cfg(test)]
mod laws;
mod measure;
mod network;
mod nrhub;
mod pinnersage;
mod positions;
mod recommend;
mod sasrec;
mod sizes;
mod train;
mod trained;
mod tune;
pub mod ward;
mod window;
mod words;

pub use clicks::{Clicks, Records};
pub use histories::Histories;
pub use measure::{Measured, measure};
pub use network::{Articles, Network, Prepared};
pub use pinnersage::{Cluster, PinnerSage};
pub use recommend::{ListSettings, Model, Recommend, Shared, Sources};
pub use sizes::{Item, Sizes};
pub use train::{Drawn, Train, TrainInputs, TrainSettings};
pub use tune::Compare;
pub use window::Window;
pub use words::{Texts, Vocabulary};

/// What only a fault of ours makes fail.
fn candle(e: candle_core::Error) -> dataset::Error {
    dataset::Error::bug(format!("tensors: {e}"))
}
