//! Moments and durations as Kubernetes writes them. No clock: whoever has one says what time it is.
//!
//! Moments are RFC 3339 and always written in UTC; durations are Go's (`1h30m0s`). Mistakes are told in Go's words.

use std::fmt;
use std::str::FromStr;

/// A moment, in microseconds since 1970 (UTC, leap seconds not counted).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(i64);

/// A signed length of time in nanoseconds, as Go's `time.Duration`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(pub i64);

/// Why a text is no moment or no duration, in Go's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TimeError(String);

const MICROS: i64 = 1_000_000;
const DAY_SECONDS: i64 = 86_400;

impl Moment {
    /// So many seconds after 1970.
    pub fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(MICROS))
    }

    /// So many microseconds after 1970.
    pub fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Seconds since 1970, rounded down.
    pub fn seconds(self) -> i64 {
        self.0.div_euclid(MICROS)
    }

    /// Microseconds since 1970.
    pub fn micros(self) -> i64 {
        self.0
    }

    /// `2026-11-22T10:53:14Z`: how `Time` is written.
    pub fn to_time(self) -> String {
        let (date, second) = self.parts();
        format!("{date}{second}Z")
    }

    /// `2026-11-22T10:53:14.000000Z`: how `MicroTime` is written.
    pub fn to_micro_time(self) -> String {
        let (date, second) = self.parts();
        format!("{date}{second}.{:06}Z", self.0.rem_euclid(MICROS))
    }

    fn parts(self) -> (String, String) {
        let seconds = self.seconds();
        let (year, month, day) = date_of(seconds.div_euclid(DAY_SECONDS));
        let of_day = seconds.rem_euclid(DAY_SECONDS);
        let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
        (format!("{year:04}-{month:02}-{day:02}T"), format!("{hour:02}:{minute:02}:{second:02}"))
    }
}

impl FromStr for Moment {
    type Err = TimeError;

    fn from_str(text: &str) -> Result<Self, TimeError> {
        let mut reader = Reader { text, rest: text };
        let year = reader.number(4, "2006")?;
        reader.word("-")?;
        let month = reader.in_range("01", 1, 12, "month")?;
        reader.word("-")?;
        let day = reader.number(2, "02")?;
        reader.word("T")?;
        let hour = reader.in_range("15", 0, 23, "hour")?;
        reader.word(":")?;
        let minute = reader.in_range("04", 0, 59, "minute")?;
        reader.word(":")?;
        let second = reader.in_range("05", 0, 59, "second")?;
        let micros = reader.fraction();
        let offset_seconds = reader.offset()?;
        if day < 1 || day > days_of(year, month) {
            return Err(reader.error("day out of range"));
        }
        if !reader.rest.is_empty() {
            return Err(reader.error(&format!("extra text: {:?}", reader.rest)));
        }
        let seconds = days_before(year, month, day) * DAY_SECONDS + hour * 3600 + minute * 60 + second;
        Ok(Self((seconds - offset_seconds) * MICROS + micros))
    }
}

/// A text that is read from its front.
struct Reader<'a> {
    text: &'a str,
    rest: &'a str,
}

