//! A tolerant reader: finds the queries in an output that is no JSON list of strings, as a person would.
//!
//! Tokens are read one by one; nothing is split by a character that may also stand inside a query. What is valid JSON reads as JSON does
//! (a law: `laws/lists.rs`). Beyond that: code fences and text around the list; single, curly and other quotes; quotes inside a query;
//! objects, of which the member called query counts; lists that were cut off; numbered and bulleted lines with bold marks and notes.

/// Queries in an output, as they stand there.
pub(crate) fn queries(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let values = values(&chars);
    let lists = values.iter().filter_map(|value| match value {
        Value::List(items) => Some(strings(items)),
        _ => None,
    });
    let lists: Vec<Vec<String>> = lists.collect();
    // The first of the longest: what comes before and after the list may have brackets too. Or every query has its own.
    let longest = longest(lists.iter().cloned());
    let found = match longest.len() {
        0 => members(&values),
        1 => lists.concat(),
        _ => longest,
    };
    if !found.is_empty() {
        return found;
    }
    let lines = lines(text);
    if !lines.is_empty() {
        return lines;
    }
    // Strings one after the other, with nothing around them.
    match chars.iter().find(|c| !c.is_whitespace()) {
        Some(first) if closing(*first).is_some() => strings(&Reader { chars: &chars, at: 0 }.items(None, DEPTH)),
        _ => Vec::new(),
    }
}

fn longest(lists: impl Iterator<Item = Vec<String>>) -> Vec<String> {
    lists.reduce(|best, list| if list.len() > best.len() { list } else { best }).unwrap_or_default()
}

/// What is read.
#[derive(Debug, Clone, PartialEq)]
enum Value {
    Text(String),
    List(Vec<Value>),
    /// Names and values.
    Object(Vec<(String, Value)>),
    /// A number, a word without quotes, or a string that was cut off.
    Other,
}

/// All lists and objects of a text, in order, none inside another.
fn values(chars: &[char]) -> Vec<Value> {
    let mut reader = Reader { chars, at: 0 };
    let mut found = Vec::new();
    while let Some(c) = reader.peek() {
        match c {
            '[' | '{' => found.push(reader.value(DEPTH)),
            _ => reader.at += 1,
        }
    }
    found
}

/// The queries of a list's items: strings, and of every object one.
fn strings(items: &[Value]) -> Vec<String> {
    let of = |item: &Value| match item {
        Value::Text(text) => vec![text.clone()],
        Value::List(inner) => strings(inner),
        Value::Object(members) => query_of(members),
        Value::Other => Vec::new(),
    };
    items.iter().flat_map(of).collect()
}

/// An object's query: the member that is called so, else the first string.
fn query_of(members: &[(String, Value)]) -> Vec<String> {
    let text = |(name, value): &(String, Value)| match value {
        Value::Text(text) => Some((name.to_lowercase().contains("query"), text.clone())),
        _ => None,
    };
    let texts: Vec<(bool, String)> = members.iter().filter_map(text).collect();
    let named = texts.iter().find(|(named, _)| *named).or(texts.first());
    named.map(|(_, text)| text.clone()).into_iter().collect()
}

/// The queries of objects that stand in no list: one each if there are several, else a list among the members, else all of them.
fn members(values: &[Value]) -> Vec<String> {
    let objects: Vec<&Vec<(String, Value)>> = values
        .iter()
        .filter_map(|value| match value {
            Value::Object(members) if !members.is_empty() => Some(members),
            _ => None,
        })
        .collect();
    let [only] = objects.as_slice() else { return objects.iter().flat_map(|members| query_of(members)).collect() };
    let lists = only.iter().filter_map(|(_, value)| match value {
        Value::List(items) => Some(strings(items)),
        _ => None,
    });
    let list = longest(lists);
    if !list.is_empty() {
        return list;
    }
    strings(&only.iter().map(|(_, value)| value.clone()).collect::<Vec<_>>())
}

/// The mark that closes a string which begins with this one.
fn closing(open: char) -> Option<char> {
    Some(match open {
        '"' | '\'' | '`' => open,
        '“' | '„' | '‟' => '”',
        '‘' | '‚' => '’',
        '«' => '»',
        '「' => '」',
        '『' => '』',
        _ => return None,
    })
}

/// Whether a character closes a string that should be closed by this one: what a curly mark opened, a straight one may close.
fn closes(c: char, closing: char) -> bool {
    c == closing || (closing == '”' && matches!(c, '"' | '“')) || (closing == '’' && c == '\'')
}

/// Reads values from a place on. It never goes back, but to look ahead.
#[derive(Debug, Clone, Copy)]
struct Reader<'a> {
    chars: &'a [char],
    at: usize,
}

/// Lists inside lists that are read; deeper ones are passed over.
const DEPTH: usize = 8;

