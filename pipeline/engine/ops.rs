//! What lies between the products: normalisation, rotary positions, SwiGLU, the exponential. Sums have sixteen lanes by index,
//! whatever the processor's vectors are, so these too give the same bits everywhere.

use pulp::{Arch, NullaryFnOnce};
use rayon::prelude::*;

/// Lanes of a sum: number `i` goes into lane `i % 16`.
pub(crate) const LANES: usize = 16;
/// Rows of fewer numbers in all are not worth waking other threads for.
const WORTH_SHARING: usize = 1 << 15;

/// `e^x`, within 2 units in the last place for `x` from -87 to 88; beyond, the values at these ends.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    // Adding and taking away 1.5·2^23 rounds to an integer.
    const ROUND: f32 = 12_582_912.0;
    let x = x.clamp(-87.0, 88.0);
    let n = x.mul_add(std::f32::consts::LOG2_E, ROUND) - ROUND;
    // ln 2 in two parts, the first with few enough bits that n times it is exact.
    let r = n.mul_add(-0.693_359_4, x);
    let r = n.mul_add(2.121_944_4e-4, r);
    let p = r.mul_add(1.987_569_1e-4, 1.398_199_9e-3);
    let p = p.mul_add(r, 8.333_452e-3);
    let p = p.mul_add(r, 4.166_579_6e-2);
    let p = p.mul_add(r, 1.666_666_5e-1);
    let p = p.mul_add(r, 5e-1);
    let p = p.mul_add(r * r, r) + 1.0;
    // Never overflows; said so, for a check would keep the loop around it from being vectors in a build with checks.
    p * f32::from_bits(((n as i32).wrapping_add(127) as u32) << 23)
}

/// The sum of sixteen lanes, pair by pair.
#[inline(always)]
pub(crate) fn total(mut lanes: [f32; LANES]) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            lanes[lane] += lanes[lane + half];
        }
        half /= 2;
    }
    lanes[0]
}

/// Calls `each` for every row of `out`, in parallel where that is worth it.
fn rows<F: Fn(usize, &mut [f32]) + Sync>(out: &mut [f32], width: usize, each: F) {
    if out.len() < WORTH_SHARING {
        out.chunks_exact_mut(width).enumerate().for_each(|(row, out)| each(row, out));
    } else {
        out.par_chunks_exact_mut(width).enumerate().for_each(|(row, out)| each(row, out));
    }
}

/// RMSNorm of rows: `out = x / sqrt(mean(x²) + ε) · weight`.
pub(crate) fn rms_norm(arch: Arch, x: &[f32], weight: &[f32], epsilon: f32, out: &mut [f32]) {
    struct Row<'a>(&'a [f32], &'a [f32], f32, &'a mut [f32]);
    impl NullaryFnOnce for Row<'_> {
        type Output = ();
        #[inline(always)]
        fn call(self) {
            let Row(x, weight, epsilon, out) = self;
            let mut lanes = [0.0; LANES];
            let (chunks, rest) = x.as_chunks::<LANES>();
            for chunk in chunks {
                for lane in 0..LANES {
                    lanes[lane] = chunk[lane].mul_add(chunk[lane], lanes[lane]);
                }
            }
            for (lane, x) in lanes.iter_mut().zip(rest) {
                *lane = x.mul_add(*x, *lane);
            }
            let scale = 1.0 / (total(lanes) / x.len() as f32 + epsilon).sqrt();
            for ((out, x), weight) in out.iter_mut().zip(x).zip(weight) {
                *out = x * scale * weight;
            }
        }
    }
    let width = weight.len();
    rows(out, width, |row, out| arch.dispatch(Row(&x[row * width..][..width], weight, epsilon, out)));
}

/// SwiGLU of rows `[gate, up]`: `out = gate / (1 + e^-gate) · up`.
pub(crate) fn swiglu(arch: Arch, gate_up: &[f32], width: usize, out: &mut [f32]) {
    struct Row<'a>(&'a [f32], &'a [f32], &'a mut [f32]);
    impl NullaryFnOnce for Row<'_> {
        type Output = ();
        #[inline(always)]
        fn call(self) {
            let Row(gate, up, out) = self;
            for ((out, gate), up) in out.iter_mut().zip(gate).zip(up) {
                *out = gate / (1.0 + exp(-gate)) * up;
            }
        }
    }
    rows(out, width, |row, out| {
        let (gate, up) = gate_up[row * 2 * width..][..2 * width].split_at(width);
        arch.dispatch(Row(gate, up, out));
    });
}

