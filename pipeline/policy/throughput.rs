//! `throughput`: how fast policies write lists, side by side (the paper's Table 6).
//!
//! It is the one dataset whose rows a clock decides. So its settings have what should be alike in two measurements, the number of threads, and
//! a measurement is kept as long as policies, profiles and settings are the same.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use dataset::{Done, Error, Progress, Resources, Result, Rows, Stage, Style, Whole};
use schemas::{Profiles, Throughput, ThroughputColumns};
use serde::{Deserialize, Serialize};

use crate::generate::of_user;
use crate::{Generate, Model, Prompt, PromptSettings, Request, Spent, Writer};

/// Has policies write lists for the same users, in turns, and notes how long each takes. Reading a model from disk does not count, and neither
/// does a first turn, in which what a model needs is found and kept.
#[derive(Debug, Clone, Args, Serialize, Deserialize)]
#[serde(default)]
pub struct MeasureThroughput {
    /// Policies, with commas between them: paths, or steps that make them. The first is what the others are compared with
    #[arg(long, value_name = "PATHS", value_delimiter = ',')]
    #[serde(skip_serializing)]
    pub policies: Vec<PathBuf>,
    /// What users are asked
    #[command(flatten)]
    #[serde(flatten)]
    pub prompts: PromptSettings,
    /// Users who get a list from each policy in each turn: those with the smallest ids, of all whom each policy can be asked about
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub users: usize,
    /// Turns that count
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub turns: u32,
    /// Threads that write.
    #[arg(skip)]
    pub threads: usize,
}

impl Default for MeasureThroughput {
    fn default() -> Self {
        dataset::defaults()
    }
}

impl MeasureThroughput {
    /// Checks that the settings make sense.
    pub fn check(&self) -> Result<()> {
        let MeasureThroughput { policies, users, turns, .. } = self;
        for (setting, ok, expected, got) in [
            ("throughput.policies", !policies.is_empty(), "at least one policy", "none"),
            ("throughput.users", *users > 0, "at least 1", "0"),
            ("throughput.turns", *turns > 0, "at least 1", "0"),
        ] {
            if !ok {
                return Err(Error::setting(setting, expected, got, "see `querent throughput --help`"));
            }
        }
        self.prompts.check("throughput")
    }
}

/// What it reads.
#[derive(Debug)]
pub struct ThroughputInputs {
    profiles: Whole<Profiles>,
    /// Where each model lies, what it is called, and how it is asked.
    models: Vec<(PathBuf, String, Prompt)>,
}

/// Policies that are ready to write.
#[derive(Debug)]
pub struct Ready {
    models: Vec<Named>,
    progress: Style,
}

#[derive(Debug)]
struct Named {
    name: String,
    writer: Writer,
}

/// What a policy did in a turn.
struct Turn<'a> {
    position: i32,
    model: &'a Named,
    turn: u32,
    users: usize,
    prompt_tokens: usize,
    sampled_tokens: usize,
    seconds: f64,
}

impl Stage for MeasureThroughput {
    const NAME: &'static str = "throughput";
    const VERSION: u32 = 2;
    const UNIT: &'static str = "turns";
    const ALONE: bool = true;
    const OWN_PROGRESS: bool = true;
    type Inputs = ThroughputInputs;
    type Shared = Ready;
    type Outputs = Rows<Throughput>;

    fn inputs(&self, declare: &mut dataset::Inputs<'_>) -> Result<ThroughputInputs> {
        self.check()?;
        let mut models = Vec::new();
        for (at, policy) in (1..).zip(&self.policies) {
            let (role, name) = (format!("policy {at}"), Model::name(policy));
            declare.files(&role, &Model::files(policy)?)?;
            let prompt = self.prompts.of(Some(policy))?;
            declare.value(&role, (&name, &prompt))?;
            models.push((policy.clone(), name, prompt));
        }
        let profiles = declare.whole::<Profiles>("profiles")?;
        let profiles = profiles.columns(&[Profiles::user_id.name(), Profiles::behaviours.name()]);
        Ok(ThroughputInputs { profiles, models })
    }

    fn open(&self, inputs: &ThroughputInputs, resources: &Resources) -> Result<Ready> {
        // Tokens are drawn as `generate` draws them by default.
        let named = |(path, name, prompt): &(PathBuf, String, Prompt)| {
            let writer = Writer::open(path, None, prompt, &Generate::default())?;
            Ok(Named { name: name.clone(), writer })
        };
        Ok(Ready { models: inputs.models.iter().map(named).collect::<Result<_>>()?, progress: resources.progress })
    }

