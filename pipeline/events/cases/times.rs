//! Times through a whole ingest; the formats themselves are tested in `ingest/time.rs`.

use super::{refused, run, searches};
use dataset::Result;

fn times(setting: &str, rows: &[(&str, &str)]) -> Result<Vec<String>> {
    let rows: String = rows.iter().map(|(time, text)| format!("u1\t{time}\t{text}\n")).collect();
    let file = format!("user\ttime\ttext\n{rows}");
    Ok(run(&searches("l.tsv", "tsv", setting), &[("l.tsv", file.as_bytes())])?.times().into_values().collect())
}

#[test]
fn a_day_is_its_midnight() -> Result<()> {
    let berlin = "time_zone = \"Europe/Berlin\"";
    let days = [("2025-11-30", "first"), ("2025-11-29", "second")];
    let expected = ["2025-11-29T23:00:00Z", "2025-11-28T23:00:00Z"];
    assert_eq!(times(&format!("time_format = \"%Y-%m-%d\"\n{berlin}"), &days)?, expected);
    assert_eq!(times(berlin, &days)?, expected);
    Ok(())
}

#[test]
fn the_zone_is_that_of_times_without_an_offset() -> Result<()> {
    let rows = [("2025-11-30T10:00:00", "a"), ("2025-11-30T10:00:00+00:00", "b")];
    assert_eq!(times("time_zone = \"Europe/Berlin\"", &rows)?, ["2025-11-30T09:00:00Z", "2025-11-30T10:00:00Z"]);
    Ok(())
}

#[test]
fn offsets_of_any_spelling_count_and_names_of_zones_are_refused() -> Result<()> {
    let rows = [("2025-11-30 11:00:00 +01:00", "a")];
    assert_eq!(times("time_format = \"%Y-%m-%d %H:%M:%S %::z\"", &rows)?, ["2025-11-30T10:00:00Z"]);
    let section = searches("l.tsv", "tsv", "time_format = \"%Y-%m-%d %H:%M:%S %Z\"");
    let error = refused(&section, &[("l.tsv", b"user\ttime\ttext\nu1\t2025-11-30 02:00:00 PST\ta\n")]);
    assert!(
        error.contains("ingest.events[searches].time_format") && error.contains("%Z would be passed over"),
        "{error}"
    );
    Ok(())
}

#[test]
fn epochs_of_browsers_and_windows() -> Result<()> {
    for (format, written) in
        [("webkit", "13408970400000000"), ("filetime", "134089704000000000"), ("unix_ns", "1764496800000000000")]
    {
        assert_eq!(
            times(&format!("time_format = \"{format}\""), &[(written, "a")])?,
            ["2025-11-30T10:00:00Z"],
            "{format}"
        );
    }
    Ok(())
}
