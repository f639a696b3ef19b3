//! Rollouts: lists sampled from a policy, whole batches at a time.
//!
//! What all prompts begin with is computed once per snapshot of the weights; each prompt once per user, and its samples share it. Outputs
//! that end leave the batch, and users that wait come in as soon as there is room. None of this changes what is sampled: products are
//! chains in one order, attention runs over positions in one order ([`engine`]), and a sample's randomness comes from
//! its own seed. The same request gives the same tokens in any batch, on any number of threads.

mod automaton;
mod grammar;
mod request;
mod sample;

use std::sync::Arc;
use std::time::Instant;

use dataset::{Error, Result};
use pulp::Arch;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use rayon::prelude::*;

pub use grammar::Grammar;
use grammar::{Next, Walk};
pub use request::{Batching, Completion, Finish, Request, Spent};
pub use sample::Sampling;
use sample::{Drawer, highest};

use crate::{Adapters, Snapshot};
use engine::{Block, Piece, Rotary, Rows, WIDTH, log_sum};

/// Tokens that are tried before the grammar gives up on an output.
const TRIES: usize = 64;

/// Samples lists from a snapshot of a policy.
#[derive(Debug)]
pub struct Rollout {
    snapshot: Arc<Snapshot>,
    sampling: Sampling,
    batching: Batching,
    grammar: Option<Arc<Grammar>>,
    stops: Vec<u32>,
    rotary: Rotary,
    prefix: Piece,
    longest: usize,
}

/// A user in work.
struct Group {
    request: usize,
    prompt: Piece,
    rows: Vec<Row>,
}

/// An output in work.
struct Row {
    sample: usize,
    own: Piece,
    random: Xoshiro256PlusPlus,
    walk: Option<Walk>,
    tokens: Vec<u32>,
    log_probabilities: Vec<f32>,
    finish: Option<Finish>,
}

impl Rollout {
    /// Computes the common prefix. `longest`: tokens of the longest prompt, prefix included. `stops`: tokens that end an output.
    ///
    /// # Errors
    /// When prompt and output together have more tokens than the model has positions, or a setting makes no sense.
    pub fn new(
        snapshot: Arc<Snapshot>,
        prefix: &[u32],
        longest: usize,
        stops: &[u32],
        sampling: Sampling,
        grammar: Option<Arc<Grammar>>,
    ) -> Result<Self> {
        let positions = longest.saturating_add(sampling.max_new_tokens);
        let most = snapshot.config().max_position_embeddings;
        if positions > most {
            return Err(Error::setting(
                "budget_tokens",
                format!("prompts and outputs of at most {most} tokens, the model's context"),
                positions,
                "lower budget_tokens or max_new_tokens",
            ));
        }
        let Sampling { temperature, top_p, max_new_tokens, top_k: _ } = sampling;
        if !(temperature >= 0.0 && temperature.is_finite() && top_p > 0.0 && top_p <= 1.0 && max_new_tokens > 0) {
            return Err(Error::setting(
                "sampling",
                "temperature of 0 or more, top_p above 0 up to 1, max_new_tokens above 0",
                format!("{temperature}, {top_p}, {max_new_tokens}"),
                "see `querent generate --help`",
            ));
        }
        let rotary = snapshot.rotary(positions);
        let mut piece = Piece::new(snapshot.shape(), prefix.len());
        if !prefix.is_empty() {
            let rows = Rows::Prompt(&mut piece, prefix.len());
            snapshot.forward(&rotary, prefix, &mut [Block { shared: Vec::new(), rows }], Adapters::On);
        }
        let (batching, stops) = (Batching::default(), stops.to_vec());
        Ok(Rollout { snapshot, sampling, batching, grammar, stops, rotary, prefix: piece, longest })
    }

    /// The same with other batches. What is sampled stays the same.
    pub fn batching(mut self, batching: Batching) -> Self {
        self.batching = batching;
        self
    }

