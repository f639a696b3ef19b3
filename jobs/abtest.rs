//! `querent abtest`: what a treatment changed, from a table of users and days.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use dataset::account::grouped;
use dataset::{Result, Summary};
use metrics::abtest::{AbTest, GatherExperiment, UserDayColumns};
use report::{HEADINGS, experiment};
use serde::{Deserialize, Serialize};

use crate::frame::{Context, Job, output};

/// Analyse an A/B test: lifts of active users and clicks, their intervals, and what may be wrong.
///
/// Reads Parquet or CSV files with a row per user and day: who (user_id), when (day), which arm (variant), whether the user came
/// (active), articles shown and clicked (impressions, clicks), whether the user is new (cold), and perhaps what they did before
/// (pre_active, pre_impressions, pre_clicks). Files may be globs. On days without a row a user was not active.
///
/// Writes experiment_users, experiment_moments (sql/experiment_users.sql, sql/experiment_moments.sql), lifts, daily_lifts and arms.
/// Prints the lifts. DAU is the mean over days of active users, as a share of all users; CTR is clicks per impression, with users as
/// clusters. `report` draws them.
#[derive(Debug, Args, Serialize, Deserialize)]
pub(crate) struct Abtest {
    /// Parquet or CSV files
    files: Vec<PathBuf>,
    #[command(flatten)]
    #[serde(flatten)]
    columns: UserDayColumns,
    /// Buckets that users are spread over [default: one per 250,000 rows]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    buckets: Option<u32>,
    #[command(flatten)]
    #[serde(flatten)]
    analysis: AbTest,
}

impl Job for Abtest {
    const NAME: &'static str = "abtest";

    fn run(&self, context: &Context) -> Result<Vec<Summary>> {
        self.analysis.check()?;
        let gather =
            GatherExperiment { files: self.files.clone(), columns: self.columns.clone(), buckets: self.buckets };
        let gathered = context.run(&gather, &["experiment_users", "experiment_moments"])?;
        if !gathered.is_complete() {
            return Ok(vec![gathered]);
        }
        let analysed = context.unsharded().run(&self.analysis, &["lifts", "daily_lifts", "arms"])?;
        Ok(vec![gathered, analysed])
    }

    /// The arms, and a table per treatment.
    fn show(&self, context: &Context, out: &mut dyn Write) -> Result<()> {
        let experiment = experiment(context.store())?;
        if experiment.arms.is_empty() {
            return Ok(());
        }
        let mut arms = vec![output::cells(["variant", "users", "cold", "share"])];
        for arm in &experiment.arms {
            let share = format!("{:.2}%", 100.0 * arm.share);
            arms.push(vec![arm.variant.clone(), grouped(arm.users), grouped(arm.cold_users), share]);
        }
        writeln!(out)?;
        output::table(out, &arms)?;
        if let Some(warning) = experiment.warning() {
            writeln!(out, "warning: {warning}")?;
        }
        for lifts in experiment.lifts.chunk_by(|a, b| a.treatment == b.treatment) {
            let mut heading = vec![lifts[0].treatment.clone()];
            heading.extend(HEADINGS.map(str::to_owned));
            let aside = lifts.iter().any(|lift| lift.guardrail.is_some() || lift.false_positives.is_some());
            if aside {
                heading.extend(["guardrail p".to_owned(), "A/A".to_owned()]);
            }
            let mut table = vec![heading];
            for lift in lifts {
                let mut row = vec![lift.name()];
                row.extend(lift.cells());
                if aside {
                    row.extend(lift.checks());
                }
                table.push(row);
            }
            writeln!(out)?;
            output::table(out, &table)?;
        }
        Ok(())
    }
}
