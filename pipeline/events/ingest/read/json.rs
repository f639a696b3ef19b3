//! JSON: one object per line, or one array of objects, over however many lines. Memory holds one object at a time.
//!
//! An object is what `serde_json` accepts as one, and two things more that other writers make: integers keep all their digits, however
//! many, and half a surrogate pair becomes U+FFFD.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io::BufRead;
use std::path::Path;

use dataset::{Error, Result};
use serde_json::{Map, Value};

use super::columns::looks_like_a_name;
use super::open::{BOM, lines, open};
use super::{Each, Encoding, Field, Found, Row, broken, reason};

/// An object that is longer than this was not meant to be one.
const MAX_ELEMENT_BYTES: usize = 64 << 20;
/// From here on, floating point does not hold every integer.
const EXACT: f64 = 9_007_199_254_740_992.0;
/// So many objects are asked what members they have, and so many members are remembered.
const NAMING: u64 = 100;
const MAX_COLUMNS: usize = 200;

/// Reads the wanted members of all objects. A name with dots goes into objects in objects, unless there is a member of that whole name.
pub(super) fn read(path: &Path, encoding: Encoding, wanted: &[&str], each: &mut Each<'_>) -> Result<Found> {
    let mut objects = Objects {
        wanted: wanted.iter().map(|name| Wanted { name, parts: name.split('.').collect(), seen: false }).collect(),
        columns: BTreeSet::new(),
        read: 0,
        each,
    };
    match is_array(path, encoding)? {
        true => elements(path, &mut *open(path, encoding)?, |line, bytes| objects.take(line, bytes))?,
        false => lines(path, encoding, |line, bytes| match bytes {
            Ok(bytes) => objects.take(line, bytes),
            Err(reason) => (objects.each)(Row::at(line), Err(reason)),
        })?,
    }
    let absent =
        objects.wanted.iter().filter(|wanted| objects.read > 0 && !wanted.seen).map(|wanted| wanted.name.to_owned());
    Ok(Found { absent: absent.collect(), columns: objects.columns.into_iter().collect(), ..Found::default() })
}

/// Whether a file begins with an array: no line of objects does.
fn is_array(path: &Path, encoding: Encoding) -> Result<bool> {
    let mut reader = open(path, encoding)?;
    let start = reader.fill_buf().map_err(|e| broken(path, &e))?;
    let start = start.strip_prefix(BOM).unwrap_or(start);
    Ok(start.trim_ascii_start().starts_with(b"["))
}

struct Wanted<'a> {
    name: &'a str,
    parts: Vec<&'a str>,
    /// Whether an object had it, if only as null.
    seen: bool,
}

struct Objects<'a, 'e> {
    wanted: Vec<Wanted<'a>>,
    columns: BTreeSet<String>,
    /// How many objects there were so far.
    read: u64,
    each: &'a mut Each<'e>,
}

impl Objects<'_, '_> {
    fn take(&mut self, line: u64, bytes: &[u8]) -> Result<()> {
        if bytes.trim_ascii().is_empty() {
            return Ok(());
        }
        let row = Row::at(line);
        let Some(mut object) = parse(bytes).or_else(|| parse(&mended(bytes)?)) else {
            let reason = if std::str::from_utf8(bytes).is_ok() { reason::JSON } else { reason::UTF8 };
            return (self.each)(row, Err(reason));
        };
        if self.wanted.iter().any(|wanted| wanted.of(&object).is_some_and(is_inexact)) {
            object = parse(&quoted_integers(bytes)).unwrap_or(object);
        }
        self.read += 1;
        for wanted in self.wanted.iter_mut().filter(|wanted| !wanted.seen) {
            wanted.seen = wanted.of(&object).is_some_and(|value| !value.is_object());
        }
        if self.read <= NAMING && self.columns.len() < MAX_COLUMNS {
            name_members(&object, "", &mut self.columns);
        }
        let fields: Vec<Field<'_>> = self.wanted.iter().map(|wanted| wanted.field(&object)).collect();
        (self.each)(row, Ok(&fields))
    }
}

fn parse(bytes: &[u8]) -> Option<Map<String, Value>> {
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(object)) => Some(object),
        _ => None,
    }
}

