//! Built-in rules, for labels without any model: behaviours that look like addresses, numbers, random strings, or like getting
//! somewhere or something done.
//!
//! They know forms and words, not the world: an unknown site's bare name passes as an interest.

use std::sync::LazyLock;

use regex::{Regex, RegexSet};

use super::Verdict;

/// The rules that are words: they count where hardly anything else is said.
const WORDS: std::ops::Range<usize> = 5..10;

/// Forms and words of noise, each with what it is called in the reason, in the order in which they are asked.
const RULES: [(&str, &str); 13] = [
    ("no words", r"^[^\p{L}]*$"),
    (
        "address",
        r"(?i)(^|\s)(https?:|htt?p|ht+ps?:|www[. ])|^\S+\.(com|net|org|co|io|info|app|online|site|biz|edu|gov|tv|me|uk|de)(/\S*)?$|\.(html?|php|aspx?)\b|/\S+/\S+/",
    ),
    ("address", r"(?i)\b(dot|punto) ?(com|net|org|co|io|info|app|online|site|biz)\b|\S (com|net|org)$"),
    ("phone number", r"(\d[ ().+/-]*){7,}"),
    (
        "markup or escapes",
        r"(?i)</?[a-z!]|&[a-z#0-9]+;|%[0-9a-f]{2}|\\[ux][0-9a-f]{2}|\?{3,}|^(null|nan|undefined|none|n/a|untitled|\[object.*)$|^\S*[{}\[\]<>=]\S*$",
    ),
    (
        "log in",
        r"(?i)\b(log ?(in|on|out|ging in)|sign(ing)? ?(in|up|on|out)|passwords?|passcode|passphrase|log into|log-?in|register with|registration|credentials|create (an )?account|my account|verify your|two-step|authenticat\w+|locked out|session (expired|timed? ?out)|one-time code|username|user ?name)\b",
    ),
    (
        "getting to a site",
        r"(?i)\b(home ?page|official (site|page|website)|web ?(site|page|address)|url (for|of)|go to|take me to|open|visit|get me (on|to)|main (screen|page|menu)|landing page|contact( us)?|about us|customer (service|support|care)|help ?(desk|line|cent(er|re))|call cent(er|re)|near(est| me)|store (hours|locator)|opening (times|hours)|branch(es)?|head office|locations?|site ?map|inbox|portal|careers at|faqs?|directory|get in touch|who we are|welcome to|all categories|home|search results|on the (internet|web))\b",
    ),
    (
        "getting something done",
        r"(?i)\b(buy|cheap(est)?|coupons?|vouchers?|promo( code)?s?|discounts?|orders?|refunds?|returns?|subscri(be|ption)s?|unsubscribe|price (of|list|match)|prices?|for sale|on sale|deals?|shipping|deliver(y|ies)|parcel|track(ing)?|tickets?|gift cards?|check ?out|cart|basket|pay(ing)?( my)? (bill|for)|bills?|invoice|download(s|ing|er)?|install(er|ation)?|free (trial|download|shipping)|book(ing)?s? \w+|reservations?|renew(al)?|cancel|upgrade|membership|plan(s)? and pricing|apply (for|online)|receipt|wish ?list)\b",
    ),
    (
        "look-up",
        r"(?i)\b(weather|forecast|temperature|will it rain|radar|translat\w+|conver(t|sion|ter)|calculat\w+|divided by|times table|plus|square root|\d+ ?(x|\*|\+|-|/|times|minus) ?\d+|what time|time (in|now)|current (local )?time|time zone|sunset|sunrise|map of|maps?|directions|route|driving from|definition|define|synonyms?|meaning of|thesaurus|dictionary|spell(ing)?( of)?|stopwatch|timer|alarm|clock|calendar|zip code|post ?code|currency|exchange rate|generator|pounds|kilos?|kg|inches|miles in|qr code|horoscope|speed test|my ip)\b",
    ),
    (
        "a platform's own page",
        r"(?i)\b(settings?|preferences|options|notifications?|privacy (policy|settings)|terms (of|and) (use|service|conditions)|user agreement|cookie|browser|extension|add-?on|dark mode|dashboard|profile|avatar|bookmarks?|favou?rites|manage|appearance|layout|update(s|d)? available|what's new in|version \d+|app|widget|new tab|start page|feed|(browsing|search) history|clear (cache|history)|uninstall|rewards?|alerts|reading list|my saves|followed)\b",
    ),
    (
        "generic page",
        r"(?i)^(search( results?)?|results?|home|page \d+|categor(y|ies)|index( of.*)?|just a moment\W*|redirecting\W*|loading\W*|please wait\W*|error( \d+)?|40[0-9].*|50[0-9].*|not found|access denied|test(ing)?|hello|hi( there)?|asdf\w*|qwerty\w*|anything|something|website|internet|images?|videos?|pictures|photos|music|games?|news|stuff|help|browse|more|next|back|view all|archives?|blank|new document|gallery|web|links|tools|list|forum|store|page|welcome|today|folders?|top|free|item \d+.*)$",
    ),
    (
        "a platform's name",
        r"(?i)^(google|gmail|you ?tube|face ?book|fb|amazon|ebay|yahoo|bing|msn|hotmail|outlook|aol|twitter|instagram|tik ?tok|linked ?in|netflix|wikipedia|craigslist|walmart|target|mapquest|my ?space|reddit|pinterest|whatsapp|roblox|discord|spotify|paypal|chatgpt)( (search|mail|maps?|com|images?))?$",
    ),
    (
        "random string",
        r"(?i)^[bcdfghjklmnpqrstvwxz]{4,}$|[bcdfghjklmnpqrstvwxz]{6,}|^(?:[a-z]+\d+|\d+[a-z]+)[a-z0-9]*$",
    ),
];

