//! The ConfigMaps and Secrets that pods of this node name, each followed once.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use futures_util::future::select_all;
use parking_lot::Mutex;
use serde_json::Value;
use shoal_base::drain::Drain;
use shoal_client::{Cache, Client, Contact, Select, kinds};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::pod::env::{self, Names, Source, Sources};

/// Follows objects for as long as somebody holds them.
pub(crate) struct Followers {
    client: Client,
    drain: Drain,
    live: Mutex<HashMap<Key, Weak<Followed>>>,
}

type Key = (bool, String, String);

/// One object that is followed.
pub(crate) struct Followed {
    cache: Cache,
    _task: AbortOnDropHandle<()>,
}

/// What a pod names, followed.
pub(crate) struct Held {
    namespace: String,
    names: Names,
    /// Those that may not be missing.
    needed: Names,
    config_maps: Vec<Arc<Followed>>,
    secrets: Vec<Arc<Followed>>,
    /// Of each of them.
    changes: Vec<watch::Receiver<u64>>,
}

impl Followers {
    pub(crate) fn new(client: Client, drain: Drain) -> Self {
        Self { client, drain, live: Mutex::default() }
    }

    /// Follows what a pod names.
    pub(crate) fn hold(self: &Arc<Self>, namespace: &str, pod: &Value) -> Held {
        let names = env::names(pod);
        let follow = |source: Source, names: &[String]| -> Vec<_> {
            names.iter().map(|name| self.follow(source, namespace, name)).collect()
        };
        let config_maps = follow(Source::ConfigMap, &names.config_maps);
        let secrets = follow(Source::Secret, &names.secrets);
        let changes = config_maps.iter().chain(&secrets).map(|followed| followed.cache.changes()).collect();
        Held { namespace: namespace.into(), config_maps, secrets, names, needed: env::needed(pod), changes }
    }

    fn follow(self: &Arc<Self>, source: Source, namespace: &str, name: &str) -> Arc<Followed> {
        let key = (source == Source::Secret, namespace.to_owned(), name.to_owned());
        let mut live = self.live.lock();
        if let Some(followed) = live.get(&key).and_then(Weak::upgrade) {
            return followed;
        }
        live.retain(|_, followed| followed.strong_count() > 0);
        let of = match source {
            Source::ConfigMap => kinds::CONFIG_MAPS,
            Source::Secret => kinds::SECRETS,
        };
        let cache = Cache::new(self.client.clone(), of, namespace, Select::named(name));
        let (followed, drain) = (cache.clone(), self.drain.clone());
        let task = tokio::spawn(async move { followed.run(&drain).await });
        let followed = Arc::new(Followed { cache, _task: AbortOnDropHandle::new(task) });
        live.insert(key, Arc::downgrade(&followed));
        followed
    }
}

impl Held {
    /// Resolves when one of them has changed.
    pub(crate) async fn changed(&mut self) {
        let changes: Vec<_> = self.changes.iter_mut().map(|changes| Box::pin(changes.changed())).collect();
        if changes.is_empty() {
            return std::future::pending().await;
        }
        // An error would mean that nobody follows it any more, and it is followed as long as it is held.
        drop(select_all(changes).await.0);
    }

    /// What they are now; `saved` stands in for what cannot be read, and where `is_all` it was all that was there: what may
    /// be missing is not waited for, then. None, with the reason if there is one: something has not been read yet, and is
    /// not saved.
    pub(crate) fn now(&self, saved: &Sources, is_all: bool) -> Result<Sources, Option<String>> {
        let mut sources = Sources::default();
        let kinds = [
            (
                (&self.names.config_maps, &self.needed.config_maps),
                &self.config_maps,
                &saved.config_maps,
                &mut sources.config_maps,
            ),
            (
                (&self.names.secrets, &self.needed.secrets),
                &self.secrets,
                &saved.secrets,
                &mut sources.secrets,
            ),
        ];
        for ((names, needed), all, saved, now) in kinds {
            for (name, followed) in names.iter().zip(all) {
                let why = match followed.cache.contact() {
                    Contact::Live | Contact::Lost(_) => {
                        now.extend(
                            followed.cache.get(&self.namespace, name).map(|object| (name.clone(), object)),
                        );
                        continue;
                    }
                    Contact::Never => None,
                    Contact::Failed(error) => Some(error.to_string()),
                };
                match saved.get(name) {
                    Some(object) => drop(now.insert(name.clone(), object.clone())),
                    None if is_all && !needed.contains(name) => {}
                    None => return Err(why),
                }
            }
        }
        Ok(sources)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt as _;
    use serde_json::json;
    use shoal_client::fake::Fake;

    use super::*;

    const WITHIN: Duration = Duration::from_secs(20);

    fn pod(map: &str) -> Value {
        json!({"spec": {"containers": [{"envFrom": [{"configMapRef": {"name": map}}]}]}})
    }

    async fn until_read(held: &mut Held) -> Sources {
        let read = async {
            loop {
                if let Ok(sources) = held.now(&Sources::default(), false) {
                    return sources;
                }
                held.changed().await;
            }
        };
        tokio::time::timeout(WITHIN, read).await.expect("it is read")
    }

    #[tokio::test]
    async fn a_change_wakes_those_who_hold_it_and_nobody_else() {
        let api = Fake::new();
        let followers = Arc::new(Followers::new(api.client(), Drain::new()));
        let (mut one, mut other) = (followers.hold("shop", &pod("a")), followers.hold("shop", &pod("b")));
        let mut none = followers.hold("shop", &json!({}));
        assert_eq!(until_read(&mut one).await, Sources::default());
        until_read(&mut other).await;
        // What came while it was read.
        while one.changed().now_or_never().is_some() || other.changed().now_or_never().is_some() {}
        let map =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "shop"}});
        api.client().create(&kinds::CONFIG_MAPS, &map).await.expect("made");
        tokio::time::timeout(WITHIN, one.changed()).await.expect("it is told");
        assert!(one.now(&Sources::default(), false).is_ok_and(|now| now.config_maps.contains_key("a")));
        assert!(other.changed().now_or_never().is_none() && none.changed().now_or_never().is_none());
    }

    #[tokio::test]
    async fn what_may_be_missing_is_not_waited_for_without_the_api() {
        let api = Fake::new();
        api.set_away(true);
        let followers = Arc::new(Followers::new(api.client(), Drain::new()));
        let mut pod = pod("a");
        let held = followers.hold("shop", &pod);
        assert!(held.now(&Sources::default(), true).is_err(), "it is needed");
        pod["spec"]["containers"][0]["envFrom"][0]["configMapRef"]["optional"] = json!(true);
        let held = followers.hold("shop", &pod);
        assert_eq!(held.now(&Sources::default(), true), Ok(Sources::default()));
        assert!(held.now(&Sources::default(), false).is_err(), "nobody knows whether there is one");
        let saved =
            Sources { config_maps: [("a".to_owned(), Arc::new(json!({})))].into(), ..Sources::default() };
        assert_eq!(held.now(&saved, true), Ok(saved.clone()), "what is saved stands in");
    }
}