impl Reader<'_> {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn take(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += 1;
        Some(c)
    }

    fn skip(&mut self, skipped: impl Fn(char) -> bool) {
        while self.peek().is_some_and(&skipped) {
            self.at += 1;
        }
    }

    /// A value from here on; `depth` lists may still be begun.
    fn value(&mut self, depth: usize) -> Value {
        match self.peek() {
            Some('[') if depth > 0 => {
                self.at += 1;
                Value::List(self.items(Some(']'), depth - 1))
            }
            Some('{') if depth > 0 => {
                self.at += 1;
                Value::Object(self.members(depth - 1))
            }
            Some(open) if closing(open).is_some() => self.string().map_or(Value::Other, Value::Text),
            _ => {
                // What has no quotes.
                self.skip(|c| !matches!(c, ',' | ']' | '}' | '\n' | '"' | '“'));
                Value::Other
            }
        }
    }

    /// The items up to a closing bracket or the end.
    fn items(&mut self, end: Option<char>, depth: usize) -> Vec<Value> {
        let mut items = Vec::new();
        loop {
            self.skip(|c| c.is_whitespace() || matches!(c, ',' | ';' | '，' | '、'));
            match self.peek() {
                None => return items,
                Some(c) if Some(c) == end => {
                    self.at += 1;
                    return items;
                }
                // A bracket that closes nothing.
                Some(']' | '}') => self.at += 1,
                Some(_) => items.push(self.value(depth)),
            }
        }
    }

    /// The members of an object up to its end, or that of the list around it.
    fn members(&mut self, depth: usize) -> Vec<(String, Value)> {
        let mut members = Vec::new();
        loop {
            self.skip(|c| c.is_whitespace() || matches!(c, ',' | ';'));
            let start = self.at;
            let (name, alone) = match self.peek() {
                None | Some(']') => return members,
                Some('}') => {
                    self.at += 1;
                    return members;
                }
                Some(open) if closing(open).is_some() => match self.string() {
                    Some(name) => (name.clone(), Value::Text(name)),
                    None => return members,
                },
                Some(_) => {
                    self.skip(|c| !matches!(c, ':' | ',' | '}' | ']' | '\n'));
                    (self.chars[start..self.at].iter().collect(), Value::Other)
                }
            };
            self.skip(char::is_whitespace);
            if self.peek() != Some(':') {
                members.push((String::new(), alone));
                continue;
            }
            self.at += 1;
            self.skip(char::is_whitespace);
            members.push((name, self.value(depth)));
        }
    }

    /// A string from its opening mark on; `None` when it was cut off.
    fn string(&mut self) -> Option<String> {
        let close = self.take().and_then(closing)?;
        let mut text = String::new();
        loop {
            match self.take()? {
                '\\' => self.escaped(&mut text)?,
                c if closes(c, close) && self.ends() => return Some(text),
                // A line that ends inside a string goes on in the next, unless that begins another or the list ends. What is blank up to there is read
                // once.
                '\n' => {
                    let start = self.at;
                    if self.begins_anew() {
                        return Some(text);
                    }
                    self.skip(char::is_whitespace);
                    text.push('\n');
                    text.extend(&self.chars[start..self.at]);
                }
                c => text.push(c),
            }
        }
    }

    /// Whether a closing mark, which was just taken, is one: behind it comes what may follow a string, not the rest of a query.
    fn ends(&self) -> bool {
        let mut ahead = *self;
        ahead.skip(|c| c.is_whitespace() && c != '\n');
        let apart = ahead.at > self.at;
        match ahead.peek() {
            None | Some(',' | ']' | '}' | ':' | '\n' | ';' | '，' | '、') => true,
            // The comma is missing, or a note follows.
            Some(c) => apart && (closing(c).is_some() || matches!(c, '(' | '#' | '/' | '-' | '–' | '—')),
        }
    }

    /// Whether the next line begins a string or ends the list.
    fn begins_anew(&self) -> bool {
        let mut ahead = *self;
        ahead.skip(char::is_whitespace);
        ahead.peek().is_none_or(|c| closing(c).is_some() || matches!(c, ']' | '}'))
    }

    /// What a backslash, which was just taken, stands for (RFC 8259, section 7); any other character stands for itself.
    fn escaped(&mut self, text: &mut String) -> Option<()> {
        text.push(match self.take()? {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'u' => {
                let first = self.unit();
                let low = match first {
                    Some(0xd800..=0xdbff) if self.chars[self.at..].starts_with(&['\\', 'u']) => {
                        self.at += 2;
                        self.unit()
                    }
                    _ => None,
                };
                let units: Vec<u16> = first.into_iter().chain(low).collect();
                text.push_str(&String::from_utf16_lossy(&units));
                return Some(());
            }
            other => other,
        });
        Some(())
    }

    /// Four hexadecimal digits.
    fn unit(&mut self) -> Option<u16> {
        let digits: String = self.chars.get(self.at..self.at + 4)?.iter().collect();
        let unit = u16::from_str_radix(&digits, 16).ok()?;
        self.at += 4;
        Some(unit)
    }
}

/// The items of a list with numbers or dashes, a line each.
fn lines(text: &str) -> Vec<String> {
    text.lines().filter_map(item).map(query_in).filter(|query| !query.is_empty()).collect()
}

