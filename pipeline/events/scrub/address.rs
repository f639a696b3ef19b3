//! URLs' secrets, e-mail addresses and IP addresses.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use super::regex;

/// User names and queries behind a scheme; queries of what has no scheme: behind a host with a path, or with `key=` behind any path.
static URL: LazyLock<Regex> = LazyLock::new(|| {
    let end = r#"\s"<>。、，」』】》"#;
    regex(&format!(
        r"(?x)
        [A-Za-z][A-Za-z0-9+.\-]*:// (?<user>[^{end}/?\#]*@)? [^{end}?\#]* (?<query>[?\#][^{end}]+)?
        | [\w\-]+(?:\.[\w\-]+)+(?::[0-9]+)?/[^{end}?\#]* (?<part>[?\#][^{end}]+)
        | \w[./][^{end}?\#]* (?<pairs>\?[\w.%\-\[\]]+=[^{end}]*)"
    ))
});

/// The query's last value is digits alone, and a word touches it.
static VALUE: LazyLock<Regex> = LazyLock::new(|| regex(r"=[0-9]+([^\x00-\x7F]+)$"));

/// What is to be taken out of URLs.
pub(super) fn url_secrets(text: &str) -> Vec<Range<usize>> {
    let named = ["user", "query", "part", "pairs"];
    let parts = URL.captures_iter(text).flat_map(|c| named.map(|name| c.name(name).map(|m| m.range())));
    parts.flatten().map(|range| range.start..range.end - word_behind(&text[range])).collect()
}

/// How many bytes at the end of a query are a word behind it, in a script without blanks.
fn word_behind(query: &str) -> usize {
    let word = VALUE
        .captures(query)
        .and_then(|c| c.get(1))
        .filter(|word| word.as_str().chars().all(|c| script(c) == Some(Script::Unspaced)));
    word.map_or(0, |word| word.len())
}

/// Writing systems: letters of one make a word.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Script {
    Latin,
    /// Written without blanks: what stands before an address there is no part of it.
    Unspaced,
    Other,
}

fn script(c: char) -> Option<Script> {
    match c as u32 {
        _ if c.is_ascii() => c.is_ascii_alphabetic().then_some(Script::Latin),
        0xC0..=0x24F | 0x300..=0x36F | 0x1E00..=0x1EFF => Some(Script::Latin),
        0xE00..=0xEFF | 0x1000..=0x109F | 0x1780..=0x17FF | 0x2E80..=0x9FFF | 0xAC00..=0xD7FF | 0xF900..=0xFAFF => {
            Some(Script::Unspaced)
        }
        0x2000..=0x2BFF => None,
        _ => Some(Script::Other),
    }
}

/// Where e-mail addresses are. A part of one is written in one script: where the script changes, a word ends.
pub(super) fn emails(text: &str) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    for (at, _) in text.match_indices('@') {
        let before = &text[found.last().map_or(0, |last| last.end).min(at)..at];
        let Some(end) = domain_end(&text[at + 1..]) else { continue };
        let local = local_length(before);
        if local > 0 {
            found.push(at - local..at + 1 + end);
        }
    }
    found
}

/// How many bytes at the end of a text are the local part of an address.
fn local_length(text: &str) -> usize {
    if let Some(inside) = text.strip_suffix('"') {
        let quoted = inside.rfind('"').map(|at| text.len() - at);
        return quoted.filter(|length| (3..=66).contains(length)).unwrap_or(0);
    }
    let (mut start, mut of, mut digits) = (text.len(), None, false);
    for (at, c) in text.char_indices().rev() {
        match script(c) {
            Some(is) if of.is_none_or(|of| of == is) && !(digits && of.is_none() && is == Script::Unspaced) => {
                of = Some(is)
            }
            None if c.is_ascii_digit() => digits = true,
            None if ".%+-_'~".contains(c) => continue,
            _ => break,
        }
        start = at;
    }
    text.len() - start
}