    /// The model's weights, adapters merged in.
    pub fn parameters(&self) -> u64 {
        let tensors = self.snapshot.config().tensors();
        tensors.iter().map(|(_, shape)| shape.iter().product::<usize>() as u64).sum()
    }

    /// Bytes of the weights.
    pub fn snapshot_bytes(&self) -> u64 {
        4 * self.parameters()
    }

    /// Bytes that a batch takes at most, for users with so many samples and prompts of so many tokens besides the prefix: keys and values,
    /// and what is made of prompts on the way.
    pub fn batch_bytes(&self, prompt_tokens: usize, samples: usize) -> u64 {
        let Batching { outputs, prompt_tokens: together } = self.batching;
        let tokens = prompt_tokens + self.sampling.max_new_tokens + 2 * WIDTH;
        let kept = outputs.max(samples) * tokens * self.snapshot.shape().bytes_per_token();
        let crate::Config { hidden_size, intermediate_size, vocab_size, .. } = *self.snapshot.config();
        let rows = together.max(prompt_tokens);
        (kept + 4 * rows * (8 * hidden_size + 3 * intermediate_size) + 8 * outputs.max(samples) * vocab_size) as u64
    }

    /// Samples every request's outputs, in order. `watch` is told what was spent since it was told last.
    ///
    /// # Errors
    /// When a logit is NaN or +∞: weights are damaged, or training has gone wrong.
    ///
    /// # Panics
    /// When a prompt is empty, or longer than `longest` said.
    pub fn run(&self, requests: &[Request], watch: &(dyn Fn(Spent) + Sync)) -> Result<Vec<Vec<Completion>>> {
        let most = self.longest - self.prefix.len();
        assert!(requests.iter().all(|r| (1..=most).contains(&r.prompt.len())), "prompts have 1 to {most} tokens");
        let mut done: Vec<Vec<Option<Completion>>> = requests.iter().map(|r| vec![None; r.seeds.len()]).collect();
        let mut groups: Vec<Group> = Vec::new();
        let mut next = 0;
        while next < requests.len() || !groups.is_empty() {
            let started = Instant::now();
            let outputs: usize = groups.iter().map(|group| group.rows.len()).sum();
            let admitted = self.admitted(&requests[next..], outputs);
            if admitted > 0 {
                let fresh: Vec<usize> = (next..next + admitted).collect();
                next += admitted;
                let prompt_tokens = fresh.iter().map(|r| requests[*r].prompt.len() as u64).sum();
                let sampled_tokens = fresh.iter().map(|r| requests[*r].seeds.len() as u64).sum();
                groups.extend(self.begin(requests, &fresh)?);
                watch(Spent { prompt_tokens, sampled_tokens, prompts: started.elapsed(), ..Spent::default() });
            } else {
                self.step(&mut groups)?;
            }
            let mut spent = Spent::default();
            for group in &mut groups {
                let (ended, going): (Vec<Row>, Vec<Row>) = group.rows.drain(..).partition(|row| row.finish.is_some());
                group.rows = going;
                for row in ended {
                    let finish = row.finish.expect("it has ended");
                    let Row { tokens, log_probabilities, sample, .. } = row;
                    done[group.request][sample] = Some(Completion { tokens, log_probabilities, finish });
                }
                spent.users += u64::from(group.rows.is_empty());
            }
            if admitted == 0 {
                (spent.sampled_tokens, spent.sampling) = (outputs as u64, started.elapsed());
            }
            groups.retain(|group| !group.rows.is_empty());
            watch(spent);
        }
        let whole =
            |outputs: Vec<Option<Completion>>| outputs.into_iter().map(|o| o.expect("all have ended")).collect();
        Ok(done.into_iter().map(whole).collect())
    }

    /// How many waiting requests come in now.
    fn admitted(&self, waiting: &[Request], mut outputs: usize) -> usize {
        let (mut admitted, mut tokens) = (0, 0);
        for Request { prompt, seeds } in waiting {
            let first = outputs == 0;
            outputs += seeds.len();
            tokens += prompt.len();
            if !first && (outputs > self.batching.outputs || (admitted > 0 && tokens > self.batching.prompt_tokens)) {
                break;
            }
            admitted += 1;
        }
        admitted
    }

