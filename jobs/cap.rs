//! `querent cap`: clean events to profiles.

use anyhow::Result;
use clap::Args;
use dataset::{Origin, Summary};
use events::{Cap, cap_source};
use serde::Serialize;

use crate::context::{Context, Shared};
use crate::output;

/// Keep each user's most recent events per domain: one profile per user.
///
/// Reads clean_events and clean_events.dropped. Writes profiles.
#[derive(Debug, Args)]
pub(crate) struct Flags {
    #[command(flatten)]
    pub(crate) shared: Shared,
    #[command(flatten)]
    pub(crate) settings: Settings,
}

#[derive(Debug, Default, Args, Serialize)]
pub(crate) struct Settings {
    /// Events kept per user and domain [default: 50]
    #[arg(long, value_name = "N")]
    events_per_domain: Option<u32>,
}

pub(crate) fn main(flags: Flags) -> Result<()> {
    let Flags { shared, settings } = flags;
    output::print_all(&job(&Context::new(&shared)?, &settings)?)
}

pub(crate) fn job(context: &Context, flags: &Settings) -> Result<Vec<Summary>> {
    let cap: Cap = context.settings("cap", flags)?;
    cap.check()?;
    let source = cap_source(&context.runner.store)?;
    Ok(vec![context.runner.run(&cap, &source, &["profiles"], Origin::default())?])
}
