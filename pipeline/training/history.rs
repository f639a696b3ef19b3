//! A training run as its folder shows it: figures by name, and the checkpoint that was chosen.
//!
//! Of a run at work only what a checkpoint covers is read. Files of later steps may be half written, and a killed run makes them anew.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use dataset::{Error, Result, Store, decode};
use policy::checkpoint::{self, STATE};
use schemas::{Table, TrainLog};

use crate::run::{STEPS, best};

/// What the names of figures of time start with.
const SECONDS: &str = "seconds.";
const HINT: &str = "the run's folder was changed after it was written: take a copy of it, or train again";

/// A training run as its folder shows it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct History {
    /// Whether it has come to its end.
    pub ended: bool,
    /// Updates made when the chosen checkpoint was written; of a run at work, the best so far. None before the first checkpoint.
    pub chosen: Option<u64>,
    /// Step and value of each figure, by step. Figures are named as in `train_log`.
    pub figures: BTreeMap<String, Vec<(u64, f64)>>,
}

impl History {
    /// Whether a folder is a training run's, at work or ended.
    pub fn is_in(folder: &Path) -> bool {
        folder.join(TrainLog::NAME).is_dir()
    }

    /// Reads a run's folder: that of a policy, or `NAME.unfinished` beside it.
    ///
    /// # Errors
    /// When a file of it is not as it was written.
    pub fn read(folder: &Path) -> Result<Self> {
        let ended = folder.join(STATE).exists();
        let chosen = match ended {
            true => Some(checkpoint::state(folder)?),
            false => best(folder)?,
        };
        let mut figures: BTreeMap<String, Vec<(u64, f64)>> = BTreeMap::new();
        for (_, path) in covered(folder, TrainLog::NAME)? {
            for batch in read::<TrainLog>(&path, &[])? {
                let (steps, names) = (TrainLog::step.of(&batch)?, TrainLog::figure.of(&batch)?);
                let values = TrainLog::value.of(&batch)?;
                for row in 0..batch.num_rows() {
                    let (step, name) = (steps.value(row) as u64, names.value(row));
                    let series = figures.entry(name.to_owned()).or_default();
                    if let Some((last, _)) = series.last().filter(|(last, _)| *last >= step) {
                        let what = format!("row {row}: expected {name} of a step after {last}, got step {step}");
                        return Err(Error::unreadable(path.display(), what, HINT));
                    }
                    series.push((step, values.value(row)));
                }
            }
        }
        Ok(History { ended, chosen: chosen.map(|state| state.step), figures })
    }

    /// Step and value of a figure; nothing when it was never noted.
    pub fn of(&self, figure: &str) -> &[(u64, f64)] {
        self.figures.get(figure).map_or(&[], Vec::as_slice)
    }

    /// Updates made.
    pub fn steps(&self) -> u64 {
        self.figures.values().filter_map(|series| Some(series.last()?.0)).max().unwrap_or(0)
    }

    /// Mean seconds of a step in each phase. Looks at users of `valid` are no part of a step.
    pub fn seconds(&self) -> Vec<(&str, f64)> {
        let phases = self.figures.iter().filter_map(|(name, series)| Some((name.strip_prefix(SECONDS)?, series)));
        let mean = |series: &[(u64, f64)]| series.iter().map(|(_, value)| value).sum::<f64>() / series.len() as f64;
        phases.map(|(phase, series)| (phase, mean(series))).collect()
    }

    /// Tokens of prompts and lists for each second that steps took.
    pub fn tokens_per_second(&self) -> Option<f64> {
        let tokens: f64 = self.of("tokens").iter().map(|(_, tokens)| tokens).sum();
        let timed = self.figures.iter().filter(|(name, _)| name.starts_with(SECONDS));
        let seconds: f64 = timed.flat_map(|(_, series)| series).map(|(_, seconds)| seconds).sum();
        (tokens > 0.0 && seconds > 0.0).then(|| tokens / seconds)
    }
}

/// A series as at most `most` points: each is the mean, in step and value, of as many neighbours.
pub fn thinned(series: &[(u64, f64)], most: usize) -> Vec<(f64, f64)> {
    let mean = |points: &[(u64, f64)]| {
        let (steps, values) = points.iter().fold((0.0, 0.0), |(s, v), (step, value)| (s + *step as f64, v + value));
        (steps / points.len() as f64, values / points.len() as f64)
    };
    series.chunks(series.len().div_ceil(most.max(1)).max(1)).map(mean).collect()
}

