//! Laws of ingest and cap, checked on random logs and on random bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use arrow::array::{Array, Float32Array, StringArray};
use arrow::util::display::array_value_to_string;
use chrono::DateTime;
use dataset::{Account, KeySource, Resources, Result, Rows, Runner, Shard, Store, Style, Summary, Whole, seal};
use proptest::prelude::*;
use schemas::{CleanEvents, CleanEventsColumns, Events, News, Profiles, Quarantine, RawFiles, Table, Truth};
use tempfile::TempDir;

use crate::ingest::{EventLog, Format, Ingest, NewsLog, ingest};
use crate::{Cap, Clean, Only};

const CUT_OFF: i64 = 1_764_547_200;

pub(crate) fn runner(root: &Path) -> Runner {
    Runner {
        resources: Resources {
            store: Store::open(&root.display().to_string()).expect("a folder"),
            threads: 2,
            memory_limit: 1 << 30,
            progress: Style::Silent,
            max_bad_ratio: 1.0,
            user_key: KeySource { file: None, insecure_dev_key: true },
        },
        shard: None,
        dry_run: false,
        keep_versions: 0,
        git_revision: "test".into(),
    }
}

/// All rows of a dataset, as sorted text.
pub(crate) fn rows<T: Table>(runner: &Runner, name: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for rows in Whole::<T>::open(runner.store(), name).expect("committed").parts() {
        for batch in rows.expect("readable").batches() {
            for row in 0..batch.num_rows() {
                let cells = batch.columns().iter().map(|c| array_value_to_string(c, row).expect("printable"));
                lines.push(cells.collect::<Vec<_>>().join("|"));
            }
        }
    }
    lines.sort();
    lines
}

fn all(runner: &Runner) -> BTreeMap<&'static str, Vec<String>> {
    BTreeMap::from([
        ("events", rows::<Events>(runner, "events")),
        ("truth", rows::<Truth>(runner, "truth")),
        ("news", rows::<News>(runner, "news")),
    ])
}

/// A news click, as a raw log has it: user, hours from the cut-off, article.
type Click = (u8, i64, u8);

fn article(id: u8) -> String {
    format!("n{id}\tTitle number {id}\t{}", CUT_OFF - 1000 + i64::from(id))
}

fn line((user, hour, article): &Click) -> String {
    format!("user-{user}\t{}\tn{article}", CUT_OFF + hour * 3600)
}

fn write(path: &Path, header: &str, lines: &[String]) {
    std::fs::write(path, format!("{header}\n{}\n", lines.join("\n"))).expect("writable");
}

/// Settings for the click and news logs of a folder.
fn settings(folder: &Path, buckets: u32) -> Ingest {
    let globs = |name: &str| vec![folder.join(name).display().to_string()];
    Ingest {
        cut_off: DateTime::from_timestamp(CUT_OFF, 0),
        buckets,
        events: vec![EventLog {
            name: "clicks".into(),
            files: globs("clicks*.tsv"),
            format: Format::Tsv,
            domain: "news".into(),
            user: "user".into(),
            time: "time".into(),
            time_format: "unix_s".into(),
            news_id: Some("article".into()),
            ..EventLog::default()
        }],
        news: vec![NewsLog {
            name: "news".into(),
            files: globs("news*.tsv"),
            format: Format::Tsv,
            news_id: "id".into(),
            title: "title".into(),
            time: Some("time".into()),
            time_format: "unix_s".into(),
            ..NewsLog::default()
        }],
        ..Ingest::default()
    }
}

/// Writes clicks into that many files, and the articles they name.
fn write_logs(folder: &Path, clicks: &[Click], files: usize) {
    std::fs::create_dir_all(folder).expect("writable");
    for (number, part) in clicks.chunks(clicks.len().div_ceil(files).max(1)).enumerate() {
        let lines: Vec<String> = part.iter().map(line).collect();
        write(&folder.join(format!("clicks{number}.tsv")), "user\ttime\tarticle", &lines);
    }
    let articles: Vec<String> = (0..=u8::MAX).map(article).collect();
    write(&folder.join("news.tsv"), "id\ttitle\ttime", &articles);
}

fn clicks() -> impl Strategy<Value = Vec<Click>> {
    proptest::collection::vec((0u8..6, -40i64..40, 0u8..20), 1..60)
}

