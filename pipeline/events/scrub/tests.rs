//! What goes, what stays, and laws of both.

use proptest::prelude::*;

use super::*;

fn scrubbed(text: &str) -> String {
    scrub(text, &mut Counts::default()).into_owned()
}

const PERSONAL: &[(&str, &str)] = &[
    ("<email>", "ann.lee@example.com"),
    ("<email>", "ann＠example.com"),
    ("<email>", "ann%40example.com"),
    ("<phone>", "+49 171 2345678"),
    ("<phone>", "0171–2345678"),
    ("<phone>", "01712345678"),
    ("<phone>", "٠٥٥١٢٣٤٥٦٧"),
    ("<phone>", "０９０－１２３４－５６７８"),
    ("<phone>", "०११\u{2011}२३४५६७८९"),
    ("<card>", "4111111111111111"),
    ("<card>", "4111\u{a0}1111\u{2009}1111\u{3000}1111"),
    ("<iban>", "DE89370400440532013000"),
    ("<iban>", "ES91 2100 0418 4502 0005 1332"),
    ("<ip>", "192.168.10.20"),
    ("<ip>", "2001:db8::ff00:42:8329"),
];

/// A word of letters beyond ASCII, of any script; those that are ASCII's in another width are ASCII.
fn word() -> impl Strategy<Value = String> {
    let blocks = [
        'À'..='ɏ',
        'Α'..='ԯ',
        'ա'..='ֆ',
        'א'..='ת',
        'ء'..='ي',
        'अ'..='ह',
        'ก'..='ะ',
        'ა'..='ჰ',
        'ሀ'..='ቆ',
        'ぁ'..='ゖ',
        'ァ'..='ヺ',
        '一'..='鿿',
        '가'..='힣',
        '𐐀'..='𐑏',
    ];
    let letter = prop::char::ranges(blocks.to_vec().into()).prop_filter("a letter", |c| c.is_alphabetic());
    let words = ["погода", "天気", "날씨", "อากาศ", "طقس", "מזג", "καιρός", "मौसम", "ამინდი", "ቋንቋ", "வானிலை", "éö"];
    let words = prop::sample::select(words.to_vec()).prop_map(str::to_owned);
    prop_oneof![words, proptest::collection::vec(letter, 1..5).prop_map(String::from_iter)]
}

/// What texts with and without personal data are made of.
fn piece() -> impl Strategy<Value = String> {
    let signs = [
        "0", "12", "0171", "2345678", "٠٥", "９０", "+", "(", ")", "-", "–", "\u{2011}", " ", "\u{a0}", ".", "/", ":",
        "::", "@", "＠", "%40", "%", "?", "?a=", "#", "://", "http://", "a", "b.de", "DE89", "tel", "isbn ", "v", "\"",
        "'", ",", "元", "\u{200b}", "\u{200d}", "<", ">", "2024", "fe80",
    ];
    let personal = prop::sample::select(PERSONAL.to_vec()).prop_map(|(_, text)| text.to_owned());
    prop_oneof![
        6 => prop::sample::select(signs.to_vec()).prop_map(str::to_owned),
        1 => personal,
        1 => any::<char>().prop_map(String::from),
        1 => "[ -~]{0,8}",
    ]
}