static NOISE: LazyLock<RegexSet> =
    LazyLock::new(|| RegexSet::new(RULES.map(|(_, pattern)| pattern)).expect("the rules are regular expressions"));
static EACH_WORD: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    RULES[WORDS].iter().map(|(_, pattern)| Regex::new(pattern).expect("the rules are regular expressions")).collect()
});
static GRAMMAR: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?i)^(a|an|and|at|by|for|from|get|how|i|in|into|is|it|me|my|of|on|online|or|our|the|this|to|up|what|where|with|you|your|\d+)$")
        .expect("a regular expression")
});
static WORD: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"[\p{L}\p{N}']+").expect("a regular expression"));

/// Whether a behaviour is worth keeping, and the rule that says it is not. Headlines are noise only when they are no words.
pub fn judge(text: &str, domain: &str) -> Verdict {
    let forms_only = domain.starts_with("news");
    let applies = |rule: &usize| match forms_only {
        true => ["no words", "address"].contains(&RULES[*rule].0),
        false => !WORDS.contains(rule) || other_words(text) <= OTHER_WORDS,
    };
    let rule = NOISE.matches(text).into_iter().find(applies).map(|rule| RULES[rule].0);
    let rule = rule.or_else(|| (!forms_only && gibberish(text)).then_some("random string"));
    let rule = rule.or_else(|| (domain == "browse" && WORD.find_iter(text).count() == 1).then_some("a site's name"));
    Verdict { keep: rule.is_none(), reason: rule.map(str::to_owned) }
}

/// Beside a word of noise, so many words at most: a site's name, hardly a subject.
const OTHER_WORDS: usize = 2;

/// Words that are neither noise nor grammar.
fn other_words(text: &str) -> usize {
    let mut rest = text.to_owned();
    for rule in &EACH_WORD[..] {
        rest = rule.replace_all(&rest, " ").into_owned();
    }
    WORD.find_iter(&rest).filter(|word| !GRAMMAR.is_match(word.as_str())).count()
}

/// One long word that does not look like one: hardly any vowels, or letters in no order that words have.
fn gibberish(text: &str) -> bool {
    let mut words = WORD.find_iter(text).map(|word| word.as_str().to_lowercase());
    let (Some(word), None) = (words.next(), words.next()) else { return false };
    if !word.is_ascii() || word.len() < 5 {
        return false;
    }
    let vowels = word.chars().filter(|c| "aeiouy".contains(*c)).count();
    let rare = [
        "q", "x", "z", "j", "vv", "kk", "hh", "ww", "uu", "yy", "wq", "jq", "fx", "gx", "vb", "kf", "pz", "mx", "wv",
        "vf",
    ];
    let odd = rare.iter().map(|pair| word.matches(pair).count()).sum::<usize>();
    5 * vowels < word.len() || 4 * odd > word.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_know_noise_by_its_form() {
        for (noise, reason) in [
            ("www.example.com", "address"),
            ("https://example.org/a?b=1", "address"),
            ("example.net", "address"),
            ("+1 (555) 010-0199", "no words"),
            ("call 555 0100 199", "phone number"),
            ("facebook login", "log in"),
            ("Forgot your password?", "log in"),
            ("Contact Us - Example", "getting to a site"),
            ("cheap shoes for sale", "getting something done"),
            ("weather today", "look-up"),
            ("12 x 31", "no words"),
            ("Cookie settings", "a platform's own page"),
            ("Search results", "getting to a site"),
            ("Not found", "generic page"),
            ("youtube", "a platform's name"),
            ("xkcdqwrt", "random string"),
            ("a7f3e9", "random string"),
            ("%20%3f", "markup or escapes"),
        ] {
            let verdict = judge(noise, "search");
            assert!(!verdict.keep, "{noise}");
            if reason != "no words" {
                assert_eq!(verdict.reason.as_deref(), Some(reason), "{noise}");
            }
        }
    }

    #[test]
    fn rules_keep_subjects() {
        for interest in [
            "earthquake in turkey",
            "interest rates and inflation",
            "world cup qualifiers",
            "new vaccine trial results",
            "Senate passes the climate bill amid protests",
            "jupiter's moons",
        ] {
            let domain = if interest.starts_with("Senate") { "news" } else { "search" };
            assert!(judge(interest, domain).keep, "{interest}");
        }
    }
}
