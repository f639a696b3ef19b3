//! What is asked of a rollout, what comes of it, and what it cost.

use std::time::Duration;

/// A user's prompt, without the common prefix, and a seed for each sample wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What follows the prefix.
    pub prompt: Vec<u32>,
    /// One per sample.
    pub seeds: Vec<u64>,
}

/// How an output ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// By itself.
    Stop,
    /// It was as long as it may be.
    Length,
    /// The grammar knew no way on.
    DeadEnd,
}

impl Finish {
    /// As `interests.finish` has it.
    pub fn name(self) -> &'static str {
        match self {
            Finish::Stop => "stop",
            Finish::Length => "length",
            Finish::DeadEnd => "dead_end",
        }
    }
}

/// One sampled output.
#[derive(Debug, Clone, PartialEq)]
pub struct Completion {
    /// Everything sampled, the token that ended it included.
    pub tokens: Vec<u32>,
    /// The log-probability of each token among all, whatever top-p, top-k and a grammar leave to choose from; that of logits divided by
    /// the temperature, or at temperature 0 as they are.
    pub log_probabilities: Vec<f32>,
    /// How it ended.
    pub finish: Finish,
}

/// What rollouts cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Spent {
    /// Users whose lists are complete.
    pub users: u64,
    /// Tokens of prompts.
    pub prompt_tokens: u64,
    /// Tokens sampled.
    pub sampled_tokens: u64,
    /// Time in prompts.
    pub prompts: Duration,
    /// Time in sampling.
    pub sampling: Duration,
}

impl std::ops::AddAssign for Spent {
    fn add_assign(&mut self, other: Spent) {
        let Spent { users, prompt_tokens, sampled_tokens, prompts, sampling } = other;
        self.users += users;
        self.prompt_tokens += prompt_tokens;
        self.sampled_tokens += sampled_tokens;
        self.prompts += prompts;
        self.sampling += sampling;
    }
}

/// How many outputs and prompt tokens are worked on together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batching {
    /// Outputs.
    pub outputs: usize,
    /// Prompt tokens.
    pub prompt_tokens: usize,
}

impl Default for Batching {
    fn default() -> Self {
        Batching { outputs: 32, prompt_tokens: 2048 }
    }
}
