//! What is sampled.

use super::*;

#[test]
fn greedy_continuations_are_those_of_transformers() -> Result<()> {
    for family in FAMILIES {
        let snapshot = Arc::new(Snapshot::new(&tiny(family), Adapters::On)?);
        let sequences = sequences(family);
        let sampling = Sampling { temperature: 0.0, max_new_tokens: 12, ..Sampling::default() };
        let requests: Vec<Request> =
            sequences.iter().map(|(ids, ..)| Request { prompt: ids.clone(), seeds: vec![0, 1] }).collect();
        for (outputs, (.., greedy)) in rollout(&snapshot, &[], sampling).run(&requests, &|_| ())?.iter().zip(&sequences)
        {
            for Completion { tokens, .. } in outputs {
                assert_eq!(tokens, greedy, "{family}");
            }
        }
    }
    Ok(())
}

#[test]
fn what_is_sampled_depends_on_neither_batch_nor_threads_nor_prefix() -> Result<()> {
    let snapshot = Arc::new(Snapshot::new(&tiny("decoder-qwen2"), Adapters::On)?);
    let mut random = Xoshiro256PlusPlus::seed_from_u64(7);
    let common: Vec<u32> = (0..9).map(|_| random.random_range(0..320)).collect();
    let requests: Vec<Request> = (0..7)
        .map(|user| Request {
            prompt: (0..3 + 4 * user).map(|_| random.random_range(0..320)).collect(),
            seeds: (0..1 + user % 3).map(|sample| user * 10 + sample).collect(),
        })
        .collect();
    let sampling = Sampling { max_new_tokens: 11, ..Sampling::default() };
    let expected = rollout(&snapshot, &common, sampling).run(&requests, &|_| ())?;
    let distinct: std::collections::HashSet<_> = expected.iter().flatten().map(|o| o.tokens.clone()).collect();
    assert_eq!(distinct.len(), requests.iter().map(|r| r.seeds.len()).sum::<usize>(), "samples differ");
    for (outputs, prompt_tokens, threads) in [(1, 1, 1), (4, 20, 2), (100, 1000, 3)] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        let batching = Batching { outputs, prompt_tokens };
        let got = pool.install(|| rollout(&snapshot, &common, sampling).batching(batching).run(&requests, &|_| ()))?;
        assert_eq!(got, expected, "{batching:?}, {threads} threads");
    }
    let whole: Vec<Request> = requests
        .iter()
        .map(|r| Request { prompt: [common.clone(), r.prompt.clone()].concat(), seeds: r.seeds.clone() })
        .collect();
    assert_eq!(rollout(&snapshot, &[], sampling).run(&whole, &|_| ())?, expected);
    let turned: Vec<Request> = requests.iter().rev().cloned().collect();
    let got: Vec<_> = rollout(&snapshot, &common, sampling).run(&turned, &|_| ())?.into_iter().rev().collect();
    assert_eq!(got, expected);
    Ok(())
}

#[test]
fn a_logit_that_is_no_number_is_an_error_that_says_where() -> Result<()> {
    let mut policy = tiny("decoder-llama");
    policy.train_all()?;
    let (_, head) = policy.trainable().into_iter().find(|(name, _)| name == "model.norm.weight").expect("it is there");
    head.set(&(head.as_tensor() * f64::NAN)?)?;
    let snapshot = Arc::new(Snapshot::new(&policy, Adapters::On)?);
    let requests = [Request { prompt: vec![5, 6], seeds: vec![1, 2] }];
    let error = rollout(&snapshot, &[], Sampling::default()).run(&requests, &|_| ()).expect_err("no logits");
    let said = error.to_string();
    assert!(said.contains("request 0, sample 0, token 0: expected finite logits, got NaN"), "{said}");
    assert_eq!(error.exit_code(), 3);
    Ok(())
}

