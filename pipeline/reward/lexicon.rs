//! Specificity: whether a query says something in particular.
//!
//! A query is specific when it has enough content words, and the news knows one of them. A content word is none of grammar, none of a section
//! or platform (`lexicon.toml`), and in few articles: its inverse document frequency `ln(N / df)` is at least `-ln(common_share)`. So stop words of
//! a language that the lexicon does not know are left out by the corpus. A word with digits counts only if the news knows it, and a bare
//! number never does; a word counts once, however often it is repeated.

use std::collections::{HashMap, HashSet};

use arrow::array::Array;
use dataset::{Error, Result, Whole};
use news::Pool;
use schemas::News;
use serde::Deserialize;
use unicode_segmentation::UnicodeSegmentation;

use crate::RewardSettings;

const LEXICON: &str = include_str!("lexicon.toml");

/// What a word is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Word {
    /// It says something: the news knows it (`articles` with it), or not (0).
    Content {
        /// Articles that have the word.
        articles: u32,
    },
    /// A word of grammar.
    Stop,
    /// The name of a section, a kind of text, filler.
    Generic,
    /// A platform, or what is done there.
    Platform,
    /// In this share of the articles: too many.
    Common(f32),
    /// A number, or a word with digits that the news does not know.
    Number,
}

/// What a query's words say.
#[derive(Debug, Clone, PartialEq)]
pub struct Wording {
    /// The distinct words, in lower case, in their order.
    pub words: Vec<(String, Word)>,
    /// Whether they say something in particular.
    pub specific: bool,
}

impl Wording {
    /// Why the query is not specific, in words; `None` for one that is.
    pub fn why_generic(&self) -> Option<String> {
        if self.specific {
            return None;
        }
        let say = |(word, is): &(String, Word)| match is {
            Word::Content { articles: 0 } => format!("{word}: in no article"),
            Word::Content { articles } => format!("{word}: content, in {articles} articles"),
            Word::Stop => format!("{word}: grammar"),
            Word::Generic => format!("{word}: section or filler"),
            Word::Platform => format!("{word}: platform"),
            Word::Common(share) => format!("{word}: in {:.0}% of the articles", 100.0 * share),
            Word::Number => format!("{word}: number"),
        };
        let words: Vec<String> = self.words.iter().map(say).collect();
        Some(if words.is_empty() { "no words".into() } else { words.join("; ") })
    }
}

/// The lexicon, and how many articles have each word.
#[derive(Debug, Clone)]
pub struct Lexicon {
    listed: HashMap<String, Word>,
    /// Articles by word.
    frequencies: HashMap<String, u32>,
    articles: u32,
    /// A word in more articles is too common.
    most: u32,
    /// Content words of a specific query, at least.
    least_words: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    stop: String,
    generic: String,
    platform: String,
}

impl Lexicon {
    /// The lexicon for articles with these texts.
    pub fn new<T: AsRef<str>>(texts: impl IntoIterator<Item = T>, settings: &RewardSettings) -> Result<Self> {
        let mut lexicon = Self::empty(settings)?;
        texts.into_iter().for_each(|text| lexicon.count(text.as_ref()));
        Ok(lexicon.counted(settings))
    }

    /// The lexicon for the titles and abstracts of a pool's articles.
    pub(crate) fn of(news: &Whole<News>, pool: &Pool, settings: &RewardSettings) -> Result<Self> {
        let mut lexicon = Self::empty(settings)?;
        for part in news.parts() {
            for batch in part?.batches() {
                let (ids, titles) = (News::news_id.of(batch)?, News::title.of(batch)?);
                let abstracts = News::r#abstract.of(batch)?;
                for row in (0..batch.num_rows()).filter(|&row| pool.number(ids.value(row)).is_some()) {
                    let more = if abstracts.is_valid(row) { abstracts.value(row) } else { "" };
                    lexicon.count(&format!("{}\n{more}", titles.value(row)));
                }
            }
        }
        Ok(lexicon.counted(settings))
    }

    fn empty(settings: &RewardSettings) -> Result<Self> {
        let file: File = toml::from_str(LEXICON).map_err(|e| Error::bug(format!("lexicon.toml: {e}")))?;
        let mut listed = HashMap::new();
        for (words, is) in [(file.generic, Word::Generic), (file.platform, Word::Platform), (file.stop, Word::Stop)] {
            listed.extend(words.split_whitespace().map(|word| (word.to_owned(), is)));
        }
        let least_words = settings.content_words;
        Ok(Lexicon { listed, frequencies: HashMap::new(), articles: 0, most: 0, least_words })
    }

