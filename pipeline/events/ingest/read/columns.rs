//! A file's columns: where the wanted ones are, and which there are, for messages.

use std::path::Path;

use dataset::{Error, Result};

/// Names longer than this are none.
const MAX_NAME_CHARS: usize = 64;
/// So many columns are named in a message.
const SHOWN: usize = 40;

/// The columns that a file has.
#[derive(Debug)]
pub(super) struct Columns(pub(super) Vec<String>);

impl Columns {
    /// Where the wanted columns are.
    ///
    /// # Errors
    /// The first one that is not there, or is there twice; with the columns that there are.
    pub(super) fn positions(&self, path: &Path, wanted: &[&str]) -> Result<Vec<usize>> {
        wanted.iter().map(|name| self.position(path, name)).collect()
    }

    fn position(&self, path: &Path, name: &str) -> Result<usize> {
        let mut found = (0..self.0.len()).filter(|i| self.0[*i] == name);
        match (found.next(), found.next()) {
            (Some(at), None) => Ok(at),
            (Some(_), Some(_)) => {
                let what = format!("expected one column {name:?}, got several of that name");
                Err(Error::unreadable(path.display(), what, "give its columns other names"))
            }
            (None, _) => Err(self.missing(path, name)),
        }
    }

    fn missing(&self, path: &Path, name: &str) -> Error {
        let what = format!("expected a column {name:?}, got {}", self.shown());
        let hint = match self.named() {
            true => "mend the mapping in the configuration",
            false => "is the first line no header? Then name the columns in `columns`; or is the delimiter another?",
        };
        Error::unreadable(path.display(), what, hint)
    }

    /// The columns in words. Without a header line they would be what people wrote, so they are named only if all of them look like names.
    fn shown(&self) -> String {
        let count = self.0.len();
        match (self.named(), count > SHOWN) {
            (true, false) => self.0.join(", "),
            (true, true) => format!("{} and {} others", self.0[..SHOWN].join(", "), count - SHOWN),
            (false, _) => format!("{count} that do not look like names"),
        }
    }

    fn named(&self) -> bool {
        !self.0.is_empty() && self.0.iter().all(|name| looks_like_a_name(name))
    }

    /// The columns, if all of them look like names.
    pub(super) fn names(&self) -> Vec<String> {
        if self.named() { self.0.clone() } else { Vec::new() }
    }
}

/// Whether this is how people name columns, and nothing that a row would hold: a letter, then letters, digits and a few marks.
pub(super) fn looks_like_a_name(name: &str) -> bool {
    let mark = |c: char| matches!(c, '_' | '-' | '.' | ' ' | '(' | ')' | '/' | ':' | '$');
    let starts = name.starts_with(|c: char| c.is_alphabetic() || c == '_' || c == '$');
    starts && name.chars().count() <= MAX_NAME_CHARS && name.chars().all(|c| c.is_alphanumeric() || mark(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(names: &[&str]) -> Columns {
        Columns(names.iter().map(|name| (*name).to_owned()).collect())
    }

    #[test]
    fn a_missing_column_is_named_beside_those_there_are() {
        let path = Path::new("log.csv");
        let error = columns(&["uid", "at"]).positions(path, &["uid", "time"]).expect_err("no time").to_string();
        assert!(error.contains("log.csv: expected a column \"time\", got uid, at\nhint: mend the mapping"), "{error}");
        let error = columns(&["uid", "uid"]).positions(path, &["uid"]).expect_err("twice").to_string();
        assert!(error.contains("several of that name"), "{error}");
    }

    #[test]
    fn what_people_wrote_is_not_shown() {
        let row = columns(&["u1", "2025-11-30T10:00:00Z", "my secret"]);
        let error = row.positions(Path::new("log.csv"), &["user"]).expect_err("no header").to_string();
        assert!(error.contains("got 3 that do not look like names") && !error.contains("secret"), "{error}");
        assert!(error.contains("name the columns in `columns`"), "{error}");
        assert!(!looks_like_a_name("ann@example.org") && looks_like_a_name("Zugriffszeit (UTC)"));
    }
}
