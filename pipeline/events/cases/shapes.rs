//! Shapes of logs: objects in objects, lists, filters, partitions.

use super::{Values, log, news, parquet, refused, run, searches};
use dataset::Result;
use parquet::arrow::ArrowWriter;

#[test]
fn members_of_objects() -> Result<()> {
    let rows = b"{\"u\": {\"id\": 7}, \"when\": {\"at\": \"2025-11-30\"}, \"text\": \"a\"}\n{\"u\": {}, \"when\": {\"at\": \"2025-11-30\"}, \"text\": \"b\"}\n";
    let section = searches("l.jsonl", "jsonl", "").replace("\"user\"", "\"u.id\"").replace("\"time\"", "\"when.at\"");
    let ran = run(&section, &[("l.jsonl", rows)])?;
    assert_eq!((ran.texts(), ran.aside()), (vec!["a".to_owned()], vec![(2, "no user".to_owned())]));
    Ok(())
}

/// Rows of parallel lists, as Parquet.
fn histories() -> Vec<u8> {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, ListArray, RecordBatch, StringArray};
    use arrow::datatypes::Int64Type;
    let lists = |lists: Vec<Vec<i64>>| -> ArrayRef {
        Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(
            lists.into_iter().map(|list| Some(list.into_iter().map(Some))),
        ))
    };
    let batch = RecordBatch::try_from_iter([
        ("user", Arc::new(StringArray::from(vec!["a", "b", "c"])) as ArrayRef),
        ("times", lists(vec![vec![1_764_500_000, 1_764_500_001], vec![], vec![1_764_500_002]])),
        ("articles", lists(vec![vec![1, 2], vec![], vec![1, 2]])),
        ("seen", Arc::new(Int64Array::from(vec![1_764_500_005; 3]))),
    ]);
    let batch = batch.expect("columns of one length");
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).expect("in memory");
    writer.write(&batch).expect("in memory");
    writer.close().expect("in memory");
    bytes
}

#[test]
fn parallel_lists_are_many_behaviours() -> Result<()> {
    let (lists, articles) = (histories(), b"id,title\n1,One\n2,Two\n");
    let section = |time: &str| {
        log("h", "news", "h.parquet", "parquet", "news_id = \"articles\"\ntime_format = \"unix_s\"")
            .replace("\"time\"", time)
            + &news("n.csv", "csv", "")
    };
    let files: [(&str, &[u8]); 2] = [("h.parquet", &lists), ("n.csv", articles)];
    let ran = run(&section("\"times\""), &files)?;
    assert_eq!((ran.column(5), ran.users()), (vec!["1".to_owned(), "2".to_owned()], 1));
    assert_eq!(ran.aside(), [(3, "lists of unequal lengths".to_owned())]);
    assert_eq!(ran.times()["One"], "2025-11-30T10:53:20Z");
    // One list beside a time of the whole row.
    let ran = run(&section("\"seen\""), &files)?;
    assert_eq!((ran.events().len(), ran.users(), ran.aside()), (4, 2, vec![]));
    Ok(())
}

#[test]
fn lists_in_json_too() -> Result<()> {
    let rows = b"[{\"user\": 1, \"clicks\": [{\"id\": \"N1\", \"t\": 1764500000}, {\"id\": null, \"t\": 1764500001}]}]";
    let section = log("c", "news", "c.json", "json", "news_id = \"clicks.id\"\ntime_format = \"unix_s\"")
        .replace("\"time\"", "\"clicks.t\"");
    let ran = run(&(section + &news("n.csv", "csv", "")), &[("c.json", rows), ("n.csv", b"id,title\nN1,One\n")])?;
    assert_eq!((ran.texts(), ran.aside()), (vec!["One".to_owned()], vec![(1, "no news id".to_owned())]));
    Ok(())
}

#[test]
fn rows_of_other_kinds_are_left_out_and_counted() -> Result<()> {
    let rows = "user,time,text,action,lang\nu1,2025-11-30,a,read,en\nu2,2025-11-30,b,ping,en\nu3,2025-11-30,c,click,\nu4,2025-11-30,,read,en\n";
    let filter = "only = { action = [\"read\", \"click\"] }\nrequire = [\"text\"]";
    let ran = run(&searches("l.csv", "csv", filter), &[("l.csv", rows.as_bytes())])?;
    assert_eq!((ran.texts(), ran.aside()), (vec!["a".to_owned(), "c".to_owned()], vec![]));
    assert_eq!(ran.account().dropped["not among `only`"], 1);
    assert_eq!(ran.account().dropped["without what they `require`"], 1);
    assert_eq!(ran.account().input, 4);
    let ran = run(&searches("l.csv", "csv", "only = { lang = \"\" }"), &[("l.csv", rows.as_bytes())])?;
    assert_eq!(ran.texts(), ["c"]);
    Ok(())
}

