//! Baselines on a public data set of ids alone, to compare with published figures and with other libraries' speed:
//! `cargo bench --workspace --bench ids -- FILE.inter MODEL --width 50 --length 200 --negatives 512`.
//!
//! Reads a file as RecBole has them: a heading, then user, item, rating and time with tabs between. Each user's last item is to be told, the one
//! before it says when to stop, all others are learnt; every item that the user has not had is a candidate. Prints hit rate and NDCG at 10, the
//! clicks learnt a second, and the users a second for whom all items were ranked. `tests/bench/baselines.py` runs it beside RecBole.

#![expect(clippy::print_stdout, reason = "a benchmark says what it measured")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use baselines::{Articles, Clicks, Histories, Item, Measured, Model, Network, TrainSettings, measure};
use clap::Parser;
use training::{Order, Parameters};

#[derive(Debug, Parser)]
struct Arguments {
    /// A file of interactions
    file: PathBuf,
    /// A trained model other than nrhub, which reads words
    #[arg(value_enum)]
    model: Model,
    #[command(flatten)]
    settings: TrainSettings,
}

/// The allocator of `querent baseline`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let Arguments { file, model, mut settings } =
        Arguments::parse_from(std::env::args().filter(|argument| argument != "--bench"));
    settings.sizes.item = Item::Id;
    settings.check()?;
    let seed = settings.seed;

    let (users, items) = read(&std::fs::read_to_string(file)?)?;
    let until = |left_out: usize| -> Vec<Clicks> { users.iter().map(|user| user.without_last(left_out)).collect() };
    let (train, valid, test) = (until(2), until(1), until(0));
    let histories = Histories { train, valid };
    let (clicked, all): (_, Vec<u32>) = (histories.clicked(), (0..items as u32).collect());
    let network = Network::random(model, &settings.sizes, &Articles::Ids(items), seed)?;
    let mut parameters = Parameters::new(network.weights.values()?);
    let mut order = Order::new(histories.train.len(), seed);
    let (mut best, mut best_step, mut told) = (f64::NEG_INFINITY, 0, Measured::default());
    let (mut learning, mut ranking, mut learnt, mut ranked) = (Duration::ZERO, Duration::ZERO, 0, 0);
    for step in 1..=settings.steps {
        let started = Instant::now();
        let first = (step - 1) * settings.users as u64;
        let of_step: Vec<&Clicks> =
            (first..first + settings.users as u64).map(|at| &histories.train[order.at(at).0]).collect();
        let (_, gradients) = settings.gradients(&network, &of_step, &settings.draw(&clicked, step), step)?;
        settings.optimizer().step(step, settings.steps, &mut parameters, &gradients)?;
        network.weights.set(&parameters.values)?;
        learning += started.elapsed();
        learnt += of_step.iter().map(|user| settings.sizes.learnt(user).targets.len()).sum::<usize>();
        if step % settings.look_every == 0 {
            let started = Instant::now();
            let valid = measure(&network, &histories.valid, &all)?;
            ranking += started.elapsed();
            ranked += histories.valid.len();
            if valid.ndcg_10 > best {
                (best, best_step, told) = (valid.ndcg_10, step, measure(&network, &test, &all)?);
            }
            if step - best_step >= settings.patience * settings.look_every {
                break;
            }
        }
    }
    let rate = |count: usize, taken: Duration| count as f64 / taken.as_secs_f64().max(1e-9);
    println!("{model} seed {seed}: HR@10 {:.4} NDCG@10 {:.4} (step {best_step})", told.recall_10, told.ndcg_10);
    println!("learnt {:.0} clicks/s, ranked {:.0} users/s", rate(learnt, learning), rate(ranked, ranking));
    Ok(())
}

/// Users and how many items there are. Of equal times the line that comes first is earlier.
fn read(text: &str) -> Result<(Vec<Clicks>, usize), Box<dyn std::error::Error>> {
    let mut items: BTreeMap<&str, u32> = BTreeMap::new();
    let mut users: BTreeMap<&str, Vec<(i64, u32)>> = BTreeMap::new();
    for line in text.lines().skip(1) {
        let [user, item, _, time] = line.split('\t').collect::<Vec<_>>()[..] else {
            return Err(format!("expected four columns, got {line}").into());
        };
        let next = items.len() as u32;
        let item = *items.entry(item).or_insert(next);
        users.entry(user).or_default().push((time.parse::<f64>()? as i64, item));
    }
    let clicks = |mut events: Vec<(i64, u32)>| {
        events.sort_by_key(|(time, _)| *time);
        let at_us = events.iter().map(|(time, _)| time * 1_000_000).collect();
        Clicks::new(events.into_iter().map(|(_, item)| item).collect(), at_us)
    };
    Ok((users.into_values().map(clicks).filter(|clicks| clicks.len() > 3).collect(), items.len()))
}
