//! `distill`: a student learns, on lists of its own, to say what its teacher would (equation 10).
//!
//! ```text
//! prompts ─ rollout of the student ─ lists ─ pass (student and teacher over the same tokens, distance, backward) ─ AdamW ─▶ next weights
//! ```
//!
//! Lists are the student's, so it learns where it goes wrong itself (on-policy; Agarwal et al., 2024). The teacher reads each prompt once for
//! all its lists, as the student does, and its distribution counts over the whole vocabulary. A teacher behind a server ([`ServedSettings`]) says of each token
//! of a list how likely it finds it, and no more: then the tokens that were sampled stand for all ([`Divergence::Sampled`]).

use std::path::PathBuf;
use std::time::Instant;

use chat::{Server, Wire};
use clap::Args;
use dataset::{Artifact, Draft, Error, Inputs, Progress, Resources, Result, Rows, Whole};
use engine::{Objective, Pass, Reference, Tree};
use policy::{Adapters, Model, Prompt, PromptSettings, Snapshot, Task};
use schemas::{Profiles, Rollouts};
use serde::{Deserialize, Serialize};

use crate::checks::{check, pace};
use crate::draw::{Drawn, as_it_is};
use crate::order::Order;
use crate::people::{self, People, Person};
use crate::rows::{Row, columns};
use crate::run::{Run, has_ended};
use crate::served::{Served, ServedSettings};
use crate::{AdamW, Adaptation, Apart, Distance, Divergence, Told, candle};

/// Settings of `distill`, and the artifact that it makes: a policy, with `train_log/` and `rollouts/`.
#[derive(Debug, Clone, PartialEq, Args, Serialize, Deserialize)]
#[serde(default)]
pub struct Distill {
    /// The student to start from: a path, or a step that makes one, such as sft@student
    #[arg(long, value_name = "PATH", default_value = "sft@student")]
    #[serde(skip_serializing)]
    pub policy: PathBuf,
    /// The teacher: a path, or a step that makes one
    #[arg(long, value_name = "PATH", default_value = "grpo")]
    #[serde(skip_serializing)]
    pub teacher: PathBuf,
    /// The teacher, if it is behind a server
    #[command(flatten)]
    #[serde(flatten)]
    pub served: ServedSettings,
    /// What users are asked
    #[command(flatten)]
    #[serde(flatten)]
    pub prompts: PromptSettings,
    /// How the distance from the teacher is measured
    #[arg(long, value_name = "HOW", value_enum, default_value_t = Divergence::Reverse)]
    pub divergence: Divergence,
    /// Updates
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub steps: u64,
    /// Users in a step
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub users: usize,
    /// Lists for each of them
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub samples: usize,
    /// What of the student is trained
    #[command(flatten)]
    #[serde(flatten)]
    pub adaptation: Adaptation,
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
    /// Another seed, another run
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    pub seed: u64,
}

impl Default for Distill {
    fn default() -> Self {
        dataset::defaults()
    }
}

/// What a run of `distill` reads.
#[derive(Debug)]
pub struct DistillInputs {
    profiles: Whole<Profiles>,
    policy: PathBuf,
    teacher: Whose,
    prompt: Prompt,
}

/// Where the teacher is.
#[derive(Debug)]
enum Whose {
    Here(PathBuf),
    Served(Server, Wire),
}

/// The teacher at work.
enum Teacher {
    /// A policy of ours: all that it would say.
    Here(Snapshot),
    /// A server: of these tokens alone.
    Served(Served),
}

impl Distill {
    /// Checks that the settings make sense.
    pub fn check(&self) -> Result<()> {
        self.optimizer.check("distill")?;
        self.adaptation.check("distill")?;
        check("distill", &pace(self.users, self.steps, self.look_every, self.valid_users))?;
        let samples = (1..=1024).contains(&self.samples);
        check("distill", &[("samples", samples, "1 to 1024", self.samples.to_string())])?;
        if self.served.server()?.is_some() && self.divergence != Divergence::Sampled {
            let hint = "a server says how likely a list's own tokens are, and no more";
            return Err(Error::setting("distill.divergence", "sampled", "another", hint));
        }
        self.prompts.check("distill")
    }
}

impl Artifact for Distill {
    const NAME: &'static str = "distill";
    const VERSION: u32 = 2;
    type Inputs = DistillInputs;

