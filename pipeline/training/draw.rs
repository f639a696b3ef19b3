//! Lists that the policy of a step writes.

use std::sync::Arc;
use std::time::Instant;

use dataset::Result;
use policy::{Completion, Generate, List, Request, Snapshot, Task};
use reward::Components;

use crate::people::Person;
use crate::rows::Row;

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
            prompt: task.prompt(&person.shown()).unwrap_or_default(),
            seeds: (0..samples as u64).map(|sample| policy::seed(seed, &person.user_id, sample, step)).collect(),
        };
        let requests: Vec<Request> = people.iter().map(request).collect();
        let outputs = task.rollout(snapshot.clone())?.run(&requests, &|_| ())?;
        let lists = outputs.iter().map(|outputs| outputs.iter().map(|output| task.read(output)).collect()).collect();
        Ok(Drawn { requests, outputs, lists, seconds: started.elapsed().as_secs_f64() })
    }

    /// The lists as rows of `rollouts`, by user and sample. What becomes of them is not known yet.
    pub(crate) fn rows(self, task: &Task, people: &[&Person], step: u64) -> Vec<Row> {
        let mut rows = Vec::new();
        let of_users = self.requests.into_iter().zip(self.outputs).zip(self.lists);
        for (person, ((request, outputs), lists)) in people.iter().zip(of_users) {
            for (sample, (output, list)) in outputs.into_iter().zip(lists).enumerate() {
                rows.push(Row {
                    step,
                    user_id: person.user_id.clone(),
                    sample,
                    seed: request.seeds[sample],
                    text: task.text(&output.tokens),
                    list,
                    output,
                    reference: Vec::new(),
                    score: None,
                    weighted: Components::default(),
                    advantage: None,
                });
            }
        }
        rows
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
pub(crate) fn as_it_is(samples: usize) -> Generate {
    Generate { temperature: 1.0, top_p: 1.0, top_k: 0, constrained: false, samples, ..Generate::default() }
}