#[test]
fn personal_data_goes() {
    for (text, expected) in [
        ("mail ann.lee+news@example.co.uk now", "mail <email> now"),
        ("call +49 (0)30 1234567 today", "call <phone> today"),
        ("0171 2345678 whose number", "<phone> whose number"),
        ("(212) 555-0142", "<phone>"),
        ("(0171 2345678) or (+49 171 2345678 at work)", "<phone> or (<phone> at work)"),
        ("4111 1111 1111 1111 declined", "<card> declined"),
        ("pay DE89 3704 0044 0532 0130 00", "pay <iban>"),
        ("gb82west12345698765432", "<iban>"),
        ("es9121000418450200051332 paypal", "<iban> paypal"),
        ("ES91 2100 0418 4502 0005 1332 to ann", "<iban> to ann"),
        ("4111111111111111 123", "<card> 123"),
        ("visa 4111111111111111 12/27", "visa <card> 12/27"),
        ("01.02.1990 030 1234567", "01.02.1990 <phone>"),
        ("shop.example/reset?token=abc&mail=a%40b.de", "shop.example/reset"),
        ("router 192.168.0.1 login", "router <ip> login"),
        ("ping 2001:db8::ff00:42:8329", "ping <ip>"),
        ("https://ann:pw@shop.example/cart?id=7&mail=a@b.de#x", "https://shop.example/cart"),
        ("www.example.com/a?b=c page", "www.example.com/a page"),
        ("example.cn/a?tel=13955501234打不开", "example.cn/a打不开"),
        ("example.cn/a?name=li小明", "example.cn/a"),
        ("windows 192.168.0.1", "windows <ip>"),
        ("98765 43210 98765 43211", "<phone> <phone>"),
        ("мобильный 123-45-67", "мобильный <phone>"),
        ("kié a 06 20 555 0134", "kié a <phone>"),
        ("mit nye nummer er 20 55 01 43", "mit nye nummer er <phone>"),
    ] {
        assert_eq!(scrubbed(text), expected);
    }
}

#[test]
fn the_rest_stays() {
    for text in [
        "top 10 laptops 2025",
        "2025-12-01 election results",
        "is 3.5 > 2.5? yes",
        "node.js vs deno? which one",
        "1914 1918 war",
        "01.12.2025 forecast",
        "iphone 15 vs 14",
        "population 80453114 in 2025",
        "score 3:2 at 12:30:45",
        "c++ @ work",
        "https://shop.example/cart",
        "é à ü 漢字",
        "ringgit 12 345 678",
        "television 720 1080 2160",
        "电影2002 2003续集",
        "upc 036000291452",
        "firefox 115.0.2.1 crash",
    ] {
        assert_eq!(scrubbed(text), text);
    }
}

#[test]
fn counts_say_what_went() {
    let mut counts = Counts::default();
    let _ = scrub("a@b.de c@d.fr 10.0.0.1 http://x.de/?q", &mut counts);
    assert_eq!(counts, [1, 2, 0, 0, 1, 0]);
}

proptest! {
    #[test]
    fn scrubbing_twice_is_scrubbing_once(pieces in proptest::collection::vec(piece(), 0..12)) {
        let once = scrubbed(&pieces.concat());
        prop_assert_eq!(scrubbed(&once), once.clone());
        prop_assert_eq!(scrub_published(&once, &mut Counts::default()), once.clone());
    }

    #[test]
    fn personal_data_between_words_of_any_script_is_found(
        before in word(), after in word(), blanks in any::<[bool; 2]>(), index in any::<prop::sample::Index>(),
    ) {
        let (kind, personal) = *index.get(PERSONAL);
        let blank = |blank: bool| if blank { " " } else { "" };
        let text = format!("{before}{}{personal}{}{after}", blank(blanks[0]), blank(blanks[1]));
        let kept = scrubbed(&text);
        prop_assert!(kept.contains(kind) && !kept.contains(personal), "{} became {}", text, kept);
        // Nothing of it is left.
        let left = kept.replace(kind, "");
        prop_assert!(!left.contains(|c: char| c.is_numeric() || c == '@'), "{} became {}", text, kept);
        prop_assert!(!blanks[0] || kept.starts_with(&format!("{before} {kind}")), "{} became {}", text, kept);
    }

    #[test]
    fn normalising_twice_is_normalising_once(text in any::<String>()) {
        let once = normalise(&text).into_owned();
        prop_assert!(!once.starts_with(' ') && !once.ends_with(' ') && !once.contains("  "));
        prop_assert!(!once.chars().any(char::is_control));
    }
}
