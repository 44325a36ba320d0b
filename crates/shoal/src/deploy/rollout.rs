//! What was applied, on its way: until it serves, cannot go on, or took too long.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::time::Duration;

use serde_json::Value;
use shoal_api::object;
use shoal_cli::progress::LinesProgress;
use shoal_cli::render::deploy::{self as show, Evidence, Stage};
use shoal_cli::{Exit, exit};
use shoal_client::{Resource, Said, kinds};
use tokio::time::{Instant, sleep_until, timeout};

use crate::cluster::apply::Placed;
use crate::cluster::world::World;
use crate::cluster::{Cluster, failed};

/// How long a pod may be stuck before that is said: what a restart or another try mends is mended by then.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long an edge may take to serve what is ready. A cluster may have none.
const EDGE_TIME: Duration = Duration::from_secs(5);
/// For the last words of a pod, which its node may not be there to tell.
const LOG_TIME: Duration = Duration::from_secs(5);
/// Last words that are looked at, of each pod.
const LOG_LINES: u64 = 20;
/// Pods whose last words are asked for.
const LOGS_MAX: usize = 3;

/// What is looked at.
const KINDS: [Resource; 8] = [
    kinds::APPS,
    kinds::DEPLOYMENTS,
    kinds::REPLICA_SETS,
    kinds::JOBS,
    kinds::PODS,
    kinds::INGRESSES,
    kinds::ENDPOINT_SLICES,
    kinds::EVENTS,
];

/// An object that comes up.
struct Tracked {
    /// `deployment/shop`.
    shown: String,
    /// What comes up: a Deployment or a Job.
    of: Resource,
    namespace: String,
    name: String,
    /// The generation of its App that is to be expanded; none: it stands for itself.
    app: Option<i64>,
    /// The generation that is to come up; none: that of an App's Deployment is not known yet.
    generation: Option<i64>,
    stuck: Option<Instant>,
}

/// Why the watch ends.
enum End {
    Served(Vec<String>),
    Failed(Box<Tracked>, &'static str),
}

/// Watches what was applied until it serves; the result are the URLs.
///
/// # Errors
/// It does not come up; why has been said.
pub(crate) async fn until_served(
    cluster: &Cluster,
    applied: &[Placed],
    wait: Duration,
    is_terminal: bool,
) -> Result<Vec<String>, Exit> {
    let tracked: Vec<Tracked> = applied.iter().filter_map(Tracked::of).collect();
    let reached: BTreeSet<(String, String)> = applied.iter().filter_map(ingress_of).collect();
    if tracked.is_empty() && reached.is_empty() {
        return Ok(Vec::new());
    }
    let places: BTreeSet<&str> =
        applied.iter().map(Placed::namespace).filter(|name| !name.is_empty()).collect();
    let namespace = if places.len() == 1 { places.first().copied().unwrap_or_default() } else { "" };
    let world = World::new(&cluster.client, namespace, &KINDS);
    let ended = world.run(async {
        world.read().await?;
        let mut progress = LinesProgress::new(is_terminal);
        let ended = watch(cluster, &world, tracked, &reached, wait, &mut progress).await?;
        drop(progress);
        Ok::<_, Exit>(match ended {
            End::Served(urls) => Ok(urls),
            End::Failed(tracked, why) => Err(explained(cluster, &world, &tracked, why).await),
        })
    });
    ended.await?
}

async fn watch(
    cluster: &Cluster,
    world: &World,
    mut tracked: Vec<Tracked>,
    reached: &BTreeSet<(String, String)>,
    wait: Duration,
    progress: &mut LinesProgress,
) -> Result<End, Exit> {
    let end = Instant::now() + wait;
    let mut edge_end = None;
    let mut changes = world.changes();
    loop {
        let mut wake = end;
        let mut at = 0;
        while at < tracked.len() {
            match tracked[at].look(cluster, world, progress).await? {
                Stage::Done => drop(tracked.remove(at)),
                Stage::Failed { .. } => {
                    return Ok(End::Failed(Box::new(tracked.swap_remove(at)), "has failed"));
                }
                Stage::Going(_) if tracked[at].stuck.is_some_and(|since| since.elapsed() >= PATIENCE) => {
                    return Ok(End::Failed(Box::new(tracked.swap_remove(at)), "does not come up"));
                }
                Stage::Going(_) => {
                    wake = tracked[at].stuck.map_or(wake, |since| wake.min(since + PATIENCE));
                    at += 1;
                }
            }
        }
        if tracked.is_empty() {
            let edge_end = *edge_end.get_or_insert_with(|| Instant::now() + EDGE_TIME);
            let ingresses = ingresses(world, reached);
            let is_served =
                ingresses.len() == reached.len() && ingresses.iter().all(|found| is_served(world, found));
            if is_served || Instant::now() >= edge_end.min(end) {
                return Ok(End::Served(ingresses.iter().flat_map(show::urls).collect()));
            }
            wake = wake.min(edge_end);
        } else if Instant::now() >= end {
            return Ok(End::Failed(Box::new(tracked.swap_remove(0)), "has not come up in time"));
        }
        tokio::select! {
            () = changes.next() => {}
            () = sleep_until(wake) => {}
        }
    }
}

impl Tracked {
    /// What is to come up of an object; none: it has nothing that does.
    fn of(placed: &Placed) -> Option<Self> {
        let generation = placed.object["metadata"]["generation"].as_i64().unwrap_or_default();
        let is_app = placed.resource == kinds::APPS;
        let has_schedule = placed.object["spec"]["schedule"].as_str().is_some_and(|text| !text.is_empty());
        let of = match &placed.resource {
            // Nothing of it runs before its time has come.
            _ if is_app && has_schedule => return None,
            _ if is_app => kinds::DEPLOYMENTS,
            of if *of == kinds::DEPLOYMENTS || *of == kinds::JOBS => of.clone(),
            _ => return None,
        };
        Some(Self {
            shown: placed.shown(),
            of,
            namespace: placed.namespace().into(),
            name: placed.name().into(),
            app: is_app.then_some(generation),
            generation: (!is_app).then_some(generation),
            stuck: None,
        })
    }

