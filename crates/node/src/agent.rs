//! The agent itself: which pods there are to run.

use std::collections::HashSet;
use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use serde_json::Value;
use shoal_api::object;
use shoal_base::backoff::Backoff;
use shoal_base::drain::Drain;
use shoal_client::{Cache, Contact, Select, kinds};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::config::Config;
use crate::read::{items, text};
use crate::saved::{self, Saved};
use crate::shared::{Shared, Wanted};
use crate::volume::tree::private;
use crate::worker::{self, Worker};
use crate::{events, node};

/// Before the task of a pod that has failed begins anew.
const ANEW_FIRST: Duration = Duration::from_secs(1);
/// The longest wait before that. A task that has lasted so long failed for the first time.
const ANEW_LONGEST: Duration = Duration::from_secs(300);

/// Between two looks at what may be thrown away, as often as Kubernetes' node looks.
const TIDY_EVERY: Duration = Duration::from_secs(300);

/// The agent of a node.
pub struct Agent {
    config: Arc<Config>,
    shared: Arc<Shared>,
    happened: tokio::sync::mpsc::Receiver<events::Happened>,
    saved: Vec<Saved>,
    drain: Drain,
    /// Held while the agent is there: what two agents do with the same assignments would be done twice.
    lock: File,
}

/// Why there is no agent.
#[derive(Debug, thiserror::Error)]
#[error("the agent of the node cannot use {path}")]
pub struct AgentError {
    path: String,
    #[source]
    source: io::Error,
}

impl Agent {
    /// An agent that has read its assignments, and runs nothing yet.
    ///
    /// # Errors
    /// Its directory cannot be read or made.
    pub fn new(config: Config, drain: Drain) -> Result<Self, AgentError> {
        let failed = |source| AgentError { path: config.data.display().to_string(), source };
        private(&config.data).map_err(failed)?;
        let lock = lock(&config.data).map_err(failed)?;
        let saved = saved::read_all(&config.data.join("assignments")).map_err(failed)?;
        let config = Arc::new(config);
        let (shared, happened) = Shared::new(config.clone(), drain.clone());
        Ok(Self { config, shared, happened, saved, drain, lock })
    }

    /// What the agent answers: logs, health, what pods use. Serve it with [`crate::endpoint::Endpoint::serve`].
    pub fn endpoint(&self) -> crate::endpoint::Endpoint {
        crate::endpoint::Endpoint::new(self.shared.clone())
    }

    /// What its pods share.
    #[cfg(test)]
    pub(crate) fn shared(&self) -> Arc<Shared> {
        self.shared.clone()
    }

    /// Runs what is to run until the drain begins. Comes back when all of it has ended.
    pub async fn run(self) {
        let Self { config, shared, happened, saved, drain, lock } = self;
        let _guard = drain.guard();
        let mut tasks = JoinSet::new();
        for saved in saved {
            start(&shared, &mut tasks, saved.pod.clone(), Some(saved));
        }
        let pods = Cache::new(
            config.client.clone(),
            kinds::PODS,
            "",
            Select::fields(format!("spec.nodeName={}", config.name)),
        );
        let own = Cache::new(config.client.clone(), kinds::NODES, "", Select::named(&config.name));
        tokio::select! {
            () = drain.begun() => {}
            // Each of these holds the largest of its requests: not on the stack of whoever runs the agent.
            () = Box::pin(node::live(&shared, &own)) => {}
            () = Box::pin(own.run(&drain)) => {}
            () = ranges(&shared, &own) => {}
            () = tidy(&shared) => {}
            () = Box::pin(pods.run(&drain)) => {}
            () = Box::pin(events::write(config.client.clone(), config.name.clone(), happened)) => {}
            () = follow(&shared, &pods, &mut tasks) => {}
        }
        while tasks.join_next().await.is_some() {}
        drop(lock);
    }
}

