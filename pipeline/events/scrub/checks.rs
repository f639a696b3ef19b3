//! Card numbers and IBANs: their check digits decide.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use super::{digits, regex};

static CARD: LazyLock<Regex> = LazyLock::new(|| regex(r"[0-9]+(?:[ \-.][0-9]+)*"));
static IBAN: LazyLock<Regex> = LazyLock::new(|| regex(r"[A-Za-z]{2}[0-9]{2}[ \-]?[A-Za-z0-9]"));
static ISBN: LazyLock<Regex> = LazyLock::new(|| regex(r"97[89](?:[ \-]?[0-9]){10}"));

/// The lengths of IBANs (SWIFT's registry), by country.
const IBAN_LENGTHS: &[(usize, &str)] = &[
    (15, "NO"),
    (16, "BE"),
    (18, "DK FI FK FO GL NL SD"),
    (19, "MK SI"),
    (20, "AT BA EE KZ LT LU MN XK"),
    (21, "CH HR LI LV"),
    (22, "BG BH CR DE GB GE IE ME RS VA"),
    (23, "AE GI IL IQ OM SO TL"),
    (24, "AD CZ ES MD PK RO SA SE SK TN VG"),
    (25, "LY PT ST"),
    (26, "IS TR"),
    (27, "BI DJ FR GR IT MC MR SM"),
    (28, "AL AZ BY CY DO GT HN HU LB NI PL"),
    (29, "BR EG PS QA UA"),
    (30, "JO KW MU YE"),
    (31, "MT SC"),
    (32, "LC"),
    (33, "RU"),
];

/// Groups that card numbers are written in: 16 and 19 digits, American Express, Diners Club.
const CARD_GROUPS: [&[usize]; 5] = [&[4, 4, 4, 4], &[4, 4, 4, 4, 3], &[4, 6, 5], &[4, 6, 4], &[6, 13]];

/// Where card numbers are: one run of 13 to 19 digits, or the usual groups.
pub(super) fn cards(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    for run in CARD.find_iter(text) {
        let groups: Vec<Range<usize>> = groups(run.as_str(), run.start());
        let mut at = 0;
        while at < groups.len() {
            let count = (1..=5).rev().find(|count| {
                let Some(part) = groups.get(at..at + count) else { return false };
                let lengths: Vec<usize> = part.iter().map(Range::len).collect();
                let shape = *count == 1 || CARD_GROUPS.contains(&lengths.as_slice());
                let number = &text[part[0].start..part[count - 1].end];
                shape && (is_card(number) || lengths == CARD_GROUPS[0] && groups.len() == 4 && is_national_card(number))
            });
            if let Some(count) = count {
                found.push(groups[at].start..groups[at + count - 1].end);
            }
            at += count.unwrap_or(1);
        }
    }
    found
}

/// The runs of digits in a text that begins at `start`.
pub(super) fn groups(text: &str, start: usize) -> Vec<Range<usize>> {
    let mut groups: Vec<Range<usize>> = Vec::new();
    for (at, _) in text.bytes().enumerate().filter(|(_, byte)| byte.is_ascii_digit()) {
        match groups.last_mut() {
            Some(last) if last.end == start + at => last.end += 1,
            _ => groups.push(start + at..start + at + 1),
        }
    }
    groups
}

/// Where IBANs are, blanks and hyphens between their characters or not: a country of the registry, its length, and the checksum.
pub(super) fn ibans(text: &str) -> Vec<Range<usize>> {
    let (mut found, mut from) = (Vec::new(), 0);
    while let Some(start) = IBAN.find_at(text, from).map(|m| m.start()) {
        let end = iban_length(&text[start..start + 2]).and_then(|length| iban_end(text, start, length));
        if let Some(end) = end {
            found.push(start..end);
        }
        from = end.unwrap_or(start + 1);
    }
    found
}

fn iban_length(country: &str) -> Option<usize> {
    let country = country.to_ascii_uppercase();
    IBAN_LENGTHS.iter().find(|(_, countries)| countries.contains(&country)).map(|(length, _)| *length)
}

fn iban_end(text: &str, start: usize, length: usize) -> Option<usize> {
    let mut iban = Vec::with_capacity(length);
    let mut separated = false;
    for (at, byte) in text.bytes().enumerate().skip(start) {
        if byte.is_ascii_alphanumeric() {
            iban.push(byte.to_ascii_uppercase());
            separated = false;
            if iban.len() == length {
                let more = text.as_bytes().get(at + 1).is_some_and(u8::is_ascii_digit);
                return (!more && is_iban(&iban)).then_some(at + 1);
            }
        } else if separated || !matches!(byte, b' ' | b'-') {
            return None;
        } else {
            separated = true;
        }
    }
    None
}

/// Where ISBNs are, which are no card and no phone number.
pub(super) fn isbns(text: &str) -> Vec<Range<usize>> {
    let sum = |m: &str| digits(m).zip([1, 3].into_iter().cycle()).map(|(digit, weight)| digit * weight).sum::<u32>();
    ISBN.find_iter(text).filter(|m| sum(m.as_str()).is_multiple_of(10)).map(|m| m.range()).collect()
}

/// 13 to 19 digits of an issuer (ISO/IEC 7812: travel, banking and payment, 2 to 6), with a card's check digit.
fn is_card(text: &str) -> bool {
    (13..=19).contains(&digits(text).count()) && (Some(2)..=Some(6)).contains(&digits(text).next()) && is_checked(text)
}

/// A card of one country only (ISO/IEC 7812: 9), such as Korea's and Turkey's. Parcels' numbers begin so, too: these have more groups.
fn is_national_card(text: &str) -> bool {
    text.starts_with('9') && is_checked(text)
}

/// Luhn's checksum, and not one digit repeated.
fn is_checked(text: &str) -> bool {
    let first = digits(text).next();
    let sum: u32 = digits(text)
        .rev()
        .enumerate()
        .map(|(i, d)| match (i % 2, d * 2) {
            (0, _) => d,
            (_, twice) if twice > 9 => twice - 9,
            (_, twice) => twice,
        })
        .sum();
    sum.is_multiple_of(10) && digits(text).any(|d| Some(d) != first)
}

/// ISO 13616: country and check digits moved to the end, letters as numbers, remainder 1 by 97.
fn is_iban(text: &[u8]) -> bool {
    let remainder = text[4..].iter().chain(&text[..4]).fold(0u32, |rest, byte| match byte {
        b'0'..=b'9' => (rest * 10 + u32::from(byte - b'0')) % 97,
        _ => (rest * 100 + u32::from(byte - b'A') + 10) % 97,
    });
    remainder == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_decide() {
        assert!(is_card("5500-0000-0000-0004") && !is_card("5500-0000-0000-0005"));
        assert!(!is_card("4444 4444 4444 4444") && !is_card("1764547200000"));
        assert_eq!(cards("9410 1234 5678 9010"), vec![0..19; 1]);
        assert!(cards("9410 1234 5678 9010 1234 56 9410123456789010 9410 1234 5678 9011").is_empty());
        assert_eq!(ibans("FR14 2004 1010 0505 0001 3M02 606"), vec![0..33; 1]);
        assert!(ibans("FR15 2004 1010 0505 0001 3M02 606 ZZ89370400440532013000").is_empty());
        assert_eq!(isbns("978-3-16-148410-0 978-3-16-148410-1"), vec![0..17; 1]);
    }
}
