//! Amounts and selectors as controllers compare them.

use std::collections::BTreeMap;

use serde_json::Value;
use shoal_api::quantity::{Format, Quantity};
use shoal_api::selector::label::Selector;

/// A whole number of something.
pub(crate) fn whole(number: i64) -> Quantity {
    Quantity::new(number, Format::DecimalSi)
}

/// From text or a JSON number; none where it is neither, or no amount.
pub(crate) fn amount_of(value: &Value) -> Option<Quantity> {
    match value {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number.to_string().parse().ok(),
        _ => None,
    }
}

/// Amounts by name: `cpu`, `requests.storage`.
pub type Amounts = BTreeMap<String, Quantity>;

/// The amounts of a JSON object; what is no amount is left out.
pub fn amounts(value: &Value) -> Amounts {
    let fields = value.as_object().into_iter().flatten();
    fields.filter_map(|(name, amount)| Some((name.clone(), amount_of(amount)?))).collect()
}

/// As a JSON object.
pub fn amounts_value(amounts: &Amounts) -> Value {
    amounts.iter().map(|(name, amount)| (name.clone(), Value::String(amount.to_string()))).collect()
}

/// A LabelSelector; one that cannot be understood selects nothing, as one that is absent.
pub(crate) fn selector(value: &Value) -> Selector {
    Selector::from_object(value).unwrap_or_else(|_| Selector::nothing())
}
