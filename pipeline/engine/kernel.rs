//! The one product of matrices that the engine is made of, written so that its bits depend on nothing but its operands.
//!
//! Every output is one chain of fused multiply-adds, over `k` in ascending order: `((x_0·w_0 + c) + x_1·w_1) + …`. Vector lanes
//! hold different outputs, never parts of one. So a row's result is the same whatever rows it is computed beside, whatever the
//! number of threads, and whatever the processor's vectors are (AVX-512, AVX2, NEON or none). A sampled token therefore does not
//! depend on the batch it was sampled in.
//!
//! The right-hand side lies in *panels*: 32 columns wide, `[k][32]`, so that it is read front to back. Left-hand rows are
//! packed as tiles `[k][R]`, R up to 12 (AVX-512) or 6: all sums of a tile stay in registers.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

/// Columns of a panel.
pub const WIDTH: usize = 32;
/// Rows of a tile, at most.
pub(crate) const MAX_ROWS: usize = 12;
/// Rows from which on threads share out rows instead of panels.
const MANY_ROWS: usize = 48;
/// Rows that a thread multiplies with all panels before the next rows: they stay in its cache.
const ROWS_TOGETHER: usize = 96;
/// Length of the sums' blocks.
const K_TOGETHER: usize = 256;

/// A matrix `[n, k]` (one row per output, as linear layers store it) in panels: `[n / 32][k][32]`, the last filled up with zeros.
#[derive(Debug, Clone)]
pub(crate) struct Panels {
    /// Outputs.
    pub(crate) n: usize,
    /// Inputs.
    pub(crate) k: usize,
    data: Vec<f32>,
}

impl Panels {
    /// Packs row-major matrices of `k` columns, one below the other.
    pub(crate) fn pack(matrices: &[&[f32]], k: usize) -> Self {
        let n = matrices.iter().map(|m| m.len() / k).sum();
        let rows: Vec<&[f32]> = matrices.iter().flat_map(|m| m.chunks_exact(k)).collect();
        let mut data = vec![0.0; usize::div_ceil(n, WIDTH) * k * WIDTH];
        data.par_chunks_mut(k * WIDTH).zip(rows.par_chunks(WIDTH)).for_each(|(panel, rows)| {
            for (lane, row) in rows.iter().enumerate() {
                for (to, from) in panel[lane..].iter_mut().step_by(WIDTH).zip(*row) {
                    *to = *from;
                }
            }
        });
        Panels { n, k, data }
    }

    /// Copies row `n` of the packed matrix.
    pub(crate) fn row(&self, n: usize, out: &mut [f32]) {
        let panel = &self.data[(n / WIDTH) * self.k * WIDTH + n % WIDTH..];
        for (to, from) in out.iter_mut().zip(panel.iter().step_by(WIDTH)) {
            *to = *from;
        }
    }

    /// `out[rows, n] = x[rows, k] · selfᵀ`, on all threads of the pool.
    pub(crate) fn multiply(&self, arch: Arch, x: &[f32], out: &mut [f32]) {
        self.product(arch, x, out, self.n, 0, true);
    }

    /// `x[rows, k] · selfᵀ`.
    pub(crate) fn multiply_new(&self, arch: Arch, x: &[f32]) -> Vec<f32> {
        let mut out = vec![0.0; x.len() / self.k * self.n];
        self.multiply(arch, x, &mut out);
        out
    }

    /// `out[row][at..at + n] += x[row] · selfᵀ`: the sums go on from what `out` holds, whose rows are `stride` long.
    pub(crate) fn multiply_onto(&self, arch: Arch, x: &[f32], out: &mut [f32], stride: usize, at: usize) {
        self.product(arch, x, out, stride, at, false);
    }

