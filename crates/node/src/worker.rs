//! One pod: does what the plan says, and tells the API how it is.

mod confirm;
mod disk;
mod prepare;
mod report;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use shoal_api::object;
use shoal_api::time::Moment;
use shoal_base::backoff::Backoff;
use shoal_runtime::Invoke;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::container::{Run, Said, Stop};
use crate::meter::Meter;
use crate::node::now;
use crate::pod::env::Sources;
use crate::pod::grants;
use crate::pod::plan::{self, Course, Plan};
use crate::pod::probe::{self, Role};
use crate::pod::state::{Container, Now, State};
use crate::pod::status;
use crate::prober::Finding;
use crate::read::{items, text};
use crate::saved::{self, Saved};
use crate::shared::{Here, Shared, Wanted, plain};
use crate::sources::Held;

use self::confirm::Confirming;
use self::disk::Disk;
use self::report::Report;

/// What runs of one pod say and nobody has read yet.
const SAID_MAX: usize = 64;
/// Before what a pod needs is asked for again: rights that come with a pod may take a moment longer than the pod.
const PREPARE_FIRST: Duration = Duration::from_millis(50);
/// The longest wait before that, when nothing tells that something has changed.
const PREPARE_LONGEST: Duration = Duration::from_secs(10);
/// What has become of commands that were running, when the agent starts.
const STARTED_ANEW: &str = "the agent of the node was started anew";
/// What has become of them when it does not.
const FAILED: &str = "the agent of the node failed in the task of the pod, and began it anew";
/// Between looks at a pod in which nothing happens: tokens are renewed then.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// The task of one pod.
pub(crate) struct Worker {
    shared: Arc<Shared>,
    wanted: watch::Receiver<Wanted>,
    pod: Arc<Value>,
    state: State,
    held: Held,
    /// What stands in for what cannot be read.
    saved: Arc<Sources>,
    /// Whether it was started from the disk.
    is_old: bool,
    /// Whether all that it names has been read once.
    is_read: bool,
    sources: watch::Sender<Arc<Sources>>,
    volumes: prepare::Volumes,
    is_prepared: bool,
    /// Before the next try to prepare it.
    patience: Backoff,
    runs: BTreeMap<String, Going>,
    say: mpsc::Sender<(String, String, Said)>,
    said: mpsc::Receiver<(String, String, Said)>,
    report: Report,
    disk: Disk,
    /// Raised when there may be an address for a pod that got none.
    freed: watch::Receiver<u64>,
    has_asked: bool,
    confirming: Confirming,
    is_cleared: bool,
}

/// A run of a container.
struct Going {
    id: String,
    /// What it runs: the pod may name another since.
    image: Value,
    /// The time that it was given to end, if it is to.
    grace: Duration,
    stop: watch::Sender<Stop>,
    serves: Option<Arc<dyn Invoke>>,
    /// The ports on which it may listen.
    listens: Vec<u16>,
    task: AbortOnDropHandle<()>,
}

impl Worker {
    /// Begins with a pod that the API has just told of, or that was saved.
    pub(crate) fn new(shared: Arc<Shared>, wanted: watch::Receiver<Wanted>, saved: Option<Saved>) -> Self {
        Self::after(STARTED_ANEW, shared, wanted, saved)
    }

    /// Begins with what is known of a pod; commands that were running were ended by `what`.
    fn after(what: &str, shared: Arc<Shared>, wanted: watch::Receiver<Wanted>, saved: Option<Saved>) -> Self {
        let pod = saved.as_ref().map_or_else(|| wanted.borrow().pod.clone(), |saved| saved.pod.clone());
        let (say, said) = mpsc::channel(SAID_MAX);
        let state = begin(&shared, &pod, saved.as_ref(), what);
        let path = saved::path(&shared.saved_dir(), &plain(object::uid(&pod)));
        let freed = shared.addresses.lock().freed();
        let (is_old, is_read) = (saved.is_some(), saved.as_ref().is_some_and(|saved| saved.is_read));
        let sources = saved.as_ref().map(|saved| saved.sources.clone()).unwrap_or_default();
        let disk = Disk::new(path, saved);
        Self {
            wanted,
            state,
            held: shared.followers.hold(object::namespace(&pod), &pod),
            // Until it is read anew, what was saved stays saved.
            sources: watch::Sender::new(sources.clone()),
            saved: sources,
            is_old,
            is_read,
            say,
            said,
            report: Report::new(&pod),
            disk,
            freed,
            has_asked: false,
            confirming: Confirming::new(),
            is_cleared: false,
            shared,
            volumes: prepare::Volumes::default(),
            is_prepared: false,
            patience: Backoff::new(PREPARE_FIRST, PREPARE_LONGEST),
            runs: BTreeMap::new(),
            pod,
        }
    }

