//! What outputs say: the forms in which models write lists, right and wrong ones.

use crate::{List, ListRule};

const THREE: [&str; 3] = ["solar power", "rate cuts", "train delays"];
const TWO: [&str; 2] = ["solar power", "rate cuts"];
const ONE: [&str; 1] = ["solar power"];

/// An output, the queries in it, and whether it keeps the rule.
type Output<'a> = (&'a str, &'a [&'a str], bool);

const OUTPUTS: [Output<'_>; 49] = [
    // As asked.
    (r#"["solar power", "rate cuts", "train delays"]"#, &THREE, true),
    ("[\n  \"solar power\",\n  \"rate cuts\",\n  \"train delays\"\n]\n", &THREE, true),
    (r#"["solar power","rate cuts","train delays"]"#, &THREE, true),
    (r#"["caf\u00e9 closures", "rate cuts", "train delays"]"#, &["café closures", "rate cuts", "train delays"], true),
    (
        r#"["the \"big\" freeze", "rate cuts", "train delays"]"#,
        &["the \"big\" freeze", "rate cuts", "train delays"],
        true,
    ),
    ("<think>They garden.</think>\n[\"solar power\", \"rate cuts\", \"train delays\"]", &THREE, true),
    ("They like [slow] trains.\n</think>\n\n[\"solar power\", \"rate cuts\", \"train delays\"]", &THREE, true),
    // Something around the list.
    ("```json\n[\"solar power\", \"rate cuts\", \"train delays\"]\n```", &THREE, false),
    ("Here are [3] queries:\n[\"solar power\", \"rate cuts\", \"train delays\"]", &THREE, false),
    ("[\"solar power\", \"rate cuts\", \"train delays\"]\nThese follow the user's [recent] topics.", &THREE, false),
    ("[\"solar power\", \"rate cuts\", \"train delays\"]\n\n[\"other\"]", &THREE, false),
    (
        "```json\n[\"the \\\"big\\\" freeze\", \"rate cuts\", \"train delays\"]\n```",
        &["the \"big\" freeze", "rate cuts", "train delays"],
        false,
    ),
    ("```\n[\"caf\\u00e9 closures\", \"rate cuts\"]\n```", &["café closures", "rate cuts"], false),
    ("```json\n[\"\\ud83d\\ude86 trains\", \"rate cuts\"]\n```", &["🚆 trains", "rate cuts"], false),
    (
        "```json\n[\"[video] solar power\", \"rate cuts\", \"train delays\"]\n```",
        &["[video] solar power", "rate cuts", "train delays"],
        false,
    ),
    ("queries = [\"solar power\", \"rate cuts\", \"train delays\"];", &THREE, false),
    ("Sure! \"Queries\": [\"solar power\", \"rate cuts\", \"train delays\",]", &THREE, false),
    // Other marks.
    ("['solar power', 'rate cuts', 'train delays']", &THREE, false),
    ("['solar power', 'rate cuts', \"farmer's market\"]", &["solar power", "rate cuts", "farmer's market"], false),
    ("['solar power', 'farmer's market', 'rate cuts']", &["solar power", "farmer's market", "rate cuts"], false),
    ("[“solar power”, “rate cuts”, “train delays”]", &THREE, false),
    ("[‘solar power’, ‘rate cuts’, ‘train delays’]", &THREE, false),
    ("[\"the \"big\" freeze\", \"rate cuts\"]", &["the \"big\" freeze", "rate cuts"], false),
    ("[\"solar power\" \"rate cuts\"\n\"train delays\"]", &THREE, false),
    ("[\"solar power\" (they searched it), \"rate cuts\", \"train delays\"]", &THREE, false),
    ("[\"solar power\nprices\", \"rate cuts\"]", &["solar power prices", "rate cuts"], false),
    ("[\"solar power,\n\"rate cuts\"]", &["solar power,", "rate cuts"], false),
    ("\"solar power\", \"rate cuts\",\n\"train delays\"", &THREE, false),
    ("[\"solar power\"]\n[\"rate cuts\"]\n[\"train delays\"]", &THREE, false),
    // Objects.
    (r#"[{"query": "solar power"}, {"query": "rate cuts"}, {"query": "train delays"}]"#, &THREE, false),
    (r#"[{"why": "searched", "query": "solar power"}, {"query": "rate cuts", "why": "read"}]"#, &TWO, false),
    (r#"{"queries": ["solar power", "rate cuts", "train delays"]}"#, &THREE, false),
    (r#"{"1": "solar power", "2": "rate cuts", "3": "train delays"}"#, &THREE, false),
    ("{\"query\": \"solar power\"}\n{\"query\": \"rate cuts\"}\n{\"query\": \"train delays\"}", &THREE, false),
    (r#"[["solar power", "rate cuts"], ["train delays"]]"#, &THREE, false),
    // Lines.
    ("1. solar power\n2. rate cuts\n3. train delays", &THREE, false),
    ("1. **solar power**\n2. **rate cuts**\n3. **train delays**", &THREE, false),
    ("1. \"solar power\" - they searched it\n2. \"rate cuts\" - they read it", &TWO, false),
    ("Queries:\n- solar power - they searched it\n- **rate cuts**: read often\n* train delays (Bern)", &THREE, false),
    ("**1.** solar power\n(2) rate cuts\n• “train delays”", &THREE, false),
    ("Query 1: solar power\nQuery 2: rate cuts\n2.5 degrees is no item", &TWO, false),
    // Cut off.
    ("[\"solar power\", \"rate cuts\", \"train del", &TWO, false),
    ("```json\n[{\"query\": \"solar power\"}, {\"query\": \"ra", &ONE, false),
    // Scripts without blanks.
    (
        "[\"太阳能电池板价格走势\", \"瑞士铁路列车晚点\", \"欧洲央行降息\"]",
        &["太阳能电池板价格走势", "瑞士铁路列车晚点", "欧洲央行降息"],
        true,
    ),
    (
        "[\"ราคาแผงโซลาร์เซลล์\", \"รถไฟล่าช้า\", \"ธนาคารกลางลดดอกเบี้ย\"]",
        &["ราคาแผงโซลาร์เซลล์", "รถไฟล่าช้า", "ธนาคารกลางลดดอกเบี้ย"],
        true,
    ),
    (
        "[\"太陽光パネルの価格\", \"スイス鉄道の遅延\", \"欧州中央銀行の利下げ\"]",
        &["太陽光パネルの価格", "スイス鉄道の遅延", "欧州中央銀行の利下げ"],
        true,
    ),
    // What no query may have.
    (r#"["solar\u0000 power", "rate cuts", "train delays"]"#, &THREE, false),
    (r#"["solar power", "rate cuts", "- -"]"#, &["solar power", "rate cuts", "- -"], false),
    ("I cannot answer that.", &[], false),
];

#[test]
fn outputs_are_read_as_a_person_would() {
    for (output, expected, valid) in OUTPUTS {
        let list = List::parse(output, true, ListRule::default());
        assert_eq!(
            (list.queries.iter().map(String::as_str).collect::<Vec<_>>().as_slice(), list.valid),
            (expected, valid),
            "{output}"
        );
    }
    let list = List::parse("They like [slow] trains.\n</think>\n[]", true, ListRule::default());
    assert_eq!(list.reasoning.as_deref(), Some("They like [slow] trains."));
}

#[test]
fn words_are_counted_by_blanks_or_by_length() {
    use crate::list::words;
    for (text, expected) in [
        ("solar power", 2),
        ("Marks & Spencer", 2),
        ("COVID-19 rules: what's new?", 4),
        ("- -", 0),
        ("太阳能电池板价格走势", 5),
        ("经济", 1),
        ("中国，美国", 2),
        ("iPhone发布会", 3),
        ("한국 경제 전망", 3),
        ("ราคาแผงโซลาร์เซลล์", 5),
    ] {
        assert_eq!(words(text), expected, "{text}");
    }
}
