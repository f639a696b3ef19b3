//! Ids, null marks, columns and files that are not there.

use super::{TIME_AND_TEXT, Values, at, log, news, parquet, refused, run, searches, three};
use dataset::Result;

#[test]
fn one_person_is_one_id_whatever_tool_wrote_it() -> Result<()> {
    let [time, text] = three();
    let integers = parquet(
        &format!("required int64 user; {TIME_AND_TEXT}"),
        vec![Values::Integers(vec![101, 102, 103]), time, text],
    );
    let [time, text] = three();
    let floats = parquet(
        &format!("required double user; {TIME_AND_TEXT}"),
        vec![Values::Floats(vec![101.0, 102.0, f64::NAN]), time, text],
    );
    let csv =
        b"user,time,text\n101.0,2025-11-30T10:00:00Z,a\n102,2025-11-30T10:00:00Z,b\n9.876e+20,2025-11-30T10:00:00Z,c\n";
    let section = [
        log("s", "search", "s.parquet", "parquet", "text = \"text\""),
        log("v", "browse", "v.parquet", "parquet", "text = \"text\""),
        log("c", "search", "c.csv", "csv", "text = \"text\""),
    ];
    let files: [(&str, &[u8]); 3] = [("s.parquet", &integers), ("v.parquet", &floats), ("c.csv", csv)];
    let ran = run(&section.concat(), &files)?;
    assert_eq!((ran.users(), ran.events().len()), (3, 7));
    let aside = ran.account().quarantined.clone();
    assert_eq!(aside["no user"], 1, "NaN is nobody");
    assert_eq!(aside["an id as floating point, which is no whole number or lost digits"], 1);
    // As somebody may want it.
    let kept = section.concat().replace("name = \"c\"", "name = \"c\"\nwhole_ids = false");
    assert_eq!(run(&kept, &files)?.users(), 5);
    Ok(())
}

#[test]
fn small_floats_merge_nobody() -> Result<()> {
    let inexact = "an id as floating point, which is no whole number or lost digits".to_owned();
    // 123456789 is 123456792 in 32 bits, and so are its neighbours.
    let [time, text] = three();
    let singles = parquet(
        &format!("required float user; {TIME_AND_TEXT}"),
        vec![Values::Singles(vec![16_777_215.0, 123_456_789_f32, -16_777_217_f32]), time, text],
    );
    let ran = run(&searches("s.parquet", "parquet", ""), &[("s.parquet", &singles)])?;
    assert_eq!((ran.users(), ran.aside()), (1, vec![(2, inexact.clone()), (3, inexact.clone())]));
    let csv = b"user,time,text\n16777215,2025-11-30T10:00:00Z,a\n";
    let section = searches("s.parquet", "parquet", "") + &log("c", "search", "s.csv", "csv", "text = \"text\"");
    assert_eq!(run(&section, &[("s.parquet", &singles), ("s.csv", csv)])?.users(), 1, "one person");

    // Of 16 bits: 2047, 2049 (which is 2048 there), and no number.
    let [time, text] = three();
    let halves: [&[u8]; 3] = [&0x67ff_u16.to_le_bytes(), &0x6800_u16.to_le_bytes(), &0x7e00_u16.to_le_bytes()];
    let file = parquet(
        &format!("required fixed_len_byte_array(2) user (FLOAT16); {TIME_AND_TEXT}"),
        vec![Values::Fixed(halves.to_vec()), time, text],
    );
    let ran = run(&searches("s.parquet", "parquet", ""), &[("s.parquet", &file)])?;
    assert_eq!((ran.users(), ran.aside()), (1, vec![(2, inexact), (3, "no user".to_owned())]));

    // Articles are told apart by the same rule.
    let [time, text] = three();
    let pages = parquet(
        &format!("required binary user (STRING); required float page; {TIME_AND_TEXT}"),
        vec![Values::Bytes(vec![b"u"; 3]), Values::Singles(vec![7.0, 3e7, 8.0]), time, text],
    );
    let section = log("s", "browse", "s.parquet", "parquet", "text = \"text\"\nnews_id = \"page\"");
    let ran = run(&section, &[("s.parquet", &pages)])?;
    assert_eq!(ran.column(5), ["", "7", "8"]);
    Ok(())
}