    /// Begins again with a pod whose task has failed: with what the disk knows of it. None: the pod is gone from here.
    pub(crate) async fn again(shared: Arc<Shared>, uid: &str) -> Option<Self> {
        let wanted = shared.pods.lock().get(uid)?.wanted.subscribe();
        let path = saved::path(&shared.saved_dir(), &plain(uid));
        let saved = tokio::task::spawn_blocking(move || saved::read(&path)).await;
        let saved = match saved.map_err(std::io::Error::other).and_then(|saved| saved) {
            Ok(saved) => saved.filter(|saved| object::uid(&saved.pod) == uid),
            Err(error) => {
                tracing::warn!(%error, pod = uid, "a pod that begins anew cannot be read from the disk");
                None
            }
        };
        Some(Self::after(FAILED, shared, wanted, saved))
    }

    /// Runs the pod until it is gone, or the process ends.
    pub(crate) async fn run(mut self) {
        let drain = self.shared.drain.clone();
        loop {
            let wanted = self.wanted.borrow_and_update().clone();
            self.take(&wanted);
            let stepped = tokio::select! {
                stepped = self.step() => Some(stepped),
                () = drain.begun() => None,
            };
            let Some((course, due)) = stepped else { return self.last().await };
            if course == Course::Gone && self.leave(wanted.is_there).await {
                return;
            }
            let rest = self.rest(due);
            let lacks_address = self.state.address.is_empty();
            tokio::select! {
                changed = self.wanted.changed() => if changed.is_err() { return },
                Some((name, id, said)) = self.said.recv() => self.heard(&name, &id, said),
                () = self.held.changed() => self.is_prepared = false,
                () = self.report.written() => {}
                written = self.disk.written() => if let Err(error) = written { self.unsaved(&error) },
                Ok(()) = self.freed.changed(), if lacks_address => {}
                () = tokio::time::sleep(rest) => {}
                () = drain.begun() => return self.last().await,
            }
        }
    }

    /// The process ends: what the next one must know is on the disk before.
    async fn last(&mut self) {
        // Nothing of it runs from here on, so nothing ends and nothing begins that the disk does not learn of: no command
        // that waits until it is saved, either.
        for going in self.runs.values_mut() {
            going.task.abort();
            // It was stopped, unless it ended just before; a panic has been said where it happened.
            let _ = (&mut going.task).await;
        }
        while let Ok((name, id, said)) = self.said.try_recv() {
            // What would have waited until it is saved has not begun, and may begin in the next process.
            if !matches!(said, Said::Started { saved: Some(_), .. }) {
                self.heard(&name, &id, said);
            }
        }
        let now = now();
        let status = self.status(self.plan(now).course, now);
        self.save(status);
        if let Err(error) = self.disk.flush().await {
            self.unsaved(&error);
        }
    }

    fn unsaved(&self, error: &std::io::Error) {
        tracing::warn!(%error, pod = object::name(&self.pod), "a pod is not saved");
        let message = format!(
            "The node cannot save the pod on its disk, and tries again: {error}. Commands wait until it is saved, so that \
             none runs twice"
        );
        self.shared.events.warning(&self.pod, "", "FailedSave", message);
    }

