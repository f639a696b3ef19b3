//! Gradients of what is trained.

use std::collections::BTreeMap;

use crate::linear::LinearGradient;
use crate::ops::add;
use crate::weights::{EMBEDDING, HEAD, NORM, Snapshot, norm_name};

/// Gradients by the tensors' names, row-major; those of adapters are `<weight>.lora_a` and `<weight>.lora_b`.
pub type Gradients = BTreeMap<String, Vec<f32>>;

/// What one level of the tree (prefix, prompts, lists) gives. Levels are summed at the end, in their order, so that the bits do not
/// depend on how trees are put together.
#[derive(Debug, Clone)]
pub(crate) struct LevelGradient {
    /// Empty when it is not trained.
    pub(crate) embedding: Vec<f32>,
    pub(crate) layers: Vec<LayerGradient>,
}

#[derive(Debug, Clone)]
pub(crate) struct LayerGradient {
    pub(crate) input_norm: Vec<f32>,
    pub(crate) query_key_value: LinearGradient,
    pub(crate) output: LinearGradient,
    pub(crate) post_norm: Vec<f32>,
    pub(crate) gate_up: LinearGradient,
    pub(crate) down: LinearGradient,
}

/// What the head and the norm before it give.
#[derive(Debug)]
pub(crate) struct HeadGradient {
    pub(crate) head: Vec<f32>,
    pub(crate) norm: Vec<f32>,
}

impl Snapshot {
    /// Zeros.
    pub(crate) fn level_gradient(&self) -> LevelGradient {
        let norm = if self.has_adapters { 0 } else { self.config.hidden_size };
        let layers = self.layers.iter().map(|layer| LayerGradient {
            input_norm: vec![0.0; norm],
            query_key_value: layer.query_key_value.gradient(),
            output: layer.output.gradient(),
            post_norm: vec![0.0; norm],
            gate_up: layer.gate_up.gradient(),
            down: layer.down.gradient(),
        });
        LevelGradient { embedding: vec![0.0; norm * self.config.vocab_size], layers: layers.collect() }
    }

    /// Zeros.
    pub(crate) fn head_gradient(&self) -> HeadGradient {
        let norm = if self.has_adapters { 0 } else { self.config.hidden_size };
        HeadGradient { head: vec![0.0; norm * self.config.vocab_size], norm: vec![0.0; norm] }
    }

    /// Sums the levels, the deepest first, and gives gradients their names.
    pub(crate) fn gradients(&self, levels: [LevelGradient; 3], head: HeadGradient) -> Gradients {
        let [mut sum, prompts, lists] = levels;
        for level in [lists, prompts] {
            add(&mut sum.embedding, &level.embedding);
            for (to, from) in sum.layers.iter_mut().zip(&level.layers) {
                add(&mut to.input_norm, &from.input_norm);
                to.query_key_value.add(&from.query_key_value);
                to.output.add(&from.output);
                add(&mut to.post_norm, &from.post_norm);
                to.gate_up.add(&from.gate_up);
                to.down.add(&from.down);
            }
        }
        let mut named = Gradients::new();
        let mut put = |name: String, values: Vec<f32>| {
            if !values.is_empty() {
                named.insert(name, values);
            }
        };
        put(NORM.into(), head.norm);
        if self.config.tie_word_embeddings {
            add(&mut sum.embedding, &head.head);
        } else {
            put(HEAD.into(), head.head);
        }
        put(EMBEDDING.into(), sum.embedding);
        for (number, (layer, gradient)) in self.layers.iter().zip(sum.layers).enumerate() {
            put(norm_name(number, false), gradient.input_norm);
            put(norm_name(number, true), gradient.post_norm);
            layer.query_key_value.named(gradient.query_key_value, &mut put);
            layer.output.named(gradient.output, &mut put);
            layer.gate_up.named(gradient.gate_up, &mut put);
            layer.down.named(gradient.down, &mut put);
        }
        named
    }
}
