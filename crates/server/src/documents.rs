//! What a server tells about what it serves: discovery and OpenAPI. Each document is made when it is first asked for,
//! and kept for as long as the same resources are served.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, ETAG, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED, VARY};
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::Value;
use shoal_api::discovery::{self, Form, Root};
use shoal_api::resources::Resource;
use shoal_api::{GroupVersion, openapi};

use crate::answer::{self, Answer};
use crate::media::JSON;

/// The documents of one set of resources.
pub struct Documents {
    resources: Vec<Resource>,
    /// OpenAPI schemas of custom resources, by group and version.
    custom: Vec<openapi::Custom>,
    made: Mutex<HashMap<(String, Kind), Arc<Document>>>,
}

/// Which form of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Plain,
    V2,
    V2Beta1,
    Protobuf,
}

struct Document {
    /// When it was made, in seconds since 1970.
    made: i64,
    bytes: Bytes,
    media_type: &'static str,
    etag: String,
}

const V2: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
const V2_BETA1: &str = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";

impl Documents {
    /// The documents of these resources.
    pub fn new(resources: Vec<Resource>, custom: Vec<openapi::Custom>) -> Self {
        Self { resources, custom, made: Mutex::default() }
    }

    /// The document at a path; none: there is none. `address` is where clients reach the server.
    /// `is_fixed`: the client asked for this content by its hash, and may keep it.
    pub fn answer(&self, path: &str, is_fixed: bool, headers: &HeaderMap, address: &str) -> Option<Answer> {
        let accept =
            headers.get(http::header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let path = path.trim_end_matches('/');
        let kind = kind(path, accept);
        let known = self.made.lock().get(&(path.to_owned(), kind)).cloned();
        let document = match known {
            Some(document) => document,
            None => {
                let document = Arc::new(self.make(path, kind, address)?);
                self.made.lock().insert((path.to_owned(), kind), document.clone());
                document
            }
        };
        let answer = document.answer(headers);
        Some(if is_fixed { answer::with_header(answer, CACHE_CONTROL, "public, immutable") } else { answer })
    }

    fn make(&self, path: &str, kind: Kind, address: &str) -> Option<Document> {
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        match (parts.as_slice(), kind) {
            (["api"], Kind::Plain) => json(&discovery::api_versions(&self.resources, address)),
            (["api"], kind) => self.aggregated(Root::Core, kind),
            (["apis"], Kind::Plain) => json(&discovery::group_list(&self.resources)),
            (["apis"], kind) => self.aggregated(Root::Named, kind),
            (["api", version], _) => {
                json(&discovery::resource_list(&self.resources, &GroupVersion::new("", version))?)
            }
            (["apis", group], _) => json(&discovery::group(&self.resources, group)?),
            (["apis", group, version], _) => {
                json(&discovery::resource_list(&self.resources, &GroupVersion::new(group, version))?)
            }
            (["openapi", "v2"], Kind::Protobuf) => {
                let bytes = openapi::v2_protobuf(&openapi::v2(&self.served()));
                Some(Document::new(bytes, openapi::V2_PROTOBUF))
            }
            (["openapi", "v2"], _) => json(&openapi::v2(&self.served())),
            // Kubernetes calls its index text, and clients expect no more.
            (["openapi", "v3"], _) => {
                let index = serde_json::to_vec(&openapi::v3_index(&self.served())).ok()?;
                Some(Document::new(index, "text/plain; charset=utf-8"))
            }
            (["openapi", "v3", "api", version], _) => {
                json(&openapi::v3(&self.served(), &GroupVersion::new("", version))?)
            }
            (["openapi", "v3", "apis", group, version], _) => {
                json(&openapi::v3(&self.served(), &GroupVersion::new(group, version))?)
            }
            _ => None,
        }
    }

    fn served(&self) -> openapi::Served<'_> {
        openapi::Served { resources: &self.resources, custom: &self.custom }
    }

