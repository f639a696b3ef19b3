//! All that writes lists, put together: prompts, rollouts, grammar; and which lists are the best.

use std::sync::Arc;

use dataset::Result;
use dataset::bucket::stream;

use crate::chat::Chat;
use crate::{
    Behaviour, Completion, Finish, Generate, Grammar, List, ListRule, Prompter, Request, Rollout, Snapshot, Spent,
    Template, Tokenizer,
};

/// Writes lists for users, with one version of a model's weights.
#[derive(Debug)]
pub struct Writer {
    tokenizer: Arc<Tokenizer>,
    prompter: Prompter,
    rollout: Rollout,
    rule: ListRule,
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

impl Writer {
    /// Puts the parts together, and computes what all prompts begin with.
    ///
    /// # Errors
    /// When a setting makes no sense, or prompt and output do not fit the model's context.
    pub fn new(
        tokenizer: Tokenizer,
        snapshot: Arc<Snapshot>,
        template: &Template,
        settings: &Generate,
    ) -> Result<Self> {
        let tokenizer = Arc::new(tokenizer);
        let Generate { prompts, rule, constrained, seed, samples, .. } = settings;
        let prompter = Prompter::new(tokenizer.clone(), template, prompts.clone())?;
        let end = Chat::of(&tokenizer)?.end(&tokenizer);
        let text_end = tokenizer.control("<|endoftext|>");
        let stops: Vec<u32> = snapshot.config().eos_token_ids.iter().copied().chain(end).chain(text_end).collect();
        let taken = template.example_queries();
        let grammar = constrained.then(|| Grammar::new(&tokenizer, prompts.queries, *rule, prompts.reasoning, taken));
        let sampling = settings.sampling();
        let rollout = Rollout::new(snapshot, prompter.prefix(), prompter.longest(), &stops, sampling, grammar)?;
        Ok(Writer { tokenizer, prompter, rollout, rule: *rule, seed: *seed, samples: *samples })
    }

    /// What is asked of the model for a user, whose behaviours come most recent first; `None` for one without behaviours.
    pub fn request(&self, user_id: &str, behaviours: &[Behaviour<'_>]) -> Option<Request> {
        let prompt = self.prompter.prompt(behaviours)?;
        let seeds = (0..self.samples as u64).map(|sample| seed(self.seed, user_id, sample, 0)).collect();
        Some(Request { prompt, seeds })
    }

    /// The lists for each request, best first: those that keep the rule, of equally good ones the one that was sampled first. `watch`
    /// is told what was spent since it was told last.
    ///
    /// # Errors
    /// When the model's logits are not finite.
    pub fn write(&self, requests: &[Request], watch: &(dyn Fn(Spent) + Sync)) -> Result<Vec<Vec<Written>>> {
        let lists = |outputs: Vec<Completion>| {
            let mut lists: Vec<Written> =
                (0..).zip(outputs).map(|(sample, output)| self.written(sample, &output)).collect();
            lists.sort_by_key(|written| !written.list.valid);
            lists
        };
        Ok(self.rollout.run(requests, watch)?.into_iter().map(lists).collect())
    }

    /// An output as a list.
    fn written(&self, sample: u32, Completion { tokens, finish, .. }: &Completion) -> Written {
        // A control token inside the output is none of the list's, even though decoding drops it.
        let inside = tokens.split_last().map_or(tokens.as_slice(), |(_, inside)| inside);
        let plain = inside.iter().all(|token| !self.tokenizer.bytes(*token).is_empty());
        let list = List::parse(&self.tokenizer.decode(tokens), *finish == Finish::Stop && plain, self.rule);
        Written { sample, list, finish: *finish, tokens: tokens.len() }
    }

    /// Bytes of the weights.
    pub fn shared_bytes(&self) -> u64 {
        self.rollout.snapshot_bytes()
    }

    /// Bytes that rollouts take at their peak, beside the weights.
    pub fn memory_bytes(&self) -> u64 {
        self.rollout.batch_bytes(self.prompter.longest() - self.prompter.prefix().len(), self.samples)
    }
}

/// A sample's seed: it depends on nothing but these.
pub fn seed(seed: u64, user_id: &str, sample: u64, step: u64) -> u64 {
    stream(seed, "rollout", [user_id.as_bytes(), &sample.to_le_bytes(), &step.to_le_bytes()].concat())
}
