//! Phone numbers: by how countries group their digits, and by the words around them.

use std::cell::OnceCell;
use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use super::checks::groups;
use super::regex;

static RUN: LazyLock<Regex> = LazyLock::new(|| regex(r"(?:\+|\(\s?\+?\s?)?[0-9](?:[ ().\-/]{0,3}[0-9])*"));

/// Groups of digits in a phone number.
const MAX_GROUPS: usize = 8;

/// What looks like a phone number and is none: dates, years one after the other, fractions, UUIDs. Letters beyond ASCII may touch them.
static NO_PHONE: LazyLock<Regex> = LazyLock::new(|| {
    let (day, month, year) = ("(?:0?[1-9]|[12][0-9]|3[01])", "(?:0?[1-9]|1[0-2])", "(?:19|20)[0-9]{2}");
    regex(&format!(
        r"(?-u:\b)(?:{year}[\-/.]{month}[\-/.]{day}|{day}[\-/.]{day}[\-/.]{year}|{year}(?:[ \-/]+{year})+|{year}[\-/][0-9]{{2}}|(?:[1-9][0-9]{{0,2}}|0)\.[0-9]{{5,}}|[0-9A-Fa-f]{{8}}(?:-[0-9A-Fa-f]{{4}}){{3}}-[0-9A-Fa-f]{{12}})(?-u:\b)"
    ))
});

/// Words that a phone number follows, in many languages.
static CALL: LazyLock<Regex> = LazyLock::new(|| {
    // Long words have many endings. Short ones begin other words: ring and ringgit, tel and television.
    let short = "tel|tlf|cell|call|calls|called|calling|dial|dialing|dialling|ring|ringing|ringe|ringen|ringer|ringede|ringte|\
        ringde|sms|fax|faxnummer|bel|bellen|belde|ara|aradı|тел|моб|τηλ|gọi|sđt|linka";
    let long = "phone|cellphone|telephone|telefon|teléfono|téléphone|telefoon|mobile|mobil|mobiel|móvil|celular|cellulare|handy|rufnummer|\
        text me at|whatsapp|hotline|llama|llamar|appeler|appelez|chiama|chiamare|ligar|ligue|zadzwoń|dzwonić|komórka|numer telefonu|arayın|\
        телефон|мобил|звоните|позвоните|позвонить|номер|τηλέφωνο|điện thoại|हेल्पलाइन|फ़ोन|फोन|मोबाइल|कॉल|هاتف|اتصل|جوال|الجوال|موبايل|تلفون|الهاتف|\
        טלפון|נייד|להתקשר";
    // Numbers that are somebody's.
    let whose = "(?:my|your|his|her|whose) (?:new )?number|(?:mit|dit|hans|hendes|hvis|mitt|ditt|vems) (?:nye |nya )?nummer|\
        (?:meine|deine|wessen) (?:neue )?nummer|(?:mijn|jouw|wiens) (?:nieuwe )?nummer|(?:mon|ton) (?:nouveau )?numéro|\
        (?:mi|tu) (?:nuevo )?número|(?:mio|tuo) (?:nuovo )?numero|(?:meu|seu) (?:novo )?número|(?:mój|twój|czyj) (?:nowy )?numer|\
        (?:moje|tvoje|čí) (?:nové )?číslo|benim numara|numaram|رقمي";
    let unspaced = "电话|電話|手机|手機|致电|拨打|携帯|전화|휴대폰|연락처|핸드폰|โทร|เบอร์";
    let gap = "[^<>;!?,0-9]";
    let start = r"(?:^|[^\p{L}\p{M}])";
    regex(&format!(
        r"(?i)(?:{start}(?:(?:{short})(?:$|[^<>;!?,0-9\p{{L}}\p{{M}}])|{long}|{whose})|{unspaced}){gap}{{0,16}}$"
    ))
});

/// Words and signs after which a number is none.
static NUMBER: LazyLock<Regex> = LazyLock::new(|| {
    let goods = "isbn|issn|ean|gtin|upc|barcode|asin|sku|item|serial|model|part|article|artikel|artikelnummer|artículo|articolo|artigo|\
        ref|réf|référence|referencia|riferimento|referência|артикул|штрихкод|patent|doi|version|ver|v|build";
    let orders = "order|bestellung|bestellnummer|pedido|commande|ordine|encomenda|zamówienie|bestelling|objednávka|sipariş|заказ|заказа|ऑर्डर|رقم الطلب|\
        tracking|invoice|rechnung|factura|facture|fattura|fatura|ticket|case|code|error|id|post|siret|siren";
    let lotteries = "lotto|lottery|lotería|loterie|loto|lotto numbers|jackpot|numbers|numbers drawn|powerball|mega millions|euromillions|\
        euromillones|eurojackpot|superenalotto|mega sena|keno|sportka|togel|xổ số|лотерея|लॉटरी";
    let counts = "score|scores|season|population|population of|einwohner|población|população|popolazione|население|السكان|budget|usd|eur|gbp";
    regex(&format!(
        r"(?i)(?:(?:^|[^\p{{L}}\p{{M}}])(?:{goods}|{orders}|{lotteries}|{counts})(?:[ .]{{1,2}}(?:number|no|nr|nummer|numéro))?|订单号?|注文|주문번호|주문|人口|인구|双色球|大乐透|ロト[67]|로또|[#№$€£¥₹₽₩])[^\p{{L}}0-9]{{0,4}}$"
    ))
});

