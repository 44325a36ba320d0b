//! One run of a container: from its image to its end.

use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use serde_json::Value;
use shoal_api::object;
use shoal_api::time::Moment;
use shoal_base::backoff::Backoff;
use shoal_base::units::show_duration;
use shoal_runtime::{
    Command, CommandExit, DirGrant, Failure, FailureKind, Invoke, Output as _, Quiet, Stream, Workload,
    WorkloadSpec,
};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::artifact::Policy;
use crate::config::{FetchFailure, Fetched, Image};
use crate::log::writing::{self, Log};
use crate::meter::{Meter, Metered};
use crate::node::now;
use crate::pod::env::{self, Source, Sources};
use crate::pod::fields::Facts;
use crate::pod::grants;
use crate::pod::state::{Ended, RESTART_FIRST, RESTART_LONGEST};
use crate::prober::{self, FINDINGS_MAX, Finding, LEAVE_TIME};
use crate::read::{items, text};
use crate::shared::{Shared, plain};
use crate::volume::{parts, tree};

/// How a run ended that was stopped while it waited for what it needs.
const NOT_STARTED: &str = "it was stopped before it had started";

/// What a run says to its pod.
pub(crate) enum Said {
    /// It waits, for this reason.
    Waiting(&'static str, String),
    /// It runs.
    Started {
        /// Since then.
        since: Moment,
        /// What the image resolved to.
        image_id: String,
        /// What answers requests, if it does.
        serves: Option<Arc<dyn Invoke>>,
        /// Told when the disk knows that it runs; what waits for that is not run before.
        saved: Option<oneshot::Sender<()>>,
    },
    /// What a probe has found.
    Found(Finding),
    /// It has ended, and says no more.
    Ended(Ended),
}

/// Why a run is to end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Stop {
    /// It is not.
    #[default]
    No,
    /// Its pod ends, or it is to run something else; requests in flight have until then.
    Leave(Instant),
    /// It is not well, and is to be started again.
    Unwell,
}

/// What a run is given.
pub(crate) struct Run {
    pub(crate) shared: Arc<Shared>,
    pub(crate) pod: Arc<Value>,
    pub(crate) spec: Value,
    /// How often the container was started before.
    pub(crate) number: u32,
    /// What its image resolved to the last time; empty: it has not run yet.
    pub(crate) before: String,
    /// Its instance: `shoal://…`.
    pub(crate) id: String,
    pub(crate) address: String,
    /// Where the pod's volumes and stores are.
    pub(crate) dir: PathBuf,
    pub(crate) sources: watch::Receiver<Arc<Sources>>,
    pub(crate) stop: watch::Receiver<Stop>,
    pub(crate) meter: Arc<Meter>,
    pub(crate) say: mpsc::Sender<(String, String, Said)>,
}

/// Why a run cannot begin, and how it is shown while the next try is waited for.
struct Problem {
    reason: &'static str,
    /// Shown from the second moment on.
    later: &'static str,
    message: String,
}

impl Run {
    fn name(&self) -> &str {
        text(&self.spec["name"])
    }

    async fn say(&self, said: Said) {
        // The pod is gone when nobody listens, and with it this run.
        let _ = self.say.send((self.name().to_owned(), self.id.clone(), said)).await;
    }

    /// Runs the container until it ends or is stopped.
    pub(crate) async fn run(self) {
        let (say, name, id, begun) = (self.say.clone(), self.name().to_owned(), self.id.clone(), now());
        if AssertUnwindSafe(self.until_it_ends()).catch_unwind().await.is_ok() {
            return;
        }
        // The panic itself has been said where it happened. Whoever waits for this run must learn that it is over.
        let ended = Ended {
            code: 134,
            reason: "Error".into(),
            message: "the agent of the node failed while it ran the container".into(),
            started: begun,
            finished: now(),
            id: id.clone(),
        };
        let _ = say.send((name, id, Said::Ended(ended))).await;
    }

    async fn until_it_ends(mut self) {
        let begun = now();
        let mut stop = self.stop.clone();
        let started = tokio::select! {
            started = self.start() => Some(started),
            _ = stop.wait_for(|stop| *stop != Stop::No) => None,
        };
        let ended = match started {
            None => self.ended(137, "Error", NOT_STARTED, begun),
            Some((workload, image_id, log)) => {
                let since = now();
                let ended = match workload {
                    Workload::Http(invoke) => self.serve(invoke, image_id, since).await,
                    Workload::Command(command) => self.execute(command, image_id, since, &log).await,
                };
                log.close();
                ended
            }
        };
        self.say(Said::Ended(ended)).await;
    }

