//! Files: separated text, its dialects and encodings, archives.

use std::io::Write;

use super::{log, refused, run, run_with, searches};
use dataset::Result;

fn csv(rows: &str) -> Vec<u8> {
    format!("user,time,text\n{rows}").into_bytes()
}

fn many(rows: std::ops::Range<u32>) -> String {
    rows.map(|i| format!("u{i},2025-11-30T10:{:02}:{:02}Z,query {i}\n", i / 60, i % 60)).collect()
}

#[test]
fn a_quote_left_open_costs_no_row_in_silence() -> Result<()> {
    let text = csv(&format!("{}u,2025-11-30T10:08:20Z,\"12 inch monitor\n{}", many(0..500), many(500..999)));
    let section = searches("log.csv", "csv", "");
    let ran = run(&section, &[("log.csv", &text)])?;
    assert_eq!(ran.texts().len(), 500);
    let lost = ran.account().quarantined["a quote that is never closed"];
    assert_eq!((lost, ran.account().input), (500, 1_000), "loss is counted in lines");
    assert_eq!(ran.aside()[0].0, 502);
    let error = run_with(&section, &[("log.csv", &text)], 0.01).err().expect("half of it is lost").to_string();
    assert!(error.contains("500 of 1000 behaviours") && error.contains("log.csv:502"), "{error}");
    Ok(())
}

#[test]
fn no_row_becomes_another_persons_text() -> Result<()> {
    let stray = "u100,2025-11-30T11:00:00Z,\"12 inch monitor\nu101,2025-11-30T11:00:01Z,my query\n\
                 u102,2025-11-30T11:00:02Z,27\" screen\n";
    let text = csv(&format!("{}{stray}{}", many(0..100), many(200..300)));
    let ran = run(&searches("log.csv", "csv", ""), &[("log.csv", &text)])?;
    assert_eq!(ran.texts().len(), 200);
    assert!(ran.texts().iter().all(|text| text.starts_with("query")), "{:?}", ran.texts());
    assert_eq!(ran.account().quarantined["text after a closing quote"], 3);
    Ok(())
}

#[test]
fn a_row_of_another_width_says_both() -> Result<()> {
    let text = csv("u1,2025-11-30T10:00:00Z,a\nu2,2025-11-30T10:00:00Z,b, c\nu3,2025-11-30T10:00:00Z\n");
    let ran = run(&searches("l.csv", "csv", ""), &[("l.csv", &text)])?;
    let aside = [(3, "expected 3 fields, got 4".to_owned()), (4, "expected 3 fields, got 2".to_owned())];
    assert_eq!((ran.texts(), ran.aside()), (vec!["a".to_owned()], aside.to_vec()));
    Ok(())
}

#[test]
fn a_return_is_text_in_tsv_and_no_csv() -> Result<()> {
    let rows = "user\ttime\ttext\nu1\t2025-11-30T10:00:00Z\ta\rb\nu2\t2025-11-30T10:00:01Z\tc\n";
    let ran = run(&searches("l.tsv", "tsv", ""), &[("l.tsv", rows.as_bytes())])?;
    assert_eq!((ran.texts(), ran.aside()), (vec!["a b".to_owned(), "c".to_owned()], vec![]));
    let ran = run(&searches("l.csv", "csv", ""), &[("l.csv", rows.replace('\t', ",").as_bytes())])?;
    assert_eq!(ran.texts(), ["c"]);
    assert_eq!(ran.aside(), [(2, "a carriage return outside of quotes".to_owned())]);
    // Lines that end in returns alone are one line, the header.
    let error = refused(&searches("l.csv", "csv", ""), &[("l.csv", b"user,time,text\ru1,2025-11-30T10:00:00Z,a\r")]);
    assert!(error.contains("line 1, the header: a carriage return"), "{error}");
    Ok(())
}

#[test]
fn sparks_escapes_need_a_setting() -> Result<()> {
    let rows = "u1,2025-11-30T10:00:00Z,\"he said \\\"hello\\\" to me\"\nu2,2025-11-30T10:00:01Z,\"the \\\"big\\\", red one\"\n\
                u3,2025-11-30T10:00:02Z,\"ends with \\\"quote\\\"\"\nu4,2025-11-30T10:00:03Z,plain\n";
    let ran = run(&searches("l.csv", "csv", "escape = '\\'"), &[("l.csv", &csv(rows))])?;
    assert_eq!(ran.texts(), ["ends with \"quote\"", "he said \"hello\" to me", "plain", "the \"big\", red one"]);
    let ran = run(&searches("l.csv", "csv", ""), &[("l.csv", &csv(rows))])?;
    assert_eq!((ran.texts(), ran.aside().len()), (vec!["plain".to_owned()], 3));
    Ok(())
}

