//! People who are erased.

use std::collections::{BTreeMap, BTreeSet};

use dataset::{Result, Summary};
use proptest::prelude::*;
use schemas::{Erased, Events, Quarantine, Truth};

use super::{Ran, log, news, run, searches, write};
use crate::ingest::erase;
use crate::laws::rows;

impl Ran {
    /// Erases people; `ids` is the file.
    fn erase(&self, ids: &str) -> Result<Summary> {
        write(self.folder.path(), &[("erase.txt", ids.as_bytes())]);
        Ok(erase(&self.runner, &self.folder.path().join("erase.txt"))?.remove(0))
    }

    /// What ingest wrote of people, without what it says of files' places.
    fn of_people(&self) -> BTreeMap<&'static str, Vec<String>> {
        let aside = rows::<Quarantine>(&self.runner, "events.quarantine");
        let aside = aside.iter().map(|row| row.split('|').skip(2).collect::<Vec<_>>().join("|"));
        BTreeMap::from([
            ("events", rows::<Events>(&self.runner, "events")),
            ("truth", rows::<Truth>(&self.runner, "truth")),
            ("aside", aside.collect()),
        ])
    }
}

/// Searches of u1 and u2, one of each unreadable, and clicks of both in the window.
fn two_people() -> Result<(Ran, String)> {
    let section = format!(
        "{}{}{}",
        searches("s*.csv", "csv", ""),
        log("clicks", "news", "c.csv", "csv", "news_id = \"article\""),
        news("n.csv", "csv", ""),
    );
    let searches =
        "user,time,text\nu1,2025-11-30T10:00:00Z,ferry\nu2,2025-11-30T10:00:00Z,shed\nu1,never,ferry\nu2,never,shed\n";
    let clicks = "user,time,article\nu1,2025-12-02T10:00:00Z,n1\nu2,2025-12-02T10:00:00Z,n1\n";
    let files = [("s.csv", searches), ("c.csv", clicks), ("n.csv", "id,title\nn1,A title\n")];
    Ok((run(&section, &files.map(|(name, text)| (name, text.as_bytes())))?, section))
}

#[test]
fn who_is_erased_is_in_nothing_that_ingest_wrote() -> Result<()> {
    let (mut ran, section) = two_people()?;
    assert_eq!((ran.texts(), ran.truth().len()), (vec!["ferry".into(), "shed".into()], 2));
    assert_eq!(ran.aside(), [(4, "no readable time".to_owned()), (5, "no readable time".to_owned())]);
    ran.runner.keep_versions = 5;
    let summary = ran.erase("u1\n")?;
    assert_eq!(summary.account.dropped["erased"], 1);
    assert_eq!(summary.account.notes["people erased"], 1);
    assert_eq!((ran.texts(), ran.truth().len()), (vec!["shed".to_owned()], 1));
    assert_eq!(ran.aside(), [(5, "no readable time".to_owned())]);
    assert_eq!(rows::<Erased>(&ran.runner, "events.erased").len(), 1);
    for name in ["events", "truth", "events.quarantine", "events.raw_files", "events.erased"] {
        let dataset = dataset::Dataset::new(ran.runner.store(), name);
        let parts = |version| dataset.manifest(version).map(|manifest| manifest.parts);
        let kept = |part: &dataset::Part| ran.folder.path().join("data").join(name).join(&part.path).exists();
        assert!(!parts(0)?.iter().any(kept), "{name}: the version before is kept");
        assert!(parts(1)?.iter().all(kept), "{name}");
    }

    // The same logs say nothing new, and a list that is erased twice is erased once.
    ran.again(&section, &[])?;
    assert_eq!(ran.summaries[1].outcome, dataset::Outcome::UpToDate);
    assert_eq!(ran.erase("\u{feff}u1\r\n\r\n")?.outcome, dataset::Outcome::UpToDate);
    Ok(())
}

#[test]
fn who_is_erased_stays_so_whatever_is_read_again() -> Result<()> {
    let (mut ran, section) = two_people()?;
    ran.erase("u1\n")?;
    // They come in a new file; in one that takes another's place, so that all are read again; under another mapping.
    let more = b"user,time,text\nu1,2025-11-30T11:00:00Z,again\nu1,never,again\nu3,2025-11-30T11:00:00Z,boat\n";
    ran.again(&section, &[("s2.csv", more)])?;
    assert_eq!(ran.texts(), ["boat", "shed"]);
    assert_eq!(ran.account().dropped["erased"], 2);
    ran.again(&section, &[("s2.csv", b"user,time,text\nu1,2025-11-30T11:00:00Z,other\n")])?;
    assert_eq!(ran.texts(), ["shed"]);
    let other = section.replacen("text = \"text\"", "text = \"text\"\nwhole_ids = false", 1);
    ran.again(&other, &[])?;
    assert_eq!((ran.texts(), ran.truth().len(), ran.aside().len()), (vec!["shed".to_owned()], 1, 1));
    // Even when everything else was thrown away.
    let data = ran.folder.path().join("data");
    for name in ["events", "truth", "events.quarantine", "events.raw_files"] {
        std::fs::remove_dir_all(data.join(name)).expect("removable");
    }
    ran.again(&other, &[])?;
    assert_eq!((ran.texts(), ran.truth().len(), ran.aside().len()), (vec!["shed".to_owned()], 1, 1));
    // Without the table nobody would know.
    std::fs::remove_dir_all(data.join("events.erased")).expect("removable");
    let error = ran.again(&other, &[("s3.csv", b"user,time,text\n")]).expect_err("the table is gone").to_string();
    assert!(error.contains("events.erased: expected 1 people who were erased, got 0"), "{error}");
    Ok(())
}

