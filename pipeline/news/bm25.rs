//! BM25 over a pool's articles, by Lucene's formula:
//!
//! ```text
//! score(q, a) = Σ over the words w of q:  idf(w) · tf / (tf + k1 · (1 - b + b · |a| / mean |a|)),
//! idf(w) = ln(1 + (N - n + 0.5) / (n + 0.5)),    k1 = 1.2,  b = 0.75
//! ```
//!
//! tf: how often w is in a; |a|: words of a; n: articles with w; N: all articles. A word that a query has twice counts twice.
//!
//! Each word's part of each article's score is computed when the index is built, so that a search adds numbers up (Lù 2024, "BM25S"), in
//! the order of the query's words: a score is the same bits for any number of threads, whatever else is searched for, and for any k. That
//! is why this is not tantivy: it keeps an article's length in one byte (41 words count as 40), so its scores are not those of the formula,
//! and adds up in an order that depends on the articles that it could skip, so on k.

use std::collections::HashMap;
use std::ops::Range;

use rayon::prelude::*;

use crate::Hit;
use crate::words::Language;

const K1: f64 = 1.2;
const B: f64 = 0.75;
/// Articles whose words are in memory at once.
const TOGETHER: usize = 4096;

/// An index of words.
#[derive(Debug)]
pub struct Bm25 {
    language: Language,
    /// Numbers of words.
    words: HashMap<String, u32>,
    /// Where each word's articles start, `[words + 1]`.
    starts: Vec<usize>,
    /// Articles by word, ascending.
    articles: Vec<u32>,
    /// The word's part of the article's score.
    scores: Vec<f32>,
    /// Articles that there are.
    pool: usize,
}

/// The best of what is offered.
struct Best {
    k: usize,
    /// What is below it is not among them. Above 0 from the start: no word in common is no hit.
    floor: f32,
    kept: Vec<Hit>,
}

impl Best {
    fn offer(&mut self, article: u32, score: f32) {
        if score >= self.floor {
            self.kept.push(Hit { article, score });
            if self.kept.len() >= self.k.saturating_mul(4).max(256) {
                self.tighten();
                self.floor = self.kept.last().map_or(self.floor, |worst| worst.score);
            }
        }
    }

    /// Leaves the k best, the last of them last.
    fn tighten(&mut self) {
        if (1..self.kept.len()).contains(&self.k) {
            self.kept.select_nth_unstable_by(self.k - 1, Hit::best_first);
        }
        self.kept.truncate(self.k);
    }

    fn settle(mut self) -> Vec<Hit> {
        self.tighten();
        self.kept.sort_unstable_by(Hit::best_first);
        self.kept
    }
}

/// That an article has a word.
struct Posting {
    word: u32,
    article: u32,
    times: u32,
}

impl Bm25 {
    /// Indexes texts: the article with number i is `texts[i]`.
    pub fn build<S: AsRef<str> + Sync>(texts: &[S], language: Language) -> Self {
        let mut words: HashMap<String, u32> = HashMap::new();
        let mut postings: Vec<Posting> = Vec::new();
        let mut lengths: Vec<usize> = Vec::with_capacity(texts.len());
        let mut times: HashMap<u32, u32> = HashMap::new();
        for texts in texts.chunks(TOGETHER) {
            let cut: Vec<Vec<String>> = texts.par_iter().map(|text| language.words(text.as_ref())).collect();
            for of_article in cut {
                let article = lengths.len() as u32;
                lengths.push(of_article.len());
                for word in of_article {
                    let new = words.len() as u32;
                    *times.entry(*words.entry(word).or_insert(new)).or_default() += 1;
                }
                postings.extend(times.drain().map(|(word, times)| Posting { word, article, times }));
            }
        }
        postings.sort_unstable_by_key(|posting| (posting.word, posting.article));
        let mean = lengths.iter().sum::<usize>() as f64 / lengths.len().max(1) as f64;
        let (mut starts, mut articles, mut scores) = (vec![0], Vec::new(), Vec::new());
        for of_word in postings.chunk_by(|a, b| a.word == b.word) {
            let (all, having) = (texts.len() as f64, of_word.len() as f64);
            let idf = (1.0 + (all - having + 0.5) / (having + 0.5)).ln();
            for &Posting { article, times, .. } in of_word {
                let (tf, length) = (f64::from(times), lengths[article as usize] as f64);
                articles.push(article);
                scores.push((idf * tf / (tf + K1 * (1.0 - B + B * length / mean))) as f32);
            }
            starts.push(articles.len());
        }
        Bm25 { language, words, starts, articles, scores, pool: texts.len() }
    }

