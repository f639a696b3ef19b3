//! `grpo`: a policy learns from rewards.
//!
//! A step takes some users, samples a group of lists for each, scores them, and makes what is better than its group's mean likelier:
//!
//! ```text
//! prompts ─ rollout ─ lists ─ rewards ─ advantages ─ pass (forward, objective, backward) ─ AdamW ─▶ next weights
//! ```

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use dataset::{Artifact, Draft, Error, Inputs, Progress, Resources, Result, Rows, Whole};
use engine::{Pass, Reference, Tree};
use policy::{
    Adapters, Completion, Generate, List, Lora, Model, Policy, PromptSettings, Request, Snapshot, Task, Template,
};
use reward::{Calibration, Components, RewardInputs, RewardSettings, Rewards, Score};
use schemas::{Profiles, Rollouts};
use serde::{Deserialize, Serialize};

use crate::figures::figures;
use crate::groups::{Advantage, advantages};
use crate::log::moments;
use crate::order::Order;
use crate::people::{self, People, Person};
use crate::rows::{Row, columns};
use crate::run::{Run, has_ended};
use crate::{AdamW, Form, Grpo, Kl, Ratio, Said, Sampled, candle};

/// Settings of `grpo`, and the artifact that it makes: a policy, with `train_log/` and `rollouts/`.
#[derive(Debug, Clone, PartialEq, Args, Serialize, Deserialize)]
#[serde(default)]
pub struct TrainGrpo {
    /// The policy to start from: a path, or a step that makes one, such as sft
    #[arg(long, value_name = "PATH", default_value = "sft")]
    #[serde(skip_serializing)]
    pub policy: PathBuf,
    /// What users are asked
    #[command(flatten)]
    #[serde(flatten)]
    pub prompts: PromptSettings,
    /// Tokens of a list, at most
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub max_new_tokens: usize,
    /// Updates
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub steps: u64,
    /// Users in a step
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub users: usize,
    /// Lists for each of them
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub group: usize,
    /// How advantages follow from rewards
    #[arg(long, value_name = "HOW", value_enum, default_value_t = Advantage::Mean)]
    pub advantage: Advantage,
    /// What the ratio of probabilities is of
    #[arg(long, value_name = "OF", value_enum, default_value_t = Ratio::Sequence)]
    pub ratio: Ratio,
    /// How far a ratio may fall below 1 [default: 0.2; gspo: 3e-4]
    #[arg(long, value_name = "EPSILON")]
    pub clip_low: Option<f64>,
    /// How far it may rise above 1 [default: 0.2; gspo: 4e-4]
    #[arg(long, value_name = "EPSILON")]
    pub clip_high: Option<f64>,
    /// How the distance from where training began is measured
    #[arg(long, value_name = "HOW", value_enum, default_value_t = Kl::Exact)]
    pub kl: Kl,
    /// Weight of that distance; 0: none is measured
    #[arg(long, value_name = "BETA", default_value_t = 0.005)]
    pub beta: f64,
    /// Rank of the low-rank adapters that are trained; 0: all weights are
    #[arg(long, value_name = "RANK", default_value_t = 16)]
    pub lora_rank: usize,
    /// The adapters' α: an update is scaled by α/rank
    #[arg(long, value_name = "ALPHA", default_value_t = 32.0)]
    pub lora_alpha: f64,
    /// The optimizer
    #[command(flatten)]
    #[serde(flatten)]
    pub optimizer: AdamW,
    /// Steps between looks at the users of the split `valid`, after each of which the run can go on
    #[arg(long, value_name = "STEPS", default_value_t = 10)]
    pub look_every: u64,
    /// Users of the split `valid` that are looked at
    #[arg(long, value_name = "N", default_value_t = 48)]
    pub valid_users: usize,
    /// Looks without a better one after which the run ends
    #[arg(long, value_name = "N", default_value_t = 6)]
    pub patience: usize,
    /// Another seed, another run
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    pub seed: u64,
    /// How lists are scored
    #[command(flatten)]
    #[serde(flatten)]
    pub rewards: RewardSettings,
}

