//! Whether a quote is open, byte by byte: said of lines that are too long to be held, by the rules of [`super::separated`].

use super::Dialect;

/// Where in a record one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    FieldStart,
    Plain,
    Quoted,
    /// Within quotes, behind an escape.
    Escaped,
    /// Behind a quote that closes, unless it is doubled.
    Closed,
    /// Behind a carriage return, which a line's end must follow.
    Return,
    /// The record is over or broken: no quote means anything up to the line's end.
    Over,
}

/// A record that is looked through.
#[derive(Debug)]
pub(super) struct Quotes {
    delimiter: u8,
    quote: u8,
    escape: u8,
    at: At,
}

impl Quotes {
    /// At a record's start. None: quotes are text.
    pub(super) fn new(dialect: Dialect) -> Option<Self> {
        let Dialect { delimiter, quote, escape } = dialect;
        let quote = quote?;
        Some(Quotes { delimiter, quote, escape: escape.unwrap_or(quote), at: At::FieldStart })
    }

    /// Looks through what comes next.
    pub(super) fn see(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.at = match self.at {
                At::Quoted if *byte == self.quote => At::Closed,
                At::Quoted if *byte == self.escape => At::Escaped,
                At::Closed if *byte == self.quote && self.escape == self.quote => At::Quoted,
                At::Quoted | At::Escaped => At::Quoted,
                At::FieldStart if *byte == self.quote => At::Quoted,
                At::FieldStart | At::Plain | At::Closed if *byte == self.delimiter => At::FieldStart,
                At::FieldStart | At::Plain | At::Closed if *byte == b'\r' => At::Return,
                At::FieldStart | At::Plain if *byte != b'\n' => At::Plain,
                _ => At::Over,
            }
        }
    }

    /// Whether a quote is open.
    pub(super) fn open(&self) -> bool {
        matches!(self.at, At::Quoted | At::Escaped)
    }
}