    fn product(&self, arch: Arch, x: &[f32], out: &mut [f32], stride: usize, at: usize, fresh: bool) {
        let (n, k) = (self.n, self.k);
        let rows = x.len() / k;
        debug_assert_eq!((x.len(), out.len()), (rows * k, rows * stride));
        if rows == 0 {
            return;
        }
        let tile = tile_rows(arch);
        let threads = rayon::current_num_threads();
        if rows >= MANY_ROWS.max(threads * tile) && n.is_multiple_of(WIDTH) {
            let together = balanced(rows, tile, threads);
            out.par_chunks_mut(together * stride).zip(x.par_chunks(together * k)).for_each(|(out, x)| {
                let x = pack_rows(x, k, tile);
                for (panel, column) in self.data.chunks_exact(k * WIDTH).zip((at..).step_by(WIDTH)) {
                    arch.dispatch(Product { x: &x, k, tile, panel, out: &mut out[column..], stride, fresh });
                }
            });
            return;
        }
        let x = pack_rows(x, k, tile);
        let mut panels = vec![0.0; rows * self.data.len() / k];
        if !fresh {
            for (panel, column) in panels.chunks_exact_mut(rows * WIDTH).zip((0..n).step_by(WIDTH)) {
                for (to, from) in panel.chunks_exact_mut(WIDTH).zip(out.chunks_exact(stride)) {
                    let width = WIDTH.min(n - column);
                    to[..width].copy_from_slice(&from[at + column..][..width]);
                }
            }
        }
        let together = (self.data.len() / (k * WIDTH)).div_ceil(4 * threads);
        panels.par_chunks_mut(together * rows * WIDTH).zip(self.data.par_chunks(together * k * WIDTH)).for_each(
            |(out, weights)| {
                for (out, panel) in out.chunks_exact_mut(rows * WIDTH).zip(weights.chunks_exact(k * WIDTH)) {
                    arch.dispatch(Product { x: &x, k, tile, panel, out, stride: WIDTH, fresh });
                }
            },
        );
        out.par_chunks_mut(stride).enumerate().for_each(|(row, out)| {
            for (out, panel) in out[at..at + n].chunks_mut(WIDTH).zip(panels.chunks_exact(rows * WIDTH)) {
                out.copy_from_slice(&panel[row * WIDTH..][..out.len()]);
            }
        });
    }

    /// Writes a row-major matrix over the packed rows from `first` on.
    pub(crate) fn set_rows(&mut self, first: usize, matrix: &[f32]) {
        let k = self.k;
        for (n, row) in (first..).zip(matrix.chunks_exact(k)) {
            let panel = &mut self.data[(n / WIDTH) * k * WIDTH + n % WIDTH..];
            for (to, from) in panel.iter_mut().step_by(WIDTH).zip(row) {
                *to = *from;
            }
        }
    }

    /// `out[rows, k] = y[rows, n] · self`: the way back. Every panel of 32 inputs is turned round once, in its own thread.
    pub(crate) fn multiply_back(&self, arch: Arch, y: &[f32], out: &mut [f32]) {
        let (n, k) = (self.n, self.k);
        let rows = y.len() / n;
        debug_assert_eq!((y.len(), out.len()), (rows * n, rows * k));
        if rows == 0 {
            return;
        }
        let tile = tile_rows(arch);
        let mut tiles = vec![0.0; y.len()];
        let together = balanced(rows, tile, rayon::current_num_threads());
        tiles.par_chunks_mut(together * n).zip(y.par_chunks(together * n)).for_each(|(to, y)| {
            pack_rows_into(y, n, tile, to);
        });
        let mut panels = vec![0.0; k.div_ceil(WIDTH) * rows * WIDTH];
        panels.par_chunks_exact_mut(rows * WIDTH).enumerate().for_each_init(
            || vec![0.0; n.next_multiple_of(WIDTH) * WIDTH],
            |panel, (number, out)| {
                self.turned(number, panel);
                let panel = &panel[..n * WIDTH];
                arch.dispatch(Product { x: &tiles, k: n, tile, panel, out, stride: WIDTH, fresh: true });
            },
        );
        out.par_chunks_mut(k).enumerate().for_each(|(row, out)| {
            for (out, panel) in out.chunks_mut(WIDTH).zip(panels.chunks_exact(rows * WIDTH)) {
                out.copy_from_slice(&panel[row * WIDTH..][..out.len()]);
            }
        });
    }

    /// Columns `32·number ..` of the matrix as a panel `[n][32]`.
    fn turned(&self, number: usize, panel: &mut [f32]) {
        let (first, count) = (number * WIDTH, WIDTH.min(self.k - number * WIDTH));
        for (to, from) in panel.chunks_exact_mut(WIDTH * WIDTH).zip(self.data.chunks_exact(self.k * WIDTH)) {
            let (from, _) = from[first * WIDTH..][..count * WIDTH].as_chunks::<WIDTH>();
            for (lane, to) in to.chunks_exact_mut(WIDTH).enumerate() {
                for (to, from) in to.iter_mut().zip(from) {
                    *to = from[lane];
                }
            }
        }
    }
}