impl Default for TrainGrpo {
    fn default() -> Self {
        dataset::defaults()
    }
}

/// What a run of `grpo` reads.
#[derive(Debug)]
pub struct GrpoInputs {
    profiles: Whole<Profiles>,
    rewards: RewardInputs,
    policy: PathBuf,
    template: Template,
}

impl TrainGrpo {
    /// Checks that the settings make sense.
    pub fn check(&self) -> Result<()> {
        self.optimizer.check("grpo")?;
        self.rewards.check("grpo")?;
        let wrong = |key: &str, expected: &str, got: &dyn std::fmt::Display| {
            Err(Error::setting(&format!("grpo.{key}"), expected, got, "see `querent grpo --help`"))
        };
        match self {
            _ if !(1..=100_000).contains(&self.users) => wrong("users", "1 to 100000", &self.users),
            _ if !(2..=1024).contains(&self.group) => wrong("group", "2 to 1024", &self.group),
            _ if self.steps == 0 => wrong("steps", "at least 1", &self.steps),
            _ if self.look_every == 0 => wrong("look_every", "at least 1", &self.look_every),
            _ if self.valid_users == 0 => wrong("valid_users", "at least 1", &self.valid_users),
            _ if self.patience == 0 => wrong("patience", "at least 1", &self.patience),
            _ if !(self.beta >= 0.0 && self.beta.is_finite()) => wrong("beta", "a number from 0", &self.beta),
            _ if !(self.lora_alpha > 0.0 && self.lora_alpha.is_finite()) => {
                wrong("lora_alpha", "a number above 0", &self.lora_alpha)
            }
            _ => self.writing().check(),
        }
    }

    /// How lists are sampled in training: from the policy as it is, for anything else is off-policy.
    fn writing(&self) -> Generate {
        Generate {
            prompts: self.prompts.clone(),
            max_new_tokens: self.max_new_tokens,
            temperature: 1.0,
            top_p: 1.0,
            top_k: 0,
            constrained: false,
            samples: self.group,
            ..Generate::default()
        }
    }

    fn form(&self) -> Form {
        let (low, high) = if self.ratio == Ratio::Gspo { (3e-4, 4e-4) } else { (0.2, 0.2) };
        Form {
            ratio: self.ratio,
            clip_low: self.clip_low.unwrap_or(low),
            clip_high: self.clip_high.unwrap_or(high),
            kl: self.kl,
            beta: self.beta,
            temperature: 1.0,
            longest: self.max_new_tokens,
        }
    }
}

impl Artifact for TrainGrpo {
    const NAME: &'static str = "grpo";
    const VERSION: u32 = 1;
    type Inputs = GrpoInputs;

    fn inputs(&self, declare: &mut Inputs<'_>) -> Result<GrpoInputs> {
        self.check()?;
        declare.files("policy", &Model::files(&self.policy)?)?;
        let template = self.writing().declare_template(declare)?;
        let profiles = declare.whole::<Profiles>("profiles")?.columns(&people::COLUMNS);
        Ok(GrpoInputs { profiles, rewards: self.rewards.declare(declare)?, policy: self.policy.clone(), template })
    }

    fn make(&self, inputs: &GrpoInputs, draft: &Draft, resources: &Resources) -> Result<()> {
        if has_ended(draft)? {
            return Ok(());
        }
        let rewards = Rewards::open(&self.rewards, &inputs.rewards)?;
        let people = People::read(&inputs.profiles)?;
        if people.train.len() < self.users || people.valid.is_empty() {
            let got = format!("{} and {}", people.train.len(), people.valid.len());
            let expected = format!("at least {} users of the split train, and some of valid", self.users);
            return Err(Error::setting("profiles", expected, got, "give more users, or lower --users"));
        }
        let Model { policy, tokenizer } = Model::open(&inputs.policy)?;
        let task =
            Task::new(std::sync::Arc::new(tokenizer.clone()), &policy.config, &inputs.template, &self.writing())?;
        let mut policy = policy.merged().map_err(candle)?;
        // What training begins with is the reference: the weights themselves where adapters are trained, else a copy of them.
        let frozen = match self.lora_rank {
            0 if self.beta > 0.0 => Some(Snapshot::new(&policy, Adapters::Off).map_err(candle)?),
            _ => None,
        };
        self.prepare(&mut policy)?;
        let run = Run::begin(draft, Model { policy, tokenizer }, Some(&inputs.policy))?;
        let order = Order::new(people.train.len(), self.seed);
        Training { settings: self, rewards, people, task, frozen, run, order, lists: Vec::new(), reward: 0.0 }
            .run(resources)
    }
}

