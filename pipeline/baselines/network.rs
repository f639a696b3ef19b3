//! What the trained baselines share: what an article is, what a user is, and the loss between the two.
//!
//! An article is its text's vector under a learnt projection, or a row of a learnt table; to NRHUB it is the words of its title. A user
//! after a click is what a model makes of the clicks until then, NRHUB of searches and visits, too. Both are brought to unit length, and told apart by their cosine over a temperature (as HSTU's authors
//! train it, and SASRec beside it): so lists are found by the same exact search as all others.
//!
//! Across domains ([`Sizes::cross_domain`]) a search or a visit is an item like a click: the mean of its words' vectors, brought to unit length, under the
//! projection of articles, and a learnt vector that says which of the two it is.

use std::collections::BTreeSet;

use candle_core::{DType, Device, Result, Tensor};
use dataset::bucket::stream;
use news::Vectors;
use nn::{Batch, Dropout, Negatives, Parameter, Start, Weights, linear, select, softmax_loss, unit_length};

use crate::nrhub::{self, Words};
use crate::window::{Seen, Window};
use crate::words::UNKNOWN;
use crate::{Clicks, Item, Model, Sizes, Vocabulary, gru, hstu, sasrec};

/// Articles that are embedded together where all of them are.
const TOGETHER: usize = 4096;

/// Users who are put to a network together, at most.
const ASKED: usize = 64;

/// A model with its weights.
#[derive(Debug, Clone)]
pub struct Network {
    /// Which.
    pub model: Model,
    /// How large.
    pub sizes: Sizes,
    /// What is trained.
    pub weights: Weights,
    source: Source,
}

/// A network that is asked about many users: what it reads of an article is computed once, not for each who clicked it. Nothing can be learnt
/// through it.
#[derive(Debug, Clone)]
pub struct Prepared {
    network: Network,
    /// `[read, _]`.
    pub(crate) read: Tensor,
    /// By an article's number, its row.
    rows: Vec<u32>,
}

/// What articles are made of.
#[derive(Debug, Clone)]
enum Source {
    /// Nothing: they are rows of a learnt table.
    Ids,
    /// `[articles, dimensions]`: their texts' vectors; and those of words, of which searches and visits are made.
    Texts(Tensor, Option<Vectors>),
    Words(Words),
}

impl Network {
    /// The tensors of a model. `inner`: dimensions of the texts' or words' vectors; of ids, the number of articles.
    pub fn parameters(model: Model, sizes: &Sizes, inner: usize) -> Vec<Parameter> {
        if model == Model::Nrhub {
            return nrhub::parameters(sizes, inner);
        }
        let mut parameters = match sizes.item {
            // Vectors of unit length stay about as long.
            Item::Text => {
                let start = Start::Normal(1.0 / (sizes.width as f64).sqrt());
                let [weight, bias] = ["weight", "bias"].map(|part| format!("{ITEMS}.{part}"));
                vec![
                    Parameter::new(weight, &[sizes.width, inner], start),
                    Parameter::new(bias, &[sizes.width], Start::Zeros),
                ]
            }
            Item::Id => vec![Parameter::new(format!("{ITEMS}.weight"), &[inner, sizes.width], Start::Normal(0.02))],
        };
        if sizes.cross_domain {
            parameters.push(Parameter::new(KINDS, &[2, sizes.width], Start::Zeros));
        }
        parameters.extend(match model {
            Model::Pinnersage | Model::Nrhub => Vec::new(),
            Model::Gru => gru::parameters(sizes),
            Model::Sasrec => sasrec::parameters(sizes),
            Model::Hstu => hstu::parameters(sizes),
        });
        parameters
    }

    /// Before training.
    pub fn random(model: Model, sizes: &Sizes, articles: &Articles<'_>, seed: u64) -> Result<Self> {
        let weights = Weights::random(&Self::parameters(model, sizes, articles.inner()), seed)?;
        Self::of(model, sizes, articles, weights)
    }

    /// With these weights.
    pub fn of(model: Model, sizes: &Sizes, articles: &Articles<'_>, weights: Weights) -> Result<Self> {
        let tensor = |vectors: &Vectors| {
            Tensor::from_slice(vectors.values(), (vectors.len(), vectors.dimensions()), &Device::Cpu)
        };
        let source = match articles {
            Articles::Ids(_) => Source::Ids,
            Articles::Texts { articles, words } => Source::Texts(tensor(articles)?, words.cloned()),
            Articles::Words(Vocabulary { vectors, titles, .. }) => {
                Source::Words(Words { vectors: tensor(vectors)?, titles: titles.clone() })
            }
        };
        if (model == Model::Nrhub) != matches!(source, Source::Words(_)) {
            candle_core::bail!("{model}: these articles are nothing that it reads")
        }
        // NRHUB has its own way to look at them.
        let sizes = Sizes { cross_domain: sizes.cross_domain && model != Model::Nrhub, ..sizes.clone() };
        if sizes.cross_domain && !matches!(source, Source::Texts(_, Some(_))) {
            candle_core::bail!("{model}: searches and visits without words")
        }
        Ok(Network { model, sizes, weights, source })
    }

