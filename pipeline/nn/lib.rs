//! What small trained models share, on candle's autograd.
//!
//! Every layer is composed of operations that have a backward, [`gru`]'s its own: candle's fused ones (`softmax_last_dim`, `rms_norm`) have
//! none, and drop gradients without a word. [`Weights::gradients`] errs where a tensor got none. Shapes stand in the names of tensors: `B` rows, `T`
//! places, `D` the width, `H` heads, `E` the width of a head, `N` rows times places, `S` negatives.

mod batch;
mod gru;
mod layers;
mod loss;
mod weights;

pub use batch::{Batch, by_length, select};
pub use gru::{gru, gru_gates, gru_parameters};
pub use layers::{
    Dropout, attention, causal, heads, layer_norm, linear, linear_parameters, merged, norm_parameters, silu, softmax,
    standardised, unit_length,
};
pub use loss::{Negatives, softmax_loss};
pub use weights::{Parameter, Start, Weights};
