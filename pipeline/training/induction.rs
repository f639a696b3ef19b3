//! What a policy from scratch can do before it has learnt anything: say again what stood in its prompt.
//!
//! A list is made of words of the history, so a policy must learn to copy. What does that is two attention heads in a row, an *induction
//! head* (Olsson et al. 2022): the first notes at each token which token stood before it; the second, at token A, looks for the place that
//! noted A, and says the token there. Training finds the pair by chance, late or never: of six small policies three learnt the training
//! users' lists by heart instead. So here the pair stands in the random weights from the start, as small numbers at a few places, and is
//! trained like all else.
//!
//! In a policy of width d the last of an embedding's d numbers is the same for every token; the others are random.
//! - **Layer 0**: queries and keys of the first heads look at this number alone. Rotary positions turn a pair of numbers by an angle for
//!   each place, and here query and key are one place's angle apart: most is looked at one place before. From there the first K numbers of
//!   the token's embedding come, and are added to the next K of where the head looks from.
//! - **Layer 1**: a query reads the first K numbers (the token), a key the next K (the token before): they agree where the same token
//!   stood before. Only pairs that turn slowly are used, so that it does not matter how far away that was. From there the token comes as it
//!   is, and with a tied head it is what is said.

use policy::Config;

/// How strongly layer 0 looks one place before. The scores of other places must stay behind by several nats.
const SHARP: f32 = 6.0;
/// Pairs that tell places apart: those that turn fastest.
const TURNING: usize = 4;
/// How strongly layer 1 looks at what agrees.
const GAIN: f32 = 1.2;
/// Angle for each place of the pairs that layer 1 matches by, at most: a prompt's length turns them by about 1.
const SLOW: f64 = 0.0101;
/// Size of what the heads write, in sizes of an embedding.
const WRITTEN: f32 = 4.0;

/// Numbers to add to a tensor of random weights, each with its row and column. `spread` is the standard deviation of embeddings.
pub(crate) fn numbers(config: &Config, name: &str, spread: f32) -> Vec<(usize, usize, f32)> {
    let (width, head) = (config.hidden_size, config.head_dim);
    let half = head / 2;
    let turn = |pair: usize| config.rope_theta.powf(-(pair as f64) / half as f64);
    // A head's numbers that turn slowly: pairs are (i, i + half).
    let slow: Vec<usize> = (0..half).filter(|&pair| turn(pair) <= SLOW).flat_map(|pair| [pair, pair + half]).collect();
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
