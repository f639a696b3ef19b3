//! Scrubbing: personal data that people type into queries and that sites put into titles is replaced by a mark.
//!
//! E-mail addresses, card numbers (Luhn's checksum), IBANs (length by country, mod-97 checksum), IP addresses and phone numbers become
//! `<email>`, `<card>`, `<iban>`, `<ip>`, `<phone>`; URLs lose user names, query strings and fragments. Texts are read as if digits, dashes,
//! blanks and full-width characters of any script were ASCII. What is replaced is replaced whole, and scrubbing twice changes
//! nothing more. What a publisher wrote loses e-mail addresses only: [`scrub_published`].

mod address;
mod checks;
mod fold;
mod phone;
#[cfg(test)]
mod sentences;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::ops::Range;

use regex::Regex;

use fold::Folded;

/// Kinds of personal data, in the order of [`Counts`].
pub const KINDS: [&str; 6] = ["url", "email", "iban", "card", "ip", "phone"];
const MARKS: [&str; 6] = ["", "<email>", "<iban>", "<card>", "<ip>", "<phone>"];
const EMAIL: usize = 1;

/// How many of each kind were replaced.
pub type Counts = [u64; 6];

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a constant pattern")
}

/// Replaces personal data in what a user wrote or saw, and counts what it replaced.
pub fn scrub<'a>(text: &'a str, counts: &mut Counts) -> Cow<'a, str> {
    until_nothing_is_found(text, counts, find)
}

/// Replaces what is certain to be personal in what a publisher wrote: e-mail addresses. Numbers in news are scores, sums and dates, and phone
/// numbers there are meant to be called.
pub fn scrub_published<'a>(text: &'a str, counts: &mut Counts) -> Cow<'a, str> {
    until_nothing_is_found(text, counts, |text| {
        let hints = Hints::of(text);
        let at = hints.has(AT | PERCENT | OTHER);
        if at { Found::new(text, &hints).claim(EMAIL, address::emails).spans } else { Vec::new() }
    })
}

/// Replaces what `find` finds in a text, and then in what that left. Every replacement takes a digit, an at sign or a piece of a URL, and
/// adds none, so that this ends.
fn until_nothing_is_found<'a>(
    text: &'a str,
    counts: &mut Counts,
    find: impl Fn(&str) -> Vec<(Range<usize>, usize)>,
) -> Cow<'a, str> {
    let mut text = Cow::Borrowed(text);
    loop {
        let mut spans = find(&text);
        if spans.is_empty() {
            return text;
        }
        spans.sort_unstable_by_key(|(range, _)| range.start);
        let (mut scrubbed, mut done) = (String::with_capacity(text.len()), 0);
        for (range, kind) in spans {
            counts[kind] += 1;
            scrubbed.push_str(&text[done..range.start]);
            scrubbed.push_str(MARKS[kind]);
            done = range.end;
        }
        scrubbed.push_str(&text[done..]);
        text = Cow::Owned(scrubbed);
    }
}

/// Ranges of a text that hold personal data, with their kinds; no two overlap.
fn find(text: &str) -> Vec<(Range<usize>, usize)> {
    let hints = Hints::of(text);
    if !hints.any() {
        return Vec::new();
    }
    let mut found = Found::new(text, &hints);
    let hints = if found.text.text().len() == text.len() { hints } else { Hints::of(found.text.text()) };
    if hints.has_query() || (hints.has(AT) && hints.colons > 0) {
        found = found.claim(0, address::url_secrets);
    }
    if hints.has(AT) {
        found = found.claim(EMAIL, address::emails);
    }
    if hints.digits >= 7 {
        found = found.claim(2, checks::ibans);
    }
    if hints.digits >= 13 {
        found = found.hide(checks::isbns).claim(3, checks::cards);
    }
    if hints.colons >= 2 {
        found = found.claim(4, address::ipv6);
    }
    if hints.has_ipv4() {
        found = found.claim(4, address::ipv4);
    }
    if hints.digits >= 7 {
        found = found.claim(5, phone::phones);
    }
    found.spans
}

