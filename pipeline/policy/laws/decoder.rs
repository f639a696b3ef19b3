//! Logits and gradients.

use super::*;

#[test]
fn both_forwards_have_the_logits_of_transformers() -> Result<()> {
    for family in FAMILIES {
        let policy = tiny(family);
        let snapshot = Snapshot::new(&policy, Adapters::On)?;
        for (ids, expected, _) in sequences(family) {
            let expected = expected.concat();
            let hidden = policy.forward(&Packed::new(&ids, &[]), Adapters::On)?;
            let logits: Vec<f32> = policy.logits(&hidden)?.flatten_all()?.to_vec1()?;
            assert!(furthest(&logits, &expected) < 2e-4, "{family}");
            let whole = snapshot.logits_of(&[], &ids);
            assert!(furthest(&whole, &expected) < 2e-4, "{family}");
            // A prefix that is computed apart changes no bit.
            for cut in 1..ids.len() {
                let rest = snapshot.logits_of(&ids[..cut], &ids[cut..]);
                assert_eq!(rest, whole[cut * policy.config.vocab_size..], "{family}, cut at {cut}");
            }
        }
    }
    Ok(())
}

/// The sum of the lists' log-probabilities, each list weighted differently so that no gradient cancels.
fn objective(policy: &Policy, packed: &Packed, lists: &[Vec<u32>], adapters: Adapters) -> Result<Tensor> {
    let hidden = policy.forward(packed, adapters)?;
    let mut sum = Tensor::zeros((), DType::F32, &Device::Cpu)?;
    for (number, list) in lists.iter().enumerate() {
        let rows = Tensor::new(packed.predicting(number), &Device::Cpu)?;
        let logits = policy.logits(&hidden.index_select(&rows, 0)?)?;
        sum = (sum + (log_probs(&logits, list)?.sum_all()? * (1.0 + number as f64))?)?;
    }
    Ok(sum)
}

fn lists() -> (Vec<u32>, Vec<Vec<u32>>) {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(3);
    let mut tokens = |count: usize| (0..count).map(|_| random.random_range(0..320)).collect::<Vec<u32>>();
    (tokens(13), vec![tokens(6), tokens(1), tokens(9)])
}

fn gradients(policy: &Policy, packed: &Packed, lists: &[Vec<u32>]) -> Result<BTreeMap<String, Vec<f32>>> {
    let store = objective(policy, packed, lists, Adapters::On)?.backward()?;
    let flat = |var: &Var| -> Result<Vec<f32>> {
        let gradient = store.get(var).unwrap_or_else(|| panic!("no gradient"));
        Ok(gradient.flatten_all()?.to_vec1()?)
    };
    policy.trainable().iter().map(|(name, var)| Ok((name.clone(), flat(var)?))).collect()
}

#[test]
fn every_trainable_tensor_has_a_gradient() -> Result<()> {
    let (prompt, lists) = lists();
    let packed = Packed::new(&prompt, &lists.iter().map(Vec::as_slice).collect::<Vec<_>>());
    for family in FAMILIES {
        let mut full = tiny(family);
        full.train_all()?;
        assert_eq!(full.trainable().len(), full.config.tensors().len());
        let lora = with_random_lora(tiny(family))?;
        assert_eq!(lora.trainable().len(), 2 * 7 * lora.config.num_hidden_layers);
        for policy in [full, lora] {
            for (name, gradient) in gradients(&policy, &packed, &lists)? {
                assert!(gradient.iter().all(|x| x.is_finite()), "{family}: {name}");
                // A key's bias adds the same to all scores of a query: softmax does not see it.
                let seen = gradient.iter().map(|x| x.abs()).fold(0.0, f32::max);
                assert!(seen > if name.ends_with("k_proj.bias") { 0.0 } else { 1e-6 }, "{family}: {name}: {seen}");
            }
        }
    }
    Ok(())
}

