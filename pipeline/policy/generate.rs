//! `generate`: for every user some lists of queries, and the best of them.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, Float32Array, ListArray, ListBuilder, StringArray, StringBuilder, StructArray, UInt32Array,
    UInt64Array,
};
use arrow::datatypes::{DataType, Field};
use dataset::bucket::{digest_128, unhex, user_hash};
use dataset::{Account, Done, Error, Rows, Stage, from_columns};
use schemas::{Interests, Profiles};
use serde::{Deserialize, Serialize};

use crate::chat::Chat;
use crate::{
    Behaviour, Finish, Grammar, List, ListRule, PromptSettings, Prompter, Reasoning, Request, Result, Rollout,
    Sampling, Snapshot, Spent, Template, Tokenizer,
};

/// Settings that decide what is generated.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GenerateSettings {
    /// The model: a Hugging Face folder, a GGUF file or a checkpoint. Its files' digests decide, not its place.
    #[serde(skip_serializing)]
    pub policy: PathBuf,
    /// The prompt's template, where it is not the built-in one. Its digest decides.
    #[serde(skip_serializing)]
    pub prompt: Option<PathBuf>,
    /// Queries asked for.
    pub queries: usize,
    /// Whether the policy thinks before it writes.
    pub reasoning: Reasoning,
    /// See [`PromptSettings::budget_tokens`].
    pub budget_tokens: usize,
    /// See [`PromptSettings::behaviour_tokens`].
    pub behaviour_tokens: usize,
    /// See [`Sampling::temperature`].
    pub temperature: f32,
    /// See [`Sampling::top_p`].
    pub top_p: f32,
    /// See [`Sampling::top_k`].
    pub top_k: usize,
    /// See [`Sampling::max_new_tokens`].
    pub max_new_tokens: usize,
    /// What a valid list is.
    pub rule: ListRule,
    /// Lists per user, of which the best is chosen.
    pub samples: usize,
    /// Whether only lists can come out. Unset: for models that were not trained to write them. [`Generate::constrained`] decides.
    #[serde(skip_serializing)]
    pub constrained: Option<bool>,
    /// Keep all lists, not only the chosen one.
    pub keep_all: bool,
    /// Share of the users outside the test split who get lists; test users always do.
    pub share: f64,
    /// Another seed, other lists.
    pub seed: u64,
}

impl Default for GenerateSettings {
    fn default() -> Self {
        let PromptSettings { queries, reasoning, budget_tokens, behaviour_tokens } = PromptSettings::default();
        let Sampling { temperature: _, top_p: _, top_k, max_new_tokens } = Sampling::default();
        GenerateSettings {
            policy: "models/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf".into(),
            prompt: None,
            queries,
            reasoning,
            budget_tokens,
            behaviour_tokens,
            temperature: 0.7,
            top_p: 0.9,
            top_k,
            max_new_tokens,
            rule: ListRule::default(),
            samples: 1,
            constrained: None,
            keep_all: false,
            share: 1.0,
            seed: 1,
        }
    }
}

impl GenerateSettings {
    /// What decides prompts.
    pub fn prompts(&self) -> PromptSettings {
        let GenerateSettings { queries, reasoning, budget_tokens, behaviour_tokens, .. } = *self;
        PromptSettings { queries, reasoning, budget_tokens, behaviour_tokens }
    }

    /// What decides how tokens are drawn.
    pub fn sampling(&self) -> Sampling {
        let GenerateSettings { temperature, top_p, top_k, max_new_tokens, .. } = *self;
        Sampling { temperature, top_p, top_k, max_new_tokens }
    }

