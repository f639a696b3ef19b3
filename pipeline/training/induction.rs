//! What a policy from scratch is close to before it has learnt anything: to say again what stood in its prompt.
//!
//! A list is made of words of the history, so a policy must learn to copy. What does that is two attention heads in a row, an *induction
//! head* (Olsson et al. 2022): the first notes at each token which token stood before it; the second, at token A, looks for the place that
//! noted A, and says the token there. From random weights training finds the pair by chance, late or never: of six small policies three
//! learnt the training users' lists by heart instead. So here the pair stands in the weights from the start, at few places and among
//! random numbers. At first the right place has several times its share of the look, not more; training sharpens that within a hundred
//! steps, and changes the pair's numbers as it does all others.
//!
//! In a policy of width d the last of an embedding's d numbers is about the same for every token; the others are random.
//! - **Layer 0**: queries and keys of the first heads look at this number alone. Rotary positions turn a pair of numbers by an angle for
//!   each place, and here query and key are one place's angle apart, so they agree most one place before. From there the first K numbers
//!   of the token's embedding come, and are added to the next K of where the head looks from.
//! - **Layer 1**: a query reads the first K numbers (the token), a key the next K (the token before): they agree where the same token
//!   stood before. Only pairs that turn slowly are used, so that it hardly matters how far away that was. From there the token comes as it
//!   is, and since the head is tied to the embeddings, this is what is said.

use policy::Config;

/// How strongly layer 0 looks one place before. The scores of other places must stay behind by several nats.
const SHARP: f32 = 6.0;
/// Pairs that tell places apart: those that turn fastest.
const TURNING: usize = 4;
/// How strongly layer 1 looks at what agrees.
const GAIN: f32 = 1.2;
/// Size of what the heads write, in sizes of an embedding.
const WRITTEN: f32 = 4.0;

/// Numbers to add to a tensor of random weights, each with its row and column. `spread` is the standard deviation of embeddings.
pub(crate) fn numbers(config: &Config, name: &str, spread: f32) -> Vec<(usize, usize, f32)> {
    let (width, head) = (config.hidden_size, config.head_dim);
    let half = head / 2;
    let turn = |pair: usize| config.rope_theta.powf(-(pair as f64) / half as f64);
    // A head's numbers that turn slowly, those of the slower half of its pairs (i, i + half): a hundred places turn them by 1 at most.
    let slow: Vec<usize> = (half.div_ceil(2)..half).flat_map(|pair| [pair, pair + half]).collect();
    let matched = slow.len() * config.num_attention_heads;
    let noting = matched.div_ceil(head);
    if config.num_hidden_layers < 2 || matched == 0 {
        return Vec::new();
    }
    let same = width - 1;
    // After the norm the number that is the same is about as large as all others together.
    let one = (width as f32 / 2.0).sqrt();
    let tokens = (0..matched).map(|at| (at, matched + at)).filter(|(_, before)| *before < same);
    let looking = |pair: usize, angle: f64| {
        let (sine, cosine) = angle.sin_cos();
        let heads = (0..noting).map(move |number| number * head);
        heads.flat_map(move |first| {
            [(first + pair, cosine), (first + pair + half, sine)]
                .map(|(row, value)| (row, same, SHARP / one * value as f32))
        })
    };
    let matching = |at: usize| at / slow.len() * head + slow[at % slow.len()];
    match name.strip_prefix("model.").unwrap_or(name) {
        "embed_tokens.weight" => {
            (0..config.vocab_size).map(|token| (token, same, spread * (width as f32).sqrt())).collect()
        }
        "layers.0.self_attn.q_proj.weight" => (0..TURNING.min(half)).flat_map(|pair| looking(pair, 0.0)).collect(),
        "layers.0.self_attn.k_proj.weight" => {
            (0..TURNING.min(half)).flat_map(|pair| looking(pair, turn(pair))).collect()
        }
        "layers.0.self_attn.v_proj.weight" => tokens.map(|(token, _)| (token, token, 1.0)).collect(),
        "layers.0.self_attn.o_proj.weight" => tokens.map(|(token, before)| (before, token, WRITTEN * spread)).collect(),
        "layers.1.self_attn.q_proj.weight" => tokens.map(|(token, _)| (matching(token), token, GAIN)).collect(),
        "layers.1.self_attn.k_proj.weight" => tokens.map(|(token, before)| (matching(token), before, GAIN)).collect(),
        "layers.1.self_attn.v_proj.weight" => (0..same).map(|at| (at, at, 1.0)).collect(),
        "layers.1.self_attn.o_proj.weight" => (0..same).map(|at| (at, at, WRITTEN * spread)).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use engine::{Pass, Tree};
    use rand::SeedableRng;
    use rand::seq::index::sample;
    use rand_xoshiro::Xoshiro256PlusPlus;

    use crate::{AdamW, Fitted, Learner, Likelihood, Parameters, Scratch, Trainee};

    const STEPS: u64 = 80;
    const SAID_AGAIN: usize = 20;

    /// A prompt of 40 random tokens, after which one of them comes again; then those that followed it.
    fn repetition(random: &mut Xoshiro256PlusPlus, vocabulary: usize, from: usize) -> (Vec<u32>, Vec<u32>) {
        let text: Vec<u32> = sample(random, vocabulary, 40).iter().map(|token| token as u32).collect();
        ([text.as_slice(), &[text[from]]].concat(), text[from + 1..=from + SAID_AGAIN].to_vec())
    }

    #[test]
    fn in_a_few_steps_a_policy_learns_to_repeat_what_it_has_never_seen() {
        let texts: Vec<String> = ('a'..='z').flat_map(|a| ('a'..='z').map(move |b| format!("- {a}{b}{a}\n"))).collect();
        for (width, heads) in [(64, 2), (128, 4)] {
            let scratch = Scratch { layers: 2, width, heads, vocabulary: 512 };
            let tokenizer = scratch.tokenizer(&texts).expect("a vocabulary");
            let vocabulary = tokenizer.vocabulary();
            let mut learner = Learner::new(scratch.model(tokenizer, 3).expect("a model")).expect("weights to train");
            let mut parameters = Parameters::new(learner.values().expect("values"));
            let optimizer = AdamW { learning_rate: 2e-3, warm_up: 10, ..AdamW::default() };
            let mut random = Xoshiro256PlusPlus::seed_from_u64(5);
            let mut right = Vec::new();
            for step in 1..=STEPS {
                let texts: Vec<_> = (0..8).map(|at| repetition(&mut random, vocabulary, 2 * at)).collect();
                let trees = texts.iter().map(|(prompt, list)| Tree { prompt, lists: vec![list] }).collect::<Vec<_>>();
                let mut pass = Pass::new(&learner.snapshot, &[], 64, None, true);
                let objective = Likelihood { tokens: 8 * SAID_AGAIN };
                let fitted: Vec<Fitted> = pass.put(&trees, &objective).into_iter().flatten().collect();
                let gradients = pass.finish();
                optimizer.step(step, STEPS, &mut parameters, &gradients).expect("an update");
                learner.set(&parameters.values).expect("nobody else has them");
                right.push(fitted.iter().map(|fitted| fitted.likeliest).sum::<usize>());
            }
            // Without the pair: none. Each text is new, so nothing can be known by heart.
            let last = right[right.len() - 8..].iter().sum::<usize>() as f64 / (64 * SAID_AGAIN) as f64;
            assert!(last > 0.9, "{last:.3} of the tokens are the likeliest, at width {width}");
        }
    }
}
