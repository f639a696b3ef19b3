//! Tuning: settings drawn at random, each with a training of its own, of which the best by the users of `valid` is chosen.
//!
//! A trial is a function of the given settings and its number, so more trials go on where fewer ended. Random draws find as good settings as
//! a grid of many more (Bergstra and Bengio 2012).

use std::path::{Path, PathBuf};

use dataset::bucket::stream;
use dataset::{Done, Error, Inputs, Resources, Result, Rows, Stage};
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use schemas::{Trials, TrialsColumns};
use serde::{Deserialize, Serialize};
use training::History;

use crate::{Train, TrainSettings};

impl TrainSettings {
    /// The settings of a trial: number 0 as given, of others the learning rate from 3e-4 up to 1e-2 and the temperature from 0.03 up to 0.3, both
    /// drawn evenly by their logarithms and to two digits; dropout 0 to 0.5, width 32 to 128 (as given, if the heads do not divide it), and 1 to 3 layers.
    pub fn trial(&self, trial: u32) -> Self {
        let mut settings = self.clone();
        if trial == 0 {
            return settings;
        }
        let mut random = Xoshiro256PlusPlus::seed_from_u64(stream(self.seed, "trial", trial.to_le_bytes()));
        let mut between = |low: f64, high: f64| {
            let drawn = (low.ln() + random.random::<f64>() * (high / low).ln()).exp();
            let digit = 10.0_f64.powf(drawn.log10().floor() - 1.0);
            // By way of its decimals: what is written is what is used.
            format!("{:.6}", (drawn / digit).round() * digit).parse().unwrap_or(drawn)
        };
        settings.learning_rate = between(3e-4, 1e-2);
        settings.sizes.temperature = between(0.03, 0.3);
        settings.dropout = *[0.0, 0.1, 0.2, 0.3, 0.5].choose(&mut random).expect("there are some");
        let width: usize = *[32, 64, 128].choose(&mut random).expect("there are some");
        if width.is_multiple_of(settings.sizes.heads.max(1)) {
            settings.sizes.width = width;
        }
        settings.sizes.layers = *[1, 2, 3].choose(&mut random).expect("there are some");
        settings
    }
}

/// Compares trials that were trained.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Compare {
    /// What was trained, in the order of the trials.
    pub trials: Vec<Train>,
    /// Their folders.
    #[serde(skip)]
    pub folders: Vec<PathBuf>,
}

/// How well a trial went at its best look.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Outcome {
    step: u64,
    recall_10: f64,
    ndcg_10: f64,
}

impl Outcome {
    fn read(folder: &Path) -> Result<Self> {
        let history = History::read(folder)?;
        let at = |figure: &str| {
            let (step, value) = history.of(figure).iter().find(|(step, _)| Some(*step) == history.chosen)?;
            Some((*step, *value))
        };
        match (at("valid.recall@10"), at("valid.ndcg@10")) {
            (Some((step, recall_10)), Some((_, ndcg_10))) => Ok(Outcome { step, recall_10, ndcg_10 }),
            _ => Err(Error::unreadable(folder.display(), "no look at the users of valid", "delete it, and tune again")),
        }
    }
}

impl Compare {
    /// The number of the best trial.
    pub fn best(&self) -> Result<usize> {
        let outcomes: Vec<Outcome> = self.folders.iter().map(|folder| Outcome::read(folder)).collect::<Result<_>>()?;
        Ok(best(&outcomes))
    }
}

/// The first of those of the largest recall, and of these of the largest nDCG.
fn best(outcomes: &[Outcome]) -> usize {
    let better = |a: &Outcome, b: &Outcome| a.recall_10.total_cmp(&b.recall_10).then(a.ndcg_10.total_cmp(&b.ndcg_10));
    (1..outcomes.len()).fold(0, |best, at| if better(&outcomes[at], &outcomes[best]).is_gt() { at } else { best })
}

