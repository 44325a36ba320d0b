//! The objects of some kinds, followed for as long as a verb looks at them.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;

use futures_util::future::{Either, join_all, select, select_all};
use serde_json::Value;
use shoal_base::drain::Drain;
use shoal_cli::Exit;
use shoal_client::{Cache, Client, Contact, Error, Resource, Select};
use tokio::sync::watch;

use super::failed;

/// Objects of some kinds, at hand.
pub(crate) struct World(Vec<Followed>);

/// The objects of a kind, of one namespace or of all.
struct Followed {
    of: Resource,
    cache: Cache,
    /// Whether the verb can do without it where it may not be read.
    is_optional: bool,
}

/// Tells when something has changed.
pub(crate) struct Changes(Vec<watch::Receiver<u64>>);

impl World {
    /// All objects of these kinds in some namespaces; `""` is all of them. There are none until it runs. `optional` are kinds
    /// that may be left out where they may not be read.
    pub(crate) fn new(
        client: &Client,
        namespaces: &[&str],
        kinds: &[Resource],
        optional: &[Resource],
    ) -> Self {
        let followed = |of: &Resource, is_optional: bool| {
            // Objects without a namespace are followed once.
            let places = if of.is_namespaced { namespaces } else { &[""] };
            let cache = |place: &&str| Cache::new(client.clone(), of.clone(), place, Select::default());
            let all = places.iter().map(cache);
            all.map(|cache| Followed { of: of.clone(), cache, is_optional }).collect::<Vec<_>>()
        };
        let needed = kinds.iter().flat_map(|of| followed(of, false));
        Self(needed.chain(optional.iter().flat_map(|of| followed(of, true))).collect())
    }

    /// Those of one kind that are selected.
    pub(crate) fn selected(client: &Client, namespace: &str, of: Resource, select: Select) -> Self {
        let cache = Cache::new(client.clone(), of.clone(), namespace, select);
        Self(vec![Followed { of, cache, is_optional: false }])
    }

    /// Follows the objects while the work is done.
    pub(crate) async fn run<T>(&self, work: impl Future<Output = T>) -> T {
        let drain = Drain::new();
        let follow = pin!(join_all(self.0.iter().map(|one| one.cache.run(&drain))));
        match select(pin!(work), follow).await {
            Either::Left((result, _)) => result,
            Either::Right((_, work)) => work.await,
        }
    }

    /// Waits until there is what there was at the beginning. A kind that the API does not have has no objects. The result are
    /// those that may not be read and that the verb can do without.
    ///
    /// # Errors
    /// A kind cannot be read: nobody knows what there is of it.
    pub(crate) async fn read(&self) -> Result<Vec<Resource>, Exit> {
        let mut left_out = Vec::new();
        for Followed { of, cache, is_optional } in &self.0 {
            let mut changes = cache.changes();
            loop {
                match cache.contact() {
                    Contact::Live | Contact::Lost(_) => break,
                    Contact::Failed(error) if error.is_not_found() => break,
                    Contact::Failed(error) if *is_optional && error.code() == 403 => {
                        left_out.push(of.clone());
                        break;
                    }
                    Contact::Failed(error) => return Err(unlisted(of, &error)),
                    // Its sender lives as long as the cache.
                    Contact::Never => drop(changes.changed().await),
                }
            }
        }
        Ok(left_out)
    }

    /// Why it is not known any more whether there is what there was; none: it is.
    pub(crate) fn lost(&self) -> Option<Error> {
        self.0.iter().find_map(|one| match one.cache.contact() {
            Contact::Lost(error) => Some(error),
            _ => None,
        })
    }

    /// The objects of a kind.
    pub(crate) fn all(&self, of: &Resource) -> Vec<Arc<Value>> {
        self.of(of).flat_map(Cache::all).collect()
    }

    /// An object.
    pub(crate) fn get(&self, of: &Resource, namespace: &str, name: &str) -> Option<Arc<Value>> {
        self.of(of).find_map(|cache| cache.get(namespace, name))
    }

    /// Tells when something changes from now on.
    pub(crate) fn changes(&self) -> Changes {
        Changes(self.0.iter().map(|one| one.cache.changes()).collect())
    }

    fn of<'a>(&'a self, of: &Resource) -> impl Iterator<Item = &'a Cache> {
        self.0.iter().filter(move |one| one.of == *of).map(|one| &one.cache)
    }
}

/// The objects of a kind cannot be read.
pub(crate) fn unlisted(of: &Resource, error: &Error) -> Exit {
    failed(format_args!("cannot list {}", of.plural), error)
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

#[cfg(test)]
mod tests {
    use serde_json::json;
    use shoal_cli::exit;
    use shoal_client::kinds;

    use super::*;
    use crate::cluster::testing::{Api, refused};

    /// An API in which nobody may list these, and which does not have those.
    fn api(forbidden: &'static str, missing: &'static str) -> Api {
        Api::new(move |request| {
            let path = request.uri().path();
            let is = |plural: &str| !plural.is_empty() && path.ends_with(plural);
            (is(forbidden).then_some(403)).or(is(missing).then_some(404)).map(refused)
        })
    }

    async fn read(world: &World) -> Result<Vec<Resource>, Exit> {
        world.run(world.read()).await
    }

    #[tokio::test]
    async fn what_may_not_be_read_is_not_nothing() {
        let both = [kinds::DEPLOYMENTS, kinds::EVENTS];
        let client = api("/events", "/apps").client();
        let all = |needed: &[Resource], optional: &[Resource]| World::new(&client, &[""], needed, optional);
        let Err(exit) = read(&all(&both, &[])).await else { panic!("events may not be read") };
        assert_eq!(exit.code(), exit::UNAVAILABLE);
        assert!(format!("{exit:?}").contains("cannot list events: no"), "{exit:?}");
        let left_out = read(&all(&both[..1], &both[1..])).await;
        assert_eq!(left_out, Ok(vec![kinds::EVENTS]));
        assert_eq!(read(&all(&[kinds::APPS], &[])).await, Ok(Vec::new()), "a kind that nobody has defined");
    }

    #[tokio::test]
    async fn an_api_that_is_away_is_told_from_one_where_nothing_happens() {
        let api = api("", "");
        let world = World::new(&api.client(), &[""], &[kinds::PODS], &[]);
        let lost = world.run(async {
            world.read().await?;
            let mut changes = world.changes();
            assert_eq!(world.lost(), None);
            api.fake.set_away(true);
            while world.lost().is_none() {
                changes.next().await;
            }
            Ok::<_, Exit>(world.lost().map(|error| error.code()))
        });
        let lost = tokio::time::timeout(std::time::Duration::from_secs(30), lost).await;
        assert_eq!(lost.expect("it is said"), Ok(Some(0)));
    }

    #[tokio::test]
    async fn each_namespace_is_read_by_itself() {
        let api = Api::new(|request| {
            // Who has rights in two namespaces may not list all.
            request.uri().path().ends_with("/v1/pods").then(|| refused(403))
        });
        for namespace in ["a", "b", "c"] {
            let pod = json!({"metadata": {"name": "shop", "namespace": namespace}});
            api.client().create(&kinds::PODS, &pod).await.expect("a pod");
        }
        let world = World::new(&api.client(), &["a", "b"], &[kinds::PODS], &[]);
        let seen = world.run(async {
            world.read().await?;
            let is_there = |namespace| world.get(&kinds::PODS, namespace, "shop").is_some();
            Ok::<_, Exit>((world.all(&kinds::PODS).len(), is_there("b"), is_there("c")))
        });
        assert_eq!(seen.await, Ok((2, true, false)));
    }
}
