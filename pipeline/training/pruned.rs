//! A student that begins as its teacher with layers left out: those without which the teacher still says its lists.

use std::collections::BTreeMap;
use std::path::Path;

use dataset::{Error, Result};
use policy::{Adapters, Model, Policy, Snapshot};

use crate::candle;

/// The model with `layers` of its layers. Each layer is left out in turn; those stay without which `loss` rises most, of equals the earlier.
///
/// # Errors
/// When the model has fewer layers.
pub(crate) fn pruned(model: Model, layers: usize, loss: &dyn Fn(&Snapshot) -> f64) -> Result<Model> {
    let all = model.policy.config.num_hidden_layers;
    if !(1..=all).contains(&layers) {
        let expected = format!("1 to {all}, the model's layers");
        return Err(Error::setting("sft.layers", expected, layers, "keep as many as it has, at most"));
    }
    let Model { policy, tokenizer } = model;
    // Once, and not for each layer that is left out.
    let policy = policy.merged().map_err(candle)?;
    if layers == all {
        return Ok(Model { policy, tokenizer });
    }
    let without = |left_out: usize| -> Vec<usize> { (0..all).filter(|layer| *layer != left_out).collect() };
    let mut effects = Vec::with_capacity(all);
    for layer in 0..all {
        let snapshot = Snapshot::new(&kept(&policy, &without(layer))?, Adapters::Off).map_err(candle)?;
        effects.push((loss(&snapshot), layer));
    }
    effects.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let mut stay: Vec<usize> = effects[..layers].iter().map(|(_, layer)| *layer).collect();
    stay.sort_unstable();
    Ok(Model { policy: kept(&policy, &stay)?, tokenizer })
}

/// A policy with some of another one's layers, in their order.
fn kept(policy: &Policy, layers: &[usize]) -> Result<Policy> {
    const LAYERS: &str = "model.layers.";
    let mut tensors = BTreeMap::new();
    for (name, tensor) in policy.merged_tensors().map_err(candle)? {
        let Some((layer, rest)) = name.strip_prefix(LAYERS).and_then(|name| name.split_once('.')) else {
            tensors.insert(name, tensor);
            continue;
        };
        let layer: usize = layer.parse().map_err(|_| Error::bug(format!("a layer's number in {name}")))?;
        if let Some(place) = layers.iter().position(|kept| *kept == layer) {
            tensors.insert(format!("{LAYERS}{place}.{rest}"), tensor);
        }
    }
    let config = policy::Config { num_hidden_layers: layers.len(), ..policy.config.clone() };
    Policy::new(config, tensors, Path::new("a policy with some of its layers"))
}