    /// Checks what no other part checks.
    ///
    /// # Errors
    /// When a number makes no sense.
    pub fn check(&self) -> Result<()> {
        let ListRule { min_queries, max_queries, min_words, max_words } = self.rule;
        for (setting, ok, expected, got) in [
            ("generate.samples", (1..=1024).contains(&self.samples), "1 to 1024", self.samples.to_string()),
            ("generate.behaviour_tokens", self.behaviour_tokens >= 2, "at least 2", self.behaviour_tokens.to_string()),
            (
                "generate.budget_tokens",
                self.budget_tokens > self.behaviour_tokens,
                "more than behaviour_tokens",
                format!("{} and {}", self.budget_tokens, self.behaviour_tokens),
            ),
            ("generate.share", (0.0..=1.0).contains(&self.share), "a number from 0 to 1", self.share.to_string()),
            (
                "generate.queries",
                (min_queries.max(1)..=max_queries).contains(&self.queries),
                "as many as the rule allows",
                format!("{} with a rule of {min_queries} to {max_queries}", self.queries),
            ),
            (
                "generate.rule",
                min_words >= 1 && min_words <= max_words,
                "min_words from 1 up to max_words",
                format!("{min_words} and {max_words}"),
            ),
        ] {
            if !ok {
                let hint = "see `querent generate --help`";
                return Err(crate::Error::setting(setting, format!("expected {expected}, got {got}"), hint));
            }
        }
        Ok(())
    }
}

/// Scores a list for a user: what the best of several is chosen by.
pub trait Score: Sync {
    /// Larger is better; `None` when no score can be had, which never wins against one.
    fn score(&self, behaviours: &[Behaviour<'_>], list: &List) -> Option<f32>;
}

/// 1 for a list that keeps its rule, else 0.
#[derive(Debug, Clone, Copy)]
pub struct StructureAlone;

impl Score for StructureAlone {
    fn score(&self, _: &[Behaviour<'_>], list: &List) -> Option<f32> {
        Some(f32::from(u8::from(list.valid)))
    }
}

/// Who wants to know how far it is.
pub trait Watch: Sync {
    /// A partition is begun.
    fn partition(&self, partition: u32);
    /// So much more was spent.
    fn spent(&self, spent: Spent);
}

/// Whether a user gets lists: all of the test split do, of the others a share by hash.
///
/// # Errors
/// When the id is none.
pub fn asked(user_id: &str, split: &str, share: f64) -> dataset::Result<bool> {
    let id =
        unhex(user_id).ok_or_else(|| Error::unreadable("profiles", "a user id that is none", "run ingest again"))?;
    Ok(split == "test" || (user_hash(&id, "generate") as f64) < share * u64::MAX as f64 || share >= 1.0)
}

/// All that writes lists: prompts, rollouts, grammar.
#[derive(Debug)]
pub struct Writer<'a> {
    tokenizer: &'a Tokenizer,
    prompter: Prompter<'a>,
    rollout: Rollout<'a>,
    settings: GenerateSettings,
    threads: rayon::ThreadPool,
}

impl<'a> Writer<'a> {
    /// The grammar of the settings, where output is constrained: as they say, else if the model was not `trained` to write lists.
    pub fn grammar(
        tokenizer: &Tokenizer,
        trained: bool,
        template: &Template,
        settings: &GenerateSettings,
    ) -> Option<Grammar> {
        let GenerateSettings { queries, reasoning, rule, constrained, .. } = *settings;
        let taken = template.example_queries();
        constrained.unwrap_or(!trained).then(|| Grammar::new(tokenizer, queries, rule, reasoning, taken))
    }

    /// Puts the parts together, and computes what all prompts begin with.
    ///
    /// # Errors
    /// When a setting makes no sense, or prompt and output do not fit the model's context.
    pub fn new(
        tokenizer: &'a Tokenizer,
        snapshot: &'a Snapshot,
        grammar: Option<&'a Grammar>,
        template: &Template,
        settings: &GenerateSettings,
        threads: usize,
    ) -> Result<Self> {
        let prompter = Prompter::new(tokenizer, template, settings.prompts())?;
        let end = Chat::of(tokenizer)?.end(tokenizer);
        let text_end = tokenizer.control("<|endoftext|>");
        let stops: Vec<u32> = snapshot.config.eos_token_ids.iter().copied().chain(end).chain(text_end).collect();
        let threads = rayon::ThreadPoolBuilder::new().num_threads(threads).build().map_err(|e| {
            crate::Error::setting("--threads", format!("expected threads that can be started: {e}"), "take fewer")
        })?;
        let sampling = settings.sampling();
        let rollout = threads
            .install(|| Rollout::new(snapshot, prompter.prefix(), prompter.longest(), &stops, sampling, grammar))?;
        Ok(Writer { tokenizer, prompter, rollout, settings: settings.clone(), threads })
    }

    /// An output as a list.
    fn list(&self, tokens: &[u32], finish: Finish) -> List {
        // A control token inside the output is none of the list's, even though decoding drops it.
        let inside = tokens.split_last().map_or(tokens, |(_, inside)| inside);
        let plain = inside.iter().all(|token| !self.tokenizer.bytes(*token).is_empty());
        List::parse(&self.tokenizer.decode(tokens), finish == Finish::Stop && plain, self.settings.rule)
    }
}

/// A sample's seed: it depends on nothing but these.
pub fn seed(seed: u64, user_id: &str, sample: u64, step: u64) -> u64 {
    let digest =
        digest_128(&[b"rollout", &seed.to_le_bytes(), user_id.as_bytes(), &sample.to_le_bytes(), &step.to_le_bytes()]);
    let mut low = [0; 8];
    low.copy_from_slice(&digest[..8]);
    u64::from_le_bytes(low)
}

/// Writes lists for users.
#[derive(Serialize)]
pub struct Generate<'a> {
    /// The settings.
    pub settings: GenerateSettings,
    /// Whether output is constrained, resolved.
    pub constrained: bool,
    /// Digest of the prompt's template.
    pub template: String,
    /// The policy's name.
    pub policy: String,
    /// What writes.
    #[serde(skip)]
    pub writer: &'a Writer<'a>,
    /// What the best list is chosen by.
    #[serde(skip)]
    pub score: &'a dyn Score,
    /// Told how far it is.
    #[serde(skip)]
    pub watch: &'a dyn Watch,
}

impl std::fmt::Debug for Generate<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Generate").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Stage for Generate<'_> {
    const NAME: &'static str = "generate";
    const VERSION: u32 = 1;
    const UNIT: &'static str = "users";
    type Inputs = Rows<Profiles>;
    type Outputs = Rows<Interests>;

