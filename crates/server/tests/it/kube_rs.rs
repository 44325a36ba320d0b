//! kube-rs against this server: what controllers in Rust are made of.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{Stream, StreamExt as _};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams,
    PostParams,
};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::controller::{Action, Controller};
use kube::runtime::events::{Event as Told, EventType, Recorder, Reporter};
use kube::runtime::finalizer::{self, finalizer};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt as _, reflector, wait};
use kube::{Client, Resource as _, ResourceExt as _, discovery::Discovery};
use serde_json::json;

use crate::server::Server;

/// For anything that is waited for.
const WITHIN: Duration = Duration::from_secs(60);

/// Longer than three watches of a second.
const SEVERAL_WATCHES: Duration = Duration::from_millis(3500);

async fn client(server: &Server) -> Client {
    let kubeconfig = Kubeconfig::from_yaml(&server.kubeconfig).expect("a kubeconfig");
    let options = KubeConfigOptions::default();
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await.expect("a configuration");
    Client::try_from(config).expect("a client")
}

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(WITHIN, future).await.unwrap_or_else(|_| panic!("{what} did not happen"))
}

/// The next thing that a stream says, as it must.
async fn next<T, E: Debug>(stream: &mut (impl Stream<Item = Result<T, E>> + Unpin)) -> T {
    soon("the next event", stream.next()).await.expect("it goes on").expect("no error")
}

fn config_map(name: &str, value: &str) -> ConfigMap {
    ConfigMap {
        metadata: kube::api::ObjectMeta { name: Some(name.into()), ..Default::default() },
        data: Some(BTreeMap::from([("value".into(), value.into())])),
        ..Default::default()
    }
}

/// What a watcher says, in words.
fn told(event: &Event<ConfigMap>) -> String {
    let value =
        |map: &ConfigMap| map.data.as_ref().and_then(|data| data.get("value").cloned()).unwrap_or_default();
    match event {
        Event::Init => "init".into(),
        Event::InitApply(map) => format!("has {} {}", map.name_any(), value(map)),
        Event::InitDone => "all".into(),
        Event::Apply(map) => format!("apply {} {}", map.name_any(), value(map)),
        Event::Delete(map) => format!("delete {}", map.name_any()),
    }
}

/// A namespace without the objects that every namespace gets.
async fn fresh(client: &Client, name: &str) -> Api<ConfigMap> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespace = serde_json::from_value(json!({"metadata": {"name": name}})).expect("a namespace");
    namespaces.create(&PostParams::default(), &namespace).await.expect("it is made");
    let maps = Api::namespaced(client.clone(), name);
    soon("the root", wait::await_condition(maps.clone(), "kube-root-ca.crt", wait::conditions::is_created()))
        .await
        .expect("it is made");
    maps
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watchers_see_what_is_there_and_then_each_change() {
    let server = Server::start().await;
    let client = client(&server).await;
    for (name, config) in [
        ("listed", watcher::Config::default()),
        ("paged", watcher::Config::default().page_size(1)),
        ("any", watcher::Config::default().any_semantic()),
        ("streamed", watcher::Config::default().streaming_lists()),
    ] {
        let maps = fresh(&client, name).await;
        let post = PostParams::default();
        maps.create(&post, &labelled("a", "1")).await.expect("made");
        maps.create(&post, &labelled("b", "1")).await.expect("made");
        let mut events = pin!(watcher::watcher(maps.clone(), config.labels("watched=yes")));
        let mut words = Vec::new();
        for _ in 0..4 {
            words.push(told(&next(&mut events).await));
        }
        maps.patch("a", &PatchParams::default(), &Patch::Merge(json!({"data": {"value": "2"}})))
            .await
            .expect("patched");
        words.push(told(&next(&mut events).await));
        maps.create(&post, &config_map("unwatched", "1")).await.expect("made");
        // What no longer matches is gone, for whoever looks by label.
        let unlabelled = Patch::Merge(json!({"metadata": {"labels": null}}));
        maps.patch("b", &PatchParams::default(), &unlabelled).await.expect("patched");
        words.push(told(&next(&mut events).await));
        maps.delete("a", &DeleteParams::default()).await.expect("deleted");
        words.push(told(&next(&mut events).await));
        let wanted = ["init", "has a 1", "has b 1", "all", "apply a 2", "delete b", "delete a"];
        assert_eq!(words, wanted, "{name}");
    }
    server.end().await;
}