    fn inputs(&self, declare: &mut Inputs<'_>) -> Result<DistillInputs> {
        self.check()?;
        declare.files("policy", &Model::files(&self.policy)?)?;
        let teacher = match self.served.server()? {
            Some(server) => {
                declare.value("teacher", [server.address(), &server.model])?;
                Whose::Served(server, self.served.teacher_wire)
            }
            None => {
                declare.files("teacher", &Model::files(&self.teacher)?)?;
                Whose::Here(self.teacher.clone())
            }
        };
        let prompt = self.prompts.declare(declare, Some(&self.policy))?;
        if let Whose::Here(teacher) = &teacher
            && Model::prompt(teacher)?.is_some_and(|own| own.template != prompt.template)
        {
            let what = format!("distill.teacher {}", teacher.display());
            let hint = "train both with one template: see --prompt";
            return Err(Error::setting(&what, "a teacher that was trained with the student's prompt", "another", hint));
        }
        let profiles = declare.whole::<Profiles>("profiles")?.columns(&people::COLUMNS);
        Ok(DistillInputs { profiles, policy: self.policy.clone(), teacher, prompt })
    }

    fn make(&self, inputs: &DistillInputs, draft: &Draft, resources: &Resources) -> Result<()> {
        if has_ended(draft)? {
            return Ok(());
        }
        let people = People::read(&inputs.profiles)?;
        people.suffice(self.users)?;
        let begin = || Run::begin(draft, Some(&inputs.policy), || self.adaptation.start(&inputs.policy, self.seed));
        let (teacher, vocabulary, mut run) = match &inputs.teacher {
            Whose::Served(server, wire) => {
                let run = begin()?;
                (Teacher::Served(Served::open(server, *wire)?), run.model().tokenizer.vocabulary(), run)
            }
            Whose::Here(teacher) => {
                // The larger one first: while a model is read, its weights are in memory twice.
                let Model { policy, tokenizer } = Model::open(teacher)?;
                let of_teacher = policy.config.vocab_size;
                let snapshot = Snapshot::new(&policy.merged().map_err(candle)?, Adapters::Off).map_err(candle)?;
                let run = begin()?;
                let vocabulary = run.model().tokenizer.shared(&tokenizer).map_err(|differ| {
                    let what = format!("distill.teacher {}", teacher.display());
                    let hint = "take a student and a teacher of one family";
                    Error::setting(&what, "the student's tokens", differ, hint)
                })?;
                (Teacher::Here(snapshot), vocabulary.min(of_teacher), run)
            }
        };
        let vocabulary = vocabulary.min(run.model().policy.config.vocab_size);
        let task = run.task(&inputs.prompt, &as_it_is(self.samples))?;
        let order = Order::new(people.train.len(), self.seed);
        Steps { settings: self, people, task, teacher, vocabulary, run, order, lists: Vec::new() }.run(resources)
    }
}

/// A run at work.
struct Steps<'a> {
    settings: &'a Distill,
    people: People,
    task: Task,
    teacher: Teacher,
    /// Tokens that both know.
    vocabulary: usize,
    run: Run<'a>,
    order: Order,
    /// Rows of `rollouts` that are not saved yet.
    lists: Vec<Row>,
}

