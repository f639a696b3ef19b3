//! Training: each click is to be told, from the clicks before it, among articles that others clicked.

use std::time::Instant;

use clap::{Args, ValueEnum};
use dataset::bucket::stream;
use dataset::{Artifact, Draft, Error, Inputs, Progress, Resources, Result, Whole};
use engine::Gradients;
use news::{Corpus, Pool, Vectors, declare_vectors};
use nn::{Negatives, by_length};
use policy::checkpoint::State;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use rayon::prelude::*;
use schemas::{News, NewsVectors, Profiles};
use serde::{Deserialize, Serialize};
use training::{AdamW, Order, Run, has_ended};

use crate::network::dropout;
use crate::{Articles, Clicks, Histories, Item, Model, Network, Sizes, Vocabulary, candle, measure};

/// Users whose loss is computed together: a step has several such groups, whose gradients are summed in order.
const TOGETHER: usize = 16;

/// How negatives are drawn, of the articles that users of `train` clicked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Drawn {
    /// Each as often.
    #[default]
    Uniform,
    /// As often as they were clicked; the logarithm of that share is taken from their logits (the log-q correction).
    Clicks,
}

/// How a baseline is trained.
#[derive(Debug, Clone, PartialEq, Args, Serialize, Deserialize)]
#[serde(default)]
pub struct TrainSettings {
    /// How large it is
    #[command(flatten)]
    #[serde(flatten)]
    pub sizes: Sizes,
    /// Share of values that are dropped out
    #[arg(long, value_name = "SHARE", default_value_t = 0.2)]
    pub dropout: f64,
    /// Articles that a step's clicks are told from, shared by all of them; 0: all that users of train clicked
    #[arg(long, value_name = "N", default_value_t = 1024)]
    pub negatives: usize,
    /// How they are drawn
    #[arg(long, value_name = "HOW", value_enum, default_value_t)]
    pub drawn: Drawn,
    /// Updates, at most
    #[arg(long, value_name = "N", default_value_t = 2000)]
    pub steps: u64,
    /// Users in a step
    #[arg(long, value_name = "N", default_value_t = 128)]
    pub users: usize,
    /// Learning rate, once warm
    #[arg(long, value_name = "RATE", default_value_t = 1e-3)]
    pub learning_rate: f64,
    /// Steps over which the rate rises; it stays as it is then
    #[arg(long, value_name = "STEPS", default_value_t = 20)]
    pub warm_up: u64,
    /// How much of each weight is taken away per unit of rate; norms and biases are left alone
    #[arg(long, value_name = "RATE", default_value_t = 0.0)]
    pub weight_decay: f64,
    /// Steps between looks at the users of the split `valid`, after each of which the run can go on
    #[arg(long, value_name = "STEPS", default_value_t = 50)]
    pub look_every: u64,
    /// Looks without a better one after which training stops
    #[arg(long, value_name = "LOOKS", default_value_t = 5)]
    pub patience: u64,
    /// Another seed, another run
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    pub seed: u64,
}

impl Default for TrainSettings {
    fn default() -> Self {
        dataset::defaults()
    }
}

/// A trained baseline as an artifact: its best checkpoint, with `train_log/`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Train {
    /// Which.
    pub model: Model,
    /// How it is trained.
    #[serde(flatten)]
    pub settings: TrainSettings,
}

/// What training reads.
#[derive(Debug)]
pub struct TrainInputs {
    profiles: Whole<Profiles>,
    news: Whole<News>,
    vectors: Option<(Whole<NewsVectors>, String)>,
    /// The articles whose words are known, where words are read.
    before: Option<Corpus>,
}

impl TrainSettings {
    /// Checks that the settings make sense.
    pub fn check(&self) -> Result<()> {
        self.sizes.check()?;
        self.optimizer().check("baseline")?;
        for (setting, ok, expected, got) in [
            ("dropout", (0.0..1.0).contains(&self.dropout), "a share from 0 up to below 1", self.dropout.to_string()),
            ("steps", self.steps >= 1, "at least 1", self.steps.to_string()),
            ("users", (1..=100_000).contains(&self.users), "1 to 100000", self.users.to_string()),
            ("look_every", self.look_every >= 1, "at least 1", self.look_every.to_string()),
            ("patience", self.patience >= 1, "at least 1", self.patience.to_string()),
        ] {
            if !ok {
                let setting = format!("baseline.{setting}");
                return Err(Error::setting(&setting, expected, got, "see `querent baseline --help`"));
            }
        }
        Ok(())
    }

