//! Which of a user's texts stand for most of the others: those are shown first, where not all have room.
//!
//! Facility location, chosen greedily (Nemhauser, Wolsey, Fisher 1978; for summaries of texts Lin, Bilmes 2011): each text is as well stood for as
//! by the most similar one that was chosen, and the next chosen one adds most to the sum. Two texts are as similar as the share of words
//! that they have in common, `|A ∩ B|² / (|A| |B|)`: the square of their cosine, so that one shared word of grammar hardly counts. No
//! other user and no model is asked, so a prompt depends on its user alone.

use std::collections::HashMap;

use unicode_segmentation::UnicodeSegmentation;

/// So many texts are compared with each other; those behind them keep their order.
const MOST: usize = 512;

/// The texts' places, the one that stands for most first; of equal ones the earlier.
pub(crate) fn order(texts: &[String]) -> Vec<usize> {
    let compared = texts.len().min(MOST);
    let similar = similarities(&texts[..compared]);
    let mut stood_for = vec![0.0_f32; compared];
    let mut left: Vec<usize> = (0..compared).collect();
    let mut order = Vec::with_capacity(texts.len());
    while !left.is_empty() {
        let gain = |text: usize| -> f32 {
            similar[text].iter().map(|&(other, similar)| (similar - stood_for[other]).max(0.0)).sum()
        };
        let gains = left.iter().map(|&text| gain(text)).enumerate();
        let best = gains.reduce(|best, next| if next.1 > best.1 { next } else { best }).map_or(0, |(at, _)| at);
        let text = left.remove(best);
        similar[text].iter().for_each(|&(other, similar)| stood_for[other] = stood_for[other].max(similar));
        order.push(text);
    }
    order.extend(compared..texts.len());
    order
}

/// Of each text, those that share a word with it, itself among them, and how similar they are.
fn similarities(texts: &[String]) -> Vec<Vec<(usize, f32)>> {
    let words: Vec<Vec<String>> = texts
        .iter()
        .map(|text| {
            let mut words: Vec<String> = text.unicode_words().map(str::to_lowercase).collect();
            words.sort_unstable();
            words.dedup();
            words
        })
        .collect();
    let mut with: HashMap<&str, Vec<usize>> = HashMap::new();
    for (text, words) in words.iter().enumerate() {
        words.iter().for_each(|word| with.entry(word).or_default().push(text));
    }
    let similar = |text: usize| {
        let mut shared = vec![0_u32; texts.len()];
        words[text].iter().flat_map(|word| &with[word.as_str()]).for_each(|&other| shared[other] += 1);
        let of = |other: usize| match shared[other] {
            _ if other == text => Some((other, 1.0)),
            0 => None,
            shared => Some((other, (shared * shared) as f32 / (words[text].len() * words[other].len()) as f32)),
        };
        (0..texts.len()).filter_map(of).collect()
    };
    (0..texts.len()).map(similar).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(texts: &[&str]) -> Vec<usize> {
        order(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn what_stands_for_most_comes_first_and_what_stands_for_the_same_last() {
        let texts = [
            "how to tie a tie",
            "Asylum application: questions",
            "asylum application backlog",
            "asylum application questions answered",
            "asylum questions",
            "neon tetras",
            "Neon tetras in small tanks",
        ];
        assert_eq!(of(&texts)[..3], [1, 5, 0], "four on asylum, two on fish, one on ties");
    }

    #[test]
    fn texts_without_words_stand_for_themselves() {
        assert_eq!(of(&["…", "!!", "…"]), [0, 1, 2]);
        assert_eq!(
            of(&["日本 旅行", "!!", "日本 旅行 案内", "日本"]),
            of(&["日本 旅行", "??", "日本 旅行 案内", "日本"])
        );
        assert_eq!(of(&[]), Vec::<usize>::new());
    }

    #[test]
    fn more_texts_than_are_compared_keep_their_order_at_the_end() {
        let texts: Vec<String> = (0..MOST + 3).map(|n| format!("word{n}")).collect();
        assert_eq!(order(&texts)[MOST..], [MOST, MOST + 1, MOST + 2]);
    }

    proptest! {
        /// Each chosen text adds the most that any left one could: the definition, computed plainly.
        #[test]
        fn it_is_greedy(texts in proptest::collection::vec("[a-d]( [a-d]){0,4}", 0..14)) {
            fn set(text: &str) -> std::collections::BTreeSet<&str> {
                text.split(' ').collect()
            }
            let similar = |a: usize, b: usize| {
                let (a, b) = (set(&texts[a]), set(&texts[b]));
                let shared = a.intersection(&b).count();
                (shared * shared) as f32 / (a.len() * b.len()) as f32
            };
            let worth = |chosen: &[usize]| -> f32 {
                (0..texts.len()).map(|of| chosen.iter().map(|&by| similar(by, of)).fold(0.0, f32::max)).sum()
            };
            let order = order(&texts);
            let mut sorted = order.clone();
            sorted.sort_unstable();
            prop_assert_eq!(sorted, (0..texts.len()).collect::<Vec<_>>());
            for n in 0..order.len() {
                let got = worth(&order[..=n]);
                let best = order[n..].iter().map(|&next| worth(&[&order[..n], &[next]].concat())).fold(0.0, f32::max);
                prop_assert!(got > best - 1e-4, "{got} {best}");
            }
        }
    }
}
