//! Times as raw logs write them: ISO 8601, a count of units since some day, or a pattern.
//!
//! Every part of what a log writes counts, or the setting is refused: a pattern must give back the time that it was made from.

use chrono::format::{Fixed, Item, Numeric, Parsed, StrftimeItems};
use chrono::{DateTime, LocalResult, NaiveDate, NaiveDateTime, NaiveTime, TimeZone};
use chrono_tz::Tz;
use dataset::ids::is_null;
use dataset::{Error, Result};

use super::read::{Field, Reason, reason};

/// How a log writes its times.
#[derive(Debug, Clone)]
pub(crate) struct TimeParser {
    format: TimeFormat,
    zone: Tz,
}

#[derive(Debug, Clone)]
enum TimeFormat {
    /// ISO 8601's dates and times, of which RFC 3339 has the most usual.
    Iso,
    /// Units since some day.
    Epoch {
        unit_ns: i128,
        origin_us: i64,
    },
    Pattern(Vec<Item<'static>>),
}

/// 1990 to 2100: what a log of web behaviour can hold.
const BEHAVIOURS_US: std::ops::Range<i64> = 631_152_000_000_000..4_102_444_800_000_000;
/// 1800 to 2100: what an archive of news can hold.
const ARTICLES_US: std::ops::Range<i64> = -5_364_662_400_000_000..4_102_444_800_000_000;
const DAY_US: i64 = 86_400_000_000;

impl TimeParser {
    /// A parser of times in this format, in this zone where they name none.
    pub(crate) fn new(setting: &str, format: &str, zone: &str) -> Result<Self> {
        let zone: Tz = zone.parse().map_err(|_| {
            Error::setting(&format!("{setting}.time_zone"), "a zone such as Europe/Berlin", zone, "see the IANA list")
        })?;
        let epoch = |unit_ns, origin_us| TimeFormat::Epoch { unit_ns, origin_us };
        let refused = |got: &str, hint: &str| {
            let expected =
                "rfc3339, unix_s, unix_ms, unix_us, unix_ns, webkit, filetime, UNIT since DAY, or a strftime pattern";
            Error::setting(&format!("{setting}.time_format"), expected, format!("{format:?}{got}"), hint)
        };
        // Between 1601, where Windows and WebKit begin to count, and 1970.
        let since_1601 = -11_644_473_600_000_000;
        let format = match format {
            "rfc3339" | "iso8601" => TimeFormat::Iso,
            "unix_s" => epoch(1_000_000_000, 0),
            "unix_ms" => epoch(1_000_000, 0),
            "unix_us" => epoch(1_000, 0),
            "unix_ns" => epoch(1, 0),
            "webkit" => epoch(1_000, since_1601),
            "filetime" => epoch(100, since_1601),
            other => match other.split_once(" since ") {
                Some((unit, day)) => {
                    let hint = "for example \"us since 1601-01-01\" or \"days since 1899-12-30\"";
                    let unit = unit_ns(unit).ok_or_else(|| refused("", hint))?;
                    let (origin, _) = iso(day.as_bytes()).ok_or_else(|| refused("", hint))?;
                    epoch(unit, origin.and_utc().timestamp_micros())
                }
                None => TimeFormat::Pattern(pattern(other).map_err(|(got, hint)| refused(got, hint))?),
            },
        };
        Ok(TimeParser { format, zone })
    }

    /// When somebody did something, microseconds since 1970 UTC; or why that is not known.
    pub(crate) fn of_behaviour(&self, field: &Field<'_>) -> Result<i64, Reason> {
        let micros = self.micros(field).ok_or(reason::NO_TIME)?;
        if BEHAVIOURS_US.contains(&micros) { Ok(micros) } else { Err(reason::TIME_RANGE) }
    }

    /// The same, of what stands in a text.
    pub(crate) fn of_text(&self, text: &[u8]) -> Result<i64, Reason> {
        self.of_behaviour(&Field::Text(text.into()))
    }

    /// When an article was published, microseconds since 1970 UTC; none if the log does not say. The very start of 1970 is what tools
    /// write that know nothing.
    pub(crate) fn of_article(&self, field: &Field<'_>) -> Result<Option<i64>, Reason> {
        match field {
            Field::Missing => return Ok(None),
            Field::Text(text) if text.trim_ascii().is_empty() || is_null(text.trim_ascii()) => return Ok(None),
            _ => {}
        }
        let micros = self.micros(field).ok_or(reason::NO_TIME)?;
        if micros != 0 && ARTICLES_US.contains(&micros) { Ok(Some(micros)) } else { Err(reason::TIME_RANGE) }
    }

