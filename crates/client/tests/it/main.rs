//! Caches against an API in memory that goes away and forgets; the ways to a real server are tested in the server.

use std::time::Duration;

use serde_json::{Value, json};
use shoal_base::drain::Drain;
use shoal_client::fake::Fake;
use shoal_client::{Cache, Contact, Deletion, Patch, Select, kinds};

const WITHIN: Duration = Duration::from_secs(120);

fn pod(name: &str, node: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "shop"},
        "spec": {"nodeName": node},
    })
}

struct Followed {
    fake: Fake,
    cache: Cache,
    drain: Drain,
}

impl Followed {
    fn start(fake: &Fake) -> Self {
        let select = Select::fields("spec.nodeName=one");
        let cache = Cache::new(fake.client(), kinds::PODS, "", select);
        let drain = Drain::new();
        tokio::spawn({
            let (cache, drain) = (cache.clone(), drain.clone());
            async move { cache.run(&drain).await }
        });
        Self { fake: fake.clone(), cache, drain }
    }

    async fn until(&self, what: &str, is_so: impl Fn(&Cache) -> bool) {
        let mut changes = self.cache.changes();
        let so = async {
            while !is_so(&self.cache) {
                changes.changed().await.expect("the cache is there");
            }
        };
        tokio::time::timeout(WITHIN, so).await.unwrap_or_else(|_| panic!("never: {what}"));
    }

    fn names(&self) -> Vec<String> {
        self.cache
            .all()
            .iter()
            .map(|pod| pod["metadata"]["name"].as_str().unwrap_or_default().into())
            .collect()
    }
}

#[tokio::test(start_paused = true)]
async fn a_cache_has_what_there_is_also_after_outages() {
    let fake = Fake::new();
    let client = fake.client();
    client.create(&kinds::PODS, &pod("a", "one")).await.expect("made");
    client.create(&kinds::PODS, &pod("b", "two")).await.expect("made");
    let followed = Followed::start(&fake);
    followed.until("the first read", |cache| cache.contact() == Contact::Live).await;
    assert_eq!(followed.names(), ["a"]);

    client.create(&kinds::PODS, &pod("c", "one")).await.expect("made");
    followed.until("c", |cache| cache.all().len() == 2).await;

    fake.set_away(true);
    followed.until("the loss", |cache| matches!(cache.contact(), Contact::Lost(_))).await;
    assert_eq!(followed.names(), ["a", "c"], "what is known stays");
    fake.set_away(false);
    followed.until("contact", |cache| cache.contact() == Contact::Live).await;
    let mark = Patch::Merge(json!({"metadata": {"labels": {"x": "1"}}}));
    client.patch(&kinds::PODS, "shop", "a", "", &mark).await.expect("patched");
    let is_marked =
        |cache: &Cache| cache.get("shop", "a").is_some_and(|pod| pod["metadata"]["labels"]["x"] == "1");
    followed.until("the mark", is_marked).await;

    // Away again; meanwhile things happen of which nobody will tell.
    fake.set_away(true);
    followed.until("the loss", |cache| matches!(cache.contact(), Contact::Lost(_))).await;
    fake.set_away(false);
    client.delete(&kinds::PODS, "shop", "c", &Deletion::confirmed("")).await.expect("deleted");
    client.create(&kinds::PODS, &pod("d", "one")).await.expect("made");
    fake.compact();
    followed.until("a new list", |cache| cache.get("shop", "d").is_some()).await;
    assert_eq!(followed.names(), ["a", "d"]);
    followed.drain.begin();
    assert!(followed.fake.requests().iter().filter(|request| *request == "GET /api/v1/pods").count() > 4);
}

#[tokio::test(start_paused = true)]
async fn a_cache_that_never_reached_the_api_says_so() {
    let fake = Fake::new();
    fake.set_away(true);
    let followed = Followed::start(&fake);
    followed.until("a failure", |cache| matches!(cache.contact(), Contact::Failed(_))).await;
    let asked = || followed.fake.requests().len();
    assert_eq!(asked(), 0);
    fake.set_away(false);
    followed.cache.read().await;
    assert_eq!(followed.cache.contact(), Contact::Live);
    followed.drain.begin();
}
