//! Personal data in any script, and numbers that are nobody's.

use super::{run, searches};
use dataset::Result;

/// What users typed, and what is kept of it.
const SCRUBBED: &[(&str, &str)] = &[
    ("我的电话是13812345678请联系", "我的电话是<phone>请联系"),
    ("전화번호는010-1234-5678입니다", "전화번호는<phone>입니다"),
    ("電話は090-1234-5678です", "電話は<phone>です"),
    ("โทร0812345678ครับ", "โทร<phone>ครับ"),
    ("卡号4111111111111111有效", "卡号<card>有效"),
    ("服务器192.168.10.20登录", "服务器<ip>登录"),
    ("账户DE89370400440532013000转账", "账户<iban>转账"),
    ("邮箱ann@example.com是", "邮箱<email>是"),
    ("тел89161234567звоните", "тел<phone>звоните"),
    ("für01712345678öffnen", "für<phone>öffnen"),
    ("call01712345678now", "call<phone>now"),
    ("id_01712345678", "id_<phone>"),
    ("０９０－１２３４－５６７８", "<phone>"),
    ("ann＠example.com", "<email>"),
    ("اتصل ٠٥٥١٢٣٤٥٦٧", "اتصل <phone>"),
    ("0171\u{2013}2345678 call", "<phone> call"),
    ("0171\u{2011}2345678", "<phone>"),
    ("ring 22 33 44 55 nu", "ring <phone> nu"),
    ("tlf 22334455", "tlf <phone>"),
    ("(+49) 171 2345678", "<phone>"),
    ("ann\u{200b}@example.com", "<email>"),
    ("o'brien@example.com", "<email>"),
    ("https://x.example/u/ann%40example.com/edit", "https://x.example/u/<email>/edit"),
    ("\"ann lee\"@example.com", "<email>"),
    ("2001:db8:85a3:8d3::/64", "<ip>/64"),
    ("gateway 2001:db8:1234::", "gateway <ip>"),
    ("::1234:5678:9abc", "<ip>"),
    ("localhost:3000/reset?token=abc", "localhost:3000/reset"),
    ("intranet/reset?mail=ann", "intranet/reset"),
    ("myapp://reset?token=abc", "myapp://reset"),
    ("ssh://ann:pw@x.example/", "ssh://x.example/"),
    ("DE89-3704-0044-0532-0130-00", "<iban>"),
    ("4111.1111.1111.1111", "<card>"),
    ("+47 22 33 44 55", "<phone>"),
    ("212.555.0142", "<phone>"),
    ("(212) 555-0142 x17", "<phone> x17"),
    ("＋49 171 2345678", "<phone>"),
    ("josé.garcía@exämple.com", "<email>"),
    ("ann@пример.рф", "<email>"),
    ("ann+tag@sub.example.co.uk", "<email>"),
    ("2001:0db8:85a3:0000:0000:8a2e:0370:7334", "<ip>"),
    ("http://[2001:db8::1]:8080/a", "http://[<ip>]:8080/a"),
    ("fe80::1ff:fe23:4567:890a%eth0", "<ip>"),
    ("::ffff:203.0.113.7", "<ip>"),
    ("203.0.113.7:8080", "<ip>:8080"),
    ("x.example/a?b=c;d=e", "x.example/a"),
    ("https://ann:p@ss@x.example/", "https://x.example/"),
    ("de89 3704 0044 0532 0130 00", "<iban>"),
    ("3782 822463 10005", "<card>"),
    ("078-05-1120 ssn", "<phone> ssn"),
    ("https://x.example/?q=ann lee&mail=ann", "https://x.example/ lee&mail=ann"),
];

/// What is kept as it is: numbers of no person, and what is not promised to be recognised.
const KEPT: &[&str] = &[
    "00:1A:2B:3C:4D:5E",
    "https://x.example/reset/9f8e7d6c5b4a39281706f5e4d3c2b1a0",
    "https://x.example/a;jsessionid=1A2B3C4D5E6F",
    "file:///C:/Users/Ann%20Lee/tax%202025.pdf",
    "https://x.example/r/https%3A%2F%2Fy.example%2F%3Ftoken%3Dabc",
    "Sinner wins 6-4 3-6 7-6 6-7 6-4 in Paris",
    "winning numbers 05 12 23 34 45 49",
    "lottery jackpot 100 000 000 euro",
    "budget of 1.000.000.000 euro",
    "isbn 978-3-16-148410-0",
    "11/15/19 - 11/16/19 festival",
    "season 2024/25 2025/26",
    "20251130 20251201 log",
    "windows 10.0.19045.3803 bug",
    "What is web2.0?why",
    "Is Dr.Who?Fans react",
    "48.858844 2.294351",
    "post 1234567890",
    "3-2 2-1 4-0 1-1 0-0",
    "@ann.lee on x",
    "error 0x80070005 fix",
    "30.11.2025 10:00-12:00",
];

#[test]
fn users_texts_are_scrubbed_in_any_script() -> Result<()> {
    let pairs: Vec<(&str, &str)> = SCRUBBED.iter().copied().chain(KEPT.iter().map(|text| (*text, *text))).collect();
    let line = |(second, (text, _)): (usize, &(&str, &str))| {
        let time = format!("2025-11-30T10:{:02}:{:02}Z", second / 60, second % 60);
        format!("{}\n", serde_json::json!({ "user": "u1", "time": time, "text": text }))
    };
    let rows: String = pairs.iter().enumerate().map(line).collect();
    let ran = run(&searches("l.jsonl", "jsonl", ""), &[("l.jsonl", rows.as_bytes())])?;
    let mut kept: Vec<(String, String)> =
        ran.events().into_iter().map(|row| (row[3].clone(), row[4].clone())).collect();
    kept.sort();
    assert_eq!(kept.len(), pairs.len());
    for ((_, kept), (text, expected)) in kept.iter().zip(&pairs) {
        assert_eq!(kept, expected, "{text}");
    }
    Ok(())
}

#[test]
fn publishers_titles_are_as_they_wrote_them() -> Result<()> {
    let titles = [
        "Lottery: winning numbers 05-12-23-34-45 drawn",
        "State sells 100 000 000 shares",
        "Book of the year, ISBN 978-3-16-148410-0",
        "Season 2024/25 2025/26 fixtures",
        "Bug in Windows 10.0.19045.3803",
        "Five sets: 6-4 3-6 7-6 6-7 6-4",
        "The hotline 0800 330 1000 is open",
        "Write to letters@paper.example",
    ];
    let news: String = (0..).zip(titles).map(|(i, title)| format!("N{i}\tnews\tus\t{title}\t\tu\t[]\t[]\n")).collect();
    let behaviours = b"1\tU1\t11/15/2019 8:55:22 AM\tN0 N1 N2 N4 N5 N6 N7\tN3-1 N4-0\n";
    let ran = run("mind = \"@/\"\n", &[("behaviors.tsv", behaviours), ("news.tsv", news.as_bytes())])?;
    let expected = titles.map(|title| title.replace("letters@paper.example", "<email>"));
    let mut events = ran.events();
    events.sort_by_key(|row| row[5].clone());
    for row in &events {
        let article: usize = row[5][1..].parse().expect("a number");
        assert_eq!(row[4], expected[article]);
    }
    assert_eq!(events.len(), titles.len() - 1, "all but the truth");
    let news = ran.news();
    assert!(expected.iter().all(|title| news.iter().any(|row| row.contains(title))), "{news:?}");
    Ok(())
}