#[test]
fn a_path_says_columns() -> Result<()> {
    let file = parquet(
        "required binary user (STRING); required binary text (STRING);",
        vec![Values::Bytes(vec![b"u1"]), Values::Bytes(vec![b"ferry"])],
    );
    let files: [(&str, &[u8]); 3] = [
        ("day=2025-11-29/kind=s/a.parquet", &file),
        ("day=2025-11-30/kind=s/a.parquet", &file),
        ("day=2025-11-30/kind=x/a.parquet", &file),
    ];
    let section = searches("*/*/*.parquet", "parquet", "only = { kind = \"s\" }").replace("\"time\"", "\"day\"");
    let ran = run(&section, &files)?;
    assert_eq!(
        ran.column(3),
        ["2025-11-29T00:00:00Z", "2025-11-30T00:00:00Z"],
        "the same bytes of two days are two files"
    );
    assert_eq!(ran.account().dropped["not among `only`"], 1);
    Ok(())
}

#[test]
fn lists_of_structs_are_named_or_gone_into() -> Result<()> {
    use std::sync::Arc;

    use arrow::array::{Array, ArrayRef, ListArray, RecordBatch, StringArray, StructArray};
    use arrow::buffer::OffsetBuffer;
    use arrow::datatypes::{DataType, Field};
    let text = |texts: &[&str]| -> ArrayRef { Arc::new(StringArray::from(texts.to_vec())) };
    let member = |name: &str| Arc::new(Field::new(name, DataType::Utf8, true));
    let items =
        StructArray::from(vec![(member("label"), text(&["Ann", "Ferry"])), (member("kind"), text(&["P", "O"]))]);
    let item = Arc::new(Field::new("item", items.data_type().clone(), true));
    let entities = ListArray::new(item, OffsetBuffer::from_lengths([2, 0]), Arc::new(items), None);
    let batch = RecordBatch::try_from_iter([
        ("id", text(&["N1", "N2"])),
        ("title", text(&["One", "Two"])),
        ("ents", Arc::new(entities) as ArrayRef),
    ]);
    let batch = batch.expect("columns of one length");
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).expect("in memory");
    writer.write(&batch).expect("in memory");
    writer.close().expect("in memory");
    let files: [(&str, &[u8]); 2] = [("n.parquet", &bytes), ("l.csv", b"user,time,text\nu1,2025-11-30,a\n")];
    let section = |entities: &str| {
        searches("l.csv", "csv", "") + &news("n.parquet", "parquet", &format!("entities = \"{entities}\""))
    };
    let error = refused(&section("ents"), &files);
    assert!(error.contains("column \"ents\": a struct of label, kind"), "{error}");
    let articles = run(&section("ents.label"), &files)?.news();
    assert_eq!((articles[0][6].as_str(), articles[1][6].as_str()), ("[Ann, Ferry]", "[]"));
    Ok(())
}

#[test]
fn a_filter_that_no_row_passes_is_an_error() -> Result<()> {
    let rows = b"user,time,text,action,note\nsecret,2025-11-30,a,read,\nu2,2025-11-30,b,read,\nu3,2025-11-30\n";
    let said = |filter: &str| refused(&searches("l.csv", "csv", filter), &[("l.csv", rows)]);
    let error = said("only = { action = [\"raed\", \"click\"] }");
    let expected = "log searches: expected behaviours that pass only = { action = [\"raed\", \"click\"] }, got none: of 3, 2 were left out";
    assert!(error.contains(expected) && !error.contains("secret"), "{error}");
    let error = said("require = \"note\"");
    assert!(error.contains("that pass require = [\"note\"], got none"), "{error}");
    // One file of a log may have none, and so may a file that comes later.
    let section = searches("*.csv", "csv", "only = { action = \"read\" }");
    let none = b"user,time,text,action\nu1,2025-11-30,c,ping\n";
    let mut ran = run(&section, &[("l.csv", rows), ("m.csv", none)])?;
    ran.again(&section, &[("n.csv", b"user,time,text,action\nu1,2025-11-30,d,ping\n")])?;
    assert_eq!((ran.texts(), ran.account().dropped["not among `only`"]), (vec!["a".to_owned(), "b".to_owned()], 1));
    let articles = news("n.csv", "csv", "only = { kind = \"story\" }");
    let error = refused(
        &(searches("l.csv", "csv", "") + &articles),
        &[("l.csv", rows), ("n.csv", b"id,title,kind\nN1,One,poll\n")],
    );
    assert!(error.contains("log news: expected articles that pass only = { kind = [\"story\"] }"), "{error}");
    Ok(())
}