/// The names of members, those of objects in objects with dots.
fn name_members(object: &Map<String, Value>, within: &str, names: &mut BTreeSet<String>) {
    for (name, value) in object.iter().filter(|(name, _)| looks_like_a_name(name)) {
        let name = format!("{within}{name}");
        match value {
            Value::Object(inner) if !within.contains('.') => name_members(inner, &format!("{name}."), names),
            _ if !names.contains(&name) => {
                names.insert(name);
            }
            _ => {}
        }
    }
}

impl Wanted<'_> {
    /// The value, or the list of objects on the way to it.
    fn of<'v>(&self, object: &'v Map<String, Value>) -> Option<&'v Value> {
        self.reach(object).map(|(value, _)| value)
    }

    fn field<'v>(&self, object: &'v Map<String, Value>) -> Field<'v> {
        self.reach(object).map_or(Field::Missing, |(value, rest)| field(value, rest))
    }

    /// How far the name leads without going into a list, and what of it is left.
    fn reach<'v, 's>(&'s self, object: &'v Map<String, Value>) -> Option<(&'v Value, &'s [&'s str])> {
        if let Some(value) = object.get(self.name) {
            return Some((value, &[]));
        }
        let (mut value, mut rest) = (object.get(self.parts[0])?, &self.parts[1..]);
        while let (Value::Object(inner), [name, others @ ..]) = (value, rest) {
            (value, rest) = (inner.get(*name)?, others);
        }
        (rest.is_empty() || value.is_array()).then_some((value, rest))
    }
}

fn field<'v>(value: &'v Value, rest: &[&str]) -> Field<'v> {
    match (value, rest) {
        (Value::Array(items), _) => Field::List(items.iter().map(|item| field(item, rest)).collect()),
        (Value::Object(inner), [name, others @ ..]) => {
            inner.get(*name).map_or(Field::Missing, |value| field(value, others))
        }
        (Value::String(text), []) if !text.is_empty() => Field::Text(Cow::Borrowed(text.as_bytes())),
        (Value::Number(number), []) => Field::Text(Cow::Owned(number.to_string().into_bytes())),
        (Value::Bool(yes), []) => Field::Text(Cow::Borrowed(if *yes { b"true" } else { b"false" })),
        _ => Field::Missing,
    }
}

/// Whether a number in here may have lost digits.
fn is_inexact(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.is_f64() && number.as_f64().is_some_and(|number| number.abs() >= EXACT),
        Value::Array(items) => items.iter().any(is_inexact),
        Value::Object(members) => members.values().any(is_inexact),
        _ => false,
    }
}