    /// The network, to be asked about users who clicked only these of the articles.
    pub fn prepared(self, clicked: impl IntoIterator<Item = u32>) -> Result<Prepared> {
        let known = self.articles_known();
        // Padding looks at the first article.
        let items: BTreeSet<u32> = clicked.into_iter().chain([0]).filter(|item| *item < known).collect();
        let items: Vec<u32> = items.into_iter().collect();
        let mut rows = vec![0; items.last().map_or(0, |last| *last as usize + 1)];
        (0..).zip(&items).for_each(|(row, item)| rows[*item as usize] = row);
        // Detached: else what each row was made of would stay for as long as the rows do.
        let parts = items.chunks(TOGETHER).map(|items| Ok(self.reads(items, &mut Dropout::off())?.detach()));
        let parts = parts.collect::<Result<Vec<_>>>()?;
        let read =
            if parts.is_empty() { Tensor::zeros((0, 1), DType::F32, &Device::Cpu)? } else { Tensor::cat(&parts, 0)? };
        Ok(Prepared { network: self, read, rows })
    }

    /// How many articles there are.
    fn articles_known(&self) -> u32 {
        let count = match &self.source {
            Source::Ids => self.weights.get(&format!("{ITEMS}.weight")).dims()[0],
            Source::Texts(articles, _) => articles.dims()[0],
            Source::Words(words) => words.titles.len(),
        };
        count as u32
    }

    /// `[n, _]`: what the model reads of articles.
    pub(crate) fn reads(&self, items: &[u32], dropout: &mut Dropout) -> Result<Tensor> {
        if let Source::Words(words) = &self.source {
            return nrhub::articles(&self.weights, words, items, dropout);
        }
        self.entered(&self.embed(items)?, dropout)
    }

