//! `querent simulate`: raw logs of a platform whose truth is known.

use clap::Args;
use dataset::{Result, Summary};
use serde::{Deserialize, Serialize};

use crate::frame::{Context, Job};

/// Write raw logs of a simulated news platform, at any scale, and apart from them their truth.
///
/// Reads nothing. Writes raw_searches, raw_visits, raw_clicks and raw_news (as a platform would log them: raw ids, noise,
/// misspellings), and for evaluation only latent_interests and true_labels.
///
/// With --experiment it writes an A/B test instead: raw_experiment (users in two arms, day by day), and for evaluation only true_lifts.
#[derive(Debug, Args, Serialize, Deserialize)]
#[group(skip)]
pub(crate) struct Simulate {
    #[command(flatten)]
    #[serde(flatten)]
    world: events::simulate::Simulate,
    #[command(flatten)]
    #[serde(flatten)]
    experiment: events::simulate::Experiment,
}

impl Job for Simulate {
    const NAME: &'static str = "simulate";

    fn check(&self) -> Result<()> {
        self.world.check()?;
        self.experiment.check()
    }

    fn run(&self, context: &Context) -> Result<Vec<Summary>> {
        match self.experiment.experiment {
            true => events::simulate::simulate_experiment(&context.runner, &self.world, &self.experiment),
            false => events::simulate::simulate(&context.runner, &self.world),
        }
    }
}
