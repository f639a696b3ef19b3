//! Texts as one line of what can be seen.

use std::borrow::Cow;

use crate::scrub::normalise;

/// Characters that turn the direction of what follows, or that nobody sees: they say nothing, and make a text look like another.
fn is_unseen(c: char) -> bool {
    matches!(c, '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}' | '\u{2066}'..='\u{2069}')
}

/// One line of plain text: no control characters, no runs of blanks, nothing unseen. (Joiners stay: Persian and emoji need them.)
pub(super) fn one_line(text: &str) -> Cow<'_, str> {
    if text.is_ascii() || !text.contains(is_unseen) {
        return normalise(text);
    }
    let seen: String = text.chars().filter(|c| !is_unseen(*c)).collect();
    Cow::Owned(normalise(&seen).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_sees_goes() {
        assert_eq!(one_line("a\0b \u{202e}evil\u{202c} \u{200b}zero"), "a b evil zero");
        assert_eq!(one_line("\u{200b} \u{feff}"), "");
        assert_eq!(one_line("👨\u{200d}👩 می\u{200c}خواهم שלום"), "👨\u{200d}👩 می\u{200c}خواهم שלום");
    }
}
