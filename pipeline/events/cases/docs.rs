//! `docs/logs.md`: every key is there, and every mapping reads what it says it reads.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, ListArray, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int64Type, TimeUnit};
use dataset::Result;
use parquet::arrow::ArrowWriter;
use tempfile::TempDir;

use super::{Files, Ran, write};
use crate::ingest::{EventLog, Ingest, NewsLog, ingest};
use crate::laws::runner;

const PAGE: &str = include_str!("../../../docs/logs.md");

/// The mappings of the page, by their headings.
fn mappings() -> BTreeMap<&'static str, &'static str> {
    let sections = PAGE.split("\n### ").skip(1);
    let mapping = |section: &'static str| {
        let (heading, text) = section.split_once('\n').expect("a heading");
        let toml = text.split_once("```toml\n").and_then(|(_, rest)| rest.split_once("```")).expect("a mapping").0;
        (heading, toml)
    };
    sections.map(mapping).collect()
}

/// Ingests files by a mapping of the page, in which `logs/` is their folder.
fn by(heading: &str, files: Files<'_>) -> Result<Ran> {
    let folder = TempDir::new().expect("a folder");
    write(folder.path(), files);
    let toml = mappings()[heading].replace("\"logs/", &format!("\"{}/", folder.path().display()));
    let mut table: toml::Table = toml::from_str(&toml).expect("TOML");
    let section = table.remove("ingest").expect("[ingest]");
    let settings = Ingest { buckets: 2, ..section.try_into().expect("settings") };
    let mut runner = runner(&folder.path().join("data"));
    runner.resources.max_bad_ratio = 0.0;
    let summaries = ingest(&runner, &settings)?;
    Ok(Ran { folder, runner, summaries })
}

#[test]
fn every_key_is_on_the_page() {
    let keys = |settings: serde_json::Value| settings.as_object().expect("a table").keys().cloned().collect::<Vec<_>>();
    let all = [
        keys(serde_json::json!(Ingest::default())),
        keys(serde_json::json!(EventLog::default())),
        keys(serde_json::json!(NewsLog::default())),
    ];
    let all = [all.concat(), vec!["select".to_owned()]].concat();
    for key in all.iter().filter(|key| !["events", "news"].contains(&key.as_str())) {
        assert!(PAGE.lines().any(|line| line.starts_with("| ") && line.contains(&format!("`{key}`"))), "{key}");
    }
    for format in
        ["rfc3339", "iso8601", "unix_s", "unix_ms", "unix_us", "unix_ns", "webkit", "filetime", "UNIT since DAY"]
    {
        assert!(PAGE.contains(&format!("`{format}`")), "{format}");
    }
    assert_eq!(mappings().len(), 7);
}

#[test]
fn mind() -> Result<()> {
    let files: [(&str, &[u8]); 2] = [
        ("mind/behaviors.tsv", b"1\tU1\t11/15/2019 8:55:22 AM\tN1\tN2-1 N1-0\n"),
        (
            "mind/news.tsv",
            b"N1\tsports\tgolf\tOne\tAbstract\thttps://x.example/1\t[]\t[]\nN2\tsports\tgolf\tTwo\t\t\t[]\t[]\n",
        ),
    ];
    let ran = by("MIND", &files)?;
    assert_eq!((ran.column(5), ran.truth(), ran.news().len()), (vec!["N1".to_owned()], vec!["N2".to_owned()], 2));
    Ok(())
}

/// A Parquet file of such columns.
fn file(columns: Vec<(&str, ArrayRef)>) -> Vec<u8> {
    let batch = RecordBatch::try_from_iter(columns).expect("columns of one length");
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).expect("in memory");
    writer.write(&batch).expect("in memory");
    writer.close().expect("in memory");
    bytes
}

/// Lists of integers.
fn lists(lists: &[&[i64]]) -> ArrayRef {
    Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(
        lists.iter().map(|list| Some(list.iter().copied().map(Some))),
    ))
}

/// 24 May 2023, noon by the wall clock, and so many hours later.
fn hour(hour: i64) -> i64 {
    (1_684_929_600 + hour * 3_600) * 1_000_000
}