    /// `[n, _]`: what the model reads of searches and visits.
    fn reads_texts(&self, texts: &[Seen<'_>], dropout: &mut Dropout) -> Result<Tensor> {
        let Source::Texts(_, Some(words)) = &self.source else { candle_core::bail!("texts without words") };
        let (mut values, mut kinds) = (Vec::with_capacity(texts.len() * words.dimensions()), Vec::new());
        for text in texts {
            let (kind, numbers) = match text {
                Seen::Search(words) => (0, *words),
                Seen::Visit(words) => (1, *words),
                Seen::Click(_) => candle_core::bail!("a click is no text"),
            };
            kinds.push(kind);
            values.extend(mean_direction(words, numbers));
        }
        let values = Tensor::from_vec(values, (texts.len(), words.dimensions()), &Device::Cpu)?;
        let x_nd = (linear(&self.weights, ITEMS, &values)? + select(self.weights.get(KINDS), &kinds)?)?;
        self.entered(&x_nd, dropout)
    }

    /// `[n, _]`: what the model reads of embedded items, `[n, D]`.
    fn entered(&self, x_nd: &Tensor, dropout: &mut Dropout) -> Result<Tensor> {
        let x_nd = (x_nd * (self.sizes.width as f64).sqrt())?;
        match self.model {
            Model::Gru => gru::gates(&self.weights, &dropout.apply(&x_nd)?),
            _ => Ok(x_nd),
        }
    }

    /// `[n, D]`: articles as a model's input has them.
    fn embed(&self, items: &[u32]) -> Result<Tensor> {
        match &self.source {
            Source::Ids => select(self.weights.get(&format!("{ITEMS}.weight")), items),
            Source::Texts(articles, _) => linear(&self.weights, ITEMS, &select(articles, items)?),
            Source::Words(words) => nrhub::articles(&self.weights, words, items, &mut Dropout::off()),
        }
    }

    /// `[n, D]`, of unit length: articles as users are compared with them.
    pub fn articles(&self, items: &[u32]) -> Result<Tensor> {
        unit_length(&self.embed(items)?)
    }

    /// `[n, D]`, of unit length: users before each of their clicks that is to be told, in order (`each`); or after all that is known of them.
    /// `read`: what the model reads of articles.
    fn users(
        &self,
        users: &[&Clicks],
        each: bool,
        read: impl Fn(&[u32], &mut Dropout) -> Result<Tensor>,
        dropout: &mut Dropout,
    ) -> Result<Tensor> {
        let Network { sizes, weights, .. } = self;
        if let Source::Words(words) = &self.source {
            return unit_length(&nrhub::states(weights, sizes, words, users, each, read, dropout)?);
        }
        let windows: Vec<Window<'_>> =
            users.iter().map(|user| if each { sizes.learnt(user) } else { sizes.latest(user) }).collect();
        let (batch, texts) = self.batch(&windows);
        let places = if each { before_targets(&windows, &batch) } else { batch.last() };
        let read = self.read_batch(&batch, &texts, read, dropout)?;
        let states_nd = match self.model {
            Model::Gru => gru::states(weights, sizes, &read, &batch, &places, dropout),
            Model::Sasrec => sasrec::states(weights, sizes, &read, &batch, &places, dropout),
            Model::Hstu => hstu::states(weights, sizes, &read, &batch, &places, dropout),
            Model::Pinnersage | Model::Nrhub => candle_core::bail!("{} has no sequences", self.model),
        }?;
        unit_length(&states_nd)
    }

    /// `[B·T, _]`: what the model reads of a batch's items.
    fn read_batch(
        &self,
        batch: &Batch,
        texts: &[Seen<'_>],
        read: impl Fn(&[u32], &mut Dropout) -> Result<Tensor>,
        dropout: &mut Dropout,
    ) -> Result<Tensor> {
        if texts.is_empty() {
            return read(&batch.items, dropout);
        }
        let known = self.articles_known();
        let clicked: Vec<u32> = batch.items.iter().copied().filter(|item| *item < known).collect();
        let mut click = 0..;
        let row = |item: &u32| match item.checked_sub(known) {
            Some(text) => clicked.len() as u32 + text,
            None => click.next().unwrap_or_default(),
        };
        let rows: Vec<u32> = batch.items.iter().map(row).collect();
        let of_clicks = (!clicked.is_empty()).then(|| read(&clicked, dropout)).transpose()?;
        let parts: Vec<Tensor> = of_clicks.into_iter().chain([self.reads_texts(texts, dropout)?]).collect();
        select(&Tensor::cat(&parts, 0)?, &rows)
    }

    /// Windows as a batch. The texts in them have the numbers that follow the articles'.
    fn batch<'a>(&self, windows: &[Window<'a>]) -> (Batch, Vec<Seen<'a>>) {
        let (known, mut texts) = (self.articles_known(), Vec::new());
        let mut number = |seen: &Seen<'a>| match seen {
            Seen::Click(article) => *article,
            text => {
                texts.push(*text);
                known + texts.len() as u32 - 1
            }
        };
        let sequence =
            |window: &Window<'a>| (window.seen.iter().map(&mut number).collect::<Vec<u32>>(), window.at_s.clone());
        let batch = Batch::new(&windows.iter().map(sequence).collect::<Vec<_>>());
        if self.sizes.cross_domain && texts.is_empty() {
            // Nobody looks at it: a gradient reaches what is learnt of texts, though there be none.
            texts.push(Seen::Search(&[UNKNOWN]));
        }
        (batch, texts)
    }

    /// Whether anything that the model looks at is known of a user.
    pub fn knows(&self, user: &Clicks) -> bool {
        if self.model == Model::Nrhub || self.sizes.cross_domain { !user.is_nothing() } else { !user.is_empty() }
    }

    /// Summed loss of telling each click from the clicks before it, and how many there are. Users have at least two clicks.
    pub fn loss(&self, users: &[&Clicks], negatives: &Negatives, dropout: &mut Dropout) -> Result<(Tensor, usize)> {
        let read = |items: &[u32], dropout: &mut Dropout| self.reads(items, dropout);
        let states_pd = self.users(users, true, read, dropout)?;
        let targets: Vec<u32> = users.iter().flat_map(|user| self.sizes.learnt(user).targets).collect();
        let targets_pd = self.articles(&targets)?;
        let negatives_sd = self.articles(&negatives.items)?;
        let temperature = self.sizes.temperature;
        let loss = softmax_loss(&states_pd, &targets_pd, &targets, &negatives_sd, negatives, temperature)?;
        Ok((loss, targets.len()))
    }

    /// Bytes in memory.
    fn memory_bytes(&self) -> u64 {
        let weights: usize = self.weights.tensors().values().map(Tensor::elem_count).sum();
        let source = match &self.source {
            Source::Ids => 0,
            Source::Texts(articles, words) => {
                4 * (articles.elem_count() + words.as_ref().map_or(0, |words| words.values().len())) as u64
            }
            Source::Words(Words { vectors, titles }) => 4 * vectors.elem_count() as u64 + titles.memory_bytes(),
        };
        4 * weights as u64 + source
    }

    /// Vectors of unit length of some articles.
    pub fn table(&self, items: &[u32]) -> Result<Vectors> {
        let mut values = Vec::with_capacity(items.len() * self.sizes.width);
        for items in items.chunks(TOGETHER) {
            values.extend(self.articles(items)?.flatten_all()?.to_vec1::<f32>()?);
        }
        Ok(Vectors::new(self.sizes.width, values))
    }
}