/// The way back through RMSNorm: adds to `dx`, and to the weight's gradient where one is wanted (not empty).
///
/// With `s = 1 / sqrt(mean(x²) + ε)`: `dx += s·w⊙dy − x·s³·mean(x⊙w⊙dy)`, `dw += Σ_rows dy⊙x·s`.
pub(crate) fn rms_norm_back(
    arch: Arch,
    x: &[f32],
    weight: &[f32],
    epsilon: f32,
    dy: &[f32],
    dx: &mut [f32],
    d_weight: &mut [f32],
) {
    struct Row<'a>(&'a [f32], &'a [f32], f32, &'a [f32], &'a mut [f32]);
    impl NullaryFnOnce for Row<'_> {
        type Output = f32;
        #[inline(always)]
        fn call(self) -> f32 {
            let Row(x, weight, epsilon, dy, dx) = self;
            let (mut squares, mut products) = ([0.0; LANES], [0.0; LANES]);
            for (at, ((x, weight), dy)) in x.iter().zip(weight).zip(dy).enumerate() {
                squares[at % LANES] = x.mul_add(*x, squares[at % LANES]);
                products[at % LANES] = (x * weight).mul_add(*dy, products[at % LANES]);
            }
            let width = x.len() as f32;
            let scale = 1.0 / (total(squares) / width + epsilon).sqrt();
            let back = total(products) / width * scale * scale * scale;
            for (((dx, x), weight), dy) in dx.iter_mut().zip(x).zip(weight).zip(dy) {
                *dx += scale * weight * dy - x * back;
            }
            scale
        }
    }
    let width = weight.len();
    let scales: Vec<f32> = dx
        .par_chunks_exact_mut(width)
        .with_min_len(WORTH_SHARING / width)
        .enumerate()
        .map(|(row, dx)| {
            let at = row * width..(row + 1) * width;
            arch.dispatch(Row(&x[at.clone()], weight, epsilon, &dy[at], dx))
        })
        .collect();
    if !d_weight.is_empty() {
        for ((x, dy), scale) in x.chunks_exact(width).zip(dy.chunks_exact(width)).zip(scales) {
            for ((to, x), dy) in d_weight.iter_mut().zip(x).zip(dy) {
                *to += x * scale * dy;
            }
        }
    }
}

/// The way back through SwiGLU: `dy[rows, width]` to the gradient `[rows, 2·width]` of gate and up.
///
/// With `σ = 1 / (1 + e^-gate)`: `d_up = dy⊙gate·σ`, `d_gate = dy⊙up·σ·(1 + gate·(1 − σ))`.
pub(crate) fn swiglu_back(arch: Arch, gate_up: &[f32], width: usize, dy: &[f32]) -> Vec<f32> {
    struct Row<'a>(&'a [f32], &'a [f32], &'a [f32], &'a mut [f32], &'a mut [f32]);
    impl NullaryFnOnce for Row<'_> {
        type Output = ();
        #[inline(always)]
        fn call(self) {
            let Row(gate, up, dy, d_gate, d_up) = self;
            for ((((gate, up), dy), d_gate), d_up) in gate.iter().zip(up).zip(dy).zip(d_gate).zip(d_up) {
                let sigmoid = 1.0 / (1.0 + exp(-gate));
                *d_up = dy * gate * sigmoid;
                *d_gate = dy * up * sigmoid * (1.0 + gate * (1.0 - sigmoid));
            }
        }
    }
    let mut out = vec![0.0; gate_up.len()];
    rows(&mut out, 2 * width, |row, out| {
        let (gate, up) = gate_up[row * 2 * width..][..2 * width].split_at(width);
        let (d_gate, d_up) = out.split_at_mut(width);
        arch.dispatch(Row(gate, up, &dy[row * width..][..width], d_gate, d_up));
    });
    out
}

/// `e^((x - highest)·scale)` in place; returns their sum. For callers that have chosen their vectors.
#[inline(always)]
pub(crate) fn exponentials_inline(x: &mut [f32], highest: f32, scale: f32) -> f32 {
    let mut lanes = [0.0; LANES];
    let (chunks, rest) = x.as_chunks_mut::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            chunk[lane] = exp((chunk[lane] - highest) * scale);
            lanes[lane] += chunk[lane];
        }
    }
    for (lane, x) in lanes.iter_mut().zip(rest) {
        *x = exp((*x - highest) * scale);
        *lane += *x;
    }
    total(lanes)
}

