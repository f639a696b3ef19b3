//! A training run in a terminal: the curve of what it is trained for, its figures, where its time goes; its lists, when asked for.

use std::io::Write;
use std::path::{Path, PathBuf};

use dataset::{Error, Identity, Result};
use reward::Component;
use training::{History, Ranked, Rolled, thinned};

use crate::frame::output;
use crate::frame::plot::{number, plot, sparkline};

/// Characters of the plot: wide, high.
const PLOT: (usize, usize) = (72, 9);
/// Characters of a curve in the table.
const SPARKS: usize = 24;
/// What figures of users of the split `valid` start with.
const VALID: &str = "valid.";

/// The folder of a run: this one or, before the run has ended, the one beside it that it works in.
pub(super) fn folder(path: &Path) -> Option<PathBuf> {
    let mut name = path.file_name()?.to_owned();
    name.push(".unfinished");
    [path.to_owned(), path.with_file_name(name)].into_iter().find(|folder| History::is_in(folder))
}

/// Prints how a run goes.
pub(super) fn show(folder: &Path, out: &mut impl Write) -> Result<()> {
    let history = History::read(folder)?;
    writeln!(out, "{}: {}", folder.display(), standing(folder, &history)?)?;
    curve(&history, "reward.mean", |a, b| a > b, out)?;
    curve(&history, "loss", |a, b| a < b, out)?;
    table(&history, out)?;
    let seconds = history.seconds();
    if !seconds.is_empty() {
        let phases: Vec<String> = seconds.iter().map(|(phase, mean)| format!("{phase} {mean:.2}")).collect();
        let step: f64 = seconds.iter().map(|(_, mean)| mean).sum();
        writeln!(
            out,
            "a step takes {step:.2} s: {}{} (looks at valid not counted)",
            phases.join(", "),
            history.tokens_per_second().map_or_else(String::new, |speed| format!("; {speed:.0} tokens/s"))
        )?;
    }
    Ok(())
}

/// How far it has come, and which checkpoint is the best.
fn standing(folder: &Path, history: &History) -> Result<String> {
    let lineage = Identity::read(folder)?.map(|identity| identity.lineage);
    let job = lineage.as_ref().map_or("a training run", |lineage| lineage.job.as_str());
    let planned = lineage.as_ref().and_then(|lineage| lineage.settings["steps"].as_u64());
    let steps = match planned.filter(|planned| *planned != history.steps()) {
        Some(planned) => format!("{} of {planned} steps", history.steps()),
        None => format!("{} steps", history.steps()),
    };
    Ok(match (history.ended, history.chosen) {
        (_, None) => format!("{job}, before its first checkpoint"),
        (true, Some(chosen)) => format!("{job}, ended after {steps}; the model is that of step {chosen}"),
        (false, Some(chosen)) => {
            format!("{job}, not ended; {steps} until its last checkpoint, the best is that of step {chosen}")
        }
    })
}

/// What a run is trained for, as a plot.
fn curve(history: &History, figure: &str, better: fn(f64, f64) -> bool, out: &mut impl Write) -> Result<()> {
    let valid = history.of(&format!("{VALID}{figure}"));
    let (train, looks) = (thinned(history.of(figure), PLOT.0), thinned(valid, PLOT.0));
    let rows = plot(&[('·', &train), ('●', &looks)], PLOT.0, PLOT.1);
    if rows.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n{figure} by step:  · users learnt from   ● users of valid")?;
    rows.iter().try_for_each(|row| writeln!(out, "{row}"))?;
    for (who, series) in [("learnt from", history.of(figure)), ("valid", valid)] {
        let best = series.iter().reduce(|best, at| if better(at.1, best.1) { at } else { best });
        if let (Some(first), Some(best), Some(last)) = (series.first(), best, series.last()) {
            let said = |(step, value): &(u64, f64)| format!("{} (step {step})", number(*value));
            writeln!(out, "  {who}: first {}, best {}, last {}", said(first), said(best), said(last))?;
        }
    }
    Ok(())
}

/// A row per figure: means over the first and the last steps, its curve, and what it is for users of `valid`.
fn table(history: &History, out: &mut impl Write) -> Result<()> {
    let some = (history.steps() / 10).max(1) as usize;
    let (first, last) = (format!("first {some}"), format!("last {some}"));
    let mut rows = vec![output::cells(["figure", &first, &last, "", "valid first", "last"])];
    for name in names(history) {
        let (train, valid) = (history.of(name), history.of(&format!("{VALID}{name}")));
        let mean =
            |series: &[(u64, f64)]| thinned(series, 1).first().map(|(_, mean)| number(*mean)).unwrap_or_default();
        let value = |at: Option<&(u64, f64)>| at.map(|(_, value)| number(*value)).unwrap_or_default();
        let shown = if train.is_empty() { valid } else { train };
        let sparks: Vec<f64> = thinned(shown, SPARKS).into_iter().map(|(_, value)| value).collect();
        let head = mean(&train[..some.min(train.len())]);
        let tail = mean(&train[train.len().saturating_sub(some)..]);
        let (begun, now) = (value(valid.first()), value(valid.last()));
        rows.push(output::cells([name, &head, &tail, &sparkline(&sparks), &begun, &now]));
    }
    if rows.len() > 1 {
        writeln!(out)?;
        output::table(out, &rows)?;
        writeln!(out)?;
    }
    Ok(())
}