    fn micros(&self, field: &Field<'_>) -> Option<i64> {
        match field {
            Field::Micros(micros) => Some(*micros),
            Field::WallMicros(micros) => self.in_zone(DateTime::from_timestamp_micros(*micros)?.naive_utc()),
            Field::Text(bytes) | Field::Coarse(bytes) => self.parse(bytes.trim_ascii()),
            Field::Missing | Field::List(_) => None,
        }
    }

    fn parse(&self, text: &[u8]) -> Option<i64> {
        match &self.format {
            TimeFormat::Iso => {
                let (wall, offset_s) = iso(text)?;
                self.with_offset(wall, offset_s)
            }
            TimeFormat::Epoch { unit_ns, origin_us } => {
                let micros = count(text, *unit_ns)?.div_euclid(1_000) + i128::from(*origin_us);
                i64::try_from(micros).ok()
            }
            TimeFormat::Pattern(items) => {
                let (wall, offset_s) = parsed(std::str::from_utf8(text).ok()?, items)?;
                self.with_offset(wall, offset_s)
            }
        }
    }

    fn with_offset(&self, wall: NaiveDateTime, offset_s: Option<i32>) -> Option<i64> {
        match offset_s {
            Some(offset_s) => Some(wall.and_utc().timestamp_micros() - i64::from(offset_s) * 1_000_000),
            None => self.in_zone(wall),
        }
    }

    /// A wall-clock time in the zone. Of an hour that the clocks repeat it is the first; in one that they skip there is none.
    fn in_zone(&self, wall: NaiveDateTime) -> Option<i64> {
        if self.zone == Tz::UTC {
            return Some(wall.and_utc().timestamp_micros());
        }
        match self.zone.from_local_datetime(&wall) {
            LocalResult::Single(time) | LocalResult::Ambiguous(time, _) => Some(time.timestamp_micros()),
            LocalResult::None => None,
        }
    }
}

fn unit_ns(unit: &str) -> Option<i128> {
    Some(match unit {
        "days" => i128::from(DAY_US) * 1_000,
        "hours" => 3_600_000_000_000,
        "minutes" => 60_000_000_000,
        "s" => 1_000_000_000,
        "ms" => 1_000_000,
        "us" => 1_000,
        "100ns" => 100,
        "ns" => 1,
        _ => return None,
    })
}

/// A decimal number of units, in nanoseconds.
fn count(text: &[u8], unit_ns: i128) -> Option<i128> {
    let text = std::str::from_utf8(text).ok()?;
    if text.contains(['e', 'E']) {
        let units: f64 = text.parse().ok()?;
        return units.is_finite().then_some((units * unit_ns as f64) as i128);
    }
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let is_digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || whole.len() > 24 || !is_digits(whole) || !is_digits(fraction) {
        return None;
    }
    let fraction = &fraction[..fraction.len().min(12)];
    let part = match fraction {
        "" => 0,
        digits => digits.parse::<i128>().ok()? * unit_ns / 10_i128.pow(digits.len() as u32),
    };
    let ns = whole.parse::<i128>().ok()?.checked_mul(unit_ns)? + part;
    Some(if negative { -ns } else { ns })
}

/// `2025-11-30`, and after a T or a blank `10:00`, with seconds, with a fraction; and after that `Z`, ` UTC`, or an offset such as `+01:00`.
/// Returns the wall-clock time, and its offset in seconds if it names one.
fn iso(text: &[u8]) -> Option<(NaiveDateTime, Option<i32>)> {
    let number = |range: std::ops::Range<usize>| {
        text.get(range)?.iter().try_fold(0u32, |n, b| b.is_ascii_digit().then(|| n * 10 + u32::from(b - b'0')))
    };
    let is = |at: usize, mark: u8| text.get(at) == Some(&mark);
    let date = match (is(4, b'-'), is(7, b'-')) {
        (true, true) => NaiveDate::from_ymd_opt(number(0..4)? as i32, number(5..7)?, number(8..10)?)?,
        _ => return None,
    };
    if text.len() == 10 {
        return Some((date.and_time(NaiveTime::MIN), None));
    }
    if !matches!(text[10], b'T' | b't' | b' ') || !is(13, b':') {
        return None;
    }
    let (hour, minute) = (number(11..13)?, number(14..16)?);
    let (second, mut at) = if is(16, b':') { (number(17..19)?, 19) } else { (0, 16) };
    let mut nanos = 0;
    if is(at, b'.') || is(at, b',') {
        let digits = text[at + 1..].iter().take_while(|b| b.is_ascii_digit()).count();
        let read = number(at + 1..at + 1 + digits.min(9)).filter(|_| digits > 0)?;
        nanos = read * 10_u32.pow(9 - digits.min(9) as u32);
        at += 1 + digits;
    }
    // A leap second is the next minute's first.
    let (leap, second) = if second == 60 { (1, 59) } else { (0, second) };
    let time = NaiveTime::from_hms_nano_opt(hour, minute, second, nanos)?;
    let wall = date.and_time(time).checked_add_signed(chrono::TimeDelta::seconds(leap))?;
    let offset = match &text[at..] {
        [] => return Some((wall, None)),
        b"Z" | b"z" | b" UTC" | b" Z" => 0,
        [b' ', rest @ ..] => offset_s(rest)?,
        rest => offset_s(rest)?,
    };
    Some((wall, Some(offset)))
}

/// `+01:00`, `-0330`, `+01`, in seconds.
fn offset_s(text: &[u8]) -> Option<i32> {
    let (sign, rest) = match text {
        [b'+', rest @ ..] => (1, rest),
        [b'-', rest @ ..] => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = match rest {
        [a, b] => ([*a, *b], [b'0', b'0']),
        [a, b, c, d] | [a, b, b':', c, d] => ([*a, *b], [*c, *d]),
        _ => return None,
    };
    let two =
        |digits: [u8; 2]| digits.iter().try_fold(0, |n, b| b.is_ascii_digit().then(|| n * 10 + i32::from(b - b'0')));
    let (hours, minutes) = (two(hours)?, two(minutes)?);
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3_600 + minutes * 60))
}

