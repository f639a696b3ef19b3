//! What is to be learnt: losses over lists, with their gradients by the logits written down.

mod distance;
mod grpo;
mod likelihood;

pub use distance::{Apart, Distance, Divergence, Told, Whole};
pub use grpo::{Form, Grpo, Kl, Ratio, Said, Sampled};
pub use likelihood::{Fitted, Likelihood};

/// Sixteen sums, so that the order is the same everywhere, put together in double precision.
fn dot(a: &[f32], b: &[f32]) -> f64 {
    let mut sums = [0.0f32; 16];
    let (a_chunks, a_rest) = a.as_chunks::<16>();
    let (b_chunks, b_rest) = b.as_chunks::<16>();
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for lane in 0..16 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    for ((sum, a), b) in sums.iter_mut().zip(a_rest).zip(b_rest) {
        *sum += a * b;
    }
    sums.iter().map(|sum| f64::from(*sum)).sum()
}