    /// Takes the newest object of the pod.
    fn take(&mut self, wanted: &Wanted) {
        self.report.seen(&wanted.pod);
        let told = |pod: &Value| {
            let metadata = &pod["metadata"];
            (metadata["labels"].clone(), metadata["annotations"].clone())
        };
        if !Arc::ptr_eq(&self.pod, &wanted.pod) && told(&self.pod) != told(&wanted.pod) {
            // Files of its volumes may say them.
            self.is_prepared = false;
        }
        self.pod = wanted.pod.clone();
        if !wanted.is_there && object::deletion_timestamp(&self.pod).is_none() {
            // It was removed without a word: it ends as if it had been deleted.
            let mut pod = Value::clone(&self.pod);
            object::metadata_mut(&mut pod).insert("deletionTimestamp".into(), json!(now().to_time()));
            self.pod = Arc::new(pod);
        }
    }

    /// Does what is to be done now. How the pod stands, and when to look again.
    async fn step(&mut self) -> (Course, Option<Moment>) {
        let now = now();
        if self.state.ending.is_none()
            && let Ok(ending) = plan::overdue(&self.pod, &self.state, now)
        {
            self.shared.events.normal(&self.pod, "", ending.reason, ending.message.clone());
            self.state.ending = Some(ending);
        }
        if !self.report.is_over() && object::deletion_timestamp(&self.pod).is_none() {
            self.address();
        }
        let plan = self.plan(now);
        for name in &plan.stops {
            self.stop(name);
        }
        self.change_images();
        if (!plan.starts.is_empty() || self.needs_volumes()) && self.prepare().await {
            for name in &plan.starts {
                self.start(name);
            }
        }
        self.tell(plan.course, now);
        (plan.course, plan.wake)
    }

    /// What is to be done now.
    fn plan(&self, now: Moment) -> Plan {
        if self.report.is_over() {
            over(&self.state, &self.pod, self.report.known())
        } else {
            plan::plan(&self.pod, &self.state, now)
        }
    }

    /// Whether something runs that finds its volumes as they should be.
    fn needs_volumes(&self) -> bool {
        !self.runs.is_empty() && object::deletion_timestamp(&self.pod).is_none()
    }

    /// How long nothing needs to be done.
    fn rest(&self, due: Option<Moment>) -> Duration {
        let until = |at: Moment| {
            let micros = at.micros().saturating_sub(now().micros());
            Duration::from_micros(u64::try_from(micros).unwrap_or_default())
        };
        let mut rest = due.map_or(LOOK_EVERY, until).min(LOOK_EVERY);
        if let Some(renew) = self.volumes.renew.filter(|_| self.needs_volumes()) {
            rest = rest.min(until(renew).max(self.patience.peek()));
        }
        if !self.is_prepared && !self.report.is_over() {
            rest = rest.min(self.patience.peek());
        }
        rest.min(self.confirming.rest(Instant::now()))
    }

    /// Takes an address where the pod has none yet.
    fn address(&mut self) {
        if !self.state.address.is_empty() {
            return;
        }
        // What is freed from now on is news.
        self.freed.mark_unchanged();
        let mut addresses = self.shared.addresses.lock();
        let (found, net) = (addresses.take(object::uid(&self.pod)), addresses.net());
        drop(addresses);
        if let Some(address) = found {
            self.state.address = address.to_string();
            self.is_prepared = false;
        } else if !self.has_asked {
            let message = format!(
                "The range {net} of this node has no free address: until another pod ends, no Service finds this one"
            );
            self.shared.events.warning(&self.pod, "", "NoAddress", message);
        }
        self.has_asked = true;
    }

    fn start(&mut self, name: &str) {
        let Some(spec) = status::container(&self.pod, name).cloned() else { return };
        let container = self.state.containers.entry(name.into()).or_default();
        container.start();
        let id = format!("shoal://{}", uuid::Uuid::new_v4().simple());
        let image = spec["image"].clone();
        let listens = grants::listens(&self.pod);
        let meter = Arc::new(Meter::default());
        let (stop, stopped) = watch::channel(Stop::No);
        let uid = object::uid(&self.pod).to_owned();
        if let Some(here) = self.shared.pods.lock().get_mut(&uid) {
            here.meters.insert(name.into(), meter.clone());
        }
        let run = Run {
            shared: self.shared.clone(),
            pod: self.pod.clone(),
            spec,
            number: container.restarts,
            before: container.image_id.clone(),
            id: id.clone(),
            address: self.state.address.clone(),
            dir: self.shared.pod_dir(&uid),
            sources: self.sources.subscribe(),
            stop: stopped,
            meter,
            say: self.say.clone(),
        };
        let task = AbortOnDropHandle::new(tokio::spawn(run.run()));
        let grace = Duration::MAX;
        self.runs.insert(name.into(), Going { id, image, grace, stop, serves: None, listens, task });
    }

