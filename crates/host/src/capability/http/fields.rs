//! `fields`: header and trailer lists, shared until someone writes.

use std::sync::Arc;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

/// A header or trailer list as a guest holds it.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    map: Arc<HeaderMap>,
    immutable: bool,
    size_bytes: usize,
}

/// Why a change of fields was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FieldError {
    /// The list belongs to a message that was received or sent.
    Immutable,
    /// The name or value is not allowed in HTTP.
    Syntax,
    /// The field belongs to the connection, which is the host's.
    Forbidden,
    /// The list would outgrow its limit, in bytes.
    TooLarge(usize),
}

/// Fields that belong to a connection, not to a message (RFC 9110 §7.6.1), and `host`, which the URI's
/// authority replaces.
static CONNECTION_FIELDS: [HeaderName; 10] = [
    header::CONNECTION,
    header::HOST,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::TE,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("http2-settings"),
];

/// What HTTP/2 counts for a field beside its name and value (RFC 9113 §6.5.2).
const FIELD_OVERHEAD_BYTES: usize = 32;

impl Fields {
    /// Fields of a message that came in: nobody may change them.
    pub(crate) fn received(mut headers: HeaderMap) -> Self {
        remove_connection_fields(&mut headers);
        Self { map: Arc::new(headers), immutable: true, size_bytes: 0 }
    }

    /// The same fields, no longer changeable: their message is under way.
    pub(crate) fn frozen(&self) -> Self {
        Self { immutable: true, ..self.clone() }
    }

    /// The list itself.
    pub(crate) fn map(&self) -> &HeaderMap {
        &self.map
    }

    /// The list, copied only if a guest still shares it.
    pub(crate) fn into_map(self) -> HeaderMap {
        Arc::try_unwrap(self.map).unwrap_or_else(|shared| (*shared).clone())
    }

    /// A changeable copy.
    pub(crate) fn editable(&self) -> Self {
        Self { map: self.map.clone(), immutable: false, size_bytes: list_size(&self.map) }
    }

    /// Adds a field after those of the same name.
    pub(crate) fn append(
        &mut self,
        name: &str,
        value: Vec<u8>,
        limit_bytes: usize,
    ) -> Result<(), FieldError> {
        let name = self.editable_name(name)?;
        let value = field_value(&name, value)?;
        self.add(name, value, limit_bytes)
    }

    /// Replaces all fields of this name.
    pub(crate) fn set(
        &mut self,
        name: &str,
        values: Vec<Vec<u8>>,
        limit_bytes: usize,
    ) -> Result<(), FieldError> {
        let name = self.editable_name(name)?;
        let mut values = values.into_iter().map(|value| field_value(&name, value));
        // Nearly always it is one value: no list is made for that.
        let first = values.next().transpose()?;
        let others: Vec<_> = values.collect::<Result<_, _>>()?;
        self.remove(&name);
        first.into_iter().chain(others).try_for_each(|value| self.add(name.clone(), value, limit_bytes))
    }

    /// Removes all fields of this name.
    pub(crate) fn delete(&mut self, name: &str) -> Result<(), FieldError> {
        let name = self.editable_name(name)?;
        self.remove(&name);
        Ok(())
    }

    /// The name of a field that a guest may change in this list.
    fn editable_name(&self, name: &str) -> Result<HeaderName, FieldError> {
        if self.immutable { Err(FieldError::Immutable) } else { field_name(name) }
    }

    fn remove(&mut self, name: &HeaderName) {
        if self.map.contains_key(name) {
            let map = Arc::make_mut(&mut self.map);
            map.remove(name);
            self.size_bytes = list_size(map);
        }
    }

    fn add(&mut self, name: HeaderName, value: HeaderValue, limit_bytes: usize) -> Result<(), FieldError> {
        let size = self.size_bytes + field_size(&name, &value);
        if size > limit_bytes {
            return Err(FieldError::TooLarge(limit_bytes));
        }
        self.size_bytes = size;
        Arc::make_mut(&mut self.map).append(name, value);
        Ok(())
    }
}

/// Removes what belongs to the connection.
pub(crate) fn remove_connection_fields(headers: &mut HeaderMap) {
    // Most messages have none of them: one look at the fields that are there tells.
    if headers.keys().any(|name| CONNECTION_FIELDS.contains(name)) {
        CONNECTION_FIELDS.iter().for_each(|name| drop(headers.remove(name)));
    }
}

/// The declared length of a body, if there is one and it is a number.
pub(crate) fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH).and_then(content_length_of)
}

fn content_length_of(value: &HeaderValue) -> Option<u64> {
    let text = value.to_str().ok()?;
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

fn field_name(name: &str) -> Result<HeaderName, FieldError> {
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| FieldError::Syntax)?;
    if CONNECTION_FIELDS.contains(&name) { Err(FieldError::Forbidden) } else { Ok(name) }
}

fn field_value(name: &HeaderName, value: Vec<u8>) -> Result<HeaderValue, FieldError> {
    let value = HeaderValue::from_maybe_shared(bytes::Bytes::from(value)).map_err(|_| FieldError::Syntax)?;
    if *name == header::CONTENT_LENGTH && content_length_of(&value).is_none() {
        return Err(FieldError::Syntax);
    }
    Ok(value)
}

fn field_size(name: &HeaderName, value: &HeaderValue) -> usize {
    name.as_str().len() + value.len() + FIELD_OVERHEAD_BYTES
}

fn list_size(map: &HeaderMap) -> usize {
    map.iter().map(|(name, value)| field_size(name, value)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 1024;

    #[test]
    fn what_was_received_cannot_be_changed_and_has_no_connection_fields() {
        let mut headers = HeaderMap::new();
        headers.insert("connection", HeaderValue::from_static("close"));
        headers.insert("host", HeaderValue::from_static("shop.test"));
        headers.insert("accept", HeaderValue::from_static("*/*"));
        let mut fields = Fields::received(headers);
        assert_eq!(fields.map().len(), 1);
        assert_eq!(fields.append("a", b"b".to_vec(), LIMIT), Err(FieldError::Immutable));
        assert_eq!(fields.delete("accept"), Err(FieldError::Immutable));
        assert_eq!(fields.editable().append("a", b"b".to_vec(), LIMIT), Ok(()));
    }

    #[test]
    fn a_guest_cannot_smuggle_through_a_field() {
        let mut fields = Fields::default();
        for (name, value, wrong) in [
            ("transfer-encoding", "chunked", FieldError::Forbidden),
            ("Connection", "close", FieldError::Forbidden),
            ("x y", "1", FieldError::Syntax),
            ("x", "a\r\nset-cookie: b", FieldError::Syntax),
            ("x", "a\0b", FieldError::Syntax),
            ("content-length", "+5", FieldError::Syntax),
            ("content-length", "5, 5", FieldError::Syntax),
        ] {
            assert_eq!(fields.append(name, value.into(), LIMIT), Err(wrong), "{name}: {value}");
        }
        assert!(fields.map().is_empty());
    }

    #[test]
    fn the_list_has_a_limit() {
        let mut fields = Fields::default();
        let fits = vec![b'a'; LIMIT - FIELD_OVERHEAD_BYTES - 1];
        assert_eq!(fields.append("x", fits, LIMIT), Ok(()));
        assert_eq!(fields.append("y", Vec::new(), LIMIT), Err(FieldError::TooLarge(LIMIT)));
        assert_eq!(fields.set("x", vec![b"small".to_vec()], LIMIT), Ok(()));
        assert_eq!(fields.append("y", Vec::new(), LIMIT), Ok(()), "a deleted field gives its room back");
    }
}