fn ingested(folder: &Path, clicks: &[Click], files: usize, buckets: u32, threads: usize) -> Result<Runner> {
    write_logs(folder, clicks, files);
    let mut runner = runner(&folder.join("data"));
    runner.resources.threads = threads;
    ingest(&runner, &settings(folder, buckets))?;
    Ok(runner)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10, ..ProptestConfig::default() })]

    #[test]
    fn rows_do_not_depend_on_buckets_threads_files_or_order(
        clicks in clicks(), files in 1usize..4, buckets in 1u32..9, threads in 1usize..4, seed in any::<u64>(),
    ) {
        let (a, b) = (TempDir::new()?, TempDir::new()?);
        let mut shuffled = clicks.clone();
        shuffled.sort_by_key(|click| dataset::bucket::digest_128(&[&seed.to_le_bytes(), format!("{click:?}").as_bytes()]));
        let first = ingested(a.path(), &clicks, 1, 4, 1).expect("ingests");
        let second = ingested(b.path(), &shuffled, files, buckets, threads).expect("ingests");
        prop_assert_eq!(all(&first), all(&second));
    }

    #[test]
    fn shards_ingest_the_same_rows(clicks in clicks(), count in 2u32..4) {
        let (a, b) = (TempDir::new()?, TempDir::new()?);
        let whole = ingested(a.path(), &clicks, 2, 4, 2).expect("ingests");
        write_logs(b.path(), &clicks, 2);
        let runner = runner(&b.path().join("data"));
        for index in 0..count {
            let shard = Runner { shard: Some(Shard { index, count }), ..runner.clone() };
            ingest(&shard, &settings(b.path(), 4)).expect("ingests");
        }
        seal(runner.store(), "events", None, 0).expect("complete");
        prop_assert_eq!(all(&whole), all(&runner));
    }

    #[test]
    fn ingesting_file_by_file_is_ingesting_at_once(clicks in clicks(), cut in 0usize..60) {
        let (a, b) = (TempDir::new()?, TempDir::new()?);
        let whole = ingested(a.path(), &clicks, 1, 4, 2).expect("ingests");
        let (before, after) = clicks.split_at(cut.min(clicks.len()));
        let growing = ingested(b.path(), before, 1, 4, 2);
        if before.is_empty() {
            prop_assert!(growing.is_err(), "no file matches");
        } else {
            let growing = growing.expect("ingests");
            let lines: Vec<String> = after.iter().map(line).collect();
            write(&b.path().join("clicks-later.tsv"), "user\ttime\tarticle", &lines);
            // The files read before are not needed any more.
            std::fs::remove_file(b.path().join("clicks0.tsv"))?;
            ingest(&growing, &settings(b.path(), 4)).expect("ingests");
            prop_assert_eq!(all(&whole), all(&growing));
        }
    }

    #[test]
    fn an_event_moved_across_the_cut_off_changes_nothing_else(clicks in clicks(), victim in any::<prop::sample::Index>()) {
        let mut moved = clicks.clone();
        let at = victim.index(clicks.len());
        // An article of its own, so that it is not a repetition of another click.
        let (user, hour, _) = clicks[at];
        let before = -1 - hour.abs();
        moved[at] = (user, before, 200);
        let mut original = moved.clone();
        original[at] = (user, -before, 200);
        let (a, b) = (TempDir::new()?, TempDir::new()?);
        let (first, second) = (
            ingested(a.path(), &moved, 1, 4, 2).expect("ingests"),
            ingested(b.path(), &original, 1, 4, 2).expect("ingests"),
        );
        let difference = |name: &str| -> (usize, usize) {
            let (a, b) = (all(&first)[name].clone(), all(&second)[name].clone());
            let (a, b): (BTreeSet<_>, BTreeSet<_>) = (a.into_iter().collect(), b.into_iter().collect());
            (a.difference(&b).count(), b.difference(&a).count())
        };
        prop_assert_eq!(difference("events"), (1, 0));
        prop_assert_eq!(difference("truth"), (0, 1));
        prop_assert_eq!(difference("news"), (0, 0));
    }

    #[test]
    fn cap_keeps_the_most_recent_and_capping_twice_is_capping_once(clicks in clicks(), cap in 1u32..6) {
        let root = TempDir::new()?;
        let runner = ingested(root.path(), &clicks, 1, 2, 2).expect("ingests");
        runner.run(&Clean { threshold: None, only: Only::default() }, &["clean_events", "clean_events.dropped"]).expect("cleans");
        let events = Whole::<CleanEvents>::open(runner.store(), "clean_events").expect("committed");
        let stage = Cap { events_per_domain: cap };
        for bucket in 0..2 {
            let input = events.read(bucket).expect("readable");
            let mut expected: BTreeMap<String, Vec<(i64, String)>> = BTreeMap::new();
            for columns in input.columns() {
                let columns = columns.expect("all columns");
                for row in 0..columns.user_id.len() {
                    let entry = expected.entry(columns.user_id.value(row).into()).or_default();
                    entry.push((-columns.occurred_at.value(row), columns.event_id.value(row).into()));
                }
            }
            let before: usize = expected.values().map(Vec::len).sum();
            for entry in expected.values_mut() {
                entry.sort();
                entry.truncate(cap as usize);
            }
            let once = stage.cap(&input, &Rows::empty()).expect("caps");
            prop_assert_eq!(once.accounts[0].input, before as u64);
            let got = times(&once.outputs);
            let wanted: Vec<Vec<i64>> = expected.values().map(|e| e.iter().map(|(at, _)| -at).collect()).collect();
            prop_assert_eq!(&got, &wanted);
            let twice = stage.cap(&as_events(&once.outputs), &Rows::empty()).expect("caps");
            prop_assert_eq!(behaviours(&twice.outputs), behaviours(&once.outputs));
        }
    }

    #[test]
    fn mind_reads_any_bytes(behaviours in mind_bytes(), news in mind_bytes()) {
        let root = TempDir::new()?;
        let folder = root.path().join("mind");
        std::fs::create_dir(&folder)?;
        std::fs::write(folder.join("behaviors.tsv"), behaviours.concat())?;
        std::fs::write(folder.join("news.tsv"), [&b"N1\tsports\tgolf\tA title\t\t\t[]\t[]\n"[..], &news.concat()].concat())?;
        let settings = Ingest {
            mind: Some(folder.display().to_string()),
            cut_off: DateTime::from_timestamp(1_573_257_600, 0),
            buckets: 2,
            ..Ingest::default()
        };
        let runner = runner(&root.path().join("data"));
        accounted(ingest(&runner, &settings));
        // Each line that is set aside is listed, once per reason, and without its text.
        let listed = rows::<Quarantine>(&runner, "events.quarantine");
        let distinct: BTreeSet<&String> = listed.iter().collect();
        prop_assert_eq!(distinct.len(), listed.len());
        let aside = Whole::<Events>::open(runner.store(), "events").expect("committed").manifest().account.bad();
        prop_assert_eq!(listed.is_empty(), aside == 0);
        prop_assert!(listed.len() as u64 <= aside);
        for line in &listed {
            let cells: Vec<&str> = line.split('|').collect();
            prop_assert_eq!(cells.len(), 5, "source, file, line, reason, user_id");
            prop_assert!(cells[3].chars().all(|c| c.is_ascii_alphanumeric() || " -,".contains(c)), "{}", cells[3]);
        }
    }

    #[test]
    fn mapped_logs_read_any_bytes(
        bytes in proptest::collection::vec(any::<u8>(), 0..400), lines in mapped_lines(), format in 0usize..4,
    ) {
        let root = TempDir::new()?;
        let path = root.path().join("clicks0.tsv");
        let header: &[u8] = match format { 0 => b"", 1 => b"user,time,article\n", _ => b"user\ttime\tarticle\n" };
        let format = [Format::Parquet, Format::Csv, Format::Tsv, Format::Jsonl][format];
        std::fs::write(&path, [header, &lines.concat(), &bytes].concat())?;
        write(&root.path().join("news.tsv"), "id\ttitle\ttime", &[article(1)]);
        let mut settings = settings(root.path(), 2);
        settings.events[0].format = format;
        accounted(ingest(&runner(&root.path().join("data")), &settings));
    }
}

