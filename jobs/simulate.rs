//! `querent simulate`: raw logs of a platform whose truth is known.

use anyhow::Result;
use clap::Args;
use dataset::Summary;
use serde::Serialize;

use crate::context::{Context, KeyFlags, Shared};
use crate::output;

/// Write raw logs of a simulated news platform, at any scale, and apart from them their truth.
///
/// Reads nothing. Writes raw_searches, raw_visits, raw_clicks and raw_news (as a platform would log them: raw ids, noise,
/// misspellings), and for evaluation only latent_interests and true_labels.
#[derive(Debug, Args)]
pub(crate) struct Flags {
    #[command(flatten)]
    pub(crate) shared: Shared,
    #[command(flatten)]
    pub(crate) key: KeyFlags,
    #[command(flatten)]
    pub(crate) settings: Settings,
}

#[derive(Debug, Default, Args, Serialize)]
pub(crate) struct Settings {
    /// Number of users [default: 2000]
    #[arg(long, value_name = "N")]
    users: Option<u64>,
    /// Number of articles [default: 20000]
    #[arg(long, value_name = "N")]
    news: Option<u64>,
    /// Another seed, another world [default: 1]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Share of searches and page visits that are noise [default: 0.25]
    #[arg(long, value_name = "SHARE")]
    noise: Option<f64>,
}

pub(crate) fn main(flags: Flags) -> Result<()> {
    let Flags { shared, key, settings } = flags;
    output::print_all(&job(&Context::new(&shared)?, &key, &settings)?)
}

pub(crate) fn job(context: &Context, key: &KeyFlags, flags: &Settings) -> Result<Vec<Summary>> {
    let settings: events::simulate::Simulate = context.settings("simulate", flags)?;
    Ok(events::simulate::simulate(&context.runner, &settings, &key.find()?)?)
}
