//! The forward of rollouts: no graph, whole batches, rows of any length side by side without padding.

use candle_core::Result;
use pulp::Arch;
use rayon::prelude::*;

use super::attention::{Own, Tile};
use super::cache::{Piece, Shape};
use super::kernel::{Panels, tile_rows};
use super::ops::{Rotary, add, rms_norm, swiglu};
use crate::{Adapters, Config, Policy};

/// A policy's weights as rollouts read them: a snapshot, packed once per version of the weights, adapters merged.
#[derive(Debug)]
pub struct Snapshot {
    pub(crate) config: Config,
    arch: Arch,
    layers: Vec<Layer>,
    norm: Vec<f32>,
    /// The embedding, where the head is another matrix.
    embedding: Option<Panels>,
    head: Panels,
}

#[derive(Debug)]
struct Layer {
    input_norm: Vec<f32>,
    query_key_value: Panels,
    bias: Vec<f32>,
    output: Panels,
    post_norm: Vec<f32>,
    gate_up: Panels,
    down: Panels,
}

/// Rows that share what came before them.
pub(crate) struct Block<'a> {
    /// What all rows see: a common prefix, perhaps the prompt.
    pub(crate) shared: Vec<&'a Piece>,
    pub(crate) rows: Rows<'a>,
}

pub(crate) enum Rows<'a> {
    /// So many consecutive tokens, which go into this piece.
    Prompt(&'a mut Piece, usize),
    /// One token for each of these pieces.
    Lists(Vec<&'a mut Piece>),
}

impl Block<'_> {
    fn count(&self) -> usize {
        match &self.rows {
            Rows::Prompt(_, tokens) => *tokens,
            Rows::Lists(pieces) => pieces.len(),
        }
    }

    /// The position of a row.
    fn position(&self, row: usize) -> usize {
        let before: usize = self.shared.iter().map(|piece| piece.len).sum();
        match &self.rows {
            Rows::Prompt(piece, _) => before + piece.len + row,
            Rows::Lists(pieces) => before + pieces[row].len,
        }
    }
}

impl Snapshot {
    /// Packs a policy's weights, with its adapters merged in or left out.
    pub fn new(policy: &Policy, adapters: Adapters) -> Result<Self> {
        let config = policy.config.clone();
        let flat = |name: &str| policy.merged(name, adapters);
        let pack = |names: &[String], k: usize| -> Result<Panels> {
            let matrices: Vec<Vec<f32>> = names.iter().map(|name| flat(name)).collect::<Result<_>>()?;
            Ok(Panels::pack(&matrices.iter().map(Vec::as_slice).collect::<Vec<_>>(), k))
        };
        let (width, inner) = (config.hidden_size, config.intermediate_size);
        let heads_width = config.num_attention_heads * config.head_dim;
        let layers = (0..config.num_hidden_layers).map(|layer| {
            let at = |part: &str| format!("model.layers.{layer}.{part}");
            let projections = ["q", "k", "v"].map(|p| at(&format!("self_attn.{p}_proj.weight")));
            let biases = ["q", "k", "v"].map(|p| at(&format!("self_attn.{p}_proj.bias")));
            let bias = match config.attention_bias() {
                true => biases.iter().map(|name| flat(name)).collect::<Result<Vec<_>>>()?.concat(),
                false => Vec::new(),
            };
            Ok(Layer {
                input_norm: flat(&at("input_layernorm.weight"))?,
                query_key_value: pack(&projections, width)?,
                bias,
                output: pack(&[at("self_attn.o_proj.weight")], heads_width)?,
                post_norm: flat(&at("post_attention_layernorm.weight"))?,
                gate_up: pack(&["gate", "up"].map(|p| at(&format!("mlp.{p}_proj.weight"))), width)?,
                down: pack(&[at("mlp.down_proj.weight")], inner)?,
            })
        });
        let layers = layers.collect::<Result<_>>()?;
        let embedding = "model.embed_tokens.weight".to_owned();
        let (embedding, head) = match config.tie_word_embeddings {
            true => (None, pack(&[embedding], width)?),
            false => (Some(pack(&[embedding], width)?), pack(&["lm_head.weight".into()], width)?),
        };
        Ok(Snapshot { norm: flat("model.norm.weight")?, config, arch: Arch::new(), layers, embedding, head })
    }