    /// The optimizer.
    pub fn optimizer(&self) -> AdamW {
        let TrainSettings { learning_rate, warm_up, weight_decay, .. } = *self;
        AdamW { learning_rate, warm_up, cool_down: 0.0, weight_decay, clip_norm: 1.0 }
    }

    /// The negatives of a step. `clicked`: what users of `train` clicked, and how often.
    pub fn draw(&self, clicked: &[(u32, u64)], step: u64) -> Negatives {
        if self.negatives == 0 {
            return Negatives { items: clicked.iter().map(|(article, _)| *article).collect(), log_q: Vec::new() };
        }
        let mut random = Xoshiro256PlusPlus::seed_from_u64(stream(self.seed, "negatives", step.to_le_bytes()));
        let mut negatives = Negatives { items: Vec::with_capacity(self.negatives), log_q: Vec::new() };
        let ends: Vec<u64> = match self.drawn {
            Drawn::Uniform => Vec::new(),
            Drawn::Clicks => clicked.iter().scan(0, |sum, (_, count)| Some((*sum += count, *sum).1)).collect(),
        };
        for _ in 0..self.negatives {
            let place = match ends.last() {
                None => random.random_range(0..clicked.len()),
                Some(all) => {
                    let click = random.random_range(0..*all);
                    let place = ends.partition_point(|end| *end <= click);
                    // Relative to a uniform draw, so that either kind of negatives weighs alike.
                    let share = clicked[place].1 as f64 / *all as f64;
                    negatives.log_q.push((share * clicked.len() as f64).ln() as f32);
                    place
                }
            };
            negatives.items.push(clicked[place].0);
        }
        negatives
    }

    /// Mean loss of a step's users, and its gradients: a function of weights, users, negatives, seed and step alone.
    pub fn gradients(
        &self,
        network: &Network,
        users: &[&Clicks],
        negatives: &Negatives,
        step: u64,
    ) -> Result<(f64, Gradients)> {
        let (mut lengths, mut all) = (Vec::with_capacity(users.len()), 0);
        for window in users.iter().map(|user| network.sizes.learnt(user)) {
            lengths.push(window.len());
            all += window.targets.len();
        }
        let groups = by_length(&lengths, TOGETHER);
        let done: Vec<(f64, Gradients)> = groups
            .par_iter()
            .enumerate()
            .map(|(number, group)| {
                let group: Vec<&Clicks> = group.iter().map(|&user| users[user]).collect();
                let mut dropout = dropout(self.dropout, self.seed, step, number);
                let (loss, _) = network.loss(&group, negatives, &mut dropout)?;
                let loss = (loss / all as f64)?;
                let gradients = network.weights.gradients(&loss.backward()?)?;
                Ok((f64::from(loss.to_scalar::<f32>()?), gradients))
            })
            .collect::<candle_core::Result<_>>()
            .map_err(candle)?;
        let mut done = done.into_iter();
        let (mut loss, mut gradients) = done.next().ok_or_else(|| Error::bug("a step without users"))?;
        for (more, of_group) in done {
            loss += more;
            for (name, gradient) in of_group {
                let sum = gradients.entry(name).or_default();
                sum.iter_mut().zip(gradient).for_each(|(sum, x)| *sum += x);
            }
        }
        Ok((loss, gradients))
    }
}

impl Train {
    /// Whether searches and visits are read, and so the words of titles.
    pub fn reads_words(&self) -> bool {
        self.model == Model::Nrhub || self.settings.sizes.cross_domain
    }
}

impl Artifact for Train {
    const NAME: &'static str = "baseline";
    const VERSION: u32 = 3;
    type Inputs = TrainInputs;

    fn inputs(&self, declare: &mut Inputs<'_>) -> Result<TrainInputs> {
        self.settings.check()?;
        let profiles = declare.whole::<Profiles>("profiles")?.columns(&Histories::COLUMNS);
        let words = self.reads_words();
        if words && self.settings.sizes.item != Item::Text {
            let hint = "searches and visits have words, and no id: so nrhub, and others with --cross-domain, read those of titles";
            return Err(Error::setting("baseline.item", "text", "id", hint));
        }
        let columns = [News::news_id.name(), News::title.name()];
        let news = declare.whole::<News>("news")?.columns(if words { &columns } else { &columns[..1] });
        let vectors = (self.settings.sizes.item == Item::Text).then(|| declare_vectors(declare, None)).transpose()?;
        let before = words.then(|| Corpus::before(declare)).transpose()?;
        Ok(TrainInputs { profiles, news, vectors, before })
    }