    fn aggregated(&self, root: Root, kind: Kind) -> Option<Document> {
        let (form, media_type) = if kind == Kind::V2 { (Form::V2, V2) } else { (Form::V2Beta1, V2_BETA1) };
        let value = discovery::aggregated(&self.resources, root, form);
        Some(Document::new(serde_json::to_vec(&value).ok()?, media_type))
    }
}

fn kind(path: &str, accept: &str) -> Kind {
    match path {
        "/api" | "/apis" => accept
            .split(',')
            .map(str::trim)
            .find_map(|clause| {
                let has = |part: &str| clause.split(';').any(|one| one.trim() == part);
                match clause {
                    _ if has("as=APIGroupDiscoveryList") && has("v=v2") => Some(Kind::V2),
                    _ if has("as=APIGroupDiscoveryList") && has("v=v2beta1") => Some(Kind::V2Beta1),
                    _ if clause.starts_with("application/json") && !has("as=APIGroupDiscoveryList") => {
                        Some(Kind::Plain)
                    }
                    _ => None,
                }
            })
            .unwrap_or(Kind::Plain),
        "/openapi/v2" if accept.contains(openapi::V2_PROTOBUF_ASKED) => Kind::Protobuf,
        _ => Kind::Plain,
    }
}

fn json(value: &Value) -> Option<Document> {
    Some(Document::new(serde_json::to_vec(value).ok()?, JSON))
}

impl Document {
    fn new(bytes: Vec<u8>, media_type: &'static str) -> Self {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &bytes);
        let etag = digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect::<String>();
        let etag = format!("\"{etag}\"");
        Self { made: Timestamp::now().as_second(), bytes: bytes.into(), media_type, etag }
    }

    fn answer(&self, headers: &HeaderMap) -> Answer {
        let asked = headers.get(IF_NONE_MATCH).and_then(|value| value.to_str().ok());
        let is_known = asked.is_some_and(|asked| {
            asked.split(',').any(|one| one.trim().trim_start_matches("W/") == self.etag)
        });
        let is_known = is_known || (asked.is_none() && self.is_old(headers));
        let answer = if is_known {
            answer::without_body(StatusCode::NOT_MODIFIED)
        } else {
            answer::bytes(StatusCode::OK, self.media_type, self.bytes.clone())
        };
        let answer = answer::with_header(answer, LAST_MODIFIED, &http_date(self.made));
        answer::with_header(answer::with_header(answer, ETAG, &self.etag), VARY, "Accept")
    }

    /// Whether the client has it since it was made, as it says by a time.
    fn is_old(&self, headers: &HeaderMap) -> bool {
        let since = headers.get(IF_MODIFIED_SINCE).and_then(|value| value.to_str().ok());
        let since = since.and_then(|text| jiff::fmt::rfc2822::parse(text).ok());
        since.is_some_and(|since| self.made <= since.timestamp().as_second())
    }
}

/// A time as HTTP writes it.
fn http_date(seconds: i64) -> String {
    let time = Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH);
    time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn what_a_client_has_already_is_not_sent_again() {
        let mut document = Document::new(b"{}".to_vec(), JSON);
        document.made = 1_700_000_000;
        let answered = |name, value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_str(value).expect("a value"));
            document.answer(&headers)
        };
        let whole = document.answer(&HeaderMap::new());
        assert_eq!(whole.headers()[LAST_MODIFIED], "Tue, 14 Nov 2023 22:13:20 GMT");
        for (name, value, code) in [
            (IF_NONE_MATCH, document.etag.as_str(), 304),
            (IF_NONE_MATCH, "\"x\"", 200),
            (IF_MODIFIED_SINCE, "Tue, 14 Nov 2023 22:13:20 GMT", 304),
            (IF_MODIFIED_SINCE, "Tue, 14 Nov 2023 22:13:19 GMT", 200),
            (IF_MODIFIED_SINCE, "yesterday", 200),
        ] {
            let answer = answered(name, value);
            assert_eq!(answer.status().as_u16(), code, "{value}");
            assert_eq!(answer.headers().contains_key(http::header::CONTENT_TYPE), code == 200);
        }
    }
}
