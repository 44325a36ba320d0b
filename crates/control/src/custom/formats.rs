//! The formats that a text of a custom resource is checked for, as the API server checks them.

use std::sync::LazyLock;

use base64::Engine as _;
use regex::Regex;
use shoal_api::names;

/// Whether a text has a format. Formats that Kubernetes does not check hold for every text.
pub fn holds(format: &str, text: &str) -> bool {
    match format {
        "date-time" | "datetime" => is_date_time(text),
        "date" => is_date(text),
        "duration" => is_duration(text),
        "byte" => base64::engine::general_purpose::STANDARD.decode(text).is_ok(),
        "ipv4" => names::ipv4(text).is_empty(),
        "ipv6" => names::ipv6(text).is_empty(),
        "cidr" => names::parse_cidr(text).is_some(),
        "mac" => MAC.is_match(text),
        "uri" => is_uri(text),
        "email" => EMAIL.is_match(text),
        "hostname" => is_hostname(text),
        "uuid" => UUID.is_match(text),
        "uuid3" | "uuid4" | "uuid5" => is_uuid_of(text, format.as_bytes()[4]),
        "isbn" => is_isbn(text, 10) || is_isbn(text, 13),
        "isbn10" => is_isbn(text, 10),
        "isbn13" => is_isbn(text, 13),
        "creditcard" => is_credit_card(text),
        "ssn" => SSN.is_match(text),
        "hexcolor" => HEX_COLOR.is_match(text),
        "rgbcolor" => RGB_COLOR.is_match(text),
        _ => true,
    }
}

/// Whether the API server knows a format; it reads schemas as if others were not there.
pub fn is_known(format: &str) -> bool {
    KNOWN.contains(&format)
}

/// The formats that the API server knows.
const KNOWN: [&str; 25] = [
    "bsonobjectid",
    "uri",
    "email",
    "hostname",
    "ipv4",
    "ipv6",
    "cidr",
    "mac",
    "uuid",
    "uuid3",
    "uuid4",
    "uuid5",
    "isbn",
    "isbn10",
    "isbn13",
    "creditcard",
    "ssn",
    "hexcolor",
    "rgbcolor",
    "byte",
    "password",
    "date",
    "duration",
    "datetime",
    "date-time",
];

static MAC: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r"^([0-9A-Fa-f]{2}([:-])){5}[0-9A-Fa-f]{2}$|^([0-9A-Fa-f]{2}[:-]){7}[0-9A-Fa-f]{2}$|^([0-9A-Fa-f]{4}\.){2,3}[0-9A-Fa-f]{4}$",
    )
});
static EMAIL: LazyLock<Regex> = LazyLock::new(|| regex(r#"^[^\s@<>(),;:\\"\[\]]+@[^\s@<>(),;:\\"\[\]]+$"#));
static UUID: LazyLock<Regex> =
    LazyLock::new(|| regex(r"(?i)^[0-9A-F]{8}-?[0-9A-F]{4}-?[0-9A-F]{4}-?[0-9A-F]{4}-?[0-9A-F]{12}$"));
static SSN: LazyLock<Regex> = LazyLock::new(|| regex(r"^\d{3}[- ]?\d{2}[- ]?\d{4}$"));
static HEX_COLOR: LazyLock<Regex> = LazyLock::new(|| regex(r"^#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$"));
static RGB_COLOR: LazyLock<Regex> = LazyLock::new(|| {
    let part = r"\s*(0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5])\s*";
    regex(&format!(r"^rgb\({part},{part},{part}\)$"))
});
static DURATION: LazyLock<Regex> = LazyLock::new(|| regex(r"(?i)^\s*(\d+(\.\d+)?)\s*([A-Za-zµ]+)"));

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).expect("the pattern is ours")
}

/// `2020-01-31T12:00:00.5Z` and the other forms that upstream reads: with an offset, without seconds' parts.
fn is_date_time(text: &str) -> bool {
    let Some((date, time)) = text.split_once(['T', 't']) else { return false };
    if !is_date(date) {
        return false;
    }
    let (clock, offset) = match time.find(['Z', 'z', '+', '-']) {
        Some(at) => time.split_at(at),
        None => return false,
    };
    let offset_holds = match offset.as_bytes() {
        [b'Z' | b'z'] => true,
        [b'+' | b'-', a, b, b':', c, d] => {
            two_digits(*a, *b).is_some_and(|hours| hours < 24)
                && two_digits(*c, *d).is_some_and(|minutes| minutes < 60)
        }
        _ => false,
    };
    let (whole, fraction) = clock.split_once('.').map_or((clock, None), |(whole, part)| (whole, Some(part)));
    let fraction_holds =
        fraction.is_none_or(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()));
    let clock_holds = match whole.as_bytes() {
        [a, b, b':', c, d, b':', e, f] => {
            two_digits(*a, *b).is_some_and(|hours| hours < 24)
                && two_digits(*c, *d).is_some_and(|minutes| minutes < 60)
                && two_digits(*e, *f).is_some_and(|seconds| seconds < 60)
        }
        _ => false,
    };
    offset_holds && fraction_holds && clock_holds
}

fn is_date(text: &str) -> bool {
    let [y0, y1, y2, y3, b'-', m0, m1, b'-', d0, d1] = text.as_bytes() else { return false };
    let (Some(century), Some(year)) = (two_digits(*y0, *y1), two_digits(*y2, *y3)) else { return false };
    let (Some(month), Some(day)) = (two_digits(*m0, *m1), two_digits(*d0, *d1)) else { return false };
    let year = century * 100 + year;
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => return false,
    };
    (1..=days).contains(&day)
}

