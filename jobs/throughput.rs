//! `querent throughput`: how fast policies write lists.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use dataset::account::grouped;
use dataset::{Result, Summary};
use policy::MeasureThroughput;
use report::{Pace, paces};
use serde::{Deserialize, Serialize};

use crate::frame::{Context, Job, output};

/// Measure how fast policies write lists, side by side: users and tokens per second.
///
/// Reads profiles and policies. Writes throughput, and prints it: medians over turns, in each of which every policy writes a list for the same users.
/// What is measured depends on the machine, and on what else runs on it: a quiet one, the same --threads. It is not measured again as long as
/// profiles, policies and settings are the same.
#[derive(Debug, Args, Serialize, Deserialize)]
#[group(skip)]
pub(crate) struct Throughput {
    #[command(flatten)]
    #[serde(flatten)]
    stage: MeasureThroughput,
}

impl Job for Throughput {
    const NAME: &'static str = "throughput";

    fn check(&self) -> Result<()> {
        self.stage.check()
    }

    fn run(&self, context: &Context) -> Result<Vec<Summary>> {
        let policies = self.stage.policies.iter().map(|policy| context.folder(policy));
        let policies = policies.collect::<Result<Vec<PathBuf>>>()?;
        let stage = MeasureThroughput { policies, ..self.stage.clone() };
        Ok(vec![context.unsharded().run(&stage, &["throughput"])?])
    }

    fn show(&self, context: &Context, out: &mut dyn Write) -> Result<()> {
        let heading = ["policy", "parameters", "users/s", "tokens/s", "times the first"];
        let mut table = vec![output::cells(heading)];
        table.extend(paces(context.store())?.iter().map(|pace| {
            let Pace { policy, parameters, users, tokens, ratio, .. } = pace;
            let numbers = [grouped(*parameters), format!("{users:.1}"), format!("{tokens:.0}"), format!("{ratio:.2}")];
            std::iter::once(policy.clone()).chain(numbers).collect()
        }));
        writeln!(out)?;
        output::table(out, &table)
    }
}