    fn run(&self, partition: u32, profiles: Rows<Profiles>) -> dataset::Result<Done<Self::Outputs>> {
        self.watch.partition(partition);
        let mut account = Account::default();
        let users = users(&profiles)?;
        let (mut chosen, mut requests) = (Vec::new(), Vec::new());
        for user in &users {
            account.input += 1;
            let behaviours = user.behaviours();
            if !asked(&user.user_id, &user.split, self.settings.share)? {
                account.drop("not asked for", 1);
            } else if let Some(prompt) = self.writer.prompter.prompt(&behaviours) {
                let seeds =
                    (0..self.settings.samples as u64).map(|sample| seed(self.settings.seed, &user.user_id, sample, 0));
                requests.push(Request { prompt, seeds: seeds.collect() });
                chosen.push((user, behaviours));
            } else {
                account.drop("no behaviours", 1);
            }
        }
        let outputs =
            self.writer.threads.install(|| self.writer.rollout.run(&requests, &|spent| self.watch.spent(spent)));
        let mut columns = Columns::default();
        for ((user, behaviours), outputs) in chosen.into_iter().zip(outputs) {
            let mut lists: Vec<Written> = (0..)
                .zip(outputs)
                .map(|(sample, output)| {
                    let list = self.writer.list(&output.tokens, output.finish);
                    account.note("sampled tokens", output.tokens.len() as u64);
                    account.note("lists", 1);
                    account.note("valid lists", u64::from(list.valid));
                    let score = self.score.score(&behaviours, &list);
                    Written { sample, score, list, finish: output.finish }
                })
                .collect();
            let worth = |score: Option<f32>| score.unwrap_or(f32::NEG_INFINITY);
            lists.sort_by(|a, b| worth(b.score).total_cmp(&worth(a.score)).then(a.sample.cmp(&b.sample)));
            if !self.settings.keep_all {
                lists.truncate(1);
            }
            account.output += 1;
            account.note("users with a valid list", lists.first().map_or(0, |best| u64::from(best.list.valid)));
            columns.push(&user.user_id, lists);
        }
        Ok(Done { outputs: Rows::new(vec![columns.finish(self)?]), accounts: vec![account] })
    }

