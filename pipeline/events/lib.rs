//! From raw logs to profiles, and the simulated world that stands in for a platform.
//!
//! [`ingest`] reads a platform's raw logs into `events`, `news` and `truth`; [`Clean`] leaves out what says nothing about
//! interests; [`Cap`] keeps each user's most recent behaviours. [`simulate`] writes raw logs whose truth is known.

mod cap;
#[cfg(test)]
mod cases;
mod clean;
pub mod ingest;
#[cfg(test)]
mod laws;
mod only;
mod order;
mod score;
pub mod scrub;
pub mod simulate;

pub use cap::Cap;
pub use clean::Clean;
pub use only::{Only, lopsided};
pub use score::Score;
