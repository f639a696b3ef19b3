//! All that writes lists, put together: prompts, rollouts, grammar.

use std::path::Path;
use std::sync::Arc;

use dataset::bucket::stream;
use dataset::{Error, Result};

use crate::chat::Chat;
use crate::files::candle;
use crate::{
    Adapters, Behaviour, Completion, Config, Finish, Fitted, Generate, Grammar, List, ListRule, Model, Prompt,
    Prompter, Request, Rollout, Sampling, Snapshot, Spent, Tokenizer,
};

/// The task that a policy is given: how it is asked, how its tokens are drawn, how its answers are read. Weights come apart, for in training
/// they change.
#[derive(Debug, Clone)]
pub struct Task {
    tokenizer: Arc<Tokenizer>,
    prompter: Prompter,
    grammar: Option<Arc<Grammar>>,
    stops: Vec<u32>,
    end: u32,
    sampling: Sampling,
    rule: ListRule,
}

/// Writes lists for users, with one version of a model's weights.
#[derive(Debug)]
pub struct Writer {
    task: Task,
    rollout: Rollout,
    seed: u64,
    samples: usize,
}

/// A list, and how it was sampled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The number of the sample.
    pub sample: u32,
    /// What the output says.
    pub list: List,
    /// How the output ended.
    pub finish: Finish,
    /// Tokens of the output.
    pub tokens: usize,
}

impl Written {
    /// The structure reward of the paper: 1 for a list that keeps its rule, else 0.
    pub fn structure(&self) -> f32 {
        f32::from(u8::from(self.list.valid))
    }
}

impl Task {
    /// The task for a model.
    ///
    /// # Errors
    /// When the model is none for chats, or a setting makes no sense.
    pub fn new(tokenizer: Arc<Tokenizer>, config: &Config, prompt: &Prompt, settings: &Generate) -> Result<Self> {
        let Generate { rule, constrained, temperature, top_p, top_k, .. } = *settings;
        let sampling = Sampling { temperature, top_p, top_k, max_new_tokens: prompt.max_new_tokens };
        let prompter = Prompter::new(tokenizer.clone(), prompt)?;
        let end = Chat::of(&tokenizer)?.end(&tokenizer).ok_or_else(|| Error::bug("a chat without an end"))?;
        let text_end = tokenizer.control("<|endoftext|>");
        let stops = config.eos_token_ids.iter().copied().chain([end]).chain(text_end).collect();
        let Prompt { queries, reasoning, template, .. } = prompt;
        let grammar = constrained.then(|| Arc::new(Grammar::new(&tokenizer, *queries, rule, *reasoning, template)));
        Ok(Task { tokenizer, prompter, grammar, stops, end, sampling, rule })
    }

    /// What all prompts begin with.
    pub fn prefix(&self) -> &[u32] {
        self.prompter.prefix()
    }

    /// Tokens of an answer, at most.
    pub fn max_new_tokens(&self) -> usize {
        self.sampling.max_new_tokens
    }

    /// Tokens of prefix, prompt and answer, at most.
    pub fn positions(&self) -> usize {
        self.prompter.longest() + self.sampling.max_new_tokens
    }