/// What was found in a text so far.
struct Found<'a> {
    text: Folded<'a>,
    spans: Vec<(Range<usize>, usize)>,
}

impl<'a> Found<'a> {
    fn new(text: &'a str, hints: &Hints) -> Self {
        Found { text: Folded::of(text, hints.has(PERCENT)), spans: Vec::new() }
    }

    /// Takes what a pattern finds as of a kind.
    fn claim(mut self, kind: usize, pattern: impl Fn(&str) -> Vec<Range<usize>>) -> Self {
        for range in pattern(self.text.text()) {
            self.spans.push((self.text.original(&range), kind));
            self.text.hide(range);
        }
        self
    }

    /// Keeps what a pattern finds from later ones.
    fn hide(mut self, pattern: impl Fn(&str) -> Vec<Range<usize>>) -> Self {
        for range in pattern(self.text.text()) {
            self.text.hide(range);
        }
        self
    }
}

// What a byte hints at. The sums of a text's bytes count its digits (bits 0 to 31) and colons (32 to 55); above are flags.
const DIGIT: u64 = 1;
const COLON: u64 = 1 << 32;
const AT: u64 = 1 << 58;
const QUERY: u64 = 1 << 59;
const PERCENT: u64 = 1 << 60;
/// What may be read as ASCII.
const OTHER: u64 = 1 << 61;
/// What stands in hosts and paths.
const PLACE: u64 = 1 << 62;

const CLASSES: [u64; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = match byte as u8 {
            b'0'..=b'9' => DIGIT,
            b':' => COLON,
            b'@' => AT,
            b'?' | b'#' => QUERY,
            b'%' => PERCENT,
            b'.' | b'/' => PLACE,
            other if fold::may_fold(other) => OTHER,
            _ => 0,
        };
        byte += 1;
    }
    classes
};

/// What a text would need to hold for a pattern to match, found in one pass: most texts hold none of it.
struct Hints {
    classes: u64,
    digits: u32,
    colons: u32,
}

impl Hints {
    fn of(text: &str) -> Self {
        let (mut classes, mut sum) = (0u64, 0u64);
        for byte in text.as_bytes() {
            let class = CLASSES[usize::from(*byte)];
            classes |= class;
            sum = sum.wrapping_add(class);
        }
        Hints { classes, digits: sum as u32, colons: (sum >> 32) as u32 & 0xFF_FFFF }
    }

    fn has(&self, classes: u64) -> bool {
        self.classes & classes != 0
    }

    /// Whether a URL may have a query.
    fn has_query(&self) -> bool {
        self.has(QUERY) && self.has(PLACE)
    }

    /// Whether there may be an address of IPv4.
    fn has_ipv4(&self) -> bool {
        self.digits >= 4 && self.has(PLACE)
    }

    /// Whether any pattern may match.
    fn any(&self) -> bool {
        self.has(AT | PERCENT | OTHER) || self.has_query() || self.has_ipv4() || self.digits >= 7 || self.colons >= 2
    }
}

fn digits(text: &str) -> impl DoubleEndedIterator<Item = u32> + '_ {
    text.bytes().filter(u8::is_ascii_digit).map(|b| u32::from(b - b'0'))
}

/// One line of plain text: control characters and runs of blanks become single blanks, none at the ends.
pub fn normalise(text: &str) -> Cow<'_, str> {
    // Most texts are plain already: printable ASCII with single blanks inside.
    let mut before = b' ';
    let plain = text.bytes().all(|byte| {
        let ok = matches!(byte, b'!'..=b'~') || (byte == b' ' && before != b' ');
        before = byte;
        ok
    });
    if plain && before != b' ' {
        return Cow::Borrowed(text);
    }
    let blank = |c: char| c.is_whitespace() || c.is_control() || c == '\u{feff}';
    Cow::Owned(text.split(blank).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" "))
}