    /// Asks a run to end, and again when it is to end sooner than it was asked to.
    fn stop(&mut self, name: &str) {
        let grace = probe::grace(&self.pod);
        let Some(going) = self.runs.get_mut(name) else {
            // There is nothing that could end.
            if let Some(container) = self.state.containers.get_mut(name) {
                container.is_held = false;
            }
            return;
        };
        if going.leave(grace) {
            if let Some(container) = self.state.containers.get_mut(name) {
                container.is_ready = false;
            }
            self.shared.events.normal(&self.pod, name, "Killing", format!("Stopping container {name}"));
        }
    }

    /// Ends what runs an image that its container no longer names: it begins again with the new one, whatever its restart
    /// policy is, as in Kubernetes.
    fn change_images(&mut self) {
        for (name, going) in &mut self.runs {
            let spec = status::container(&self.pod, name);
            let Some(container) = self.state.containers.get_mut(name) else { continue };
            if container.is_changed || spec.is_none_or(|spec| spec["image"] == going.image) {
                continue;
            }
            container.is_changed = true;
            container.is_ready = false;
            let message = format!("Container {name} definition changed, will be restarted");
            self.shared.events.normal(&self.pod, name, "Killing", message);
            going.leave(probe::grace(&self.pod));
        }
    }

    /// What a run says.
    fn heard(&mut self, name: &str, id: &str, said: Said) {
        let is_current = self.runs.get(name).is_some_and(|going| going.id == id);
        let Some(container) = self.state.containers.get_mut(name).filter(|_| is_current) else { return };
        match said {
            Said::Waiting(reason, message) => container.now = Now::Waiting { reason, message },
            Said::Started { since, image_id, serves, saved } => {
                container.now = Now::Running { since };
                container.image_id = image_id;
                container.id = id.into();
                if let Some(saved) = saved {
                    self.disk.tell(saved);
                }
                if let Some(going) = self.runs.get_mut(name) {
                    going.serves = serves;
                }
            }
            Said::Found(finding) => self.found(name, finding),
            Said::Ended(ended) => {
                if container.is_changed && !container.is_running() {
                    // It never ran the old image, so it is not started again, but at last.
                    container.now = Now::default();
                    container.is_held = false;
                } else {
                    container.id = id.into();
                    container.end(ended);
                }
                if self.runs.remove(name).is_some_and(|going| going.serves.is_none()) {
                    self.disk.hurry();
                }
                self.backed_off(name);
            }
        }
    }

    fn found(&mut self, name: &str, finding: Finding) {
        let Some(container) = self.state.containers.get_mut(name) else { return };
        let events = &self.shared.events;
        match finding {
            Finding::Bad(role, why) => {
                events.warning(&self.pod, name, "Unhealthy", format!("{} probe failed: {why}", role.name()));
            }
            Finding::Verdict(Role::Startup, true) => container.is_started = true,
            Finding::Verdict(Role::Readiness, is_ready) => {
                container.is_ready = is_ready && container.is_running();
            }
            Finding::Verdict(Role::Liveness, true) => {}
            Finding::Verdict(role @ (Role::Startup | Role::Liveness), false) => {
                let message = format!(
                    "Container {name} failed {} probe, will be restarted",
                    role.name().to_lowercase()
                );
                events.normal(&self.pod, name, "Killing", message);
                container.is_ready = false;
                if let Some(going) = self.runs.get(name) {
                    going.stop.send_if_modified(|stop| {
                        let is_first = *stop == Stop::No;
                        if is_first {
                            *stop = Stop::Unwell;
                        }
                        is_first
                    });
                }
            }
        }
    }

