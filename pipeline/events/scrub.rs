//! Scrubbing: personal data that people type into queries and that sites put into titles is replaced by a mark.
//!
//! E-mail addresses, card numbers (Luhn checksum), IBANs (mod-97 checksum), IP addresses and phone numbers become `<email>`,
//! `<card>`, `<iban>`, `<ip>`, `<phone>`; URLs lose user names, query strings and fragments. What fails its checksum
//! stays. Scrubbing twice changes nothing more.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::net::Ipv6Addr;
use std::ops::Range;
use std::sync::LazyLock;

use regex::{Captures, Regex};

/// Kinds of personal data, in the order of [`Counts`].
pub const KINDS: [&str; 6] = ["url", "email", "iban", "card", "ip", "phone"];
const MARKS: [&str; 6] = ["", "<email>", "<iban>", "<card>", "<ip>", "<phone>"];

/// How many of each kind were replaced.
pub type Counts = [u64; 6];

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a constant pattern")
}

static URL: LazyLock<Regex> = LazyLock::new(|| {
    regex(r"(?i)\b(https?://|ftp://)(?:[^\s/@?#]*@)?([^\s?#]+)([?#]\S*)?|\b([\w\-]+(?:\.[\w\-]+)+/?[^\s?#]*)([?#]\S+)")
});
static EMAIL: LazyLock<Regex> = LazyLock::new(|| regex(r"[\w.%+\-]+@[\w\-]+(?:\.[\w\-]+)*\.\w{2,}"));
static IBAN: LazyLock<Regex> =
    LazyLock::new(|| regex(r"(?i)\b[a-z]{2}[0-9]{2}(?: ?[a-z0-9]{4}){2,7}(?: ?[a-z0-9]{1,3})?\b"));
static CARD: LazyLock<Regex> = LazyLock::new(|| regex(r"\b[0-9](?:[ \-]?[0-9]){12,18}\b"));
static IPV4: LazyLock<Regex> = LazyLock::new(|| regex(r"\b[0-9]{1,3}(?:\.[0-9]{1,3}){3}\b"));
static IPV6: LazyLock<Regex> = LazyLock::new(|| regex(r"(?i)\b[0-9a-f]{0,4}(?::[0-9a-f]{0,4}){2,7}\b"));
static PHONE: LazyLock<Regex> =
    LazyLock::new(|| regex(r"(?:\+|\b00)[1-9][0-9 ().\-/]{6,18}[0-9]\b|\(?\b[0-9][0-9 ().\-/]{6,16}[0-9]\b"));
/// Dates with a plausible year, and years one after the other: digits that are no phone number.
static DATE: LazyLock<Regex> = LazyLock::new(|| {
    let (day, month, year) = ("(?:0?[1-9]|[12][0-9]|3[01])", "(?:0?[1-9]|1[0-2])", "(?:19|20)[0-9]{2}");
    regex(&format!(r"\b(?:{year}[\-/.]{month}[\-/.]{day}|{day}[\-/.]{day}[\-/.]{year}|{year}(?:[ \-/]+{year})+)\b"))
});

/// Replaces personal data, and counts what it replaced.
pub fn scrub<'a>(text: &'a str, counts: &mut Counts) -> Cow<'a, str> {
    let hints = Hints::of(text);
    let mut text = Cow::Borrowed(text);
    if hints.url {
        let urls = &mut counts[0];
        replace(&mut text, &URL, |c| {
            let bare = match (c.get(4), c.get(5)) {
                (Some(host), Some(_)) => host.as_str().to_owned(),
                _ => format!("{}{}", c.get(1).map_or("", |m| m.as_str()), c.get(2).map_or("", |m| m.as_str())),
            };
            (bare != c[0]).then(|| {
                *urls += 1;
                bare
            })
        });
    }
    if hints.at {
        mark(&mut text, &EMAIL, 1, counts, |m| Some(0..m.len()));
    }
    if hints.digits >= 4 {
        mark(&mut text, &IPV4, 4, counts, |m| m.split('.').all(|o| o.parse::<u8>().is_ok()).then_some(0..m.len()));
    }
    if hints.colons >= 2 {
        mark(&mut text, &IPV6, 4, counts, |m| m.parse::<Ipv6Addr>().is_ok().then_some(0..m.len()));
    }
    if hints.digits >= 7 {
        mark(&mut text, &IBAN, 2, counts, |m| longest(m, is_iban));
        mark(&mut text, &CARD, 3, counts, |m| longest(m, is_card));
        text = between_dates(text, |part| {
            mark(part, &PHONE, 5, counts, |m| is_phone(m).then_some(0..m.len()));
        });
    }
    text
}

