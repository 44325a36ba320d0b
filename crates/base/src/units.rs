//! Sizes (`64MiB`) and durations (`50ms`) as people type and read them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A number of bytes. Parses `512`, `64KiB`, `64K`, `128MiB`, `1GiB`, `10MB`; displays in the largest
/// binary unit that divides it, else in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Bytes(pub u64);

/// Why a size or a duration was not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// The text has no number where one must stand.
    #[error("`{0}` does not start with a number")]
    NoNumber(String),
    /// The unit is none of those known.
    #[error("`{text}` has the unit `{unit}`; known are {known}")]
    UnknownUnit {
        /// What was typed.
        text: String,
        /// The part that is not a number.
        unit: String,
        /// The units that would have been understood.
        known: &'static str,
    },
    /// The value does not fit.
    #[error("`{0}` is too large")]
    TooLarge(String),
}

const SIZE_UNITS: &str = "B, KiB (or Ki, K), MiB (or Mi, M), GiB (or Gi, G), KB, MB, GB";
const TIME_UNITS: &str = "us, ms, s, m, h";

impl Bytes {
    /// `count` KiB.
    pub const fn kib(count: u64) -> Self {
        Self(count << 10)
    }

    /// `count` MiB.
    pub const fn mib(count: u64) -> Self {
        Self(count << 20)
    }

    /// `count` GiB.
    pub const fn gib(count: u64) -> Self {
        Self(count << 30)
    }

    /// The value as an index; on a 32-bit machine the largest index there is.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl FromStr for Bytes {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (number, unit) = split(text)?;
        let factor: u64 = match unit {
            "" | "B" => 1,
            "K" | "Ki" | "KiB" => 1 << 10,
            "M" | "Mi" | "MiB" => 1 << 20,
            "G" | "Gi" | "GiB" => 1 << 30,
            "KB" => 1_000,
            "MB" => 1_000_000,
            "GB" => 1_000_000_000,
            _ => {
                return Err(UnitError::UnknownUnit {
                    text: text.into(),
                    unit: unit.into(),
                    known: SIZE_UNITS,
                });
            }
        };
        number.checked_mul(factor).map(Self).ok_or_else(|| UnitError::TooLarge(text.into()))
    }
}

impl TryFrom<String> for Bytes {
    type Error = UnitError;

    fn try_from(text: String) -> Result<Self, UnitError> {
        text.parse()
    }
}

impl From<Bytes> for String {
    fn from(bytes: Bytes) -> Self {
        bytes.to_string()
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (shift, unit) in [(30, "GiB"), (20, "MiB"), (10, "KiB")] {
            if self.0 != 0 && self.0.is_multiple_of(1 << shift) {
                return write!(f, "{}{unit}", self.0 >> shift);
            }
        }
        write!(f, "{}B", self.0)
    }
}

/// Parses a duration: `250us`, `50ms`, `30s`, `5m`, `1h`.
///
/// # Errors
/// When the text does not start with a number or its unit is unknown.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let (number, unit) = split(text)?;
    let micros_each: u64 = match unit {
        "us" | "µs" => 1,
        "ms" => 1_000,
        "s" => 1_000_000,
        "m" => 60_000_000,
        "h" => 3_600_000_000,
        _ => {
            return Err(UnitError::UnknownUnit { text: text.into(), unit: unit.into(), known: TIME_UNITS });
        }
    };
    let micros = number.checked_mul(micros_each).ok_or_else(|| UnitError::TooLarge(text.into()))?;
    Ok(Duration::from_micros(micros))
}

/// Displays a duration in the largest unit that divides it: `50ms`, `30s`, `5m`.
pub fn show_duration(duration: Duration) -> String {
    let micros = duration.as_micros();
    for (each, unit) in [(3_600_000_000, "h"), (60_000_000, "m"), (1_000_000, "s"), (1_000, "ms")] {
        if micros != 0 && micros.is_multiple_of(each) {
            return format!("{}{unit}", micros / each);
        }
    }
    format!("{micros}us")
}

/// Splits `64MiB` into its number and its unit.
fn split(text: &str) -> Result<(u64, &str), UnitError> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    if number.is_empty() {
        return Err(UnitError::NoNumber(text.into()));
    }
    let number = number.parse().map_err(|_| UnitError::TooLarge(text.into()))?;
    Ok((number, unit.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_typed_and_shown_in_their_largest_unit() {
        for (typed, shown) in [
            ("0", "0B"),
            ("512", "512B"),
            ("64KiB", "64KiB"),
            ("64K", "64KiB"),
            ("1024Mi", "1GiB"),
            ("1MB", "1000000B"),
        ] {
            assert_eq!(typed.parse::<Bytes>().map(|b| b.to_string()), Ok(shown.to_string()), "{typed}");
        }
    }

    #[test]
    fn a_wrong_size_says_what_would_be_right() {
        assert_eq!(
            "64mb".parse::<Bytes>().map_err(|e| e.to_string()),
            Err("`64mb` has the unit `mb`; known are B, KiB (or Ki, K), MiB (or Mi, M), GiB (or Gi, G), KB, MB, GB"
                .into())
        );
        assert_eq!("MiB".parse::<Bytes>(), Err(UnitError::NoNumber("MiB".into())));
        assert_eq!("99999999999GiB".parse::<Bytes>(), Err(UnitError::TooLarge("99999999999GiB".into())));
    }

    #[test]
    fn durations_are_read_as_typed_and_shown_in_their_largest_unit() {
        for (typed, shown) in
            [("250us", "250us"), ("50ms", "50ms"), ("90s", "90s"), ("120s", "2m"), ("1h", "1h")]
        {
            assert_eq!(parse_duration(typed).map(show_duration), Ok(shown.to_string()), "{typed}");
        }
        assert!(parse_duration("50").is_err(), "a duration needs a unit");
    }
}
