//! Which bytes may follow in a JSON list of queries, `["…", "…"]`: an automaton over bytes, of few states.
//!
//! It knows no token and no text, so that what is allowed after a state can be kept ([`super::grammar`]). It leaves to the rule of lists what
//! depends on a query's text: other queries, words without blanks between them, marks beyond ASCII.

use crate::list::ListRule;

/// Where in the list the output is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum At {
    /// Before the bracket.
    Start,
    /// A quote comes next.
    Quote,
    /// After a comma: a space or a quote.
    Gap,
    /// A blank, before a query.
    Blank,
    /// In a query.
    Inside,
    /// After a query.
    After,
    /// After the closing bracket.
    End,
}

/// What may be said of a query's next token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Length {
    /// Anything.
    Free,
    /// The word may go on, no other may begin.
    LastWord,
    /// The query must end.
    Close,
}

/// What of a query stands behind its last blank.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Piece {
    /// Nothing.
    None,
    /// No letter or digit yet.
    Marks,
    /// A word.
    Word,
}

/// What the current UTF-8 character still needs: so many bytes, the next of them in this range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Rest {
    bytes: u8,
    low: u8,
    high: u8,
}

/// All that decides which tokens are allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct State {
    pub(super) at: At,
    /// Whether another query comes after the current one, or the one that just ended.
    pub(super) more: bool,
    /// Words between blanks.
    pub(super) words: usize,
    pub(super) piece: Piece,
    /// Whether the query has a character of three bytes or more, and so perhaps words without blanks between them: then the rule itself
    /// says when it may end.
    pub(super) wide: bool,
    pub(super) rest: Option<Rest>,
    pub(super) length: Length,
}

/// What may follow, by a rule of lists.
#[derive(Debug)]
pub(super) struct Automaton {
    pub(super) rule: ListRule,
    /// Whether a blank stands before each query, inside its quotes.
    pub(super) blank: bool,
}

impl State {
    /// Before a list.
    pub(super) const START: State = State {
        at: At::Start,
        more: true,
        words: 0,
        piece: Piece::None,
        wide: false,
        rest: None,
        length: Length::Free,
    };
}

impl Automaton {
    /// The state after one more byte, if it may come.
    pub(super) fn step(&self, state: State, byte: u8) -> Option<State> {
        let fresh = State { words: 0, piece: Piece::None, wide: false, rest: None, length: Length::Free, ..state };
        let at = |at: At| Some(State { at, ..fresh });
        match (state.at, byte) {
            (At::Start, b'[') => at(At::Quote),
            (At::Quote | At::Gap, b'"') => at(if self.blank { At::Blank } else { At::Inside }),
            (At::Blank, b' ') => at(At::Inside),
            (At::Gap, b' ') => at(At::Quote),
            (At::After, b',') if state.more => at(At::Gap),
            (At::After, b']') if !state.more => at(At::End),
            (At::Inside, _) => self.inside(state, byte),
            _ => None,
        }
    }

    fn inside(&self, state: State, byte: u8) -> Option<State> {
        let State { words, piece, rest, length, wide, .. } = state;
        if let Some(Rest { bytes, low, high }) = rest {
            let rest = (bytes > 1).then_some(Rest { bytes: bytes - 1, low: 0x80, high: 0xbf });
            return (low..=high).contains(&byte).then_some(State { rest, ..state });
        }
        // A query that must end ends, unless it has too few words: then one more begins.
        let enough = words >= self.rule.min_words;
        let word = |bytes: u8, low: u8, high: u8| {
            let words = if piece == Piece::Word { words } else { words + 1 };
            let (fits, length) = match length {
                // The token that begins the missing word may bring more than its first letter.
                Length::Close => (piece != Piece::Word && !enough, Length::LastWord),
                // Near its end a query that has too few words begins another.
                Length::LastWord => (words <= self.rule.max_words && (enough || piece != Piece::Word), length),
                Length::Free => (words <= self.rule.max_words, length),
            };
            let rest = (bytes > 0).then_some(Rest { bytes, low, high });
            fits.then_some(State { words, piece: Piece::Word, wide: wide || bytes > 1, rest, length, ..state })
        };
        match byte {
            b'"' => (piece != Piece::None && (enough || wide)).then_some(State {
                at: At::After,
                words: 0,
                piece: Piece::None,
                wide: false,
                length: Length::Free,
                ..state
            }),
            b' ' => (piece != Piece::None && words < self.rule.max_words && (length == Length::Free || !enough))
                .then_some(State { piece: Piece::None, ..state }),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => word(0, 0, 0),
            b'\\' | b'<' | b'>' | b'[' | b']' | b'{' | b'}' => None,
            // Marks stand in words, before them, behind them, and alone.
            b'!'..=b'~' => match length {
                Length::Free => Some(State { piece: piece.max(Piece::Marks), ..state }),
                Length::LastWord => (piece != Piece::None && enough).then_some(state),
                Length::Close => None,
            },
            // The first bytes of UTF-8 characters, and what may follow each (RFC 3629).
            0xc2..=0xdf => word(1, 0x80, 0xbf),
            0xe0 => word(2, 0xa0, 0xbf),
            0xed => word(2, 0x80, 0x9f),
            0xe1..=0xef => word(2, 0x80, 0xbf),
            0xf0 => word(3, 0x90, 0xbf),
            0xf1..=0xf3 => word(3, 0x80, 0xbf),
            0xf4 => word(3, 0x80, 0x8f),
            _ => None,
        }
    }
}
