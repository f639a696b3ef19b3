//! Ids as platforms write them. The same id written by two tools is one id; what may tell who somebody is stays in none.

use std::borrow::Cow;

use memchr::{memchr, memmem};

use crate::bucket::{digest_128, hex};

/// Why something is no id.
pub type Reason = Cow<'static, str>;
/// It was held as a number that cannot tell it from others.
pub const INEXACT: Reason = Reason::Borrowed("an id as floating point, which is no whole number or lost digits");
/// It is no text.
pub const UTF8: Reason = Reason::Borrowed("not UTF-8");
/// Ids longer than this are none; an article's becomes a hash.
pub const MAX_ID_BYTES: usize = 256;
/// What tools write for an id or a time that is not there.
const NULLS: [&[u8]; 7] = [b"NULL", b"null", b"\\N", b"None", b"nan", b"NaN", b"<NA>"];
/// From here on, floating point does not hold every whole number.
const EXACT: u64 = 1 << 53;

/// Whether this is what tools write where there is no value.
pub fn is_null(text: &[u8]) -> bool {
    text.len() <= 4 && NULLS.contains(&text)
}

/// An id without what its writer put around it; none where there is none. With `whole`, `101.0` is `101`.
///
/// # Errors
/// For a number that cannot tell one id from others.
pub fn id(text: &[u8], whole: bool) -> Result<Option<Cow<'_, [u8]>>, Reason> {
    let text = text.trim_ascii();
    if text.is_empty() || is_null(text) {
        return Ok(None);
    }
    let number = whole && text.len() <= 40 && memchr(b'.', text).is_some();
    Ok(Some(if number { of_floating_point(text)? } else { Cow::Borrowed(text) }))
}

/// A whole number that was held as floating point; any other text as it is.
fn of_floating_point(text: &[u8]) -> Result<Cow<'_, [u8]>, Reason> {
    let is_number = |b: &u8| matches!(b, b'0'..=b'9' | b'.' | b'-' | b'+' | b'e' | b'E');
    let dot = memchr(b'.', text).unwrap_or(text.len());
    let (whole, fraction) = (&text[..dot], text.get(dot + 1..).unwrap_or_default());
    let digits = whole.strip_prefix(b"-").unwrap_or(whole);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) || !text.iter().all(is_number) {
        return Ok(Cow::Borrowed(text));
    }
    let number = std::str::from_utf8(text).ok().and_then(|text| text.parse::<f64>().ok());
    let scientific = fraction.iter().any(|b| matches!(b, b'e' | b'E'));
    match number {
        Some(number) if scientific || (!fraction.is_empty() && fraction.iter().all(|b| *b == b'0')) => {
            if number.abs() > EXACT as f64 || number.fract() != 0.0 {
                return Err(INEXACT);
            }
            Ok(Cow::Owned(format!("{}", number as i64).into_bytes()))
        }
        _ => Ok(Cow::Borrowed(text)),
    }
}

/// An article's id as text; none where there is none. One that is very long, or may hold what is personal (an e-mail address, what a
/// URL's query says), becomes a hash of itself: the same one wherever it stands.
///
/// # Errors
/// Those of [`id`], and for what is no text.
pub fn article_id(text: &[u8], whole: bool) -> Result<Option<Cow<'_, str>>, Reason> {
    let Some(id) = id(text, whole)? else { return Ok(None) };
    let plain =
        id.len() <= MAX_ID_BYTES && !id.iter().any(|b| matches!(b, b'@' | b'?' | b'%' | b'#') || b.is_ascii_control());
    if !plain && (id.len() > MAX_ID_BYTES || may_be_personal(&id)) {
        return Ok(Some(hex(&digest_128(&[b"article", &id])).into()));
    }
    Ok(Some(match id {
        Cow::Borrowed(id) => std::str::from_utf8(id).map_err(|_| UTF8)?.into(),
        Cow::Owned(id) => String::from_utf8(id).map_err(|_| UTF8)?.into(),
    }))
}

fn may_be_personal(id: &[u8]) -> bool {
    let url = memmem::find(id, b"://").is_some();
    let marked = |b: &u8| matches!(b, b'@' | b'?') || (*b == b'#' && url) || b.is_ascii_control();
    id.iter().any(marked) || memmem::find(id, b"%40").is_some()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(text: &str) -> Result<Option<String>, String> {
        let id = id(text.as_bytes(), true).map_err(|e| e.to_string())?;
        Ok(id.map(|id| String::from_utf8_lossy(&id).into_owned()))
    }

    #[test]
    fn ids_of_floating_point_are_whole() {
        for (text, expected) in [
            (" 101 ", "101"),
            ("101.0", "101"),
            ("-5.000", "-5"),
            ("9007199254740992.0", "9007199254740992"),
            ("1.01e+02", "101"),
            ("007", "007"),
            ("1.2.0", "1.2.0"),
            ("v1.0", "v1.0"),
            ("101.5", "101.5"),
            ("-", "-"),
            ("98765432109876543210001", "98765432109876543210001"),
        ] {
            assert_eq!(written(text), Ok(Some(expected.to_owned())));
        }
        for lost in ["9.876543e+16", "98765432109876543210.0", "1.5e0"] {
            assert_eq!(written(lost), Err(INEXACT.to_string()), "{lost}");
        }
        assert_eq!(id(b"101.0", false), Ok(Some(Cow::Borrowed(&b"101.0"[..]))), "as the setting says");
    }

    #[test]
    fn what_stands_for_nothing_is_no_id() {
        for nothing in ["", "  ", "NULL", "null", "\\N", "nan", "NaN", "None", "<NA>"] {
            assert_eq!(written(nothing), Ok(None), "{nothing:?}");
        }
    }

    fn article(text: &str) -> String {
        article_id(text.as_bytes(), true).expect("UTF-8").expect("an id").into_owned()
    }

    #[test]
    fn an_articles_id_says_nothing_of_people() {
        for plain in ["N123", "https://x.example/one", "a%20b", "tag-5#2"] {
            assert_eq!(article(plain), plain);
        }
        let long = "x".repeat(300);
        let hashed = [
            "https://x.example/one?mail=ann",
            "ann@x.example",
            "x.example/ann%40y",
            "https://x.example/#t",
            "a\u{1b}[2J",
            &long,
        ];
        let hashes: std::collections::BTreeSet<String> = hashed.into_iter().map(article).collect();
        assert_eq!(hashes.len(), hashed.len());
        assert!(hashes.iter().all(|id| id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit())), "{hashes:?}");
    }

    proptest! {
        #[test]
        fn an_id_of_an_id_is_the_same(text in "[0-9a-z.@?%# eE+-]{0,12}", number in any::<u32>()) {
            if let Ok(Some(id)) = article_id(text.as_bytes(), true) {
                prop_assert_eq!(article_id(id.as_bytes(), true).expect("again").expect("again"), id.clone());
            }
            prop_assert_eq!(written(&format!("{number}.0")), written(&number.to_string()));
        }
    }
}
