//! `--explain` and `--suggest`: what a new user does first.

use super::{Files, log, news, settings, write};
use crate::ingest::{Ingest, explain, suggest};
use dataset::Result;
use tempfile::TempDir;

fn explained(section: &str, files: Files<'_>) -> Result<String> {
    let folder = TempDir::new().expect("a folder");
    write(folder.path(), files);
    let said = explain(&settings(folder.path(), section), 0.01)?;
    assert!(!folder.path().join("data").exists(), "nothing is written");
    Ok(said.replace(&format!("{}/", folder.path().display()), ""))
}

#[test]
fn explaining_shows_rows_as_they_are_understood() -> Result<()> {
    let section = log("clicks", "news", "c.csv", "csv", "news_id = \"article\"")
        + &log("searches", "search", "s.csv", "csv", "text = \"query\"\nrequire = \"query\"")
        + &news("n.csv", "csv", "time = \"day\"");
    let files: [(&str, &[u8]); 3] = [
        ("c.csv", b"user,time,article\nu1,2025-11-30T10:00:00Z,7.0\nu2,2025-12-02,7\nu3,2025-11-30,8\n"),
        ("s.csv", b"user,time,query\nu1,2025-11-30,mail ann@example.org\nu1,2025-12-03,late ben@example.org\nu1,2025-11-30,\n"),
        ("n.csv", b"id,title,day\n7,Ferry,2025-11-29\n"),
    ];
    let said = explained(&section, &files)?;
    for expected in [
        "news: articles of n.csv\n  columns: day, id, title\n  row 2: article 7, 2025-11-29T00:00:00Z, \"Ferry\", 0 entities\n  1 articles: kept 1",
        "clicks: behaviours of c.csv\n",
        "  row 2: news, user u1, 2025-11-30T10:00:00Z, \"Ferry\", article 7: history\n  row 3: news, user u2, 2025-12-02T00:00:00Z, \"Ferry\", article 7: truth",
        "  3 behaviours: history 1, truth 1\n  set aside: unknown news id 1 (first: c.csv:4, unknown news id)\n",
        "  would be refused: log clicks: 1 of 3 behaviours are unreadable",
        "  row 2: search, user u1, 2025-11-30T00:00:00Z, \"mail <email>\": history\n",
        "  row 3: search, user u1, 2025-12-03T00:00:00Z, \"late <email>\": after the cut-off\n",
        "  left out: after the cut-off 1, without what they `require` 1\n",
    ] {
        assert!(said.contains(expected), "{expected}\n---\n{said}");
    }
    Ok(())
}

#[test]
fn explaining_goes_on_behind_a_log_that_cannot_be_read() -> Result<()> {
    let section =
        log("a", "search", "a.csv", "csv", "text = \"text\"") + &log("b", "search", "b.csv", "csv", "text = \"text\"");
    let said = explained(
        &section,
        &[("a.csv", b"user,when,text\nu1,2025-11-30,x\n"), ("b.csv", b"user,time,text\nu1,2025-11-30,x\n")],
    )?;
    assert!(
        said.contains("would be refused: ") && said.contains("expected a column \"time\", got user, when, text"),
        "{said}"
    );
    assert!(said.contains("1 behaviours: history 1"), "{said}");
    Ok(())
}

#[test]
fn a_suggested_mapping_reads_the_file() -> Result<()> {
    let rows: [(&str, &[u8], &str); 5] = [
        ("q.csv", b"user_id;searched at;search query\n7;30.11.2025 10:00;ferry\n8;29.11.2025 23:59;shed\n", "search"),
        ("v.jsonl", b"{\"u\": {\"uid\": \"x\"}, \"ts\": 1764496800123, \"page_title\": \"Ferry\"}\n", "browse"),
        ("c.tsv", b"anonid\ttime\tarticle_id\nu1\t13408970400000000\tN1\n", "news"),
        ("plain.tsv", b"u1\t2025-11-30 10:00:00\tferry times\n", ""),
        (
            "n.json",
            b"[{\"id\": 1, \"headline\": \"Ferry\", \"published\": \"2025-11-30\", \"summary\": \"s\"}]",
            "articles",
        ),
    ];
    for (name, content, domain) in rows {
        let folder = TempDir::new().expect("a folder");
        write(folder.path(), &[(name, content)]);
        let toml = suggest(&folder.path().join(name))?;
        let table: toml::Table = toml::from_str(&toml).unwrap_or_else(|e| panic!("{toml}: {e}"));
        let settings: Ingest = table["ingest"].clone().try_into().unwrap_or_else(|e| panic!("{toml}: {e}"));
        let settings = Ingest { cut_off: "2025-12-01T00:00:00Z".parse().ok(), ..settings };
        match domain {
            // Without a header line one must say what the columns are.
            "" => assert!(toml.contains("columns = [\"column1\", \"column2\", \"column3\"]"), "{toml}"),
            "articles" => {
                assert_eq!((settings.news[0].news_id.as_str(), settings.news[0].title.as_str()), ("id", "headline"))
            }
            // Clicks need articles beside them.
            "news" => assert_eq!(
                (settings.events[0].time_format.as_str(), settings.events[0].news_id.as_deref()),
                ("webkit", Some("article_id"))
            ),
            domain => {
                assert_eq!(settings.events[0].domain, domain, "{toml}");
                let said = explain(&settings, 0.0)?;
                assert!(said.contains("history") && !said.contains("refused"), "{toml}\n{said}");
            }
        }
    }
    Ok(())
}