    /// Computes prompts and draws each output's first token.
    fn begin(&self, requests: &[Request], fresh: &[usize]) -> Result<Vec<Group>> {
        let shape = self.snapshot.shape();
        let mut pieces: Vec<Piece> = fresh.iter().map(|r| Piece::new(shape, requests[*r].prompt.len())).collect();
        let tokens: Vec<u32> = fresh.iter().flat_map(|r| &requests[*r].prompt).copied().collect();
        let mut blocks: Vec<Block<'_>> = pieces
            .iter_mut()
            .zip(fresh)
            .map(|(piece, r)| Block {
                shared: vec![&self.prefix],
                rows: Rows::Prompt(piece, requests[*r].prompt.len()),
            })
            .collect();
        let hidden = self.snapshot.forward(&self.rotary, &tokens, &mut blocks, Adapters::On);
        let width = self.snapshot.config().hidden_size;
        let mut last = Vec::with_capacity(fresh.len() * width);
        let mut end = 0;
        for r in fresh {
            end += requests[*r].prompt.len();
            last.extend_from_slice(&hidden[(end - 1) * width..end * width]);
        }
        let logits = self.snapshot.logits(&last);
        let mut groups: Vec<Group> = fresh
            .iter()
            .zip(pieces)
            .map(|(r, prompt)| Group { request: *r, prompt, rows: self.rows(&requests[*r].seeds) })
            .collect();
        let drawn: Vec<Result<()>> = groups
            .par_iter_mut()
            .zip(logits.par_chunks_exact(self.snapshot.config().vocab_size))
            .map_init(Drawer::default, |drawer, (group, logits)| {
                let request = group.request;
                group.rows.iter_mut().try_for_each(|row| self.draw(drawer, request, row, logits))
            })
            .collect();
        drawn.into_iter().collect::<Result<()>>()?;
        Ok(groups)
    }

    fn rows(&self, seeds: &[u64]) -> Vec<Row> {
        let row = |(sample, seed): (usize, &u64)| Row {
            sample,
            own: Piece::new(self.snapshot.shape(), self.sampling.max_new_tokens),
            random: Xoshiro256PlusPlus::seed_from_u64(*seed),
            walk: self.grammar.as_ref().map(|grammar| grammar.start(self.sampling.max_new_tokens)),
            tokens: Vec::with_capacity(self.sampling.max_new_tokens),
            log_probabilities: Vec::with_capacity(self.sampling.max_new_tokens),
            finish: None,
        };
        seeds.iter().enumerate().map(row).collect()
    }

    /// One more token for every output in work.
    fn step(&self, groups: &mut [Group]) -> Result<()> {
        let last = |row: &Row| *row.tokens.last().expect("the first token is drawn with the prompt");
        let tokens: Vec<u32> = groups.iter().flat_map(|group| group.rows.iter().map(last)).collect();
        let mut blocks: Vec<Block<'_>> = groups
            .iter_mut()
            .map(|Group { prompt, rows, .. }| Block {
                shared: vec![&self.prefix, prompt],
                rows: Rows::Lists(rows.iter_mut().map(|row| &mut row.own).collect()),
            })
            .collect();
        let hidden = self.snapshot.forward(&self.rotary, &tokens, &mut blocks, Adapters::On);
        let logits = self.snapshot.logits(&hidden);
        let rows: Vec<(usize, &mut Row)> = groups
            .iter_mut()
            .flat_map(|Group { request, rows, .. }| rows.iter_mut().map(|row| (*request, row)))
            .collect();
        let drawn: Vec<Result<()>> = rows
            .into_par_iter()
            .zip(logits.par_chunks_exact(self.snapshot.config().vocab_size))
            .map_init(Drawer::default, |drawer, ((request, row), logits)| self.draw(drawer, request, row, logits))
            .collect();
        drawn.into_iter().collect()
    }