    fn run(
        &self,
        inputs: &ThroughputInputs,
        Ready { models, progress }: &Ready,
        _: u32,
    ) -> Result<Done<Self::Outputs>> {
        let requests = self.requests(&inputs.profiles, models)?;
        let lists = requests.iter().map(|requests| requests.len() as u64).sum::<u64>();
        let progress = Progress::new(Self::NAME, "tokens", (u64::from(self.turns) + 1) * lists, *progress);
        let watch = |spent: Spent| progress.advance(spent.users, spent.prompt_tokens + spent.sampled_tokens);
        let mut turns = Vec::new();
        // In the first turn what a model needs is found and kept.
        for turn in 0..=self.turns {
            for (position, (model, requests)) in (1..).zip(models.iter().zip(&requests)) {
                let started = Instant::now();
                let written = model.writer.write(requests, &watch)?;
                let seconds = started.elapsed().as_secs_f64();
                let prompt_tokens = requests.iter().map(|request| request.prompt.len()).sum();
                let sampled_tokens = written.iter().flatten().map(|list| list.tokens).sum();
                let users = written.len();
                if turn > 0 {
                    turns.push(Turn { position, model, turn, users, prompt_tokens, sampled_tokens, seconds });
                }
            }
        }
        turns.sort_by_key(|turn| (turn.position, turn.turn));
        Ok(Done { outputs: Rows::of(self.columns(&turns))?, accounts: Vec::new() })
    }

    /// The weights.
    fn shared_bytes(&self, Ready { models, .. }: &Ready) -> u64 {
        models.iter().map(|model| model.writer.shared_bytes()).sum()
    }

    /// The prompts as tokens, and a batch. Profiles are read a part at a time.
    fn memory_bytes(&self, Ready { models, .. }: &Ready, _: u64) -> u64 {
        let prompts: u64 = models.iter().map(|model| model.writer.prompt_bytes()).sum();
        self.users as u64 * prompts + models.iter().map(|model| model.writer.memory_bytes()).max().unwrap_or(0)
    }
}

impl MeasureThroughput {
    /// What each model is asked about the same users.
    fn requests(&self, profiles: &Whole<Profiles>, models: &[Named]) -> Result<Vec<Vec<Request>>> {
        let mut asked: BTreeMap<String, Vec<Request>> = BTreeMap::new();
        for part in profiles.parts() {
            for batch in part?.batches() {
                let (ids, behaviours) = (Profiles::user_id.of(batch)?, Profiles::behaviours.of(batch)?);
                for row in 0..batch.num_rows() {
                    let id = ids.value(row);
                    if asked.len() == self.users && asked.last_key_value().is_some_and(|(last, _)| id > last.as_str()) {
                        continue;
                    }
                    let behaviours = of_user(&behaviours, row);
                    // A prompt without room for any behaviour is none.
                    let requests = models.iter().map(|model| model.writer.request(id, &behaviours));
                    asked.extend(requests.collect::<Option<Vec<_>>>().map(|requests| (id.to_owned(), requests)));
                    if asked.len() > self.users {
                        asked.pop_last();
                    }
                }
            }
        }
        if asked.is_empty() {
            let hint = "run `querent inspect profiles`: there must be behaviours, and room for one in budget_tokens";
            return Err(Error::unreadable("profiles", "there is nobody whom each policy can be asked about", hint));
        }
        let mut by_model: Vec<Vec<Request>> = models.iter().map(|_| Vec::new()).collect();
        for requests in asked.into_values() {
            by_model.iter_mut().zip(requests).for_each(|(of_model, request)| of_model.push(request));
        }
        Ok(by_model)
    }

    fn columns(&self, turns: &[Turn<'_>]) -> ThroughputColumns {
        let counts = |of: fn(&Turn<'_>) -> usize| turns.iter().map(|turn| of(turn) as i64).collect::<Vec<_>>().into();
        ThroughputColumns {
            position: turns.iter().map(|turn| turn.position).collect::<Vec<_>>().into(),
            policy: turns.iter().map(|turn| Some(turn.model.name.as_str())).collect(),
            parameters: turns.iter().map(|turn| turn.model.writer.parameters() as i64).collect::<Vec<_>>().into(),
            threads: vec![self.threads as i32; turns.len()].into(),
            turn: turns.iter().map(|turn| turn.turn as i32).collect::<Vec<_>>().into(),
            users: counts(|turn| turn.users),
            prompt_tokens: counts(|turn| turn.prompt_tokens),
            sampled_tokens: counts(|turn| turn.sampled_tokens),
            seconds: turns.iter().map(|turn| turn.seconds).collect::<Vec<_>>().into(),
        }
    }
}