#[test]
fn other_delimiters_and_quotes() -> Result<()> {
    let rows = "user;time;text\n'u;1';2025-11-30T10:00:00Z;'it''s, \"so\"'\n";
    let ran = run(&searches("l.csv", "csv", "delimiter = \";\"\nquote = \"'\""), &[("l.csv", rows.as_bytes())])?;
    assert_eq!(ran.texts(), ["it's, \"so\""]);
    let error = refused(&searches("l.csv", "csv", ""), &[("l.csv", rows.as_bytes())]);
    assert!(error.contains("expected a column \"user\", got 1 that do not look like names"), "{error}");
    assert!(error.contains("is the delimiter another?"), "{error}");
    Ok(())
}

#[test]
fn encodings() -> Result<()> {
    let text = "\u{feff}user,time,text\nu1,2025-11-30T10:00:00Z,größe\n";
    let utf16: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(run(&searches("l.csv", "csv", ""), &[("l.csv", &utf16)])?.texts(), ["größe"]);
    let latin: Vec<u8> = text.chars().skip(1).map(|c| u8::try_from(u32::from(c)).expect("Latin-1")).collect();
    assert_eq!(run(&searches("l.csv", "csv", "encoding = \"latin-1\""), &[("l.csv", &latin)])?.texts(), ["größe"]);
    assert_eq!(run(&searches("l.csv", "csv", ""), &[("l.csv", &latin)])?.aside(), [(2, "not UTF-8".to_owned())]);
    Ok(())
}

#[test]
fn members_of_archives_with_marks_of_their_own() -> Result<()> {
    let mut members = Vec::new();
    for member in 0..3 {
        let rows: String = (0..3)
            .map(|row| {
                format!("{{\"user\": \"u{row}\", \"time\": \"2025-11-30T10:00:00Z\", \"text\": \"q{member}{row}\"}}\n")
            })
            .collect();
        let mut gz = flate2::write::GzEncoder::new(&mut members, flate2::Compression::fast());
        gz.write_all(format!("\u{feff}{rows}").as_bytes()).expect("in memory");
        gz.finish().expect("in memory");
    }
    let ran = run(&searches("l.gz", "jsonl", ""), &[("l.gz", &members)])?;
    assert_eq!((ran.texts().len(), ran.aside()), (9, vec![]));
    Ok(())
}

#[test]
fn json_of_other_writers() -> Result<()> {
    let rows = "{\"user\": \"u1\", \"time\": \"2025-11-30T10:00:00Z\", \"text\": \"party 🎉 tim\\ud83d\"}\n\
                {\"user\": \"u2\", \"time\": \"2025-11-30T10:00:01Z\", \"text\": \"a\\u0000b \\u202eevil\"}\n\
                {\"user\": \"u3\", \"time\": \"2025-11-30T10:00:02Z\", \"text\": \"\\u200b\"}\n";
    let ran = run(&searches("l.jsonl", "jsonl", ""), &[("l.jsonl", rows.as_bytes())])?;
    assert_eq!(ran.texts(), ["a b evil", "party 🎉 tim\u{fffd}"]);
    assert_eq!(ran.aside(), [(3, "no text".to_owned())]);
    let array = format!("[{}]", rows.trim().replace('\n', ",\n"));
    let ran = run(&searches("l.json", "json", ""), &[("l.json", array.as_bytes())])?;
    assert_eq!((ran.texts().len(), ran.aside()), (2, vec![(3, "no text".to_owned())]));
    Ok(())
}

#[test]
fn a_repeated_header_is_no_row() -> Result<()> {
    let rows = "user\ttime\ttext\nu1\t2025-11-30T10:00:00Z\ta\nuser\ttime\ttext\nu2\t2025-11-30T10:00:01Z\tb\n";
    let ran = run(&searches("l.tsv", "tsv", ""), &[("l.tsv", rows.as_bytes())])?;
    assert_eq!((ran.texts().len(), ran.aside()), (2, vec![]));
    assert_eq!(ran.account().notes["repeated header lines"], 1);
    let named = searches("l.tsv", "tsv", "columns = [\"user\", \"time\", \"text\"]");
    let ran = run(&named, &[("l.tsv", rows.as_bytes())])?;
    assert_eq!((ran.texts().len(), ran.account().notes["repeated header lines"]), (2, 2));
    Ok(())
}

#[test]
fn what_is_no_text_says_what_it_is() {
    let error = refused(&log("l", "search", "l.csv", "csv", "text = \"text\""), &[("l.csv", b"PAR1\0\0")]);
    assert!(error.contains("expected text, got Parquet") && error.contains("`format`"), "{error}");
}