#[test]
fn eb_nerd() -> Result<()> {
    let times = DataType::List(Arc::new(Field::new("item", DataType::Timestamp(TimeUnit::Microsecond, None), true)));
    let wall = |times: Vec<i64>| -> ArrayRef { Arc::new(TimestampMicrosecondArray::from(times)) };
    let history = file(vec![
        ("user_id", Arc::new(Int64Array::from(vec![1, 2])) as ArrayRef),
        ("impression_time_fixed", cast(&lists(&[&[hour(0), hour(1)], &[hour(2)]]), &times).expect("times")),
        ("article_id_fixed", lists(&[&[11, 12], &[11]])),
    ]);
    let clicks = file(vec![
        ("user_id", Arc::new(Int64Array::from(vec![1, 2])) as ArrayRef),
        ("impression_time", wall(vec![hour(24), hour(25)])),
        ("article_ids_clicked", lists(&[&[13], &[11, 13]])),
        ("article_ids_inview", lists(&[&[12, 13], &[13, 11, 12, 99]])),
        ("impression_id", Arc::new(Int64Array::from(vec![501, 502])) as ArrayRef),
    ]);
    let texts = |texts: [&str; 3]| -> ArrayRef { Arc::new(StringArray::from(texts.to_vec())) };
    let articles = file(vec![
        ("article_id", Arc::new(Int64Array::from(vec![11, 12, 13])) as ArrayRef),
        ("title", texts(["One", "Two", "Three"])),
        ("subtitle", texts(["", "More", ""])),
        ("published_time", wall(vec![hour(-9); 3])),
        ("category_str", texts(["sport", "krimi", "sport"])),
        ("ner_clusters", Arc::new(ListArray::new_null(Arc::new(Field::new("item", DataType::Utf8, true)), 3))),
    ]);
    let files: [(&str, &[u8]); 3] = [
        ("ebnerd/history.parquet", &history),
        ("ebnerd/behaviors.parquet", &clicks),
        ("ebnerd/articles.parquet", &articles),
    ];
    let ran = by("EB-NeRD", &files)?;
    assert_eq!(
        (ran.column(5), ran.truth()),
        (["11", "11", "12"].map(str::to_owned).to_vec(), ["11", "13", "13"].map(str::to_owned).to_vec())
    );
    assert_eq!(ran.times()["Two"], "2023-05-24T11:00:00Z", "one hour past noon, in summer");
    let shown = [
        "10:00:00Z 1 12 false",
        "10:00:00Z 2 13 true",
        "11:00:00Z 1 13 true",
        "11:00:00Z 2 11 true",
        "11:00:00Z 3 12 false",
    ];
    assert_eq!(ran.impressions(), shown.map(|row| format!("2023-05-25T{row}")));
    assert_eq!(ran.summaries[2].account.dropped["articles that no news log has"], 1);
    assert_eq!((ran.news()[0][1].as_str(), ran.news()[0][2].as_str()), ("2023-05-24T01:00:00Z", "sport"));
    Ok(())
}

#[test]
fn adressa() -> Result<()> {
    let rows = "{\"userId\": \"cx:1\", \"time\": 1483500000, \"url\": \"http://x.example\", \"eventId\": 1}\n\
                {\"userId\": \"cx:1\", \"time\": 1483500010, \"id\": \"a1\", \"title\": \"Ferje\", \"publishtime\": \"2017-01-03T10:00:00.000Z\", \"category1\": \"nyheter\"}\n\
                {\"userId\": \"cx:2\", \"time\": 1483600000, \"id\": \"a1\", \"title\": \"Ferje\", \"publishtime\": \"2017-01-03T10:00:00.000Z\", \"category1\": \"nyheter\"}\n";
    let ran = by("Adressa", &[("adressa/20170103", rows.as_bytes())])?;
    assert_eq!((ran.texts(), ran.truth()), (vec!["Ferje".to_owned()], vec!["a1".to_owned()]));
    assert_eq!(ran.news()[0][..3], ["a1", "2017-01-03T10:00:00Z", "nyheter"]);
    assert_eq!(ran.account().dropped["without what they `require`"], 1);
    Ok(())
}

