//! NRHUB (Wu et al. 2019): a user is what they clicked, searched and visited, each a view of its own.
//!
//! In a view, a text is `Σ α_i c_i` over its words, `c_i = ReLU(W [e_{i−1}; e_i; e_{i+1}] + b)`; the view after some behaviours is `Σ β_j r_j` over
//! the texts until then; the user is `Σ γ_v u_v` over the views that have any. Weights are attention's, `softmax(q · tanh(V x + v))`, each
//! sum with its own `q`, `V`, `v`. An article that is compared with users is its title in the view of clicks. The convolution is taken apart:
//! each distinct word is multiplied once by each third of `W`.

use candle_core::{Device, Result, Tensor};
use nn::{Dropout, Parameter, Start, Weights, by_length, linear, linear_parameters, select};

use crate::words::{Texts, UNKNOWN};
use crate::{Clicks, Sizes};

/// Clicks come first: articles are read as they are.
const VIEWS: [&str; 3] = ["clicks", "searches", "visits"];

/// Texts of like lengths that are padded to one.
const TOGETHER: usize = 256;

/// What words and titles are.
#[derive(Debug, Clone)]
pub(crate) struct Words {
    /// `[words, dimensions]`.
    pub(crate) vectors: Tensor,
    /// By the articles' numbers.
    pub(crate) titles: Texts,
}

/// Its tensors. `inner`: dimensions of the words' vectors.
pub(crate) fn parameters(sizes: &Sizes, inner: usize) -> Vec<Parameter> {
    let width = sizes.width;
    let pooling = |name: String| {
        let query = linear_parameters(&format!("{name}.query"), 1, width, false);
        linear_parameters(&format!("{name}.inner"), width, width, true).into_iter().chain(query)
    };
    let view = |view: &str| {
        let start = Start::Normal(1.0 / (width as f64).sqrt());
        let convolution = [
            Parameter::new(format!("{view}.words.weight"), &[3 * width, inner], start),
            Parameter::new(format!("{view}.convolution.bias"), &[width], Start::Zeros),
        ];
        convolution.into_iter().chain(pooling(format!("{view}.word"))).chain(pooling(format!("{view}.record")))
    };
    VIEWS.into_iter().flat_map(view).chain(pooling("view".into())).collect()
}

/// `[n, D]`: articles by their titles.
pub(crate) fn articles(weights: &Weights, words: &Words, items: &[u32], dropout: &mut Dropout) -> Result<Tensor> {
    let (distinct, places) = distinct(items);
    let titles: Vec<&[u32]> = distinct.iter().map(|&item| words.titles.get(item as usize)).collect();
    select(&texts(weights, VIEWS[0], words, &titles, dropout)?, &places)
}

/// `[n, D]`: users after each of their latest clicks but the last (`each`), or after all that they did. The first are in the order of users,
/// then of clicks; a user of the second kind has some behaviour. `read`: what articles are to the view of clicks.
pub(crate) fn states(
    weights: &Weights,
    sizes: &Sizes,
    words: &Words,
    users: &[&Clicks],
    each: bool,
    read: impl Fn(&[u32], &mut Dropout) -> Result<Tensor>,
    dropout: &mut Dropout,
) -> Result<Tensor> {
    let mut items = Vec::new();
    let mut other: [Vec<&[u32]>; 2] = Default::default();
    // For each view and state, from where to where texts are looked at.
    let mut looks: [Vec<[usize; 2]>; 3] = Default::default();
    for user in users {
        let known = user.len().saturating_sub(usize::from(each));
        let first = known.saturating_sub(sizes.length);
        let clicked = &user.articles[first..known];
        let start = items.len();
        items.extend_from_slice(clicked);
        let until = if each { &user.at_us[first + 1..] } else { &[i64::MAX][..] };
        let counts = if each { 1..=clicked.len() } else { clicked.len()..=clicked.len() };
        looks[0].extend(counts.map(|count| [start, start + count]));
        for ((records, texts), looks) in [&user.searches, &user.visits].iter().zip(&mut other).zip(&mut looks[1..]) {
            let end = records.before(until.last().copied().unwrap_or(i64::MIN));
            let first = end.saturating_sub(sizes.length);
            let start = texts.len();
            texts.extend((first..end).map(|text| records.texts.get(text)));
            looks.extend(until.iter().map(|at| [start, start + records.before(*at).saturating_sub(first)]));
        }
    }
    // Nobody looks at these: they keep shapes from being empty.
    items.push(0);
    other.iter_mut().for_each(|texts| texts.push(&[UNKNOWN]));
    let clicked = read(&items, dropout)?;
    let mut all = vec![seen(weights, VIEWS[0], &clicked, &looks[0])?];
    for ((view, read), looks) in VIEWS[1..].iter().zip(&other).zip(&looks[1..]) {
        all.push(seen(weights, view, &texts(weights, view, words, read, dropout)?, looks)?);
    }
    let mut weighed = Vec::new();
    for ((view_nd, present_n1), looks) in all.iter().zip(&looks) {
        debug_assert_eq!(view_nd.dims()[0], looks.len());
        weighed.push((view_nd, (importance(weights, "view", view_nd)? * present_n1)?));
    }
    let sum =
        |parts: Vec<Tensor>| -> Result<Tensor> { parts[1..].iter().try_fold(parts[0].clone(), |sum, part| sum + part) };
    let total_n1 = sum(weighed.iter().map(|(_, weight)| weight.clone()).collect())?;
    let parts: Result<Vec<Tensor>> = weighed.iter().map(|(view, weight)| view.broadcast_mul(weight)).collect();
    sum(parts?)?.broadcast_div(&total_n1)
}

