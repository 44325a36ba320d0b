//! Amounts: `500m` of a processor, `1Gi` of memory, `1e3`.
//!
//! Source: `k8s.io/apimachinery/pkg/api/resource`. An amount has nine decimals and at most 2⁶³-1 units, as there; more
//! decimals are rounded up, more units cut.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// An amount, and the family of suffixes that it is written with.
#[derive(Clone, Copy, Debug)]
pub struct Quantity {
    /// In 10⁻⁹ units; at most [`NANOS_MAX`] either way.
    nanos: i128,
    format: Format,
}

/// How an amount is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// `n u m "" k M G T P E`: powers of 1000.
    DecimalSi,
    /// `Ki Mi Gi Ti Pi Ei`: powers of 1024.
    BinarySi,
    /// `1e3`: exponents that are multiples of 3.
    DecimalExponent,
}

/// Why a text is no amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// Not a number with a suffix.
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Format,
    /// No suffix that is known.
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

const NANOS: i128 = 1_000_000_000;

/// The largest amount there is: 2⁶³-1 units.
pub const NANOS_MAX: i128 = i64::MAX as i128 * NANOS;

/// Digits that count: an amount of 2⁶³-1 has nineteen, so one more shows that it is too large.
const DIGITS_MAX: usize = 20;

const DECIMAL: [(&str, i32); 10] =
    [("n", -9), ("u", -6), ("m", -3), ("", 0), ("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15), ("E", 18)];
const BINARY: [(&str, u32); 6] = [("Ki", 10), ("Mi", 20), ("Gi", 30), ("Ti", 40), ("Pi", 50), ("Ei", 60)];

impl Quantity {
    /// Nothing.
    pub const ZERO: Self = Self { nanos: 0, format: Format::DecimalSi };

    /// So many units.
    pub fn new(units: i64, format: Format) -> Self {
        Self { nanos: i128::from(units) * NANOS, format }
    }

    /// So many thousandths, written with decimal suffixes.
    pub fn from_milli(milli: i64) -> Self {
        Self::clamped(i128::from(milli) * (NANOS / 1000), Format::DecimalSi)
    }

    /// How it is written.
    pub fn format(self) -> Format {
        self.format
    }

    /// Whole units, rounded away from zero.
    pub fn value(self) -> i64 {
        self.scaled(NANOS)
    }

    /// Thousandths, rounded away from zero; at most what an `i64` holds.
    pub fn milli_value(self) -> i64 {
        self.scaled(NANOS / 1000)
    }

    /// In 10⁻⁹ units.
    pub fn nanos(self) -> i128 {
        self.nanos
    }

    /// The nearest number there is.
    #[expect(clippy::cast_precision_loss, reason = "asked for")]
    pub fn as_f64(self) -> f64 {
        self.nanos as f64 / NANOS as f64
    }

    /// Less than, equal to or more than nothing: -1, 0, 1.
    pub fn sign(self) -> i32 {
        match self.nanos.cmp(&0) {
            Ordering::Less => -1,
            Ordering::Equal => 0,
            Ordering::Greater => 1,
        }
    }

    /// Whether it is nothing.
    pub fn is_zero(self) -> bool {
        self.nanos == 0
    }

    /// The sum, written as `self` is, or as `other` where `self` is nothing.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let format = if self.is_zero() { other.format } else { self.format };
        Self::clamped(self.nanos + other.nanos, format)
    }

    /// The difference, written as `self` is, or as `other` where `self` is nothing.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        let format = if self.is_zero() { other.format } else { self.format };
        Self::clamped(self.nanos - other.nanos, format)
    }

    /// The one way in which an amount is written: `0.5` becomes `500m`.
    ///
    /// # Errors
    /// When the text is no amount.
    pub fn canonical(text: &str) -> Result<String, QuantityError> {
        text.parse::<Self>().map(|amount| amount.to_string())
    }

    fn clamped(nanos: i128, format: Format) -> Self {
        Self { nanos: nanos.clamp(-NANOS_MAX, NANOS_MAX), format }
    }

    fn scaled(self, unit: i128) -> i64 {
        let whole = self.nanos / unit;
        let away = if self.nanos % unit == 0 { whole } else { whole + i128::from(self.sign()) };
        i64::try_from(away).unwrap_or(if away < 0 { i64::MIN } else { i64::MAX })
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

/// As Kubernetes prints it: the largest suffix with which no digit stands behind the point.
impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nanos == 0 {
            return f.write_str("0");
        }
        let small = self.nanos.abs() < 1024 * NANOS;
        match self.format {
            Format::BinarySi if !small && self.nanos % NANOS == 0 => {
                let mut units = self.nanos / NANOS;
                let mut suffix = "";
                for (name, _) in BINARY {
                    if units % 1024 != 0 {
                        break;
                    }
                    (units, suffix) = (units / 1024, name);
                }
                write!(f, "{units}{suffix}")
            }
            format => {
                let (mut units, mut at) = (self.nanos, 0);
                while units % 1000 == 0 && at + 1 < DECIMAL.len() {
                    (units, at) = (units / 1000, at + 1);
                }
                let (suffix, exponent) = DECIMAL[at];
                match format {
                    Format::DecimalExponent if exponent != 0 => write!(f, "{units}e{exponent}"),
                    _ => write!(f, "{units}{suffix}"),
                }
            }
        }
    }
}