    /// Says that a container crashes again and again.
    fn backed_off(&self, name: &str) {
        let Some(container) = self.state.containers.get(name) else { return };
        let is_wanted =
            self.pod["spec"]["restartPolicy"] != "Never" && object::deletion_timestamp(&self.pod).is_none();
        if is_wanted && status::backing_off(container, name, &self.pod, now()).is_some() {
            let (own, space, uid) =
                (object::name(&self.pod), object::namespace(&self.pod), object::uid(&self.pod));
            let message = format!("Back-off restarting failed container {name} in pod {own}_{space}({uid})");
            self.shared.events.warning(&self.pod, name, "BackOff", message);
        }
    }

    /// Tells the API, the edge and the disk how the pod is.
    fn tell(&mut self, course: Course, now: Moment) {
        let is_ending = object::deletion_timestamp(&self.pod).is_some() || self.state.ending.is_some();
        let next = self.status(course, now);
        self.route(status::is_ready(&next) && !is_ending, is_ending);
        self.report.is(&self.shared, &self.pod, &next);
        self.save(next);
        // Not before the API knows: nobody else has the address while this pod still shows it.
        if matches!(course, Course::Succeeded | Course::Failed) && self.report.is_told() {
            self.shared.addresses.lock().give_back(&self.state.address, object::uid(&self.pod));
        }
    }

    /// How the pod is now.
    fn status(&self, course: Course, now: Moment) -> Value {
        status::status(&self.pod, self.report.known(), &self.shown(now), course, &self.shared.host, now)
    }

    /// Tells the disk how the pod is.
    fn save(&mut self, status: Value) {
        let serves = self.runs.iter().filter(|(_, going)| going.serves.is_some());
        self.disk.is(Saved {
            pod: self.pod.clone(),
            status,
            sources: self.sources.borrow().clone(),
            serving: serves.map(|(name, _)| name.clone()).collect(),
            is_read: self.is_read,
        });
    }

    /// The state as it is shown: what waits for its restart is no longer ended.
    fn shown(&self, now: Moment) -> State {
        let policy = self.pod["spec"]["restartPolicy"].as_str().unwrap_or("Always");
        let shows = |name: &str, container: &Container| {
            let restarts = match policy {
                "Never" => false,
                "OnFailure" => container.ended().is_some_and(|ended| ended.code != 0),
                _ => true,
            };
            if restarts { status::backing_off(container, name, &self.pod, now) } else { None }
        };
        let mut shown = self.state.clone();
        if self.state.ending.is_none() && object::deletion_timestamp(&self.pod).is_none() {
            for (name, container) in &mut shown.containers {
                if let Some(waits) = shows(name, container) {
                    *container = waits;
                }
            }
        }
        shown
    }

    /// Lets the edge send requests to the pod, or not. A pod that ends is taken away by the run that serves.
    fn route(&self, is_ready: bool, is_ending: bool) {
        let uid = object::uid(&self.pod);
        let names = items(&self.pod["spec"]["containers"]).map(|container| text(&container["name"]));
        let serves = names.filter_map(|name| self.runs.get(name)?.serves.clone()).next();
        let is_running = |name: &str| self.state.containers.get(name).is_some_and(Container::is_running);
        let commands = self.runs.iter().filter(|(name, going)| going.serves.is_none() && is_running(name));
        let listens = commands.flat_map(|(_, going)| going.listens.iter().copied()).collect();
        if let Some(here) = self.shared.pods.lock().get_mut(uid) {
            here.serves.clone_from(&serves);
            here.listens = listens;
        }
        let endpoints = &self.shared.config.endpoints;
        match serves {
            Some(invoke) if is_ready => {
                let is_same = endpoints.get(uid).is_some_and(|known| Arc::ptr_eq(&known, &invoke));
                if !is_same {
                    endpoints.insert(uid, invoke);
                }
            }
            Some(_) if is_ending => {}
            _ => drop(endpoints.remove(uid)),
        }
    }