/// What stands behind a line's number or dash.
fn item(line: &str) -> Option<&str> {
    let line = line.trim();
    let behind = line.strip_prefix(['-', '*', '•', '·', '–', '—', '+', '◦']);
    if let Some(behind) = behind.filter(|behind| !behind.starts_with(['-', '*'])) {
        return Some(numbered(behind.trim_start()).unwrap_or(behind));
    }
    numbered(line)
}

/// What stands behind a number: `1.`, `2)`, `(3)`, `**4.**`, `Query 5:`.
fn numbered(line: &str) -> Option<&str> {
    let line = line.trim_start_matches(['*', '_', '(', '#']).trim_start();
    let word = line.get(..5).filter(|word| word.eq_ignore_ascii_case("query"));
    let line = word.map_or(line, |word| line[word.len()..].trim_start());
    let behind = line.trim_start_matches(|c: char| c.is_ascii_digit());
    let digits = line.len() - behind.len();
    let behind = behind.strip_prefix(['.', ')', ':', '、'])?;
    // "2.5 degrees" and "2026: a year" are no items.
    ((1..=2).contains(&digits) && !behind.starts_with(|c: char| c.is_ascii_digit())).then_some(behind)
}

/// The query in an item: what is in quotes or bold, else all up to a note.
fn query_in(item: &str) -> String {
    let item = item.trim_start_matches("**").trim();
    for mark in ["**", "__", "*", "_"] {
        if let Some((inside, _)) = item.strip_prefix(mark).and_then(|behind| behind.split_once(mark)) {
            return query_in(inside.trim_end_matches(':'));
        }
    }
    if item.starts_with(|c| closing(c).is_some()) {
        let chars: Vec<char> = item.chars().collect();
        return Reader { chars: &chars, at: 0 }.string().unwrap_or_else(|| item.chars().skip(1).collect());
    }
    let item = item.split_once("**").map_or(item, |(bold, _)| bold);
    let query = [" - ", " – ", " — ", " ("].iter().fold(item, |item, note| item.split(note).next().unwrap_or(item));
    query.trim_end_matches([',', ';', ':', ' ']).to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value as Json, json};

    use super::*;

    /// JSON of every kind.
    fn any_json() -> impl Strategy<Value = Json> {
        let text = prop_oneof!["\\PC{0,12}", "[a-z\"\\\\'“”,:\\]\\[{}\n\t ]{0,10}"].prop_map(Json::from);
        let leaf = prop_oneof![4 => text, 1 => Just(Json::Null), 1 => any::<i32>().prop_map(Json::from)];
        leaf.prop_recursive(3, 24, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Json::from),
                proptest::collection::vec(("[a-z\": ]{0,6}", inner), 0..4)
                    .prop_map(|members| Json::Object(members.into_iter().collect())),
            ]
        })
    }

    /// The same value as this reader has it.
    fn as_read(json: &Json) -> Value {
        match json {
            Json::String(text) => Value::Text(text.clone()),
            Json::Array(items) => Value::List(items.iter().map(as_read).collect()),
            Json::Object(members) => Value::Object(members.iter().map(|(k, v)| (k.clone(), as_read(v))).collect()),
            _ => Value::Other,
        }
    }

    /// JSON text with every character that is not ASCII escaped.
    fn escaped(json: &str) -> String {
        let units =
            |c: char| c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect::<String>();
        json.chars().map(|c| if c.is_ascii() { c.to_string() } else { units(c) }).collect()
    }

    proptest! {
        #[test]
        fn what_is_valid_reads_as_json_does(json in any_json(), form in 0..3) {
            let json = json!([json]);
            let text = match form {
                0 => json.to_string(),
                1 => format!("{json:#}"),
                _ => escaped(&json.to_string()),
            };
            prop_assert_eq!(&serde_json::from_str::<Json>(&text).expect("valid"), &json);
            let chars: Vec<char> = text.chars().collect();
            prop_assert_eq!(values(&chars), [as_read(&json)]);
        }

        #[test]
        fn a_list_is_found_wherever_it_stands(
            list in proptest::collection::vec("\\PC{1,16}", 2..8),
            before in "[a-zA-Z .,:'\"\n`]{0,20}",
            after in "[a-zA-Z .,:'\"\n`]{0,20}",
        ) {
            let text = format!("{before}{}{after}", json!(list));
            prop_assert_eq!(queries(&text), list);
        }

        #[test]
        fn any_text_is_read(text in "(\\PC|[\\[\\]{}\"',:\\\\u\n-]){0,60}") {
            queries(&text);
        }
    }

    #[test]
    fn brackets_without_end_are_read_in_one_pass() {
        for open in ["[", "{", "[\"", "{\"a\":", "[{"] {
            assert!(queries(&open.repeat(50_000)).len() <= 50_000);
        }
        let read = queries(&format!("[\"a{}b\"]", "\n \n".repeat(500_000)));
        assert_eq!(read.len(), 1, "and so are blank lines inside a string");
    }
}