impl FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let parts = Parts::of(text)?;
        let (scale, format) = parts.scale()?;
        let digits = || parts.whole.bytes().chain(parts.fraction.bytes()).skip_while(|digit| *digit == b'0');
        let nanos = match scale {
            Scale::Ten(exponent) => {
                let point = i64::from(exponent) - i64::try_from(parts.fraction.len()).unwrap_or(i64::MAX);
                in_tens(digits(), point.saturating_add(9))
            }
            Scale::Two(exponent) => in_twos(parts.whole, parts.fraction, exponent),
        };
        let nanos = nanos.min(NANOS_MAX);
        Ok(Self { nanos: if parts.negative { -nanos } else { nanos }, format })
    }
}

/// A power that the digits are multiplied by.
enum Scale {
    Ten(i32),
    Two(u32),
}

/// A text taken apart.
struct Parts<'a> {
    negative: bool,
    /// Digits before the point, without leading zeros.
    whole: &'a str,
    fraction: &'a str,
    suffix: &'a str,
}

impl<'a> Parts<'a> {
    fn of(text: &'a str) -> Result<Self, QuantityError> {
        if text.is_empty() {
            return Err(QuantityError::Format);
        }
        let negative = text.starts_with('-');
        let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
        let (whole, rest) = digits(unsigned);
        let whole = whole.trim_start_matches('0');
        let (fraction, suffix) = rest.strip_prefix('.').map_or(("", rest), digits);
        let exponent = suffix.trim_start_matches(|c| "eEinumkKMGTP".contains(c));
        let number = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        if !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(QuantityError::Format);
        }
        Ok(Self { negative, whole, fraction, suffix })
    }

    fn scale(&self) -> Result<(Scale, Format), QuantityError> {
        if let Some((_, exponent)) = DECIMAL.iter().find(|(name, _)| *name == self.suffix) {
            return Ok((Scale::Ten(*exponent), Format::DecimalSi));
        }
        if let Some((_, exponent)) = BINARY.iter().find(|(name, _)| *name == self.suffix) {
            return Ok((Scale::Two(*exponent), Format::BinarySi));
        }
        let exponent = self.suffix.strip_prefix(['e', 'E']).ok_or(QuantityError::Suffix)?;
        let exponent: i32 = exponent.parse().map_err(|_| QuantityError::Suffix)?;
        Ok((Scale::Ten(exponent), Format::DecimalExponent))
    }
}

fn digits(text: &str) -> (&str, &str) {
    let end = text.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    text.split_at(end)
}

/// Digits times a power of ten, rounded up; without leading zeros. More than [`NANOS_MAX`] where it is too large.
fn in_tens(digits: impl Iterator<Item = u8>, power: i64) -> i128 {
    let digits: Vec<u8> = digits.collect();
    let count = i64::try_from(digits.len()).unwrap_or(i64::MAX);
    if digits.is_empty() {
        return 0;
    }
    let kept = usize::try_from(count.saturating_add(power.min(0)).max(0)).unwrap_or_default();
    if i64::try_from(kept).unwrap_or(i64::MAX).saturating_add(power.max(0)) > 9 + DIGITS_MAX as i64 {
        return NANOS_MAX + 1;
    }
    let rest = digits[kept..].iter().any(|digit| *digit != b'0');
    let number = digits[..kept].iter().fold(0, |sum: i128, digit| sum * 10 + i128::from(digit - b'0'));
    let zeros = u32::try_from(power.max(0)).unwrap_or_default();
    number * 10_i128.pow(zeros) + i128::from(rest)
}