    pub(crate) fn shape(&self) -> Shape {
        let Config { num_hidden_layers: layers, num_key_value_heads: kv_heads, head_dim, .. } = self.config;
        Shape { layers, kv_heads, head_dim }
    }

    pub(crate) fn rotary(&self, positions: usize) -> Rotary {
        Rotary::new(self.config.rope_theta, self.config.head_dim, positions)
    }

    /// Tokens `[rows]`, one after the other for each block, to hidden states `[rows, hidden_size]` before the last norm. Their keys and
    /// values are in the pieces afterwards.
    pub(crate) fn forward(&self, rotary: &Rotary, tokens: &[u32], blocks: &mut [Block<'_>]) -> Vec<f32> {
        let Config { hidden_size: width, intermediate_size: inner, head_dim, .. } = self.config;
        let (heads, kv_heads) = (self.config.num_attention_heads, self.config.num_key_value_heads);
        let rows = tokens.len();
        debug_assert_eq!(rows, blocks.iter().map(Block::count).sum::<usize>());
        let mut x = vec![0.0; rows * width];
        let embedding = self.embedding.as_ref().unwrap_or(&self.head);
        for (token, x) in tokens.iter().zip(x.chunks_exact_mut(width)) {
            embedding.row(*token as usize, x);
        }
        let positions: Vec<usize> =
            blocks.iter().flat_map(|block| (0..block.count()).map(|row| block.position(row))).collect();
        let projected = (heads + 2 * kv_heads) * head_dim;
        let mut normed = vec![0.0; rows * width];
        let mut query_key_value = vec![0.0; rows * projected];
        let mut attended = vec![0.0; rows * heads * head_dim];
        let mut gate_up = vec![0.0; rows * 2 * inner];
        let mut activated = vec![0.0; rows * inner];
        for (number, layer) in self.layers.iter().enumerate() {
            rms_norm(self.arch, &x, &layer.input_norm, self.config.rms_norm_eps, &mut normed);
            layer.query_key_value.multiply(self.arch, &normed, &mut query_key_value);
            self.turn(rotary, &positions, &layer.bias, &mut query_key_value);
            self.remember(number, &query_key_value, blocks);
            self.attend(number, &query_key_value, blocks, &mut attended);
            layer.output.multiply(self.arch, &attended, &mut normed);
            add(&mut x, &normed);
            rms_norm(self.arch, &x, &layer.post_norm, self.config.rms_norm_eps, &mut normed);
            layer.gate_up.multiply(self.arch, &normed, &mut gate_up);
            swiglu(self.arch, &gate_up, inner, &mut activated);
            layer.down.multiply(self.arch, &activated, &mut normed);
            add(&mut x, &normed);
        }
        for block in blocks {
            match &mut block.rows {
                Rows::Prompt(piece, tokens) => piece.len += *tokens,
                Rows::Lists(pieces) => pieces.iter_mut().for_each(|piece| piece.len += 1),
            }
        }
        x
    }

    /// Hidden states `[rows, hidden_size]` to logits `[rows, vocab_size]`.
    pub(crate) fn logits(&self, hidden: &[f32]) -> Vec<f32> {
        let mut normed = vec![0.0; hidden.len()];
        rms_norm(self.arch, hidden, &self.norm, self.config.rms_norm_eps, &mut normed);
        let mut logits = vec![0.0; hidden.len() / self.config.hidden_size * self.head.n];
        self.head.multiply(self.arch, &normed, &mut logits);
        logits
    }

    /// Adds the bias and turns queries and keys to their positions; queries are scaled by `1/√d` too.
    fn turn(&self, rotary: &Rotary, positions: &[usize], bias: &[f32], query_key_value: &mut [f32]) {
        let Config { head_dim, num_attention_heads: heads, num_key_value_heads: kv_heads, .. } = self.config;
        let scale = 1.0 / (head_dim as f32).sqrt();
        let width = (heads + 2 * kv_heads) * head_dim;
        query_key_value.par_chunks_exact_mut(width).with_min_len(16).zip(positions).for_each(|(row, position)| {
            add(row, bias);
            for (head, x) in row.chunks_exact_mut(head_dim).take(heads + kv_heads).enumerate() {
                rotary.turn(*position, x, if head < heads { scale } else { 1.0 });
            }
        });
    }

    /// Writes keys and values into the pieces.
    fn remember(&self, layer: usize, query_key_value: &[f32], blocks: &mut [Block<'_>]) {
        let Config { head_dim, num_attention_heads: heads, num_key_value_heads: kv_heads, .. } = self.config;
        let width = (heads + 2 * kv_heads) * head_dim;
        let mut rows = query_key_value;
        let parts: Vec<(&mut Block<'_>, &[f32])> = blocks
            .iter_mut()
            .map(|block| {
                let (own, rest) = rows.split_at(block.count() * width);
                rows = rest;
                (block, own)
            })
            .collect();
        parts.into_par_iter().for_each(|(block, rows)| {
            for (row, values) in rows.chunks_exact(width).enumerate() {
                let (piece, ahead) = match &mut block.rows {
                    Rows::Prompt(piece, _) => (&mut **piece, row),
                    Rows::Lists(pieces) => (&mut *pieces[row], 0),
                };
                let (keys, values) = values[heads * head_dim..].split_at(kv_heads * head_dim);
                let pairs = keys.chunks_exact(head_dim).zip(values.chunks_exact(head_dim));
                for (head, (key, value)) in pairs.enumerate() {
                    piece.write(layer, head, ahead, key, value);
                }
            }
        });
    }

    /// Attention of all rows, in tiles that share their past.
    fn attend(&self, layer: usize, query_key_value: &[f32], blocks: &[Block<'_>], out: &mut [f32]) {
        let Config { head_dim, num_attention_heads: heads, num_key_value_heads: kv_heads, .. } = self.config;
        let (width, out_width) = ((heads + 2 * kv_heads) * head_dim, heads * head_dim);
        let group = heads / kv_heads;
        // Rows whose heads of one group fill a tile.
        let together = (tile_rows(self.arch) / group).max(1);
        let (mut rows_left, mut out_left) = (query_key_value, out);
        let mut tasks = Vec::new();
        for block in blocks {
            for first in (0..block.count()).step_by(together) {
                let count = together.min(block.count() - first);
                let (rows, rest) = rows_left.split_at(count * width);
                let (out, out_rest) = out_left.split_at_mut(count * out_width);
                (rows_left, out_left) = (rest, out_rest);
                tasks.push((block, first, count, rows, out));
            }
        }
        tasks.into_par_iter().for_each(|(block, first, count, rows, out)| {
            let mut shared: Vec<(&Piece, usize)> = block.shared.iter().map(|piece| (*piece, piece.len)).collect();
            let before: usize = shared.iter().map(|(_, len)| len).sum();
            let mut visible = vec![before; count];
            let mut pieces: Vec<(&Piece, usize)> = Vec::new();
            match &block.rows {
                Rows::Prompt(piece, tokens) => {
                    shared.push((piece, piece.len + tokens));
                    visible.iter_mut().enumerate().for_each(|(row, v)| *v += piece.len + first + row + 1);
                }
                Rows::Lists(all) => pieces.extend(all[first..first + count].iter().map(|p| (&**p, p.len + 1))),
            }
            let padded = head_dim.next_multiple_of(super::kernel::WIDTH);
            // A group with more heads than a tile has rows is cut.
            let heads_together = group.min(super::kernel::MAX_ROWS);
            for head in 0..kv_heads {
                for part in (0..group).step_by(heads_together) {
                    let taken = heads_together.min(group - part);
                    let at = (head * group + part) * head_dim;
                    let queries: Vec<f32> =
                        rows.chunks_exact(width).flat_map(|row| &row[at..at + taken * head_dim]).copied().collect();
                    let visible: Vec<usize> = visible.iter().flat_map(|v| std::iter::repeat_n(*v, taken)).collect();
                    let own: Vec<Own<'_>> =
                        pieces.iter().map(|(piece, len)| Own { rows: taken, piece, len: *len }).collect();
                    let mut tile_out = vec![0.0; visible.len() * padded];
                    self.arch.dispatch(Tile {
                        layer,
                        head,
                        head_dim,
                        queries: &queries,
                        shared: &shared,
                        visible: &visible,
                        own: &own,
                        out: &mut tile_out,
                    });
                    for (row, tile) in out.chunks_exact_mut(out_width).zip(tile_out.chunks_exact(taken * padded)) {
                        let row = &mut row[at..at + taken * head_dim];
                        for (to, from) in row.chunks_exact_mut(head_dim).zip(tile.chunks_exact(padded)) {
                            to.copy_from_slice(&from[..head_dim]);
                        }
                    }
                }
            }
        });
    }
}