#[test]
fn an_output_that_the_grammar_cannot_go_on_with_says_so() -> Result<()> {
    // A model whose vocabulary ends before the bracket that opens a list.
    let whole = tiny("decoder-llama");
    let few = 64;
    assert!(bytes_tokenizer().encode("[")[0] as usize >= few);
    let short = |(name, tensor): (String, Tensor)| -> Result<(String, Tensor)> {
        let shared = name.ends_with("embed_tokens.weight") || name == "lm_head.weight";
        Ok((name, if shared { tensor.narrow(0, 0, few)? } else { tensor }))
    };
    let tensors = whole.merged_tensors()?.into_iter().map(short).collect::<Result<_>>()?;
    let policy = Policy::new(Config { vocab_size: few, ..whole.config.clone() }, tensors, Path::new("short"))?;
    let snapshot = Arc::new(Snapshot::new(&policy, Adapters::On)?);
    let rule = crate::ListRule::default();
    let grammar = crate::Grammar::new(
        &bytes_tokenizer(),
        3,
        rule,
        crate::Reasoning::None,
        &crate::Template::parse(crate::TEMPLATE)?,
    );
    let sampling = Sampling { max_new_tokens: 64, ..Sampling::default() };
    let rollout = Rollout::new(snapshot, &[], 40, &[], sampling, Some(Arc::new(grammar)))?;
    let outputs = rollout.run(&[Request { prompt: vec![5, 6], seeds: vec![1] }], &|_| ())?;
    assert_eq!(outputs[0][0].finish, crate::Finish::DeadEnd);
    assert_eq!(crate::Finish::DeadEnd.name(), "dead_end");
    Ok(())
}

#[derive(Deserialize)]
struct Case {
    text: String,
    input_ids: Vec<u32>,
    last_top8: Vec<(u32, f32)>,
    token_log_probs: Vec<f32>,
    greedy: Vec<u32>,
    greedy_text: String,
}

#[test]
fn a_gguf_model_is_what_transformers_makes_of_it() -> Result<()> {
    #[derive(Deserialize)]
    struct Expected {
        cases: Vec<Case>,
    }
    let json = std::fs::read(repository().join("fixtures/smollm2/expected.json")).expect("part of the repository");
    let Expected { cases } = serde_json::from_slice(&json).expect("JSON");
    let model = smollm2();
    let vocabulary = model.policy.config.vocab_size;
    let snapshot = Arc::new(Snapshot::new(&model.policy, Adapters::On)?);
    let sampling = Sampling { temperature: 0.0, max_new_tokens: 48, ..Sampling::default() };
    let engine = Rollout::new(snapshot.clone(), &[], 64, &[2], sampling, None)?;
    for case in &cases {
        assert_eq!(model.tokenizer.encode_with_control(&case.text), case.input_ids);
        let logits = snapshot.logits_of(&[], &case.input_ids);
        let last = &logits[logits.len() - vocabulary..];
        for (token, expected) in &case.last_top8 {
            assert!((last[*token as usize] - expected).abs() < 1e-3, "{expected}, got {}", last[*token as usize]);
        }
        let rows = Tensor::from_vec(logits, (case.input_ids.len(), vocabulary), &Device::Cpu)?;
        let predicting = rows.narrow(0, 0, case.input_ids.len() - 1)?;
        let got: Vec<f32> = log_probs(&predicting, &case.input_ids[1..])?.to_vec1()?;
        assert!(furthest(&got, &case.token_log_probs) < 1e-3);
    }
    let requests: Vec<Request> =
        cases.iter().map(|c| Request { prompt: c.input_ids.clone(), seeds: vec![0] }).collect();
    for (outputs, case) in engine.run(&requests, &|_| ())?.iter().zip(&cases) {
        assert_eq!(outputs[0].tokens, case.greedy);
        let text = case.greedy_text.replace("<|im_end|>", "");
        assert_eq!(model.tokenizer.decode(&outputs[0].tokens), text);
    }
    Ok(())
}

#[test]
fn what_does_not_fit_the_context_is_refused() -> Result<()> {
    let snapshot = Arc::new(Snapshot::new(&tiny("decoder-llama"), Adapters::On)?);
    let sampling = Sampling { max_new_tokens: 64, ..Sampling::default() };
    let error = Rollout::new(snapshot.clone(), &[1], 500, &[], sampling, None).unwrap_err().to_string();
    assert!(error.contains("at most 512 tokens") && error.contains("got 564"), "{error}");
    Ok(())
}
