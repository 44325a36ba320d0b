//! JSON web tokens (RFC 7519), read in two steps: which key would have signed it, and whether it did.

use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::Value;

/// Longest name of a key that is looked at.
const KEY_ID_BYTES_MAX: usize = 256;

/// What a token says of itself. Nothing of it may be believed but for choosing a key.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Unverified {
    /// `iss`.
    pub(super) issuer: String,
    /// `kid`; empty when there is none.
    pub(super) key_id: String,
    /// `alg`.
    pub(super) algorithm: Algorithm,
}

impl Unverified {
    /// Reads a token; none when it is no signed JSON web token.
    pub(super) fn read(token: &str) -> Option<Self> {
        // The library splits at the last two dots; a token has no more.
        if token.bytes().filter(|byte| *byte == b'.').count() != 2 {
            return None;
        }
        let data = jsonwebtoken::dangerous::insecure_decode::<Value>(token).ok()?;
        let key_id = data.header.kid.unwrap_or_default();
        if key_id.len() > KEY_ID_BYTES_MAX {
            return None;
        }
        let issuer = data.claims["iss"].as_str()?.to_string();
        Some(Self { issuer, key_id, algorithm: data.header.alg })
    }
}

/// The claims of a token that was signed with this key by this algorithm; none when it was not.
///
/// Times and audiences are not looked at: see [`check_times`].
pub(super) fn verify(token: &str, key: &DecodingKey, algorithm: Algorithm) -> Option<Value> {
    let mut validation = Validation::new(algorithm);
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    let claims = jsonwebtoken::decode::<Value>(token, key, &validation).ok()?.claims;
    claims.is_object().then_some(claims)
}

/// Whether `exp` is there and has not passed, and `nbf` and `iat` have come.
///
/// # Errors
/// With what is wrong: `expired`, `not valid yet`, …
pub(super) fn check_times(claims: &Value, now: i64, leeway_seconds: i64) -> Result<(), &'static str> {
    let time = |claim: &str| match &claims[claim] {
        Value::Null => Ok(None),
        Value::Number(number) => Ok(number.as_i64().or_else(|| whole(number.as_f64()?))),
        _ => Err("a time that is no number"),
    };
    match time("exp")? {
        None => return Err("no expiry"),
        Some(until) if now > until.saturating_add(leeway_seconds) => return Err("expired"),
        Some(_) => {}
    }
    if time("nbf")?.is_some_and(|from| now < from.saturating_sub(leeway_seconds)) {
        return Err("not valid yet");
    }
    if time("iat")?.is_some_and(|at| now < at.saturating_sub(leeway_seconds)) {
        return Err("issued in the future");
    }
    Ok(())
}

/// `aud` as a list: it may be one text.
pub(super) fn audiences(claims: &Value) -> Vec<&str> {
    match &claims["aud"] {
        Value::String(one) => vec![one],
        Value::Array(list) => list.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// A time with a fraction, without it.
fn whole(seconds: f64) -> Option<i64> {
    #[expect(clippy::cast_possible_truncation, reason = "the range is checked before")]
    (0.0..1e15).contains(&seconds).then_some(seconds as i64)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn times_are_checked_with_a_leeway() {
        for (claims, result) in [
            (json!({"exp": 100}), Ok(())),
            (json!({"exp": 40}), Ok(())),
            (json!({"exp": 39}), Err("expired")),
            (json!({"exp": 39.9}), Err("expired")),
            (json!({}), Err("no expiry")),
            (json!({"exp": "100"}), Err("a time that is no number")),
            (json!({"exp": 1e300}), Err("no expiry")),
            (json!({"exp": 200, "nbf": 160}), Ok(())),
            (json!({"exp": 200, "nbf": 161}), Err("not valid yet")),
            (json!({"exp": 200, "iat": 161}), Err("issued in the future")),
            (json!({"exp": i64::MAX, "nbf": i64::MIN}), Ok(())),
        ] {
            assert_eq!(check_times(&claims, 100, 60), result, "{claims}");
        }
    }

    #[test]
    fn what_is_no_token_is_not_read() {
        for token in
            ["", ".", "..", "a.b.c", "e30.e30.", "a.eyJhIjoxfQ.b.c", "eyJhbGciOiJub25lIn0.eyJpc3MiOiJ4In0."]
        {
            assert_eq!(Unverified::read(token), None, "{token}");
        }
    }
}
