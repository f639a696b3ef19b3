//! `querent evaluate`: recommendations against what users read next.

use std::io::Write;

use clap::Args;
use dataset::account::grouped;
use dataset::{Dataset, Result, Summary};
use metrics::{DescribeLists, EvaluateImpressions, Summarise, SummariseImpressions};
use report::{Measure, impression_measures, list_measures, measures, slices};
use serde::{Deserialize, Serialize};

use crate::frame::{Context, Job, output};
use crate::index::popularity;

/// Compare what methods recommend with what users clicked in the window.
///
/// Reads truth, profiles and the datasets recommendations.METHOD. Writes user_metrics (sql/metrics.sql), metrics
/// (sql/averages.sql, with 95% intervals) and comparisons of every two methods on the same users. Readers of whom a method of ours has no
/// list, such as those of whom nothing is known, count with what is then shown to them: fallback.CANDIDATES, popular articles. Prints
/// the metrics, and of how many users that was so; those without any history are a slice of their own. Where clean_events and news_vectors
/// are there, writes list_metrics too (sql/list_metrics.sql): how much of the candidates lists cover, how far apart their articles are, how
/// little known, and the share that nobody had read.
///
/// With --impressions MIND's own task is judged, too: to rank what each impression of the window showed. Reads impressions and the datasets
/// shown.METHOD, which `retrieve --impressions` and `baseline --impressions` write. Writes user_impressions (sql/impressions.sql) and
/// impression_metrics (sql/impression_metrics.sql): AUC, MRR and nDCG as MIND's scorer has them, averaged over impressions.
#[derive(Debug, Args, Serialize, Deserialize)]
#[group(skip)]
pub(crate) struct Evaluate {
    #[command(flatten)]
    #[serde(flatten)]
    stage: metrics::Evaluate,
    #[command(flatten)]
    #[serde(flatten)]
    summarise: Summarise,
    /// Also judge how methods rank what impressions showed
    #[arg(long)]
    impressions: bool,
}

impl Job for Evaluate {
    const NAME: &'static str = "evaluate";

    fn check(&self) -> Result<()> {
        self.stage.check_cuts()?;
        self.summarise.check()
    }

    fn run(&self, context: &Context) -> Result<Vec<Summary>> {
        let stage = self.stage.clone().resolved(context.store())?;
        let judged = context.run(&stage, &["user_metrics"])?;
        if !judged.is_complete() {
            return Ok(vec![judged]);
        }
        stage.coverage(&judged, context.store())?.iter().try_for_each(|note| context.note(note))?;
        let summarised = context.unsharded().run(&self.summarise, &["metrics", "comparisons"])?;
        let mut summaries = vec![judged, summarised];
        // Lists of another system may stand alone.
        let is_there =
            |dataset: &str| Ok::<_, dataset::Error>(Dataset::new(context.store(), dataset).current()?.is_some());
        if is_there("clean_events")? && is_there("news_vectors")? {
            summaries.extend(popularity(context, true)?);
            let k = stage.cuts.last().copied().unwrap_or(10);
            let describe = DescribeLists { methods: stage.methods.clone(), k };
            summaries.push(context.unsharded().run(&describe, &["list_metrics"])?);
        }
        if self.impressions {
            let stage = EvaluateImpressions::of(&self.stage.methods, context.store())?;
            let judged = context.run(&stage, &["user_impressions"])?;
            let complete = judged.is_complete();
            summaries.push(judged);
            if complete {
                let averages = context.unsharded().run(&SummariseImpressions::default(), &["impression_metrics"])?;
                summaries.push(averages);
            }
        }
        Ok(summaries)
    }

    /// A table per slice, then what lists are like.
    fn show(&self, context: &Context, out: &mut dyn Write) -> Result<()> {
        tables(out, &measures(context.store())?, "users")?;
        let lists = list_measures(context.store())?;
        if let Some((_, first)) = lists.first() {
            let heading = std::iter::once("lists".to_owned()).chain(first.iter().map(|(metric, _)| metric.clone()));
            let mut table = vec![heading.collect::<Vec<_>>()];
            table.extend(lists.iter().map(|(method, values)| {
                let cell = |(_, value): &(String, f64)| format!("{value:.4}");
                std::iter::once(method.clone()).chain(values.iter().map(cell)).collect()
            }));
            writeln!(out)?;
            output::table(out, &table)?;
        }
        if self.impressions {
            tables(out, &impression_measures(context.store())?, "impressions")?;
        }
        Ok(())
    }
}

/// A table for each slice of users or impressions.
fn tables(out: &mut dyn Write, measures: &[Measure], of: &str) -> Result<()> {
    for (slice, count) in slices(measures) {
        let mut heading = vec![format!("{slice}: {} {of}", grouped(count))];
        let mut shown: Vec<String> = Vec::new();
        let mut table: Vec<Vec<String>> = Vec::new();
        for measure in measures.iter().filter(|measure| measure.slice == slice) {
            if !heading[1..].contains(&measure.metric) {
                heading.push(measure.metric.clone());
            }
            let Measure { value, low, high, .. } = measure;
            let cell = match low.is_nan() {
                true => format!("{value:.4}"),
                false => format!("{value:.4} ({low:.4} to {high:.4})"),
            };
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
