//! Tokens whose signature was verified: a signature costs more than everything else about a request.

use std::collections::HashMap;
use std::mem;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::Value;

/// Tokens of one generation. A claim set has about a kilobyte; two generations stay below ten megabytes.
pub(super) const TOKENS_MAX: usize = 4096;

/// Claims of verified tokens, by the SHA-256 of the token: the tokens themselves are not kept.
///
/// Only the signature is remembered. Whether a token has expired, and whether what it is bound to still lives, is
/// asked each time.
#[derive(Default)]
pub(super) struct Cache(Mutex<Generations>);

/// When the young generation is full it becomes the old one, and what was old and not asked for since is gone.
#[derive(Default)]
struct Generations {
    young: HashMap<Id, Arc<Value>>,
    old: HashMap<Id, Arc<Value>>,
}

type Id = [u8; 32];

impl Cache {
    /// The claims of a token that was verified before.
    pub(super) fn get(&self, token: &str) -> Option<Arc<Value>> {
        let id = id(token);
        let mut generations = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(claims) = generations.young.get(&id) {
            return Some(claims.clone());
        }
        let claims = generations.old.remove(&id)?;
        generations.put(id, claims.clone());
        Some(claims)
    }

    /// Remembers a token that was verified.
    pub(super) fn put(&self, token: &str, claims: Arc<Value>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).put(id(token), claims);
    }

    /// Forgets all: a key was taken away.
    pub(super) fn clear(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Generations::default();
    }
}

impl Generations {
    fn put(&mut self, id: Id, claims: Arc<Value>) {
        if self.young.len() >= TOKENS_MAX {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(id, claims);
    }
}

fn id(token: &str) -> Id {
    digest(&SHA256, token.as_bytes()).as_ref().try_into().expect("SHA-256 has 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_stays_and_there_is_an_end() {
        let cache = Cache::default();
        let claims = Arc::new(Value::Null);
        cache.put("kept", claims.clone());
        for at in 0..TOKENS_MAX * 3 {
            cache.put(&format!("token {at}"), claims.clone());
            if at % 1000 == 0 {
                assert!(cache.get("kept").is_some(), "{at}");
            }
        }
        assert!(cache.get("token 0").is_none());
        let generations = cache.0.lock().expect("no test has panicked with it");
        assert!(generations.young.len() <= TOKENS_MAX && generations.old.len() <= TOKENS_MAX);
        drop(generations);
        cache.clear();
        assert!(cache.get("kept").is_none());
    }
}
