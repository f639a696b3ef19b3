//! Keys and values of past tokens, in pieces: a common prefix, a user's prompt, a sample's list. Samples share their prompt's piece and
//! all users the prefix's.

use crate::kernel::WIDTH;

/// What decides the size of a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Layers.
    pub layers: usize,
    /// Key-value heads.
    pub kv_heads: usize,
    /// Dimensions of a head.
    pub head_dim: usize,
}

impl Shape {
    /// A head's dimensions, rounded up to whole panels.
    pub(crate) fn padded(self) -> usize {
        self.head_dim.next_multiple_of(WIDTH)
    }

    /// Bytes of one token.
    pub fn bytes_per_token(self) -> usize {
        4 * self.layers * self.kv_heads * (self.head_dim + self.padded())
    }
}

/// Keys and values of consecutive tokens. Both lie as panels for the products that attention needs: keys as `[position / 32][d][32]`
/// (a query times them gives scores), values as `[d / 32][position][32]`, for each layer and head.
#[derive(Debug, Clone)]
pub struct Piece {
    shape: Shape,
    /// Tokens that it holds.
    pub(crate) len: usize,
    capacity: usize,
    keys: Vec<f32>,
    values: Vec<f32>,
}

impl Piece {
    /// Room for `capacity` tokens.
    pub fn new(shape: Shape, capacity: usize) -> Self {
        let capacity = capacity.next_multiple_of(WIDTH);
        let blocks = shape.layers * shape.kv_heads * capacity;
        let (keys, values) = (vec![0.0; blocks * shape.head_dim], vec![0.0; blocks * shape.padded()]);
        Piece { shape, len: 0, capacity, keys, values }
    }

    /// Tokens that it holds.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Writes the key and value of the token `ahead` places after those that the piece holds. They count once `len` says so.
    pub(crate) fn write(&mut self, layer: usize, head: usize, ahead: usize, key: &[f32], value: &[f32]) {
        let Shape { kv_heads, head_dim, .. } = self.shape;
        let (at, block) = (self.len + ahead, layer * kv_heads + head);
        let keys = &mut self.keys[block * self.capacity * head_dim..][at / WIDTH * head_dim * WIDTH + at % WIDTH..];
        for (to, from) in keys.iter_mut().step_by(WIDTH).zip(key) {
            *to = *from;
        }
        let values = &mut self.values[block * self.capacity * self.shape.padded()..];
        for (panel, from) in value.chunks(WIDTH).enumerate() {
            values[(panel * self.capacity + at) * WIDTH..][..from.len()].copy_from_slice(from);
        }
    }

    /// A head's panels of keys and of values, and the number of tokens that the latter have room for.
    pub(crate) fn head(&self, layer: usize, head: usize) -> (&[f32], &[f32], usize) {
        let block = layer * self.shape.kv_heads + head;
        let (keys, values) = (self.capacity * self.shape.head_dim, self.capacity * self.shape.padded());
        (&self.keys[block * keys..][..keys], &self.values[block * values..][..values], self.capacity)
    }

    /// Appends a head's keys and values, row-major `[len, head_dim]` each.
    pub(crate) fn unpack(&self, layer: usize, head: usize, keys: &mut Vec<f32>, values: &mut Vec<f32>) {
        let head_dim = self.shape.head_dim;
        let (key_panels, value_panels, capacity) = self.head(layer, head);
        for at in 0..self.len {
            let panel = &key_panels[at / WIDTH * head_dim * WIDTH + at % WIDTH..];
            keys.extend(panel.iter().step_by(WIDTH).take(head_dim));
            for first in (0..head_dim).step_by(WIDTH) {
                let row = &value_panels[(first / WIDTH * capacity + at) * WIDTH..];
                values.extend_from_slice(&row[..WIDTH.min(head_dim - first)]);
            }
        }
    }
}

/// Gradients of a piece's keys and values: row-major `[len, head_dim]` for each layer and head.
#[derive(Debug)]
pub(crate) struct PieceGradient {
    shape: Shape,
    len: usize,
    keys: Vec<f32>,
    values: Vec<f32>,
}

impl PieceGradient {
    /// Zeros, for the tokens that a piece holds.
    pub(crate) fn of(piece: &Piece) -> Self {
        let Shape { layers, kv_heads, head_dim } = piece.shape;
        let zeros = vec![0.0; layers * kv_heads * piece.len * head_dim];
        PieceGradient { shape: piece.shape, len: piece.len, keys: zeros.clone(), values: zeros }
    }

    /// A head's gradients of keys and of values.
    pub(crate) fn head(&mut self, layer: usize, head: usize) -> (&mut [f32], &mut [f32]) {
        let size = self.len * self.shape.head_dim;
        let at = (layer * self.shape.kv_heads + head) * size;
        (&mut self.keys[at..at + size], &mut self.values[at..at + size])
    }

    /// Adds another's.
    pub(crate) fn add(&mut self, other: &PieceGradient) {
        crate::ops::add(&mut self.keys, &other.keys);
        crate::ops::add(&mut self.values, &other.values);
    }
}
