//! Separated text, read as strictly as RFC 4180 has it: CSV with quotes, TSV without.
//!
//! A quote counts only at the start of a field, and then up to the next one, which a delimiter or the line's end must follow. What breaks
//! that is set aside with all lines that it may have swallowed, and reading goes on at the next line. So no text of one row ever becomes
//! another's, and loss is counted in lines.

use std::borrow::Cow;
use std::io::{self, BufRead};
use std::ops::Range;
use std::path::Path;

use dataset::{Error, Result};
use memchr::{memchr, memchr_iter, memchr2};

use super::columns::Columns;
use super::open::{BOM, Line, bare, open, read_line, skip_line};
use super::quotes::Quotes;
use super::{Each, Field, Found, Reason, Row, Shape, broken, reason};

/// A longer record, or a quoted field that goes on for longer, was not meant to.
const MAX_RECORD_BYTES: usize = 16 << 20;

/// What stands between and around fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dialect {
    pub(crate) delimiter: u8,
    /// None: quotes are text.
    pub(crate) quote: Option<u8>,
    /// Within quotes, what makes a following quote, or another of itself, text. None: a quote is doubled.
    pub(crate) escape: Option<u8>,
}

/// Reads the wanted columns of a file.
pub(super) fn read(path: &Path, shape: &Shape<'_>, wanted: &[&str], each: &mut Each<'_>) -> Result<Found> {
    let mut records = Records::new(open(path, shape.encoding)?, shape.dialect, MAX_RECORD_BYTES);
    let next = |records: &mut Records<_>| match records.next() {
        Err(e) if e.kind() == io::ErrorKind::FileTooLarge => {
            let what = format!("a quote on line {} is not closed within 16 MiB", records.row.line);
            Err(Error::unreadable(path.display(), what, "mend that line; if quotes mean nothing, say quote = \"\""))
        }
        Err(e) => Err(broken(path, &e)),
        Ok(record) => Ok(record),
    };
    let columns = match (shape.columns, next(&mut records)) {
        ([], Ok(None)) => return Ok(Found::default()),
        ([], Ok(Some(Ok(())))) => {
            (0..records.len()).map(|i| String::from_utf8_lossy(records.field(i)).trim().to_owned()).collect()
        }
        ([], Ok(Some(Err(reason)))) => {
            let what = format!("line {}, the header: {reason}", records.row.line);
            return Err(Error::unreadable(path.display(), what, "mend it, or name the columns in `columns`"));
        }
        ([], Err(e)) => return Err(e),
        (names, first) => {
            first?;
            names.to_vec()
        }
    };
    let columns = Columns(columns);
    let at = columns.positions(path, wanted)?;
    let mut found = Found { columns: columns.names(), ..Found::default() };
    // Without a header line, the first record is a row.
    let mut record = if shape.columns.is_empty() { next(&mut records)? } else { records.again() };
    while let Some(read) = record {
        let row = records.row;
        match read {
            Err(reason) => each(row, Err(reason))?,
            Ok(()) if records.len() != columns.0.len() => {
                each(row, Err(reason::fields(columns.0.len(), records.len())))?;
            }
            Ok(()) if records.is_header(&columns) => found.headers += 1,
            Ok(()) => {
                let field = |i: &usize| match records.field(*i) {
                    [] => Field::Missing,
                    text => Field::Text(Cow::Borrowed(text)),
                };
                let fields: Vec<Field<'_>> = at.iter().map(field).collect();
                each(row, Ok(&fields))?;
            }
        }
        record = next(&mut records)?;
    }
    Ok(found)
}

/// The records of a text, one after the other.
struct Records<R> {
    input: R,
    dialect: Dialect,
    /// More than so much of a record is not held.
    max_bytes: usize,
    /// The record's lines as they are.
    raw: Vec<u8>,
    /// Its fields without quotes, if it has any.
    unquoted: Vec<u8>,
    /// Whether the fields lie in `unquoted`.
    quoted: bool,
    fields: Vec<Range<usize>>,
    /// Where the record lies.
    row: Row,
    /// What became of it.
    outcome: Option<Result<(), Reason>>,
}

