//! A file of labels: TSV, CSV or JSONL.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use dataset::{Error, Result};
use serde_json::Value;

use super::{Candidate, Verdict};

const HINT: &str =
    "a labels file has the columns text and label (1 keep, 0 noise), and perhaps domain (or source) and reason";
const MOST_BYTES: u64 = 1 << 30;
/// Characters of a domain's name.
const LONGEST_DOMAIN: usize = 32;

/// Whether there is a file that can be read: not a pipe, nor without end.
pub(super) fn check(path: &Path) -> Result<()> {
    match path.exists() {
        true => dataset::check_file(path, MOST_BYTES, HINT).map(drop),
        false => Err(Error::setting("annotate.labels_file", "a file", path.display(), "no such file: check the path")),
    }
}

/// The labels of a file whose ending says what it is: .tsv, .csv or .jsonl. Of a text that occurs twice, the first counts; two different
/// labels are an error. No error shows what a cell holds: columns may be swapped, and texts are people's.
///
/// # Errors
/// Also when the file is not that of the digest any more.
pub(super) fn read(path: &Path, digest: &str) -> Result<Vec<Candidate>> {
    let content = dataset::read_file(path, MOST_BYTES, HINT)?;
    if blake3::hash(&content).to_hex().as_str() != digest {
        return Err(Error::retry(format!("{}: the file changed while it was read", path.display()), "run again"));
    }
    LabelsFile { path, content: &content }.candidates()
}

/// A file of labels.
struct LabelsFile<'a> {
    path: &'a Path,
    content: &'a [u8],
}

impl LabelsFile<'_> {
    fn wrong(&self, line: u64, what: &str) -> Error {
        Error::unreadable(format!("{}:{line}", self.path.display()), what, HINT)
    }

    fn candidates(&self) -> Result<Vec<Candidate>> {
        let ending = self.path.extension().and_then(|e| e.to_str()).unwrap_or_default();
        let rows = match ending {
            "jsonl" => self.json_rows()?,
            "csv" => self.delimited_rows(b',', true)?,
            // In TSV a quote is a character like any other.
            "tsv" => self.delimited_rows(b'\t', false)?,
            other => return Err(self.wrong(0, &format!("expected .tsv, .csv or .jsonl, got .{other}"))),
        };
        let mut seen: BTreeMap<String, bool> = BTreeMap::new();
        let mut candidates = Vec::new();
        for (line, row) in rows {
            let candidate = self.candidate(line, &row)?;
            let keep = candidate.given.as_ref().is_some_and(|verdict| verdict.keep);
            match seen.insert(candidate.text.clone(), keep) {
                None => candidates.push(candidate),
                Some(before) if before == keep => {}
                Some(_) => {
                    return Err(self.wrong(line, "expected one label per text, got another than in a line before"));
                }
            }
        }
        Ok(candidates)
    }

    fn candidate(&self, line: u64, row: &BTreeMap<String, String>) -> Result<Candidate> {
        let text = row.get("text").map(|text| text.trim()).unwrap_or_default();
        if text.is_empty() {
            return Err(self.wrong(line, "text: expected a behaviour, got nothing"));
        }
        let keep = match row.get("label").map(|label| label.trim()) {
            Some("1" | "true" | "keep") => true,
            Some("0" | "false" | "noise") => false,
            None | Some("") => return Err(self.wrong(line, "label: expected 1 or 0, got nothing")),
            Some(_) => return Err(self.wrong(line, "label: expected 1 or 0, got something else")),
        };
        let domain = row.get("domain").or(row.get("source")).map_or("search", |domain| domain.trim());
        let in_a_name = |c: char| c.is_alphanumeric() || "-_./".contains(c);
        if domain.is_empty() || domain.len() > LONGEST_DOMAIN || !domain.chars().all(in_a_name) {
            return Err(self.wrong(line, "domain: expected a name such as search, got something else"));
        }
        let reason = row.get("reason").filter(|reason| !reason.is_empty()).cloned();
        Ok(Candidate { text: text.into(), domain: domain.into(), given: Some(Verdict { keep, reason }) })
    }

    fn delimited_rows(&self, delimiter: u8, quoting: bool) -> Result<Vec<(u64, BTreeMap<String, String>)>> {
        let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).quoting(quoting).from_reader(self.content);
        let header = reader.headers().map_err(|e| self.wrong(1, &kind(&e)))?.clone();
        let names: HashSet<&str> = header.iter().collect();
        if let Some(missing) = ["text", "label"].into_iter().find(|name| !names.contains(name)) {
            return Err(self.wrong(1, &format!("expected a column {missing} in the header line")));
        }
        let rows = reader.records().map(|record| {
            let record = record.map_err(|e| self.wrong(e.position().map_or(0, csv::Position::line), &kind(&e)))?;
            let line = record.position().map_or(0, csv::Position::line);
            Ok((line, header.iter().zip(&record).map(|(name, cell)| (name.to_owned(), cell.to_owned())).collect()))
        });
        rows.collect()
    }

    fn json_rows(&self) -> Result<Vec<(u64, BTreeMap<String, String>)>> {
        let mut rows = Vec::new();
        for (line, json) in (1..).zip(self.content.split(|byte| *byte == b'\n')) {
            let json = std::str::from_utf8(json).map_err(|_| self.wrong(line, "expected UTF-8"))?;
            if json.trim().is_empty() {
                continue;
            }
            let object: BTreeMap<String, Value> =
                serde_json::from_str(json).map_err(|_| self.wrong(line, "expected a JSON object"))?;
            let cell = |value: Value| match value {
                Value::String(text) => text,
                other => other.to_string(),
            };
            rows.push((line, object.into_iter().map(|(name, value)| (name, cell(value))).collect()));
        }
        Ok(rows)
    }
}