impl Reader<'_> {
    fn error(&self, what: &str) -> TimeError {
        TimeError(format!("parsing time {:?}: {what}", self.text))
    }

    fn expected(&self, element: &str) -> TimeError {
        let (text, rest) = (self.text, self.rest);
        TimeError(format!(
            "parsing time {text:?} as \"2006-01-02T15:04:05Z07:00\": cannot parse {rest:?} as {element:?}"
        ))
    }

    fn word(&mut self, word: &str) -> Result<(), TimeError> {
        self.rest = self.rest.strip_prefix(word).ok_or_else(|| self.expected(word))?;
        Ok(())
    }

    fn number(&mut self, digits: usize, element: &str) -> Result<i64, TimeError> {
        let number = self.rest.get(..digits).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        let number = number.and_then(|text| text.parse().ok()).ok_or_else(|| self.expected(element))?;
        self.rest = &self.rest[digits..];
        Ok(number)
    }

    fn in_range(&mut self, element: &str, least: i64, most: i64, name: &str) -> Result<i64, TimeError> {
        let number = self.number(2, element)?;
        if (least..=most).contains(&number) {
            return Ok(number);
        }
        Err(self.error(&format!("{name} out of range")))
    }

    /// Microseconds of `.123456789`; 0 where there is none.
    fn fraction(&mut self) -> i64 {
        let Some(digits) = self.rest.strip_prefix(['.', ',']) else { return 0 };
        let end = digits.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(digits.len());
        if end == 0 {
            return 0;
        }
        let six = digits[..end].bytes().chain(std::iter::repeat(b'0')).take(6);
        self.rest = &digits[end..];
        six.fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0'))
    }

    /// Seconds east of Greenwich.
    fn offset(&mut self) -> Result<i64, TimeError> {
        if let Some(rest) = self.rest.strip_prefix('Z') {
            self.rest = rest;
            return Ok(0);
        }
        let whole = Reader { text: self.text, rest: self.rest };
        let sign = match self.rest.bytes().next() {
            Some(b'+') => 1,
            Some(b'-') => -1,
            _ => return Err(whole.expected("Z07:00")),
        };
        self.rest = &self.rest[1..];
        let hours = self.number(2, "Z07:00").map_err(|_| whole.expected("Z07:00"))?;
        self.word(":").map_err(|_| whole.expected("Z07:00"))?;
        let minutes = self.number(2, "Z07:00").map_err(|_| whole.expected("Z07:00"))?;
        if hours > 24 || minutes > 60 {
            return Err(self.error("time zone offset out of range"));
        }
        Ok(sign * (hours * 3600 + minutes * 60))
    }
}