/// Rows that a thread multiplies at a time: few enough that they stay in its cache, and all threads get as many.
fn balanced(rows: usize, tile: usize, threads: usize) -> usize {
    let chunks = rows.div_ceil(ROWS_TOGETHER).next_multiple_of(threads);
    rows.div_ceil(tile).div_ceil(chunks) * tile
}

/// `out[n, k] += yᵀ[n, rows] · x[rows, k]`: the gradient of a matrix. Each output is one chain over rows in ascending order, so rows may
/// come in any number of calls.
pub(crate) fn outer(arch: Arch, y: &[f32], n: usize, x: &[f32], k: usize, out: &mut [f32]) {
    let rows = y.len() / n;
    debug_assert_eq!((x.len(), out.len()), (rows * k, n * k));
    if rows == 0 {
        return;
    }
    let tile = tile_rows(arch);
    // Panels `[k / 32][rows][32]` of x.
    let mut panels = vec![0.0; k.div_ceil(WIDTH) * rows * WIDTH];
    panels.par_chunks_exact_mut(rows * WIDTH).enumerate().for_each(|(panel, to)| {
        let (first, count) = (panel * WIDTH, WIDTH.min(k - panel * WIDTH));
        for (to, from) in to.chunks_exact_mut(WIDTH).zip(x.chunks_exact(k)) {
            to[..count].copy_from_slice(&from[first..][..count]);
        }
    });
    let together = balanced(n, tile, rayon::current_num_threads());
    out.par_chunks_mut(together * k).enumerate().for_each(|(chunk, out)| {
        let (first, count) = (chunk * together, out.len() / k);
        // Tiles `[rows][R]` of y.
        let mut tiles = Vec::with_capacity(rows * count);
        for at in (first..first + count).step_by(tile) {
            let width = tile.min(first + count - at);
            y.chunks_exact(n).for_each(|row| tiles.extend_from_slice(&row[at..at + width]));
        }
        let mut narrow = vec![0.0; count * WIDTH];
        for (panel, column) in panels.chunks_exact(rows * WIDTH).zip((0..k).step_by(WIDTH)) {
            if column + WIDTH <= k {
                let out = &mut out[column..];
                arch.dispatch(Product { x: &tiles, k: rows, tile, panel, out, stride: k, fresh: false });
                continue;
            }
            let width = k - column;
            for (to, from) in narrow.chunks_exact_mut(WIDTH).zip(out.chunks_exact(k)) {
                to[..width].copy_from_slice(&from[column..]);
            }
            arch.dispatch(Product { x: &tiles, k: rows, tile, panel, out: &mut narrow, stride: WIDTH, fresh: false });
            for (to, from) in out.chunks_exact_mut(k).zip(narrow.chunks_exact(WIDTH)) {
                to[column..].copy_from_slice(&from[..width]);
            }
        }
    });
}

/// Rows of a tile: as many as leave all sums in registers.
pub(crate) fn tile_rows(arch: Arch) -> usize {
    struct Lanes;
    impl WithSimd for Lanes {
        type Output = usize;
        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) -> usize {
            S::F32_LANES
        }
    }
    if arch.dispatch(Lanes) >= 16 { MAX_ROWS } else { MAX_ROWS / 2 }
}

/// Rows `[rows, k]` as tiles `[k][R]`, one after the other; the last may have fewer rows.
pub(crate) fn pack_rows(x: &[f32], k: usize, tile: usize) -> Vec<f32> {
    let mut packed = vec![0.0; x.len()];
    pack_rows_into(x, k, tile, &mut packed);
    packed
}

fn pack_rows_into(x: &[f32], k: usize, tile: usize, packed: &mut [f32]) {
    for (to, from) in packed.chunks_mut(tile * k).zip(x.chunks(tile * k)) {
        let rows = from.len() / k;
        for (row, from) in from.chunks_exact(k).enumerate() {
            for (to, from) in to[row..].iter_mut().step_by(rows).zip(from) {
                *to = *from;
            }
        }
    }
}

/// Packed rows times one panel: `out[row][..32] (+)= x[row] · panel`, `stride` floats between the rows of `out`.
pub(crate) struct Product<'a> {
    /// Tiles `[k][R]`.
    pub(crate) x: &'a [f32],
    /// Length of the sums.
    pub(crate) k: usize,
    /// Rows of a tile, at most 12.
    pub(crate) tile: usize,
    /// `[k][32]`.
    pub(crate) panel: &'a [f32],
    /// Where the first row's 32 outputs go.
    pub(crate) out: &'a mut [f32],
    /// Floats between rows of `out`.
    pub(crate) stride: usize,
    /// Start at zero, rather than go on from what `out` holds.
    pub(crate) fresh: bool,
}