impl Prepared {
    /// The network.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// `[users, D]`, of unit length: users after all that is known of them, each of whom [is known](Network::knows).
    pub fn last(&self, users: &[&Clicks]) -> Result<Tensor> {
        let row = |item: &u32| self.rows[*item as usize];
        let read = |items: &[u32], _: &mut Dropout| select(&self.read, &items.iter().map(row).collect::<Vec<_>>());
        self.network.users(users, false, read, &mut Dropout::off())
    }

    /// Each user's vector of unit length; none of who [is not known](Network::knows). Users of whom as much is seen are put to the network together, so
    /// nothing is padded; NRHUB, which pads words, is asked one at a time. A user's last digits follow from the users of the call.
    pub fn ask(&self, users: &[&Clicks]) -> Result<Vec<Vectors>> {
        let sizes = &self.network.sizes;
        let width = sizes.width;
        let mut asked = vec![Vectors::new(width, Vec::new()); users.len()];
        let mut known: Vec<usize> = (0..users.len()).filter(|&at| self.network.knows(users[at])).collect();
        let seen = |at: &usize| sizes.all_len(users[*at]).min(sizes.length);
        known.sort_by_key(|&at| sizes.all_len(users[at]));
        let together = if self.network.model == Model::Nrhub { 1 } else { ASKED };
        for group in known.chunk_by(|a, b| seen(a) == seen(b)).flat_map(|alike| alike.chunks(together)) {
            let group_users: Vec<&Clicks> = group.iter().map(|&at| users[at]).collect();
            for (&at, vector) in group.iter().zip(self.last(&group_users)?.to_vec2()?) {
                asked[at] = Vectors::new(width, vector);
            }
        }
        Ok(asked)
    }

    /// Bytes in memory.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.network.memory_bytes() + 4 * (self.read.elem_count() + self.rows.len()) as u64
    }
}

/// The learnt projection, or the learnt table.
const ITEMS: &str = "items";
/// `[2, D]`: what is added to a search, and to a visit.
const KINDS: &str = "kinds.bias";

/// The places of `[B·T]` after which a click follows.
fn before_targets(windows: &[Window<'_>], batch: &Batch) -> Vec<u32> {
    let starts = (0..).step_by(batch.length.max(1));
    starts.zip(windows).flat_map(|(start, window)| window.places.iter().map(move |place| start + place)).collect()
}

/// The mean of words' vectors, brought to unit length; of words whose vectors are 0 it is 0.
fn mean_direction(words: &Vectors, numbers: &[u32]) -> Vec<f32> {
    let mut sum = vec![0.0_f32; words.dimensions()];
    for &word in numbers {
        sum.iter_mut().zip(words.get(word as usize)).for_each(|(sum, x)| *sum += x);
    }
    let length = sum.iter().map(|x| x * x).sum::<f32>().sqrt();
    if length > 0.0 {
        sum.iter_mut().for_each(|x| *x /= length);
    }
    sum
}

/// All articles, by what they are.
#[derive(Debug, Clone, Copy)]
pub enum Articles<'a> {
    /// Texts.
    Texts {
        /// Vectors of their texts, in the order of their numbers.
        articles: &'a Vectors,
        /// Vectors of words, where searches and visits are read.
        words: Option<&'a Vectors>,
    },
    /// Words of their titles.
    Words(&'a Vocabulary),
    /// So many.
    Ids(usize),
}

impl Articles<'_> {
    pub(crate) fn inner(&self) -> usize {
        match self {
            Articles::Texts { articles, .. } => articles.dimensions(),
            Articles::Words(vocabulary) => vocabulary.vectors.dimensions(),
            Articles::Ids(count) => *count,
        }
    }
}

/// Dropout of one group of a step.
pub(crate) fn dropout(rate: f64, seed: u64, step: u64, group: usize) -> Dropout {
    let number = [step.to_le_bytes(), (group as u64).to_le_bytes()].concat();
    Dropout::new(rate, stream(seed, "dropout", number))
}