/// The same JSON, with quotes around all integers of more than 15 digits.
fn quoted_integers(json: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len() + 16);
    let mut at = 0;
    while at < json.len() {
        let length = match json[at] {
            b'"' => string_bytes(&json[at..]),
            b'-' | b'0'..=b'9' => {
                json[at..].iter().take_while(|b| matches!(b, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9')).count()
            }
            _ => 1,
        };
        let token = &json[at..at + length];
        let integer = length > 15 && token.iter().all(|b| matches!(b, b'-' | b'0'..=b'9'));
        let mark: &[u8] = if integer { b"\"" } else { b"" };
        out.extend([mark, token, mark].concat());
        at += length;
    }
    out
}

/// The length of the string at the start of a text, quotes included.
fn string_bytes(json: &[u8]) -> usize {
    let mut at = 1;
    while at < json.len() {
        match json[at] {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    json.len()
}

/// The same JSON, with U+FFFD for every half of a surrogate pair; none if there is no such half.
fn mended(json: &[u8]) -> Option<Vec<u8>> {
    let unit = |at: usize| -> Option<u16> {
        let hex = json.get(at..at + 6)?.strip_prefix(b"\\u")?;
        u16::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()
    };
    let (mut out, mut at, mut halves) = (Vec::with_capacity(json.len()), 0, 0);
    while at < json.len() {
        let length = match (json[at], unit(at), unit(at + 6)) {
            (b'\\', Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => 12,
            (b'\\', Some(0xd800..=0xdfff), _) => {
                halves += 1;
                out.extend(b"\\ufffd");
                at += 6;
                continue;
            }
            (b'\\', ..) => 2.min(json.len() - at),
            _ => 1,
        };
        out.extend(&json[at..at + length]);
        at += length;
    }
    (halves > 0).then_some(out)
}

/// Calls `each` with every element of an array, and the line that it begins on.
fn elements(path: &Path, reader: &mut dyn BufRead, mut each: impl FnMut(u64, &[u8]) -> Result<()>) -> Result<()> {
    let wrong = |line: u64, got: &str| {
        let what = format!("line {line}: expected the elements of a JSON array, got {got}");
        Error::unreadable(path.display(), what, "fetch the file again, or write one object per line")
    };
    let mut element = Vec::new();
    let (mut line, mut begins) = (1, 1);
    // How many brackets are open, the array's own included; whether a string is, and whether its next byte is escaped.
    let (mut depth, mut in_string, mut escaped, mut any, mut ended) = (0u32, false, false, false, false);
    loop {
        let bytes = reader.fill_buf().map_err(|e| broken(path, &e))?;
        if bytes.is_empty() {
            return if ended { Ok(()) } else { Err(wrong(line, "the file's end")) };
        }
        let read = bytes.len();
        for byte in bytes {
            line += u64::from(*byte == b'\n');
            let separates = depth == 1 && !in_string && matches!(byte, b',' | b']');
            match byte {
                _ if ended && !byte.is_ascii_whitespace() => return Err(wrong(line, "something after its end")),
                _ if in_string && escaped => escaped = false,
                b'\\' if in_string => escaped = true,
                b'"' => in_string = !in_string,
                _ if in_string => {}
                b'[' | b'{' => depth += 1,
                b'}' if depth == 1 => return Err(wrong(line, "a bracket that closes nothing")),
                b']' | b'}' => {
                    depth -= 1;
                    ended = depth == 0;
                }
                _ => {}
            }
            if separates {
                let empty = element.trim_ascii().is_empty();
                if empty && (any || *byte == b',') {
                    return Err(wrong(line, "an empty one"));
                }
                if !empty {
                    each(begins, element.trim_ascii())?;
                }
                any = true;
                element.clear();
            } else if depth > 1 || (depth == 1 && *byte != b'[') {
                if element.is_empty() {
                    if byte.is_ascii_whitespace() {
                        continue;
                    }
                    begins = line;
                }
                element.push(*byte);
                if element.len() > MAX_ELEMENT_BYTES {
                    return Err(wrong(begins, "one of more than 64 MiB"));
                }
            }
        }
        reader.consume(read);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    /// A row: its line, and each wanted field or why there is none.
    type Got = (u64, Result<Vec<String>, String>);

    /// Rows of a file.
    fn rows(text: &[u8], wanted: &[&str]) -> Result<(Vec<Got>, Found)> {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(text).expect("writable");
        let mut all = Vec::new();
        let found = read(file.path(), Encoding::Utf8, wanted, &mut |row, fields| {
            let shown = |field: &Field<'_>| match field {
                Field::Text(text) => String::from_utf8_lossy(text).into_owned(),
                other => format!("{other:?}").replace("Text", ""),
            };
            all.push((row.line, fields.map(|fields| fields.iter().map(shown).collect()).map_err(|e| e.to_string())));
            Ok(())
        })?;
        Ok((all, found))
    }

    fn fields(text: &str, wanted: &[&str]) -> Vec<Vec<String>> {
        rows(text.as_bytes(), wanted)
            .expect("readable")
            .0
            .into_iter()
            .map(|(_, fields)| fields.expect("an object"))
            .collect()
    }

    #[test]
    fn numbers_keep_their_digits() {
        let text = "{\"id\": 98765432109876543210001}\n{\"id\": [18446744073709551616, 7]}\n{\"id\": 101.0}\n{\"id\": \"a 12345678901234567890\"}";
        let list =
            Field::List(vec![Field::Text(Cow::Borrowed(b"18446744073709551616")), Field::Text(Cow::Borrowed(b"7"))]);
        let list = format!("{list:?}").replace("Text", "");
        assert_eq!(
            fields(text, &["id"]),
            [["98765432109876543210001"], [&list], ["101.0"], ["a 12345678901234567890"]]
        );
    }

    #[test]
    fn half_a_surrogate_pair_is_no_reason_to_lose_a_row() {
        let text = r#"{"t": "party 🎉 tim\ud83d"}
{"t": "\\ud83d \udf89x"}"#;
        assert_eq!(fields(text, &["t"]), [["party 🎉 tim\u{fffd}"], ["\\ud83d \u{fffd}x"]]);
    }

    #[test]
    fn names_go_into_objects_and_lists_of_them() {
        let text = r#"{"u": {"id": 5, "n": {"x": true}}, "u.id": null, "c": [{"a": "N1"}, {"b": 0}, {"a": "N2"}]}"#;
        let got = fields(text, &["u.id", "u.n.x", "u.n", "c.a", "c.a.b"]);
        assert_eq!(got[0][..3], ["Missing", "true", "Missing"], "the member of the whole name comes first");
        assert!(got[0][3].starts_with("List([") && got[0][3].matches("Missing").count() == 1, "{}", got[0][3]);
    }

    #[test]
    fn columns_that_no_object_has_are_found_out() -> Result<()> {
        let (_, found) = rows(b"{\"id\": 1, \"u\": {\"x\": 1}}\n{\"id\": 2, \"t\": null}\n", &["id", "t", "tt", "u"])?;
        assert_eq!(found.absent, ["tt", "u"], "an object is no value");
        assert_eq!(found.columns, ["id", "t", "u.x"]);
        Ok(())
    }

    #[test]
    fn arrays_are_read_over_many_lines_and_on_one() -> Result<()> {
        let (got, _) = rows(b"\xef\xbb\xbf [ {\"id\": \"a]\\\"\"},\n\n{\"id\":\n [1]}, 5 ]\n", &["id"])?;
        let lines: Vec<(u64, bool)> = got.iter().map(|(line, fields)| (*line, fields.is_ok())).collect();
        assert_eq!(lines, [(1, true), (3, true), (4, false)]);
        assert!(rows(b"[]", &["id"])?.0.is_empty());
        for (text, got) in [
            ("[{\"id\": 1}", "line 1: expected the elements of a JSON array, got the file's end"),
            ("[{\"id\": 1},]", "an empty one"),
            (
                "[{\"id\": 1}]\n{\"id\": 2}",
                "line 2: expected the elements of a JSON array, got something after its end",
            ),
        ] {
            assert!(rows(text.as_bytes(), &["id"]).expect_err(text).to_string().contains(got));
        }
        Ok(())
    }

    fn awkward() -> impl Strategy<Value = String> {
        let pieces = prop::sample::select(vec![
            "{\"id\": 1}",
            "{\"id\": \"a\"}",
            "{\"id\":[2]}",
            "{",
            "}",
            "[",
            "]",
            ",",
            ",",
            ":",
            "\"",
            "\\",
            "\"id\"",
            "1",
            " ",
            "\n",
            "null",
            "é",
            "\\u00e9",
        ]);
        proptest::collection::vec(pieces, 0..9).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]

        #[test]
        fn an_array_is_accepted_whole_where_serde_json_accepts_it(text in awkward()) {
            let text = format!("[{text}]");
            let read = rows(text.as_bytes(), &["id"]).ok().map(|(rows, _)| rows);
            let accepted = read.and_then(|rows| rows.into_iter().map(|(_, fields)| fields.ok()).collect::<Option<Vec<_>>>());
            let strict = serde_json::from_str::<Vec<Map<String, Value>>>(&text).ok();
            let strict = strict.map(|rows| rows.iter().map(|row| row.get("id").cloned()).collect::<Vec<_>>());
            prop_assert_eq!(accepted.as_ref().map(Vec::len), strict.as_ref().map(Vec::len), "{}", text);
            for (got, expected) in accepted.iter().flatten().zip(strict.iter().flatten()) {
                match expected {
                    Some(Value::String(text)) if !text.is_empty() => prop_assert_eq!(&got[0], text),
                    Some(Value::Number(number)) => prop_assert_eq!(&got[0], &number.to_string()),
                    _ => {}
                }
            }
        }

        #[test]
        fn a_line_is_accepted_where_serde_json_accepts_it(text in awkward()) {
            let line = text.replace('\n', " ");
            prop_assume!(!line.trim_start().starts_with('[') && !line.trim().is_empty());
            let (read, _) = rows(line.as_bytes(), &["id"]).expect("a line is no reason to refuse a file");
            prop_assert_eq!(read[0].1.is_ok(), serde_json::from_str::<Map<String, Value>>(&line).is_ok(), "{}", line);
        }
    }
}