#[test]
fn exports_of_histories() -> Result<()> {
    let files: [(&str, &[u8]); 3] = [
        ("exports/user=ann/searches.json", b"[\n {\"query\": \"ferry times\",\n  \"time\": \"2025-11-30T10:00:00.000Z\"}\n]"),
        ("exports/user=ben/searches.json", b"[{\"query\": \"ferry times\", \"time\": \"2025-11-30T10:00:00.000Z\"}]"),
        (
            "exports/user=ann/history.csv",
            b"url,title,last_visit_time\nhttps://x.example/,\"Sheds, and more\",13408970400000000\nhttps://y.example/,,13408970400000000\n",
        ),
    ];
    let ran = by("Search and browser history", &files)?;
    assert_eq!(
        (ran.users(), ran.texts()),
        (2, ["Sheds, and more", "ferry times", "ferry times"].map(str::to_owned).to_vec())
    );
    assert_eq!(ran.times()["Sheds, and more"], "2025-11-30T10:00:00Z");
    Ok(())
}

#[test]
fn a_query_log() -> Result<()> {
    let rows = "AnonID\tQuery\tQueryTime\tItemRank\tClickURL\n142\tferry times\t2006-03-01 07:17:12\t\t\n\
                142\t-\t2006-03-01 07:18:12\t\t\n217\t\"sheds\"\t2006-03-02 07:17:12\t1\thttp://x.example\n";
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(rows.as_bytes()).expect("in memory");
    let gz = gz.finish().expect("in memory");
    let ran = by("A query log like AOL's", &[("queries/user-ct-01.txt.gz", &gz)])?;
    assert_eq!((ran.users(), ran.texts()), (2, ["\"sheds\"", "ferry times"].map(str::to_owned).to_vec()));
    Ok(())
}

#[test]
fn a_web_servers_log() -> Result<()> {
    let rows = "192.0.2.1 - ann [30/Nov/2025:10:00:00 +0100] \"GET /search?lang=en&q=ferry+times HTTP/1.1\" 200 512\n\
                192.0.2.2 - - [30/Nov/2025:10:00:01 +0100] \"GET /search?q=sheds HTTP/1.1\" 200 512\n\
                192.0.2.1 - ann [30/Nov/2025:10:00:02 +0100] \"GET /search?q=sheds HTTP/1.1\" 500 12\n\
                192.0.2.1 - ann [30/Nov/2025:10:00:03 +0100] \"GET / HTTP/1.1\" 200 9000\n";
    let ran = by("A web server's log", &[("access/a.log", rows.as_bytes())])?;
    assert_eq!((ran.users(), ran.texts()), (1, vec!["ferry times".to_owned()]));
    assert_eq!(ran.times()["ferry times"], "2025-11-30T09:00:00Z");
    let dropped = &ran.account().dropped;
    assert_eq!((dropped["not in what they `select`"], dropped["without what they `require`"]), (2, 1));
    Ok(())
}

#[test]
fn hacker_news() -> Result<()> {
    let rows = "{\"id\": 1, \"type\": \"story\", \"by\": \"ann\", \"time\": 1764500000, \"title\": \"A ferry in Rust\", \"score\": 5}\n\
                {\"id\": 2, \"type\": \"comment\", \"by\": \"ben\", \"time\": 1764500001, \"parent\": 1, \"text\": \"Nice\"}\n\
                {\"id\": 3, \"type\": \"story\", \"time\": 1764500002, \"deleted\": true}\n\
                {\"id\": 4, \"type\": \"story\", \"by\": \"ben\", \"time\": 1764700000, \"title\": \"Sheds\"}\n";
    let ran = by("Hacker News", &[("hn/items-1.jsonl", rows.as_bytes())])?;
    assert_eq!(
        (ran.texts(), ran.truth(), ran.news().len()),
        (vec!["A ferry in Rust".to_owned()], vec!["4".to_owned()], 2)
    );
    Ok(())
}