/// Either everything that went in is accounted for, or the file as a whole is refused with a reason.
fn accounted(result: Result<Vec<Summary>>) {
    match result {
        Ok(summaries) => {
            for summary in summaries {
                assert_eq!(summary.account.input, summary.account.accounted());
            }
        }
        Err(e) => assert_eq!(e.exit_code(), 3, "{e}"),
    }
}

/// Lines that look more or less like MIND's.
fn mind_bytes() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let pieces = prop::sample::select(vec![
        "1",
        "U1",
        "\t",
        "\t",
        "\t",
        "\t",
        "11/9/2019 9:05:58 AM",
        "13/40/2019 9:05:58 AM",
        "N1 N2",
        "N1-1 N2-0",
        "N1",
        "-1",
        "\u{feff}",
        "\r",
        "\0",
        "é",
        " ",
        "[{\"Label\": \"x\"}]",
        "\n1\tU1\t11/9/2019 9:05:58 AM\tN1 N1\tN1-1 N2-0\n",
        "\n1\tU2\t11/8/2019 9:05:58 AM\t\tN1-1\n",
        "\n1\tU3\t11/9/2019 9:05:58 AM\tN7\tN7-1\n",
    ]);
    let piece =
        prop_oneof![9 => pieces.prop_map(|s| s.as_bytes().to_vec()), 1 => proptest::collection::vec(any::<u8>(), 1..4)];
    proptest::collection::vec(prop_oneof![9 => piece, 1 => Just(b"\n".to_vec())], 0..60)
}

