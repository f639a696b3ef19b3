//! `generate`: for every user some lists of queries.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::StringArray;
use clap::Args;
use dataset::bucket::{unhex, user_hash};
use dataset::{Account, ByPartition, Done, Error, Manifest, Progress, Resources, Result, Rows, Stage, Style};
use schemas::{Behaviours, Interests, InterestsColumns, Lists, Profiles};
use serde::{Deserialize, Serialize};

use crate::{Behaviour, ListRule, Model, Prompt, PromptSettings, Request, Writer, Written};

/// Writes lists for users. These settings decide what is written.
#[derive(Debug, Clone, Args, Serialize, Deserialize)]
#[serde(default)]
pub struct Generate {
    /// The model: a Hugging Face folder or GGUF file of a chat model, or a checkpoint. What its files hold decides, not where they lie
    #[arg(long, value_name = "PATH", default_value = "models/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")]
    #[serde(skip_serializing)]
    pub policy: PathBuf,
    /// Where the base of a checkpoint of adapters lies, if it is not where it was
    #[arg(long, value_name = "PATH")]
    #[serde(skip_serializing)]
    pub base: Option<PathBuf>,
    /// What users are asked
    #[command(flatten)]
    #[serde(flatten)]
    pub prompts: PromptSettings,
    /// Larger is more varied; 0 always takes the most likely token
    #[arg(long, value_name = "T", default_value_t = 0.7)]
    pub temperature: f32,
    /// Draw from the most likely tokens that together have this probability
    #[arg(long, value_name = "P", default_value_t = 0.9)]
    pub top_p: f32,
    /// Draw from so many of the most likely tokens; 0: all
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub top_k: usize,
    /// What a valid list is.
    #[arg(skip)]
    pub rule: ListRule,
    /// Whether only lists can come out, whichever model writes
    #[arg(long, value_name = "true|false", default_value_t = true, action = clap::ArgAction::Set)]
    pub constrained: bool,
    /// Lists per user; of several the one of the largest reward is chosen
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub samples: usize,
    /// Share of the users outside the test split who get lists; test users always do
    #[arg(long, value_name = "SHARE", default_value_t = 1.0)]
    pub share: f64,
    /// Another seed, other lists
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    pub seed: u64,
}

impl Default for Generate {
    fn default() -> Self {
        dataset::defaults()
    }
}

impl Generate {
    /// Checks that the settings make sense, as far as that can be told without the model.
    pub fn check(&self) -> Result<()> {
        self.prompts.check("generate")?;
        let Generate { temperature, top_p, samples, share, .. } = self;
        let ListRule { min_words, max_words, .. } = self.rule;
        for (setting, ok, expected, got) in [
            ("generate.samples", (1..=1024).contains(samples), "1 to 1024", samples.to_string()),
            (
                "generate.temperature",
                *temperature >= 0.0 && temperature.is_finite(),
                "a number, 0 or more",
                temperature.to_string(),
            ),
            ("generate.top_p", *top_p > 0.0 && *top_p <= 1.0, "a number above 0, up to 1", top_p.to_string()),
            ("generate.share", (0.0..=1.0).contains(share), "a number from 0 to 1", share.to_string()),
            (
                "generate.rule",
                min_words >= 1 && min_words <= max_words,
                "min_words from 1 up to max_words",
                format!("{min_words} and {max_words}"),
            ),
        ] {
            if !ok {
                return Err(Error::setting(setting, expected, got, "see `querent generate --help`"));
            }
        }
        Ok(())
    }
}

/// Whether a user gets lists: all of the test split do, of the others a share by hash.
///
/// # Errors
/// When the id is none.
pub fn asked(user_id: &str, split: &str, share: f64) -> Result<bool> {
    let id =
        unhex(user_id).ok_or_else(|| Error::unreadable("profiles", "a user id that is none", "run ingest again"))?;
    Ok(split == "test" || (user_hash(&id, "generate") as f64) < share * u64::MAX as f64 || share >= 1.0)
}

/// What generate reads.
#[derive(Debug)]
pub struct Inputs {
    profiles: ByPartition<Profiles>,
    /// Where the model lies, and where its base does.
    model: PathBuf,
    base: Option<PathBuf>,
    /// What it is called.
    name: String,
    prompt: Prompt,
}

/// What all partitions share.
#[derive(Debug)]
pub struct Shared {
    writer: Writer,
    live: Live,
}

impl Stage for Generate {
    const NAME: &'static str = "generate";
    const VERSION: u32 = 6;
    const UNIT: &'static str = "users";
    const ALONE: bool = true;
    const OWN_PROGRESS: bool = true;
    type Inputs = Inputs;
    type Shared = Shared;
    type Outputs = Rows<Interests>;

    fn inputs(&self, declare: &mut dataset::Inputs<'_>) -> Result<Inputs> {
        self.check()?;
        let prompt = self.prompts.declare(declare, Some(&self.policy))?;
        declare.files("policy", &Model::files(&self.policy)?)?;
        let (model, name) = (self.policy.clone(), Model::name(&self.policy));
        declare.value("policy", &name)?;
        let profiles = declare.by_partition::<Profiles>("profiles")?;
        let profiles =
            profiles.columns(&[Profiles::user_id.name(), Profiles::split.name(), Profiles::behaviours.name()]);
        Ok(Inputs { profiles, model, base: self.base.clone(), name, prompt })
    }