    /// What follows the prefix for a user, whose behaviours come most recent first; `None` for one without behaviours.
    pub fn prompt(&self, behaviours: &[Behaviour<'_>]) -> Option<Vec<u32>> {
        self.prompter.prompt(behaviours)
    }

    /// The same, and the places of the behaviours that it shows.
    pub fn fit(&self, behaviours: &[Behaviour<'_>]) -> Option<Fitted> {
        self.prompter.fit(behaviours)
    }

    /// Rollouts with a version of the weights.
    ///
    /// # Errors
    /// When prompt and output do not fit the model's context.
    pub fn rollout(&self, snapshot: Arc<Snapshot>) -> Result<Rollout> {
        let Task { prompter, grammar, stops, sampling, .. } = self;
        Rollout::new(snapshot, prompter.prefix(), prompter.longest(), stops, *sampling, grammar.clone())
    }

    /// An output as a list.
    pub fn read(&self, Completion { tokens, finish, .. }: &Completion) -> List {
        // A control token inside the output is none of the list's, even though decoding drops it.
        let inside = tokens.split_last().map_or(tokens.as_slice(), |(_, inside)| inside);
        let plain = inside.iter().all(|token| !self.tokenizer.bytes(*token).is_empty());
        List::parse(&self.text(tokens), *finish == Finish::Stop && plain, self.rule)
    }

    /// Tokens as text, without control tokens.
    pub fn text(&self, tokens: &[u32]) -> String {
        self.tokenizer.decode(tokens)
    }

    /// The answer that says a list, as an output would: its tokens, and the one that ends it.
    pub fn answer(&self, queries: &[String]) -> Vec<u32> {
        let mut tokens = self.tokenizer.encode(&self.prompter.template().list(queries));
        tokens.push(self.end);
        tokens
    }
}

impl Writer {
    /// Reads a model, which may be a checkpoint of adapters whose base lies at `base`.
    ///
    /// # Errors
    /// As [`Model::open_on`] and [`Writer::new`].
    pub fn open(model: &Path, base: Option<&Path>, prompt: &Prompt, settings: &Generate) -> Result<Self> {
        let Model { policy, tokenizer } = Model::open_on(model, base)?;
        let snapshot = Arc::new(Snapshot::new(&policy, Adapters::On).map_err(candle)?);
        drop(policy); // the snapshot is all that rollouts need
        Writer::new(tokenizer, snapshot, prompt, settings)
    }

    /// Puts the parts together, and computes what all prompts begin with.
    ///
    /// # Errors
    /// When a setting makes no sense, or prompt and output do not fit the model's context.
    pub fn new(tokenizer: Tokenizer, snapshot: Arc<Snapshot>, prompt: &Prompt, settings: &Generate) -> Result<Self> {
        let task = Task::new(Arc::new(tokenizer), snapshot.config(), prompt, settings)?;
        let rollout = task.rollout(snapshot)?;
        Ok(Writer { task, rollout, seed: settings.seed, samples: settings.samples })
    }

    /// What is asked of the model for a user, whose behaviours come most recent first; `None` for one without behaviours.
    pub fn request(&self, user_id: &str, behaviours: &[Behaviour<'_>]) -> Option<Request> {
        let prompt = self.task.prompt(behaviours)?;
        let seeds = (0..self.samples as u64).map(|sample| seed(self.seed, user_id, sample, 0)).collect();
        Some(Request { prompt, seeds })
    }

    /// The lists for each request, in the order of sampling. `watch` is told what was spent since it was told last.
    ///
    /// # Errors
    /// When the model's logits are not finite.
    pub fn write(&self, requests: &[Request], watch: &(dyn Fn(Spent) + Sync)) -> Result<Vec<Vec<Written>>> {
        let lists = |outputs: Vec<Completion>| {
            (0..).zip(outputs).map(|(sample, output)| self.written(sample, &output)).collect()
        };
        Ok(self.rollout.run(requests, watch)?.into_iter().map(lists).collect())
    }

    fn written(&self, sample: u32, output: &Completion) -> Written {
        Written { sample, list: self.task.read(output), finish: output.finish, tokens: output.tokens.len() }
    }

    /// Bytes of a prompt, at most.
    pub(crate) fn prompt_bytes(&self) -> u64 {
        4 * self.task.prompter.longest() as u64
    }

    /// The model's weights, adapters merged in.
    pub(crate) fn parameters(&self) -> u64 {
        self.rollout.parameters()
    }

    /// Bytes of the weights.
    pub fn shared_bytes(&self) -> u64 {
        self.rollout.snapshot_bytes()
    }

    /// Bytes that rollouts take at their peak, beside the weights.
    pub fn memory_bytes(&self) -> u64 {
        self.rollout.batch_bytes(self.task.prompter.longest() - self.task.prefix().len(), self.samples)
    }
}

/// A sample's seed: it depends on nothing but these.
pub fn seed(seed: u64, user_id: &str, sample: u64, step: u64) -> u64 {
    stream(seed, "rollout", [user_id.as_bytes(), &sample.to_le_bytes(), &step.to_le_bytes()].concat())
}
