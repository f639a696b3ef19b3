//! `querent cap`: clean events to profiles.

use clap::Args;
use dataset::{Result, Summary};
use serde::{Deserialize, Serialize};

use crate::frame::{Context, Job};

/// Keep each user's most recent events per domain: one profile per user.
///
/// Reads clean_events and clean_events.dropped. Writes profiles.
#[derive(Debug, Args, Serialize, Deserialize)]
pub(crate) struct Cap {
    #[command(flatten)]
    #[serde(flatten)]
    stage: events::Cap,
}

impl Job for Cap {
    const NAME: &'static str = "cap";

    fn run(&self, context: &Context) -> Result<Vec<Summary>> {
        Ok(vec![context.run(&self.stage, &["profiles"])?])
    }
}