/// What follows an amount.
static AMOUNT: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r"(?i)^(?:,[0-9]|[ ]?(?:euros?\b|eur\b|dollars?\b|usd\b|kr\b|kronor\b|zł\b|shares\b|people\b|inhabitants\b|views\b|einwohner\b|habitant|abitanti\b|mieszkańców\b|inwoners\b|lira\b|tl\b|reais\b|euro\b|руб|рублей|человек|жител|रुपये|लोग|دولار|ريال|نسمة|[$€£¥₹₽₩%元円원万億亿억만人명]|[a-z]?bytes\b))",
    )
});

/// Where phone numbers are.
pub(super) fn phones(text: &str) -> Vec<Range<usize>> {
    let mut dates = NO_PHONE.find_iter(text).map(|m| m.range()).peekable();
    let mut found = Vec::new();
    for run in RUN.find_iter(text) {
        // Groups of digits that no date divides.
        let mut part: Vec<Range<usize>> = Vec::new();
        for group in groups(run.as_str(), run.start()) {
            while dates.next_if(|date| date.end <= group.start).is_some() {}
            if dates.peek().is_some_and(|date| date.start < group.end) {
                phones_of(text, run.start(), &part, &mut found);
                part.clear();
            } else {
                part.push(group);
            }
        }
        phones_of(text, run.start(), &part, &mut found);
    }
    found
}

/// Phone numbers among groups of digits, the longest first.
fn phones_of(text: &str, run: usize, groups: &[Range<usize>], found: &mut Vec<Range<usize>>) {
    let mut at = 0;
    while at < groups.len() {
        let ahead = &groups[at..groups.len().min(at + MAX_GROUPS)];
        if ahead.iter().map(Range::len).sum::<usize>() < 7 {
            at += 1;
            continue;
        }
        let number = Number::at(text, run, ahead);
        let count = number.longest();
        if let Some(count) = count {
            let (first, last) = (groups[at].start, groups[at + count - 1].end);
            let open = text[number.start..last].matches('(').count() > text[number.start..last].matches(')').count();
            found.push(match open {
                false => number.start..last,
                true if text[last..].starts_with(')') => number.start..last + 1,
                // A bracket that is closed behind other words.
                true => first - usize::from(number.plus)..last,
            });
        }
        at += count.unwrap_or(1);
    }
}

/// What may be a phone number: groups of digits, and what stands before and after them.
struct Number<'a> {
    text: &'a str,
    groups: &'a [Range<usize>],
    /// Where it begins, with its plus or bracket.
    start: usize,
    plus: bool,
    bracket: bool,
    /// What stands before it, as far as words count.
    before: &'a str,
    called: OnceCell<bool>,
    counted: OnceCell<bool>,
    /// Behind a letter or digit of ASCII.
    glued: bool,
    /// Behind a decimal sign.
    fraction: bool,
}

impl<'a> Number<'a> {
    fn at(text: &'a str, run: usize, groups: &'a [Range<usize>]) -> Self {
        let first = groups[0].start;
        let sign = text[run..first].trim_end_matches(['(', '+', ' ']).len() + run;
        let sign = sign + text[sign..first].len() - text[sign..first].trim_start().len();
        let prefix = &text[sign..first];
        let before = &text[..sign];
        let from = before.char_indices().rev().nth(39).map_or(0, |(at, _)| at);
        Number {
            text,
            groups,
            start: sign,
            plus: prefix.contains('+'),
            bracket: prefix.contains('('),
            before: &before[from..],
            called: OnceCell::new(),
            counted: OnceCell::new(),
            glued: before.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_'),
            fraction: before
                .strip_suffix([',', '.'])
                .is_some_and(|whole| whole.ends_with(|c: char| c.is_ascii_digit())),
        }
    }

    fn is_called(&self) -> bool {
        *self.called.get_or_init(|| CALL.is_match(self.before))
    }

    fn is_counted(&self) -> bool {
        *self.counted.get_or_init(|| NUMBER.is_match(self.before))
    }

