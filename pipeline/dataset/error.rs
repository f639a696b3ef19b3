//! The one error type: what happened, where, what to do, and how a scheduler should take it.

use std::fmt::Display;
use std::path::Path;

/// Result of everything here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// How a scheduler should take a failure: the process's exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It may well succeed when it is run again: the disk, the network, another run that was first.
    Retry = 1,
    /// A flag, a setting or the set-up is wrong.
    Usage = 2,
    /// Data breaks its contract.
    Data = 3,
}

/// The few failures that callers tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A dataset or raw file is not there (yet).
    Missing,
    /// Another run committed first.
    Conflict,
    /// A sharded run is not complete.
    Incomplete,
    /// The reader of our output has gone.
    BrokenPipe,
    /// Any other.
    Other,
}

/// What went wrong: one message, lower case, and a hint that says what to do.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    exit: Exit,
    kind: Kind,
    what: String,
    hint: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", plain(&self.0.what))?;
        if !self.0.hint.is_empty() {
            write!(f, "\nhint: {}", plain(&self.0.hint))?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|source| source.as_ref() as _)
    }
}

/// A text for a terminal: names of files, logs and articles come from outside, and must not steer it.
pub fn plain(text: &str) -> String {
    let shown = |c: char| if c.is_control() && c != '\n' { '\u{fffd}' } else { c };
    text.chars().map(shown).collect()
}

impl Error {
    /// An error of any kind.
    pub fn new(exit: Exit, what: impl Display, hint: impl Display) -> Self {
        let inner = Inner { exit, kind: Kind::Other, what: what.to_string(), hint: hint.to_string(), source: None };
        Error(Box::new(inner))
    }

    /// The same error, told apart by its kind.
    pub fn of_kind(mut self, kind: Kind) -> Self {
        self.0.kind = kind;
        self
    }

    /// The same error, with what caused it.
    pub fn because(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.0.source = Some(Box::new(source));
        self
    }

    /// The same error, said to have happened while something larger was done.
    pub fn during(mut self, what: impl Display) -> Self {
        self.0.what = format!("{what}: {}", self.0.what);
        self
    }

    /// The process's exit code.
    pub fn exit_code(&self) -> u8 {
        self.0.exit as u8
    }

    /// What callers tell apart.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// Worth retrying.
    pub fn retry(what: impl Display, hint: impl Display) -> Self {
        Self::new(Exit::Retry, what, hint)
    }

    /// Wrong usage: `what` says all of it.
    pub fn usage(what: impl Display, hint: impl Display) -> Self {
        Self::new(Exit::Usage, what, hint)
    }

    /// A setting makes no sense.
    pub fn setting(setting: &str, expected: impl Display, got: impl Display, hint: impl Display) -> Self {
        Self::usage(format!("{setting}: expected {expected}, got {got}"), hint)
    }

    /// A file or dataset is not what it should be.
    pub fn unreadable(path: impl Display, what: impl Display, hint: impl Display) -> Self {
        Self::new(Exit::Data, format!("{path}: {what}"), hint)
    }

    /// The system failed on a local file.
    pub fn io(path: impl Display, source: std::io::Error) -> Self {
        let kind = match source.kind() {
            std::io::ErrorKind::BrokenPipe => Kind::BrokenPipe,
            _ => Kind::Other,
        };
        let hint = "mend the cause, then run again: what was finished is kept";
        Self::retry(format!("{path}: {source}"), hint).of_kind(kind).because(source)
    }

    /// The system failed on a local file or folder: what [`Error::io`] makes of its error.
    pub fn at(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        |source| Error::io(path.display(), source)
    }

    /// The store failed: network, permission.
    pub fn store(path: impl Display, source: object_store::Error) -> Self {
        let hint = "free space or mend the store, then run again: what was finished is kept";
        Self::retry(format!("{path}: {source}"), hint).because(source)
    }

    /// Arrow or Parquet refused something that our own code made.
    pub fn arrow(what: impl Display) -> impl FnOnce(arrow::error::ArrowError) -> Self {
        let what = what.to_string();
        move |source| {
            let hint = "this is a bug, unless memory or disk ran out; committed versions are whole";
            Self::retry(format!("{what}: {source}"), hint).because(source)
        }
    }

    /// A bug of ours, found before it did harm.
    pub fn bug(what: impl Display) -> Self {
        Self::new(Exit::Data, what, "this is a bug; committed versions are whole")
    }
}

impl From<std::io::Error> for Error {
    /// Only of writing to a terminal or pipe: files have paths to be named.
    fn from(source: std::io::Error) -> Self {
        Self::io("standard output", source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_and_what_to_do_and_steers_no_terminal() {
        let error = Error::setting("--x", "a number", "\u{1b}[2Jnine", "such as 9");
        assert_eq!(error.to_string(), "--x: expected a number, got \u{fffd}[2Jnine\nhint: such as 9");
        assert_eq!(error.exit_code(), 2);
    }
}