    fn make(&self, inputs: &TrainInputs, draft: &Draft, resources: &Resources) -> Result<()> {
        if has_ended(draft)? {
            return Ok(());
        }
        let Train { model, settings } = self;
        let all = Pool::all(&inputs.news)?;
        let vectors = inputs.vectors.as_ref();
        let vectors: Option<Vectors> =
            vectors.map(|(vectors, encoder)| Vectors::read(vectors, &all, encoder)).transpose()?;
        let vocabulary = match (&inputs.before, &vectors) {
            (Some(before), Some(vectors)) => Some(Vocabulary::read(&inputs.news, &all, vectors, &before.open()?)?),
            _ => None,
        };
        let histories = Histories::read(&inputs.profiles, &all, vocabulary.as_ref())?;
        let (clicked, named) = (histories.clicked(), histories.named());
        if histories.train.is_empty() || histories.valid.is_empty() {
            let got = format!("{} and {}", histories.train.len(), histories.valid.len());
            let expected = "users of the splits train and valid with two clicks or more";
            return Err(Error::setting("profiles", expected, got, "give more users"));
        }
        let articles = match (&vectors, &vocabulary) {
            (_, Some(vocabulary)) if *model == Model::Nrhub => Articles::Words(vocabulary),
            (Some(articles), vocabulary) => {
                Articles::Texts { articles, words: vocabulary.as_ref().map(|vocabulary| &vocabulary.vectors) }
            }
            (None, _) => Articles::Ids(all.len()),
        };
        let start = || {
            let network = Network::random(*model, &settings.sizes, &articles, settings.seed).map_err(candle)?;
            Ok((network, State::default()))
        };
        let mut run = Run::resume(draft, |folder| Network::load(folder, |_| articles), start)?;
        let mut order = Order::new(histories.train.len(), settings.seed);
        let progress = Progress::new(Self::NAME, "clicks", settings.steps, resources.progress);
        progress.skip(run.state.step);
        while run.state.step < settings.steps && !settings.is_over(&run)? {
            let started = Instant::now();
            let (step, cursor) = (run.state.step + 1, run.state.prompt_cursor);
            let next = cursor + settings.users as u64;
            let users: Vec<&Clicks> = (cursor..next).map(|at| &histories.train[order.at(at).0]).collect();
            let (loss, gradients) = settings.gradients(&run.model, &users, &settings.draw(&clicked, step), step)?;
            let update = run.update(&settings.optimizer(), settings.steps, &gradients)?;
            (run.state.step, run.state.prompt_cursor) = (step, next);
            let clicks = users.iter().map(|user| run.model.sizes.learnt(user).targets.len() as u64).sum();
            for (figure, value) in [
                ("loss", loss),
                ("gradient_norm", update.gradient_norm),
                ("learning_rate", update.learning_rate),
                ("clicks", clicks as f64),
                ("seconds.update", started.elapsed().as_secs_f64()),
            ] {
                run.log.note(step, figure, value)?;
            }
            if step.is_multiple_of(settings.look_every) || step == settings.steps {
                let measured = measure(&run.model, &histories.valid, &named).map_err(candle)?;
                run.log.note(step, "valid.recall@10", measured.recall_10)?;
                run.log.note(step, "valid.ndcg@10", measured.ndcg_10)?;
                progress.say(format!("loss {loss:.3}, valid recall@10 {:.4}", measured.recall_10));
                // Recall takes few values; of equal ones the better order is the better one.
                run.save(measured.recall_10 + 1e-3 * measured.ndcg_10)?;
            }
            progress.step(clicks);
        }
        run.finish()?;
        Ok(())
    }
}

impl TrainSettings {
    /// Whether no look has been better for long. Asked at checkpoints, where a killed run goes on.
    fn is_over(&self, run: &Run<'_, Network>) -> Result<bool> {
        if !run.state.step.is_multiple_of(self.look_every) {
            return Ok(false);
        }
        Ok(run.best_step()?.is_some_and(|best| run.state.step - best >= self.patience * self.look_every))
    }
}
