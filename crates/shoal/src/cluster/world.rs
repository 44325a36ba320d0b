//! The objects of some kinds, followed for as long as a verb looks at them.

use std::future::Future;
use std::pin::pin;

use futures_util::future::{Either, join_all, select, select_all};
use serde_json::Value;
use shoal_base::drain::Drain;
use shoal_cli::Exit;
use shoal_client::{Cache, Client, Contact, Resource, Select};
use tokio::sync::watch;

use super::failed;

/// Objects of some kinds, at hand.
pub(crate) struct World(Vec<(Resource, Cache)>);

/// Tells when something has changed.
pub(crate) struct Changes(Vec<watch::Receiver<u64>>);

impl World {
    /// All objects of these kinds in a namespace, or in all when it is empty. There are none until it runs.
    pub(crate) fn new(client: &Client, namespace: &str, kinds: &[Resource]) -> Self {
        let cache = |of: &Resource| Cache::new(client.clone(), of.clone(), namespace, Select::default());
        Self(kinds.iter().map(|of| (of.clone(), cache(of))).collect())
    }

    /// Those of one kind that are selected.
    pub(crate) fn selected(client: &Client, namespace: &str, of: Resource, select: Select) -> Self {
        let cache = Cache::new(client.clone(), of.clone(), namespace, select);
        Self(vec![(of, cache)])
    }

    /// Follows the objects while the work is done.
    pub(crate) async fn run<T>(&self, work: impl Future<Output = T>) -> T {
        let drain = Drain::new();
        let follow = pin!(join_all(self.0.iter().map(|(_, cache)| cache.run(&drain))));
        match select(pin!(work), follow).await {
            Either::Left((result, _)) => result,
            Either::Right((_, work)) => work.await,
        }
    }

    /// Waits until there is what there was at the beginning. A kind that the API does not have, or that may not be read, has no
    /// objects.
    pub(crate) async fn read(&self) -> Result<(), Exit> {
        for (of, cache) in &self.0 {
            let mut changes = cache.changes();
            loop {
                match cache.contact() {
                    Contact::Live | Contact::Lost(_) => break,
                    Contact::Failed(error) if matches!(error.code(), 403 | 404) => break,
                    Contact::Failed(error) => {
                        return Err(failed(format_args!("cannot list {}", of.plural), &error));
                    }
                    // Its sender lives as long as the cache.
                    Contact::Never => drop(changes.changed().await),
                }
            }
        }
        Ok(())
    }

    /// The objects of a kind.
    pub(crate) fn all(&self, of: &Resource) -> Vec<Value> {
        self.cache(of).map(Cache::all).unwrap_or_default().iter().map(|object| (**object).clone()).collect()
    }

    /// An object.
    pub(crate) fn get(&self, of: &Resource, namespace: &str, name: &str) -> Option<Value> {
        self.cache(of)?.get(namespace, name).map(|object| (*object).clone())
    }

    /// Tells when something changes from now on.
    pub(crate) fn changes(&self) -> Changes {
        Changes(self.0.iter().map(|(_, cache)| cache.changes()).collect())
    }

    fn cache(&self, of: &Resource) -> Option<&Cache> {
        self.0.iter().find(|(known, _)| known == of).map(|(_, cache)| cache)
    }
}

impl Changes {
    /// Waits until something has changed since the last time.
    pub(crate) async fn next(&mut self) {
        let changed = self.0.iter_mut().map(|receiver| Box::pin(receiver.changed()));
        // Senders live as long as the world that this is borrowed from in time.
        drop(select_all(changed).await);
        for receiver in &mut self.0 {
            receiver.mark_unchanged();
        }
    }
}