/// Lines that look more or less like a click log's.
fn mapped_lines() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let pieces = prop::sample::select(vec![
        "user-1\t1764547100\tn1\n",
        "user-1,1764547100,n1\n",
        "\"user,\n1\",1764547100,n1\n",
        "\t\t\n",
        "user-2\tnever\tn1\n",
        "{\"user\": \"u\", \"time\": 1764547100, \"article\": \"n1\"}\n",
        "{\"user\": 5}\n",
        "[]\n",
        "\"",
        "\0",
        "\r\n",
        "user\t",
    ]);
    proptest::collection::vec(pieces.prop_map(|s| s.as_bytes().to_vec()), 0..12)
}

fn behaviours(profiles: &Rows<Profiles>) -> Vec<String> {
    let mut lines = Vec::new();
    for batch in profiles.batches() {
        let lists = batch.column_by_name(Profiles::behaviours.name()).expect("there");
        lines.extend((0..batch.num_rows()).map(|row| array_value_to_string(lists, row).expect("printable")));
    }
    lines
}

fn times(profiles: &Rows<Profiles>) -> Vec<Vec<i64>> {
    let mut times = Vec::new();
    for columns in profiles.columns() {
        let lists = columns.expect("all columns").behaviours;
        times
            .extend((0..lists.len()).map(|row| lists.range(row).map(|i| lists.items().occurred_at.value(i)).collect()));
    }
    times
}

/// Profiles' behaviours as the clean events that they were.
fn as_events(profiles: &Rows<Profiles>) -> Rows<CleanEvents> {
    let mut batches = Vec::new();
    for columns in profiles.columns() {
        let columns = columns.expect("all columns");
        let lists = columns.behaviours;
        for row in 0..lists.len() {
            let (range, items) = (lists.range(row), lists.items());
            let (start, rows) = (range.start, range.len());
            let same = |value: &str| StringArray::from(vec![value; rows]);
            let columns = CleanEventsColumns {
                event_id: same("an event"),
                user_id: same(columns.user_id.value(row)),
                domain: items.domain.slice(start, rows),
                occurred_at: items.occurred_at.slice(start, rows),
                text: items.text.slice(start, rows),
                news_id: items.news_id.slice(start, rows),
                source: same("test"),
                keep_score: Float32Array::new_null(rows),
            };
            batches.push(columns.into_batch().expect("columns of the contract"));
        }
    }
    Rows::new(batches)
}

