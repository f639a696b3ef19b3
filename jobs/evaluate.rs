//! `querent evaluate`: recommendations against what users read next.

use std::io::Write;

use clap::Args;
use dataset::account::grouped;
use dataset::{Result, Summary};
use metrics::Summarise;
use report::{measures, slices};
use serde::{Deserialize, Serialize};

use crate::frame::{Context, Job, output};

/// Compare what methods recommend with what users clicked in the window.
///
/// Reads truth, profiles and the datasets recommendations.METHOD. Writes user_metrics (sql/metrics.sql), metrics
/// (sql/averages.sql, with 95% intervals) and comparisons of every two methods on the same users. Readers of whom a method of ours has no
/// list, such as those of whom nothing is known, count with what is then shown to them: fallback.CANDIDATES, popular articles. Prints
/// the metrics, and of how many users that was so; those without any history are a slice of their own.
#[derive(Debug, Args, Serialize, Deserialize)]
#[group(skip)]
pub(crate) struct Evaluate {
    #[command(flatten)]
    #[serde(flatten)]
    stage: metrics::Evaluate,
    #[command(flatten)]
    #[serde(flatten)]
    summarise: Summarise,
}

impl Job for Evaluate {
    const NAME: &'static str = "evaluate";

    fn run(&self, context: &Context) -> Result<Vec<Summary>> {
        let stage = self.stage.clone().resolved(context.store())?;
        let judged = context.run(&stage, &["user_metrics"])?;
        if !judged.is_complete() {
            return Ok(vec![judged]);
        }
        stage.coverage(&judged)?.iter().try_for_each(|note| context.note(note))?;
        let summarised = context.unsharded().run(&self.summarise, &["metrics", "comparisons"])?;
        Ok(vec![judged, summarised])
    }

    /// A table per slice.
    fn show(&self, context: &Context, out: &mut dyn Write) -> Result<()> {
        let measures = measures(context.store())?;
        for (slice, users) in slices(&measures) {
            let mut heading = vec![format!("{slice}: {} users", grouped(users))];
            let mut shown: Vec<String> = Vec::new();
            let mut table: Vec<Vec<String>> = Vec::new();
            for measure in measures.iter().filter(|measure| measure.slice == slice) {
                if !heading[1..].contains(&measure.metric) {
                    heading.push(measure.metric.clone());
                }
                let cell = format!("{:.4} ({:.4} to {:.4})", measure.value, measure.low, measure.high);
                match table.last_mut().filter(|line| line[0] == measure.method) {
                    Some(line) => line.push(cell),
                    None => {
                        table.push(vec![measure.method.clone(), cell]);
                        shown.push(if measure.fallback > 0 { grouped(measure.fallback) } else { String::new() });
                    }
                }
            }
            if shown.iter().any(|users| !users.is_empty()) {
                heading.push("shown popular articles".to_owned());
                table.iter_mut().zip(shown).for_each(|(line, users)| line.push(users));
            }
            table.insert(0, heading);
            writeln!(out)?;
            output::table(out, &table)?;
        }
        Ok(())
    }
}