/// Takes the directory for this process. The kernel gives it back, however the process ends.
fn lock(dir: &Path) -> io::Result<File> {
    let file = File::options().write(true).create(true).truncate(false).mode(0o600).open(dir.join("lock"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            let why = "another process runs a node with it; stop that, or name another directory";
            Err(io::Error::new(io::ErrorKind::ResourceBusy, why))
        }
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Takes the range of addresses that the cluster gives to the pods of this node.
async fn ranges(shared: &Shared, own: &Cache) {
    let mut changes = own.changes();
    while changes.changed().await.is_ok() {
        let node = own.get("", &shared.config.name);
        if let Some(net) = node.and_then(|node| node::pod_cidr(&node)) {
            shared.addresses.lock().set_net(net);
        }
    }
}

/// Throws away artifacts that no pod here uses when there are too many, again and again.
async fn tidy(shared: &Shared) {
    loop {
        tokio::time::sleep(TIDY_EVERY).await;
        let pods: Vec<Arc<Value>> =
            shared.pods.lock().values().map(|here| here.wanted.borrow().pod.clone()).collect();
        let in_use: HashSet<String> = pods.iter().flat_map(|pod| images(pod)).map(str::to_owned).collect();
        shared.config.fetch.tidy(in_use.into_iter().collect()).await;
    }
}

/// What the containers of a pod run.
fn images(pod: &Value) -> impl Iterator<Item = &str> {
    let containers = ["containers", "initContainers"].into_iter().flat_map(|list| items(&pod["spec"][list]));
    containers.map(|container| text(&container["image"]))
}

/// Gives each pod that is bound here its task, and tells the tasks what changes.
async fn follow(shared: &Arc<Shared>, pods: &Cache, tasks: &mut JoinSet<()>) {
    let mut changes = pods.changes();
    loop {
        changes.borrow_and_update();
        let is_live = pods.contact() == Contact::Live;
        let all = pods.all();
        let uids: HashSet<&str> = all.iter().map(|pod| object::uid(pod)).collect();
        for pod in &all {
            let known = shared.pods.lock().get(object::uid(pod)).map(|here| here.wanted.clone());
            match known {
                Some(wanted) => wanted.send_if_modified(|wanted| update(wanted, pod, true)),
                None if is_over(pod) || shared.gone.lock().contains(object::uid(pod)) => continue,
                None => {
                    start(shared, tasks, pod.clone(), None);
                    true
                }
            };
        }
        if is_live {
            for here in shared.pods.lock().values() {
                here.wanted.send_if_modified(|wanted| {
                    let is_there = uids.contains(object::uid(&wanted.pod));
                    let pod = wanted.pod.clone();
                    !is_there && update(wanted, &pod, false)
                });
            }
        }
        shared.gone.lock().retain(|uid| uids.contains(uid.as_str()));
        while tasks.try_join_next().is_some() {}
        if changes.changed().await.is_err() {
            return;
        }
    }
}

/// Whether anything has changed.
fn update(wanted: &mut Wanted, pod: &Arc<Value>, is_there: bool) -> bool {
    if Arc::ptr_eq(&wanted.pod, pod) && wanted.is_there == is_there {
        return false;
    }
    *wanted = Wanted { pod: pod.clone(), is_there };
    true
}

/// A pod that is over, and not to be cleared away, needs no task.
fn is_over(pod: &Value) -> bool {
    matches!(text(&pod["status"]["phase"]), "Succeeded" | "Failed")
        && object::deletion_timestamp(pod).is_none()
}

fn start(shared: &Arc<Shared>, tasks: &mut JoinSet<()>, pod: Arc<Value>, saved: Option<Saved>) {
    let uid = object::uid(&pod).to_owned();
    let (sender, wanted) = watch::channel(Wanted { pod, is_there: true });
    shared.pods.lock().insert(uid.clone(), worker::here(sender));
    let worker = Worker::new(shared.clone(), wanted, saved);
    tasks.spawn(supervised(shared.clone(), uid, worker));
}

/// Runs the task of a pod to its end. One that fails begins anew, as it would after a restart of the agent: our mistake is
/// the trouble of one pod, and not for ever.
async fn supervised(shared: Arc<Shared>, uid: String, mut worker: Worker) {
    let mut backoff = Backoff::new(ANEW_FIRST, ANEW_LONGEST);
    loop {
        let begun = Instant::now();
        if AssertUnwindSafe(worker.run()).catch_unwind().await.is_ok() {
            return;
        }
        // The panic itself has been said where it happened.
        tracing::error!(pod = uid, "the task of a pod has failed and begins anew");
        if let Some(here) = shared.pods.lock().get_mut(&uid) {
            here.stopped();
        }
        if begun.elapsed() >= ANEW_LONGEST {
            backoff.reset();
        }
        tokio::select! {
            () = tokio::time::sleep(backoff.wait()) => {}
            () = shared.drain.begun() => return,
        }
        match Worker::again(shared.clone(), &uid).await {
            Some(again) => worker = again,
            None => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_one_agent_at_a_time() {
        let dir = tempfile::tempdir().expect("a directory");
        let first = lock(dir.path()).expect("it is free");
        let refused = lock(dir.path()).expect_err("it is taken").to_string();
        assert!(refused.starts_with("another process runs a node with it; stop that"), "{refused}");
        drop(first);
        lock(dir.path()).expect("it is free again");
    }
}