/// The figures to show, the reward and its components first. Times are summed up elsewhere; of what has a mean, its spread is left out.
fn names(history: &History) -> Vec<&str> {
    let spread = |name: &str| {
        let of = ["least", "most", "deviation"].into_iter().find_map(|end| name.strip_suffix(end));
        of.is_some_and(|of| history.figures.contains_key(&format!("{of}mean")))
    };
    let all = history.figures.keys().filter(|name| !name.starts_with("seconds.") && *name != "tokens" && !spread(name));
    let mut names: Vec<&str> = all.map(|name| name.strip_prefix(VALID).unwrap_or(name)).collect();
    let order: Vec<&str> = ["reward", "loss"].into_iter().chain(Component::ALL.map(Component::name)).collect();
    let place =
        |name: &str| order.iter().position(|first| name.split('.').next() == Some(*first)).unwrap_or(order.len());
    names.sort_by_key(|name| (place(name), *name));
    names.dedup();
    names
}

/// Prints the best and the worst lists of a step.
pub(super) fn lists(folder: &Path, step: Option<u64>, count: usize, out: &mut impl Write) -> Result<()> {
    let Some(Ranked { step, best, worst }) = Ranked::read(folder, step, count)? else {
        let got = step.map_or("none".into(), |step| format!("step {step}"));
        let expected = format!("a step of {} with lists that have rewards", folder.display());
        return Err(Error::setting(
            "--step",
            expected,
            got,
            "runs of grpo have lists; those since its last checkpoint are not shown",
        ));
    };
    for (which, lists) in [("best", best), ("worst", worst)] {
        writeln!(out, "{which} lists of step {step}")?;
        lists.iter().try_for_each(|list| print(list, out))?;
    }
    Ok(())
}

fn print(
    Rolled { user_id, completion, queries, score, reward, advantage }: &Rolled,
    out: &mut impl Write,
) -> Result<()> {
    let value = |value: Option<f32>| value.map_or("none".into(), |value| format!("{value:.2}"));
    let components = Component::ALL.map(|component| format!("{component} {}", value(score.components.get(component))));
    writeln!(out, "  reward {reward:.3}: {}", components.join(", "))?;
    writeln!(out, "  copied {:.2}, advantage {}, user {user_id}", score.copied, value(*advantage))?;
    match queries.is_empty() {
        false => queries.iter().try_for_each(|query| writeln!(out, "    - {query}"))?,
        true => {
            writeln!(out, "    no list:")?;
            completion.lines().try_for_each(|line| writeln!(out, "    {line}"))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reward_comes_first_and_spreads_are_left_out() {
        let figures = [
            "align.mean",
            "align.deviation_in_groups",
            "kl",
            "length.least",
            "length.mean",
            "ratio.least",
            "reward.deviation",
            "reward.mean",
            "seconds.update",
            "tokens",
            "valid.align.mean",
            "valid.reward.mean",
            "valid.reward.most",
            "valid.loss",
        ];
        let figures = figures.iter().map(|name| ((*name).to_owned(), vec![(1, 0.5)])).collect();
        let history = History { figures, ..History::default() };
        let expected =
            ["reward.mean", "loss", "align.deviation_in_groups", "align.mean", "kl", "length.mean", "ratio.least"];
        assert_eq!(names(&history), expected);
    }

    #[test]
    fn a_run_is_shown_with_its_best_step_and_its_speed() {
        let train = |from: f64| (1..=20).map(|step| (step, from + step as f64 / 100.0)).collect::<Vec<_>>();
        let figures = [
            ("reward.mean", train(0.25)),
            ("valid.reward.mean", vec![(0, 0.2), (10, 0.5), (20, 0.4)]),
            ("seconds.rollout", vec![(1, 2.0), (2, 2.0)]),
            ("tokens", vec![(1, 50.0), (2, 50.0)]),
        ];
        let figures = figures.into_iter().map(|(name, series)| (name.to_owned(), series)).collect();
        let history = History { ended: true, chosen: Some(10), figures };
        let mut out = Vec::new();
        curve(&history, "reward.mean", |a, b| a > b, &mut out).unwrap();
        curve(&history, "loss", |a, b| a < b, &mut out).unwrap();
        table(&history, &mut out).unwrap();
        let said = String::from_utf8(out).unwrap();
        assert!(said.contains("valid: first 0.2000 (step 0), best 0.5000 (step 10), last 0.4000 (step 20)"), "{said}");
        assert!(
            said.contains("learnt from: first 0.2600 (step 1), best 0.4500 (step 20), last 0.4500 (step 20)"),
            "{said}"
        );
        let row = said.lines().find(|line| line.starts_with("reward.mean  ")).expect("a row of the table");
        let cells: Vec<&str> = row.split_whitespace().collect();
        assert_eq!([cells[1], cells[2], cells[4], cells[5]], ["0.2650", "0.4450", "0.2000", "0.4000"], "{said}");
        assert_eq!(cells[3].chars().count(), 20, "a bar a step: {said}");
        assert!(!said.contains("loss"), "{said}");
    }
}
