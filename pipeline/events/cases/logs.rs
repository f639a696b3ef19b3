//! Each log answers for itself; what is optional may be missing; what ids give away.

use super::{log, news, run, run_with, searches};
use dataset::Result;

#[test]
fn one_lost_log_is_not_hidden_by_a_large_one() {
    let good: String = (0..3_000).map(|i| format!("u{i},2025-11-30T10:00:00Z,query {i}\n")).collect();
    let bad: String = (0..29).map(|i| format!("u{i},30.11.2025 10:00,visit {i}\n")).collect();
    let section =
        log("s", "search", "s.csv", "csv", "text = \"text\"") + &log("v", "browse", "v.csv", "csv", "text = \"text\"");
    let head = "user,time,text\n";
    let files = [("s.csv", format!("{head}{good}")), ("v.csv", format!("{head}{bad}"))];
    let files = files.each_ref().map(|(name, text)| (*name, text.as_bytes()));
    let error = run_with(&section, &files, 0.01).err().expect("v is lost").to_string();
    assert!(error.contains("log v: 29 of 29 behaviours are unreadable (no readable time 29)"), "{error}");
    assert!(
        error.contains("hint: nothing of this log can be read: mend its mapping (first: ") && !error.contains("raise"),
        "{error}"
    );
}

#[test]
fn an_article_without_a_readable_time_is_an_article() -> Result<()> {
    let times = ["2025-11-29T10:00:00Z", "0000-00-00 00:00:00", "1985-06-01T10:00:00Z", "1970-01-01T00:00:00Z", ""];
    let articles: String = times
        .iter()
        .enumerate()
        .map(|(i, t)| format!("{{\"id\": \"N{i}\", \"title\": \"Title {i}\", \"t\": \"{t}\"}}\n"))
        .collect();
    let clicks: String = (0..5)
        .map(|i| format!("{{\"user\": \"u1\", \"time\": \"2025-11-30T10:00:0{i}Z\", \"art\": \"N{i}\"}}\n"))
        .collect();
    let section = log("c", "news", "c.jsonl", "jsonl", "news_id = \"art\"") + &news("n.jsonl", "jsonl", "time = \"t\"");
    let files: [(&str, &[u8]); 2] = [("n.jsonl", articles.as_bytes()), ("c.jsonl", clicks.as_bytes())];
    let ran = run_with(&section, &files, 0.0)?;
    let undated = ran.news().iter().filter(|article| article[1].is_empty()).count();
    assert_eq!((ran.news().len(), undated, ran.events().len()), (5, 3, 5));
    let notes = &ran.summaries[0].account.notes;
    assert_eq!(notes["left out a publication time (no readable time)"], 1);
    assert_eq!(notes["left out a publication time (time out of range)"], 1);
    Ok(())
}

#[test]
fn a_pages_id_is_optional_and_says_nothing_of_people() -> Result<()> {
    let row = |user: &str, second: u32, url: &str| {
        format!(
            "{{\"user\": \"{user}\", \"time\": \"2025-11-30T10:00:0{second}Z\", \"text\": \"Page {second}\", \"url\": \"{url}\"}}\n"
        )
    };
    let long = "a".repeat(300);
    let rows = [
        row("u1", 0, "https://x.example/one?mail=ann@example.com&token=abc"),
        row("u1", 1, &format!("https://x.example/{long}")),
        row("u1", 2, " "),
        row("u1", 3, "https://x.example/three"),
        row(&"u".repeat(300), 4, "https://x.example/four"),
    ];
    let section = log("v", "browse", "v.jsonl", "jsonl", "text = \"text\"\nnews_id = \"url\"");
    let ran = run(&section, &[("v.jsonl", rows.concat().as_bytes())])?;
    assert_eq!(ran.aside(), [(5, "user id too long".to_owned())]);
    let ids = ran.column(5);
    assert_eq!((ids.len(), ids[0].as_str(), ids[3].as_str()), (4, "", "https://x.example/three"));
    assert!(ids[1..3].iter().all(|id| id.len() == 32), "{ids:?}");
    Ok(())
}

#[test]
fn a_later_file_without_an_optional_column_says_so() -> Result<()> {
    let clicks = log("c", "news", "c.jsonl", "jsonl", "news_id = \"art\"");
    let section = clicks + &news("n*.jsonl", "jsonl", "time = \"t\"\ncategory = \"section\"");
    let first: [(&str, &[u8]); 2] = [
        ("n1.jsonl", b"{\"id\": \"N1\", \"title\": \"One\", \"t\": \"2025-11-29\", \"section\": \"sports\"}\n"),
        ("c.jsonl", b"{\"user\": \"u\", \"time\": \"2025-11-30\", \"art\": \"N1\"}\n"),
    ];
    let mut ran = run_with(&section, &first, 0.0)?;
    assert!(ran.summaries[0].account.notes.is_empty());
    ran.again(
        &section,
        &[("n2.jsonl", b"{\"id\": \"N2\", \"title\": \"Two\", \"t\": \"2025-11-29\", \"Section\": \"sports\"}\n")],
    )?;
    assert_eq!((ran.news().len(), ran.summaries[0].account.notes["files without the column section"]), (2, 1));
    Ok(())
}

#[test]
fn articles_that_two_logs_tell_differently_are_counted() -> Result<()> {
    let articles = |name: &str| news(&format!("{name}.csv"), "csv", "").replace("\"news\"", &format!("\"{name}\""));
    let section = searches("s.csv", "csv", "") + &articles("one") + &articles("two");
    let files: [(&str, &[u8]); 3] = [
        ("s.csv", b"user,time,text\nu,2025-11-30,a\n"),
        ("one.csv", b"id,title\n1,Ferry\n2,Shed\n3,Early title\n3,Late title\n"),
        ("two.csv", b"id,title\n1,Ferry\n2,Boat\n4,Garden\n"),
    ];
    let account = &run(&section, &files)?.summaries[0].account;
    assert_eq!(account.notes["articles that several logs tell differently"], 1, "{account:?}");
    assert_eq!((account.output, account.dropped["repeated"]), (4, 3));
    Ok(())
}
