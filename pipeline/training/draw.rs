//! Lists that the policy of a step writes.

use std::sync::Arc;
use std::time::Instant;

use dataset::Result;
use policy::{Completion, Generate, List, PromptSettings, Request, Snapshot, Task};

use crate::people::Person;

/// Lists of some users.
pub(crate) struct Drawn {
    pub(crate) requests: Vec<Request>,
    /// By user and sample.
    pub(crate) outputs: Vec<Vec<Completion>>,
    pub(crate) lists: Vec<Vec<List>>,
    pub(crate) seconds: f64,
}

impl Drawn {
    /// Samples lists for users. A sample follows from the seed, the user, its number and the step alone.
    pub(crate) fn of(
        task: &Task,
        snapshot: &Arc<Snapshot>,
        people: &[&Person],
        samples: usize,
        seed: u64,
        step: u64,
    ) -> Result<Self> {
        let started = Instant::now();
        let request = |person: &&Person| Request {
            prompt: task.prompt(&person.shown(0)).unwrap_or_default(),
            seeds: (0..samples as u64).map(|sample| policy::seed(seed, &person.user_id, sample, step)).collect(),
        };
        let requests: Vec<Request> = people.iter().map(request).collect();
        let outputs = task.rollout(snapshot.clone())?.run(&requests, &|_| ())?;
        let lists = outputs.iter().map(|outputs| outputs.iter().map(|output| task.read(output)).collect()).collect();
        Ok(Drawn { requests, outputs, lists, seconds: started.elapsed().as_secs_f64() })
    }

    /// Tokens of prompts and lists.
    pub(crate) fn tokens(&self) -> u64 {
        let prompts: usize = self.requests.iter().map(|request| request.prompt.len()).sum();
        (prompts + self.learnt()) as u64
    }

    /// Tokens of lists.
    pub(crate) fn learnt(&self) -> usize {
        self.outputs.iter().flatten().map(|output| output.tokens.len()).sum()
    }
}

/// How lists are sampled in training: from the policy as it is, for anything else is off-policy.
pub(crate) fn as_it_is(prompts: &PromptSettings, max_new_tokens: usize, samples: usize) -> Generate {
    Generate {
        prompts: prompts.clone(),
        max_new_tokens,
        temperature: 1.0,
        top_p: 1.0,
        top_k: 0,
        constrained: false,
        samples,
        ..Generate::default()
    }
}
