//! `sft`: a policy learns lists that it is shown. What comes of it is the warm start of `grpo`, or a small policy from nothing.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use clap::{Args, ValueEnum};
use dataset::bucket::stream;
use dataset::{Artifact, Draft, Error, Inputs, Progress, Resources, Result, Whole};
use engine::{Pass, Tree};
use policy::{Model, Prompt, PromptSettings, Snapshot, Task};
use rand::seq::index::sample;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use reward::{JudgeSettings, RewardInputs, RewardSettings, Rewards};
use schemas::{Interests, Profiles};
use serde::{Deserialize, Serialize};

use crate::checks::{check, pace};
use crate::draw::as_it_is;
use crate::examples::{Example, Teacher, given};
use crate::order::Order;
use crate::people::{self, People, Person};
use crate::pruned::pruned;
use crate::run::{Run, has_ended};
use crate::scratch::Scratch;
use crate::{AdamW, Adaptation, Fitted, Likelihood};

/// Users of the split `valid` whose lists say which layers stay.
const PRUNED_BY: usize = 16;

/// Behaviours that an epoch shows of a user, at least.
const FEWEST: f64 = 4.0;

/// Where training starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Init {
    /// From a model (`--policy`).
    #[default]
    Policy,
    /// From random weights, with a vocabulary learnt from the training users' texts.
    Scratch,
    /// From some of a model's layers (`--policy`, `--layers`): those without which it says the lists to learn worst.
    Pruned,
}

/// Settings of `sft`, and the artifact that it makes: a policy, with `train_log/`.
#[derive(Debug, Clone, PartialEq, Args, Serialize, Deserialize)]
#[serde(default)]
pub struct Sft {
    /// Where training starts: from a model, from random weights, or from some of a model's layers
    #[arg(long, value_name = "WHERE", value_enum, default_value_t = Init::Policy)]
    pub init: Init,
    /// The model to start from
    #[arg(long, value_name = "PATH", default_value = "models/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")]
    #[serde(skip_serializing)]
    pub policy: PathBuf,
    /// Sizes of a policy from scratch
    #[command(flatten)]
    #[serde(flatten)]
    pub scratch: Scratch,
    /// From scratch: the policy whose vocabulary is taken, such as a teacher's; a path, or a step that makes one [default: one is learnt from
    /// the users' texts]
    #[arg(long, value_name = "PATH")]
    #[serde(skip_serializing)]
    pub vocabulary_of: Option<PathBuf>,
    /// The lists to learn: those of the dataset interests.NAME, of another model or imported from a file [default: lists made of each
    /// user's themes]
    #[arg(long, value_name = "NAME")]
    pub lists: Option<String>,
    /// What users are asked
    #[command(flatten)]
    #[serde(flatten)]
    pub prompts: PromptSettings,
    /// Updates
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub steps: u64,
    /// Users in a step
    #[arg(long, value_name = "N", default_value_t = 16)]
    pub users: usize,
    /// What of the policy is trained
    #[command(flatten)]
    #[serde(flatten)]
    pub adaptation: Adaptation,
    /// The optimizer
    #[command(flatten)]
    #[serde(flatten)]
    pub optimizer: AdamW,
    /// Steps between looks at the users of the split `valid`, after each of which the run can go on
    #[arg(long, value_name = "STEPS", default_value_t = 50)]
    pub look_every: u64,
    /// Users of the split `valid` that are looked at
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub valid_users: usize,
    /// Another seed, another run
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    pub seed: u64,
    /// How themes are found, and what words say
    #[command(flatten)]
    #[serde(flatten)]
    pub rewards: RewardSettings,
}

impl Default for Sft {
    fn default() -> Self {
        dataset::defaults()
    }
}

/// What a run of `sft` reads.
#[derive(Debug)]
pub struct SftInputs {
    policy: PathBuf,
    vocabulary_of: Option<PathBuf>,
    profiles: Whole<Profiles>,
    lists: Option<Whole<Interests>>,
    rewards: RewardInputs,
    prompt: Prompt,
}

impl Sft {
    /// Checks that the settings make sense.
    pub fn check(&self) -> Result<()> {
        self.optimizer.check("sft")?;
        self.adaptation.check("sft")?;
        self.scratch.check()?;
        self.rewards.check("sft")?;
        check("sft", &pace(self.users, self.steps, self.look_every, self.valid_users))?;
        self.prompts.check("sft")
    }
}

impl Artifact for Sft {
    const NAME: &'static str = "sft";
    const VERSION: u32 = 4;
    type Inputs = SftInputs;

