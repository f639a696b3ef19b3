//! The way back through attention.
//!
//! For a row with scores `S = QKᵀ`, weights `P = softmax(S)` over what it sees and output `O = PV`: `dV = PᵀdO`, `dP = dO·Vᵀ`,
//! `dS = P⊙(dP − dO·O)`, `dQ = dS·K`, `dK = dSᵀQ`. Scores are computed once more rather than kept.

use std::ops::Range;

use pulp::{Arch, NullaryFnOnce};
use rayon::prelude::*;

use crate::Config;
use crate::cache::{Piece, PieceGradient};
use crate::forward::LayerTape;
use crate::kernel::{Panels, outer};
use crate::ops::{Rotary, add, exponentials, highest};
use crate::weights::Snapshot;

/// Rows of a level that are consecutive tokens of one piece.
pub(crate) struct Span<'a> {
    pub(crate) rows: Range<usize>,
    /// What all of them see before their own piece: its number among the shared, and the piece.
    pub(crate) shared: Vec<(usize, &'a Piece)>,
    pub(crate) piece: &'a Piece,
}

impl Span<'_> {
    /// Tokens before the piece.
    pub(crate) fn before(&self) -> usize {
        self.shared.iter().map(|(_, piece)| piece.len).sum()
    }
}

/// One key-value head of a span: `queries [tokens·group, d]`, `keys` and `values` `[before + tokens, d]`.
struct Head {
    queries: Vec<f32>,
    keys: Vec<f32>,
    values: Vec<f32>,
}