    fn open(&self, inputs: &Inputs, resources: &Resources) -> Result<Shared> {
        let writer = Writer::open(&inputs.model, inputs.base.as_deref(), &inputs.prompt, self)?;
        Ok(Shared { writer, live: Live::new(inputs.profiles.manifest(), resources.progress) })
    }

    fn run(&self, inputs: &Inputs, Shared { writer, live }: &Shared, partition: u32) -> Result<Done<Self::Outputs>> {
        live.begin(partition);
        let mut account = Account::default();
        let (mut users, mut requests): (Vec<String>, Vec<Request>) = (Vec::new(), Vec::new());
        for batch in inputs.profiles.read(partition)?.batches() {
            let (ids, splits) = (Profiles::user_id.of(batch)?, Profiles::split.of(batch)?);
            let behaviours = Profiles::behaviours.of(batch)?;
            for row in 0..batch.num_rows() {
                account.input += 1;
                let user = ids.value(row);
                if !asked(user, splits.value(row), self.share)? {
                    account.drop("not asked for", 1);
                } else if let Some(request) = writer.request(user, &of_user(&behaviours, row)) {
                    account.note("prompt tokens", request.prompt.len() as u64);
                    users.push(user.to_owned());
                    requests.push(request);
                } else {
                    account.drop("no behaviours", 1);
                }
            }
        }
        live.done(account.input - users.len() as u64, 0);
        let written = writer.write(&requests, &|spent| {
            live.done(spent.users, spent.prompt_tokens + spent.sampled_tokens);
        })?;
        for lists in &written {
            for list in lists {
                account.note("sampled tokens", list.tokens as u64);
                account.note("lists", 1);
                account.note("valid lists", u64::from(list.list.valid));
            }
            account.output += 1;
            account.note("users with a valid list", u64::from(lists.iter().any(|list| list.list.valid)));
        }
        let lists: Vec<(String, Vec<Written>)> = users.into_iter().zip(written).collect();
        Ok(Done { outputs: Rows::of(self.columns(&lists, &inputs.name))?, accounts: vec![account] })
    }

    /// The weights.
    fn shared_bytes(&self, shared: &Shared) -> u64 {
        shared.writer.shared_bytes()
    }

    /// The rows, their prompts as tokens, and a batch.
    fn memory_bytes(&self, shared: &Shared, input_bytes: u64) -> u64 {
        4 * input_bytes + shared.writer.memory_bytes()
    }
}

/// A user's behaviours, most recent first.
pub(crate) fn of_user(behaviours: &Lists<Behaviours>, row: usize) -> Vec<Behaviour<'_>> {
    let Behaviours { domain, text, .. } = behaviours.items();
    behaviours.range(row).map(|at| Behaviour { domain: domain.value(at), text: text.value(at) }).collect()
}

impl Generate {
    /// Lists by user, in the order of sampling, as rows. One alone has its structure for a reward; of several none is chosen yet.
    fn columns(&self, lists: &[(String, Vec<Written>)], policy: &str) -> InterestsColumns {
        let rows = || lists.iter().flat_map(|(user, lists)| (0..).zip(lists).map(move |(at, list)| (user, at, list)));
        let lists = || rows().map(|(.., list)| list);
        let alone = self.samples == 1;
        InterestsColumns {
            user_id: rows().map(|(user, ..)| Some(user)).collect(),
            candidate: rows().map(|(_, at, _)| at).collect::<Vec<i32>>().into(),
            queries: lists().map(|list| list.list.queries.iter()).collect(),
            reasoning: lists().map(|list| list.list.reasoning.as_deref()).collect(),
            reward: lists().map(|list| alone.then(|| list.structure())).collect(),
            structure: lists().map(|list| Some(list.structure())).collect(),
            policy: StringArray::from(vec![policy; lists().count()]),
            sample: lists().map(|list| list.sample as i32).collect::<Vec<_>>().into(),
            seed: vec![self.seed as i64; lists().count()].into(),
            finish: lists().map(|list| Some(list.finish.name())).collect(),
        }
    }
}

/// Progress by user, with tokens per second. Users who are not asked count too: nobody has to be counted beforehand.
#[derive(Debug)]
struct Live {
    progress: Progress,
    /// Users before each partition.
    before: Vec<u64>,
    /// Users done or passed over.
    users: AtomicU64,
}

impl Live {
    fn new(profiles: &Manifest, style: Style) -> Self {
        let rows = |partition| profiles.part(partition).map_or(0, |part| part.rows);
        let before = (0..profiles.partitions).scan(0, |users, partition| {
            let before = *users;
            *users += rows(partition);
            Some(before)
        });
        let progress = Progress::new(Generate::NAME, "tokens", profiles.rows, style);
        Live { progress, before: before.collect(), users: AtomicU64::new(0) }
    }

    /// Passes over the partitions that were done before, or are another shard's.
    fn begin(&self, partition: u32) {
        let before = self.before.get(partition as usize).copied().unwrap_or(0);
        self.progress.skip(before.saturating_sub(self.users.swap(before, Ordering::Relaxed)));
    }

    fn done(&self, users: u64, tokens: u64) {
        self.users.fetch_add(users, Ordering::Relaxed);
        self.progress.advance(users, tokens);
    }
}