impl<R: BufRead> Records<R> {
    fn new(input: R, dialect: Dialect, max_bytes: usize) -> Self {
        Records {
            input,
            dialect,
            max_bytes,
            raw: Vec::new(),
            unquoted: Vec::new(),
            quoted: false,
            fields: Vec::new(),
            row: Row { line: 0, lines: 1 },
            outcome: None,
        }
    }

    /// How many fields the record has.
    fn len(&self) -> usize {
        self.fields.len()
    }

    fn field(&self, i: usize) -> &[u8] {
        let text = if self.quoted { &self.unquoted } else { &self.raw };
        &text[self.fields[i].clone()]
    }

    /// Whether the record says the columns' names once more.
    fn is_header(&self, columns: &Columns) -> bool {
        let mut names = columns.0.iter().enumerate();
        names.all(|(i, name)| self.field(i).trim_ascii() == name.as_bytes())
    }

    /// What [`Self::next`] said last.
    fn again(&self) -> Option<Result<(), Reason>> {
        self.outcome.clone()
    }

    /// The next record that is no empty line; none at the end.
    fn next(&mut self) -> io::Result<Option<Result<(), Reason>>> {
        self.outcome = self.read()?;
        Ok(self.outcome.clone())
    }

    fn read(&mut self) -> io::Result<Option<Result<(), Reason>>> {
        self.row.line += self.row.lines;
        loop {
            self.raw.clear();
            self.row.lines = 1;
            match read_line(&mut self.input, self.max_bytes, &mut self.raw)? {
                Line::None => return Ok(None),
                Line::TooLong => return Ok(Some(Err(self.skip()?))),
                Line::Whole => {}
            }
            let start = if self.raw.starts_with(BOM) { BOM.len() } else { 0 };
            let body = bare(&self.raw);
            if body.is_empty() {
                self.row.line += 1;
                continue;
            }
            self.fields.clear();
            let Some(quote) = self.dialect.quote else {
                self.split(start..start + body.len());
                return Ok(Some(Ok(())));
            };
            if memchr(quote, body).is_some() {
                return Ok(Some(self.unquote(start, quote)?));
            }
            if memchr(b'\r', body).is_some() {
                return Ok(Some(Err(reason::BARE_RETURN)));
            }
            self.split(start..start + body.len());
            return Ok(Some(Ok(())));
        }
    }

    /// Reads to the end of a line with which the record has become too long to be held, and says so.
    ///
    /// # Errors
    /// `FileTooLarge`, if a quote is open even there: whatever comes next may be its text.
    fn skip(&mut self) -> io::Result<Reason> {
        let mut quotes = Quotes::new(self.dialect);
        let mut see = |bytes: &[u8]| quotes.iter_mut().for_each(|quotes| quotes.see(bytes));
        see(self.raw.strip_prefix(BOM).unwrap_or(&self.raw));
        skip_line(&mut self.input, see)?;
        match quotes.is_some_and(|quotes| quotes.open()) {
            true => Err(io::ErrorKind::FileTooLarge.into()),
            false => Ok(reason::LONG_LINE),
        }
    }

    /// Fields of a line without quotes.
    fn split(&mut self, body: Range<usize>) {
        self.quoted = false;
        let mut from = body.start;
        for at in memchr_iter(self.dialect.delimiter, &self.raw[body.clone()]) {
            self.fields.push(from..body.start + at);
            from = body.start + at + 1;
        }
        self.fields.push(from..body.end);
    }

    /// Fields of a record that begins on a line with quotes, and goes on for as long as one is open.
    fn unquote(&mut self, start: usize, quote: u8) -> io::Result<Result<(), Reason>> {
        let delimiter = self.dialect.delimiter;
        self.quoted = true;
        self.unquoted.clear();
        let mut at = start;
        loop {
            let begin = self.unquoted.len();
            if self.raw.get(at) == Some(&quote) {
                match self.quoted_field(at + 1, quote)? {
                    Ok(end) => at = end,
                    Err(reason) => return Ok(Err(reason)),
                }
            } else {
                let line = self.raw.strip_suffix(b"\n").unwrap_or(&self.raw);
                let line = line.strip_suffix(b"\r").unwrap_or(line);
                let field = &line[at.min(line.len())..];
                let field = &field[..memchr(delimiter, field).unwrap_or(field.len())];
                if memchr(b'\r', field).is_some() {
                    return Ok(Err(reason::BARE_RETURN));
                }
                self.unquoted.extend_from_slice(field);
                at += field.len();
            }
            self.fields.push(begin..self.unquoted.len());
            match &self.raw[at..] {
                [first, ..] if *first == delimiter => at += 1,
                [] | b"\n" | b"\r\n" | b"\r" => return Ok(Ok(())),
                _ => return Ok(Err(reason::AFTER_QUOTE)),
            }
        }
    }

