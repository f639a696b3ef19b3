//! Words: what BM25 compares of texts.

use std::borrow::Cow;
use std::fmt::{Display, Formatter};
use std::str::FromStr;

use frostem::{Algorithm, Stemmer};
use serde::{Deserialize, Serialize};
use unicode_segmentation::UnicodeSegmentation;

/// A language's Snowball stemmer, or none: `english` takes `elections` and `elected` for one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Language(Option<Algorithm>);

const NONE: &str = "none";

impl Default for Language {
    fn default() -> Self {
        Language(Some(Algorithm::English))
    }
}

impl Display for Language {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.map_or(NONE, Algorithm::name))
    }
}

impl FromStr for Language {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        if name == NONE {
            return Ok(Language(None));
        }
        Algorithm::from_name(name).map(|language| Language(Some(language))).map_err(|_| {
            let names: Vec<&str> = Algorithm::all().iter().map(|language| language.name()).collect();
            format!("expected {NONE} or one of {}", names.join(", "))
        })
    }
}

impl From<Language> for String {
    fn from(language: Language) -> Self {
        language.to_string()
    }
}

impl TryFrom<String> for Language {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        name.parse()
    }
}

impl Language {
    /// Words as they stand.
    pub const NONE: Self = Language(None);

    /// The words of a text, one after the other: as Unicode cuts them (UAX #29, as Lucene's standard tokenizer does, so that Chinese
    /// comes in single characters), in lower case, stemmed. None are left out: what is in every article weighs next to nothing.
    pub fn words(self, text: &str) -> Vec<String> {
        let stemmer = self.0.map(Stemmer::new);
        // Stemmers know one apostrophe; headlines have two.
        let text = text.to_lowercase().replace('\u{2019}', "'");
        text.unicode_words()
            .map(|word| stemmer.map_or(Cow::Borrowed(word), |stemmer| stemmer.stem(word)).into_owned())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_cut_lowered_and_stemmed() {
        let words = |text| Language::default().words(text).join(" ");
        assert_eq!(
            words("The Senate\u{2019}s ELECTED leaders; 3.5% of elections!"),
            "the senat elect leader 3.5 of elect"
        );
        assert_eq!(words("東京 news"), "東 京 news");
        assert_eq!(words(" \u{1f600} -- "), "");
        assert_eq!(Language(None).words("Elections"), ["elections"]);
        assert_eq!("german".parse::<Language>().map(|german| german.words("Wahlen")), Ok(vec!["wahl".to_owned()]));
        assert!("klingon".parse::<Language>().is_err_and(|said| said.contains("english")));
    }
}
