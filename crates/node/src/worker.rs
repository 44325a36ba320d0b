//! One pod: does what the plan says, and tells the API how it is.

mod prepare;
mod report;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use shoal_api::object;
use shoal_api::time::Moment;
use shoal_base::backoff::Backoff;
use shoal_client::{Deletion, kinds};
use shoal_runtime::Invoke;
use tokio::sync::{mpsc, watch};
use tokio_util::task::AbortOnDropHandle;

use crate::container::{Run, Said, Stop};
use crate::meter::Meter;
use crate::node::now;
use crate::pod::env::Sources;
use crate::pod::plan::{self, Course, Plan};
use crate::pod::probe::{self, Role};
use crate::pod::state::{Container, Now, State};
use crate::pod::status;
use crate::prober::Finding;
use crate::read::{items, text};
use crate::saved::{self, Saved};
use crate::shared::{Here, Shared, Wanted};
use crate::sources::Held;

use self::report::Report;

/// What runs of one pod say and nobody has read yet.
const SAID_MAX: usize = 64;
/// Before what a pod needs is asked for again: rights that come with a pod may take a moment longer than the pod.
const PREPARE_FIRST: Duration = Duration::from_millis(50);
/// The longest wait before that, when nothing tells that something has changed.
const PREPARE_LONGEST: Duration = Duration::from_secs(10);
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
    saved: Sources,
    /// Whether it was started from the disk.
    is_old: bool,
    sources: watch::Sender<Arc<Sources>>,
    volumes: prepare::Volumes,
    is_prepared: bool,
    /// Before the next try to prepare it.
    patience: Backoff,
    runs: BTreeMap<String, Going>,
    say: mpsc::Sender<(String, String, Said)>,
    said: mpsc::Receiver<(String, String, Said)>,
    report: Report,
}

/// A run of a container.
struct Going {
    id: String,
    stop: watch::Sender<Stop>,
    serves: Option<Arc<dyn Invoke>>,
    _task: AbortOnDropHandle<()>,
}

impl Worker {
    /// Begins with a pod that the API has just told of, or that was saved.
    pub(crate) fn new(
        shared: Arc<Shared>,
        pod: Arc<Value>,
        saved: Option<Saved>,
    ) -> (Self, watch::Sender<Wanted>) {
        let (sender, wanted) = watch::channel(Wanted { pod: pod.clone(), is_there: true });
        let (say, said) = mpsc::channel(SAID_MAX);
        let state = begin(&shared, &pod, saved.as_ref());
        let held = shared.followers.hold(object::namespace(&pod), crate::pod::env::names(&pod));
        let is_old = saved.is_some();
        let saved = saved.map(|saved| saved.sources).unwrap_or_default();
        let report = Report::new(&pod);
        let worker = Self {
            wanted,
            pod,
            state,
            held,
            saved,
            is_old,
            say,
            said,
            report,
            shared,
            sources: watch::Sender::new(Arc::default()),
            volumes: prepare::Volumes::default(),
            is_prepared: false,
            patience: Backoff::new(PREPARE_FIRST, PREPARE_LONGEST),
            runs: BTreeMap::new(),
        };
        (worker, sender)
    }

    /// Runs the pod until it is gone, or the process ends.
    pub(crate) async fn run(mut self) {
        let mut sources = self.shared.followers.changes();
        let drain = self.shared.drain.clone();
        loop {
            let wanted = self.wanted.borrow_and_update().clone();
            self.take(&wanted);
            let course = self.step().await;
            if course == Course::Gone && self.leave(wanted.is_there).await {
                return;
            }
            let wake = self.wake();
            tokio::select! {
                changed = self.wanted.changed() => if changed.is_err() { return },
                Some((name, id, said)) = self.said.recv() => self.heard(&name, &id, said),
                Ok(()) = sources.changed() => self.is_prepared = false,
                () = self.report.written() => {}
                () = tokio::time::sleep(wake) => {}
                () = drain.begun() => return,
            }
        }
    }