#[test]
fn no_log_is_needed_to_erase() -> Result<()> {
    let (ran, _) = two_people()?;
    for file in ["s.csv", "c.csv", "n.csv"] {
        std::fs::remove_file(ran.folder.path().join(file)).expect("removable");
    }
    ran.erase("u2\nunknown\n")?;
    assert_eq!(ran.texts(), ["ferry"]);
    Ok(())
}

#[test]
fn a_list_is_of_ids_and_no_message_says_one() -> Result<()> {
    let (ran, _) = two_people()?;
    let long = "secret".repeat(60);
    for (list, expected) in [
        ("", "expected user ids, got none"),
        ("\n \n", "expected user ids, got none"),
        ("secret\nNULL\n", "line 2: expected a user id"),
        ("secret\0\n", "line 1: expected a user id"),
        (&format!("secret\n\n{long}\n"), "line 3: expected a user id"),
    ] {
        let error = ran.erase(list).expect_err(expected);
        let said = format!("{error} {error:?}");
        assert!(said.contains(expected) && said.contains("erase.txt") && !said.contains("secret"), "{said}");
        assert_eq!(error.exit_code(), 2, "{said}");
    }
    assert_eq!(ran.texts(), ["ferry", "shed"]);
    let nobody = erase(&crate::laws::runner(&ran.folder.path().join("other")), &ran.folder.path().join("erase.txt"));
    assert!(nobody.expect_err("nothing was ingested").to_string().contains("run ingest without --erase first"));
    Ok(())
}

#[test]
fn an_id_is_erased_in_any_spelling_that_logs_have() -> Result<()> {
    let log = "user,time,text\n101.0,2025-11-30T10:00:00Z,ferry\n102,2025-11-30T10:00:00Z,shed\n7.50,2025-11-30T10:00:00Z,boat\n";
    let ran = run(&searches("l.csv", "csv", ""), &[("l.csv", log.as_bytes())])?;
    ran.erase("  101 \n102.0\n7.50\n")?;
    assert!(ran.texts().is_empty());
    let ran = run(&searches("l.csv", "csv", "whole_ids = false"), &[("l.csv", log.as_bytes())])?;
    ran.erase("101.0\n")?;
    assert_eq!(ran.texts(), ["boat", "shed"]);
    Ok(())
}

/// A row of a log of clicks: user, hours from the cut-off, article; some rows cannot be read.
type Click = (u8, i64, u8);

fn csv(clicks: &[Click]) -> String {
    let row = |(user, hour, article): &Click| match article {
        0 => format!("u{user},never,n1\n"),
        article => format!("u{user},{},n{article}\n", 1_764_547_200 + hour * 3600),
    };
    std::iter::once("user,time,article\n".to_owned()).chain(clicks.iter().map(row)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    /// What is left after people were erased, before or after more is read, is what logs give that never named them.
    #[test]
    fn erasing_is_never_having_read(
        first in proptest::collection::vec((0u8..5, -30i64..30, 0u8..6), 1..40),
        later in proptest::collection::vec((0u8..5, -30i64..30, 0u8..6), 1..40),
        gone in proptest::collection::btree_set(0u8..5, 1..4),
        at_once in any::<bool>(),
    ) {
        let section = format!(
            "{}{}",
            log("clicks", "news", "c*.csv", "csv", "news_id = \"article\"\ntime_format = \"unix_s\""),
            news("n.csv", "csv", ""),
        );
        let articles: String = (1..6).map(|id| format!("n{id},Title {id}\n")).collect();
        let articles = ("n.csv", format!("id,title\n{articles}"));
        let ids: String = gone.iter().map(|user| format!("u{user}\n")).collect();
        let files = [("c1.csv", csv(&first)), articles.clone()];
        let mut erased = run(&section, &files.each_ref().map(|(name, text)| (*name, text.as_bytes()))).expect("ingests");
        let read_later = |ran: &mut Ran| ran.again(&section, &[("c2.csv", csv(&later).as_bytes())]).expect("ingests");
        if at_once {
            erased.erase(&ids).expect("erases");
            read_later(&mut erased);
        } else {
            read_later(&mut erased);
            erased.erase(&ids).expect("erases");
        }
        // Lines of the others keep their numbers: a row that is not there is a row that is left out.
        let without = |clicks: &[Click]| -> String {
            let line = |row: &str| match row.split_once(',').and_then(|(user, _)| user.strip_prefix('u')?.parse().ok()) {
                Some(user) if gone.contains(&user) => format!("{},2001-01-01,left out\n", "nobody"),
                _ => format!("{row}\n"),
            };
            csv(clicks).lines().map(line).collect()
        };
        let other = section.replace("news_id = \"article\"", "news_id = \"article\"\nonly = { user = [\"u0\", \"u1\", \"u2\", \"u3\", \"u4\"] }");
        let files = [("c1.csv", without(&first)), ("c2.csv", without(&later)), articles];
        let never = run(&other, &files.each_ref().map(|(name, text)| (*name, text.as_bytes()))).expect("ingests");
        prop_assert_eq!(erased.of_people(), never.of_people());
        let users: BTreeSet<String> = erased.column(1).into_iter().collect();
        let named: BTreeSet<String> = rows::<Erased>(&erased.runner, "events.erased").into_iter().collect();
        prop_assert!(users.is_disjoint(&named) && named.len() == gone.len());
    }
}
