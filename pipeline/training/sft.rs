//! `sft`: a policy learns lists that it is shown. What comes of it is the warm start of `grpo`, or a small policy from nothing.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use clap::{Args, ValueEnum};
use dataset::bucket::stream;
use dataset::{Artifact, Draft, Error, Inputs, Progress, Resources, Result, Whole};
use engine::{Pass, Tree};
use policy::{Generate, Lora, Model, PromptSettings, Task, Template};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use reward::{RewardInputs, RewardSettings, Rewards};
use schemas::{Interests, Profiles};
use serde::{Deserialize, Serialize};

use crate::order::Order;
use crate::people::{self, People, Person};
use crate::run::{Run, has_ended};
use crate::scratch::Scratch;
use crate::{AdamW, Fitted, Likelihood, candle, pseudo};

/// Users whose lists a vocabulary is learnt from, beside everyone's texts: enough to have seen how a list is written.
const CORPUS_LISTS: usize = 64;

/// Where training starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Init {
    /// From a model (`--policy`).
    #[default]
    Policy,
    /// From random weights, with a vocabulary learnt from the training users' texts.
    Scratch,
}

/// Settings of `sft`, and the artifact that it makes: a policy, with `train_log/`.
#[derive(Debug, Clone, PartialEq, Args, Serialize, Deserialize)]
#[serde(default)]
pub struct Sft {
    /// Where training starts: from a model, or from random weights
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
    /// Rank of the low-rank adapters that are trained; 0: all weights are, as always from scratch
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
    profiles: Whole<Profiles>,
    lists: Option<Whole<Interests>>,
    rewards: RewardInputs,
    template: Template,
}

/// A history, and the list to learn for it, as one sequence.
struct Pair {
    tokens: Vec<u32>,
    /// Where the list begins.
    list: usize,
}

/// What of a sequence is learnt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Learnt {
    /// The list.
    List,
    /// The history too: a policy from scratch learns the language, and that what was said comes again, from many more tokens.
    Whole,
}

impl Pair {
    /// Tokens that are learnt.
    fn count(&self, learnt: Learnt) -> usize {
        self.tokens.len() - self.cut(learnt)
    }

    fn cut(&self, learnt: Learnt) -> usize {
        match learnt {
            Learnt::List => self.list,
            Learnt::Whole => 1,
        }
    }

    fn tree(&self, learnt: Learnt) -> Tree<'_> {
        let (prompt, list) = self.tokens.split_at(self.cut(learnt));
        Tree { prompt, lists: vec![list] }
    }
}

impl Sft {
    /// Checks that the settings make sense.
    pub fn check(&self) -> Result<()> {
        self.optimizer.check("sft")?;
        self.scratch.check()?;
        let wrong = |key: &str, expected: &str, got: &dyn std::fmt::Display| {
            Err(Error::setting(&format!("sft.{key}"), expected, got, "see `querent sft --help`"))
        };
        match self {
            _ if !(1..=100_000).contains(&self.users) => wrong("users", "1 to 100000", &self.users),
            _ if self.steps == 0 => wrong("steps", "at least 1", &self.steps),
            _ if self.look_every == 0 => wrong("look_every", "at least 1", &self.look_every),
            _ if self.valid_users == 0 => wrong("valid_users", "at least 1", &self.valid_users),
            _ => self.writing().check(),
        }
    }

    fn writing(&self) -> Generate {
        Generate { prompts: self.prompts.clone(), constrained: false, ..Generate::default() }
    }
}

impl Artifact for Sft {
    const NAME: &'static str = "sft";
    const VERSION: u32 = 1;
    type Inputs = SftInputs;

    fn inputs(&self, declare: &mut Inputs<'_>) -> Result<SftInputs> {
        self.check()?;
        if self.init == Init::Policy {
            declare.files("policy", &Model::files(&self.policy)?)?;
        }
        let template = self.writing().declare_template(declare)?;
        let profiles = declare.whole::<Profiles>("profiles")?.columns(&people::COLUMNS);
        let lists = match &self.lists {
            Some(name) => Some(declare.whole::<Interests>(&format!("interests.{name}"))?),
            None => None,
        };
        Ok(SftInputs {
            policy: self.policy.clone(),
            profiles,
            lists,
            rewards: self.rewards.declare(declare)?,
            template,
        })
    }