impl TrainGrpo {
    fn prepare(&self, policy: &mut Policy) -> Result<()> {
        match self.lora_rank {
            0 => policy.train_all().map_err(candle),
            rank => policy.add_lora(Lora { rank, alpha: self.lora_alpha }, self.seed).map_err(candle),
        }
    }
}

/// A run at work.
struct Training<'a> {
    settings: &'a TrainGrpo,
    rewards: Rewards,
    people: People,
    task: Task,
    frozen: Option<Snapshot>,
    run: Run<'a>,
    order: Order,
    /// Rows of `rollouts` that are not saved yet.
    lists: Vec<Row>,
    /// Mean of the last step's rewards.
    reward: f64,
}

/// Lists of some users, and what they score.
struct Scored {
    requests: Vec<Request>,
    outputs: Vec<Vec<Completion>>,
    lists: Vec<Vec<List>>,
    scores: Vec<Vec<Score>>,
    seconds: [f64; 2],
}

impl Training<'_> {
    fn run(mut self, resources: &Resources) -> Result<()> {
        let settings = self.settings;
        let progress = Progress::new(TrainGrpo::NAME, "tokens", settings.steps, resources.progress);
        let calibration = self.calibration()?;
        if self.run.state.step == 0 {
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
        let normalise = self.settings.rewards.normalise;
        if let Some(known) = Calibration::of_metrics(normalise, &self.run.state.metrics) {
            return Ok(known);
        }
        let users: Vec<usize> = (0..self.people.train.len().min(self.settings.valid_users) as u64)
            .map(|cursor| self.order.at(cursor).0)
            .collect();
        let scored = self.write(&users, false, self.settings.group, 0)?;
        let components: Vec<Components> = scored.scores.iter().flatten().map(|score| score.components).collect();
        let calibration = Calibration::of(normalise, &components);
        self.run.state.metrics.extend(calibration.metrics());
        Ok(calibration)
    }

    /// Samples and scores lists for users of the split `valid` or `train`.
    fn write(&self, users: &[usize], valid: bool, samples: usize, step: u64) -> Result<Scored> {
        let from = if valid { &self.people.valid } else { &self.people.train };
        let people: Vec<&Person> = users.iter().map(|user| &from[*user]).collect();
        let started = Instant::now();
        let request = |person: &&Person| {
            let prompt = self.task.prompt(&person.shown(0)).unwrap_or_default();
            let seeds =
                (0..samples as u64).map(|s| policy::seed(self.settings.seed, &person.user_id, s, step)).collect();
            Request { prompt, seeds }
        };
        let requests: Vec<Request> = people.iter().map(request).collect();
        let outputs = self.task.rollout(self.run.snapshot.clone())?.run(&requests, &|_| ())?;
        let rollout = started.elapsed().as_secs_f64();
        let started = Instant::now();
        let lists: Vec<Vec<List>> =
            outputs.iter().map(|outputs| outputs.iter().map(|output| self.task.read(output)).collect()).collect();
        let interests = self.rewards.interests(&people.iter().map(|person| person.user(0)).collect::<Vec<_>>())?;
        let groups: Vec<_> = interests.iter().zip(&lists).map(|(user, lists)| (user, lists.as_slice())).collect();
        let scores = self.rewards.score(&groups)?;
        Ok(Scored { requests, outputs, lists, scores, seconds: [rollout, started.elapsed().as_secs_f64()] })
    }

    /// One update. Returns the tokens that it went through.
    fn step(&mut self, calibration: &Calibration) -> Result<u64> {
        let settings = self.settings;
        let step = self.run.state.step + 1;
        let cursor = self.run.state.prompt_cursor;
        let users: Vec<usize> = (cursor..cursor + settings.users as u64).map(|at| self.order.at(at).0).collect();
        let Scored { requests, outputs, lists, scores, seconds } = self.write(&users, false, settings.group, step)?;
        let weighted: Vec<Vec<Components>> = scores
            .iter()
            .map(|scores| scores.iter().map(|s| settings.rewards.weighted(&s.components, calibration)).collect())
            .collect();
        let found: Vec<Vec<Option<f32>>> =
            weighted.iter().map(|weighted| advantages(settings.advantage, weighted)).collect();

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
        let tokens = tokens(&requests, &outputs);
        if count > 0 {
            let reference = (settings.beta > 0.0).then(|| match &self.frozen {
                Some(snapshot) => Reference { snapshot, adapters: Adapters::Off },
                None => Reference { snapshot: &self.run.snapshot, adapters: Adapters::Off },
            });
            let objective = Grpo { form: settings.form(), lists: &sampled, count };
            let mut pass = Pass::new(&self.run.snapshot, self.task.prefix(), self.task.positions(), reference, true);
            for tree in trees.chunks(1) {
                said.extend(pass.put(tree, &objective));
            }
            let gradients = pass.finish();
            update = Some(self.run.update(&settings.optimizer, &gradients)?);
        }
        let log = &mut self.run.log;
        for (figure, value) in
            ["rollout", "reward", "update"].iter().zip([seconds[0], seconds[1], started.elapsed().as_secs_f64()])
        {
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
        let rewards: Vec<f64> =
            weighted.iter().flatten().filter_map(|w| w.0.into_iter().sum::<Option<f32>>()).map(f64::from).collect();
        self.reward = moments(&rewards).map_or(0.0, |(mean, _)| mean);
        figures(log, step, "", &outputs, &lists, &scores, &weighted)?;

        let mut references: Vec<Vec<Vec<f32>>> =
            outputs.iter().map(|outputs| vec![Vec::new(); outputs.len()]).collect();
        for ((user, taken), said) in places.iter().zip(said) {
            for ((list, _), said) in taken.iter().zip(said) {
                references[*user][*list] = said.reference;
            }
        }
        let mut rows = Vec::new();
        for (user, outputs) in outputs.into_iter().enumerate() {
            for (sample, output) in outputs.into_iter().enumerate() {
                rows.push(Row {
                    step,
                    user_id: self.people.train[users[user]].user_id.clone(),
                    sample,
                    seed: requests[user].seeds[sample],
                    text: self.task.text(&output.tokens),
                    list: lists[user][sample].clone(),
                    reference: std::mem::take(&mut references[user][sample]),
                    output,
                    score: scores[user][sample],
                    weighted: weighted[user][sample],
                    advantage: found[user][sample],
                });
            }
        }
        self.lists.extend(rows);
        self.run.state.step = step;
        self.run.state.prompt_cursor = cursor + settings.users as u64;
        Ok(tokens)
    }

    /// Looks at users that nothing is learnt from.
    fn look(&mut self, calibration: &Calibration) -> Result<()> {
        let users: Vec<usize> = (0..self.people.valid.len().min(self.settings.valid_users)).collect();
        // The same seeds each time, so that looks differ by the policy alone.
        let Scored { outputs, lists, scores, .. } = self.write(&users, true, 2, 0)?;
        let weighted: Vec<Vec<Components>> = scores
            .iter()
            .map(|scores| scores.iter().map(|s| self.settings.rewards.weighted(&s.components, calibration)).collect())
            .collect();
        let step = self.run.state.step;
        figures(&mut self.run.log, step, "valid.", &outputs, &lists, &scores, &weighted)?;
        let rewards: Vec<f64> =
            weighted.iter().flatten().filter_map(|w| w.0.into_iter().sum::<Option<f32>>()).map(f64::from).collect();
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

fn tokens(requests: &[Request], outputs: &[Vec<Completion>]) -> u64 {
    let prompts: usize = requests.iter().map(|request| request.prompt.len()).sum();
    (prompts + outputs.iter().flatten().map(|output| output.tokens.len()).sum::<usize>()) as u64
}