    /// Takes the newest object of the pod.
    fn take(&mut self, wanted: &Wanted) {
        self.report.seen(&wanted.pod);
        self.pod = wanted.pod.clone();
        if !wanted.is_there && object::deletion_timestamp(&self.pod).is_none() {
            // It was removed without a word: it ends as if it had been deleted.
            let mut pod = Value::clone(&self.pod);
            object::metadata_mut(&mut pod).insert("deletionTimestamp".into(), json!(now().to_time()));
            self.pod = Arc::new(pod);
        }
    }

    /// Does what is to be done now.
    async fn step(&mut self) -> Course {
        let now = now();
        if self.state.ending.is_none()
            && let Ok(ending) = plan::overdue(&self.pod, &self.state, now)
        {
            self.shared.events.normal(&self.pod, "", ending.reason, ending.message.clone());
            self.state.ending = Some(ending);
        }
        let plan = if self.report.is_over() {
            over(&self.state, &self.pod, self.report.known())
        } else {
            plan::plan(&self.pod, &self.state, now)
        };
        for name in &plan.stops {
            self.stop(name);
        }
        if !plan.starts.is_empty() && self.prepare().await {
            for name in &plan.starts {
                self.start(name);
            }
        } else if !self.is_prepared && !self.runs.is_empty() {
            self.prepare().await;
        }
        self.tell(plan.course, now);
        plan.course
    }

    /// How long nothing needs to be done.
    fn wake(&self) -> Duration {
        let due = plan::plan(&self.pod, &self.state, now()).wake;
        let until = |at: Moment| {
            Duration::from_micros(u64::try_from(at.micros() - now().micros()).unwrap_or_default())
        };
        let due = due.map_or(LOOK_EVERY, until).min(LOOK_EVERY);
        if self.is_prepared || self.report.is_over() { due } else { due.min(self.patience.peek()) }
    }

