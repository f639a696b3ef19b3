//! Rewards: how good a list of queries is for a user, equation 9 of the paper.
//!
//! ```text
//! R(u, Z) = Σ_m λ_m R_m(u, Z)        m: align, coverage, specificity, diversity, structure
//!
//! behaviours ─ UserInterests (themes) ┐
//! List ─ queries ─ Searcher ──────────┴─ Rewards ─ Components ─ Calibration ─ λ ─▶ reward
//! ```
//!
//! Each component is a number from 0 to 1, or null where a judge's verdict could not be had ([`Components`]); a [`Calibration`] brings
//! them to one scale. What is looked at is one thing ([`Look`]), from which both scores and explanations come. A list's score depends on
//! the user, the list, the articles and the settings alone: neither on what is scored beside it nor on the order of its queries.
//!
//! A language model may judge coverage and specificity instead ([`JudgeSettings`]). [`Server`] gives the same rewards to other trainers.

mod calibration;
mod choose;
mod component;
mod explain;
mod interests;
mod judge;
#[cfg(test)]
mod laws;
mod lexicon;
mod look;
mod people;
mod rewards;
mod scale;
mod score;
mod serve;
mod settings;

pub use calibration::{Calibration, Normalise};
pub use choose::{Choose, ChooseInputs};
pub use component::{Component, Components, Score};
pub use explain::explain;
pub use interests::{Behaviour, User, UserInterests, behaviours};
pub use judge::{JudgeSettings, Judged, QueryVerdict, ThemeVerdict, Verdict};
pub use lexicon::{Lexicon, Word, Wording};
pub use look::{Article, Look, Looked};
pub use rewards::{RewardInputs, Rewards};
pub use scale::Scorer;
pub use score::{ScoreInputs, ScoreLists};
pub use serve::{ServeSettings, Server, TOKEN};
pub use settings::{Align, Coverage, RewardSettings};