impl Snapshot {
    /// The gradient `[rows, (heads + 2·kv_heads)·head_dim]` before positions. `own`: what deeper levels gave each span's piece;
    /// gradients of shared pieces are added to `shared`, span by span.
    #[expect(clippy::too_many_arguments, reason = "a level's layer and what it gives")]
    pub(crate) fn attend_back(
        &self,
        layer: usize,
        rotary: &Rotary,
        tape: &LayerTape,
        d_attended: &[f32],
        spans: &[Span<'_>],
        own: &mut [Option<&mut PieceGradient>],
        shared: &mut [PieceGradient],
    ) -> Vec<f32> {
        let Config { head_dim, num_attention_heads: heads, num_key_value_heads: kv_heads, .. } = self.config;
        let (width, group) = ((heads + 2 * kv_heads) * head_dim, heads / kv_heads);
        let tasks: Vec<(usize, usize)> =
            (0..spans.len()).flat_map(|span| (0..kv_heads).map(move |head| (span, head))).collect();
        let found: Vec<Head> = tasks
            .par_iter()
            .map(|(span, head)| self.head_back(layer, *head, tape, d_attended, &spans[*span]))
            .collect();
        let mut out = vec![0.0; tape.query_key_value.len()];
        let scale = 1.0 / (head_dim as f32).sqrt();
        for ((span, head), Head { queries, keys, values }) in tasks.into_iter().zip(found) {
            let mut at = 0;
            for (number, piece) in &spans[span].shared {
                let size = piece.len * head_dim;
                let (to_keys, to_values) = shared[*number].head(layer, head);
                add(to_keys, &keys[at..at + size]);
                add(to_values, &values[at..at + size]);
                at += size;
            }
            let (mut keys, mut values) = (keys[at..].to_vec(), values[at..].to_vec());
            if let Some(deeper) = &mut own[span] {
                let (more_keys, more_values) = deeper.head(layer, head);
                add(&mut keys, more_keys);
                add(&mut values, more_values);
            }
            let before = spans[span].before();
            for (token, row) in spans[span].rows.clone().enumerate() {
                let out = &mut out[row * width..][..width];
                let to = &mut out[head * group * head_dim..][..group * head_dim];
                to.copy_from_slice(&queries[token * group * head_dim..][..group * head_dim]);
                to.chunks_exact_mut(head_dim).for_each(|x| rotary.rotate_back(before + token, x, scale));
                let key = &mut out[(heads + head) * head_dim..][..head_dim];
                key.copy_from_slice(&keys[token * head_dim..][..head_dim]);
                rotary.rotate_back(before + token, key, 1.0);
                out[(heads + kv_heads + head) * head_dim..][..head_dim]
                    .copy_from_slice(&values[token * head_dim..][..head_dim]);
            }
        }
        out
    }

    fn head_back(&self, layer: usize, head: usize, tape: &LayerTape, d_attended: &[f32], span: &Span<'_>) -> Head {
        let Config { head_dim, num_attention_heads: heads, num_key_value_heads: kv_heads, .. } = self.config;
        let (width, out_width, group) = ((heads + 2 * kv_heads) * head_dim, heads * head_dim, heads / kv_heads);
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        for piece in span.shared.iter().map(|(_, piece)| *piece).chain([span.piece]) {
            piece.unpack(layer, head, &mut keys, &mut values);
        }
        let seen = keys.len() / head_dim;
        let columns = |rows: &[f32], width: usize| -> Vec<f32> {
            let rows = rows[span.rows.start * width..span.rows.end * width].chunks_exact(width);
            rows.flat_map(|row| &row[head * group * head_dim..][..group * head_dim]).copied().collect()
        };
        let (queries, outputs) = (columns(&tape.query_key_value, width), columns(&tape.attended, out_width));
        let d_outputs = columns(d_attended, out_width);
        let rows = queries.len() / head_dim;
        let keys = Panels::pack(&[&keys], head_dim);
        let (mut weights, mut d_scores) = (vec![0.0; rows * seen], vec![0.0; rows * seen]);
        keys.multiply(self.arch, &queries, &mut weights);
        Panels::pack(&[&values], head_dim).multiply(self.arch, &d_outputs, &mut d_scores);
        let before = span.before();
        for (row, (weights, d_scores)) in
            weights.chunks_exact_mut(seen).zip(d_scores.chunks_exact_mut(seen)).enumerate()
        {
            let visible = before + row / group + 1;
            let at = row * head_dim..(row + 1) * head_dim;
            softmax_back(self.arch, weights, d_scores, visible, &outputs[at.clone()], &d_outputs[at]);
        }
        let mut d_queries = vec![0.0; queries.len()];
        keys.multiply_back(self.arch, &d_scores, &mut d_queries);
        let (mut d_keys, mut d_values) = (vec![0.0; seen * head_dim], vec![0.0; seen * head_dim]);
        outer(self.arch, &d_scores, seen, &queries, head_dim, &mut d_keys);
        outer(self.arch, &weights, seen, &d_outputs, head_dim, &mut d_values);
        Head { queries: d_queries, keys: d_keys, values: d_values }
    }
}

/// Scores to weights, and `dP` to `dS`, of one row; what it does not see is 0 in both.
fn softmax_back(
    arch: Arch,
    weights: &mut [f32],
    d_scores: &mut [f32],
    visible: usize,
    output: &[f32],
    d_output: &[f32],
) {
    struct Row<'a>(&'a mut [f32], &'a mut [f32], f32, f32);
    impl NullaryFnOnce for Row<'_> {
        type Output = ();
        #[inline(always)]
        fn call(self) {
            let Row(weights, d_scores, scale, dot) = self;
            for (weight, d_score) in weights.iter_mut().zip(d_scores) {
                *weight *= scale;
                *d_score = *weight * (*d_score - dot);
            }
        }
    }
    weights[visible..].fill(0.0);
    d_scores[visible..].fill(0.0);
    let (weights, d_scores) = (&mut weights[..visible], &mut d_scores[..visible]);
    let highest = highest(arch, weights);
    let sum = exponentials(arch, weights, highest, 1.0);
    let dot = output.iter().zip(d_output).map(|(o, d)| o * d).sum();
    arch.dispatch(Row(weights, d_scores, 1.0 / sum, dot));
}
