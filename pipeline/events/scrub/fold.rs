//! Folding: a text as the patterns read it, with digits, dashes, blanks and full-width characters of any script as ASCII.
//!
//! Every range of the folded text belongs to a range of the text that was folded.

use std::borrow::Cow;
use std::ops::Range;

/// The zeros of all decimal digits (Unicode's Nd) beyond ASCII; the nine digits after each are its own.
const ZEROS: &[u32] = &[
    0x660, 0x6F0, 0x7C0, 0x966, 0x9E6, 0xA66, 0xAE6, 0xB66, 0xBE6, 0xC66, 0xCE6, 0xD66, 0xDE6, 0xE50, 0xED0, 0xF20,
    0x1040, 0x1090, 0x17E0, 0x1810, 0x1946, 0x19D0, 0x1A80, 0x1A90, 0x1B50, 0x1BB0, 0x1C40, 0x1C50, 0xA620, 0xA8D0,
    0xA900, 0xA9D0, 0xA9F0, 0xAA50, 0xABF0, 0xFF10, 0x104A0, 0x10D30, 0x10D40, 0x11066, 0x110F0, 0x11136, 0x111D0,
    0x112F0, 0x11450, 0x114D0, 0x11650, 0x116C0, 0x116D0, 0x116DA, 0x11730, 0x118E0, 0x11950, 0x11BF0, 0x11C50,
    0x11D50, 0x11DA0, 0x11F50, 0x16130, 0x16A60, 0x16AC0, 0x16B50, 0x16D70, 0x1CCF0, 0x1D7CE, 0x1D7D8, 0x1D7E2,
    0x1D7EC, 0x1D7F6, 0x1E140, 0x1E2F0, 0x1E4F0, 0x1E5F1, 0x1E950, 0x1FBF0,
];

/// A decimal digit's ASCII form.
fn digit(c: char) -> Option<char> {
    let code = c as u32;
    let zero = *ZEROS.get(ZEROS.partition_point(|zero| *zero <= code).checked_sub(1)?)?;
    char::from_digit(code.checked_sub(zero)?, 10)
}

/// What a character is read as: itself, another one, or nothing.
fn folded(c: char) -> Option<char> {
    match c as u32 {
        // Most letters.
        0..0xA0 | 0xA1..0xAD | 0xAE..0x58A | 0x5BF..0x660 | 0x3001..0xA620 | 0xAC00..0xFE58 => Some(c),
        0xA0 | 0x1680 | 0x2000..=0x200A | 0x202F | 0x205F | 0x3000 => Some(' '),
        0xAD | 0x200B..=0x200F | 0x202A..=0x202E | 0x2060 | 0x2066..=0x2069 | 0xFEFF => None,
        0x58A | 0x5BE | 0x2010..=0x2015 | 0x2043 | 0x2212 | 0xFE58 | 0xFE63 => Some('-'),
        // Small and full-width signs that parts of numbers, addresses and URLs are made of.
        0xFE6B => Some('@'),
        code @ (0xFF05
        | 0xFF08
        | 0xFF09
        | 0xFF0B
        | 0xFF0D..=0xFF1A
        | 0xFF1D
        | 0xFF20..=0xFF3A
        | 0xFF3F
        | 0xFF41..=0xFF5A) => char::from_u32(code - 0xFEE0),
        _ => digit(c).or(Some(c)),
    }
}

/// Whether a byte of UTF-8 may begin a character that is folded: most scripts' letters begin with others.
pub(super) const fn may_fold(byte: u8) -> bool {
    matches!(byte, 0xC2 | 0xD6 | 0xD9..=0xE3 | 0xEA | 0xEF..)
}

/// A folded text, in which what was found can be hidden from later patterns.
pub(super) struct Folded<'a> {
    text: Cow<'a, str>,
    /// Where each byte of `text`, and its end, comes from; none where nothing was folded.
    from: Option<Vec<usize>>,
}

impl<'a> Folded<'a> {
    /// Folds a text; `encoded`: it may hold percent-encoded at signs.
    pub(super) fn of(text: &'a str, encoded: bool) -> Self {
        if !encoded && (text.is_ascii() || text.chars().all(|c| folded(c) == Some(c))) {
            return Folded { text: Cow::Borrowed(text), from: None };
        }
        let (mut out, mut from) = (String::with_capacity(text.len()), Vec::with_capacity(text.len() + 1));
        let mut at = 0;
        while let Some(c) = text[at..].chars().next() {
            let (read, width) = match ["%40", "%2540"].into_iter().find(|code| text[at..].starts_with(code)) {
                Some(code) => (Some('@'), code.len()),
                None => (folded(c), c.len_utf8()),
            };
            if let Some(read) = read {
                out.push(read);
                from.resize(out.len(), at);
            }
            at += width;
        }
        from.push(text.len());
        Folded { text: Cow::Owned(out), from: Some(from) }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The range of the text that was folded.
    pub(super) fn original(&self, range: &Range<usize>) -> Range<usize> {
        self.from.as_ref().map_or_else(|| range.clone(), |from| from[range.start]..from[range.end])
    }

    /// Hides a range: later patterns find nothing in it or across it.
    pub(super) fn hide(&mut self, range: Range<usize>) {
        let hidden = "<".repeat(range.len());
        self.text.to_mut().replace_range(range, &hidden);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn decimal_digits_are_unicodes() {
        let decimal = regex::Regex::new(r"^\p{Nd}$").expect("a class");
        let wrong: Vec<char> = ('\u{80}'..=char::MAX)
            .filter(|c| digit(*c).is_some() != decimal.is_match(c.encode_utf8(&mut [0; 4])))
            .collect();
        assert!(wrong.is_empty(), "{wrong:?}");
        assert!(('\u{80}'..=char::MAX).all(|c| digit(c).is_none_or(|digit| folded(c) == Some(digit))));
        assert_eq!(['٠', '۹', '५', '๗', '７'].map(digit), [Some('0'), Some('9'), Some('5'), Some('7'), Some('7')]);
    }

    #[test]
    fn what_is_folded_begins_with_a_byte_that_says_so() {
        for c in ('\u{80}'..=char::MAX).filter(|c| folded(*c) != Some(*c)) {
            assert!(may_fold(c.encode_utf8(&mut [0; 4]).as_bytes()[0]), "{c:?}");
        }
    }

    proptest! {
        #[test]
        fn ranges_are_the_originals(text in "[a-z٠-٩０-９＠\u{2010}-\u{2015}\u{a0}%40é漢]{0,20}") {
            let folded = Folded::of(&text, true);
            prop_assert_eq!(folded.original(&(0..folded.text().len())), 0..text.len());
            for (at, c) in folded.text().char_indices() {
                let original = &text[folded.original(&(at..at + c.len_utf8()))];
                let same = original.chars().next().and_then(super::folded) == Some(c) || c == '@';
                prop_assert!(same, "{} is {}", original, c);
            }
        }
    }
}
