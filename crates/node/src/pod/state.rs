//! What is known of a pod that runs here.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use shoal_api::time::Moment;
use shoal_base::backoff::Backoff;

use crate::read::text;

/// Before a container that ended is started again; twice that the next time. As in Kubernetes.
pub(crate) const RESTART_FIRST: Duration = Duration::from_secs(10);
/// The longest wait before a restart, as in Kubernetes.
pub(crate) const RESTART_LONGEST: Duration = Duration::from_secs(300);
/// A container that ran so long had no trouble: the next restart waits the first wait again.
pub(crate) const RESTART_FORGOTTEN: i64 = 600;

/// What is known of a pod that runs here.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct State {
    /// By name; init containers too.
    pub(crate) containers: BTreeMap<String, Container>,
    /// When this node took the pod.
    pub(crate) started: Moment,
    /// Its address; empty until it has one.
    pub(crate) address: String,
    /// When it began to end: deletion, a deadline.
    pub(crate) ending: Option<Ending>,
}

/// Why a pod ends before its containers do.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ending {
    /// `DeadlineExceeded`; empty for a deletion.
    pub(crate) reason: &'static str,
    /// A sentence; empty for a deletion.
    pub(crate) message: String,
}

/// What is known of a container.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Container {
    /// How it is.
    pub(crate) now: Now,
    /// How it ended the last time.
    pub(crate) last: Option<Ended>,
    /// How often it was started again.
    pub(crate) restarts: u32,
    /// Whether its startup probe has succeeded, or there is none.
    pub(crate) is_started: bool,
    /// Whether its readiness probe succeeds, or there is none.
    pub(crate) is_ready: bool,
    /// What its image resolved to: `name@sha256:…`.
    pub(crate) image_id: String,
    /// Its instance, `shoal://…`: another after each start.
    pub(crate) id: String,
    /// How long to wait before restarts.
    pub(crate) backoff: Backoff,
    /// When it may be started again.
    pub(crate) due: Option<Moment>,
    /// Whether something was started for it that has not ended.
    pub(crate) is_held: bool,
    /// Whether what was started for it ends because it is to run something else: then it starts again, at once.
    pub(crate) is_changed: bool,
}

/// How a container is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Now {
    /// It does not run yet, or not again.
    Waiting {
        /// `ContainerCreating`, `ErrImagePull`, …
        reason: &'static str,
        /// A sentence, or empty.
        message: String,
    },
    /// It runs.
    Running {
        /// Since then.
        since: Moment,
    },
    /// It has ended.
    Ended(Ended),
}

/// How a container ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ended {
    /// Its exit code.
    pub(crate) code: u8,
    /// `Completed`, `Error`, `OOMKilled`, `DeadlineExceeded`.
    pub(crate) reason: String,
    /// A sentence, or empty.
    pub(crate) message: String,
    /// From when.
    pub(crate) started: Moment,
    /// Till when.
    pub(crate) finished: Moment,
    /// Which instance it was.
    pub(crate) id: String,
}

impl Default for Now {
    fn default() -> Self {
        Self::Waiting { reason: "ContainerCreating", message: String::new() }
    }
}

impl Default for Container {
    fn default() -> Self {
        Self {
            now: Now::default(),
            last: None,
            restarts: 0,
            is_started: false,
            is_ready: false,
            image_id: String::new(),
            id: String::new(),
            backoff: Backoff::new(RESTART_FIRST, RESTART_LONGEST),
            due: None,
            is_held: false,
            is_changed: false,
        }
    }
}

impl Container {
    /// Whether it runs.
    pub(crate) fn is_running(&self) -> bool {
        matches!(self.now, Now::Running { .. })
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&self) -> Option<&Ended> {
        match &self.now {
            Now::Ended(ended) => Some(ended),
            Now::Waiting { .. } | Now::Running { .. } => None,
        }
    }

    /// It has ended: when it may be started again, should that be wanted.
    pub(crate) fn end(&mut self, ended: Ended) {
        if ended.finished.seconds() - ended.started.seconds() >= RESTART_FORGOTTEN {
            self.backoff.reset();
        }
        // The first restart is at once, as in Kubernetes: what fails once seldom fails twice.
        let wait = if self.restarts == 0 { Duration::ZERO } else { self.backoff.wait() };
        let wait = i64::try_from(wait.as_micros()).unwrap_or(i64::MAX);
        self.due = Some(Moment::from_micros(ended.finished.micros().saturating_add(wait)));
        self.now = Now::Ended(ended);
        self.is_started = false;
        self.is_ready = false;
        self.is_held = false;
    }

    /// It is started, for the first time or again.
    pub(crate) fn start(&mut self) {
        if let Now::Ended(ended) = &self.now {
            self.last = Some(ended.clone());
            self.restarts = self.restarts.saturating_add(1);
        }
        self.now = Now::default();
        self.due = None;
        self.is_held = true;
        self.is_changed = false;
    }
}

impl Ended {
    /// As a status has it.
    pub(crate) fn to_value(&self) -> Value {
        let mut value = json!({
            "exitCode": self.code, "reason": self.reason, "startedAt": self.started.to_time(),
            "finishedAt": self.finished.to_time(), "containerID": self.id,
        });
        if !self.message.is_empty() {
            value["message"] = json!(self.message);
        }
        value
    }

    fn of(value: &Value) -> Option<Self> {
        let moment = |field: &str| text(&value[field]).parse().unwrap_or_default();
        Some(Self {
            code: u8::try_from(value["exitCode"].as_u64()?).unwrap_or(u8::MAX),
            reason: text(&value["reason"]).into(),
            message: text(&value["message"]).into(),
            started: moment("startedAt"),
            finished: moment("finishedAt"),
            id: text(&value["containerID"]).into(),
        })
    }
}

impl State {
    /// What a status tells of a pod that ran on this node before the agent started anew: nothing of it runs now. What
    /// had run to its end stays so; `lost` says how what was running ended, and `None` that it may simply go on.
    pub(crate) fn of_status(status: &Value, lost: impl Fn(&str, Moment) -> Option<Ended>) -> Self {
        let mut state = Self {
            started: text(&status["startTime"]).parse().unwrap_or_default(),
            address: text(&status["podIP"]).into(),
            ..Self::default()
        };
        for list in ["initContainerStatuses", "containerStatuses"] {
            for one in crate::read::items(&status[list]) {
                let name = text(&one["name"]);
                let mut container = Container {
                    restarts: one["restartCount"]
                        .as_u64()
                        .and_then(|n| u32::try_from(n).ok())
                        .unwrap_or_default(),
                    last: Ended::of(&one["lastState"]["terminated"]),
                    image_id: text(&one["imageID"]).into(),
                    id: text(&one["containerID"]).into(),
                    ..Container::default()
                };
                if let Some(ended) = Ended::of(&one["state"]["terminated"]) {
                    container.end(ended);
                } else if let Some(since) = one["state"]["running"]["startedAt"].as_str()
                    && let Some(ended) = lost(name, since.parse().unwrap_or_default())
                {
                    container.end(Ended { id: container.id.clone(), ..ended });
                }
                state.containers.insert(name.into(), container);
            }
        }
        state
    }
}
