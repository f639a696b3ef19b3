//! The steps of `grpo`.

use std::time::Instant;

use dataset::{Artifact, Error, Progress, Resources, Result, Rows};
use engine::{Pass, Reference, Tree};
use policy::{Adapters, Snapshot, Task};
use reward::{Calibration, Components, Normalise, Rewards, Score};
use schemas::Rollouts;

use super::TrainGrpo;
use crate::draw::Drawn;
use crate::figures::figures;
use crate::groups::advantages;
use crate::log::moments;
use crate::order::Order;
use crate::people::{People, Person};
use crate::rows::{Row, columns};
use crate::run::Run;
use crate::{Grpo, Ratio, Said, Sampled};

/// A run at work.
pub(super) struct Training<'a> {
    pub(super) settings: &'a TrainGrpo,
    pub(super) rewards: Rewards,
    pub(super) people: People,
    pub(super) task: Task,
    /// The reference, where it is not the policy without its adapters.
    pub(super) frozen: Option<Snapshot>,
    pub(super) run: Run<'a>,
    pub(super) order: Order,
    /// Rows of `rollouts` that are not saved yet.
    pub(super) lists: Vec<Row>,
    /// Mean of the last step's rewards.
    pub(super) reward: f64,
}

/// Lists of some users, and what they score.
struct Scored {
    drawn: Drawn,
    scores: Vec<Vec<Score>>,
    /// Each component's part of the reward.
    weighted: Vec<Vec<Components>>,
    /// That scoring took.
    seconds: f64,
}

impl Scored {
    /// Rewards, where all verdicts could be had.
    fn rewards(&self) -> Vec<f64> {
        let reward = |weighted: &Components| weighted.sum().map(f64::from);
        self.weighted.iter().flatten().filter_map(reward).collect()
    }
}