impl Steps<'_> {
    fn run(mut self, resources: &Resources) -> Result<()> {
        let settings = self.settings;
        let progress = Progress::new(Distill::NAME, "tokens", settings.steps, resources.progress);
        let mut valid = match self.run.state.metrics.get("valid.reverse") {
            Some(known) => *known,
            None => self.look()?,
        };
        progress.skip(self.run.state.step);
        while self.run.state.step < settings.steps {
            let (tokens, loss) = self.step()?;
            let step = self.run.state.step;
            if step.is_multiple_of(settings.look_every) || step == settings.steps {
                valid = self.look()?;
            }
            progress.say(format!("loss {loss:.4}, distance of valid {valid:.4}"));
            progress.step(tokens);
        }
        self.run.finish()?;
        Ok(())
    }

    fn draw(&self, people: &[&Person], samples: usize, step: u64) -> Result<Drawn> {
        Drawn::of(&self.task, self.run.snapshot(), people, samples, self.settings.seed, step)
    }

    /// Puts lists to the objective, with student and teacher; with `update`, one update by what comes of it.
    fn put(&mut self, drawn: &Drawn, update: bool) -> Result<(Vec<Vec<Apart>>, Option<crate::Update>)> {
        let trees: Vec<Tree<'_>> = drawn
            .requests
            .iter()
            .zip(&drawn.outputs)
            .map(|(request, outputs)| Tree {
                prompt: &request.prompt,
                lists: outputs.iter().map(|output| output.tokens.as_slice()).collect(),
            })
            .collect();
        let Distill { divergence, optimizer, steps, .. } = self.settings;
        let (tokens, vocabulary) = (drawn.learnt().max(1), self.vocabulary);
        let reference = match &self.teacher {
            Teacher::Here(snapshot) => Some(Reference { snapshot, adapters: Adapters::Off }),
            Teacher::Served(_) => None,
        };
        let mut pass = Pass::new(self.run.snapshot(), self.task.prefix(), self.task.positions(), reference, update);
        let apart = match &self.teacher {
            Teacher::Here(_) => {
                one_by_one(&mut pass, &trees, &Distance { divergence: *divergence, tokens, vocabulary })
            }
            Teacher::Served(served) => {
                let teacher = served.read(&self.task, &trees, vocabulary)?;
                one_by_one(&mut pass, &trees, &Told { teacher: &teacher, tokens, vocabulary })
            }
        };
        if !update {
            return Ok((apart, None));
        }
        let gradients = pass.finish();
        Ok((apart, Some(self.run.update(optimizer, *steps, &gradients)?)))
    }

    /// One update. Returns the tokens that it went through, and the loss.
    fn step(&mut self) -> Result<(u64, f64)> {
        let settings = self.settings;
        let step = self.run.state.step + 1;
        let (users, cursor) = self.order.step(self.run.state.prompt_cursor, settings.users);
        let drawn = self.draw(&self.train(&users), settings.samples, step)?;
        let started = Instant::now();
        let (apart, update) = self.put(&drawn, true)?;
        self.note(step, "", &apart)?;
        let log = &mut self.run.log;
        log.note(step, "seconds.rollout", drawn.seconds)?;
        log.note(step, "seconds.update", started.elapsed().as_secs_f64())?;
        log.note(step, "tokens", drawn.tokens() as f64)?;
        if let Some(update) = update {
            log.note(step, "gradient_norm", update.gradient_norm)?;
            log.note(step, "learning_rate", update.learning_rate)?;
        }
        let loss = apart.iter().flatten().map(|apart| apart.loss).sum::<f64>() / drawn.learnt().max(1) as f64;
        let tokens = drawn.tokens();
        let mut rows = drawn.rows(&self.task, &self.train(&users), step);
        rows.iter_mut().zip(apart.into_iter().flatten()).for_each(|(row, apart)| row.reference = apart.teacher);
        self.lists.extend(rows);
        self.run.state.step = step;
        self.run.state.prompt_cursor = cursor;
        Ok((tokens, loss))
    }

    fn train(&self, users: &[usize]) -> Vec<&Person> {
        users.iter().map(|user| &self.people.train[*user]).collect()
    }

    /// Notes means over the lists' tokens.
    fn note(&mut self, step: u64, of: &str, apart: &[Vec<Apart>]) -> Result<()> {
        let all: Vec<&Apart> = apart.iter().flatten().collect();
        let tokens = self.told(apart) as f64;
        let mean = |of: fn(&Apart) -> f64| all.iter().map(|apart| of(apart)).sum::<f64>() / tokens;
        let mut figures = vec![
            ("loss", mean(|apart| apart.loss)),
            ("reverse", mean(|apart| apart.reverse)),
            ("entropy", mean(|apart| apart.entropy)),
            ("length", tokens / all.len().max(1) as f64),
        ];
        if all.iter().all(|apart| apart.whole.is_some()) {
            figures.push(("forward", mean(|apart| apart.whole.unwrap_or_default().forward)));
            figures.push(("overlap", mean(|apart| apart.whole.unwrap_or_default().overlap)));
        }
        for (figure, value) in figures {
            self.run.log.note(step, format!("{of}{figure}"), value)?;
        }
        Ok(())
    }

    /// Tokens that the teacher has spoken of: all, or those that a server was asked about.
    fn told(&self, apart: &[Vec<Apart>]) -> usize {
        let served = matches!(self.teacher, Teacher::Served(_));
        let tokens = apart.iter().flatten().flat_map(|apart| &apart.teacher);
        tokens.filter(|log_q| !served || log_q.is_finite()).count().max(1)
    }

    /// Looks at users that nothing is learnt from, and saves. Returns the mean reverse distance of a token.
    fn look(&mut self) -> Result<f64> {
        let people: Vec<&Person> = self.people.valid.iter().take(self.settings.valid_users).collect();
        // The same seeds each time, so that looks differ by the student alone.
        let drawn = self.draw(&people, 1, 0)?;
        let (apart, _) = self.put(&drawn, false)?;
        let step = self.run.state.step;
        self.note(step, "valid.", &apart)?;
        let sum: f64 = apart.iter().flatten().map(|apart| apart.reverse).sum();
        let reverse = sum / self.told(&apart) as f64;
        self.run.state.metrics.insert("valid.reverse".into(), reverse);
        let rows = std::mem::take(&mut self.lists);
        self.run.write::<Rollouts>(Rows::of(columns(rows))?)?;
        self.run.save(-reverse)?;
        Ok(reverse)
    }
}

/// Puts trees to an objective, each with its own logits in memory.
fn one_by_one<O: Objective<Said = Apart>>(pass: &mut Pass<'_>, trees: &[Tree<'_>], objective: &O) -> Vec<Vec<Apart>> {
    trees.chunks(1).flat_map(|tree| pass.put(tree, objective)).collect()
}