/// What a text would need to hold for a pattern to match, found in one pass: most texts hold none of it.
struct Hints {
    at: bool,
    url: bool,
    digits: u32,
    colons: u32,
}

impl Hints {
    fn of(text: &str) -> Self {
        let (mut at, mut mark, mut digits, mut colons) = (false, false, 0, 0);
        for byte in text.bytes() {
            match byte {
                b'0'..=b'9' => digits += 1,
                b'@' => at = true,
                b':' => colons += 1,
                b'?' | b'#' => mark = true,
                _ => {}
            }
        }
        let url = (colons > 0 && text.contains("://")) || (mark && text.contains('.'));
        Hints { at, url, digits, colons }
    }
}

fn replace(text: &mut Cow<'_, str>, regex: &Regex, mut with: impl FnMut(&Captures<'_>) -> Option<String>) {
    let replaced = regex.replace_all(text, |c: &Captures<'_>| with(c).unwrap_or_else(|| c[0].to_owned()));
    if let Cow::Owned(replaced) = replaced {
        *text = Cow::Owned(replaced);
    }
}

/// Replaces, in every match, the range that `find` gives.
fn mark(
    text: &mut Cow<'_, str>,
    regex: &Regex,
    kind: usize,
    counts: &mut Counts,
    find: impl Fn(&str) -> Option<Range<usize>>,
) {
    replace(text, regex, |c| {
        find(&c[0]).map(|range| {
            counts[kind] += 1;
            format!("{}{}{}", &c[0][..range.start], MARKS[kind], &c[0][range.end..])
        })
    });
}

/// Applies `scrub` to what stands between dates.
fn between_dates<'a>(text: Cow<'a, str>, mut scrub: impl FnMut(&mut Cow<'_, str>)) -> Cow<'a, str> {
    let mut scrubbed = String::with_capacity(text.len());
    let mut done = 0;
    for date in DATE.find_iter(&text).map(|date| date.range()).chain(std::iter::once(text.len()..text.len())) {
        let mut part = Cow::Borrowed(&text[done..date.start]);
        scrub(&mut part);
        scrubbed.push_str(&part);
        scrubbed.push_str(&text[date.clone()]);
        done = date.end;
    }
    if scrubbed == text { text } else { Cow::Owned(scrubbed) }
}

/// The longest run of whole groups that passes: what follows a number may look like more of it.
fn longest(text: &str, is: impl Fn(&str) -> bool) -> Option<Range<usize>> {
    let bounds = |c: char| c == ' ' || c == '-';
    let starts = std::iter::once(0).chain(text.match_indices(bounds).map(|(at, _)| at + 1));
    starts
        .flat_map(|start| {
            let ends = text.match_indices(bounds).map(|(at, _)| at).chain([text.len()]);
            ends.filter(move |end| *end > start).map(move |end| start..end)
        })
        .filter(|range| is(&text[range.clone()]))
        .max_by_key(|range| (range.len(), Reverse(range.start)))
}

fn digits(text: &str) -> impl DoubleEndedIterator<Item = u32> + '_ {
    text.bytes().filter(u8::is_ascii_digit).map(|b| u32::from(b - b'0'))
}

/// 13 to 19 digits with Luhn's checksum, and not one digit repeated.
fn is_card(text: &str) -> bool {
    if !(13..=19).contains(&digits(text).count()) {
        return false;
    }
    let sum: u32 = digits(text)
        .rev()
        .enumerate()
        .map(|(i, d)| match (i % 2, d * 2) {
            (0, _) => d,
            (_, twice) if twice > 9 => twice - 9,
            (_, twice) => twice,
        })
        .sum();
    let first = digits(text).next();
    sum.is_multiple_of(10) && digits(text).any(|d| Some(d) != first)
}

/// ISO 13616: country and check digits moved to the end, letters as numbers, remainder 1 by 97.
fn is_iban(text: &str) -> bool {
    let text: Vec<u8> = text.bytes().filter(|b| *b != b' ').map(|b| b.to_ascii_uppercase()).collect();
    if !(15..=34).contains(&text.len()) {
        return false;
    }
    let remainder = text[4..].iter().chain(&text[..4]).fold(0u32, |rest, byte| match byte {
        b'0'..=b'9' => (rest * 10 + u32::from(byte - b'0')) % 97,
        _ => (rest * 100 + u32::from(byte - b'A') + 10) % 97,
    });
    remainder == 1
}

/// Phone-like: international, or nine to fifteen digits.
fn is_phone(text: &str) -> bool {
    let international = text.starts_with('+') || text.starts_with("00");
    let range = if international { 8..=15 } else { 9..=15 };
    range.contains(&digits(text).count())
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scrubbed(text: &str) -> String {
        scrub(text, &mut Counts::default()).into_owned()
    }

    #[test]
    fn personal_data_goes() {
        for (text, expected) in [
            ("mail ann.lee+news@example.co.uk now", "mail <email> now"),
            ("call +49 (0)30 1234567 today", "call <phone> today"),
            ("0171 2345678 whose number", "<phone> whose number"),
            ("(212) 555-0142", "<phone>"),
            ("4111 1111 1111 1111 declined", "<card> declined"),
            ("pay DE89 3704 0044 0532 0130 00", "pay <iban>"),
            ("gb82west12345698765432", "<iban>"),
            ("es9121000418450200051332 paypal", "<iban> paypal"),
            ("ES91 2100 0418 4502 0005 1332 to ann", "<iban> to ann"),
            ("4111111111111111 123", "<card> 123"),
            ("visa 4111111111111111 12/27", "visa <card> 12/27"),
            ("01.02.1990 030 1234567", "01.02.1990 <phone>"),
            ("shop.example/reset?token=abc&mail=a%40b.de", "shop.example/reset"),
            ("router 192.168.0.1 login", "router <ip> login"),
            ("ping 2001:db8::ff00:42:8329", "ping <ip>"),
            ("https://ann:pw@shop.example/cart?id=7&mail=a@b.de#x", "https://shop.example/cart"),
            ("www.example.com/a?b=c page", "www.example.com/a page"),
        ] {
            assert_eq!(scrubbed(text), expected);
        }
    }

    #[test]
    fn the_rest_stays() {
        for text in [
            "top 10 laptops 2025",
            "2025-12-01 election results",
            "is 3.5 > 2.5? yes",
            "node.js vs deno? which one",
            "1914 1918 war",
            "01.12.2025 forecast",
            "iphone 15 vs 14",
            "population 80453114 in 2025",
            "score 3:2 at 12:30:45",
            "c++ @ work",
            "https://shop.example/cart",
            "é à ü 漢字",
        ] {
            assert_eq!(scrubbed(text), text);
        }
    }

    #[test]
    fn checksums_decide() {
        assert!(is_card("5500-0000-0000-0004") && !is_card("5500-0000-0000-0005"));
        assert!(!is_card("0000 0000 0000 0000"));
        assert!(is_iban("FR14 2004 1010 0505 0001 3M02 606") && !is_iban("FR15 2004 1010 0505 0001 3M02 606"));
    }

    #[test]
    fn counts_say_what_went() {
        let mut counts = Counts::default();
        let _ = scrub("a@b.de c@d.fr 10.0.0.1 http://x.de/?q", &mut counts);
        assert_eq!(counts, [1, 2, 0, 0, 1, 0]);
    }

    proptest! {
        #[test]
        fn scrubbing_twice_is_scrubbing_once(text in "[ -~a-z0-9@.:/?+()é-]{0,60}") {
            let once = scrubbed(&text);
            prop_assert_eq!(scrubbed(&once), once);
        }

        #[test]
        fn normalising_twice_is_normalising_once(text in any::<String>()) {
            let once = normalise(&text).into_owned();
            prop_assert!(!once.starts_with(' ') && !once.ends_with(' ') && !once.contains("  "));
            prop_assert!(!once.chars().any(char::is_control));
            prop_assert_eq!(normalise(&once).into_owned(), once);
        }
    }
}