impl Training<'_> {
    pub(super) fn run(mut self, resources: &Resources) -> Result<()> {
        let settings = self.settings;
        let progress = Progress::new(TrainGrpo::NAME, "tokens", settings.steps, resources.progress);
        let calibration = self.calibration()?;
        if !self.run.state.metrics.contains_key("valid.reward") {
            self.look(&calibration)?;
            self.save()?;
        }
        progress.skip(self.run.state.step);
        while self.run.state.step < settings.steps && !self.is_over() {
            let tokens = self.step(&calibration)?;
            let step = self.run.state.step;
            if step.is_multiple_of(settings.look_every) || step == settings.steps {
                self.look(&calibration)?;
                self.save()?;
            }
            let valid = self.run.state.metrics.get("valid.reward").copied().unwrap_or_default();
            progress.say(format!("reward {:.3}, of valid {valid:.3}", self.reward));
            progress.step(tokens);
        }
        self.run.finish()?;
        Ok(())
    }

    /// Whether the last looks were none better than one before them.
    fn is_over(&self) -> bool {
        self.run.state.metrics.get("looks_since_best").is_some_and(|looks| *looks >= self.settings.patience as f64)
    }

    /// The scale of components, from first lists; kept in the run's state.
    fn calibration(&mut self) -> Result<Calibration> {
        if let Some(known) = Calibration::of_metrics(&self.run.state.metrics) {
            return Ok(known);
        }
        let calibration = match self.settings.rewards.normalise {
            Normalise::Raw => Calibration::raw(),
            normalise => Calibration::of(normalise, &self.first_lists()?),
        };
        self.run.state.metrics.extend(calibration.metrics());
        Ok(calibration)
    }

    fn first_lists(&mut self) -> Result<Vec<Components>> {
        let count = self.people.train.len().min(self.settings.valid_users);
        let (users, _) = self.order.step(0, count);
        let people: Vec<&Person> = users.iter().map(|user| &self.people.train[*user]).collect();
        let drawn = self.draw(&people, self.settings.group, 0)?;
        Ok(self.score(&people, &drawn)?.iter().flatten().map(|score| score.components).collect())
    }

    fn draw(&self, people: &[&Person], samples: usize, step: u64) -> Result<Drawn> {
        Drawn::of(&self.task, self.run.snapshot(), people, samples, self.settings.seed, step)
    }

    fn score(&self, people: &[&Person], drawn: &Drawn) -> Result<Vec<Vec<Score>>> {
        let interests = self.rewards.interests(&people.iter().map(|person| person.user()).collect::<Vec<_>>())?;
        let groups: Vec<_> = interests.iter().zip(&drawn.lists).map(|(user, lists)| (user, lists.as_slice())).collect();
        self.rewards.score(&groups)
    }

    /// Samples lists and scores them.
    fn write(&self, people: &[&Person], samples: usize, step: u64, calibration: &Calibration) -> Result<Scored> {
        let drawn = self.draw(people, samples, step)?;
        let started = Instant::now();
        let scores = self.score(people, &drawn)?;
        let weight = |score: &Score| self.settings.rewards.weighted(&score.components, calibration);
        let weighted = scores.iter().map(|scores| scores.iter().map(weight).collect()).collect();
        Ok(Scored { drawn, scores, weighted, seconds: started.elapsed().as_secs_f64() })
    }

    /// One update. Returns the tokens that it went through.
    fn step(&mut self, calibration: &Calibration) -> Result<u64> {
        let settings = self.settings;
        let step = self.run.state.step + 1;
        let (users, cursor) = self.order.step(self.run.state.prompt_cursor, settings.users);
        let people: Vec<&Person> = users.iter().map(|user| &self.people.train[*user]).collect();
        let scored = self.write(&people, settings.group, step, calibration)?;
        let Scored { drawn: Drawn { requests, outputs, .. }, weighted, .. } = &scored;
        let found: Vec<Vec<Option<f32>>> = weighted
            .iter()
            .map(|weighted| advantages(settings.advantage, weighted, settings.rewards.weights()))
            .collect();

        let started = Instant::now();
        let (mut trees, mut sampled, mut places) = (Vec::new(), Vec::new(), Vec::new());
        for (user, (request, advantages)) in requests.iter().zip(&found).enumerate() {
            let taken: Vec<(usize, f32)> =
                advantages.iter().enumerate().filter_map(|(list, a)| Some((list, (*a)?))).collect();
            if taken.is_empty() {
                continue;
            }
            let list = |(list, _): &(usize, f32)| outputs[user][*list].tokens.as_slice();
            trees.push(Tree { prompt: &request.prompt, lists: taken.iter().map(list).collect() });
            let one = |(list, advantage): &(usize, f32)| Sampled {
                old: outputs[user][*list].log_probabilities.clone(),
                advantage: *advantage,
            };
            sampled.push(taken.iter().map(one).collect::<Vec<_>>());
            places.push((user, taken));
        }
        let count = sampled.iter().map(Vec::len).sum::<usize>();
        let mut said: Vec<Vec<Said>> = Vec::new();
        let mut update = None;
        let tokens = scored.drawn.tokens();
        if count > 0 {
            let reference = (settings.beta > 0.0).then(|| match &self.frozen {
                Some(snapshot) => Reference { snapshot, adapters: Adapters::Off },
                None => Reference { snapshot: self.run.snapshot(), adapters: Adapters::Off },
            });
            let objective = Grpo { form: settings.form(self.task.max_new_tokens()), lists: &sampled, count };
            let mut pass = Pass::new(self.run.snapshot(), self.task.prefix(), self.task.positions(), reference, true);
            for tree in trees.chunks(1) {
                said.extend(pass.put(tree, &objective));
            }
            let gradients = pass.finish();
            update = Some(self.run.update(&settings.optimizer, settings.steps, &gradients)?);
        }
        let log = &mut self.run.log;
        let seconds = [scored.drawn.seconds, scored.seconds, started.elapsed().as_secs_f64()];
        for (figure, value) in ["rollout", "reward", "update"].iter().zip(seconds) {
            log.note(step, format!("seconds.{figure}"), value)?;
        }
        log.note(step, "tokens", tokens as f64)?;
        log.note(step, "groups.without_spread", (requests.len() - places.len()) as f64 / requests.len() as f64)?;
        let undecided = weighted.iter().flatten().filter(|w| w.0.contains(&None)).count();
        log.note(step, "lists.undecided", undecided as f64)?;
        if let Some(update) = update {
            log.note(step, "gradient_norm", update.gradient_norm)?;
            log.note(step, "learning_rate", update.learning_rate)?;
            let all: Vec<&Said> = said.iter().flatten().collect();
            let mean = |of: &dyn Fn(&Said) -> f64| all.iter().map(|said| of(said)).sum::<f64>() / all.len() as f64;
            log.note(step, "policy_loss", mean(&|said| said.policy_loss))?;
            log.note(step, "kl", mean(&|said| said.kl))?;
            log.note(step, "entropy", mean(&|said| said.entropy))?;
            let parts: f64 = match settings.ratio {
                Ratio::Token => all.iter().map(|said| said.log_probabilities.len() as f64).sum(),
                _ => all.len() as f64,
            };
            log.note(step, "clipped.low", all.iter().map(|said| said.clipped.0 as f64).sum::<f64>() / parts)?;
            log.note(step, "clipped.high", all.iter().map(|said| said.clipped.1 as f64).sum::<f64>() / parts)?;
            log.note(step, "ratio.least", all.iter().map(|said| said.ratio.0).fold(f64::INFINITY, f64::min))?;
            log.note(step, "ratio.most", all.iter().map(|said| said.ratio.1).fold(0.0, f64::max))?;
        }
        self.reward = moments(&scored.rewards()).map_or(0.0, |(mean, _)| mean);
        let Scored { drawn, scores, weighted, .. } = scored;
        figures(log, step, "", &drawn.outputs, &drawn.lists, &scores, &weighted)?;

        let mut rows = drawn.rows(&self.task, &people, step);
        let group = settings.group;
        for ((user, taken), said) in places.iter().zip(said) {
            for ((list, _), said) in taken.iter().zip(said) {
                rows[user * group + list].reference = said.reference;
            }
        }
        let became = scores.iter().flatten().zip(weighted.iter().flatten()).zip(found.iter().flatten());
        for (row, ((score, weighted), advantage)) in rows.iter_mut().zip(became) {
            (row.score, row.weighted, row.advantage) = (Some(*score), *weighted, *advantage);
        }
        self.lists.extend(rows);
        self.run.state.step = step;
        self.run.state.prompt_cursor = cursor;
        Ok(tokens)
    }

    /// Looks at users that nothing is learnt from.
    fn look(&mut self, calibration: &Calibration) -> Result<()> {
        let people: Vec<&Person> = self.people.valid.iter().take(self.settings.valid_users).collect();
        // The same seeds each time, so that looks differ by the policy alone.
        let scored = self.write(&people, 2, 0, calibration)?;
        let rewards = scored.rewards();
        let Scored { drawn: Drawn { outputs, lists, .. }, scores, weighted, .. } = scored;
        let step = self.run.state.step;
        figures(&mut self.run.log, step, "valid.", &outputs, &lists, &scores, &weighted)?;
        let Some((reward, _)) = moments(&rewards) else {
            return Err(Error::setting(
                "rewards",
                "some for the users of valid",
                "none",
                "is the judge's server there?",
            ));
        };
        let metrics = &mut self.run.state.metrics;
        let best = metrics.get("best").copied().unwrap_or(f64::NEG_INFINITY);
        let since = metrics.get("looks_since_best").copied().unwrap_or(0.0);
        metrics.insert("looks_since_best".into(), if reward > best { 0.0 } else { since + 1.0 });
        metrics.insert("best".into(), best.max(reward));
        metrics.insert("valid.reward".into(), reward);
        Ok(())
    }

    fn save(&mut self) -> Result<()> {
        let rows = std::mem::take(&mut self.lists);
        self.run.write::<Rollouts>(Rows::of(columns(rows))?)?;
        let reward = self.run.state.metrics["valid.reward"];
        self.run.save(reward)
    }
}