    /// Nothing of the pod runs any more: clears away what it had, and tells the API that it may go. Whether that is done.
    async fn leave(&mut self, is_there: bool) -> bool {
        if is_there && !self.report.is_told() {
            return false;
        }
        // The API knows that it is over, or has it no more. From here on it is not run again, not even by a process that
        // finds no API: so the assignment goes before the API is told that the pod may go.
        if !self.clear().await || (is_there && !self.confirmed().await) {
            return false;
        }
        let uid = object::uid(&self.pod);
        let logs = self.shared.log_dir(uid);
        // What was never made is no loss.
        drop(tokio::task::spawn_blocking(move || std::fs::remove_dir_all(logs)).await);
        self.shared.logs.lock().retain(|(of, _), _| of != uid);
        drop(self.shared.config.endpoints.remove(uid));
        self.shared.addresses.lock().give_back(&self.state.address, uid);
        self.shared.gone.lock().insert(uid.to_owned());
        self.shared.pods.lock().remove(uid);
        true
    }

    /// Takes the assignment off the disk, and the volumes. Whether the disk has done it.
    async fn clear(&mut self) -> bool {
        if self.is_cleared {
            return true;
        }
        if self.confirming.waits(Instant::now()) {
            return false;
        }
        if let Err(error) = self.disk.close().await {
            tracing::warn!(%error, pod = object::name(&self.pod), "the assignment of a pod stays on the disk");
            let message = format!(
                "The node cannot take the pod off its disk, and tries again: {error}. The pod is not let go until then, so that \
                 it does not run again"
            );
            self.shared.events.warning(&self.pod, "", "FailedClear", message);
            self.confirming.put_off(Instant::now());
            return false;
        }
        self.is_cleared = true;
        let dir = self.shared.pod_dir(object::uid(&self.pod));
        drop(tokio::task::spawn_blocking(move || std::fs::remove_dir_all(dir)).await);
        true
    }
}

impl Going {
    /// Asks the run to end within this time. Whether it is the first time.
    fn leave(&mut self, grace: Duration) -> bool {
        let until = Instant::now() + grace;
        let (is_first, until) = match *self.stop.borrow() {
            Stop::No => (true, until),
            Stop::Leave(before) if grace < self.grace => (false, before.min(until)),
            Stop::Leave(_) | Stop::Unwell => return false,
        };
        self.grace = grace;
        self.stop.send_replace(Stop::Leave(until));
        is_first
    }
}

/// A pod that was over when it came here, or has become so, stays so.
fn over(state: &State, pod: &Value, known: &Value) -> Plan {
    let is_deleted = object::deletion_timestamp(pod).is_some();
    let stops: Vec<String> =
        state.containers.iter().filter(|(_, one)| one.is_held).map(|(name, _)| name.clone()).collect();
    let course = match (is_deleted && stops.is_empty(), text(&known["phase"])) {
        (true, _) => Course::Gone,
        (false, "Failed") => Course::Failed,
        (false, _) => Course::Succeeded,
    };
    Plan { stops, course, ..Plan::default() }
}

/// What is known of a pod when its task begins.
fn begin(shared: &Shared, pod: &Value, saved: Option<&Saved>, what: &str) -> State {
    let serving = saved.map(|saved| saved.serving.as_slice()).unwrap_or_default();
    let mut state = State::of_status(&pod["status"], |name, since| {
        let goes_on = serving.iter().any(|one| one == name);
        (!goes_on).then(|| crate::pod::state::Ended {
            code: 137,
            reason: "Error".into(),
            message: what.into(),
            started: since,
            finished: now(),
            id: String::new(),
        })
    });
    if state.started == Moment::default() {
        state.started = now();
    }
    let is_over = matches!(text(&pod["status"]["phase"]), "Succeeded" | "Failed");
    let has_it = || shared.addresses.lock().keep(&state.address, object::uid(pod));
    if !state.address.is_empty() && !is_over && !has_it() {
        state.address.clear();
    }
    state
}

/// The entry of a pod among those that run here.
pub(crate) fn here(wanted: watch::Sender<Wanted>) -> Here {
    Here { wanted, meters: HashMap::new(), serves: None, listens: Vec::new() }
}
