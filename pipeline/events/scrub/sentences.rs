//! How much is found, and how much is taken for what it is not: on invented sentences in thirty-one languages (`fixtures/scrub`).

use std::collections::BTreeMap;
use std::ops::Range;

use super::*;

const PERSONAL: &str = include_str!("../../../fixtures/scrub/personal.tsv");
const IMPERSONAL: &str = include_str!("../../../fixtures/scrub/impersonal.tsv");

fn sentences(file: &str) -> Vec<(&str, &str)> {
    file.lines().map(|line| line.split_once('\t').expect("language and sentence")).collect()
}

/// A sentence without its marks `{kind|text}`, and what they mark.
fn unmarked(sentence: &str) -> (String, Vec<(Range<usize>, usize)>) {
    let (mut plain, mut marked) = (String::new(), Vec::new());
    let mut pieces = sentence.split('{');
    plain.push_str(pieces.next().expect("a sentence"));
    for piece in pieces {
        let (mark, rest) = piece.split_once('}').expect("a closed mark");
        let (kind, text) = mark.split_once('|').expect("a kind");
        let kind = KINDS.iter().position(|name| *name == kind).expect("a kind of personal data");
        marked.push((plain.len()..plain.len() + text.len(), kind));
        plain.push_str(text);
        plain.push_str(rest);
    }
    (plain, marked)
}

#[test]
fn what_is_marked_is_found() {
    let mut recall: BTreeMap<&str, (u32, u32)> = BTreeMap::new();
    let mut missed = Vec::new();
    for (language, sentence) in sentences(PERSONAL) {
        let (plain, marked) = unmarked(sentence);
        let found = find(&plain);
        for (range, kind) in marked {
            let (hits, all) = recall.entry(KINDS[kind]).or_default();
            *all += 1;
            // Whole, of its kind, and no more than a sign at either end beyond it.
            let near = |a: usize, b: usize| a <= b && b - a <= 4;
            let hit =
                |f: &(Range<usize>, usize)| f.1 == kind && near(f.0.start, range.start) && near(range.end, f.0.end);
            if found.iter().any(hit) {
                *hits += 1;
            } else {
                missed.push(format!("{language} {sentence}: {}", scrub(&plain, &mut Counts::default())));
            }
        }
    }
    assert_eq!(recall.len(), KINDS.len());
    for (kind, (hits, all)) in recall {
        let enough = f64::from(hits) >= 0.98 * f64::from(all);
        assert!(enough, "recall of {kind}: {hits} of {all}\n{}", missed.join("\n"));
    }
}

#[test]
fn numbers_that_are_nobodys_stay() {
    let sentences = sentences(IMPERSONAL);
    let alarms: Vec<String> = sentences
        .iter()
        .filter(|(_, sentence)| !find(sentence).is_empty())
        .map(|(language, sentence)| format!("{language} {sentence}: {}", scrub(sentence, &mut Counts::default())))
        .collect();
    let (found, of) = (alarms.len(), sentences.len());
    assert!(found * 100 <= of, "false alarms: {found} of {of}\n{}", alarms.join("\n"));
}