    /// The rows, their prompts as tokens, and a batch.
    fn memory_bytes(&self, input_bytes: u64) -> u64 {
        let Writer { prompter, rollout, .. } = self.writer;
        let prompt = prompter.longest() - prompter.prefix().len();
        4 * input_bytes + rollout.batch_bytes(prompt, self.settings.samples)
    }
}

/// A list with what came of it.
struct Written {
    sample: u32,
    score: Option<f32>,
    list: List,
    finish: Finish,
}

/// A row of `profiles`.
struct User {
    user_id: String,
    split: String,
    behaviours: StructArray,
}

impl User {
    /// Domain and text, most recent first.
    fn behaviours(&self) -> Vec<Behaviour<'_>> {
        let column = |name: &str| self.behaviours.column_by_name(name)?.as_any().downcast_ref::<StringArray>();
        match (column("domain"), column("text")) {
            (Some(domains), Some(texts)) => (0..self.behaviours.len())
                .map(|i| Behaviour { domain: domains.value(i), text: texts.value(i) })
                .collect(),
            // Checked when the rows were read.
            _ => Vec::new(),
        }
    }
}

fn users(profiles: &Rows<Profiles>) -> dataset::Result<Vec<User>> {
    let mut users = Vec::new();
    for batch in profiles.batches() {
        let ids: &StringArray = Rows::<Profiles>::column(batch, "user_id")?;
        let splits: &StringArray = Rows::<Profiles>::column(batch, "split")?;
        let behaviours: &ListArray = Rows::<Profiles>::column(batch, "behaviours")?;
        for row in 0..batch.num_rows() {
            let list = behaviours.value(row);
            let list = list
                .as_any()
                .downcast_ref::<StructArray>()
                .cloned()
                .ok_or_else(|| Error::unreadable("profiles", "behaviours that are no records", "run cap again"))?;
            users.push(User { user_id: ids.value(row).into(), split: splits.value(row).into(), behaviours: list });
        }
    }
    users.sort_unstable_by(|a, b| a.user_id.cmp(&b.user_id));
    Ok(users)
}

#[derive(Default)]
struct Columns {
    user_id: Vec<String>,
    candidate: Vec<u32>,
    lists: Vec<Written>,
}

impl Columns {
    fn push(&mut self, user_id: &str, lists: Vec<Written>) {
        for (candidate, list) in (0..).zip(lists) {
            self.user_id.push(user_id.to_owned());
            self.candidate.push(candidate);
            self.lists.push(list);
        }
    }

    fn finish(self, stage: &Generate<'_>) -> dataset::Result<arrow::array::RecordBatch> {
        let Columns { user_id, candidate, lists } = self;
        let rows = lists.len();
        let field = Arc::new(Field::new("item", DataType::Utf8, false));
        let mut queries = ListBuilder::new(StringBuilder::new()).with_field(field);
        for written in &lists {
            queries.append_value(written.list.queries.iter().map(Some));
        }
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(user_id)),
            Arc::new(UInt32Array::from(candidate)),
            Arc::new(queries.finish()),
            Arc::new(lists.iter().map(|w| w.list.reasoning.as_deref()).collect::<StringArray>()),
            Arc::new(lists.iter().map(|w| w.score).collect::<Float32Array>()),
            Arc::new(lists.iter().map(|w| Some(f32::from(u8::from(w.list.valid)))).collect::<Float32Array>()),
            Arc::new(StringArray::from(vec![stage.policy.as_str(); rows])),
            Arc::new(lists.iter().map(|w| Some(w.sample)).collect::<UInt32Array>()),
            Arc::new(UInt64Array::from(vec![stage.settings.seed; rows])),
            Arc::new(lists.iter().map(|w| Some(w.finish.name())).collect::<StringArray>()),
        ];
        from_columns::<Interests>(columns)
    }
}
