//! `querent clean`: events to clean events.

use anyhow::Result;
use clap::Args;
use dataset::{Input, Origin, Summary};
use events::Clean;
use schemas::Events;
use serde::Serialize;

use crate::context::{Context, Shared};
use crate::output;

/// Leave out behaviours that say nothing about interests. So far a pass-through: everything is kept.
///
/// Reads events. Writes clean_events and clean_events.dropped. The classifier is not built yet, and the manifest says so.
#[derive(Debug, Args)]
pub(crate) struct Flags {
    #[command(flatten)]
    pub(crate) shared: Shared,
    #[command(flatten)]
    pub(crate) settings: Settings,
}

#[derive(Debug, Default, Args, Serialize)]
pub(crate) struct Settings {}

pub(crate) fn main(flags: Flags) -> Result<()> {
    let Flags { shared, settings } = flags;
    output::print_all(&job(&Context::new(&shared)?, &settings)?)
}

pub(crate) fn job(context: &Context, flags: &Settings) -> Result<Vec<Summary>> {
    let clean: Clean = context.settings("clean", flags)?;
    let events = Input::<Events>::open(&context.runner.store, "events")?;
    let origin = Origin { remark: Some(Clean::REMARK.into()), ..Origin::default() };
    Ok(vec![context.runner.run(&clean, &events, &["clean_events", "clean_events.dropped"], origin)?])
}