#[test]
fn awkward_files_are_read_for_what_they_hold() -> Result<()> {
    let root = TempDir::new().expect("a folder");
    let (folder, header) = (root.path(), "user\ttime\tarticle\n");
    let good = |user: &str| format!("{user}\t{}\tn1\n", CUT_OFF - 60);
    let files: [(&str, Vec<u8>); 7] = [
        ("bom", [b"\xef\xbb\xbf", header.as_bytes(), good("bom").as_bytes()].concat()),
        ("crlf", format!("{header}{}", good("crlf")).replace('\n', "\r\n").into_bytes()),
        ("empty", Vec::new()),
        ("header-only", header.into()),
        ("nul", [header.as_bytes(), b"n\0ul\t", format!("{}\tn1\n", CUT_OFF - 60).as_bytes()].concat()),
        ("long", format!("{header}{}\t{}\tn1\n{}", "x".repeat(1 << 20), CUT_OFF - 60, good("long")).into_bytes()),
        ("no-end", format!("{header}{}", good("no-end").trim_end()).into_bytes()),
    ];
    for (name, bytes) in &files {
        std::fs::write(folder.join(format!("clicks-{name}.tsv")), bytes).expect("writable");
    }
    let packed = format!("{header}{}", good("packed"));
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gz, packed.as_bytes()).expect("in memory");
    std::fs::write(folder.join("clicks-gz.tsv"), gz.finish().expect("in memory")).expect("writable");
    let packed = zstd::encode_all(packed.replace("packed", "zst").as_bytes(), 1).expect("in memory");
    std::fs::write(folder.join("clicks-zst.tsv"), &packed).expect("writable");
    write(&folder.join("news.tsv"), "id\ttitle\ttime", &[article(1)]);

    let runner = runner(&folder.join("data"));
    let summaries = ingest(&runner, &settings(folder, 4))?;
    let mut account = Account { input: 8, output: 7, ..Account::default() };
    account.quarantine("user id too long", 1);
    assert_eq!(summaries[1].account, account, "bom, crlf, nul, long, no-end, gz and zst; the 1 MB id is set aside");
    let aside = rows::<Quarantine>(&runner, "events.quarantine");
    assert_eq!(aside.len(), 1);
    assert!(aside[0].contains("clicks-long.tsv|2|user id too long|"), "{aside:?}");

    std::fs::write(folder.join("clicks-zst.tsv"), &packed[..packed.len() - 6]).expect("writable");
    let error = ingest(&runner, &settings(folder, 4)).expect_err("a truncated archive");
    assert!(error.to_string().contains("breaks off") && error.exit_code() == 3, "{error}");
    Ok(())
}

#[test]
fn too_many_bad_rows_fail_and_name_the_first() {
    let root = TempDir::new().expect("a folder");
    write_logs(root.path(), &[(1, -1, 1), (2, -2, 2)], 1);
    write(&root.path().join("clicks9.tsv"), "user\ttime\tarticle", &["secret-user\tnever\tn1".into()]);
    let mut strict = runner(&root.path().join("data"));
    strict.resources.max_bad_ratio = 0.01;
    let error = ingest(&strict, &settings(root.path(), 2)).expect_err("a third is bad");
    let message = error.to_string();
    assert_eq!(error.exit_code(), 3);
    assert!(message.contains("1 of 3 behaviours are unreadable (no readable time 1)"), "{message}");
    assert!(message.contains("clicks9.tsv:2") && !message.contains("secret"), "{message}");
    assert!(!root.path().join("data/events/_delta_log").exists(), "nothing is committed");
}

#[test]
fn the_cut_off_may_move_as_nightly_runs_do() -> Result<()> {
    let root = TempDir::new().expect("a folder");
    let folder = root.path();
    write_logs(folder, &[(1, -30, 1), (2, -26, 2)], 1);
    let runner = runner(&folder.join("data"));
    let nightly = |day: i64| Ingest {
        cut_off: DateTime::from_timestamp(CUT_OFF + day * 86_400, 0),
        history_days: 2,
        ..settings(folder, 2)
    };
    ingest(&runner, &nightly(-1))?;
    assert_eq!(rows::<Events>(&runner, "events").len(), 2);

    // The next night's log arrives, last night's files are gone: what they held is carried on.
    std::fs::remove_file(folder.join("clicks0.tsv")).expect("removable");
    write(&folder.join("clicks1.tsv"), "user\ttime\tarticle", &[line(&(3, -2, 3))]);
    ingest(&runner, &nightly(0))?;
    assert_eq!(rows::<Events>(&runner, "events").len(), 3);

    // A day later the first night leaves the two days of history.
    write(&folder.join("clicks2.tsv"), "user\ttime\tarticle", &[line(&(4, 20, 4))]);
    ingest(&runner, &nightly(1))?;
    assert_eq!(rows::<Events>(&runner, "events").len(), 2);

    // Back in time, known files would have rows in the window: they must all be read again, and one is gone.
    let error = ingest(&runner, &nightly(-2)).expect_err("clicks0 is gone");
    assert!(error.to_string().contains("a file of the log clicks that was read before is gone"), "{error}");
    assert!(error.to_string().contains("the history begins earlier"), "{error}");
    assert_eq!(rows::<Events>(&runner, "events").len(), 2, "nothing has changed");
    Ok(())
}