#[test]
fn decimals_are_ids_and_times() -> Result<()> {
    let decimals = parquet(
        "required int64 user (DECIMAL(18,2)); required int64 time (DECIMAL(18,3)); required binary text (STRING);",
        vec![
            Values::Integers(vec![10_100, 10_200, 10_150]),
            Values::Integers(vec![1_764_500_000_250, 1_764_500_001_000, 1_764_500_002_000]),
            Values::Bytes(vec![b"ferry", b"shed", b"boat"]),
        ],
    );
    let csv = b"user,time,text\n101,1764500000,a\n101.50,1764500000,b\n";
    let section = log("d", "search", "d.parquet", "parquet", "text = \"text\"\ntime_format = \"unix_s\"")
        + &log("c", "search", "c.csv", "csv", "text = \"text\"\ntime_format = \"unix_s\"");
    let ran = run(&section, &[("d.parquet", &decimals), ("c.csv", csv)])?;
    assert_eq!((ran.users(), ran.aside()), (3, vec![]));
    assert_eq!(ran.times()["ferry"], "2025-11-30T10:53:20.250Z");
    let [time, text] = three();
    let ids = [98_765_432_109_876_543_210_001_i128, 98_765_432_109_876_543_210_002].map(i128::to_be_bytes);
    let wide = parquet(
        &format!("required fixed_len_byte_array(16) user (DECIMAL(38,0)); {TIME_AND_TEXT}"),
        vec![Values::Fixed(vec![&ids[0], &ids[1], &ids[0]]), time, text],
    );
    assert_eq!(run(&searches("w.parquet", "parquet", ""), &[("w.parquet", &wide)])?.users(), 2, "no digit is lost");
    Ok(())
}

#[test]
fn truth_names_the_articles_that_there_are() -> Result<()> {
    let clicks = parquet(
        "required binary user (STRING); required double article; required int64 time (TIMESTAMP(MICROS,true)); required binary head (STRING);",
        vec![
            Values::Bytes(vec![b"a", b"a", b"a"]),
            Values::Floats(vec![9001.0, 9002.0, 9009.0]),
            Values::Integers(vec![at(0), at(86_400), at(1)]),
            Values::Bytes(vec![b"Ferry runs again", b"Garden show opens", b"Nobody knows it"]),
        ],
    );
    let articles = parquet(
        "required int64 id; required binary title (STRING);",
        vec![Values::Integers(vec![9001, 9002]), Values::Bytes(vec![b"Ferry runs again", b"Garden show opens"])],
    );
    let section = log("clicks", "news", "c.parquet", "parquet", "news_id = \"article\"\ntext = \"head\"");
    let ran = run(&(section + &news("n.parquet", "parquet", "")), &[("c.parquet", &clicks), ("n.parquet", &articles)])?;
    assert_eq!((ran.truth(), ran.column(5)), (vec!["9002".to_owned()], vec!["9001".to_owned(), "9009".to_owned()]));
    assert_eq!(ran.account().notes["clicks on articles that no news log has"], 1);
    assert_eq!(
        (ran.account().dropped["became truth"], ran.account().output),
        (1, 2),
        "the account says what became of it"
    );
    Ok(())
}

#[test]
fn big_integers_keep_their_digits() -> Result<()> {
    let ids = [
        "98765432109876543210001",
        "98765432109876543210002",
        "18446744073709551615",
        "18446744073709551616",
        "9007199254740993",
    ];
    let row = |id: &&str| format!("{{\"user\": {id}, \"time\": \"2025-11-30T10:00:00Z\", \"text\": \"q\"}}\n");
    let rows: String = ids.iter().map(row).collect();
    let ran = run(&searches("l.jsonl", "jsonl", ""), &[("l.jsonl", rows.as_bytes())])?;
    assert_eq!((ran.users(), ran.aside()), (5, vec![]));
    let quoted =
        rows.replace(": 9", ": \"9").replace("001,", "001\",").replace("002,", "002\",").replace("993,", "993\",");
    let both = run(&searches("*.jsonl", "jsonl", ""), &[("l.jsonl", rows.as_bytes()), ("m.jsonl", quoted.as_bytes())])?;
    assert_eq!(both.users(), 5, "as text it is the same id");
    Ok(())
}

#[test]
fn null_marks_are_no_users() -> Result<()> {
    let rows = "user,time,text\nNULL,2025-11-30T10:00:00Z,a\n\\N,2025-11-30T10:00:01Z,b\nnan,2025-11-30T10:00:02Z,c\n\
                ,2025-11-30T10:00:03Z,d\n-,2025-11-30T10:00:04Z,e\nu1,2025-11-30T10:00:05Z,nan\nu1,2025-11-30T10:00:06Z,-\n";
    let ran = run(&searches("l.csv", "csv", ""), &[("l.csv", rows.as_bytes())])?;
    assert_eq!((ran.users(), ran.account().quarantined["no user"]), (2, 4));
    assert_eq!(ran.texts(), ["-", "e", "nan"], "a text may be anything");
    let ran = run(&searches("l.csv", "csv", "nulls = \"-\""), &[("l.csv", rows.as_bytes())])?;
    assert_eq!((ran.account().quarantined["no user"], ran.account().quarantined["no text"]), (5, 1));
    Ok(())
}