    /// Appends a quoted field that begins at `at`, and the lines that it goes on to. Returns where it ends, behind the closing quote.
    fn quoted_field(&mut self, mut at: usize, quote: u8) -> io::Result<Result<usize, Reason>> {
        let escape = self.dialect.escape.unwrap_or(quote);
        loop {
            let Some(found) = memchr2(quote, escape, &self.raw[at..]) else {
                self.unquoted.extend_from_slice(&self.raw[at..]);
                at = self.raw.len();
                match read_line(&mut self.input, self.max_bytes, &mut self.raw)? {
                    Line::None => return Ok(Err(reason::OPEN_QUOTE)),
                    Line::TooLong => {
                        self.row.lines += 1;
                        return Ok(Err(self.skip()?));
                    }
                    Line::Whole => self.row.lines += 1,
                }
                continue;
            };
            self.unquoted.extend_from_slice(&self.raw[at..at + found]);
            at += found;
            let (mark, after) = (self.raw[at], self.raw.get(at + 1));
            match after {
                Some(text) if mark == escape && (*text == quote || *text == escape) => {
                    self.unquoted.push(*text);
                    at += 2;
                }
                _ if mark == quote => return Ok(Ok(at + 1)),
                _ => {
                    self.unquoted.push(mark);
                    at += 1;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CSV: Dialect = Dialect { delimiter: b',', quote: Some(b'"'), escape: None };

    /// What a record is: its lines, and its fields or why there are none.
    type Got = (u64, u64, Result<Vec<String>, String>);

    fn records(text: &str, dialect: Dialect) -> Vec<Got> {
        let mut records = Records::new(text.as_bytes(), dialect, MAX_RECORD_BYTES);
        let mut all = Vec::new();
        while let Some(read) = records.next().expect("in memory") {
            let fields = (0..records.len()).map(|i| String::from_utf8_lossy(records.field(i)).into_owned());
            all.push((records.row.line, records.row.lines, read.map(|()| fields.collect()).map_err(|e| e.to_string())));
        }
        all
    }

    /// The same of a reader that holds so many bytes; and whether it gave up at an open quote.
    fn within(text: &str, dialect: Dialect, max_bytes: usize) -> (Vec<Got>, bool) {
        let mut records = Records::new(io::BufReader::with_capacity(3, text.as_bytes()), dialect, max_bytes);
        let mut all = Vec::new();
        loop {
            let read = match records.next() {
                Ok(Some(read)) => read,
                end => return (all, end.is_err()),
            };
            assert!(records.raw.len() <= max_bytes);
            let fields = (0..records.len()).map(|i| String::from_utf8_lossy(records.field(i)).into_owned());
            all.push((records.row.line, records.row.lines, read.map(|()| fields.collect()).map_err(|e| e.to_string())));
        }
    }

    fn good(line: u64, lines: u64, fields: &[&str]) -> Got {
        (line, lines, Ok(fields.iter().map(|field| (*field).to_owned()).collect()))
    }

    fn bad(line: u64, lines: u64, reason: Reason) -> Got {
        (line, lines, Err(reason.to_string()))
    }

    #[test]
    fn quotes_are_those_of_rfc_4180() {
        for (text, expected) in [
            ("a,b\r\n\r\nc,\n", vec![good(1, 1, &["a", "b"]), good(3, 1, &["c", ""])]),
            ("\"a,\"\"b\"\"\",\"\"\n", vec![good(1, 1, &["a,\"b\"", ""])]),
            ("\"a\nb\",c\nd,e", vec![good(1, 2, &["a\nb", "c"]), good(3, 1, &["d", "e"])]),
            ("27\" screen,x\n", vec![good(1, 1, &["27\" screen", "x"])]),
            ("\"a\" ,b\nc,d\n", vec![bad(1, 1, reason::AFTER_QUOTE), good(2, 1, &["c", "d"])]),
            // A quote that another row's closes takes no row with it in silence.
            ("u,\"12 inch\nv,x\nw,27\" screen\ny,z\n", vec![bad(1, 3, reason::AFTER_QUOTE), good(4, 1, &["y", "z"])]),
            ("u,\"12 inch\nv,x\nw,y\n", vec![bad(1, 3, reason::OPEN_QUOTE)]),
            ("a\rb,c\nd,\"e\"\r", vec![bad(1, 1, reason::BARE_RETURN), good(2, 1, &["d", "e"])]),
            ("a,\"b\r\nc\"\r\n", vec![good(1, 2, &["a", "b\r\nc"])]),
        ] {
            assert_eq!(records(text, CSV), expected, "{text:?}");
        }
    }

    #[test]
    fn other_dialects() {
        let tsv = Dialect { delimiter: b'\t', quote: None, escape: None };
        let expected = [good(1, 1, &["\"a", "b\rc"]), good(2, 1, &["d", ""])];
        assert_eq!(records("\"a\tb\rc\nd\t\n", tsv), expected, "quotes and returns are text");
        let spark = Dialect { escape: Some(b'\\'), ..CSV };
        let expected = [
            good(1, 1, &["he said \"hello\"", "x"]),
            good(2, 1, &["C:\\temp \\ \"", "\\\"y"]),
            bad(3, 1, reason::AFTER_QUOTE),
        ];
        let text = "\"he said \\\"hello\\\"\",x\n\"C:\\temp \\\\ \\\"\",\\\"y\n\"doubled \"\"quotes\"\"\",z\n";
        assert_eq!(records(text, spark), expected);
        // Without the setting, the same is no CSV.
        assert_eq!(records("\"he said \\\"hello\\\"\",x\n", CSV), [bad(1, 1, reason::AFTER_QUOTE)]);
    }

    #[test]
    fn a_record_that_is_too_long_is_set_aside_and_not_held() {
        let text = "a,b\n1,2\nlong,line\n\"x\ny\",z\n\"a\nlong\",line\n\"c\",d\n";
        let expected = [
            good(1, 1, &["a", "b"]),
            good(2, 1, &["1", "2"]),
            bad(3, 1, reason::LONG_LINE),
            good(4, 2, &["x\ny", "z"]),
            bad(6, 2, reason::LONG_LINE),
            good(8, 1, &["c", "d"]),
        ];
        assert_eq!(within(text, CSV, 8), (expected.to_vec(), false));
        // What follows a quote that is open even there may be its text.
        assert_eq!(within("a,b\nu,\"long text\nv,x\n", CSV, 8), (vec![good(1, 1, &["a", "b"])], true));
        let tsv = Dialect { delimiter: b'\t', quote: None, escape: None };
        let expected = [bad(1, 1, reason::LONG_LINE), good(2, 1, &["v", "x"])];
        assert_eq!(within("u\t\"long text\nv\tx\n", tsv, 8), (expected.to_vec(), false));
    }

    /// RFC 4180's grammar, character by character over the whole text: the fields of all records, or nothing.
    fn strict(text: &str) -> Option<Vec<Vec<String>>> {
        let text: Vec<char> = text.chars().collect();
        let (mut rows, mut row, mut at) = (Vec::new(), Vec::new(), 0);
        let end = |at: usize| match text.get(at..) {
            None | Some([]) => Some(0),
            Some(['\n', ..]) => Some(1),
            Some(['\r', '\n', ..]) => Some(2),
            Some(['\r']) => Some(1),
            _ => None,
        };
        while at < text.len() {
            let mut field = String::new();
            if text[at] == '"' {
                at += 1;
                loop {
                    match (text.get(at)?, text.get(at + 1)) {
                        ('"', Some('"')) => {
                            field.push('"');
                            at += 2;
                        }
                        ('"', _) => break,
                        (c, _) => {
                            field.push(*c);
                            at += 1;
                        }
                    }
                }
                at += 1;
            } else {
                while text.get(at) != Some(&',') && end(at).is_none() {
                    if text[at] == '\r' {
                        return None;
                    }
                    field.push(text[at]);
                    at += 1;
                }
            }
            row.push(field);
            match (text.get(at), end(at)) {
                (Some(','), _) => {
                    at += 1;
                    if at == text.len() {
                        row.push(String::new());
                        rows.push(std::mem::take(&mut row));
                    }
                }
                (_, Some(length)) => {
                    at += length;
                    rows.push(std::mem::take(&mut row));
                }
                _ => return None,
            }
        }
        Some(rows.into_iter().filter(|row| row != &[String::new()]).collect())
    }

    fn awkward() -> impl Strategy<Value = String> {
        let pieces = prop::sample::select(vec!["a", "é", ",", ",", "\"", "\"", "\"\"", "\n", "\r\n", "\r", " ", "\\"]);
        proptest::collection::vec(pieces, 0..24).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

        #[test]
        fn what_is_accepted_whole_a_strict_reader_accepts_with_the_same_fields(text in awkward()) {
            let read = records(&text, CSV);
            // A lone empty quoted field is a record here, and an empty line to the other.
            let read: Vec<Got> = read.into_iter().filter(|(_, _, fields)| fields != &Ok(vec![String::new()])).collect();
            let accepted: Result<Vec<Vec<String>>, String> = read.iter().map(|(_, _, fields)| fields.clone()).collect();
            prop_assert_eq!(accepted.ok(), strict(&text));
        }

        #[test]
        fn records_within_the_limit_are_those_of_no_limit(text in awkward(), max_bytes in 2usize..16, escape in any::<bool>()) {
            let dialect = Dialect { escape: escape.then_some(b'\\'), ..CSV };
            let mut unlimited = Records::new(text.as_bytes(), dialect, usize::MAX);
            let (got, gave_up) = within(&text, dialect, max_bytes);
            let mut got = got.into_iter();
            while let Some(read) = unlimited.next().expect("in memory") {
                let fields = (0..unlimited.len()).map(|i| String::from_utf8_lossy(unlimited.field(i)).into_owned());
                let (line, lines) = (unlimited.row.line, unlimited.row.lines);
                let same = (line, lines, read.clone().map(|()| fields.collect()).map_err(|e| e.to_string()));
                let fits = unlimited.raw.len() <= max_bytes;
                match got.next() {
                    Some(got) if fits => prop_assert_eq!(got, same),
                    Some(got) => prop_assert_eq!(got, bad(line, lines, reason::LONG_LINE)),
                    None => {
                        // A quote was open at the end of the line with which it became too long.
                        prop_assert!(gave_up && !fits && (lines > 1 || read == Err(reason::OPEN_QUOTE)), "{same:?}");
                        return Ok(());
                    }
                }
            }
            prop_assert!(got.next().is_none() && !gave_up);
        }

        #[test]
        fn every_line_is_in_one_record_or_empty(text in awkward()) {
            let read = records(&text, CSV);
            let ends: Vec<u64> = read.iter().map(|(line, lines, _)| line + lines).collect();
            let starts = read.iter().map(|(line, ..)| *line).skip(1);
            prop_assert!(ends.iter().zip(starts).all(|(end, start)| *end <= start), "{read:?}");
            prop_assert!(ends.last().is_none_or(|end| *end <= 1 + text.split('\n').count() as u64), "{read:?}");
        }

        #[test]
        fn what_is_written_by_the_rules_is_read_back(rows in proptest::collection::vec(proptest::collection::vec("[a,\"\r\né ]{0,6}", 2), 0..6)) {
            let quoted = |field: &String| format!("\"{}\"", field.replace('"', "\"\""));
            let line = |row: &Vec<String>| row.iter().map(quoted).collect::<Vec<_>>().join(",") + "\r\n";
            let read: Vec<_> = records(&rows.iter().map(line).collect::<String>(), CSV).into_iter().map(|(_, _, fields)| fields).collect();
            prop_assert_eq!(read, rows.into_iter().map(Ok).collect::<Vec<_>>());
        }
    }
}