    /// Tries until there is a workload.
    async fn start(&mut self) -> (Workload, String, Arc<Log>) {
        let mut backoff = Backoff::new(RESTART_FIRST, RESTART_LONGEST);
        loop {
            let problem = match self.attempt().await {
                Ok(started) => return started,
                Err(problem) => problem,
            };
            let message = problem.message.clone();
            self.shared.events.warning(&self.pod, self.name(), "Failed", format!("Error: {message}"));
            self.say(Said::Waiting(problem.reason, message)).await;
            self.pause(&problem, backoff.wait()).await;
        }
    }

    /// Waits for the next try; what the container reads may change meanwhile, and then it is tried at once.
    async fn pause(&mut self, problem: &Problem, wait: Duration) {
        let image = text(&self.spec["image"]);
        if problem.later != problem.reason {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let message =
                format!("Back-off pulling image {image:?}: {}: {}", problem.reason, problem.message);
            self.shared.events.normal(
                &self.pod,
                self.name(),
                "BackOff",
                format!("Back-off pulling image {image:?}"),
            );
            self.say(Said::Waiting(problem.later, message)).await;
        }
        let mut sources = self.sources.clone();
        sources.mark_unchanged();
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            Ok(()) = sources.changed() => {}
        }
    }

    async fn attempt(&mut self) -> Result<(Workload, String, Arc<Log>), Problem> {
        let fetched = self.fetch().await?;
        let config = |message: String| Problem::now("CreateContainerConfigError", message);
        let sources = self.sources.borrow().clone();
        let facts = Facts { address: self.address.clone(), ..self.shared.facts.clone() };
        let env = env::env(&self.pod, &self.spec, &sources, &facts).map_err(config)?;
        let dirs = grants::mounts(&self.spec, |name| self.volume(name)).map_err(config)?;
        let dirs = self.with_parts(dirs).await.map_err(config)?;
        let stores = self.dir.join("stores");
        let mut granted = grants::grants(&self.pod, dirs, &stores).map_err(config)?;
        let args = env::args(&self.spec, &env).map_err(config)?;
        granted.env = env;
        if !granted.key_value.is_empty() || !granted.blobs.is_empty() {
            let made = tree::private(&stores);
            made.map_err(|error| config(format!("cannot make {}: {error}", stores.display())))?;
        }
        for dir in &granted.dirs {
            let made = if dir.writable { tree::private(&dir.host) } else { Ok(()) };
            made.map_err(|error| config(format!("cannot make {}: {error}", dir.guest)))?;
        }
        let log = self.log().map_err(|error| config(format!("cannot open its log: {error}")))?;
        let (pod, name) = (&*self.pod, self.name());
        let spec = WorkloadSpec {
            name: format!("{}/{}/{name}", object::namespace(pod), object::name(pod)),
            artifact: fetched.path,
            args,
            grants: granted,
            limits: grants::limits(pod, &self.spec).map_err(config)?,
            instances: grants::instances(pod).map_err(config)?,
            namespace: object::namespace(pod).to_owned(),
            mesh: self.shared.config.mesh.clone(),
            output: Some(log.clone()),
        };
        let runtime = self.shared.config.runtime.clone();
        let loaded = tokio::task::spawn_blocking(move || runtime.load(&spec, &Quiet)).await;
        let loaded = loaded.map_err(|error| Problem::now("CreateContainerError", error.to_string()))?;
        let workload = loaded.map_err(|refusal| {
            let hint = refusal.hint.map(|hint| format!(" ({})", grants::in_pods(&hint))).unwrap_or_default();
            Problem::now("CreateContainerError", format!("{}{hint}", refusal.what))
        })?;
        Ok((workload, fetched.id, log))
    }

    async fn fetch(&self) -> Result<Fetched, Problem> {
        let reference = text(&self.spec["image"]).to_owned();
        let policy = match text(&self.spec["imagePullPolicy"]) {
            "Always" => Policy::Always,
            "Never" => Policy::Never,
            _ => Policy::IfNotPresent,
        };
        let is_file = reference.starts_with('/') || reference.starts_with("file://");
        let credentials = if is_file { Vec::new() } else { self.credentials() };
        let before = Some(self.before.clone()).filter(|before| !before.is_empty());
        let image = Image { reference: reference.clone(), policy, credentials, before };
        let events = &self.shared.events;
        if !is_file {
            events.normal(&self.pod, self.name(), "Pulling", format!("Pulling image {reference:?}"));
        }
        match self.shared.config.fetch.fetch(image).await {
            Ok(fetched) => {
                self.tell_fetched(&reference, &fetched);
                Ok(fetched)
            }
            Err(FetchFailure { reason, message }) => {
                // What comes of a registry says so itself.
                let said = if message.starts_with("failed to pull image ") {
                    message.replacen('f', "F", 1)
                } else {
                    format!("Failed to pull image {reference:?}: {message}")
                };
                events.warning(&self.pod, self.name(), "Failed", said);
                let later = if reason == "ErrImagePull" { "ImagePullBackOff" } else { reason };
                Err(Problem { reason, later, message })
            }
        }
    }

    fn tell_fetched(&self, reference: &str, fetched: &Fetched) {
        let events = &self.shared.events;
        if let Some(why) = &fetched.unasked {
            let said = format!("{why}; started again with what it was before, {}", fetched.id);
            events.warning(&self.pod, self.name(), "Failed", said);
        }
        let message = match fetched.pulled {
            Some(took) => format!(
                "Successfully pulled image {reference:?} in {}. Image size: {} bytes.",
                show_duration(Duration::from_millis(u64::try_from(took.as_millis()).unwrap_or(u64::MAX))),
                fetched.size_bytes
            ),
            None => format!("Container image {reference:?} already present on machine"),
        };
        events.normal(&self.pod, self.name(), "Pulled", message);
    }

    /// The documents of the pod's `imagePullSecrets`; those that are of no use are told.
    fn credentials(&self) -> Vec<Vec<u8>> {
        let sources = self.sources.borrow().clone();
        let (mut documents, mut missing) = (Vec::new(), Vec::new());
        for name in items(&self.pod["spec"]["imagePullSecrets"]).map(|one| text(&one["name"])) {
            let secret = sources.secrets.get(name);
            match secret.and_then(|secret| env::value_of(secret, Source::Secret, ".dockerconfigjson")) {
                Some(document) => documents.push(document),
                None => missing.push(name),
            }
        }
        if !missing.is_empty() {
            let message = format!(
                "Unable to retrieve some image pull secrets ({}); attempting to pull the image may not succeed.",
                missing.join(", ")
            );
            self.shared.events.warning(&self.pod, "", "FailedToRetrieveImagePullSecret", message);
        }
        documents
    }

    /// The log of this run; those of runs before the last one go.
    fn log(&self) -> std::io::Result<Arc<Log>> {
        let dir = self.shared.log_dir(object::uid(&self.pod));
        for run in crate::log::reading::runs(&dir, self.name())? {
            if run.saturating_add(1) < self.number {
                writing::remove(&writing::path(&dir, self.name(), run))?;
            }
        }
        let log = Arc::new(Log::open(writing::path(&dir, self.name(), self.number))?);
        self.shared
            .logs
            .lock()
            .insert((object::uid(&self.pod).into(), self.name().into()), Arc::downgrade(&log));
        Ok(log)
    }

    /// Where a volume is, and whether the pod may write it.
    fn volume(&self, name: &str) -> Option<(PathBuf, bool)> {
        let volume = crate::read::named(&self.pod["spec"]["volumes"], name)?;
        Some((self.dir.join("volumes").join(name), volume["emptyDir"].is_object()))
    }

    /// Puts copies in the place of parts of volumes (`subPath`) that change with their objects.
    async fn with_parts(&self, dirs: Vec<DirGrant>) -> Result<Vec<DirGrant>, String> {
        let own = self.dir.join("parts").join(plain(self.name()));
        let is_part = |mount: &Value| {
            let changes = self.volume(text(&mount["name"])).is_some_and(|(_, is_writable)| !is_writable);
            changes && !text(&mount["subPath"]).is_empty()
        };
        let are_parts: Vec<bool> = items(&self.spec["volumeMounts"]).map(is_part).collect();
        let copying = tokio::task::spawn_blocking(move || parts::copied(&own, dirs, &are_parts));
        copying.await.map_err(|error| error.to_string())?
    }

    async fn started(
        &self,
        image_id: String,
        since: Moment,
        serves: Option<Arc<dyn Invoke>>,
        saved: Option<oneshot::Sender<()>>,
    ) {
        let (events, name) = (&self.shared.events, self.name());
        events.normal(&self.pod, name, "Created", format!("Created container: {name}"));
        events.normal(&self.pod, name, "Started", format!("Started container {name}"));
        self.say(Said::Started { since, image_id, serves, saved }).await;
    }

    /// Asks the probes until the run is to stop; comes back with why.
    async fn watch_over(&self, serves: Option<Arc<dyn Invoke>>) -> Stop {
        let (findings, mut found) = mpsc::channel(FINDINGS_MAX);
        let asking = prober::ask_all(&self.spec, serves, &findings);
        let telling = async {
            while let Some(finding) = found.recv().await {
                self.say(Said::Found(finding)).await;
            }
        };
        let mut stop = self.stop.clone();
        let stopped = async {
            match stop.wait_for(|stop| *stop != Stop::No).await {
                Ok(stop) => *stop,
                // The pod's task is gone: so is the process, soon.
                Err(_) => Stop::Leave(Instant::now()),
            }
        };
        let asked = async {
            tokio::join!(asking, telling);
            // Probes never end by themselves.
            std::future::pending::<Stop>().await
        };
        tokio::select! {
            stop = stopped => stop,
            stop = asked => stop,
        }
    }

    /// An HTTP component: it may be asked until it is to stop, and then finishes what it is at.
    async fn serve(&self, invoke: Arc<dyn Invoke>, image_id: String, since: Moment) -> Ended {
        let serving = Serving::new(self, invoke);
        self.started(image_id, since, Some(serving.invoke.clone()), None).await;
        let stop = self.watch_over(Some(serving.invoke.clone())).await;
        match stop {
            Stop::Unwell => self.ended(137, "Error", "a probe found it unwell", since),
            Stop::Leave(_) if self.are_requests_done().await => self.ended(0, "Completed", "", since),
            Stop::Leave(_) => {
                self.ended(137, "Error", "requests were still in flight when its time was over", since)
            }
            Stop::No => self.ended(0, "Completed", "", since),
        }
    }

    /// Takes no new requests, and lets those in flight end until the time for that is over, which may become shorter
    /// meanwhile. Whether all have ended.
    async fn are_requests_done(&self) -> bool {
        let (uid, endpoints) = (object::uid(&self.pod), &self.shared.config.endpoints);
        let replica = endpoints.replica(uid);
        let mut stop = self.stop.clone();
        let done = async {
            tokio::time::sleep(LEAVE_TIME).await;
            drop(endpoints.remove(uid));
            replica.idle().await;
        };
        let over = async {
            loop {
                let Stop::Leave(until) = *stop.borrow_and_update() else { return };
                tokio::select! {
                    () = tokio::time::sleep_until(until) => return,
                    changed = stop.changed() => if changed.is_err() { return },
                }
            }
        };
        tokio::select! {
            () = done => true,
            () = over => replica.in_flight() == 0,
        }
    }

    /// A command: it runs to its end, or until it is to stop. Not before the disk knows that it has begun: after a power
    /// cut it would be run again.
    async fn execute(&self, command: Box<dyn Command>, image_id: String, since: Moment, log: &Log) -> Ended {
        let (saved, is_saved) = oneshot::channel();
        self.started(image_id, since, None, Some(saved)).await;
        let mut stop = self.stop.clone();
        let may_run = tokio::select! {
            is_saved = is_saved => is_saved.is_ok(),
            _ = stop.wait_for(|stop| *stop != Stop::No) => false,
        };
        if !may_run {
            return self.ended(137, "Error", NOT_STARTED, since);
        }
        let running = command.run(self.meter.command());
        tokio::select! {
            exit = running => match exit {
                CommandExit::Code(0) => self.ended(0, "Completed", "", since),
                CommandExit::Code(code) => self.ended(code, "Error", "", since),
                CommandExit::Failed(failure) => {
                    let failure = Failure { reason: grants::in_pods(&failure.reason), ..failure };
                    log.write(Stream::Stderr, failure.reason.as_bytes(), true);
                    self.failed(&failure, since)
                }
            },
            _ = self.watch_over(None) => self.ended(137, "Error", "", since),
        }
    }

    fn failed(&self, failure: &Failure, since: Moment) -> Ended {
        let (code, reason) = match failure.kind {
            FailureKind::Memory => (137, "OOMKilled"),
            FailureKind::CpuTime | FailureKind::Deadline => (124, "DeadlineExceeded"),
            _ => (134, "Error"),
        };
        self.ended(code, reason, &failure.reason, since)
    }

    fn ended(&self, code: u8, reason: &str, message: &str, started: Moment) -> Ended {
        Ended {
            code,
            reason: reason.into(),
            message: message.into(),
            started,
            finished: now(),
            id: self.id.clone(),
        }
    }
}

/// A replica that may be asked: however its run ends, no request gets there any more, and none outlives it.
struct Serving<'a> {
    shared: &'a Shared,
    uid: &'a str,
    metered: Arc<Metered>,
    /// The same, as others know it.
    invoke: Arc<dyn Invoke>,
}

impl<'a> Serving<'a> {
    fn new(run: &'a Run, inner: Arc<dyn Invoke>) -> Self {
        let metered = Arc::new(Metered::new(inner, run.meter.clone()));
        let invoke: Arc<dyn Invoke> = metered.clone();
        Self { shared: &run.shared, uid: object::uid(&run.pod), metered, invoke }
    }
}

impl Drop for Serving<'_> {
    fn drop(&mut self) {
        // The process ends: whoever drains it lets requests end, and those of the edge come here until then.
        if self.shared.drain.has_begun() {
            return;
        }
        let endpoints = &self.shared.config.endpoints;
        // Another may have taken its place.
        if endpoints.get(self.uid).is_some_and(|known| Arc::ptr_eq(&known, &self.invoke)) {
            drop(endpoints.remove(self.uid));
        }
        self.metered.end();
    }
}

impl Problem {
    fn now(reason: &'static str, message: String) -> Self {
        Self { reason, later: reason, message }
    }
}
