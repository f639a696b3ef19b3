//! A linear layer: one product for all matrices that read the same input, with their low-rank adapters beside it.
//!
//! `y_i = x·W_iᵀ + b_i + s·(x·A_iᵀ)·B_iᵀ` for the parts i (query, key and value; gate and up). Adapters stay apart from the weights
//! (Hu et al., 2021), so one copy of these serves the policy and, with adapters off, its reference.

use pulp::Arch;

use crate::kernel::{Panels, outer};
use crate::ops::add;
use crate::{Adapter, Adapters};

/// Matrices `[rows_i, k]`, one below the other.
#[derive(Debug)]
pub(crate) struct Linear {
    weight: Panels,
    /// One number per row of all parts; empty without a bias. The caller adds it.
    pub(crate) bias: Vec<f32>,
    parts: Vec<Part>,
    low_rank: Option<LowRank>,
}

/// One of a layer's matrices.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    /// Its name without `.weight` and `.bias`.
    pub(crate) name: String,
    pub(crate) rows: usize,
}

#[derive(Debug)]
struct LowRank {
    /// The parts' A, one below the other: `[parts·r, k]`.
    a: Panels,
    /// The parts' B: `[rows_i, r]`.
    b: Vec<Panels>,
    rank: usize,
    scale: f32,
}

/// A matrix with its name and adapter.
pub(crate) struct Source {
    pub(crate) name: String,
    pub(crate) weight: Vec<f32>,
    pub(crate) bias: Option<Vec<f32>>,
    pub(crate) adapter: Option<Adapter>,
}

/// Gradients of what is trained of a layer; all else is empty. Matrices are row-major.
#[derive(Debug, Default, Clone)]
pub(crate) struct LinearGradient {
    weight: Vec<f32>,
    bias: Vec<f32>,
    a: Vec<f32>,
    b: Vec<Vec<f32>>,
}

impl Linear {
    /// A layer with inputs of width `k`. `low_rank`: rank and scale of the adapters, which all sources have then.
    pub(crate) fn new(sources: Vec<Source>, k: usize, low_rank: Option<(usize, f32)>) -> Self {
        let weights: Vec<&[f32]> = sources.iter().map(|source| source.weight.as_slice()).collect();
        let weight = Panels::pack(&weights, k);
        let low_rank = low_rank.map(|(rank, scale)| {
            let adapters = || sources.iter().filter_map(|source| source.adapter.as_ref());
            let a: Vec<&[f32]> = adapters().map(|adapter| adapter.a.as_slice()).collect();
            LowRank {
                a: Panels::pack(&a, k),
                b: adapters().map(|adapter| Panels::pack(&[&adapter.b], rank)).collect(),
                rank,
                scale,
            }
        });
        let bias = sources.iter().filter_map(|source| source.bias.as_deref()).flatten().copied().collect();
        let parts = sources.into_iter().map(|source| Part { rows: source.weight.len() / k, name: source.name });
        Linear { weight, bias, parts: parts.collect(), low_rank }
    }

    /// `out[rows, width] = x[rows, k] · Wᵀ`, with the adapters where they are on.
    pub(crate) fn forward(&self, arch: Arch, x: &[f32], out: &mut [f32], adapters: Adapters) {
        self.weight.multiply(arch, x, out);
        if let (Some(low_rank), Adapters::On) = (&self.low_rank, adapters) {
            let inner = low_rank.inner(arch, x);
            let mut at = 0;
            for (number, (part, b)) in self.parts.iter().zip(&low_rank.b).enumerate() {
                let inner = columns(&inner, low_rank.a.n, number * low_rank.rank, low_rank.rank);
                b.multiply_onto(arch, &inner, out, self.weight.n, at);
                at += part.rows;
            }
        }
    }