fn days_of(year: i64, month: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 to a date of the Gregorian calendar. A year is counted from March, so that the leap day is its
/// last; 400 years have 146,097 days.
fn days_before(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The date that is so many days after 1970-01-01: year, month, day.
fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

/// Units of durations, in nanoseconds.
const UNITS: [(&str, i64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

impl FromStr for Duration {
    type Err = TimeError;

    fn from_str(text: &str) -> Result<Self, TimeError> {
        let invalid = || TimeError(format!("time: invalid duration {text:?}"));
        let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
        if unsigned == "0" {
            return Ok(Self(0));
        }
        if unsigned.is_empty() {
            return Err(invalid());
        }
        let (mut rest, mut sum) = (unsigned, 0_i128);
        while !rest.is_empty() {
            let end = rest.bytes().position(|b| !b.is_ascii_digit() && b != b'.').unwrap_or(rest.len());
            let (number, behind) = rest.split_at(end);
            let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
            if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
                return Err(invalid());
            }
            let end = behind.bytes().position(|b| b.is_ascii_digit() || b == b'.').unwrap_or(behind.len());
            let (unit, behind) = behind.split_at(end);
            if unit.is_empty() {
                return Err(TimeError(format!("time: missing unit in duration {text:?}")));
            }
            let Some((_, nanos)) = UNITS.iter().find(|(name, _)| *name == unit) else {
                return Err(TimeError(format!("time: unknown unit {unit:?} in duration {text:?}")));
            };
            sum += amount(whole, fraction, i128::from(*nanos)).ok_or_else(invalid)?;
            rest = behind;
        }
        let signed = if text.starts_with('-') { -sum } else { sum };
        i64::try_from(signed).map(Self).map_err(|_| invalid())
    }
}

/// `whole.fraction` units of so many nanoseconds, rounded down; none when it is too large.
fn amount(whole: &str, fraction: &str, nanos: i128) -> Option<i128> {
    let whole: i128 = if whole.is_empty() { 0 } else { i64::from_str(whole).ok()?.into() };
    // Digits beyond the 18th are below a nanosecond, even of an hour.
    let digits = &fraction.as_bytes()[..fraction.len().min(18)];
    let part = digits.iter().fold(0_i128, |sum, digit| sum * 10 + i128::from(digit - b'0'));
    let ten = 10_i128.pow(u32::try_from(digits.len()).ok()?);
    Some(whole * nanos + part * nanos / ten)
}

/// As Go prints it: `1h30m0s`, `1.5s`, `100ms`, `0s`.
impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.unsigned_abs();
        if self.0 < 0 {
            f.write_str("-")?;
        }
        let (hours, minutes) = (nanos / 3_600_000_000_000, nanos / 60_000_000_000 % 60);
        let below = |unit: u64, name: &str| format!("{}{name}", with_fraction(nanos, unit));
        match nanos {
            0 => f.write_str("0s"),
            1..1_000 => f.write_str(&below(1, "ns")),
            1_000..1_000_000 => f.write_str(&below(1_000, "µs")),
            1_000_000..1_000_000_000 => f.write_str(&below(1_000_000, "ms")),
            _ => {
                if hours > 0 {
                    write!(f, "{hours}h")?;
                }
                if hours > 0 || minutes > 0 {
                    write!(f, "{minutes}m")?;
                }
                write!(f, "{}s", with_fraction(nanos % 60_000_000_000, 1_000_000_000))
            }
        }
    }
}

fn with_fraction(nanos: u64, unit: u64) -> String {
    if nanos.is_multiple_of(unit) {
        return (nanos / unit).to_string();
    }
    let width = unit.ilog10() as usize;
    let fraction = format!("{:0width$}", nanos % unit);
    format!("{}.{}", nanos / unit, fraction.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_and_written_in_utc() {
        for (text, time, micro) in [
            ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "1970-01-01T00:00:00.000000Z"),
            ("2026-11-22T10:53:14Z", "2026-11-22T10:53:14Z", "2026-11-22T10:53:14.000000Z"),
            ("2024-02-29T23:59:59.1234567+01:00", "2024-02-29T22:59:59Z", "2024-02-29T22:59:59.123456Z"),
            ("1969-12-31T23:59:59.5Z", "1969-12-31T23:59:59Z", "1969-12-31T23:59:59.500000Z"),
            ("2000-03-01T00:00:00-00:30", "2000-03-01T00:30:00Z", "2000-03-01T00:30:00.000000Z"),
            ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000000Z"),
            ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z", "9999-12-31T23:59:59.000000Z"),
        ] {
            let moment: Moment = text.parse().expect(text);
            assert_eq!((moment.to_time().as_str(), moment.to_micro_time().as_str()), (time, micro));
        }
        assert_eq!("2026-11-22T10:53:14Z".parse(), Ok(Moment::from_seconds(1_795_344_794)));
    }

    #[test]
    fn each_day_of_eight_centuries_is_itself_again() {
        for day in (-146_097..146_097).step_by(7) {
            let (year, month, date) = date_of(day);
            assert_eq!(days_before(year, month, date), day);
            assert!((1..=days_of(year, month)).contains(&date));
        }
    }

    #[test]
    fn what_is_no_moment_is_refused_in_words() {
        let layout = "as \"2006-01-02T15:04:05Z07:00\": cannot parse";
        for (text, expected) in [
            ("", format!("parsing time \"\" {layout} \"\" as \"2006\"")),
            ("yesterday", format!("parsing time \"yesterday\" {layout} \"yesterday\" as \"2006\"")),
            ("2026-11-22", format!("parsing time \"2026-11-22\" {layout} \"\" as \"T\"")),
            ("2026-13-01T00:00:00Z", "parsing time \"2026-13-01T00:00:00Z\": month out of range".into()),
            ("2026-02-29T00:00:00Z", "parsing time \"2026-02-29T00:00:00Z\": day out of range".into()),
            (
                "2026-01-01T00:00:00",
                format!("parsing time \"2026-01-01T00:00:00\" {layout} \"\" as \"Z07:00\""),
            ),
            ("2026-01-01T00:00:00Zz", "parsing time \"2026-01-01T00:00:00Zz\": extra text: \"z\"".into()),
        ] {
            assert_eq!(text.parse::<Moment>().expect_err(text).to_string(), expected);
        }
    }

    #[test]
    fn durations_are_those_of_go() {
        for (text, expected) in [
            ("0", "0s"),
            ("90m", "1h30m0s"),
            ("1h30m", "1h30m0s"),
            ("1.5s", "1.5s"),
            ("-1.5h", "-1h30m0s"),
            ("100ms", "100ms"),
            ("1500us", "1.5ms"),
            ("1ns", "1ns"),
            ("1µs", "1µs"),
            (".5m", "30s"),
            ("61s", "1m1s"),
        ] {
            assert_eq!(text.parse::<Duration>().map(|time| time.to_string()).as_deref(), Ok(expected));
        }
        for (text, expected) in [
            ("", "time: invalid duration \"\""),
            ("5", "time: missing unit in duration \"5\""),
            ("5d", "time: unknown unit \"d\" in duration \"5d\""),
            ("x", "time: invalid duration \"x\""),
            (".s", "time: invalid duration \".s\""),
            ("9999999999h", "time: invalid duration \"9999999999h\""),
        ] {
            assert_eq!(text.parse::<Duration>().expect_err(text).to_string(), expected);
        }
    }
}
