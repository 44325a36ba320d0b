//! Where a page of a list ends, as the token that the next one is asked with.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use shoal_api::Status;
use shoal_store::Revision;

/// What a `continue` token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Continue {
    /// The revision of the first page; none: whatever is newest, after the first's was compacted.
    pub revision: Option<Revision>,
    /// The last key of the page before, without the prefix of the list.
    pub after: String,
    /// Objects after the page before, if that was known: the list is of one revision, so counting once is enough.
    pub remaining: Option<u64>,
}

impl Continue {
    /// As clients carry it.
    pub(crate) fn encode(&self) -> String {
        let revision = self.revision.map_or(json!(-1), |revision| json!(revision.0));
        // A key is continued after by asking for what begins with it and a zero byte, as Kubernetes says it.
        let start = format!("{}\u{0}", self.after);
        let mut token = json!({"v": "meta.k8s.io/v1", "rv": revision, "start": start});
        if let Some(remaining) = self.remaining {
            token["remaining"] = remaining.into();
        }
        URL_SAFE_NO_PAD.encode(token.to_string())
    }

    /// From what a client carried back.
    ///
    /// # Errors
    /// 400: it is no token of ours.
    pub(crate) fn decode(token: &str) -> Result<Self, Status> {
        let bad =
            || Status::bad_request("continue key is not valid: it must be the one that the server gave");
        let bytes = URL_SAFE_NO_PAD.decode(token.trim_end_matches('=')).map_err(|_| bad())?;
        let token: Value = serde_json::from_slice(&bytes).map_err(|_| bad())?;
        let start = token["start"].as_str().ok_or_else(bad)?;
        let after = start.strip_suffix('\u{0}').filter(|after| !after.is_empty()).ok_or_else(bad)?;
        let revision = match token["rv"].as_i64().ok_or_else(bad)? {
            -1 => None,
            revision => Some(Revision(u64::try_from(revision).ok().filter(|r| *r > 0).ok_or_else(bad)?)),
        };
        if token["v"] != "meta.k8s.io/v1" {
            return Err(bad());
        }
        Ok(Self { revision, after: after.into(), remaining: token["remaining"].as_u64() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_comes_back_as_it_went() {
        for (revision, remaining) in [(Some(Revision(12)), Some(3)), (None, None)] {
            let token = Continue { revision, after: "default/a".into(), remaining };
            assert_eq!(Continue::decode(&token.encode()), Ok(token));
        }
        for wrong in
            ["", "%", "e30", &URL_SAFE_NO_PAD.encode(r#"{"v":"meta.k8s.io/v1","rv":0,"start":"a\u0000"}"#)]
        {
            assert_eq!(Continue::decode(wrong).expect_err("no token").code, 400, "{wrong}");
        }
    }
}
