//! The forward: whole batches, rows of any length side by side without padding. Rollouts and training share it, so a token's
//! log-probability is the same in both, bit for bit.

use rayon::prelude::*;

use crate::attention::{Own, Tile};
use crate::cache::Piece;
use crate::kernel::tile_rows;
use crate::ops::{Rotary, add, rms_norm, swiglu};
use crate::weights::Snapshot;
use crate::{Adapters, Config};

/// Rows that share what came before them.
#[derive(Debug)]
pub struct Block<'a> {
    /// What all rows see: a common prefix, perhaps the prompt.
    pub shared: Vec<&'a Piece>,
    /// The rows.
    pub rows: Rows<'a>,
}

#[derive(Debug)]
/// Rows of a block.
pub enum Rows<'a> {
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

/// What the way back needs of a forward, per layer.
#[derive(Debug, Default)]
pub(crate) struct Tape {
    pub(crate) layers: Vec<LayerTape>,
    /// Hidden states `[rows, hidden_size]` after the last layer.
    pub(crate) last: Vec<f32>,
}

/// Activations of a layer, a row per token.
#[derive(Debug)]
pub(crate) struct LayerTape {
    /// What came in.
    pub(crate) x: Vec<f32>,
    /// Turned, queries scaled.
    pub(crate) query_key_value: Vec<f32>,
    pub(crate) attended: Vec<f32>,
    /// After attention.
    pub(crate) middle: Vec<f32>,
    pub(crate) gate_up: Vec<f32>,
}

impl Snapshot {
    /// Tokens `[rows]`, one after the other for each block, to hidden states `[rows, hidden_size]` before the last norm. Their keys and
    /// values are in the pieces afterwards.
    pub fn forward(&self, rotary: &Rotary, tokens: &[u32], blocks: &mut [Block<'_>], adapters: Adapters) -> Vec<f32> {
        self.forward_onto(rotary, tokens, blocks, adapters, None)
    }

    /// The same, with its activations onto a tape.
    pub(crate) fn forward_onto(
        &self,
        rotary: &Rotary,
        tokens: &[u32],
        blocks: &mut [Block<'_>],
        adapters: Adapters,
        mut tape: Option<&mut Tape>,
    ) -> Vec<f32> {
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
            layer.query_key_value.forward(self.arch, &normed, &mut query_key_value, adapters);
            self.place(rotary, &positions, &layer.query_key_value.bias, &mut query_key_value);
            self.write_cache(number, &query_key_value, blocks);
            self.attend(number, &query_key_value, blocks, &mut attended);
            let before = tape.as_ref().map(|_| x.clone());
            layer.output.forward(self.arch, &attended, &mut normed, adapters);
            add(&mut x, &normed);
            rms_norm(self.arch, &x, &layer.post_norm, self.config.rms_norm_eps, &mut normed);
            layer.gate_up.forward(self.arch, &normed, &mut gate_up, adapters);
            swiglu(self.arch, &gate_up, inner, &mut activated);
            layer.down.forward(self.arch, &activated, &mut normed, adapters);
            if let (Some(tape), Some(before)) = (tape.as_deref_mut(), before) {
                tape.layers.push(LayerTape {
                    x: before,
                    query_key_value: query_key_value.clone(),
                    attended: attended.clone(),
                    middle: x.clone(),
                    gate_up: gate_up.clone(),
                });
            }
            add(&mut x, &normed);
        }
        if let Some(tape) = tape {
            tape.last = x.clone();
        }
        for block in blocks {
            match &mut block.rows {
                Rows::Prompt(piece, tokens) => piece.len += *tokens,
                Rows::Lists(pieces) => pieces.iter_mut().for_each(|piece| piece.len += 1),
            }
        }
        x
    }

    /// Adds the bias and turns queries and keys to their positions; queries are scaled by `1/√d` too.
    fn place(&self, rotary: &Rotary, positions: &[usize], bias: &[f32], query_key_value: &mut [f32]) {
        let Config { head_dim, num_attention_heads: heads, num_key_value_heads: kv_heads, .. } = self.config;
        let scale = 1.0 / (head_dim as f32).sqrt();
        let width = (heads + 2 * kv_heads) * head_dim;
        query_key_value.par_chunks_exact_mut(width).with_min_len(16).zip(positions).for_each(|(row, position)| {
            add(row, bias);
            for (head, x) in row.chunks_exact_mut(head_dim).take(heads + kv_heads).enumerate() {
                rotary.rotate(*position, x, if head < heads { scale } else { 1.0 });
            }
        });
    }

    /// Writes keys and values into the pieces.
    fn write_cache(&self, layer: usize, query_key_value: &[f32], blocks: &mut [Block<'_>]) {
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
            let padded = head_dim.next_multiple_of(crate::kernel::WIDTH);
            // A group with more heads than a tile has rows is cut.
            let heads_together = group.min(crate::kernel::MAX_ROWS);
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
