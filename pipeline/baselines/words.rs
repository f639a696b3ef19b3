//! The words of titles, searches and visited pages, as NRHUB reads them, and of searches and visits the others across domains.
//!
//! A word is known if an article from before the cut-off has it in its title; its vector is the mean of the vectors of those articles, less the
//! mean over all of them. So words come with what the encoder knows of the news, as the authors' come from GloVe, a word that is in every
//! title says next to nothing, and nothing from after the cut-off is seen. They are not trained; the layer above them is.

use std::collections::{BTreeMap, HashMap};

use dataset::{Result, Whole};
use news::{Language, Pool, Vectors};
use schemas::News;

/// Words of a text that are read.
const LONGEST: usize = 30;
/// The number of words that are not known. Their vector is 0.
pub(crate) const UNKNOWN: u32 = 0;

/// Texts as the numbers of their words. None is empty: a text without known words is one that is not known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Texts {
    words: Vec<u32>,
    ends: Vec<usize>,
}

impl Texts {
    /// Adds a text.
    pub fn push(&mut self, words: &[u32]) {
        self.words.extend(if words.is_empty() { &[UNKNOWN] } else { words });
        self.ends.push(self.words.len());
    }

    /// The words of one text.
    pub fn get(&self, text: usize) -> &[u32] {
        let start = text.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.words[start..self.ends[text]]
    }

    /// Number of texts.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Bytes in memory.
    pub(crate) fn memory_bytes(&self) -> u64 {
        (4 * self.words.len() + 8 * self.ends.len()) as u64
    }
}

/// The known words, and the titles of all articles in them.
#[derive(Debug, Clone)]
pub struct Vocabulary {
    pub(crate) numbers: HashMap<String, u32>,
    /// `[words, dimensions]`; the first is `UNKNOWN`.
    pub vectors: Vectors,
    /// By the articles' numbers.
    pub titles: Texts,
}

impl Vocabulary {
    /// Reads the titles of `news`. `all` numbers the articles, whose vectors are given; `before` are those from before the cut-off.
    pub(crate) fn read(news: &Whole<News>, all: &Pool, vectors: &Vectors, before: &Pool) -> Result<Self> {
        let mut titles = vec![String::new(); all.len()];
        for part in news.parts() {
            for batch in part?.batches() {
                let (ids, title) = (News::news_id.of(batch)?, News::title.of(batch)?);
                for row in 0..batch.num_rows() {
                    if let Some(number) = all.number(ids.value(row)) {
                        titles[number as usize] = title.value(row).to_owned();
                    }
                }
            }
        }
        let known: Vec<u32> = before.ids().iter().filter_map(|id| all.number(id)).collect();
        Ok(Self::of(&titles, vectors, &known))
    }

    /// From the titles and vectors of all articles. `known`: those from before the cut-off, ascending.
    pub fn of(titles: &[String], vectors: &Vectors, known: &[u32]) -> Self {
        let dimensions = vectors.dimensions();
        let mut sums: BTreeMap<String, (Vec<f64>, f64)> = BTreeMap::new();
        let mut all = (vec![0.0; dimensions], 0.0);
        let add = |(sum, count): &mut (Vec<f64>, f64), vector: &[f32]| {
            sum.iter_mut().zip(vector).for_each(|(sum, x)| *sum += f64::from(*x));
            *count += 1.0;
        };
        for &article in known {
            let vector = vectors.get(article as usize);
            add(&mut all, vector);
            let mut words = cut(&titles[article as usize]);
            words.sort_unstable();
            words.dedup();
            for word in words {
                add(sums.entry(word).or_insert_with(|| (vec![0.0; dimensions], 0.0)), vector);
            }
        }
        let mut values = vec![0.0; dimensions];
        let mut numbers = HashMap::new();
        for (number, (word, (sum, count))) in (1..).zip(sums) {
            let centred = sum.iter().zip(&all.0).map(|(sum, all_sum)| (sum / count - all_sum / all.1) as f32);
            values.extend(centred);
            numbers.insert(word, number);
        }
        let mut vocabulary =
            Vocabulary { numbers, vectors: Vectors::new(dimensions, values), titles: Texts::default() };
        let mut read = Texts::default();
        titles.iter().for_each(|title| read.push(&vocabulary.words(title)));
        vocabulary.titles = read;
        vocabulary
    }

    /// The known words of a text, in order.
    pub fn words(&self, text: &str) -> Vec<u32> {
        cut(text).iter().filter_map(|word| self.numbers.get(word).copied()).take(LONGEST).collect()
    }

    /// Bytes in memory.
    pub(crate) fn memory_bytes(&self) -> u64 {
        let words: usize = self.numbers.keys().map(|word| word.capacity() + size_of::<(String, u32)>()).sum();
        (words + 4 * self.vectors.values().len()) as u64 + self.titles.memory_bytes()
    }
}

/// A text's words as they stand: authors do not stem.
fn cut(text: &str) -> Vec<String> {
    Language::NONE.words(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_from_before_the_cut_off_and_mean_what_their_articles_do() {
        let titles = ["Rain in Oslo", "rain, rain!", "Sun in Rome", ""].map(str::to_owned);
        let vectors = Vectors::new(2, vec![1.0, 0.0, 0.0, 1.0, 0.5, 0.5, 9.0, 9.0]);
        let vocabulary = Vocabulary::of(&titles, &vectors, &[0, 1]);
        // in, oslo, rain: in the order of the words.
        assert_eq!(vocabulary.words("RAIN in Rome, oslo"), [3, 1, 2]);
        assert_eq!(vocabulary.vectors.values(), [0.0, 0.0, 0.5, -0.5, 0.5, -0.5, 0.0, 0.0]);
        let read: Vec<&[u32]> = (0..4).map(|title| vocabulary.titles.get(title)).collect();
        assert_eq!(read, [&[3, 1, 2][..], &[3, 3], &[1], &[UNKNOWN]]);
        assert_eq!(vocabulary.words(&"rain ".repeat(99)).len(), LONGEST);
    }
}