    /// How far it is now, which is shown.
    async fn look(
        &mut self,
        cluster: &Cluster,
        world: &World,
        progress: &mut LinesProgress,
    ) -> Result<Stage, Exit> {
        if let Some(stage) = self.unexpanded(cluster, world).await? {
            if let Stage::Going(what) = &stage {
                progress.set(&self.shown, &format!("{}/{}: {what}", self.namespace, self.name), false);
            }
            return Ok(stage);
        }
        let known = world.get(&self.of, &self.namespace, &self.name);
        let known = known.filter(|known| known["metadata"]["generation"].as_i64() >= self.generation);
        // The watch has yet to see what was applied.
        let Some(object) = known else { return Ok(Stage::Going(String::new())) };
        let stage = show::stage_of(&object);
        progress.set(&self.shown, &show::progress(&object), !matches!(stage, Stage::Going(_)));
        let gathered = Gathered::of(world);
        let is_stuck = show::is_stuck(&object, &gathered.evidence(&[]));
        self.stuck = is_stuck.then(|| self.stuck.unwrap_or_else(Instant::now));
        Ok(stage)
    }

    /// How it is with an App while its Deployment is not as the App says; none: it is.
    async fn unexpanded(&mut self, cluster: &Cluster, world: &World) -> Result<Option<Stage>, Exit> {
        let Some(wanted) = self.app.filter(|_| self.generation.is_none()) else { return Ok(None) };
        let expanding = Ok(Some(Stage::Going("waiting to be expanded".into())));
        let app = world.get(&kinds::APPS, &self.namespace, &self.name);
        let seen = |app: &Value| app["status"]["observedGeneration"].as_i64().unwrap_or_default() >= wanted;
        let Some(app) = app.filter(seen) else { return expanding };
        if let Some(failure) = failure(&app) {
            return Ok(Some(failure));
        }
        // The App says that it was expanded after it was; the watch of Deployments may be behind that of Apps.
        match cluster.client.get(&kinds::DEPLOYMENTS, &self.namespace, &self.name).await {
            Ok(deployment) => {
                self.generation = Some(deployment["metadata"]["generation"].as_i64().unwrap_or_default());
                Ok(None)
            }
            Err(error) if error.is_not_found() => expanding,
            Err(error) => Err(failed(format_args!("cannot look at {}", self.shown), &error)),
        }
    }
}

/// Why an App cannot be expanded.
fn failure(app: &Value) -> Option<Stage> {
    let conditions = app["status"]["conditions"].as_array();
    let found = conditions.into_iter().flatten().find(|found| {
        let reason = found["reason"].as_str().unwrap_or_default();
        found["type"] == "Failed"
            && found["status"] == "True"
            && ["NameTaken", "FailedExpand"].contains(&reason)
    })?;
    let text = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
    Some(Stage::Failed { reason: text("reason"), message: text("message") })
}

/// The Ingress by which an object is reached.
fn ingress_of(placed: &Placed) -> Option<(String, String)> {
    let routes = placed.object["spec"]["routes"].as_array();
    let has_schedule = placed.object["spec"]["schedule"].as_str().is_some_and(|text| !text.is_empty());
    let is_routed =
        placed.resource == kinds::APPS && routes.is_some_and(|all| !all.is_empty()) && !has_schedule;
    let is_one = is_routed || placed.resource == kinds::INGRESSES;
    is_one.then(|| (placed.namespace().to_owned(), placed.name().to_owned()))
}

fn ingresses(world: &World, reached: &BTreeSet<(String, String)>) -> Vec<Value> {
    reached.iter().filter_map(|(namespace, name)| world.get(&kinds::INGRESSES, namespace, name)).collect()
}

/// Whether an edge has taken an Ingress, and there is someone behind each of its Services.
fn is_served(world: &World, ingress: &Value) -> bool {
    let slices = world.all(&kinds::ENDPOINT_SLICES);
    let rules = ingress["spec"]["rules"].as_array().into_iter().flatten();
    let paths = rules.flat_map(|rule| rule["http"]["paths"].as_array().into_iter().flatten());
    let mut services = paths.filter_map(|path| path["backend"]["service"]["name"].as_str());
    let is_ready = |service: &str| {
        slices.iter().any(|slice| {
            object::label(slice, "kubernetes.io/service-name") == Some(service)
                && object::namespace(slice) == object::namespace(ingress)
                && slice["endpoints"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .any(|end| end["conditions"]["ready"] == true)
        })
    };
    show::is_published(ingress) && services.all(is_ready)
}

/// What explains how an object is.
struct Gathered {
    replica_sets: Vec<Value>,
    pods: Vec<Value>,
    events: Vec<Value>,
}

impl Gathered {
    fn of(world: &World) -> Self {
        Self {
            replica_sets: world.all(&kinds::REPLICA_SETS),
            pods: world.all(&kinds::PODS),
            events: world.all(&kinds::EVENTS),
        }
    }

    fn evidence<'a>(&'a self, logs: &'a [(String, String)]) -> Evidence<'a> {
        Evidence { replica_sets: &self.replica_sets, pods: &self.pods, events: &self.events, logs }
    }
}

/// Says why an object does not come up.
async fn explained(cluster: &Cluster, world: &World, tracked: &Tracked, why: &str) -> Exit {
    let gathered = Gathered::of(world);
    let object = world.get(&tracked.of, &tracked.namespace, &tracked.name);
    let mut told = String::new();
    if let Some(object) = &object {
        let mut logs = Vec::new();
        for pod in show::pods_of(object, &gathered.evidence(&[])).into_iter().take(LOGS_MAX) {
            let words = last_words(cluster, &tracked.namespace, &pod).await;
            logs.push((pod, words));
        }
        told = show::explain(object, &gathered.evidence(&logs));
    }
    let app = tracked.app.and_then(|_| world.get(&kinds::APPS, &tracked.namespace, &tracked.name));
    if let Some(Stage::Failed { message, .. }) = app.as_ref().and_then(failure) {
        told = format!("  {message}\n");
    }
    let _ = anstream::stderr().write_all(told.as_bytes());
    let what = format!("{} {why}; the cluster goes on trying", tracked.shown);
    Exit::error(exit::UNAVAILABLE, what)
        .hint(format!("mend it and deploy again, or take it away with `shoal delete {}`", tracked.shown))
}

/// What a pod has said last, in this run or in the one before.
async fn last_words(cluster: &Cluster, namespace: &str, pod: &str) -> String {
    for previous in [false, true] {
        let said = Said { previous, tail_lines: Some(LOG_LINES), ..Said::default() };
        let read = async {
            let mut lines = Vec::new();
            let Ok(mut log) = cluster.client.log(namespace, pod, &said).await else { return lines };
            while let Ok(Some(line)) = log.next().await {
                lines.push(line);
            }
            lines
        };
        let lines = timeout(LOG_TIME, read).await.unwrap_or_default();
        if !lines.is_empty() {
            return lines.join("\n");
        }
    }
    String::new()
}
