//! The ConfigMaps and Secrets that pods of this node name, each followed once.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use serde_json::Value;
use shoal_base::drain::Drain;
use shoal_client::{Cache, Client, Contact, Select, kinds};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::pod::env::{Names, Source, Sources};

/// Follows objects for as long as somebody holds them.
pub(crate) struct Followers {
    client: Client,
    drain: Drain,
    live: Mutex<HashMap<Key, Weak<Followed>>>,
    /// Raised when any of them changes.
    changes: watch::Sender<u64>,
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
    config_maps: Vec<Arc<Followed>>,
    secrets: Vec<Arc<Followed>>,
}

impl Followers {
    pub(crate) fn new(client: Client, drain: Drain) -> Self {
        Self { client, drain, live: Mutex::default(), changes: watch::Sender::new(0) }
    }

    /// Raised when any object changes.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Follows what a pod names.
    pub(crate) fn hold(self: &Arc<Self>, namespace: &str, names: Names) -> Held {
        let follow = |source: Source, names: &[String]| {
            names.iter().map(|name| self.follow(source, namespace, name)).collect()
        };
        Held {
            namespace: namespace.into(),
            config_maps: follow(Source::ConfigMap, &names.config_maps),
            secrets: follow(Source::Secret, &names.secrets),
            names,
        }
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
        let (followed, all) = (cache.clone(), self.clone());
        let task = tokio::spawn(async move {
            let mut changes = followed.changes();
            let tell = async {
                while changes.changed().await.is_ok() {
                    all.changes.send_modify(|count| *count = count.wrapping_add(1));
                }
            };
            tokio::select! {
                () = followed.run(&all.drain) => {}
                () = tell => {}
            }
        });
        let followed = Arc::new(Followed { cache, _task: AbortOnDropHandle::new(task) });
        live.insert(key, Arc::downgrade(&followed));
        followed
    }
}

impl Held {
    /// What they are now; `saved` stands in for what cannot be read. None, with the reason if there is one: something
    /// has not been read yet, and is not saved.
    pub(crate) fn now(&self, saved: &Sources) -> Result<Sources, Option<String>> {
        let mut sources = Sources::default();
        let kinds = [
            (&self.names.config_maps, &self.config_maps, &saved.config_maps, &mut sources.config_maps),
            (&self.names.secrets, &self.secrets, &saved.secrets, &mut sources.secrets),
        ];
        for (names, all, saved, now) in kinds {
            for (name, followed) in names.iter().zip(all) {
                let known: Option<Arc<Value>> = match followed.cache.contact() {
                    Contact::Live | Contact::Lost(_) => followed.cache.get(&self.namespace, name),
                    Contact::Never => Some(saved.get(name).cloned().ok_or(None)?),
                    Contact::Failed(error) => {
                        Some(saved.get(name).cloned().ok_or_else(|| Some(error.to_string()))?)
                    }
                };
                now.extend(known.map(|object| (name.clone(), object)));
            }
        }
        Ok(sources)
    }
}