    /// Draws an output's next token.
    fn draw(&self, drawer: &mut Drawer, request: usize, row: &mut Row, logits: &[f32]) -> Result<()> {
        let arch = Arch::new();
        if highest(arch, logits) == f32::INFINITY {
            let found = logits.iter().find(|logit| logit.is_nan() || **logit == f32::INFINITY);
            let logit = found.expect("one that is no number");
            return Err(Error::unreadable(
                format!("request {request}, sample {}, token {}", row.sample, row.tokens.len()),
                format!("expected finite logits, got {logit}"),
                "the weights are damaged, or training has gone wrong: copy the model again, or take an earlier step",
            ));
        }
        let temperature = if self.sampling.temperature > 0.0 { self.sampling.temperature } else { 1.0 };
        let sum = log_sum(logits, temperature);
        let Row { walk, random, .. } = row;
        let mut drawing = Drawing { drawer, arch, logits, sampling: &self.sampling, random };
        let token = match (&self.grammar, walk) {
            (Some(grammar), Some(walk)) => {
                let left = self.sampling.max_new_tokens - row.tokens.len() - 1;
                drawing.constrained(grammar, walk, left)
            }
            _ => drawing.any(),
        };
        let Some(token) = token else {
            row.finish = Some(Finish::DeadEnd);
            return Ok(());
        };
        row.tokens.push(token);
        row.log_probabilities.push(sum.of(logits[token as usize]));
        let complete = matches!((&self.grammar, &row.walk), (Some(grammar), Some(walk)) if grammar.complete(walk));
        row.finish = if complete || self.stops.contains(&token) {
            Some(Finish::Stop)
        } else if row.tokens.len() == self.sampling.max_new_tokens {
            Some(Finish::Length)
        } else {
            None
        };
        Ok(())
    }
}

/// All that decides an output's next token.
struct Drawing<'a> {
    drawer: &'a mut Drawer,
    arch: Arch,
    logits: &'a [f32],
    sampling: &'a Sampling,
    random: &'a mut Xoshiro256PlusPlus,
}

impl Drawing<'_> {
    /// Draws any token.
    fn any(&mut self) -> Option<u32> {
        self.drawer.draw(self.arch, self.logits, self.sampling, self.random.random())
    }

    /// Draws one of the tokens that the drawer has left.
    fn left(&mut self) -> Option<u32> {
        self.drawer.draw_masked(self.arch, self.sampling, self.random.random())
    }

    /// Draws a token that the grammar allows and takes it; `None` when there is none.
    fn constrained(&mut self, grammar: &Grammar, walk: &mut Walk, left: usize) -> Option<u32> {
        match grammar.next(walk) {
            Next::Nothing => None,
            Next::Forced(token) => {
                grammar.accept(walk, token, left);
                Some(token)
            }
            Next::Thought => {
                let token = self.any()?;
                if !grammar.ends_thought(token) {
                    grammar.accept(walk, token, left);
                    return Some(token);
                }
                grammar.end_thought(walk);
                match grammar.next(walk) {
                    Next::Forced(token) if grammar.accept(walk, token, left) => Some(token),
                    _ => None,
                }
            }
            Next::Allowed(allowed) => {
                let mut ends = false;
                if let Some(free) = grammar.unhurried(walk) {
                    self.drawer.mask(self.arch, self.logits, &free);
                    let wanted = self.left()?;
                    ends = !allowed.get(wanted as usize).is_some_and(|allowed| *allowed);
                }
                self.drawer.mask(self.arch, self.logits, &allowed);
                if ends {
                    self.drawer.keep(grammar.closing());
                }
                for _ in 0..TRIES {
                    let Some(token) = self.left() else {
                        // All that may come would end a query that the list has already.
                        grammar.extend(walk);
                        match grammar.next(walk) {
                            Next::Allowed(allowed) => self.drawer.mask(self.arch, self.logits, &allowed),
                            _ => return None,
                        }
                        continue;
                    };
                    if grammar.accept(walk, token, left) {
                        return Some(token);
                    }
                    self.drawer.forbid(token);
                }
                None
            }
        }
    }
}