/// A pattern's items, if what it writes says a day, and no part of it is passed over. Else what is wrong, and what to do.
fn pattern(pattern: &str) -> Result<Vec<Item<'static>>, (&'static str, &'static str)> {
    let usual = "for example %Y-%m-%d %H:%M:%S";
    let items = match pattern.contains('%').then(|| StrftimeItems::new(pattern).parse_to_owned()) {
        Some(Ok(items)) => items,
        _ => return Err(("", usual)),
    };
    // An offset is read the same however many colons its pattern has, but would not be written so.
    let with_one_colon = |item| match item {
        Item::Fixed(Fixed::TimezoneOffsetDoubleColon | Fixed::TimezoneOffsetTripleColon) => {
            Item::Fixed(Fixed::TimezoneOffsetColon)
        }
        item => item,
    };
    let items: Vec<Item<'static>> = items.into_iter().map(with_one_colon).collect();
    if items.iter().any(|item| matches!(item, Item::Fixed(Fixed::TimezoneName))) {
        let hint =
            "abbreviations such as PST name no zone for certain: read an offset with %z, or name the zone in time_zone";
        return Err((", whose %Z would be passed over", hint));
    }
    let has =
        |parts: &[Numeric]| items.iter().any(|item| matches!(item, Item::Numeric(part, _) if parts.contains(part)));
    let whole = items.iter().any(|item| matches!(item, Item::Fixed(Fixed::RFC2822 | Fixed::RFC3339)));
    let (hour, minute, second) = match has(&[Numeric::Timestamp]) || whole || has(&[Numeric::Second]) {
        true => (23, 45, 56),
        false if has(&[Numeric::Minute]) => (23, 45, 0),
        false if has(&[Numeric::Hour, Numeric::Hour12]) => (23, 0, 0),
        false => (0, 0, 0),
    };
    let day = NaiveDate::from_ymd_opt(2024, 2, 29).expect("a leap day");
    let probe = day.and_hms_opt(23, 45, 56).expect("a time").and_utc();
    let expected = day.and_hms_opt(hour, minute, second);
    let mut written = String::new();
    use std::fmt::Write;
    if write!(written, "{}", probe.format_with_items(items.iter())).is_err() {
        return Err(("", usual));
    }
    match parsed(&written, &items) {
        Some((wall, _)) if Some(wall) == expected => Ok(items),
        _ => Err((
            ", which does not say a time of a day for certain",
            "a day needs year, month and day; a 12-hour clock needs %p",
        )),
    }
}