/// Where the domain at the beginning of a text ends: labels between dots, the last of two or more letters.
fn domain_end(text: &str) -> Option<usize> {
    let (mut at, mut end) = (0, None);
    for label in 0.. {
        let length = label_length(&text[at..]);
        let rest = &text[at + length..];
        let letters = text[at..at + length].chars().filter(|c| script(*c).is_some()).count();
        if label > 0 && letters >= 2 {
            end = Some(at + length);
        }
        if length == 0 || !rest.starts_with('.') {
            break;
        }
        at += length + 1;
    }
    end
}

fn label_length(text: &str) -> usize {
    let (mut end, mut of) = (0, None);
    for (at, c) in text.char_indices() {
        match script(c) {
            Some(is) if of.is_none_or(|of| of == is) => of = Some(is),
            None if c.is_ascii_digit() => {}
            None if c == '-' || c == '_' => continue,
            _ => break,
        }
        end = at + c.len_utf8();
    }
    end
}

static IPV4: LazyLock<Regex> = LazyLock::new(|| regex(r"[0-9]+(?:\.[0-9]+)+"));
static IPV6: LazyLock<Regex> =
    LazyLock::new(|| regex(r"[0-9A-Fa-f]*:[0-9A-Fa-f:]*:[0-9A-Fa-f:]*(?:\.[0-9]{1,3}){0,3}(?:%[0-9A-Za-z]+)?"));
/// Words before numbers with dots that are no addresses.
static NUMBERED: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r"(?i)(?:\b(?:v|ver|vers|version\w*|wersj\w+|versión|versão|versie|sürüm\w*|release|build|firmware|update|chapter|section|kapitel|abschnitt|chapitre|глава|верси\w+|раздел|§)|版本|第|版|バージョン|버전|الإصدار|إصدار|संस्करण)[ .:]{0,2}$",
    )
});

/// Whether the end of what stands before a number says that it is a version or a place in a book.
fn is_numbered(before: &str) -> bool {
    let from = before.char_indices().rev().nth(24).map_or(0, |(at, _)| at);
    NUMBERED.is_match(&before[from..])
}

/// Programs whose versions have four numbers.
static PROGRAM: LazyLock<Regex> = LazyLock::new(|| {
    regex(r"(?i)\b(?:android|chrome|chromium|edge|firefox|flash|ios|java|macos|opera|safari|windows)[ ]$")
});

/// Where addresses of IPv6 are, without prefix lengths.
pub(super) fn ipv6(text: &str) -> Vec<Range<usize>> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == ':';
    let mut found: Vec<Range<usize>> = Vec::new();
    for m in IPV6.find_iter(text) {
        let address = m.as_str().split('%').next().unwrap_or_default();
        let trimmed = if address.ends_with("::") { address } else { address.trim_end_matches(':') };
        let end = if trimmed.len() == address.len() { m.end() } else { m.start() + trimmed.len() };
        let alone = !text[..m.start()].ends_with(word) && !text[end..].starts_with(|c: char| c.is_ascii_alphanumeric());
        let digits = trimmed.bytes().filter(u8::is_ascii_hexdigit).count();
        // Names in code have colons, too.
        let numeric = digits >= 4 && trimmed.bytes().any(|b| b.is_ascii_digit());
        if alone && numeric && trimmed.parse::<Ipv6Addr>().is_ok() {
            found.push(m.start()..end);
        }
    }
    found
}

/// Where addresses of IPv4 are, without prefix lengths and ports.
pub(super) fn ipv4(text: &str) -> Vec<Range<usize>> {
    let address = |m: &regex::Match<'_>| {
        let before = &text[..m.start()];
        m.as_str().parse::<Ipv4Addr>().is_ok_and(|ip| ip.is_private() || !PROGRAM.is_match(before))
            && !is_numbered(before)
    };
    IPV4.find_iter(text).filter(address).map(|m| m.range()).collect()
}