    fn inputs(&self, declare: &mut Inputs<'_>) -> Result<SftInputs> {
        self.check()?;
        if self.init != Init::Scratch {
            declare.files("policy", &Model::files(&self.policy)?)?;
        }
        if let (Init::Scratch, Some(path)) = (self.init, &self.vocabulary_of) {
            declare.files("vocabulary_of", &Model::files(path)?)?;
        }
        let of = (self.init != Init::Scratch).then_some(self.policy.as_path());
        let prompt = self.prompts.declare(declare, of)?;
        // Without it the room for an answer follows from the lists.
        declare.value("max_new_tokens", self.prompts.max_new_tokens)?;
        let profiles = declare.whole::<Profiles>("profiles")?.columns(&people::COLUMNS);
        let lists = match &self.lists {
            Some(name) => Some(declare.whole::<Interests>(&format!("interests.{name}"))?),
            None => None,
        };
        Ok(SftInputs {
            policy: self.policy.clone(),
            vocabulary_of: self.vocabulary_of.clone(),
            profiles,
            lists,
            // No judge is asked about lists that are made of themes.
            rewards: RewardSettings { judge: JudgeSettings::default(), ..self.rewards.clone() }.declare(declare)?,
            prompt,
        })
    }

    fn make(&self, inputs: &SftInputs, draft: &Draft, resources: &Resources) -> Result<()> {
        if has_ended(draft)? {
            return Ok(());
        }
        let people = People::read(&inputs.profiles)?;
        let teacher = Teacher {
            rewards: Rewards::open(&self.rewards, &inputs.rewards, resources.progress)?,
            given: inputs.lists.as_ref().map(given).transpose()?,
            queries: inputs.prompt.queries,
        };
        let base = (self.init == Init::Policy).then_some(inputs.policy.as_path());
        let mut run = Run::begin(draft, base, || self.start(inputs, &teacher, &people))?;
        let task = run.task(&inputs.prompt, &as_it_is(1))?;
        let valid = teacher.first(&task, &people.valid, self.valid_users)?;
        if people.train.is_empty() || valid.is_empty() {
            let got = format!("{} and {}", people.train.len(), valid.len());
            let expected = "users of the split train, and some of valid with a list to learn";
            return Err(Error::setting("profiles", expected, got, "give more users"));
        }
        // Whoever asks the policy leaves room for lists such as it learns, if no other room was asked for.
        let longest = valid.iter().map(Example::learnt).max().unwrap_or(0);
        let max_new_tokens = self.prompts.max_new_tokens.unwrap_or(inputs.prompt.max_new_tokens.max(longest));
        let task = run.task(&Prompt { max_new_tokens, ..inputs.prompt.clone() }, &as_it_is(1))?;
        let mut order = Order::new(people.train.len(), self.seed);
        let progress = Progress::new(Self::NAME, "tokens", self.steps, resources.progress);
        progress.skip(run.state.step);
        while run.state.step < self.steps {
            let (tokens, loss) = self.step(&mut run, &task, &teacher, &people, &mut order)?;
            let step = run.state.step;
            if step.is_multiple_of(self.look_every) || step == self.steps {
                let (loss, likeliest) = look(run.snapshot(), &task, &valid);
                let count = valid.iter().map(Example::learnt).sum::<usize>() as f64;
                run.log.note(step, "valid.loss", loss / count)?;
                run.log.note(step, "valid.likeliest", likeliest as f64 / count)?;
                run.save(-loss / count)?;
            }
            progress.say(format!("loss {loss:.3}"));
            progress.step(tokens);
        }
        run.finish()?;
        Ok(())
    }
}

impl Sft {
    /// The model as it is before the first step, with something to train.
    fn start(&self, inputs: &SftInputs, teacher: &Teacher, people: &People) -> Result<Model> {
        match self.init {
            Init::Policy => self.adaptation.start(&inputs.policy, self.seed),
            Init::Pruned => {
                let model = Model::open(&inputs.policy)?;
                let tokenizer = Arc::new(model.tokenizer.clone());
                let task = Task::new(tokenizer, &model.policy.config, &inputs.prompt, &as_it_is(1))?;
                let examples = teacher.first(&task, &people.valid, self.valid_users.min(PRUNED_BY))?;
                pruned(model, self.scratch.layers, &|snapshot| look(snapshot, &task, &examples).0)
            }
            Init::Scratch => {
                let tokenizer = match &inputs.vocabulary_of {
                    Some(path) => Model::open(path)?.tokenizer,
                    None => self.scratch.tokenizer(&teacher.corpus(&people.train, &inputs.prompt.template)?)?,
                };
                self.scratch.model(tokenizer, self.seed)
            }
        }
    }