/// The same.
pub(crate) fn exponentials(arch: Arch, x: &mut [f32], highest: f32, scale: f32) -> f32 {
    struct Row<'a>(&'a mut [f32], f32, f32);
    impl NullaryFnOnce for Row<'_> {
        type Output = f32;
        #[inline(always)]
        fn call(self) -> f32 {
            exponentials_inline(self.0, self.1, self.2)
        }
    }
    arch.dispatch(Row(x, highest, scale))
}

/// The largest of some numbers; NaN is none. For callers that have chosen their vectors.
#[inline(always)]
pub(crate) fn highest_inline(x: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = x.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            lanes[lane] = if chunk[lane] > lanes[lane] { chunk[lane] } else { lanes[lane] };
        }
    }
    rest.iter().chain(&lanes).copied().fold(f32::NEG_INFINITY, f32::max)
}

/// The same.
pub(crate) fn highest(arch: Arch, x: &[f32]) -> f32 {
    struct Row<'a>(&'a [f32]);
    impl NullaryFnOnce for Row<'_> {
        type Output = f32;
        #[inline(always)]
        fn call(self) -> f32 {
            highest_inline(self.0)
        }
    }
    arch.dispatch(Row(x))
}

/// `x += y`.
pub(crate) fn add(x: &mut [f32], y: &[f32]) {
    for (x, y) in x.iter_mut().zip(y) {
        *x += y;
    }
}

/// Cosines and sines of rotary positions: `[position][head_dim / 2]` each.
#[derive(Debug, Clone, Default)]
pub struct Rotary {
    half: usize,
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl Rotary {
    /// For positions below `positions`.
    pub fn new(theta: f64, head_dim: usize, positions: usize) -> Self {
        let half = head_dim / 2;
        let angles = (0..positions).flat_map(|position| {
            (0..half).map(move |i| position as f64 * theta.powf(-2.0 * i as f64 / head_dim as f64))
        });
        let (cos, sin) = angles.map(|angle| (angle.cos() as f32, angle.sin() as f32)).unzip();
        Rotary { half, cos, sin }
    }

    /// Cosines and sines of all positions.
    pub fn tables(&self) -> (&[f32], &[f32]) {
        (&self.cos, &self.sin)
    }

    /// Turns one head: `(x_i, x_{i + d/2})` by the position's i-th angle, and multiplies it by `scale`.
    pub(crate) fn rotate(&self, position: usize, head: &mut [f32], scale: f32) {
        let (cos, sin) = (&self.cos[position * self.half..], &self.sin[position * self.half..]);
        let (first, second) = head.split_at_mut(self.half);
        for (((a, b), cos), sin) in first.iter_mut().zip(second).zip(cos).zip(sin) {
            (*a, *b) = ((*a * cos - *b * sin) * scale, (*b * cos + *a * sin) * scale);
        }
    }

    /// The way back through [`Rotary::rotate`]: the opposite angle.
    pub(crate) fn rotate_back(&self, position: usize, head: &mut [f32], scale: f32) {
        let (cos, sin) = (&self.cos[position * self.half..], &self.sin[position * self.half..]);
        let (first, second) = head.split_at_mut(self.half);
        for (((a, b), cos), sin) in first.iter_mut().zip(second).zip(cos).zip(sin) {
            (*a, *b) = ((*a * cos + *b * sin) * scale, (*b * cos - *a * sin) * scale);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponential_is_close_and_tame() {
        let mut worst = 0.0f64;
        for i in -87_000..88_000 {
            let x = i as f32 / 1000.0;
            worst = worst.max((f64::from(exp(x)) / f64::from(x).exp() - 1.0).abs());
        }
        assert!(worst < 2.4e-7, "{worst}");
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(f32::NEG_INFINITY) < 1e-37 && exp(f32::INFINITY).is_finite());
    }

    #[test]
    fn swiglu_and_norm_are_their_formulas() {
        let x = [1.0, -2.0, 0.5, 3.0];
        let mut out = [0.0; 2];
        swiglu(Arch::new(), &x, 2, &mut out);
        let silu = |x: f64| x / (1.0 + (-x).exp());
        assert!((f64::from(out[0]) - silu(1.0) * 0.5).abs() < 1e-6);
        assert!((f64::from(out[1]) - silu(-2.0) * 3.0).abs() < 1e-6);
        let mut out = [0.0; 4];
        rms_norm(Arch::new(), &x, &[1.0, 2.0, 1.0, 1.0], 1e-5, &mut out);
        let scale = 1.0 / ((1.0f64 + 4.0 + 0.25 + 9.0) / 4.0 + 1e-5).sqrt();
        for (out, expected) in out.iter().zip([1.0, -4.0, 0.5, 3.0]) {
            assert!((f64::from(*out) - expected * scale).abs() < 1e-6);
        }
    }
}
