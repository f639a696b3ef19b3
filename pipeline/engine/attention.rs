//! Attention of a tile of query rows to the pieces of a cache.
//!
//! A row sees the tokens of the shared pieces, one after the other, up to its own position, and then those of its list's piece. Scores,
//! their sum and the weighted values run over positions in ascending order, wherever one piece ends and the next begins: a row's
//! result does not depend on how its past is cut into pieces or on the rows beside it.

use pulp::{Simd, WithSimd};

use crate::cache::Piece;
use crate::kernel::{Product, WIDTH};
use crate::ops::{exponentials_inline, highest_inline};

/// A row's own past beside what the whole tile shares.
pub(crate) struct Own<'a> {
    /// Rows of the tile that it belongs to, which follow one another.
    pub(crate) rows: usize,
    pub(crate) piece: &'a Piece,
    /// Tokens of it that count.
    pub(crate) len: usize,
}

/// Up to 12 query rows of one key-value head.
pub(crate) struct Tile<'a> {
    pub(crate) layer: usize,
    pub(crate) head: usize,
    pub(crate) head_dim: usize,
    /// `[rows, head_dim]`, scaled and turned.
    pub(crate) queries: &'a [f32],
    /// Pieces that all rows may see, and the tokens of each that count.
    pub(crate) shared: &'a [(&'a Piece, usize)],
    /// How many shared tokens each row sees; the last rows see the most.
    pub(crate) visible: &'a [usize],
    /// The rows' own pieces, in the order of rows; empty, or of all rows.
    pub(crate) own: &'a [Own<'a>],
    /// `[rows, padded head_dim]`.
    pub(crate) out: &'a mut [f32],
}

impl WithSimd for Tile<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Tile { layer, head, head_dim, queries, shared, visible, own, out } = self;
        let rows = visible.len();
        let padded = out.len() / rows;
        let most = visible.iter().copied().max().unwrap_or(0);
        let longest = own.iter().map(|own| own.len).max().unwrap_or(0);
        let stride = most + longest + WIDTH;
        let mut scores = vec![0.0; rows * stride];

        let packed = pack(queries, head_dim);
        let mut at = 0;
        for (piece, len) in shared {
            let len = (*len).min(most - at);
            score(simd, piece, layer, head, head_dim, &packed, len, &mut scores[at..], stride);
            at += len;
        }
        let mut first = 0;
        for own in own {
            let packed = pack(&queries[first * head_dim..][..own.rows * head_dim], head_dim);
            let scores = &mut scores[first * stride + most..];
            score(simd, own.piece, layer, head, head_dim, &packed, own.len, scores, stride);
            first += own.rows;
        }

        // Softmax, unnormalised, and turned round: [position][row] is how the next product reads it.
        let mut weights = vec![0.0; most * rows];
        let mut sums = [0.0; 16];
        let mut own_weights = vec![0.0; longest * rows];
        let owner = |row: usize| {
            let mut first = 0;
            own.iter().find_map(|own| {
                first += own.rows;
                (row < first).then_some((own, first - own.rows))
            })
        };
        for (row, scores) in scores.chunks_exact_mut(stride).enumerate() {
            let own = owner(row);
            let seen = visible[row] + own.map_or(0, |(own, _)| own.len);
            let scores = &mut scores[..seen];
            let highest = highest_inline(scores);
            sums[row] = exponentials_inline(scores, highest, 1.0);
            for (weight, score) in weights[row..].iter_mut().step_by(rows).zip(&scores[..visible[row]]) {
                *weight = *score;
            }
            if let Some((own, first)) = own {
                let weights = &mut own_weights[first * longest..][row - first..];
                for (weight, score) in weights.iter_mut().step_by(own.rows).zip(&scores[visible[row]..]) {
                    *weight = *score;
                }
            }
        }

        for panel in 0..padded / WIDTH {
            let mut at = 0;
            for (piece, len) in shared {
                let len = (*len).min(most - at);
                let weights = &weights[at * rows..][..len * rows];
                let out = &mut out[panel * WIDTH..];
                weighted_values(simd, piece, layer, head, panel, weights, rows, len, out, padded, at == 0);
                at += len;
            }
            let mut first = 0;
            for own in own {
                let weights = &own_weights[first * longest..][..own.len * own.rows];
                let out = &mut out[first * padded + panel * WIDTH..];
                weighted_values(
                    simd,
                    own.piece,
                    layer,
                    head,
                    panel,
                    weights,
                    own.rows,
                    own.len,
                    out,
                    padded,
                    most == 0,
                );
                first += own.rows;
            }
        }
        for (out, sum) in out.chunks_exact_mut(padded).zip(sums) {
            let scale = 1.0 / sum;
            out.iter_mut().for_each(|x| *x *= scale);
        }
    }
}

/// One tile `[head_dim][rows]`.
fn pack(queries: &[f32], head_dim: usize) -> Vec<f32> {
    crate::kernel::pack_rows(queries, head_dim, queries.len() / head_dim)
}

#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "a loop's body with a name")]
fn score<S: Simd>(
    simd: S,
    piece: &Piece,
    layer: usize,
    head: usize,
    head_dim: usize,
    queries: &[f32],
    len: usize,
    scores: &mut [f32],
    stride: usize,
) {
    let (keys, _, _) = piece.head(layer, head);
    let tile = queries.len() / head_dim;
    for (panel, at) in keys.chunks_exact(head_dim * WIDTH).zip((0..len).step_by(WIDTH)) {
        let out = &mut scores[at..];
        Product { x: queries, k: head_dim, tile, panel, out, stride, fresh: true }.with_simd(simd);
    }
}

#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "a loop's body with a name")]
fn weighted_values<S: Simd>(
    simd: S,
    piece: &Piece,
    layer: usize,
    head: usize,
    panel: usize,
    weights: &[f32],
    rows: usize,
    len: usize,
    out: &mut [f32],
    stride: usize,
    fresh: bool,
) {
    if len == 0 {
        return;
    }
    let (_, values, capacity) = piece.head(layer, head);
    let panel = &values[panel * capacity * WIDTH..][..len * WIDTH];
    Product { x: weights, k: len, tile: rows, panel, out, stride, fresh }.with_simd(simd);
}
