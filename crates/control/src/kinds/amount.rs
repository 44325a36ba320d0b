//! Amounts of resources.

use std::fmt;

use serde_json::Value;
use shoal_api::quantity::{Format, Quantity};

/// An amount that was read from an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Amount(Quantity);

/// Amounts are kept in thousandths; what is finer is rounded up.
const NANOS_OF_MILLI: i128 = 1_000_000;

impl Amount {
    /// Nothing at all.
    pub(crate) const ZERO: Self = Self(Quantity::ZERO);

    /// None for what is absent or no amount: whoever decodes says so.
    pub(crate) fn read(value: &Value) -> Option<Self> {
        match value {
            Value::String(text) => text.parse().ok().map(Self),
            Value::Number(number) => number.to_string().parse().ok().map(Self),
            _ => None,
        }
    }

    /// Below nothing.
    pub(crate) fn is_negative(self) -> bool {
        self.0.sign() < 0
    }

    /// Nothing.
    pub(crate) fn is_zero(self) -> bool {
        self.0.is_zero()
    }

    /// Without a fraction, as far as thousandths show one.
    pub(crate) fn is_whole(self) -> bool {
        self.0.milli_value() % 1000 == 0
    }

    /// In thousandths.
    pub(crate) fn milli(self) -> i64 {
        self.0.milli_value()
    }

    /// Made of so many of these.
    pub(crate) fn is_multiple_of(self, other: Self) -> bool {
        !other.is_zero() && self.0.nanos() % other.0.nanos() == 0
    }

    /// As Go prints the structure that holds it.
    pub(crate) fn shown(value: &Value) -> String {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let number = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
        let suffix = &text[number.len()..];
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let power = match suffix {
            "n" => -9,
            "u" => -6,
            "m" => -3,
            "k" => 3,
            "M" => 6,
            "G" => 9,
            _ => 0,
        };
        let decimals = i64::try_from(fraction.len()).unwrap_or_default();
        let digits = format!("{whole}{fraction}");
        let digits = digits.trim_start_matches('0');
        let (digits, scale) = (if digits.is_empty() { "0" } else { digits }, power - decimals);
        let format = if suffix.ends_with('i') { "BinarySI" } else { "DecimalSI" };
        format!(
            "resource.Quantity{{i:resource.int64Amount{{value:{digits}, scale:{scale}}}, \
             d:resource.infDecAmount{{Dec:(*inf.Dec)(nil)}}, s:\"\", Format:{format:?}}}"
        )
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Writes each amount of a map as Kubernetes does, rounded up to thousandths.
pub(crate) fn round(amounts: &mut Value) {
    for value in amounts.as_object_mut().into_iter().flatten().map(|(_, value)| value) {
        if let Some(amount) = Amount::read(value) {
            *value = Value::from(rounded(amount).to_string());
        }
    }
}

/// Writes one amount as Kubernetes does.
pub(crate) fn canonical(value: &mut Value) {
    if let Some(amount) = Amount::read(value) {
        *value = Value::from(amount.to_string());
    }
}

fn rounded(amount: Amount) -> Amount {
    if amount.0.nanos() % NANOS_OF_MILLI == 0 || amount.0.format() == Format::DecimalExponent {
        return amount;
    }
    Amount(Quantity::from_milli(amount.0.milli_value()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn amounts_are_written_in_one_way() {
        let mut amounts = json!({"cpu": "0.5", "memory": "1024Mi", "storage": 3, "other": "1n"});
        round(&mut amounts);
        assert_eq!(amounts, json!({"cpu": "500m", "memory": "1Gi", "storage": "3", "other": "1m"}));
    }

    #[test]
    fn amounts_read_as_go_prints_them() {
        assert_eq!(
            Amount::shown(&json!("1500m")),
            "resource.Quantity{i:resource.int64Amount{value:1500, scale:-3}, \
             d:resource.infDecAmount{Dec:(*inf.Dec)(nil)}, s:\"\", Format:\"DecimalSI\"}"
        );
    }
}