/// What a text says by a pattern: the wall-clock time, and its offset in seconds if it names one. Where the pattern has no time it is
/// midnight, where it has no minutes they are zero.
fn parsed(text: &str, items: &[Item<'static>]) -> Option<(NaiveDateTime, Option<i32>)> {
    let mut parsed = Parsed::new();
    chrono::format::parse(&mut parsed, text, items.iter()).ok()?;
    if let Some(seconds) = parsed.timestamp() {
        let time = DateTime::from_timestamp(seconds, parsed.nanosecond().unwrap_or(0))?;
        return Some((time.naive_utc(), Some(0)));
    }
    let date = parsed.to_naive_date().ok()?;
    let time = match parsed.hour_mod_12() {
        None => NaiveTime::MIN,
        Some(_) => {
            if parsed.minute().is_none() {
                parsed.set_minute(0).ok()?;
            }
            parsed.to_naive_time().ok()?
        }
    };
    Some((date.and_time(time), parsed.offset()))
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use proptest::prelude::*;

    use super::*;

    const NOON: i64 = 1_764_590_400_000_000;

    fn micros(format: &str, zone: &str, text: &str) -> Result<i64, String> {
        let parser = TimeParser::new("test", format, zone).map_err(|e| e.to_string())?;
        parser.of_behaviour(&Field::Text(Cow::Borrowed(text.as_bytes()))).map_err(|e| e.to_string())
    }

    #[test]
    fn formats_and_zones() {
        for (format, zone, text) in [
            ("rfc3339", "UTC", "2025-12-01T12:00:00Z"),
            ("rfc3339", "Europe/Berlin", "2025-12-01T13:00:00+01:00"),
            ("rfc3339", "Europe/Berlin", "2025-12-01T13:00:00"),
            ("rfc3339", "UTC", " 2025-12-01 12:00 "),
            ("rfc3339", "UTC", "2025-12-01 12:00:00.000000 UTC"),
            ("iso8601", "UTC", "2025-12-01t08:30:00,0-0330"),
            ("rfc3339", "UTC", "2025-12-01T11:59:60Z"),
            ("rfc3339", "Asia/Kolkata", "2025-12-01T17:30"),
            ("unix_s", "UTC", "1764590400"),
            ("unix_s", "UTC", "1764590400.0"),
            ("unix_s", "UTC", "1.7645904e9"),
            ("unix_ms", "UTC", "1764590400000"),
            ("unix_us", "UTC", "1764590400000000"),
            ("unix_ns", "UTC", "1764590400000000999"),
            ("webkit", "UTC", "13409064000000000"),
            ("filetime", "UTC", "134090640000000000"),
            ("us since 1601-01-01", "UTC", "13409064000000000"),
            ("s since 2001-01-01", "UTC", "786283200"),
            ("days since 1899-12-30", "UTC", "45992.5"),
            ("%Y-%m-%d %H:%M:%S", "Europe/Berlin", "2025-12-01 13:00:00"),
            ("%m/%d/%Y %I:%M:%S %p", "UTC", "12/1/2025 12:00:00 PM"),
            ("%Y-%m-%d %H:%M:%S %z", "Europe/Berlin", "2025-12-01 12:00:00 +0000"),
            ("%Y-%m-%d %H:%M:%S %::z", "Europe/Berlin", "2025-12-01 13:00:00 +01:00"),
            ("%d/%b/%Y:%H:%M:%S %z", "UTC", "01/Dec/2025:13:00:00 +0100"),
            ("%Y%m%d%H", "UTC", "2025120112"),
            ("%a %b %d %Y %H:%M:%S GMT%z", "UTC", "Mon Dec 01 2025 13:00:00 GMT+0100"),
        ] {
            assert_eq!(micros(format, zone, text), Ok(NOON), "{format} {zone} {text}");
        }
        let midnight = Ok(NOON - 13 * 3_600_000_000);
        assert_eq!(micros("rfc3339", "Europe/Berlin", "2025-12-01"), midnight, "a day is its midnight");
        assert_eq!(micros("%Y-%m-%d", "Europe/Berlin", "2025-12-01"), midnight);
        assert_eq!(micros("rfc3339", "UTC", "2025-12-01T12:00:00.123456789Z"), Ok(NOON + 123_456));
    }

    #[test]
    fn what_is_no_time_has_a_reason() {
        let no_time = Err(reason::NO_TIME.to_string());
        for (format, text) in [
            ("rfc3339", "yesterday"),
            ("rfc3339", "2025-11-31T10:00:00Z"),
            ("rfc3339", "2025-11-30T10:00:00 PST"),
            ("rfc3339", "2025-11-30T10"),
            ("rfc3339", "20251130"),
            ("rfc3339", "é025-11-30"),
            ("unix_s", "99999999999999999"),
            ("unix_s", "nan"),
            ("unix_s", ""),
            ("unix_s", "-"),
            ("%Y-%m-%d", "2025-12-01 10:00"),
        ] {
            assert!(micros(format, "UTC", text).is_err(), "{format} {text}");
        }
        assert_eq!(micros("rfc3339", "UTC", "yesterday"), no_time);
        assert_eq!(micros("unix_s", "UTC", "0"), Err(reason::TIME_RANGE.to_string()));
        assert_eq!(micros("%Y-%m-%d %H:%M", "Europe/Berlin", "2025-03-30 02:30"), no_time, "skipped hour");
        assert_eq!(micros("%a %Y-%m-%d", "UTC", "Tue 2025-12-01"), no_time, "it was a Monday");
    }

    #[test]
    fn a_format_that_would_pass_over_a_part_is_refused() {
        for (format, why) in [
            ("%Q", ""),
            ("soon", ""),
            ("%Y-%m-%d %H:%M:%S %Z", "whose %Z would be passed over"),
            ("%H:%M:%S", "does not say a time of a day"),
            ("%Y-%m", "does not say a time of a day"),
            ("%Y-%m-%d %I:%M", "does not say a time of a day"),
            ("%Y-%m-%d :%M", "does not say a time of a day"),
            ("%G week %V", "does not say a time of a day"),
            ("weeks since 1970-01-01", ""),
            ("s since Monday", ""),
        ] {
            let error = micros(format, "UTC", "x").expect_err(format);
            assert!(error.contains("test.time_format") && error.contains(why) && error.contains("hint: "), "{error}");
        }
        assert!(micros("rfc3339", "Mars/Olympus", "x").expect_err("no zone").contains("test.time_zone"));
    }

    #[test]
    fn articles_may_be_old_or_undated() {
        let parser = TimeParser::new("test", "rfc3339", "UTC").expect("a format");
        let of = |text: &'static str| parser.of_article(&Field::Text(Cow::Borrowed(text.as_bytes())));
        assert_eq!(of("1985-06-01T10:00:00Z"), Ok(Some(486_468_000_000_000)));
        assert_eq!((of(""), of(" NULL "), parser.of_article(&Field::Missing)), (Ok(None), Ok(None), Ok(None)));
        assert_eq!(of("1970-01-01T00:00:00Z"), Err(reason::TIME_RANGE));
        assert_eq!(of("0000-00-00 00:00:00"), Err(reason::NO_TIME));
    }

    proptest! {
        #[test]
        fn what_chrono_reads_as_rfc_3339_is_read_the_same(at in 631_152_000_000_000i64..4_102_444_700_000_000, offset in -14i32 * 4..14 * 4) {
            let time = DateTime::from_timestamp_micros(at).expect("in range");
            let zone = chrono::FixedOffset::east_opt(offset * 900).expect("in range");
            let text = time.with_timezone(&zone).to_rfc3339();
            prop_assert_eq!(micros("rfc3339", "Europe/Berlin", &text), Ok(at));
        }

        #[test]
        fn any_text_is_a_time_or_none(text in "[0-9TZ:. +-]{0,30}|\\PC{0,20}") {
            let parser = TimeParser::new("test", "rfc3339", "America/New_York").expect("a format");
            let ours = parser.micros(&Field::Text(Cow::Borrowed(text.as_bytes())));
            if let Ok(theirs) = DateTime::parse_from_rfc3339(text.trim_ascii()) {
                prop_assert_eq!(ours, Some(theirs.timestamp_micros()));
            }
        }
    }
}