    fn make(&self, inputs: &SftInputs, draft: &Draft, resources: &Resources) -> Result<()> {
        if has_ended(draft)? {
            return Ok(());
        }
        let people = People::read(&inputs.profiles)?;
        let teacher = Teacher {
            rewards: Rewards::open(&self.rewards, &inputs.rewards)?,
            given: inputs.lists.as_ref().map(given).transpose()?,
            settings: self.writing(),
        };
        let mut model = match self.init {
            Init::Policy => {
                let Model { policy, tokenizer } = Model::open(&inputs.policy)?;
                Model { policy: policy.merged().map_err(candle)?, tokenizer }
            }
            Init::Scratch => self.scratch.model(&teacher.corpus(&people.train)?, self.seed)?,
        };
        let task =
            Task::new(Arc::new(model.tokenizer.clone()), &model.policy.config, &inputs.template, &self.writing())?;
        match (self.init, self.lora_rank) {
            (Init::Scratch, _) | (_, 0) => model.policy.train_all(),
            (_, rank) => model.policy.add_lora(Lora { rank, alpha: self.lora_alpha }, self.seed),
        }
        .map_err(candle)?;
        let mut run = Run::begin(draft, model, (self.init == Init::Policy).then_some(inputs.policy.as_path()))?;
        let mut valid: Vec<Pair> = Vec::new();
        for people in people.valid.chunks(16) {
            if valid.len() < self.valid_users {
                let shown: Vec<(&Person, usize)> = people.iter().map(|person| (person, 0)).collect();
                valid.extend(teacher.pairs(&task, &shown)?.into_iter().flatten());
            }
        }
        valid.truncate(self.valid_users);
        if people.train.is_empty() || valid.is_empty() {
            let got = format!("{} and {}", people.train.len(), valid.len());
            let expected = "users of the split train, and some of valid with a list to learn";
            return Err(Error::setting("profiles", expected, got, "give more users"));
        }
        let mut order = Order::new(people.train.len(), self.seed);
        let progress = Progress::new(Self::NAME, "tokens", self.steps, resources.progress);
        progress.skip(run.state.step);
        while run.state.step < self.steps {
            let (tokens, loss) = self.step(&mut run, &task, &teacher, &people, &mut order)?;
            let step = run.state.step;
            if step.is_multiple_of(self.look_every) || step == self.steps {
                let loss = look(&run, &task, &valid);
                let count = valid.iter().map(|pair| pair.count(Learnt::List)).sum::<usize>() as f64;
                run.log.note(step, "valid.loss", loss.0 / count)?;
                run.log.note(step, "valid.likeliest", loss.1 as f64 / count)?;
                run.save(-loss.0 / count)?;
            }
            progress.say(format!("loss {loss:.3}"));
            progress.step(tokens);
        }
        run.finish()?;
        Ok(())
    }
}

impl Sft {
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
        let mut pairs: Vec<Pair> = Vec::new();
        // Users without a list to learn are passed over. Everyone has been seen after one epoch.
        let last = cursor + people.train.len() as u64 + self.users as u64;
        while pairs.len() < self.users && cursor < last {
            let missing = (self.users - pairs.len()) as u64;
            let shown: Vec<(&Person, usize)> = (cursor..cursor + missing)
                .map(|at| {
                    let (user, epoch) = order.at(at);
                    let person = &people.train[user];
                    (person, self.left_out(person, epoch))
                })
                .collect();
            cursor += missing;
            pairs.extend(teacher.pairs(task, &shown)?.into_iter().flatten());
        }
        if pairs.is_empty() {
            let hint = "users need at least three behaviours about something";
            return Err(Error::setting("profiles", "users with a list to learn", "none", hint));
        }
        let prepared = started.elapsed().as_secs_f64();
        let started = Instant::now();
        let learnt = self.learnt(step);
        let objective = Likelihood { tokens: pairs.iter().map(|pair| pair.count(learnt)).sum() };
        let mut pass = Pass::new(&run.snapshot, task.prefix(), task.positions().max(longest(task, &pairs)), None, true);
        let mut fitted: Vec<Fitted> = Vec::new();
        for trees in trees(&pairs, learnt).chunks(8) {
            fitted.extend(pass.put(trees, &objective).into_iter().flatten());
        }
        let gradients = pass.finish();
        let update = run.update(&self.optimizer, &gradients)?;
        let count = objective.tokens as f64;
        let loss = fitted.iter().map(|fitted| fitted.loss).sum::<f64>() / count;
        let tokens = pairs.iter().map(|pair| pair.tokens.len() as u64).sum();
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