fn labelled(name: &str, value: &str) -> ConfigMap {
    let mut map = config_map(name, value);
    map.metadata.labels = Some(BTreeMap::from([("watched".into(), "yes".into())]));
    map
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reflectors_hold_what_the_server_holds() {
    let server = Server::start().await;
    let client = client(&server).await;
    let maps = fresh(&client, "reflected").await;
    let (store, writer) = reflector::store();
    let stream = watcher::watcher(maps.clone(), watcher::Config::default().timeout(1));
    // A watch ends each second here: the reflector must resume without losing anything.
    let stream = stream.default_backoff().reflect(writer).applied_objects();
    let run = tokio::spawn(stream.for_each(|_| async {}));
    soon("the first list", store.wait_until_ready()).await.expect("it is ready");
    // The watch ends several times while things change.
    let begun = Instant::now();
    let mut round = 0;
    while begun.elapsed() < SEVERAL_WATCHES {
        let name = format!("m{}", round % 7);
        let value = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"value": round.to_string()}});
        maps.patch(&name, &PatchParams::apply("test"), &Patch::Apply(value)).await.expect("applied");
        if round % 5 == 4 {
            maps.delete(&name, &DeleteParams::default()).await.expect("deleted");
        }
        round += 1;
    }
    let seen = |objects: Vec<Arc<ConfigMap>>| -> BTreeMap<String, Option<String>> {
        objects.iter().map(|map| (map.name_any(), map.resource_version())).collect()
    };
    let listed = maps.list(&ListParams::default()).await.expect("a list");
    let wanted = seen(listed.items.into_iter().map(Arc::new).collect());
    let same = async {
        while seen(store.state()) != wanted {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    if tokio::time::timeout(WITHIN, same).await.is_err() {
        assert_eq!(seen(store.state()), wanted);
    }
    run.abort();
    server.end().await;
}

/// Makes a copy of each map that asks for it.
async fn copy(map: Arc<ConfigMap>, client: Arc<Client>) -> Result<Action, kube::Error> {
    let Some(name) = map.annotations().get("copy") else { return Ok(Action::await_change()) };
    let maps: Api<ConfigMap> = Api::namespaced((*client).clone(), &map.namespace().unwrap_or_default());
    let copy = ConfigMap {
        metadata: kube::api::ObjectMeta {
            name: Some(name.clone()),
            owner_references: map.controller_owner_ref(&()).map(|owner| vec![owner]),
            ..Default::default()
        },
        data: map.data.clone(),
        ..Default::default()
    };
    maps.patch(name, &PatchParams::apply("copier").force(), &Patch::Apply(copy)).await?;
    Ok(Action::await_change())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn controllers_keep_what_they_own() {
    let server = Server::start().await;
    let client = client(&server).await;
    let maps = fresh(&client, "controlled").await;
    let controller = Controller::new(maps.clone(), watcher::Config::default())
        .owns(maps.clone(), watcher::Config::default())
        .run(copy, |_, _, _| Action::requeue(Duration::from_millis(100)), Arc::new(client.clone()));
    let run = tokio::spawn(controller.for_each(|_| async {}));
    let mut original = config_map("original", "1");
    original.metadata.annotations = Some(BTreeMap::from([("copy".into(), "copied".into())]));
    maps.create(&PostParams::default(), &original).await.expect("made");
    let has = |value: &'static str| {
        move |map: Option<&ConfigMap>| {
            map.and_then(|map| map.data.as_ref()?.get("value")).is_some_and(|found| found == value)
        }
    };
    let copied =
        soon("a copy", wait::await_condition(maps.clone(), "copied", has("1"))).await.expect("a watch");
    let uid = copied.and_then(|map| map.uid()).expect("an id");
    maps.patch("original", &PatchParams::default(), &Patch::Merge(json!({"data": {"value": "2"}})))
        .await
        .expect("it");
    soon("a change", wait::await_condition(maps.clone(), "copied", has("2"))).await.expect("a watch");
    // Whoever changes or deletes a copy does not last.
    maps.patch("copied", &PatchParams::default(), &Patch::Merge(json!({"data": {"value": "3"}})))
        .await
        .expect("it");
    soon("a repair", wait::await_condition(maps.clone(), "copied", has("2"))).await.expect("a watch");
    maps.delete("copied", &DeleteParams::default()).await.expect("deleted");
    let is_another =
        |map: Option<&ConfigMap>| map.is_some_and(|map| map.uid().as_deref() != Some(uid.as_str()));
    soon("another", wait::await_condition(maps.clone(), "copied", is_another)).await.expect("a watch");
    // The copy goes with the original.
    let uid = maps.get("copied").await.expect("it is there").uid().expect("an id");
    maps.delete("original", &DeleteParams::foreground()).await.expect("deleted");
    let gone = wait::conditions::is_deleted(&uid);
    soon("the end", wait::await_condition(maps.clone(), "copied", gone)).await.expect("a watch");
    run.abort();
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_side_apply_has_owners_and_conflicts() {
    let server = Server::start().await;
    let client = client(&server).await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    let map = |value: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"value": value}});
    let made = maps.patch("m", &PatchParams::apply("one"), &Patch::Apply(map("1"))).await.expect("applied");
    assert_eq!(made.managed_fields()[0].manager.as_deref(), Some("one"));
    let refused =
        maps.patch("m", &PatchParams::apply("two"), &Patch::Apply(map("2"))).await.expect_err("a conflict");
    let kube::Error::Api(status) = refused else { panic!("another error: {refused}") };
    assert_eq!((status.code, status.reason.as_str()), (409, "Conflict"));
    assert_eq!(status.message, "Apply failed with 1 conflict: conflict with \"one\": .data.value");
    let forced = PatchParams::apply("two").force();
    let taken = maps.patch("m", &forced, &Patch::Apply(map("2"))).await.expect("applied");
    assert_eq!(taken.managed_fields().len(), 1, "{:?}", taken.managed_fields());
    // Nothing changes by the same again, not even the revision.
    let again = maps.patch("m", &forced, &Patch::Apply(map("2"))).await.expect("applied");
    assert_eq!(again.resource_version(), taken.resource_version());
    let tried = maps.patch("m", &forced.clone().dry_run(), &Patch::Apply(map("3"))).await.expect("tried");
    assert_eq!(tried.data.expect("data")["value"], "3");
    assert_eq!(maps.get("m").await.expect("it is there").data.expect("data")["value"], "2");
    // A writer with an old revision is told so.
    let mut stale = made;
    stale.metadata.managed_fields = None;
    let refused = maps.replace("m", &PostParams::default(), &stale).await.expect_err("a conflict");
    assert!(matches!(&refused, kube::Error::Api(status) if status.code == 409), "{refused}");
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn finalizers_hold_an_object_until_it_is_cleaned_up() {
    const NAME: &str = "example.com/cleanup";
    let server = Server::start().await;
    let client = client(&server).await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    let map = maps.create(&PostParams::default(), &config_map("held", "1")).await.expect("made");
    let nothing = |event: finalizer::Event<ConfigMap>| async move {
        let word = if matches!(event, finalizer::Event::Apply(_)) { "apply" } else { "cleanup" };
        Ok::<_, std::io::Error>(Action::requeue(Duration::from_secs(word.len() as u64)))
    };
    finalizer(&maps, NAME, Arc::new(map), nothing).await.expect("the finalizer is added");
    let map = maps.get("held").await.expect("it is there");
    assert_eq!(map.finalizers(), [NAME]);
    let action = finalizer(&maps, NAME, Arc::new(map.clone()), nothing).await.expect("applied");
    assert_eq!(action, Action::requeue(Duration::from_secs(5)));
    let deleted = maps.delete("held", &DeleteParams::default()).await.expect("it is being deleted");
    assert!(deleted.left().is_some_and(|map| map.metadata.deletion_timestamp.is_some()));
    let held = maps.get("held").await.expect("it is held");
    finalizer(&maps, NAME, Arc::new(held), nothing).await.expect("cleaned up");
    let uid = map.uid().expect("an id");
    soon("the end", wait::await_condition(maps, "held", wait::conditions::is_deleted(&uid)))
        .await
        .expect("a watch");
    server.end().await;
}