#[test]
fn one_more_log_leaves_what_was_read_as_it_is() -> Result<()> {
    let root = TempDir::new().expect("a folder");
    let folder = root.path();
    let runner = ingested(folder, &[(1, -1, 1), (2, -2, 2)], 1, 2, 1)?;
    assert_eq!(rows::<RawFiles>(&runner, "events.raw_files").len(), 1);
    // The file that was read is rotated away; a second log comes.
    std::fs::remove_file(folder.join("clicks0.tsv")).expect("removable");
    write(&folder.join("more.tsv"), "user\ttime\tarticle", &[line(&(3, -3, 3))]);
    let mut more = settings(folder, 2);
    more.events[0].name = "more".into();
    more.events[0].files = vec![folder.join("more.tsv").display().to_string()];
    ingest(&runner, &more)?;
    assert_eq!(rows::<Events>(&runner, "events").len(), 3);
    assert_eq!(rows::<RawFiles>(&runner, "events.raw_files").len(), 2);

    // Another mapping of a log that was read asks for its files again, and says what to do.
    more.events[0].time_zone = "Europe/Berlin".into();
    std::fs::remove_file(folder.join("more.tsv")).expect("removable");
    write(&folder.join("more.tsv"), "user\ttime\tarticle", &[line(&(4, -4, 4))]);
    let error = ingest(&runner, &more).expect_err("its first file is gone").to_string();
    assert!(error.contains("the mapping of the log more changed") && error.contains("hint: "), "{error}");
    assert_eq!(rows::<Events>(&runner, "events").len(), 3);
    Ok(())
}

/// A7: a title that changes between two nights makes no second event of a click that comes in both nights' files.
#[test]
fn a_changed_title_makes_no_second_event() -> Result<()> {
    let nights = |first: &str, second: &str| -> Result<BTreeMap<&'static str, Vec<String>>> {
        let root = TempDir::new().expect("a folder");
        let folder = root.path();
        let runner = runner(&folder.join("data"));
        for (night, title) in [("a", first), ("b", second)] {
            let clicks: Vec<String> = [(1, -1, 1), (2, -2, 1)].iter().map(line).collect();
            write(
                &folder.join(format!("clicks-{night}.tsv")),
                "user\ttime\tarticle",
                &[&clicks[..], &[format!("{night}\t{}\tn1", CUT_OFF - 9)]].concat(),
            );
            write(
                &folder.join(format!("news-{night}.tsv")),
                "id\ttitle\ttime",
                &[format!("n1\t{title}\t{}", CUT_OFF - 1000)],
            );
            ingest(&runner, &settings(folder, 2))?;
        }
        Ok(all(&runner))
    };
    let there = nights("An early title", "The title")?;
    assert_eq!(there["events"].len(), 4);
    assert_eq!(there, nights("The title", "An early title")?, "whichever title came first");
    Ok(())
}

#[test]
fn another_key_is_refused() -> Result<()> {
    let root = TempDir::new().expect("a folder");
    let mut runner = ingested(root.path(), &[(1, -1, 1)], 1, 2, 1)?;
    let file = root.path().join("key");
    std::fs::write(&file, "9f86d081884c7d659a2feaa0c55ad015").expect("writable");
    runner.resources.user_key = KeySource { file: Some(file), insecure_dev_key: false };
    let error = ingest(&runner, &settings(root.path(), 2)).expect_err("another key");
    assert!(error.to_string().contains("another key's") && error.exit_code() == 3, "{error}");
    Ok(())
}

#[test]
fn a_folder_that_cannot_be_read_is_an_error() -> Result<()> {
    let root = TempDir::new().expect("a folder");
    write_logs(&root.path().join("good"), &[(1, -1, 1)], 1);
    let mut broken = settings(root.path(), 2);
    broken.news[0].files = vec![root.path().join("good/news.tsv").display().to_string()];
    let mut ingested = |glob: &str, data: &str| {
        broken.events[0].files = vec![root.path().join(glob).display().to_string()];
        ingest(&runner(&root.path().join(data)), &broken)
    };
    ingested("*/clicks0.tsv", "first")?;
    // The superuser reads everything, but no link to itself.
    std::os::unix::fs::symlink("bad", root.path().join("bad")).expect("writable");
    for glob in ["*/clicks0.tsv", "*/clicks*.tsv", "**/clicks0.tsv"] {
        let error = ingested(glob, "second").expect_err(glob).to_string();
        assert!(
            error.contains("/bad") && error.contains("symbolic links") && !root.path().join("second").exists(),
            "{error}"
        );
    }
    Ok(())
}
