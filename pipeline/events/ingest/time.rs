//! Times as raw logs write them.

use chrono::{DateTime, LocalResult, NaiveDateTime, TimeZone};
use chrono_tz::Tz;
use dataset::{Error, Result};

use super::read::{Field, reason};

/// How a log writes its times.
#[derive(Debug, Clone)]
pub(crate) struct TimeParser {
    format: TimeFormat,
    zone: Tz,
}

#[derive(Debug, Clone)]
enum TimeFormat {
    Rfc3339,
    /// Microseconds per unit.
    Unix(i64),
    Pattern {
        pattern: String,
        has_offset: bool,
    },
}

/// 1990 to 2100: what a log of web behaviour can hold.
const RANGE_US: std::ops::Range<i64> = 631_152_000_000_000..4_102_444_800_000_000;

impl TimeParser {
    /// A parser of times in this format, in this zone where they name none.
    pub(crate) fn new(setting: &str, format: &str, zone: &str) -> Result<Self> {
        let zone: Tz = zone.parse().map_err(|_| {
            Error::setting(&format!("{setting}.time_zone"), "a zone such as Europe/Berlin", zone, "see the IANA list")
        })?;
        let format = match format {
            "rfc3339" => TimeFormat::Rfc3339,
            "unix_s" => TimeFormat::Unix(1_000_000),
            "unix_ms" => TimeFormat::Unix(1_000),
            "unix_us" => TimeFormat::Unix(1),
            pattern => {
                use chrono::format::{Item, StrftimeItems};
                let wrong = !pattern.contains('%') || StrftimeItems::new(pattern).any(|i| i == Item::Error);
                if wrong {
                    let hint = "for example %Y-%m-%d %H:%M:%S";
                    let expected = "rfc3339, unix_s, unix_ms, unix_us or a strftime pattern";
                    return Err(Error::setting(&format!("{setting}.time_format"), expected, pattern, hint));
                }
                let has_offset = ["%z", "%:z", "%#z", "%+"].iter().any(|p| pattern.contains(p));
                TimeFormat::Pattern { pattern: pattern.to_owned(), has_offset }
            }
        };
        Ok(TimeParser { format, zone })
    }

    /// Microseconds since 1970 UTC, or why there are none.
    pub(crate) fn micros(&self, field: &Field<'_>) -> Result<i64, &'static str> {
        let micros = match field {
            Field::Micros(micros) => Some(*micros),
            Field::WallMicros(micros) => {
                DateTime::from_timestamp_micros(*micros).and_then(|wall| self.in_zone(wall.naive_utc()))
            }
            Field::Text(bytes) => std::str::from_utf8(bytes).ok().and_then(|text| self.parse(text.trim())),
            Field::Missing | Field::List(_) => None,
        };
        let micros = micros.ok_or(reason::NO_TIME)?;
        if RANGE_US.contains(&micros) { Ok(micros) } else { Err(reason::TIME_RANGE) }
    }

    fn parse(&self, text: &str) -> Option<i64> {
        match &self.format {
            TimeFormat::Rfc3339 => Some(DateTime::parse_from_rfc3339(text).ok()?.timestamp_micros()),
            TimeFormat::Unix(scale) => match text.parse::<i64>() {
                Ok(units) => units.checked_mul(*scale),
                Err(_) => text.parse::<f64>().ok().map(|units| (units * *scale as f64) as i64),
            },
            TimeFormat::Pattern { pattern, has_offset: true } => {
                Some(DateTime::parse_from_str(text, pattern).ok()?.timestamp_micros())
            }
            TimeFormat::Pattern { pattern, has_offset: false } => {
                self.in_zone(NaiveDateTime::parse_from_str(text, pattern).ok()?)
            }
        }
    }

    /// A wall-clock time in the zone. Of an hour that the clocks repeat it is the first; in one that they skip there is none.
    fn in_zone(&self, wall: NaiveDateTime) -> Option<i64> {
        match self.zone.from_local_datetime(&wall) {
            LocalResult::Single(time) | LocalResult::Ambiguous(time, _) => Some(time.timestamp_micros()),
            LocalResult::None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(format: &str, zone: &str, text: &str) -> Result<i64, &'static str> {
        TimeParser::new("test", format, zone).map_err(|_| "setting")?.micros(&Field::Text(text.as_bytes()))
    }

    #[test]
    fn formats_and_zones() {
        let noon = Ok(1_764_590_400_000_000);
        assert_eq!(micros("rfc3339", "UTC", "2025-12-01T12:00:00Z"), noon);
        assert_eq!(micros("rfc3339", "UTC", "2025-12-01T13:00:00+01:00"), noon);
        assert_eq!(micros("unix_s", "UTC", "1764590400"), noon);
        assert_eq!(micros("unix_s", "UTC", "1764590400.0"), noon);
        assert_eq!(micros("unix_ms", "UTC", "1764590400000"), noon);
        assert_eq!(micros("%Y-%m-%d %H:%M:%S", "Europe/Berlin", "2025-12-01 13:00:00"), noon);
        assert_eq!(micros("%m/%d/%Y %I:%M:%S %p", "UTC", "12/1/2025 12:00:00 PM"), noon);
        assert_eq!(micros("%Y-%m-%d %H:%M:%S %z", "Europe/Berlin", "2025-12-01 12:00:00 +0000"), noon);
    }

    #[test]
    fn what_is_no_time_has_a_reason() {
        assert_eq!(micros("rfc3339", "UTC", "yesterday"), Err(reason::NO_TIME));
        assert_eq!(micros("unix_s", "UTC", "99999999999999999"), Err(reason::NO_TIME));
        assert_eq!(micros("unix_s", "UTC", "0"), Err(reason::TIME_RANGE));
        assert_eq!(micros("%Y-%m-%d %H:%M", "Europe/Berlin", "2025-03-30 02:30"), Err(reason::NO_TIME), "skipped hour");
        assert_eq!(micros("%Q", "UTC", "x"), Err("setting"));
        assert_eq!(micros("rfc3339", "Mars/Olympus", "x"), Err("setting"));
    }
}