#[test]
fn gradients_are_what_finite_differences_say() -> Result<()> {
    let (prompt, lists) = lists();
    let packed = Packed::new(&prompt, &lists.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let mut full = tiny("decoder-qwen2");
    full.train_all()?;
    for policy in [full, with_random_lora(tiny("decoder-llama"))?] {
        let gradients = gradients(&policy, &packed, &lists)?;
        let value =
            || -> Result<f64> { Ok(f64::from(objective(&policy, &packed, &lists, Adapters::On)?.to_scalar::<f32>()?)) };
        for (name, var) in policy.trainable() {
            let gradient = &gradients[&name];
            let norm = gradient.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
            if norm < 1e-3 {
                continue;
            }
            // Along the gradient, so that the difference is the largest there is.
            let before = var.as_tensor().copy()?;
            let direction = Tensor::from_vec(gradient.clone(), var.shape(), &Device::Cpu)?;
            let step = 2e-2 / norm.max(1.0);
            let mut sides = [0.0; 2];
            for (side, sign) in sides.iter_mut().zip([1.0, -1.0]) {
                var.set(&(&before + (&direction * (sign * step / norm))?)?)?;
                *side = value()?;
            }
            var.set(&before)?;
            let slope = (sides[0] - sides[1]) / (2.0 * step);
            assert!((slope / norm - 1.0).abs() < 2e-2, "{name}: {slope} by differences, {norm} by gradient");
        }
    }
    Ok(())
}

#[test]
fn a_shared_prompt_has_the_gradients_of_separate_sequences() -> Result<()> {
    let (prompt, lists) = lists();
    let refs: Vec<&[u32]> = lists.iter().map(Vec::as_slice).collect();
    for family in FAMILIES {
        let mut policy = tiny(family);
        policy.train_all()?;
        let together = gradients(&policy, &Packed::new(&prompt, &refs), &lists)?;
        let mut apart: BTreeMap<String, Vec<f32>> = BTreeMap::new();
        for (number, list) in refs.iter().enumerate() {
            let one = gradients(&policy, &Packed::new(&prompt, &[list]), &[list.to_vec()])?;
            for (name, gradient) in one {
                let sum = apart.entry(name).or_insert_with(|| vec![0.0; gradient.len()]);
                sum.iter_mut().zip(gradient).for_each(|(sum, g)| *sum += g * (1.0 + number as f32));
            }
        }
        for (name, gradient) in together {
            let norm = |x: &[f32]| x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
            let difference: Vec<f32> = gradient.iter().zip(&apart[&name]).map(|(a, b)| a - b).collect();
            let of = norm(&apart[&name]);
            // The gradient of a key's bias is nothing but rounding.
            assert!(norm(&difference) <= 1e-4 * of.max(1e-2), "{family}: {name}: {} of {of}", norm(&difference));
        }
    }
    Ok(())
}

#[test]
fn adapters_change_what_they_should_and_merge_to_the_same() -> Result<()> {
    let (prompt, _) = lists();
    let policy = with_random_lora(tiny("decoder-llama"))?;
    let packed = Packed::new(&prompt, &[]);
    let by_forward = |adapters| -> Result<Vec<f32>> {
        Ok(policy.logits(&policy.forward(&packed, adapters)?)?.flatten_all()?.to_vec1()?)
    };
    let (on, off) = (by_forward(Adapters::On)?, by_forward(Adapters::Off)?);
    assert!(furthest(&on, &off) > 1e-2);
    assert!(furthest(&off, &Snapshot::new(&tiny("decoder-llama"), Adapters::On)?.logits_of(&[], &prompt)) < 2e-4);
    for (adapters, expected) in [(Adapters::On, &on), (Adapters::Off, &off)] {
        assert!(furthest(&Snapshot::new(&policy, adapters)?.logits_of(&[], &prompt), expected) < 2e-4);
    }
    let merged = Policy::new(policy.config.clone(), policy.merged_tensors()?, Path::new("merged"))?;
    assert!(furthest(&Snapshot::new(&merged, Adapters::Off)?.logits_of(&[], &prompt), &on) < 2e-4);
    Ok(())
}