    /// How many groups are the longest phone number.
    fn longest(&self) -> Option<usize> {
        let counts = || (1..=self.groups.len()).rev();
        counts().find(|count| self.is_shaped(*count)).or_else(|| {
            let digits = |count: usize| self.groups[..count].iter().map(Range::len).sum::<usize>();
            let joined = |count: &usize| !self.text[self.groups[0].start..self.groups[count - 1].end].contains(". ");
            counts().find(|count| {
                self.is_called() && !self.is_counted() && (7..=15).contains(&digits(*count)) && joined(count)
            })
        })
    }

    fn is_shaped(&self, count: usize) -> bool {
        let groups = &self.groups[..count];
        let lengths: Vec<usize> = groups.iter().map(Range::len).collect();
        let total: usize = lengths.iter().sum();
        let digits: Vec<&str> = groups.iter().map(|group| &self.text[group.clone()]).collect();
        let (first, last) = (digits[0], digits[count - 1]);
        // With a country's code.
        if self.plus {
            return (8..=15).contains(&total) && !first.starts_with('0');
        }
        if first.starts_with("00") && !first.starts_with("000") && (11..=17).contains(&total) && lengths[count - 1] > 1
        {
            return !self.glued;
        }
        if first.starts_with("00") {
            return false;
        }
        if first.starts_with('0') {
            return self.is_trunk(&digits, &lengths, total, self.text[..groups[count - 1].start].ends_with('-'))
                // Twelve digits behind such a word are a barcode's.
                && (!self.is_counted() || count == 1 && total < 12);
        }
        let year = first.len() == 4 && (first.starts_with("19") || first.starts_with("20"));
        if self.bracket && (2..=5).contains(&first.len()) && self.text[groups[0].end..].starts_with(')') {
            return !year && (8..=12).contains(&total) && count > 1 && lengths[count - 1] > 1;
        }
        let end = groups[count - 1].end;
        let glued = self.glued || self.text[end..].starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
        if glued || self.fraction {
            return false;
        }
        let initial = first.as_bytes()[0];
        let dotted = groups.windows(2).any(|pair| &self.text[pair[0].end..pair[1].start] == ".");
        let shaped = match lengths.as_slice() {
            [3, 3, 4] => initial >= b'2',
            [1, 3, 3, 4] => matches!(initial, b'1' | b'7' | b'8'),
            [1, 3, 3, 2, 2] => matches!(initial, b'7' | b'8'),
            [3, 3, 2, 2] => initial == b'9',
            [4, 3, 4] => first == "1800",
            [3, 4, 4] => initial == b'1' && first.as_bytes()[1] >= b'3',
            [2, 5, 4] => !dotted,
            [3, 3, 3] => initial >= b'5' && last != "000" && !dotted,
            [3, 2, 2, 2] => matches!(initial, b'6' | b'7' | b'9') && !dotted,
            [5, 5] => initial >= b'6' && !dotted && !self.fives_are_odd(),
            [3, 7] => initial == b'3' && !dotted,
            [3, 6] => matches!(initial, b'6' | b'7' | b'9') && !dotted,
            [9] => matches!(initial, b'6' | b'7' | b'9') && last[3..] != *"000000",
            [10] => initial >= b'2' && last[4..] != *"000000",
            [11] => {
                (initial == b'1' && first.as_bytes()[1] >= b'3')
                    || (matches!(initial, b'7' | b'8') && first.as_bytes()[1] >= b'3')
            }
            _ => false,
        };
        shaped && !self.is_counted() && !AMOUNT.is_match(&self.text[end..])
    }

    /// Whether groups of five follow each other and do not come in pairs, as India's numbers do.
    fn fives_are_odd(&self) -> bool {
        self.groups.iter().take_while(|group| group.len() == 5).count() % 2 == 1
    }

    /// A national number with its leading zero.
    fn is_trunk(&self, digits: &[&str], lengths: &[usize], total: usize, extended: bool) -> bool {
        let pairs = lengths.iter().all(|length| *length == 2);
        if pairs {
            // France. Numbers that rise are a lottery's.
            let rising =
                digits.windows(2).all(|pair| pair[0] < pair[1]) && digits.last().is_some_and(|last| *last < "60");
            return lengths.len() == 5 && (!rising || self.is_called());
        }
        // A single last digit is an extension behind a hyphen, or something else.
        let short =
            lengths.len() > 1 && (lengths[lengths.len() - 1] == 1 && !extended || lengths[0] < 2 && !self.bracket);
        let dates = lengths.len() > 2 && lengths[0] == 2 && lengths[1] <= 2 && lengths[2] != 3;
        (9..=12).contains(&total) && !self.fraction && !short && !dates && lengths.len() <= 6
    }
}
