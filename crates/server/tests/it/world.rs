//! Objects in memory, and an authenticator that looks at them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use http::HeaderMap;
use http::header::AUTHORIZATION;
use jiff::Timestamp;
use serde_json::{Value, json};
use shoal_api::Status;
use shoal_control::rbac::User;
use shoal_server::auth::{Authenticator, BoxFuture, Keys, Lookup, ServiceAccounts};

/// When the tests take place, in seconds since 1970.
pub(crate) const NOW: i64 = 1_800_000_000;
/// Who issues tokens of ServiceAccounts.
pub(crate) const ISSUER: &str = "https://kubernetes.default.svc";

/// Objects by resource, namespace and name.
#[derive(Clone, Default)]
pub(crate) struct World(Arc<Mutex<HashMap<[String; 3], Arc<Value>>>>);

impl World {
    /// A ServiceAccount `default/bot` with a pod on a node, and a secret.
    pub(crate) fn new() -> Self {
        let world = Self::default();
        world.put("serviceaccounts", "default", "bot", json!({}));
        world.put("pods", "default", "p", json!({"spec": {"serviceAccountName": "bot", "nodeName": "n1"}}));
        world.put("pods", "default", "other", json!({"spec": {"serviceAccountName": "default"}}));
        world.put("secrets", "default", "s", json!({}));
        world.put("nodes", "", "n1", json!({}));
        world
    }

    /// Puts an object; its uid is `NAME-uid` unless it has one.
    pub(crate) fn put(&self, resource: &str, namespace: &str, name: &str, mut object: Value) {
        let metadata = &mut object["metadata"];
        metadata["name"] = json!(name);
        metadata["namespace"] = json!(namespace);
        if metadata["uid"].is_null() {
            metadata["uid"] = json!(format!("{name}-uid"));
        }
        let key = [resource, namespace, name].map(String::from);
        self.0.lock().expect("no test panics with it").insert(key, Arc::new(object));
    }

    pub(crate) fn remove(&self, resource: &str, namespace: &str, name: &str) {
        let key = [resource, namespace, name].map(String::from);
        self.0.lock().expect("no test panics with it").remove(&key);
    }

    /// An authenticator that looks at these objects, with new keys.
    pub(crate) fn authenticator(&self) -> Authenticator {
        let accounts = Arc::new(ServiceAccounts::new(ISSUER, Keys::generate()));
        Authenticator::new(accounts, Arc::new(self.clone()))
    }
}

impl Lookup for World {
    fn get<'a>(
        &'a self,
        resource: &'a str,
        namespace: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<Arc<Value>>, Status>> {
        let key = [resource, namespace, name].map(String::from);
        let found = self.0.lock().expect("no test panics with it").get(&key).cloned();
        Box::pin(async { Ok(found) })
    }
}

pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).expect("a time")
}

/// Who shows this token, or the code of the refusal.
pub(crate) async fn shows(authenticator: &Authenticator, token: &str, now: i64) -> Result<User, u16> {
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, format!("Bearer {token}").parse().expect("a header"));
    authenticator.authenticate(None, &headers, "/api/v1/pods", at(now)).await.map_err(|status| status.code)
}

/// What a TokenReview says is wrong with the token; empty when it is right.
pub(crate) async fn wrong_with(authenticator: &Authenticator, token: &str, now: i64) -> String {
    let review = json!({"spec": {"token": token}});
    let answer = authenticator.review(&review, at(now)).await.expect("it holds a token");
    let error = answer["status"]["error"].as_str().unwrap_or_default();
    assert_eq!(answer["status"]["authenticated"] == true, error.is_empty(), "{answer}");
    assert!(!error.contains(token), "the answer repeats the token");
    error.to_string()
}
