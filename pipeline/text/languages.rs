//! Which languages texts are in, as far as trigrams and letters tell.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use whatlang::Lang;

/// Texts are put together until they have so many characters: a query alone says too little.
const CHARACTERS: usize = 160;
/// Languages of a smaller share are not worth a word.
const WORTH_NAMING: f64 = 0.05;

/// How many pieces of some texts are in which language (ISO 639-3), of those of which it can be told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Languages(BTreeMap<String, u64>);

impl Languages {
    /// Those of some texts. Texts that lie together are taken for texts of one language.
    pub fn of<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        let (mut languages, mut piece) = (Languages::default(), String::new());
        for text in texts {
            piece.push_str(text);
            piece.push_str(". ");
            if piece.chars().count() >= CHARACTERS {
                languages.add(&piece);
                piece.clear();
            }
        }
        languages.add(&piece);
        languages
    }

    fn add(&mut self, piece: &str) {
        if let Some(info) = whatlang::detect(piece).filter(whatlang::Info::is_reliable) {
            *self.0.entry(info.lang().code().to_owned()).or_default() += 1;
        }
    }

    /// Pieces whose language can be told.
    pub fn told(&self) -> u64 {
        self.0.values().sum()
    }

    /// Those worth naming, with their shares, the most frequent first.
    pub fn main(&self) -> Vec<(&str, f64)> {
        let told = self.told().max(1) as f64;
        let mut main: Vec<(&str, f64)> = self.0.iter().map(|(code, n)| (code.as_str(), *n as f64 / told)).collect();
        main.retain(|(_, share)| *share >= WORTH_NAMING);
        main.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(b.0)));
        main
    }

    /// The share of the pieces that are in a language worth naming of others.
    pub fn share_in(&self, others: &Languages) -> f64 {
        let theirs = others.main();
        let known = |code: &str| theirs.iter().any(|(theirs, _)| *theirs == code);
        let shared: u64 = self.0.iter().filter(|(code, _)| known(code)).map(|(_, n)| n).sum();
        shared as f64 / self.told().max(1) as f64
    }
}

/// `English 97%, German 3%`.
impl fmt::Display for Languages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name =
            |code: &str| Lang::from_code(code).map_or_else(|| code.to_owned(), |lang| lang.eng_name().to_owned());
        let named: Vec<String> =
            self.main().into_iter().map(|(code, share)| format!("{} {:.0}%", name(code), 100.0 * share)).collect();
        f.write_str(if named.is_empty() { "no language that can be told" } else { "" })?;
        f.write_str(&named.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENGLISH: [&str; 6] = [
        "what the election means for the region",
        "five questions about the comet",
        "how to prune an old apple tree",
        "ferry times on the weekend",
        "why the orchestra is on strike again",
        "the best walks along the coast",
    ];
    const GERMAN: [&str; 6] = [
        "was die Wahl für die Region bedeutet",
        "fünf Fragen zum Kometen",
        "wie man einen alten Apfelbaum schneidet",
        "Fahrzeiten der Fähre am Wochenende",
        "warum das Orchester wieder streikt",
        "die schönsten Wege an der Küste",
    ];

    #[test]
    fn short_texts_tell_their_language_together() {
        let english = Languages::of(ENGLISH.into_iter().cycle().take(60));
        let german = Languages::of(GERMAN.into_iter().cycle().take(60));
        assert_eq!((english.to_string(), german.to_string()), ("English 100%".into(), "German 100%".into()));
        assert!(english.told() >= 8, "{english:?}");
        assert_eq!((german.share_in(&english), german.share_in(&german)), (0.0, 1.0));
        let both = Languages::of(ENGLISH.into_iter().cycle().take(60).chain(GERMAN.into_iter().cycle().take(60)));
        assert!(both.main().len() == 2 && german.share_in(&both) == 1.0, "{both}");
        for nothing in [&[][..], &["12345", "https://x.example/1", "N1 N2 N3"]] {
            let told = Languages::of(nothing.iter().copied());
            assert_eq!((told.told(), told.to_string()), (0, "no language that can be told".into()));
        }
    }
}