    fn start(&mut self, name: &str) {
        let Some(spec) = status::container(&self.pod, name).cloned() else { return };
        let container = self.state.containers.entry(name.into()).or_default();
        container.start();
        let id = format!("shoal://{}", uuid::Uuid::new_v4().simple());
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
            id: id.clone(),
            address: self.state.address.clone(),
            dir: self.shared.pod_dir(&uid),
            sources: self.sources.subscribe(),
            stop: stopped,
            meter,
            say: self.say.clone(),
        };
        self.shared.events.normal(&self.pod, name, "Created", format!("Created container: {name}"));
        let task = AbortOnDropHandle::new(tokio::spawn(run.run()));
        self.runs.insert(name.into(), Going { id, stop, serves: None, _task: task });
    }

    /// Asks a run to end, once.
    fn stop(&mut self, name: &str) {
        let Some(going) = self.runs.get(name) else {
            // There is nothing that could end.
            if let Some(container) = self.state.containers.get_mut(name) {
                container.is_held = false;
            }
            return;
        };
        if *going.stop.borrow() != Stop::No {
            return;
        }
        if let Some(container) = self.state.containers.get_mut(name) {
            container.is_ready = false;
        }
        self.shared.events.normal(&self.pod, name, "Killing", format!("Stopping container {name}"));
        going.stop.send_replace(Stop::Leave(probe::grace(&self.pod)));
    }

    /// What a run says.
    fn heard(&mut self, name: &str, id: &str, said: Said) {
        let is_current = self.runs.get(name).is_some_and(|going| going.id == id);
        let Some(container) = self.state.containers.get_mut(name).filter(|_| is_current) else { return };
        match said {
            Said::Waiting(reason, message) => container.now = Now::Waiting { reason, message },
            Said::Started { since, image_id, serves } => {
                container.now = Now::Running { since };
                container.image_id = image_id;
                container.id = id.into();
                if let Some(going) = self.runs.get_mut(name) {
                    going.serves = serves;
                }
            }
            Said::Found(finding) => self.found(name, finding),
            Said::Ended(ended) => {
                container.id = id.into();
                container.end(ended);
                self.runs.remove(name);
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
        let shown = self.shown(now);
        let is_ending = object::deletion_timestamp(&self.pod).is_some() || self.state.ending.is_some();
        let next = status::status(&self.pod, self.report.known(), &shown, course, &self.shared.host, now);
        self.route(status::is_ready(&next) && !is_ending, is_ending);
        if matches!(course, Course::Succeeded | Course::Failed | Course::Gone) {
            self.shared.addresses.lock().give_back(&self.state.address);
        }
        let saved = Saved {
            pod: Arc::new(with_status(&self.pod, &next)),
            sources: Sources::clone(&self.sources.borrow()),
            serving: self
                .runs
                .iter()
                .filter(|(_, going)| going.serves.is_some())
                .map(|(name, _)| name.clone())
                .collect(),
        };
        self.report.is(&self.shared, &self.pod, &next, &saved);
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
        if let Some(here) = self.shared.pods.lock().get_mut(uid) {
            here.serves.clone_from(&serves);
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

    /// The pod is gone from here: tells the API, and clears away what it had. Whether that is done.
    async fn leave(&mut self, is_there: bool) -> bool {
        if is_there {
            if !self.report.is_told() {
                return false;
            }
            let (pod, uid) = (&*self.pod, object::uid(&self.pod));
            let (namespace, name) = (object::namespace(pod), object::name(pod));
            let client = &self.shared.config.client;
            match client.delete(&kinds::PODS, namespace, name, &Deletion::confirmed(uid)).await {
                Err(error) if error.may_pass() => {
                    tracing::debug!(%error, pod = name, "the end of a pod is not confirmed yet");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    return false;
                }
                Ok(_) | Err(_) => {}
            }
        }
        let uid = object::uid(&self.pod);
        drop(self.shared.config.endpoints.remove(uid));
        self.shared.addresses.lock().give_back(&self.state.address);
        self.shared.gone.lock().insert(uid.to_owned());
        self.shared.pods.lock().remove(uid);
        self.report.finish().await;
        let (file, dirs) = (
            saved::path(&self.shared.saved_dir(), &crate::shared::plain(uid)),
            [self.shared.pod_dir(uid), self.shared.log_dir(uid)],
        );
        let cleared = tokio::task::spawn_blocking(move || {
            drop(std::fs::remove_file(file));
            // What was never made is no loss.
            dirs.iter().for_each(|dir| drop(std::fs::remove_dir_all(dir)));
        });
        drop(cleared.await);
        true
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
fn begin(shared: &Shared, pod: &Value, saved: Option<&Saved>) -> State {
    let serving = saved.map(|saved| saved.serving.as_slice()).unwrap_or_default();
    let mut state = State::of_status(&pod["status"], |name, since| {
        let goes_on = serving.iter().any(|one| one == name);
        (!goes_on).then(|| crate::pod::state::Ended {
            code: 137,
            reason: "Error".into(),
            message: "the agent of the node was started anew".into(),
            started: since,
            finished: now(),
            id: String::new(),
        })
    });
    if state.started == Moment::default() {
        state.started = now();
    }
    let is_over = matches!(text(&pod["status"]["phase"]), "Succeeded" | "Failed");
    let mut addresses = shared.addresses.lock();
    if !state.address.is_empty() {
        addresses.keep(&state.address);
    } else if !is_over {
        state.address = addresses.take().map(|address| address.to_string()).unwrap_or_default();
    }
    state
}

fn with_status(pod: &Value, status: &Value) -> Value {
    let mut pod = pod.clone();
    if let (Some(fields), Some(next)) = (pod["status"].as_object_mut(), status.as_object()) {
        fields.extend(next.clone());
    } else {
        pod["status"] = status.clone();
    }
    pod
}

/// The entry of a pod among those that run here.
pub(crate) fn here(wanted: watch::Sender<Wanted>) -> Here {
    Here { wanted, meters: HashMap::new(), serves: None }
}
