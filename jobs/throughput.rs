//! `querent throughput`: how fast policies write lists.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use dataset::account::grouped;
use dataset::{Result, Summary};
use policy::MeasureThroughput;
use report::{PolicyThroughput, throughput};
use serde::{Deserialize, Serialize};

use crate::frame::{Context, Job, output};

/// Measure how fast policies write lists, side by side: users and tokens per second.
///
/// Reads profiles and policies. Writes throughput, and prints it: medians over turns, in each of which every policy writes a list for the same users.
/// What is measured depends on the machine, and on what else runs on it: measure on a quiet one. It is not measured again as long as profiles,
/// policies, settings and --threads are the same; another number of --turns measures anew.
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
        let stage = MeasureThroughput { policies, threads: context.runner.resources.threads, ..self.stage.clone() };
        Ok(vec![context.unsharded().run(&stage, &["throughput"])?])
    }

    fn show(&self, context: &Context, out: &mut dyn Write) -> Result<()> {
        let heading = ["policy", "parameters", "users/s", "tokens/s", "times the first"];
        let mut table = vec![output::cells(heading)];
        table.extend(throughput(context.store())?.iter().map(|of| {
            let PolicyThroughput { policy, parameters, users_per_s, tokens_per_s, times_first, .. } = of;
            let rates = [format!("{users_per_s:.1}"), format!("{tokens_per_s:.0}"), format!("{times_first:.2}")];
            [policy.clone(), grouped(*parameters)].into_iter().chain(rates).collect()
        }));
        writeln!(out)?;
        output::table(out, &table)
    }
}