    /// What a step learns: from scratch the first half of the steps learns whole sequences, the second half lists.
    fn learnt(&self, step: u64) -> Learnt {
        match self.init {
            Init::Scratch if step <= self.steps / 2 => Learnt::Whole,
            _ => Learnt::List,
        }
    }

    /// How many of the latest behaviours an epoch leaves out of a user's history: none in the first, up to half of them later. So a user is
    /// a new one each time.
    fn left_out(&self, person: &Person, epoch: u64) -> usize {
        if epoch == 0 || self.lists.is_some() {
            return 0;
        }
        let name = [person.user_id.as_bytes(), &epoch.to_le_bytes()].concat();
        let mut random = Xoshiro256PlusPlus::seed_from_u64(stream(self.seed, "history", name));
        random.random_range(0..=person.behaviours() / 2)
    }
}

/// Sum of the losses, and how many tokens were the likeliest.
fn look(run: &Run<'_>, task: &Task, pairs: &[Pair]) -> (f64, usize) {
    let positions = task.positions().max(longest(task, pairs));
    let mut pass = Pass::new(&run.snapshot, task.prefix(), positions, None, false);
    let objective = Likelihood { tokens: 1 };
    let fitted: Vec<Fitted> =
        trees(pairs, Learnt::List).chunks(8).flat_map(|trees| pass.put(trees, &objective)).flatten().collect();
    (fitted.iter().map(|fitted| fitted.loss).sum(), fitted.iter().map(|fitted| fitted.likeliest).sum())
}

fn trees(pairs: &[Pair], learnt: Learnt) -> Vec<Tree<'_>> {
    pairs.iter().map(|pair| pair.tree(learnt)).collect()
}

fn longest(task: &Task, pairs: &[Pair]) -> usize {
    task.prefix().len() + pairs.iter().map(|pair| pair.tokens.len()).max().unwrap_or(0)
}

/// Lists by user, the chosen ones.
fn given(lists: &Whole<Interests>) -> Result<HashMap<String, Vec<String>>> {
    let mut given = HashMap::new();
    for part in lists.parts() {
        for batch in part?.batches() {
            let (users, candidates) = (Interests::user_id.of(batch)?, Interests::candidate.of(batch)?);
            let queries = Interests::queries.of(batch)?;
            for row in (0..batch.num_rows()).filter(|&row| candidates.value(row) == 0) {
                let queries: Vec<String> = queries.row(row).map(str::to_owned).collect();
                if !queries.is_empty() {
                    given.insert(users.value(row).to_owned(), queries);
                }
            }
        }
    }
    Ok(given)
}

/// Who knows the lists.
struct Teacher {
    rewards: Rewards,
    given: Option<HashMap<String, Vec<String>>>,
    settings: Generate,
}

impl Teacher {
    /// The list to learn for each history; none where there is none.
    fn lists(&self, people: &[(&Person, usize)]) -> Result<Vec<Option<Vec<String>>>> {
        if let Some(given) = &self.given {
            return Ok(people.iter().map(|(person, _)| given.get(&person.user_id).cloned()).collect());
        }
        let users: Vec<_> = people.iter().map(|(person, left_out)| person.user(*left_out)).collect();
        let (queries, least) = (self.settings.prompts.queries, self.settings.rule.min_queries);
        let interests = self.rewards.interests(&users)?;
        Ok(interests.iter().map(|user| pseudo::list(user, self.rewards.lexicon(), queries, least)).collect())
    }

    fn pairs(&self, task: &Task, people: &[(&Person, usize)]) -> Result<Vec<Option<Pair>>> {
        let pair = |((person, left_out), list): (&(&Person, usize), Option<Vec<String>>)| {
            let mut tokens = task.prompt(&person.shown(*left_out))?;
            let list_at = tokens.len();
            tokens.extend(task.answer(&list?));
            Some(Pair { tokens, list: list_at })
        };
        Ok(people.iter().zip(self.lists(people)?).map(pair).collect())
    }

    /// What a vocabulary is learnt from: the training users' texts, and lists as they are written.
    fn corpus(&self, people: &[Person]) -> Result<Vec<String>> {
        let mut corpus: Vec<String> = people.iter().flat_map(Person::texts).map(|text| format!("- {text}\n")).collect();
        let some: Vec<(&Person, usize)> = people.iter().take(CORPUS_LISTS).map(|person| (person, 0)).collect();
        for list in self.lists(&some)?.into_iter().flatten() {
            corpus.push(policy::as_list(&list));
        }
        Ok(corpus)
    }
}