/// `[n, D]`: texts of one view.
fn texts(weights: &Weights, view: &str, words: &Words, texts: &[&[u32]], dropout: &mut Dropout) -> Result<Tensor> {
    let flat: Vec<u32> = texts.concat();
    let (distinct, places) = distinct(&flat);
    let vectors = dropout.apply(&select(&words.vectors, &distinct)?)?;
    let products = linear(weights, &format!("{view}.words"), &vectors)?;
    let width = products.dims()[1] / 3;
    // The first row is what lies beyond a text's ends.
    let beyond = Tensor::zeros((1, width), products.dtype(), products.device())?;
    let third = |at: usize| Tensor::cat(&[&beyond, &products.narrow(1, at * width, width)?.contiguous()?], 0);
    let thirds = [third(0)?, third(1)?, third(2)?];
    let starts: Vec<usize> =
        texts.iter().scan(0, |end, text| Some(std::mem::replace(end, *end + text.len()))).collect();
    let lengths: Vec<usize> = texts.iter().map(|text| text.len()).collect();
    let groups = by_length(&lengths, TOGETHER);
    let mut pooled = Vec::with_capacity(groups.len());
    for group in &groups {
        let longest = group.iter().map(|&text| lengths[text]).max().unwrap_or(0);
        let row = |text: usize, at: Option<usize>| {
            at.filter(|at| *at < lengths[text]).map_or(0, |at| places[starts[text] + at] + 1)
        };
        let cells = || group.iter().flat_map(|&text| (0..longest).map(move |at| (text, at)));
        let before: Vec<u32> = cells().map(|(text, at)| row(text, at.checked_sub(1))).collect();
        let itself: Vec<u32> = cells().map(|(text, at)| row(text, Some(at))).collect();
        let after: Vec<u32> = cells().map(|(text, at)| row(text, Some(at + 1))).collect();
        let sum = (select(&thirds[0], &before)? + select(&thirds[1], &itself)?)?;
        let sum = (sum + select(&thirds[2], &after)?)?;
        let convolved = sum.broadcast_add(weights.get(&format!("{view}.convolution.bias")))?.relu()?;
        let convolved_md = dropout.apply(&convolved)?;
        let inside: Vec<f32> = cells().map(|(text, at)| if at < lengths[text] { 1.0 } else { 0.0 }).collect();
        let inside_m1 = Tensor::from_vec(inside, (group.len() * longest, 1), &Device::Cpu)?;
        let weight_m1 = (importance(weights, &format!("{view}.word"), &convolved_md)? * inside_m1)?;
        let sum = |x: &Tensor| x.reshape((group.len(), longest, x.dims()[1]))?.sum(1);
        pooled.push(sum(&convolved_md.broadcast_mul(&weight_m1)?)?.broadcast_div(&sum(&weight_m1)?)?);
    }
    let mut order = vec![0; texts.len()];
    groups.iter().flatten().zip(0..).for_each(|(&text, place)| order[text] = place);
    select(&Tensor::cat(&pooled, 0)?, &order)
}

/// `[n, D]` and `[n, 1]`: for each state its view of the texts that it looks at, and 1, or 0 if there are none.
fn seen(weights: &Weights, view: &str, texts_rd: &Tensor, looks: &[[usize; 2]]) -> Result<(Tensor, Tensor)> {
    let texts = texts_rd.dims()[0];
    let mut mask = vec![0.0_f32; looks.len() * texts];
    for (row, [start, end]) in mask.chunks_mut(texts).zip(looks) {
        row[*start..*end].fill(1.0);
    }
    let mask_nr = Tensor::from_vec(mask, (looks.len(), texts), &Device::Cpu)?;
    let column = |of: fn(bool) -> f32| {
        let values: Vec<f32> = looks.iter().map(|[start, end]| of(start < end)).collect();
        Tensor::from_vec(values, (looks.len(), 1), &Device::Cpu)
    };
    let (present_n1, absent_n1) = (column(|any| f32::from(u8::from(any)))?, column(|any| f32::from(u8::from(!any)))?);
    let weight_r1 = importance(weights, &format!("{view}.record"), texts_rd)?;
    let sums_nd = mask_nr.matmul(&texts_rd.broadcast_mul(&weight_r1)?)?;
    let view_nd = sums_nd.broadcast_div(&(mask_nr.matmul(&weight_r1)? + absent_n1)?)?;
    Ok((view_nd, present_n1))
}

/// `[n, 1]`: `exp(q · tanh(V x + v))`. It needs no largest taken away, for the exponent is at most the sum of `|q|`.
fn importance(weights: &Weights, name: &str, x_nd: &Tensor) -> Result<Tensor> {
    linear(weights, &format!("{name}.query"), &linear(weights, &format!("{name}.inner"), x_nd)?.tanh()?)?.exp()
}

/// Numbers in order, each once, and the place of each among them.
fn distinct(numbers: &[u32]) -> (Vec<u32>, Vec<u32>) {
    let mut distinct = numbers.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    let place = |number: &u32| distinct.partition_point(|other| other < number) as u32;
    let places = numbers.iter().map(place).collect();
    (distinct, places)
}