    fn count(&mut self, text: &str) {
        self.articles += 1;
        for word in words(text) {
            *self.frequencies.entry(word).or_default() += 1;
        }
    }

    fn counted(self, settings: &RewardSettings) -> Self {
        // One article is never many, however few there are.
        let most = (f64::from(settings.common_share) * f64::from(self.articles)).max(1.0) as u32;
        Lexicon { most, ..self }
    }

    /// What a query's words say.
    pub fn wording(&self, query: &str) -> Wording {
        let words: Vec<(String, Word)> =
            words(query).into_iter().map(|word| (word.clone(), self.word(&word))).collect();
        let content = words.iter().filter(|(_, is)| matches!(is, Word::Content { .. })).count();
        let known = words.iter().any(|(_, is)| matches!(is, Word::Content { articles: 1.. }));
        Wording { specific: content >= self.least_words && known, words }
    }

    fn word(&self, word: &str) -> Word {
        let articles = self.frequencies.get(word).copied().unwrap_or(0);
        let digits = word.chars().any(char::is_numeric);
        match self.listed.get(word) {
            Some(listed) => *listed,
            None if !word.chars().any(char::is_alphabetic) || (digits && articles == 0) => Word::Number,
            None if articles > self.most => Word::Common(articles as f32 / self.articles as f32),
            None => Word::Content { articles },
        }
    }

    /// Bytes in memory, about.
    pub(crate) fn memory_bytes(&self) -> u64 {
        64 * (self.frequencies.len() + self.listed.len()) as u64
    }
}

/// The distinct words of a text, in lower case, in their order (Unicode's word boundaries, UAX 29).
fn words(text: &str) -> Vec<String> {
    let text = text.replace('’', "'").to_lowercase();
    let mut seen = HashSet::new();
    let of_owner = |word: &str| word.strip_suffix("'s").map_or(word.to_owned(), str::to_owned);
    text.unicode_words().map(of_owner).filter(|word| seen.insert(word.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lexicon() -> Lexicon {
        let news = [
            "Fed holds interest rates as inflation cools",
            "Rate decision: what Fed officials expect",
            "G7 leaders meet in Hiroshima",
            "Officials open the Kyoto train museum",
            "Train drivers strike, officials say",
        ];
        // More than two of five articles are many.
        let settings = RewardSettings { common_share: 0.4, ..RewardSettings::default() };
        Lexicon::new(news, &settings).expect("a lexicon")
    }

    #[test]
    fn what_is_specific() {
        let lexicon = lexicon();
        for query in ["Fed rate decision", "Hiroshima G7 leaders", "google antitrust inflation", "Kyoto’s train museum"]
        {
            assert!(lexicon.wording(query).specific, "{query}: {:?}", lexicon.wording(query));
        }
        // The paper's examples of generic queries are among them.
        for query in [
            "news",
            "sports",
            "technology",
            "YouTube",
            "Google",
            "latest technology news",
            "facebook login page",
            "",
            "inflation",
            "inflation inflation",
            "what is the inflation",
            "officials inflation",
            "inflation 2022 2023",
            "inflation 2022s 8x42",
            "qwxzy blorft",
            "top 10 best train tips",
        ] {
            assert!(!lexicon.wording(query).specific, "{query}: {:?}", lexicon.wording(query));
        }
    }

    #[test]
    fn why_a_query_is_generic() {
        let why = lexicon().wording("the latest officials inflation on YouTube 2022").why_generic();
        let expected = "the: grammar; latest: section or filler; officials: in 60% of the articles; \
                        inflation: content, in 1 articles; on: grammar; youtube: platform; 2022: number";
        assert_eq!(why.as_deref(), Some(expected));
        assert_eq!(lexicon().wording("Fed rate decision").why_generic(), None);
        assert_eq!(lexicon().wording("?!").why_generic().as_deref(), Some("no words"));
    }

    #[test]
    fn scripts_without_blanks_have_words_too() {
        let settings = RewardSettings::default();
        let lexicon = Lexicon::new(["東京で電車が遅れる", "選挙の結果"], &settings).expect("a lexicon");
        assert!(lexicon.wording("東京 電車").specific);
        assert!(!lexicon.wording("2024").specific);
    }
}
