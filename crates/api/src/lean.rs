//! Objects as readers want them: without `metadata.managedFields`, which only writers look at and which is often the
//! larger half of what an object takes in memory. A write that leaves them out leaves them as they are.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// What a text is, and so where objects stand in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Text {
    /// One object.
    Object,
    /// A list: objects are its `items`.
    List,
    /// An event of a watch, whose `object` is one.
    Event,
}

/// Reads JSON without what stands in `metadata.managedFields` of its objects; everything else stays as it is written.
///
/// # Errors
/// It is no JSON.
pub fn read(bytes: &[u8], text: Text) -> serde_json::Result<Value> {
    let place = match text {
        Text::Object => Place::Object,
        Text::List => Place::List,
        Text::Event => Place::Event,
    };
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = place.deserialize(&mut reader)?;
    reader.end()?;
    Ok(value)
}

/// Takes from an object what [`read`] would have left out.
pub fn strip(object: &mut Value) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
}

/// Where a value stands.
#[derive(Clone, Copy)]
enum Place {
    Event,
    List,
    Items,
    Object,
    Metadata,
    /// Where no object begins.
    Elsewhere,
}

impl Place {
    fn of_field(self, name: &str) -> Self {
        match (self, name) {
            (Self::Event, "object") => Self::Object,
            (Self::List, "items") => Self::Items,
            (Self::Object, "metadata") => Self::Metadata,
            _ => Self::Elsewhere,
        }
    }
}

impl<'de> DeserializeSeed<'de> for Place {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        match self {
            Self::Elsewhere => Value::deserialize(deserializer),
            _ => deserializer.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for Place {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        while let Some(name) = entries.next_key::<String>()? {
            if matches!(self, Self::Metadata) && name == "managedFields" {
                entries.next_value::<IgnoredAny>()?;
            } else {
                let value = entries.next_value_seed(self.of_field(&name))?;
                fields.insert(name, value);
            }
        }
        Ok(Value::Object(fields))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let item = if matches!(self, Self::Items) { Self::Object } else { Self::Elsewhere };
        let mut all = Vec::new();
        while let Some(value) = items.next_element_seed(item)? {
            all.push(value);
        }
        Ok(Value::Array(all))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_object_is_read_without_what_its_writers_own() {
        let object = |managed: Value| {
            json!({
                "metadata": {"name": "a", "managedFields": managed, "labels": {"managedFields": "mine"}},
                "spec": {"metadata": {"managedFields": [1]}, "items": [{"metadata": {"managedFields": []}}]},
                "managedFields": [-1, 2.5, true, null, "x"],
            })
        };
        let full = object(json!([{"manager": "kubectl", "fieldsV1": {"f:spec": {}}}]));
        let mut lean = full.clone();
        strip(&mut lean);
        assert!(lean["metadata"].get("managedFields").is_none() && lean["metadata"]["name"] == "a");
        for (text, full, expected) in [
            (Text::Object, full.clone(), lean.clone()),
            (Text::List, json!({"kind": "L", "items": [full, 1]}), json!({"kind": "L", "items": [lean, 1]})),
            (Text::Event, json!({"type": "ADDED", "object": full}), json!({"type": "ADDED", "object": lean})),
            // What is of another shape stays what it is.
            (Text::Event, json!({"object": [full]}), json!({"object": [full]})),
            (Text::List, json!({"items": {"metadata": full}}), json!({"items": {"metadata": full}})),
            (Text::Object, json!({"metadata": [full]}), json!({"metadata": [full]})),
            (Text::Object, json!(-3), json!(-3)),
            (Text::Object, json!({"metadata": "text"}), json!({"metadata": "text"})),
        ] {
            let bytes = serde_json::to_vec(&full).expect("JSON");
            assert_eq!(read(&bytes, text).expect("JSON"), expected, "{text:?} {full}");
        }
        for broken in ["", "{", "{} {}", "{\"metadata\": {\"managedFields\": [}}", "[1, 2"] {
            assert!(read(broken.as_bytes(), Text::Object).is_err(), "{broken}");
        }
    }
}