#[test]
fn a_column_that_no_row_has_is_an_error() -> Result<()> {
    let clicks = log("clicks", "news", "c.jsonl", "jsonl", "news_id = \"art\"");
    let files: [(&str, &[u8]); 2] = [
        ("n.jsonl", b"{\"id\": \"N1\", \"title\": \"T\", \"published\": \"2025-11-29\", \"by\": {\"name\": \"x\"}}\n{\"id\": \"N2\", \"title\": \"T\", \"sumary\": null}\n"),
        ("c.jsonl", b"{\"user\": \"u\", \"time\": \"2025-11-30\", \"art\": \"N1\"}\n"),
    ];
    let error =
        refused(&(clicks.clone() + &news("n.jsonl", "jsonl", "time = \"publshed\"\nabstract = \"sumary\"")), &files);
    let expected =
        "log news: expected a column \"publshed\", which no row has, got by.name, id, published, sumary, title";
    assert!(error.contains(expected), "{error}");
    let ran = run(
        &(clicks + &news("n.jsonl", "jsonl", "time = \"published\"\nabstract = \"sumary\"\ncategory = \"by.name\"")),
        &files,
    )?;
    assert_eq!(ran.news()[0][1..3], ["2025-11-29T00:00:00Z", "x"]);
    Ok(())
}

#[test]
fn a_glob_that_matches_nothing_is_an_error() {
    let section =
        searches("a.csv", "csv", "").replace("files = \"@/a.csv\"", "files = [\"@/a/*.csv\", \"@/bb/*.csv\"]");
    let row = b"user,time,text\nu1,2025-11-30T10:00:00Z,a\n";
    let error = refused(&section, &[("a/l.csv", row)]);
    assert!(error.contains("bb/*.csv\", which matches none") && error.contains("searches"), "{error}");
    // What the system hides is no log.
    let error = refused(&searches("a/*.csv", "csv", ""), &[("a/._l.csv", row)]);
    assert!(error.contains("matches none"), "{error}");
}

#[test]
fn parquets_own_ids_and_structs() -> Result<()> {
    let uuids: [&[u8]; 3] = [&[0x11; 16], &[0xab; 16], &[0; 16]];
    let [time, text] = three();
    let binary = parquet(
        &format!("required fixed_len_byte_array(16) user (UUID); {TIME_AND_TEXT}"),
        vec![Values::Fixed(uuids.to_vec()), time, text],
    );
    let csv = b"user,time,text\nabababab-abab-abab-abab-abababababab,2025-11-30T10:00:00Z,a\n";
    let section = searches("l.parquet", "parquet", "") + &log("c", "search", "l.csv", "csv", "text = \"text\"");
    let ran = run(&section, &[("l.parquet", &binary), ("l.csv", csv)])?;
    assert_eq!((ran.users(), ran.events().len()), (3, 4), "a UUID is what it is as text");

    let [time, text] = three();
    let inside = parquet(
        &format!("required group user {{ required binary id (STRING); }} {TIME_AND_TEXT}"),
        vec![Values::Bytes(vec![b"u1", b"u2", b"u1"]), time, text],
    );
    let error = refused(&searches("l.parquet", "parquet", ""), &[("l.parquet", &inside)]);
    assert!(
        error.contains("column \"user\": a struct of id") && error.contains("with a dot, such as user.id"),
        "{error}"
    );
    let nested = searches("l.parquet", "parquet", "").replace("user = \"user\"", "user = \"user.id\"");
    assert_eq!(run(&nested, &[("l.parquet", &inside)])?.users(), 2);

    let [time, text] = three();
    let opaque = parquet(
        &format!("required fixed_len_byte_array(12) user (INTERVAL); {TIME_AND_TEXT}"),
        vec![Values::Fixed(vec![&[0; 12]; 3]), time, text],
    );
    let error = refused(&searches("l.parquet", "parquet", ""), &[("l.parquet", &opaque)]);
    assert!(error.contains("column \"user\": expected text, numbers or times, got type"), "{error}");
    Ok(())
}

#[test]
fn bytes_that_are_no_text_cost_their_row() -> Result<()> {
    let file = parquet(
        &format!("required binary user (STRING); {TIME_AND_TEXT}"),
        vec![
            Values::Bytes(vec![b"u1", b"u2", b"u3"]),
            Values::Integers(vec![at(0), at(1), at(2)]),
            Values::Bytes(vec![b"ferry", b"\xff\xfe", b"boat"]),
        ],
    );
    let ran = run(&searches("l.parquet", "parquet", ""), &[("l.parquet", &file)])?;
    assert_eq!(
        (ran.texts(), ran.aside()),
        (vec!["boat".to_owned(), "ferry".to_owned()], vec![(2, "not UTF-8".to_owned())])
    );
    Ok(())
}