impl Stage for Compare {
    const NAME: &'static str = "tune";
    const VERSION: u32 = 1;
    const UNIT: &'static str = "trials";
    type Inputs = Vec<PathBuf>;
    type Shared = ();
    type Outputs = Rows<Trials>;

    fn inputs(&self, declare: &mut Inputs<'_>) -> Result<Vec<PathBuf>> {
        for (trial, folder) in self.folders.iter().enumerate() {
            declare.artifact(&format!("trial {trial}"), folder)?;
        }
        Ok(self.folders.clone())
    }

    fn open(&self, _: &Vec<PathBuf>, _: &Resources) -> Result<()> {
        Ok(())
    }

    fn run(&self, folders: &Vec<PathBuf>, (): &(), _: u32) -> Result<Done<Self::Outputs>> {
        let outcomes: Vec<Outcome> = folders.iter().map(|folder| Outcome::read(folder)).collect::<Result<_>>()?;
        let best = best(&outcomes);
        let settings = || self.trials.iter().map(|train| &train.settings);
        let rows = TrialsColumns {
            trial: (0..outcomes.len() as i32).collect::<Vec<_>>().into(),
            learning_rate: settings().map(|s| s.learning_rate).collect::<Vec<_>>().into(),
            dropout: settings().map(|s| s.dropout).collect::<Vec<_>>().into(),
            temperature: settings().map(|s| s.sizes.temperature).collect::<Vec<_>>().into(),
            width: settings().map(|s| s.sizes.width as i32).collect::<Vec<_>>().into(),
            layers: settings().map(|s| s.sizes.layers as i32).collect::<Vec<_>>().into(),
            best_step: outcomes.iter().map(|o| o.step as i64).collect::<Vec<_>>().into(),
            recall_10: outcomes.iter().map(|o| o.recall_10).collect::<Vec<_>>().into(),
            ndcg_10: outcomes.iter().map(|o| o.ndcg_10).collect::<Vec<_>>().into(),
            chosen: (0..outcomes.len()).map(|trial| Some(trial == best)).collect(),
        };
        Ok(Done { outputs: Rows::of(rows)?, accounts: Vec::new() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Sizes;

    #[test]
    fn trials_follow_from_their_numbers_and_stay_within_bounds() -> Result<()> {
        let given = TrainSettings::default();
        assert_eq!(given.trial(0), given);
        let trials: Vec<TrainSettings> = (1..200).map(|trial| given.trial(trial)).collect();
        assert_eq!(trials[6], given.trial(7));
        assert_ne!(trials[6], TrainSettings { seed: 2, ..given.clone() }.trial(7));
        for trial in &trials {
            trial.check()?;
            assert!((3e-4..=1e-2).contains(&trial.learning_rate) && (0.03..=0.3).contains(&trial.sizes.temperature));
            let others = TrainSettings {
                learning_rate: given.learning_rate,
                dropout: given.dropout,
                sizes: given.sizes.clone(),
                ..trial.clone()
            };
            assert_eq!(others, given, "nothing else is drawn");
        }
        let three = Sizes { width: 96, heads: 3, ..given.sizes.clone() };
        let three = TrainSettings { sizes: three, ..given.clone() };
        for trial in 1..50 {
            three.trial(trial).check()?;
        }
        let low = trials.iter().filter(|trial| trial.learning_rate < 1.73e-3).count();
        assert!((70..130).contains(&low), "half lie below the geometric mean: {low} of 199");
        Ok(())
    }

    #[test]
    fn the_first_of_the_best_is_chosen() {
        let outcomes = [(0.1, 0.9), (0.3, 0.1), (0.3, 0.2), (0.3, 0.2), (0.2, 0.9)];
        let outcomes = outcomes.map(|(recall_10, ndcg_10)| Outcome { step: 1, recall_10, ndcg_10 });
        assert_eq!((best(&outcomes), best(&outcomes[..1])), (2, 0));
    }
}
