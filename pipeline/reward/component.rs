//! The five components of a reward, and what a list scores.

use std::fmt::{Display, Formatter};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// A component of equation 9.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Component {
    /// The queries fetch articles that are about them, and about what the user cares for.
    Align,
    /// The list covers the user's themes.
    Coverage,
    /// The queries say something in particular.
    Specificity,
    /// The queries differ from each other.
    Diversity,
    /// The output keeps the form of a list.
    Structure,
}

impl Component {
    /// All of them, in the order of [`Components`].
    pub const ALL: [Component; 5] =
        [Component::Align, Component::Coverage, Component::Specificity, Component::Diversity, Component::Structure];

    /// What columns and settings call it.
    pub fn name(self) -> &'static str {
        match self {
            Component::Align => "align",
            Component::Coverage => "coverage",
            Component::Specificity => "specificity",
            Component::Diversity => "diversity",
            Component::Structure => "structure",
        }
    }
}

impl Display for Component {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// The five components of a list, raw: each from 0 to 1, in the order of [`Component::ALL`]. Null is a verdict that could not be had; it is
/// not 0.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Components(pub [Option<f32>; 5]);

impl Components {
    /// One of them.
    pub fn get(&self, component: Component) -> Option<f32> {
        self.0[component as usize]
    }

    /// The same with another value for one of them.
    pub fn with(mut self, component: Component, value: Option<f32>) -> Self {
        self.0[component as usize] = value;
        self
    }

    /// Their sum; `None` where one is null.
    pub fn sum(&self) -> Option<f32> {
        self.0.into_iter().sum()
    }
}

/// What a list scores.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Score {
    /// The components, raw.
    pub components: Components,
    /// Share of the queries that are near copies of a behaviour: what a policy that only copies would have. No part of the reward.
    pub copied: f32,
}
