//! MIND's layout.

use super::{Ran, run, run_with};
use dataset::Result;

/// Eight articles.
fn articles() -> String {
    (1..9).map(|i| format!("N{i}\tsports\tgolf\tTitle {i}\tAbstract {i}\thttps://x.example/{i}\t[]\t[]\n")).collect()
}

fn mind(cut_off: &str, behaviours: &str) -> Result<Ran> {
    let cut_off = if cut_off.is_empty() { String::new() } else { format!("cut_off = \"{cut_off}\"\n") };
    run(
        &format!("{cut_off}mind = \"@/\"\n"),
        &[("behaviors.tsv", behaviours.as_bytes()), ("news.tsv", articles().as_bytes())],
    )
}

fn refused(behaviours: &str) -> String {
    mind("", behaviours).err().expect("an error").to_string()
}

#[test]
fn a_history_that_grows_is_one_history_and_no_truth() -> Result<()> {
    let lines = [
        "1\tU1\t11/15/2019 8:55:22 AM\tN1 N2\tN3-1 N4-0\n",
        "2\tU1\t11/15/2019 9:55:22 AM\tN1 N2 N3\tN5-1 N4-0\n",
        "3\tU1\t11/15/2019 10:55:22 AM\tN1 N2 N3 N5\tN6-1 N4-0\n",
    ];
    let ran = mind("", &lines.concat())?;
    assert_eq!(
        (ran.column(5), ran.truth()),
        (vec!["N1".to_owned(), "N2".to_owned()], vec!["N3".into(), "N5".into(), "N6".into()])
    );
    let shuffled = [lines[2], lines[0], lines[1]].concat();
    assert_eq!(mind("", &shuffled)?.events(), ran.events(), "in any order");
    Ok(())
}

#[test]
fn a_history_is_older_than_every_click_that_has_a_time() -> Result<()> {
    let lines = "1\tU1\t11/9/2019 8:55:22 AM\tN1 N2 N3\tN5-1 N4-0\n2\tU1\t11/11/2019 8:55:22 AM\tN1 N2 N3\tN6-1 N4-0\n\
                 3\tU1\t11/12/2019 9:55:22 AM\tN1 N2 N3\tN7-1 N4-0\n";
    let ran = mind("2019-11-12T00:00:00Z", lines)?;
    let times = ran.times();
    let oldest_first: Vec<&str> = {
        let mut order: Vec<(&String, &String)> = times.iter().map(|(text, at)| (at, text)).collect();
        order.sort();
        order.into_iter().map(|(_, text)| text.as_str()).collect()
    };
    assert_eq!(oldest_first, ["Title 1", "Title 2", "Title 3", "Title 5", "Title 6"]);
    assert_eq!((times["Title 3"].as_str(), ran.truth()), ("2019-11-09T08:55:21Z", vec!["N7".to_owned()]));
    Ok(())
}

#[test]
fn two_articles_of_one_title_are_two_clicks() -> Result<()> {
    let files: [(&str, &[u8]); 2] = [
        ("news.tsv", b"N1\tphoto\tday\tPhotos of the day\t\t\t[]\t[]\nN2\tphoto\tday\tPhotos of the day\t\t\t[]\t[]\n"),
        ("behaviors.tsv", b"1\tU1\t11/15/2019 8:55:22 AM\t\tN1-1 N2-1\n"),
    ];
    let ran = run("cut_off = \"2019-11-16\"\nmind = \"@/\"\n", &files)?;
    assert_eq!(ran.column(5), ["N1", "N2"]);
    Ok(())
}

#[test]
fn entities_are_optional() -> Result<()> {
    let files: [(&str, &[u8]); 2] = [
        (
            "news.tsv",
            b"N1\tsports\tgolf\tOne\tAbs\t\tnan\tnan\nN2\tsports\tgolf\tTwo\tAbs\t\t[{\"Label\": \"Ferry\"}]\t[]\n",
        ),
        ("behaviors.tsv", b"1\tU1\t11/15/2019 8:55:22 AM\tN1\tN2-1\n"),
    ];
    let ran = run_with("mind = \"@/\"\n", &files, 0.0)?;
    assert_eq!((ran.news().len(), ran.column(5)), (2, vec!["N1".to_owned()]));
    assert_eq!(ran.summaries[0].account.notes["left out entities (not a JSON list)"], 2);
    Ok(())
}

#[test]
fn iso_times_are_read() -> Result<()> {
    let ran = mind("", "1\tU1\t2019-11-15 08:55:22\tN1\tN3-1\n")?;
    assert_eq!((ran.times()["Title 1"].as_str(), ran.truth()), ("2019-11-14T23:59:59Z", vec!["N3".to_owned()]));
    Ok(())
}

#[test]
fn another_layout_is_one_error_that_says_what_is_wrong() {
    let error = refused("U1\t11/15/2019 8:55:22 AM\tN1 N2\tN3-1 N4-0\n");
    assert!(error.contains("(line 1: expected 5 fields, got 4)") && error.contains("five columns"), "{error}");
    let error = refused("1\tU1\t11/15/2019 8:55:22 AM\tN1 N2\tN3 N4\n2\tU2\t11/15/2019 9:55:22 AM\tN2\tN5 N4\n");
    assert!(
        error.contains("line 1: impressions that do not say what was clicked") && error.contains("test split"),
        "{error}"
    );
}

#[test]
fn what_the_windows_impressions_showed_is_kept() -> Result<()> {
    let lines = "1\tU1\t11/15/2019 8:55:22 AM\tN1\tN3-1 N4-0 N99-0 N4-1\n2\tU1\t11/16/2019 8:55:22 AM\tN1\tN5-0 N6-0\n\
                 2\tU1\t11/16/2019 8:55:22 AM\tN1\tN5-0 N6-0\n3\tU2\t11/25/2019 8:55:22 AM\tN1\tN5-1 N6-0\n4\tU3\t11/15/2019 1:00:00 AM\t\tN1-0 N2-0\n";
    let ran = mind("", lines)?;
    // The cut-off is the day of the first one. An article that is shown twice is one, clicked; U3 did nothing at all.
    let expected = [
        "2019-11-15T08:55:22Z 1 N3 true",
        "2019-11-15T08:55:22Z 2 N4 true",
        "2019-11-16T08:55:22Z 1 N5 false",
        "2019-11-16T08:55:22Z 2 N6 false",
    ];
    assert_eq!(ran.impressions(), expected);
    let account = &ran.summaries[2].account;
    let dropped = |why: &str| account.dropped.get(why).copied();
    assert_eq!((account.input, account.output, account.notes["impressions"]), (12, 4, 2));
    assert_eq!(dropped("after the window"), Some(2));
    assert_eq!(dropped("articles that no news log has"), Some(1));
    assert_eq!(dropped("shown again in one impression"), Some(1));
    assert_eq!(dropped("of people without events or clicks"), Some(2));
    assert_eq!(dropped("repeated"), Some(2));
    // In any order of lines, and under a later cut-off those of its window.
    let mut shuffled: Vec<&str> = lines.lines().collect();
    shuffled.reverse();
    assert_eq!(mind("", &format!("{}\n", shuffled.join("\n")))?.impressions(), expected);
    let later = mind("2019-11-20", lines)?;
    assert_eq!(later.impressions(), ["2019-11-25T08:55:22Z 1 N5 true", "2019-11-25T08:55:22Z 2 N6 false"]);
    assert_eq!(later.summaries[2].account.dropped["before the cut-off"], 10);
    Ok(())
}