/// The files of a table in a run's folder that a checkpoint covers, by the step up to which they go.
pub(crate) fn covered(folder: &Path, table: &str) -> Result<Vec<(u64, PathBuf)>> {
    let last = match folder.join(STATE).exists() {
        true => Some(u64::MAX),
        false => checkpoint::steps(&Store::open(&folder.display().to_string())?, STEPS)?.last().copied(),
    };
    let at = folder.join(table);
    let entries = match fs::read_dir(&at) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(Error::at(&at))?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(Error::at(&at))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let step = name.strip_prefix("step=").and_then(|name| name.strip_suffix(".parquet"));
        let step = step.and_then(|step| step.parse::<u64>().ok());
        files.extend(step.filter(|step| Some(*step) <= last).map(|step| (step, path.clone())));
    }
    files.sort_unstable();
    Ok(files)
}

/// The rows of one of a run's files, `columns` of them (none: all).
pub(crate) fn read<T: Table>(path: &Path, columns: &[&str]) -> Result<Vec<RecordBatch>> {
    let bytes = fs::read(path).map_err(Error::at(path))?;
    decode(&path.display().to_string(), &T::contract(), bytes.into(), columns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::laws::run::{checkpoint, log};
    use tempfile::TempDir;

    #[test]
    fn a_run_at_work_shows_what_its_checkpoints_cover_and_an_ended_one_all() {
        let folder = TempDir::new().unwrap();
        let run = folder.path();
        assert!(!History::is_in(run));
        log(run, 0, &[(0, "valid.reward.mean", 0.25)]);
        assert!(History::is_in(run));
        assert_eq!(History::read(run).unwrap(), History::default(), "nothing is covered yet");
        log(run, 2, &[(1, "reward.mean", 0.5), (2, "reward.mean", 0.75), (2, "valid.reward.mean", 0.5)]);
        checkpoint(&run.join("steps/step=000000"), 0, 0.25);
        checkpoint(&run.join("steps/step=000002"), 2, 0.5);
        // Killed before its checkpoint: these steps are made again. The file is as a kill may leave it.
        std::fs::write(run.join("train_log/step=000004.parquet"), b"PAR1").unwrap();
        let history = History::read(run).unwrap();
        assert_eq!((history.ended, history.chosen, history.steps()), (false, Some(2), 2));
        assert_eq!(history.of("reward.mean"), [(1, 0.5), (2, 0.75)]);
        assert_eq!(history.of("valid.reward.mean"), [(0, 0.25), (2, 0.5)]);

        log(run, 4, &[(3, "reward.mean", 0.5), (4, "reward.mean", 0.25), (4, "valid.reward.mean", 0.125)]);
        checkpoint(&run.join("steps/step=000004"), 4, 0.125);
        let history = History::read(run).unwrap();
        assert_eq!((history.ended, history.chosen, history.steps()), (false, Some(2), 4), "the best so far");
        checkpoint(run, 2, 0.5);
        std::fs::remove_dir_all(run.join("steps")).unwrap();
        assert_eq!(History::read(run).unwrap(), History { ended: true, ..history });
    }

    #[test]
    fn a_step_that_comes_twice_is_named() {
        let folder = TempDir::new().unwrap();
        checkpoint(folder.path(), 2, 0.5);
        log(folder.path(), 1, &[(1, "loss", 0.5)]);
        log(folder.path(), 2, &[(1, "loss", 0.5)]);
        let error = History::read(folder.path()).unwrap_err().to_string();
        assert!(error.contains("step=000002.parquet: row 0: expected loss of a step after 1, got step 1"), "{error}");
    }

    #[test]
    fn times_are_means_over_steps_and_speed_is_over_all_of_them() {
        let folder = TempDir::new().unwrap();
        checkpoint(folder.path(), 2, 0.5);
        let rows = [
            (1, "seconds.rollout", 2.0),
            (1, "seconds.update", 1.0),
            (1, "tokens", 100.0),
            (2, "seconds.rollout", 4.0),
            (2, "seconds.update", 3.0),
            (2, "tokens", 300.0),
        ];
        log(folder.path(), 2, &rows);
        let history = History::read(folder.path()).unwrap();
        assert_eq!(history.seconds(), [("rollout", 3.0), ("update", 2.0)]);
        assert_eq!(history.tokens_per_second(), Some(40.0));
        assert_eq!(History::default().tokens_per_second(), None);
    }

    #[test]
    fn thinning_keeps_the_mean() {
        let series: Vec<(u64, f64)> = (0..12).map(|step| (step, step as f64 * 2.0)).collect();
        let thin = thinned(&series, 4);
        assert_eq!(thin, [(1.0, 2.0), (4.0, 8.0), (7.0, 14.0), (10.0, 20.0)]);
        assert_eq!(thinned(&series, 100).len(), 12);
        assert_eq!(thinned(&series, 5).len(), 4, "at most 5, each of as many");
        assert!(thinned(&[], 5).is_empty());
    }
}