impl WithSimd for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Product { x, k, tile, panel, out, stride, fresh } = self;
        // A panel's block and a tile's stay in the nearest cache. Sums go on from block to block, so their bits are those of one chain.
        for (block, panel) in panel.chunks(K_TOGETHER * WIDTH).enumerate() {
            let (first, count) = (block * K_TOGETHER, panel.len() / WIDTH);
            for (at, x) in x.chunks(tile * k).enumerate() {
                let rows = x.len() / k;
                let x = &x[first * rows..][..count * rows];
                let (out, fresh) = (&mut out[at * tile * stride..], fresh && first == 0);
                match rows {
                    1 => one_tile::<S, 1>(simd, x, panel, out, stride, fresh),
                    2 => one_tile::<S, 2>(simd, x, panel, out, stride, fresh),
                    3 => one_tile::<S, 3>(simd, x, panel, out, stride, fresh),
                    4 => one_tile::<S, 4>(simd, x, panel, out, stride, fresh),
                    5 => one_tile::<S, 5>(simd, x, panel, out, stride, fresh),
                    6 => one_tile::<S, 6>(simd, x, panel, out, stride, fresh),
                    7 => one_tile::<S, 7>(simd, x, panel, out, stride, fresh),
                    8 => one_tile::<S, 8>(simd, x, panel, out, stride, fresh),
                    9 => one_tile::<S, 9>(simd, x, panel, out, stride, fresh),
                    10 => one_tile::<S, 10>(simd, x, panel, out, stride, fresh),
                    11 => one_tile::<S, 11>(simd, x, panel, out, stride, fresh),
                    12 => one_tile::<S, 12>(simd, x, panel, out, stride, fresh),
                    rows => unreachable!("tiles have 1 to 12 rows, not {rows}"),
                }
            }
        }
    }
}

