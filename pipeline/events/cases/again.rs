//! Files that come again changed.

use std::path::Path;

use super::{Ran, run, searches, settings, write};
use crate::ingest::ingest;
use crate::laws::rows;
use dataset::{Result, Whole};
use schemas::{Events, RawFiles};

impl Ran {
    /// Ingests once more, with other files.
    pub(super) fn again(&mut self, section: &str, files: super::Files<'_>) -> Result<()> {
        write(self.folder.path(), files);
        self.summaries = ingest(&self.runner, &settings(self.folder.path(), section))?;
        Ok(())
    }
}

#[test]
fn a_file_that_grew_replaces_what_came_of_it() -> Result<()> {
    let section = searches("*.csv", "csv", "");
    let head = "user,time,text\nu1,2025-11-30T10:00:00Z,ferry times\nu1,2025-11-30T10:00:05Z,brea";
    let other = ("other.csv", &b"user,time,text\nu1,2025-11-30T10:00:00Z,other\n"[..]);
    let mut ran = run(&section, &[("l.csv", head.as_bytes()), other])?;
    assert_eq!(ran.texts(), ["brea", "ferry times", "other"]);
    let grown = format!("{head}king news\nu1,2025-11-30T10:01:00Z,more\n");
    ran.again(&section, &[("l.csv", grown.as_bytes())])?;
    assert_eq!(ran.texts(), ["breaking news", "ferry times", "more", "other"]);
    assert_eq!(rows::<RawFiles>(&ran.runner, "events.raw_files").len(), 2, "each path once");
    let events = Whole::<Events>::open(ran.runner.store(), "events")?;
    let remark = events.manifest().lineage.remark.clone().unwrap_or_default();
    assert!(remark.contains("replace what came of them before: ") && remark.ends_with("l.csv"), "{remark}");

    // Somebody's row was taken out of the file: it is taken out of the events.
    ran.again(&section, &[("l.csv", b"user,time,text\nu2,2025-11-30T10:00:00Z,mine\n")])?;
    assert_eq!(ran.texts(), ["mine", "other"]);
    Ok(())
}

#[test]
fn what_a_file_that_is_gone_held_is_not_lost_for_one_that_changed() -> Result<()> {
    let section = searches("*.csv", "csv", "");
    let row = |text: &str| format!("user,time,text\nu1,2025-11-30T10:00:00Z,{text}\n");
    let mut ran = run(&section, &[("a.csv", row("a").as_bytes()), ("b.csv", row("b").as_bytes())])?;
    std::fs::remove_file(ran.folder.path().join("a.csv")).expect("removable");
    let error = ran.again(&section, &[("b.csv", row("c").as_bytes())]).expect_err("a.csv is gone").to_string();
    assert!(error.contains("b.csv is not what was read there before") && error.contains("log searches"), "{error}");
    assert_eq!(ran.texts(), ["a", "b"], "nothing has changed");
    // A file that was moved is the same file.
    std::fs::rename(ran.folder.path().join("b.csv"), ran.folder.path().join("a.csv")).expect("movable");
    write(
        ran.folder.path(),
        &[("a.csv", row("a").as_bytes()), ("b.csv", row("d").as_bytes()), ("old.csv", row("b").as_bytes())],
    );
    ran.again(&section, &[])?;
    assert_eq!(ran.texts(), ["a", "b", "d"]);
    Ok(())
}

#[test]
fn rotated_logs_lose_nothing_when_the_oldest_goes() -> Result<()> {
    let section = searches("l*.csv", "csv", "");
    let row = |text: &str| format!("user,time,text\nu1,2025-11-30T10:00:00Z,{text}\n");
    let mut ran = run(&section, &[("l.csv", row("a").as_bytes())])?;
    for (night, text) in ["b", "c", "d", "e"].into_iter().enumerate() {
        let at = |name: &str| ran.folder.path().join(name);
        if night >= 2 {
            std::fs::remove_file(at("l-2.csv")).expect("there");
        }
        if night >= 1 {
            std::fs::rename(at("l-1.csv"), at("l-2.csv")).expect("there");
        }
        std::fs::rename(at("l.csv"), at("l-1.csv")).expect("there");
        ran.again(&section, &[("l.csv", row(text).as_bytes())])?;
    }
    assert_eq!(ran.texts(), ["a", "b", "c", "d", "e"]);
    Ok(())
}

#[test]
fn a_file_that_becomes_another_ones_copy_loses_its_own_rows() -> Result<()> {
    let section = searches("*.csv", "csv", "");
    let row = |text: &str| format!("user,time,text\nu1,2025-11-30T10:00:00Z,{text}\n");
    let (a, b) = (row("a"), row("b"));
    let mut ran = run(&section, &[("a.csv", a.as_bytes()), ("b.csv", b.as_bytes()), ("c.csv", a.as_bytes())])?;
    ran.again(&section, &[("b.csv", a.as_bytes())])?;
    assert_eq!(ran.texts(), ["a"], "what b.csv held is gone");
    // Both change places: nothing has gone.
    ran.again(&section, &[("a.csv", b.as_bytes())])?;
    assert_eq!(ran.texts(), ["a", "b"]);
    Ok(())
}

/// The way to a path from the folder that the tests run in.
fn relative(path: &Path) -> String {
    let here = std::env::current_dir().expect("a folder");
    let up = here.components().skip(1).map(|_| "../").collect::<String>();
    format!("{up}{}", path.strip_prefix("/").expect("an absolute path").display())
}

#[test]
fn a_file_is_the_same_file_whatever_way_leads_to_it() -> Result<()> {
    let section = searches("l.csv", "csv", "");
    let row = |text: &str| format!("user,time,text\nu1,2025-11-30T10:00:00Z,{text}\n");
    let mut ran = run(&section, &[("l.csv", row("first").as_bytes())])?;
    let folder = ran.folder.path().to_owned();
    let by_relative = section.replace("@/", &format!("{}/", relative(&folder)));
    ran.again(&by_relative, &[("l.csv", row("second").as_bytes())])?;
    assert_eq!(ran.texts(), ["second"]);
    ran.again(&section, &[("l.csv", row("third").as_bytes())])?;
    assert_eq!(ran.texts(), ["third"]);
    // Through a link, too; and a link that leads to another file is another content of the same path.
    std::os::unix::fs::symlink(&folder, folder.join("link")).expect("writable");
    let by_link = section.replace("@/", "@/link/");
    ran.again(&by_link, &[("l.csv", row("fourth").as_bytes())])?;
    assert_eq!(ran.texts(), ["fourth"]);
    write(&folder, &[("night/l.csv", row("fifth").as_bytes())]);
    std::fs::remove_file(folder.join("link")).expect("removable");
    std::os::unix::fs::symlink(folder.join("night"), folder.join("link")).expect("writable");
    ran.again(&by_link, &[])?;
    assert_eq!(ran.texts(), ["fifth"]);
    assert_eq!(rows::<RawFiles>(&ran.runner, "events.raw_files").len(), 1);
    Ok(())
}