/// Digits with a point times a power of two, in 10⁻⁹, rounded up. More than [`NANOS_MAX`] where it is too large.
fn in_twos(whole: &str, fraction: &str, power: u32) -> i128 {
    if whole.len() >= DIGITS_MAX {
        return NANOS_MAX + 1;
    }
    let kept = fraction.len().min(DIGITS_MAX - whole.len());
    let rest = fraction[kept..].bytes().any(|digit| digit != b'0');
    let number =
        |digits: &str| digits.bytes().fold(0, |sum: i128, digit| sum * 10 + i128::from(digit - b'0'));
    let ten = 10_i128.pow(u32::try_from(kept).unwrap_or_default());
    // Twenty digits are below 2^67, times 2^60 below 2^127.
    let units = (number(whole) * ten + number(&fraction[..kept])) << power;
    let behind = units % ten * NANOS;
    let round_up = rest || behind % ten != 0;
    (units / ten).min(i128::from(i64::MAX) + 1) * NANOS + behind / ten + i128::from(round_up)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_written_in_one_way() {
        for (text, expected) in [
            ("0", "0"),
            ("0.5", "500m"),
            ("1.5", "1500m"),
            ("1000m", "1"),
            ("1000", "1k"),
            ("1024", "1024"),
            ("1Ki", "1Ki"),
            ("1024Ki", "1Mi"),
            ("1023Ki", "1023Ki"),
            ("0.5Ki", "512"),
            ("1.5Gi", "1536Mi"),
            ("0.1Ki", "102400m"),
            ("1e3", "1e3"),
            ("1E3", "1e3"),
            ("12e2", "1200"),
            ("1E", "1E"),
            ("1Ei", "1Ei"),
            ("100u", "100u"),
            ("1n", "1n"),
            ("0.1n", "1n"),
            ("-0.1n", "-1n"),
            ("+5", "5"),
            ("-5", "-5"),
            ("007", "7"),
            ("1.", "1"),
            (".5", "500m"),
            ("12345678901234567890123", "9223372036854775807"),
            ("10Ei", "9223372036854775807"),
            ("1e400", "9223372036854775807"),
            ("1e-400", "1e-9"),
            ("0e2147483647", "0"),
            ("0.000Ki", "0"),
            ("9223372036854775807", "9223372036854775807"),
            ("-9223372036854775809", "-9223372036854775807"),
        ] {
            assert_eq!(Quantity::canonical(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_amount_is_refused() {
        use QuantityError::{Format, Suffix};
        for (text, expected) in [
            ("", Format),
            ("abc", Format),
            ("1 Gi", Format),
            ("1.2.3", Format),
            ("1K", Suffix),
            ("1ki", Suffix),
            ("1e", Suffix),
            ("1e3k", Format),
            ("1GiB", Format),
            ("1mm", Suffix),
            ("1e99999999999", Suffix),
            ("ä", Format),
        ] {
            assert_eq!(Quantity::canonical(text), Err(expected), "{text}");
        }
    }

    #[test]
    fn values_are_rounded_away_from_zero() {
        let amount = |text: &str| text.parse::<Quantity>().expect(text);
        for (text, value, milli) in
            [("1", 1, 1000), ("1m", 1, 1), ("-1m", -1, -1), ("100u", 1, 1), ("1.5Ki", 1536, 1_536_000)]
        {
            assert_eq!((amount(text).value(), amount(text).milli_value()), (value, milli), "{text}");
        }
        assert_eq!(amount("1Ei").milli_value(), i64::MAX, "cut");
        assert!(amount("1Ki") > amount("1k") && amount("1000m") == amount("1"));
        assert_eq!(amount("100m").plus(amount("0.9")).to_string(), "1");
        assert_eq!(amount("1Gi").minus(amount("512Mi")).to_string(), "512Mi");
        assert_eq!(Quantity::ZERO.plus(amount("1Ki")).to_string(), "1Ki");
        assert_eq!(amount("9E").plus(amount("9E")).value(), i64::MAX);
    }
}