/// `out[r][..32] (+)= Σ_k x[k][r] · panel[k][..32]` for R rows, two vectors of columns at a time.
#[inline(always)]
fn one_tile<S: Simd, const R: usize>(simd: S, x: &[f32], panel: &[f32], out: &mut [f32], stride: usize, fresh: bool) {
    let step = 2 * S::F32_LANES;
    let (x, _) = x.as_chunks::<R>();
    let (panel, _) = panel.as_chunks::<WIDTH>();
    let mut at = 0;
    while at < WIDTH {
        let mut sums = [[simd.splat_f32s(0.0); 2]; R];
        if !fresh {
            for (r, sums) in sums.iter_mut().enumerate() {
                let (row, _) = S::as_simd_f32s(&out[r * stride + at..][..step]);
                *sums = [row[0], row[1]];
            }
        }
        for (x, weights) in x.iter().zip(panel) {
            let (weights, _) = S::as_simd_f32s(&weights[at..at + step]);
            let (first, second) = (weights[0], weights[1]);
            for (sums, x) in sums.iter_mut().zip(x) {
                let x = simd.splat_f32s(*x);
                sums[0] = simd.mul_add_f32s(x, first, sums[0]);
                sums[1] = simd.mul_add_f32s(x, second, sums[1]);
            }
        }
        for (r, sums) in sums.iter().enumerate() {
            let (row, _) = S::as_mut_simd_f32s(&mut out[r * stride + at..][..step]);
            (row[0], row[1]) = (sums[0], sums[1]);
        }
        at += step;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(count: usize, seed: usize) -> Vec<f32> {
        (0..count).map(|i| ((i * 7919 + seed * 104_729) % 2001) as f32 / 1000.0 - 1.0).collect()
    }

    /// What the module promises: each output is one chain of fused multiply-adds.
    fn chain(x: &[f32], w: &[f32]) -> f32 {
        x.iter().zip(w).fold(0.0, |sum, (x, w)| x.mul_add(*w, sum))
    }

    #[test]
    fn products_are_chains_bit_for_bit_for_any_number_of_rows() {
        let arch = Arch::new();
        for (n, k) in [(32, 7), (70, 16), (96, 130)] {
            let w = numbers(n * k, 1);
            let panels = Panels::pack(&[&w[..10 * k], &w[10 * k..]], k);
            let all = numbers(130 * k, 2);
            for rows in [1, 2, 5, 12, 13, 47, 48, 97, 130] {
                let mut out = vec![f32::NAN; rows * n];
                panels.multiply(arch, &all[..rows * k], &mut out);
                for (row, out) in out.chunks_exact(n).enumerate() {
                    for (column, out) in out.iter().enumerate() {
                        let expected = chain(&all[row * k..][..k], &w[column * k..][..k]);
                        assert_eq!(expected.to_bits(), out.to_bits(), "{rows} rows, row {row}, column {column}");
                    }
                }
            }
            let mut row = vec![0.0; k];
            panels.row(n - 1, &mut row);
            assert_eq!(row, w[(n - 1) * k..]);
        }
    }

    #[test]
    fn the_way_back_and_gradients_are_chains_too() {
        let arch = Arch::new();
        for (n, k, rows) in [(32, 7, 5), (70, 48, 13), (600, 40, 130)] {
            let (w, y, x) = (numbers(n * k, 1), numbers(rows * n, 2), numbers(rows * k, 3));
            let panels = Panels::pack(&[&w], k);
            let mut back = vec![f32::NAN; rows * k];
            panels.multiply_back(arch, &y, &mut back);
            for (row, back) in back.chunks_exact(k).enumerate() {
                for (column, back) in back.iter().enumerate() {
                    let w: Vec<f32> = w[column..].iter().step_by(k).copied().collect();
                    assert_eq!(chain(&y[row * n..][..n], &w).to_bits(), back.to_bits(), "row {row}, column {column}");
                }
            }
            let column =
                |m: &[f32], width: usize, at: usize| -> Vec<f32> { m[at..].iter().step_by(width).copied().collect() };
            let mut gradient = vec![0.0; n * k];
            outer(arch, &y[..2 * n], n, &x[..2 * k], k, &mut gradient);
            outer(arch, &y[2 * n..], n, &x[2 * k..], k, &mut gradient);
            for (at, got) in gradient.iter().enumerate() {
                let expected = chain(&column(&y, n, at / k), &column(&x, k, at % k));
                assert_eq!(expected.to_bits(), got.to_bits());
            }
            // Onto what is there, within wider rows.
            let stride = n + 3;
            let mut out = numbers(rows * stride, 4);
            let before = out.clone();
            panels.multiply_onto(arch, &x, &mut out, stride, 2);
            for (row, (out, before)) in out.chunks_exact(stride).zip(before.chunks_exact(stride)).enumerate() {
                assert_eq!((&out[..2], &out[n + 2..]), (&before[..2], &before[n + 2..]));
                for at in 0..n {
                    let sum = x[row * k..][..k]
                        .iter()
                        .zip(&w[at * k..])
                        .fold(before[at + 2], |sum, (x, w)| x.mul_add(*w, sum));
                    assert_eq!(sum.to_bits(), out[at + 2].to_bits());
                }
            }
            let mut changed = panels.clone();
            changed.set_rows(3, &numbers(2 * k, 9));
            let mut row = vec![0.0; k];
            changed.row(4, &mut row);
            assert_eq!(row, numbers(2 * k, 9)[k..]);
            changed.row(5, &mut row);
            assert_eq!(row, w[5 * k..][..k]);
        }
    }

    #[test]
    fn a_sum_may_be_continued() {
        let arch = Arch::new();
        let (x, w) = (numbers(3 * 20, 3), numbers(32 * 20, 4));
        let panel = |from: usize, to: usize| -> Vec<f32> {
            (from..to).flat_map(|k| (0..32).map(move |n| n * 20 + k)).map(|at| w[at]).collect()
        };
        let mut out = vec![0.0; 3 * 32];
        for (from, to) in [(0, 13), (13, 20)] {
            let part: Vec<f32> = x.chunks_exact(20).flat_map(|row| row[from..to].to_vec()).collect();
            let k = to - from;
            let (x, panel) = (pack_rows(&part, k, 12), panel(from, to));
            arch.dispatch(Product { x: &x, k, tile: 12, panel: &panel, out: &mut out, stride: 32, fresh: from == 0 });
        }
        for row in 0..3 {
            for column in 0..32 {
                let expected = chain(&x[row * 20..][..20], &w[column * 20..][..20]);
                assert_eq!(expected.to_bits(), out[row * 32 + column].to_bits());
            }
        }
    }
}