/// What is wrong with a row, without its text.
fn kind(e: &csv::Error) -> String {
    match e.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => format!("expected {expected_len} cells, got {len}"),
        csv::ErrorKind::Utf8 { .. } => "expected UTF-8".into(),
        csv::ErrorKind::Io(e) => e.to_string(),
        _ => "expected delimited cells".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, content: &str) -> Result<Vec<Candidate>> {
        LabelsFile { path: Path::new(name), content: content.as_bytes() }.candidates()
    }

    #[test]
    fn three_formats_say_the_same() -> Result<()> {
        let tsv = read("l.tsv", "text\tsource\tlabel\nmoon \"landing\"\tsearch\t1\nlogin\tbrowse\t0\n")?;
        let csv = read("l.csv", "label,text,domain\n1,\"moon \"\"landing\"\"\",search\n0,login,browse\n")?;
        let jsonl = read(
            "l.jsonl",
            "{\"text\":\"moon \\\"landing\\\"\",\"label\":1,\"domain\":\"search\"}\n\n{\"text\":\"login\",\"label\":false,\"domain\":\"browse\"}\n",
        )?;
        assert_eq!(tsv, csv);
        assert_eq!(tsv, jsonl);
        assert_eq!((tsv.len(), tsv[0].text.as_str()), (2, "moon \"landing\""));
        Ok(())
    }

    #[test]
    fn a_wrong_row_is_named_and_its_text_is_not() {
        for (name, content, expected) in [
            ("l.tsv", "text\tlabel\nsecret words\t2\n", "l.tsv:2: label: expected 1 or 0, got something else"),
            ("l.tsv", "text\tlabel\nsecret words\t1\nsecret words\t0\n", "l.tsv:3: expected one label per text"),
            ("l.tsv", "text\tlabel\nsecret words\t1\tmore\n", "l.tsv:2: expected 2 cells, got 3"),
            ("l.csv", "behaviour,label\nsecret words,1\n", "l.csv:1: expected a column text"),
            // Swapped columns.
            ("l.tsv", "label\ttext\nsecret\t1\n", "l.tsv:2: label: expected 1 or 0, got something else"),
            ("l.csv", "text,label\n1,secret\n", "l.csv:2: label: expected 1 or 0, got something else"),
            ("l.csv", "label,domain,text\n1,secret words,search\n", "l.csv:2: domain: expected a name such as search"),
            ("l.jsonl", "{\"text\": \"1\", \"label\": [\"secret\"]}\n", "l.jsonl:1: label: expected 1 or 0"),
            ("l.jsonl", "{\"text\": \"secret words\"\n", "l.jsonl:1: expected a JSON object"),
            ("l.txt", "secret words", "expected .tsv, .csv or .jsonl, got .txt"),
        ] {
            let error = read(name, content).expect_err(name).to_string();
            assert!(error.contains(expected), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
