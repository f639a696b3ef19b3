//! How large a model is, and what it reads.

use clap::{Args, ValueEnum};
use dataset::{Error, Result};
use serde::{Deserialize, Serialize};

/// What an article is to a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Item {
    /// Its vector in news_vectors, under a learnt projection (nrhub: its title's words): articles may be new.
    #[default]
    Text,
    /// A row of a learnt table: what was never clicked says nothing. To check an implementation against published figures.
    Id,
}

/// Sizes of a model.
#[derive(Debug, Clone, PartialEq, Args, Serialize, Deserialize)]
#[serde(default)]
pub struct Sizes {
    /// What an article is: its text, or its id
    #[arg(long, value_name = "WHAT", value_enum, default_value_t)]
    pub item: Item,
    /// Width of articles, users and layers
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub width: usize,
    /// Layers (gru, sasrec, hstu)
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub layers: usize,
    /// Heads of attention (sasrec, hstu)
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub heads: usize,
    /// Latest clicks that a model looks at; nrhub at as many searches and visits, too
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub length: usize,
    /// What was searched and visited stands among the clicks, in the order of time, by its words (gru, sasrec, hstu; nrhub always reads it); the
    /// length counts all of it then
    #[arg(long)]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub cross_domain: bool,
    /// Users and articles are compared by their cosine over this
    #[arg(long, value_name = "TAU", default_value_t = 0.05)]
    pub temperature: f64,
}

impl Default for Sizes {
    fn default() -> Self {
        dataset::defaults()
    }
}

impl Sizes {
    /// Checks that the sizes make sense.
    pub fn check(&self) -> Result<()> {
        let Sizes { width, layers, heads, length, temperature, .. } = *self;
        for (setting, ok, expected, got) in [
            ("width", (1..=4096).contains(&width), "1 to 4096", width.to_string()),
            ("layers", (1..=64).contains(&layers), "1 to 64", layers.to_string()),
            ("heads", heads >= 1 && width.is_multiple_of(heads), "a divisor of the width", heads.to_string()),
            ("length", (1..=4096).contains(&length), "1 to 4096", length.to_string()),
            ("temperature", temperature > 0.0 && temperature.is_finite(), "above 0", temperature.to_string()),
        ] {
            if !ok {
                let setting = format!("baseline.{setting}");
                return Err(Error::setting(&setting, expected, got, "see `querent baseline --help`"));
            }
        }
        Ok(())
    }
}