    /// Given the gradient `dy[rows, width]`: adds the gradients of what is trained, and returns that of the input, `[rows, k]`.
    pub(crate) fn backward(&self, arch: Arch, x: &[f32], dy: &[f32], gradient: &mut LinearGradient) -> Vec<f32> {
        let (n, k) = (self.weight.n, self.weight.k);
        if !gradient.weight.is_empty() {
            outer(arch, dy, n, x, k, &mut gradient.weight);
        }
        if !gradient.bias.is_empty() {
            dy.chunks_exact(n).for_each(|row| add(&mut gradient.bias, row));
        }
        let mut dx = vec![0.0; x.len()];
        self.weight.multiply_back(arch, dy, &mut dx);
        if let (Some(low_rank), false) = (&self.low_rank, gradient.a.is_empty()) {
            let LowRank { a, b, rank, scale } = low_rank;
            let inner = low_rank.inner(arch, x);
            let mut d_inner = vec![0.0; inner.len()];
            let mut at = 0;
            for (number, ((part, b), gradient)) in self.parts.iter().zip(b).zip(&mut gradient.b).enumerate() {
                let dy = columns(dy, n, at, part.rows);
                outer(arch, &dy, part.rows, &columns(&inner, a.n, number * rank, *rank), *rank, gradient);
                let mut d = vec![0.0; dy.len() / part.rows * rank];
                b.multiply_back(arch, &dy, &mut d);
                for (to, from) in d_inner.chunks_exact_mut(a.n).zip(d.chunks_exact(*rank)) {
                    to[number * rank..][..*rank].copy_from_slice(from);
                }
                at += part.rows;
            }
            d_inner.iter_mut().for_each(|x| *x *= scale);
            outer(arch, &d_inner, a.n, x, k, &mut gradient.a);
            let mut through = vec![0.0; x.len()];
            a.multiply_back(arch, &d_inner, &mut through);
            add(&mut dx, &through);
        }
        dx
    }

    /// Zeros for what is trained: the adapters, or without such all.
    pub(crate) fn gradient(&self) -> LinearGradient {
        match &self.low_rank {
            Some(LowRank { a, b, .. }) => LinearGradient {
                a: vec![0.0; a.n * a.k],
                b: b.iter().map(|b| vec![0.0; b.n * b.k]).collect(),
                ..LinearGradient::default()
            },
            None => LinearGradient {
                weight: vec![0.0; self.weight.n * self.weight.k],
                bias: vec![0.0; self.bias.len()],
                ..LinearGradient::default()
            },
        }
    }

    /// Gradients by the tensors' names.
    pub(crate) fn named(&self, gradient: LinearGradient, put: &mut dyn FnMut(String, Vec<f32>)) {
        let LinearGradient { weight, bias, a, b } = gradient;
        let (k, mut at) = (self.weight.k, 0);
        for (Part { name, rows }, b) in self.parts.iter().zip(b.into_iter().map(Some).chain(std::iter::repeat(None))) {
            if !weight.is_empty() {
                put(format!("{name}.weight"), weight[at * k..][..rows * k].to_vec());
            }
            if !bias.is_empty() {
                put(format!("{name}.bias"), bias[at..][..*rows].to_vec());
            }
            if let Some(b) = b {
                put(format!("{name}.weight.lora_b"), b);
            }
            at += rows;
        }
        if let (Some(low_rank), false) = (&self.low_rank, a.is_empty()) {
            for (Part { name, .. }, a) in self.parts.iter().zip(a.chunks_exact(low_rank.rank * k)) {
                put(format!("{name}.weight.lora_a"), a.to_vec());
            }
        }
    }

    /// Overwrites a tensor of one of the parts; false when it is of none.
    pub(crate) fn set(&mut self, name: &str, values: &[f32]) -> bool {
        let mut at = 0;
        for (number, Part { name: part, rows }) in self.parts.iter().enumerate() {
            if let Some(what) = name.strip_prefix(part.as_str()) {
                match (what, &mut self.low_rank) {
                    (".weight", _) => self.weight.set_rows(at, values),
                    (".bias", _) => self.bias[at..][..*rows].copy_from_slice(values),
                    (".weight.lora_a", Some(low_rank)) => low_rank.a.set_rows(number * low_rank.rank, values),
                    (".weight.lora_b", Some(low_rank)) => low_rank.b[number].set_rows(0, values),
                    _ => return false,
                }
                return true;
            }
            at += rows;
        }
        false
    }
}

impl LowRank {
    /// `s·x·Aᵀ` of all parts: `[rows, parts·r]`.
    fn inner(&self, arch: Arch, x: &[f32]) -> Vec<f32> {
        let mut inner = self.a.multiply_new(arch, x);
        inner.iter_mut().for_each(|x| *x *= self.scale);
        inner
    }
}

impl LinearGradient {
    /// Adds another's.
    pub(crate) fn add(&mut self, other: &LinearGradient) {
        add(&mut self.weight, &other.weight);
        add(&mut self.bias, &other.bias);
        add(&mut self.a, &other.a);
        self.b.iter_mut().zip(&other.b).for_each(|(to, from)| add(to, from));
    }
}

/// Columns `at .. at + count` of rows of `width`.
fn columns(rows: &[f32], width: usize, at: usize, count: usize) -> Vec<f32> {
    rows.chunks_exact(width).flat_map(|row| &row[at..at + count]).copied().collect()
}