    /// One update. Returns the tokens that it went through, and the loss.
    fn step(
        &self,
        run: &mut Run<'_>,
        task: &Task,
        teacher: &Teacher,
        people: &People,
        order: &mut Order,
    ) -> Result<(u64, f64)> {
        let started = Instant::now();
        let step = run.state.step + 1;
        let mut cursor = run.state.prompt_cursor;
        let mut examples: Vec<Example> = Vec::new();
        // Users without a list to learn are passed over. Everyone has been seen after one epoch.
        let last = cursor + people.train.len() as u64 + self.users as u64;
        while examples.len() < self.users && cursor < last {
            let missing = (self.users - examples.len()) as u64;
            let at = cursor..cursor + missing;
            cursor += missing;
            let parts = at.map(|at| {
                let (user, epoch) = order.at(at);
                self.part(&people.train[user], epoch)
            });
            examples.extend(teacher.examples(task, &parts.collect::<Vec<_>>())?.into_iter().flatten());
        }
        if examples.is_empty() {
            let hint = "users need at least three behaviours about something";
            return Err(Error::setting("profiles", "users with a list to learn", "none", hint));
        }
        let prepared = started.elapsed().as_secs_f64();
        let started = Instant::now();
        let objective = Likelihood { tokens: examples.iter().map(Example::learnt).sum() };
        let mut pass = Pass::new(run.snapshot(), task.prefix(), positions(task, &examples), None, true);
        let mut fitted: Vec<Fitted> = Vec::new();
        for trees in trees(&examples).chunks(8) {
            fitted.extend(pass.put(trees, &objective).into_iter().flatten());
        }
        let gradients = pass.finish();
        let update = run.update(&self.optimizer, self.steps, &gradients)?;
        let count = objective.tokens as f64;
        let loss = fitted.iter().map(|fitted| fitted.loss).sum::<f64>() / count;
        let tokens = examples.iter().map(|example| example.tokens() as u64).sum();
        for (figure, value) in [
            ("loss", loss),
            ("likeliest", fitted.iter().map(|fitted| fitted.likeliest).sum::<usize>() as f64 / count),
            ("gradient_norm", update.gradient_norm),
            ("learning_rate", update.learning_rate),
            ("tokens", tokens as f64),
            ("seconds.lists", prepared),
            ("seconds.update", started.elapsed().as_secs_f64()),
        ] {
            run.log.note(step, figure, value)?;
        }
        run.state.step = step;
        run.state.prompt_cursor = cursor;
        Ok((tokens, loss))
    }

    /// What an epoch shows of a user: all behaviours in the first, later some, few as often as many (their number's logarithm is uniform). So
    /// a user is a new one each time, and no list can be learnt by heart: who knows lists by heart does not learn to look at the history. And
    /// among few lines it is sooner found out that lists are said again from them.
    fn part(&self, person: &Person, epoch: u64) -> Person {
        if epoch == 0 || self.lists.is_some() {
            return person.clone();
        }
        let name = [person.user_id.as_bytes(), &epoch.to_le_bytes()].concat();
        let mut random = Xoshiro256PlusPlus::seed_from_u64(stream(self.seed, "history", name));
        let all = person.behaviours();
        let count = (all as f64).powf(random.random()).max(FEWEST) as usize;
        let mut kept = sample(&mut random, all, count.min(all)).into_vec();
        kept.sort_unstable();
        person.part(&kept)
    }
}

/// Sum of the losses, and how many tokens were the likeliest.
fn look(snapshot: &Snapshot, task: &Task, examples: &[Example]) -> (f64, usize) {
    let mut pass = Pass::new(snapshot, task.prefix(), positions(task, examples), None, false);
    let objective = Likelihood { tokens: 1 };
    let fitted: Vec<Fitted> =
        trees(examples).chunks(8).flat_map(|trees| pass.put(trees, &objective)).flatten().collect();
    (fitted.iter().map(|fitted| fitted.loss).sum(), fitted.iter().map(|fitted| fitted.likeliest).sum())
}

fn trees(examples: &[Example]) -> Vec<Tree<'_>> {
    examples.iter().map(Example::tree).collect()
}

/// Positions that the task and these examples need: a list to learn may be longer than one that is sampled.
fn positions(task: &Task, examples: &[Example]) -> usize {
    let longest = examples.iter().map(Example::tokens).max().unwrap_or(0);
    task.positions().max(task.prefix().len() + longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_shows_some_of_a_user_in_order_and_few_as_often_as_many() {
        let texts: Vec<String> = (0..100).map(|at| format!("text {at:02}")).collect();
        let person = Person::searching("u", &texts.iter().map(String::as_str).collect::<Vec<_>>());
        let sft = Sft::default();
        assert_eq!(sft.part(&person, 0), person, "the first epoch shows all");
        let parts: Vec<Person> = (1..400).map(|epoch| sft.part(&person, epoch)).collect();
        let counts: Vec<usize> = parts.iter().map(Person::behaviours).collect();
        assert!(counts.iter().all(|count| (4..=100).contains(count)));
        let few = counts.iter().filter(|count| **count <= 10).count();
        assert!((150..250).contains(&few), "{few} of 399 show ten at most: half, for ten is the root of a hundred");
        for part in &parts {
            let shown: Vec<&str> = part.texts().collect();
            assert!(shown.is_sorted_by(|a, b| a < b), "as they stood, each once: {shown:?}");
        }
        assert_eq!(sft.part(&person, 7), parts[6], "another run draws the same");
        assert_ne!(Sft { seed: 2, ..Sft::default() }.part(&person, 7), parts[6]);
        let given = Sft { lists: Some("teacher".into()), ..Sft::default() };
        assert_eq!(given.part(&person, 7), person, "lists that are given belong to the whole history");
        let two = Person::searching("u", &["a", "b"]);
        assert_eq!(sft.part(&two, 3), two);
    }
}