fn two_digits(tens: u8, ones: u8) -> Option<u32> {
    (tens.is_ascii_digit() && ones.is_ascii_digit())
        .then(|| u32::from(tens - b'0') * 10 + u32::from(ones - b'0'))
}

/// A Go duration, or a sequence of numbers with units as words: `1h30m`, `3 days`.
fn is_duration(text: &str) -> bool {
    if is_go_duration(text) {
        return true;
    }
    const UNITS: [&str; 20] = [
        "ns", "nano", "us", "µs", "micro", "ms", "milli", "s", "sec", "m", "min", "h", "hr", "hour", "d",
        "day", "w", "wk", "week", "minute",
    ];
    let mut rest = text;
    let mut found = false;
    while let Some(part) = DURATION.captures(rest) {
        let unit = part[3].to_ascii_lowercase();
        let singular = unit.strip_suffix('s').filter(|short| !short.is_empty()).unwrap_or(&unit);
        if !UNITS.contains(&unit.as_str()) && !UNITS.contains(&singular) && singular != "second" {
            return false;
        }
        found = true;
        rest = &rest[part[0].len()..];
    }
    found && rest.trim().is_empty()
}

fn is_go_duration(text: &str) -> bool {
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if rest == "0" {
        return true;
    }
    let mut found = false;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number = &rest[..digits];
        if !number.bytes().any(|byte| byte.is_ascii_digit()) || number.matches('.').count() > 1 {
            return false;
        }
        rest = &rest[digits..];
        let units = ["ns", "us", "µs", "μs", "ms", "s", "m", "h"];
        let Some(after) = units.iter().find_map(|unit| rest.strip_prefix(unit)) else { return false };
        rest = after;
        found = true;
    }
    found
}

/// What Go's `url.ParseRequestURI` reads: an absolute address, or an absolute path.
fn is_uri(text: &str) -> bool {
    if text.is_empty() || text.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
        return false;
    }
    if text.starts_with('/') {
        return true;
    }
    let Some((scheme, rest)) = text.split_once(':') else { return false };
    let letters = scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    scheme.starts_with(|first: char| first.is_ascii_alphabetic()) && letters && !rest.is_empty()
}

fn is_hostname(text: &str) -> bool {
    let text = text.strip_suffix('.').unwrap_or(text);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_alphanumeric() || c == '-')
    };
    !text.is_empty() && text.len() <= 253 && text.split('.').all(label)
}

fn is_uuid_of(text: &str, version: u8) -> bool {
    let plain: Vec<u8> = text.bytes().filter(|byte| *byte != b'-').collect();
    if !UUID.is_match(text) || plain.len() != 32 || plain[12] != version {
        return false;
    }
    version == b'3' || b"89abAB".contains(&plain[16])
}

fn is_isbn(text: &str, digits: usize) -> bool {
    let plain: Vec<u8> = text.bytes().filter(|byte| *byte != b'-' && *byte != b' ').collect();
    if plain.len() != digits || !plain[..digits - 1].iter().all(u8::is_ascii_digit) {
        return false;
    }
    let last = plain[digits - 1];
    let value = |byte: u8| if matches!(byte, b'X' | b'x') { 10 } else { u32::from(byte.wrapping_sub(b'0')) };
    let is_ten = digits == 10 && matches!(last, b'X' | b'x');
    if !(last.is_ascii_digit() || is_ten) {
        return false;
    }
    if digits == 10 {
        return plain.iter().zip(1..).map(|(byte, place)| value(*byte) * place).sum::<u32>() % 11 == 0;
    }
    plain.iter().zip([1, 3].into_iter().cycle()).map(|(byte, weight)| value(*byte) * weight).sum::<u32>() % 10
        == 0
}

fn is_credit_card(text: &str) -> bool {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(10)).collect();
    let only = text.chars().all(|c| c.is_ascii_digit() || c == '-' || c == ' ');
    let sum: u32 = digits
        .iter()
        .rev()
        .zip([false, true].into_iter().cycle())
        .map(|(digit, double)| if double { digit * 2 % 10 + digit * 2 / 10 } else { *digit })
        .sum();
    only && (13..=19).contains(&digits.len()) && sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_hold_for_what_they_name() {
        for (format, good, bad) in [
            ("date-time", "2020-02-29T12:00:00.5+01:00", "2019-02-29T12:00:00Z"),
            ("date", "2020-12-31", "2020-13-01"),
            ("duration", "1h30m", "1 fortnight"),
            ("duration", "3 days", "h"),
            ("byte", "YQ==", "YQ="),
            ("ipv4", "10.0.0.1", "10.0.0.256"),
            ("ipv6", "::1", "1.2.3.4"),
            ("cidr", "10.0.0.0/8", "10.0.0.0"),
            ("mac", "00:1b:63:84:45:e6", "00:1b"),
            ("uri", "https://a/b", "a b"),
            ("email", "a@b.c", "a@"),
            ("hostname", "a.b-c", "-a"),
            ("uuid4", "f47ac10b-58cc-4372-a567-0e02b2c3d479", "f47ac10b-58cc-1372-a567-0e02b2c3d479"),
            ("isbn13", "978-3-16-148410-0", "978-3-16-148410-1"),
            ("creditcard", "4111 1111 1111 1111", "4111 1111 1111 1112"),
            ("rgbcolor", "rgb(1, 2, 255)", "rgb(1, 2, 256)"),
        ] {
            assert!(holds(format, good), "{format}: {good}");
            assert!(!holds(format, bad), "{format}: {bad}");
        }
        assert!(holds("of-nobody", "anything"));
    }
}
