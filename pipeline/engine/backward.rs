//! The way back through the decoder's layers, for the rows of one level.

use crate::attention_back::Span;
use crate::cache::PieceGradient;
use crate::forward::{LayerTape, Tape};
use crate::gradients::{LayerGradient, LevelGradient};
use crate::ops::{Rotary, rms_norm, rms_norm_back, swiglu, swiglu_back};
use crate::weights::Snapshot;

impl Snapshot {
    /// `d`: the gradient `[rows, hidden_size]` of the hidden states after the last layer. For `own` and `shared` see
    /// [`Snapshot::attend_back`].
    #[expect(clippy::too_many_arguments, reason = "a level and what it gives")]
    pub(crate) fn backward(
        &self,
        rotary: &Rotary,
        tokens: &[u32],
        spans: &[Span<'_>],
        tape: Tape,
        mut d: Vec<f32>,
        own: &mut [Option<&mut PieceGradient>],
        shared: &mut [PieceGradient],
        gradient: &mut LevelGradient,
    ) {
        let (arch, epsilon, inner) = (self.arch, self.config.rms_norm_eps, self.config.intermediate_size);
        let layers = self.layers.iter().zip(&mut gradient.layers).zip(tape.layers).enumerate();
        for (number, ((layer, gradient), tape)) in layers.rev() {
            let LayerGradient { input_norm, query_key_value, output, post_norm, gate_up, down } = gradient;
            let LayerTape { x, middle, gate_up: gates, attended, .. } = &tape;

            let mut activated = vec![0.0; gates.len() / 2];
            swiglu(arch, gates, inner, &mut activated);
            let d_activated = layer.down.backward(arch, &activated, &d, down);
            let d_gates = swiglu_back(arch, gates, inner, &d_activated);
            let mut normed = vec![0.0; x.len()];
            rms_norm(arch, middle, &layer.post_norm, epsilon, &mut normed);
            let d_normed = layer.gate_up.backward(arch, &normed, &d_gates, gate_up);
            rms_norm_back(arch, middle, &layer.post_norm, epsilon, &d_normed, &mut d, post_norm);

            let d_attended = layer.output.backward(arch, attended, &d, output);
            let d_projected = self.attend_back(number, rotary, &tape, &d_attended, spans, own, shared);
            rms_norm(arch, x, &layer.input_norm, epsilon, &mut normed);
            let d_normed = layer.query_key_value.backward(arch, &normed, &d_projected, query_key_value);
            rms_norm_back(arch, x, &layer.input_norm, epsilon, &d_normed, &mut d, input_norm);
        }
        if !gradient.embedding.is_empty() {
            let width = self.config.hidden_size;
            for (token, d) in tokens.iter().zip(d.chunks_exact(width)) {
                crate::ops::add(&mut gradient.embedding[*token as usize * width..][..width], d);
            }
        }
    }
}