    /// The best `ks[i]` articles for each query, best first: those that have any of its words.
    pub fn search(&self, queries: &[&str], ks: &[usize]) -> Vec<Vec<Hit>> {
        let mut scores = vec![0.0_f32; self.pool];
        queries.iter().zip(ks).map(|(query, &k)| self.best(query, k, &mut scores)).collect()
    }

    /// The best for one query. `scores`: 0 for every article, and again so in the end.
    fn best(&self, query: &str, k: usize, scores: &mut [f32]) -> Vec<Hit> {
        let words = self.language.words(query);
        let numbers = words.iter().filter_map(|word| self.words.get(word).map(|&word| word as usize));
        let having: Vec<Range<usize>> = numbers.map(|word| self.starts[word]..self.starts[word + 1]).collect();
        for of_word in &having {
            for (&article, &score) in self.articles[of_word.clone()].iter().zip(&self.scores[of_word.clone()]) {
                scores[article as usize] += score;
            }
        }
        let mut best = Best { k, floor: f32::MIN_POSITIVE, kept: Vec::new() };
        if having.iter().map(Range::len).sum::<usize>() > self.pool / 4 {
            (0..).zip(scores.iter()).for_each(|(article, &score)| best.offer(article, score));
            scores.fill(0.0);
        } else {
            for &article in having.into_iter().flat_map(|of_word| &self.articles[of_word]) {
                best.offer(article, std::mem::take(&mut scores[article as usize]));
            }
        }
        best.settle()
    }

    /// Bytes in memory.
    pub(crate) fn memory_bytes(&self) -> u64 {
        let words: usize = self.words.keys().map(|word| word.capacity() + size_of::<(String, u32)>()).sum();
        (words + 8 * self.starts.len() + 8 * self.articles.len()) as u64
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Golden {
        articles: Vec<String>,
        queries: Vec<String>,
        /// `[queries · articles]`.
        scores: Vec<Vec<f64>>,
    }

    #[test]
    fn scores_are_those_of_bm25s_by_lucene_s_formula() {
        let golden: Golden = serde_json::from_str(include_str!("../../fixtures/bm25.json")).expect("a golden");
        let index = Bm25::build(&golden.articles, Language::default());
        let queries: Vec<&str> = golden.queries.iter().map(String::as_str).collect();
        let found = index.search(&queries, &vec![usize::MAX; queries.len()]);
        for ((query, expected), hits) in queries.iter().zip(&golden.scores).zip(found) {
            assert_eq!(hits.len(), expected.iter().filter(|score| **score > 0.0).count(), "{query}");
            for Hit { article, score } in hits {
                let expected = expected[article as usize];
                assert!(
                    (f64::from(score) - expected).abs() < 1e-6 * expected,
                    "{query}, {article}: {score}, {expected}"
                );
            }
        }
    }

    #[test]
    fn of_equally_good_articles_the_greater_number_comes_first() {
        let index = Bm25::build(&["rain", "sun", "rain", "rain"], Language::default());
        let numbers = |k| index.search(&["rain"], &[k])[0].iter().map(|hit| hit.article).collect::<Vec<_>>();
        assert_eq!((numbers(9), numbers(2), numbers(0)), (vec![3, 2, 0], vec![3, 2], vec![]));
        assert!(Bm25::build(&[""; 0], Language::default()).search(&["rain"], &[3])[0].is_empty());
    }

    fn texts(longest: usize, count: usize) -> impl Strategy<Value = Vec<String>> {
        let word = prop_oneof![Just("rain"), Just("sun"), Just("snow"), Just("wind"), Just("elections"), Just("goal")];
        let text = proptest::collection::vec(word, 0..longest).prop_map(|words| words.join(" "));
        proptest::collection::vec(text, 1..count)
    }

    proptest! {
        #[test]
        fn a_search_finds_the_best_whatever_else_is_asked(articles in texts(60, 40), queries in texts(5, 8), k in 0_usize..12) {
            let index = Bm25::build(&articles, Language::default());
            let queries: Vec<&str> = queries.iter().map(String::as_str).collect();
            let found = index.search(&queries, &vec![k; queries.len()]);
            for (query, found) in queries.iter().zip(found) {
                let mut all = index.search(&[query], &[usize::MAX]).remove(0);
                prop_assert!(all.is_sorted_by(|a, b| Hit::best_first(a, b).is_lt()));
                all.truncate(k);
                prop_assert_eq!(found, all);
            }
        }
    }
}
