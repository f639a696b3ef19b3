//! What the impressions of mapped logs showed.

use super::{Ran, log, news, run};
use dataset::Result;

const ARTICLES: &[u8] = b"id,title\n1,One\n2,Two\n3,Three\n4,Four\n";

fn section(more: &str) -> String {
    let clicks = format!("news_id = \"clicked\"\nshown = \"shown\"\n{more}");
    log("clicks", "news", "c*.jsonl", "jsonl", &clicks) + &news("n.csv", "csv", "")
}

fn shown(more: &str, rows: &str) -> Result<Ran> {
    run(&section(more), &[("c.jsonl", rows.as_bytes()), ("n.csv", ARTICLES)])
}

#[test]
fn a_row_that_says_what_was_shown_is_an_impression() -> Result<()> {
    let rows = "{\"user\": 1, \"time\": \"2025-11-30T10:00:00Z\", \"clicked\": [1], \"shown\": [1, 2], \"imp\": \"a\"}\n\
                {\"user\": 1, \"time\": \"2025-12-01T10:00:00Z\", \"clicked\": [3.0, 7], \"shown\": [\"4\", 3, 9, null, 4], \"imp\": \"b\"}\n\
                {\"user\": 1.0, \"time\": \"2025-12-01T11:00:00Z\", \"clicked\": 2, \"shown\": [2], \"imp\": \"c\"}\n\
                {\"user\": 1, \"time\": \"2025-12-01T12:00:00Z\", \"clicked\": [], \"shown\": [1, 2], \"imp\": \"d\"}\n\
                {\"user\": 2, \"time\": \"2025-12-01T10:00:00Z\", \"clicked\": [], \"shown\": [1], \"imp\": \"e\"}\n\
                {\"user\": 1, \"time\": \"2025-12-24T10:00:00Z\", \"clicked\": [1], \"shown\": [1, 2, 3], \"imp\": \"f\"}\n\
                {\"user\": 1, \"time\": \"never\", \"clicked\": [1], \"shown\": [1, 2, 3], \"imp\": \"g\"}\n";
    let ran = shown("impression = \"imp\"", rows)?;
    let expected = [
        "10:00:00Z 1 4 false",
        "10:00:00Z 2 3 true",
        "11:00:00Z 1 2 true",
        "12:00:00Z 1 1 false",
        "12:00:00Z 2 2 false",
    ];
    assert_eq!(ran.impressions(), expected.map(|row| format!("2025-12-01T{row}")));
    let account = &ran.summaries[2].account;
    assert_eq!((account.input, account.output, account.notes["impressions"]), (14, 5, 3));
    for (why, articles) in [
        ("before the cut-off", 2),
        ("after the window", 3),
        ("articles that no news log has", 2),
        ("shown again in one impression", 1),
        ("of people without events or clicks", 1),
    ] {
        assert_eq!(account.dropped.get(why), Some(&articles), "{why}");
    }
    assert_eq!(account.notes["rows that cannot be read"], 1);
    // Clicks are what they were; in any order of rows, the same was shown.
    assert_eq!((ran.column(5), ran.truth()), (vec!["1".to_owned()], vec!["2".to_owned(), "3".to_owned()]));
    let mut reversed: Vec<&str> = rows.lines().collect();
    reversed.reverse();
    assert_eq!(shown("impression = \"imp\"", &reversed.join("\n"))?.impressions(), ran.impressions());
    Ok(())
}

#[test]
fn what_is_said_twice_of_an_impression_is_one_in_any_order() -> Result<()> {
    let row = |clicked: &str, shown: &str| {
        format!(
            "{{\"user\": 1, \"time\": \"2025-12-01\", \"clicked\": [{clicked}], \"shown\": [{shown}], \"imp\": \"a\"}}\n"
        )
    };
    let rows = [row("", "1, 2"), row("1", "1, 2"), row("", "2, 3, 9")];
    let at = |row: &str| format!("2025-12-01T00:00:00Z {row}");
    for order in [[0, 1, 2], [1, 0, 2], [2, 1, 0], [1, 2, 0]] {
        let ran = shown("impression = \"imp\"", &order.map(|row| rows[row].as_str()).concat())?;
        let expected = ["1 2 false", "2 3 false", "4 1 true"].map(at);
        assert_eq!(ran.impressions(), expected, "{order:?}: the longest first, and a click is a click");
        let account = &ran.summaries[2].account;
        assert_eq!((account.input, account.output, account.dropped["articles that no news log has"]), (7, 3, 1));
    }
    Ok(())
}

#[test]
fn without_ids_of_their_own_impressions_are_told_apart_by_what_they_showed() -> Result<()> {
    let row =
        |shown: &str| format!("{{\"user\": 1, \"time\": \"2025-12-01\", \"clicked\": 1, \"shown\": [{shown}]}}\n");
    let ran = shown("", &[row("1, 2"), row("3, 1"), row("1, 2")].concat())?;
    let account = &ran.summaries[2].account;
    assert_eq!((account.output, account.dropped["repeated"]), (4, 2));
    Ok(())
}

#[test]
fn a_column_of_shown_articles_that_no_row_has_is_an_error() {
    let row = "{\"user\": 1, \"time\": \"2025-12-01\", \"clicked\": [1], \"inview\": [1]}\n";
    let error = shown("", row).err().expect("a column is not there").to_string();
    assert!(
        error.contains("log clicks: expected a column \"shown\", which no row has, got clicked, inview, time, user"),
        "{error}"
    );
}

#[test]
fn a_file_with_impressions_of_the_window_must_stay() -> Result<()> {
    let row = |at: &str| format!("{{\"user\": 1, \"time\": \"{at}\", \"clicked\": [1], \"shown\": [1, 2]}}\n");
    let (old, new) = (row("2025-11-30"), row("2025-12-01"));
    let files: [(&str, &[u8]); 3] = [("c1.jsonl", old.as_bytes()), ("c2.jsonl", new.as_bytes()), ("n.csv", ARTICLES)];
    let mut ran = run(&section(""), &files)?;
    // What is all history may go.
    std::fs::remove_file(ran.folder.path().join("c1.jsonl")).expect("removable");
    ran.again(&section(""), &[("c3.jsonl", row("2025-12-02").as_bytes())])?;
    assert_eq!(ran.impressions().len(), 4);
    std::fs::remove_file(ran.folder.path().join("c2.jsonl")).expect("removable");
    let error =
        ran.again(&section(""), &[("c4.jsonl", row("2025-12-03").as_bytes())]).expect_err("it is gone").to_string();
    assert!(
        error.contains("c2.jsonl: expected the file of the log clicks") && error.contains("take `shown` out"),
        "{error}"
    );
    assert_eq!(ran.impressions().len(), 4, "nothing has changed");
    Ok(())
}
