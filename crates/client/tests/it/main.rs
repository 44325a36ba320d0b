//! Caches against an API in memory that goes away and forgets; the ways to a real server are tested in the server.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use http::{Request, Response};
use serde_json::{Value, json};
use shoal_base::drain::Drain;
use shoal_client::fake::Fake;
use shoal_client::http::Http;
use shoal_client::kubeconfig::{Config, Token};
use shoal_client::{Body, Cache, Client, Contact, Deletion, Error, Patch, Select, Transport, kinds};
use tokio::time::{Instant, sleep};

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

#[tokio::test(start_paused = true)]
async fn a_cache_begins_anew_with_an_api_that_was_set_back() {
    let fake = Fake::new();
    let client = fake.client();
    for name in ["a", "b", "c"] {
        client.create(&kinds::PODS, &pod(name, "one")).await.expect("made");
    }
    let followed = Followed::start(&fake);
    followed.until("the first read", |cache| cache.all().len() == 3).await;
    fake.set_away(true);
    followed.until("the loss", |cache| matches!(cache.contact(), Contact::Lost(_))).await;
    fake.set_back();
    fake.set_away(false);
    // One change: far from the revision that the cache has seen.
    client.create(&kinds::PODS, &pod("d", "one")).await.expect("made");
    followed.until("what there is now", |cache| cache.contact() == Contact::Live).await;
    assert_eq!(followed.names(), ["d"]);
    followed.drain.begin();
}

/// An API that takes its time to say nothing.
#[derive(Default)]
struct Slow(AtomicUsize);

impl Slow {
    const TAKES: Duration = Duration::from_secs(10);
}

impl Transport for Slow {
    fn send(&self, _: Request<Bytes>) -> BoxFuture<'static, Result<Response<Body>, Error>> {
        self.0.fetch_add(1, SeqCst);
        async {
            sleep(Self::TAKES).await;
            Err(Error::Unreachable { server: "slow".into(), why: "it says nothing".into() })
        }
        .boxed()
    }

    fn server(&self) -> &str {
        "slow"
    }
}

#[tokio::test(start_paused = true)]
async fn an_api_that_fails_slowly_is_asked_no_oftener_than_one_that_fails_at_once() {
    let slow = Arc::new(Slow::default());
    let cache = Cache::new(Client::new(slow.clone(), "test"), kinds::PODS, "", Select::default());
    let drain = Drain::new();
    tokio::spawn({
        let drain = drain.clone();
        async move { cache.run(&drain).await }
    });
    sleep(180 * Slow::TAKES).await;
    drain.begin();
    let asked = slow.0.load(SeqCst);
    // In the end each try takes its ten seconds and fifteen to thirty of waiting.
    assert!((40..100).contains(&asked), "{asked}");
}

#[tokio::test(start_paused = true)]
async fn requests_wait_for_a_connection_at_the_same_time() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let server = format!("https://{}", silent.local_addr().expect("an address"));
    let config = Config {
        server,
        server_name: String::new(),
        authorities: None,
        certificate: None,
        token: Token::None,
        namespace: String::new(),
    };
    let client = Client::new(Arc::new(Http::new(&config).expect("a way")), "test");
    let begun = Instant::now();
    let pods = kinds::PODS;
    let asked = (0..5).map(|_| client.get(&pods, "shop", "a"));
    for answer in join_all(asked).await {
        let why = answer.expect_err("nobody answers").to_string();
        assert!(why.ends_with("no connection in 10 seconds"), "{why}");
    }
    assert!(begun.elapsed() < Duration::from_secs(11), "one after the other: {:?}", begun.elapsed());
}