/// Takes the lease for a candidate when it is free, lapsed or its own already; whether it holds it then.
async fn elect(leases: &Api<Lease>, candidate: &str, now: Timestamp) -> Result<bool, kube::Error> {
    let spec = |transitions: i32| LeaseSpec {
        holder_identity: Some(candidate.into()),
        lease_duration_seconds: Some(15),
        renew_time: Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime(now)),
        lease_transitions: Some(transitions),
        ..Default::default()
    };
    let Some(mut lease) = leases.get_opt("leader").await? else {
        let metadata = kube::api::ObjectMeta { name: Some("leader".into()), ..Default::default() };
        let lease = Lease { metadata, spec: Some(spec(0)) };
        return is_first(leases.create(&PostParams::default(), &lease).await);
    };
    let held = lease.spec.clone().unwrap_or_default();
    let until = held.renew_time.map(|time| time.0 + SignedDuration::from_secs(15));
    if held.holder_identity.as_deref() != Some(candidate) && until.is_some_and(|until| until > now) {
        return Ok(false);
    }
    lease.spec = Some(spec(held.lease_transitions.unwrap_or_default() + 1));
    is_first(leases.replace("leader", &PostParams::default(), &lease).await)
}

/// Whether a write was the first of several at once.
fn is_first(written: Result<Lease, kube::Error>) -> Result<bool, kube::Error> {
    match written {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        Err(error) => Err(error),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_many_candidates_leads() {
    let server = Server::start().await;
    let client = client(&server).await;
    let leases: Api<Lease> = Api::default_namespaced(client);
    let mut now = Timestamp::now();
    for round in 0..5 {
        let mut candidates = tokio::task::JoinSet::new();
        for number in 0..8 {
            let (leases, name) = (leases.clone(), format!("{round}-{number}"));
            candidates
                .spawn(async move { elect(&leases, &name, now).await.expect("an answer").then_some(name) });
        }
        let leaders: Vec<String> = candidates.join_all().await.into_iter().flatten().collect();
        assert_eq!(leaders.len(), 1, "{leaders:?}");
        let spec = leases.get("leader").await.expect("a lease").spec.expect("a spec");
        assert_eq!(spec.holder_identity.as_ref(), leaders.first());
        assert_eq!(spec.lease_transitions, Some(round));
        // Parts of a second are kept: leases are renewed more often than once a second.
        assert_eq!(spec.renew_time.map(|time| time.0.as_microsecond()), Some(now.as_microsecond()));
        assert!(!elect(&leases, "late", now).await.expect("an answer"), "the lease is held");
        now += SignedDuration::from_secs(16);
    }
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kinds_are_discovered_defined_and_told_about() {
    let server = Server::start().await;
    let client = client(&server).await;
    let definition: CustomResourceDefinition = serde_json::from_value(json!({
        "metadata": {"name": "things.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {"kind": "Thing", "plural": "things", "singular": "thing"},
            "versions": [{"name": "v1", "served": true, "storage": true, "subresources": {"status": {}}, "schema": {
                "openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}
            }}]
        }
    }))
    .expect("a definition");
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    definitions.create(&PostParams::default(), &definition).await.expect("made");
    let established = wait::conditions::is_crd_established();
    soon("it", wait::await_condition(definitions, "things.example.com", established)).await.expect("a watch");
    let aggregated = Discovery::new(client.clone()).run_aggregated().await.expect("discovery");
    let piecemeal = Discovery::new(client.clone()).run().await.expect("discovery");
    let kind = GroupVersionKind::gvk("example.com", "v1", "Thing");
    for discovery in [&aggregated, &piecemeal] {
        let (resource, _) = discovery.resolve_gvk(&kind).expect("it is served");
        assert_eq!(resource.plural, "things");
        assert!(discovery.resolve_gvk(&GroupVersionKind::gvk("apps", "v1", "Deployment")).is_some());
    }
    let groups = |discovery: &Discovery| {
        discovery.groups_alphabetical().iter().map(|group| group.name().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(groups(&aggregated), groups(&piecemeal));
    let things: Api<DynamicObject> =
        Api::default_namespaced_with(client.clone(), &ApiResource::from_gvk(&kind));
    let thing = DynamicObject::new("t", &ApiResource::from_gvk(&kind))
        .data(json!({"spec": {"any": [1, {"x": null}]}}));
    let made = things.create(&PostParams::default(), &thing).await.expect("made");
    assert_eq!(made.data["spec"]["any"][0], 1);
    let patch = Patch::Merge(json!({"status": {"ready": true}}));
    let patched = things.patch_status("t", &PatchParams::default(), &patch).await.expect("patched");
    assert_eq!(patched.data["status"]["ready"], true);
    let only = things.get_metadata("t").await.expect("its metadata");
    assert_eq!(
        (only.name_any().as_str(), only.types.map(|types| types.kind)),
        ("t", Some("PartialObjectMetadata".into()))
    );
    let reporter = Reporter { controller: "example.com/test".into(), instance: Some("one".into()) };
    let recorder = Recorder::new(client.clone(), reporter);
    for _ in 0..2 {
        let event = Told {
            type_: EventType::Normal,
            reason: "Seen".into(),
            note: Some("It is there.".into()),
            action: "Look".into(),
            secondary: None,
        };
        recorder.publish(&event, &made.object_ref(&ApiResource::from_gvk(&kind))).await.expect("told");
    }
    let events: Api<k8s_openapi::api::core::v1::Event> = Api::default_namespaced(client);
    let listed = events.list(&ListParams::default().fields("involvedObject.name=t")).await.expect("events");
    let [event] = &listed.items[..] else { panic!("one event, not {}", listed.items.len()) };
    assert_eq!(event.series.as_ref().and_then(|series| series.count), Some(2));
    assert_eq!(event.message.as_deref(), Some("It is there."));
    server.end().await;
}
