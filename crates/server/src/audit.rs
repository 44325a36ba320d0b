//! What was done, by whom: one line of JSON for each request (`audit.k8s.io/v1`).
//!
//! A request is recorded when it is answered, at the level `Metadata`: who, what, when, from where, with which result. So
//! is one of somebody who is not known, with what they showed, and one that was sent away because too many wait.
//! At the level `Request` the body that was sent is added, but never of objects that are secret. Headers, and so
//! tokens, are never recorded.
//!
//! A thread of its own writes. When it cannot keep up, entries are dropped rather than requests held back; how many
//! is said in the log itself.

mod file;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use jiff::{Timestamp, Unit};
use serde::Serialize;
use serde_json::{Value, json};
use shoal_control::rbac::User;

use crate::files::FileError;
use crate::random;
use file::Rotated;

/// Entries that wait for the disk: at some kilobytes each a few megabytes, and a second of a busy server.
pub const QUEUE_ENTRIES_MAX: usize = 4096;
/// How long entries are gathered before they are written: a thread that sleeps need not be woken for each of them. The
/// queue has room for more requests than are answered meanwhile.
const GATHER: Duration = Duration::from_millis(10);
/// Longest body that is recorded; a longer one is left out.
pub const BODY_BYTES_MAX: usize = 64 << 10;
/// Longest user agent and path that are recorded: clients choose them.
const TEXT_BYTES_MAX: usize = 2048;
/// Resources whose bodies are secret.
const SECRET: &[&str] = &["secrets", "configmaps", "tokenreviews", "certificatesigningrequests"];

/// How much is recorded of each request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Nothing.
    None,
    /// All but bodies.
    #[default]
    Metadata,
    /// The body of the request too.
    Request,
}

/// How far a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Stage {
    /// It was answered before anybody looked at what it asks for: whoever sent it is not known.
    ResponseStarted,
    /// It was answered.
    ResponseComplete,
}

/// Where the log is written, and how much of it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The file that is written to; older ones have `.1`, `.2`, … behind it.
    pub path: PathBuf,
    /// How much is recorded.
    pub level: Level,
    /// A file that has grown so long is put aside.
    pub file_bytes_max: u64,
    /// Files that are kept beside the one that is written.
    pub files_max: usize,
}

impl Options {
    /// The level `Metadata`, in files of 100 MiB, ten of them beside the one that is written: as much as kube-apiserver
    /// is mostly told to keep.
    pub fn new(path: PathBuf) -> Self {
        Self { path, level: Level::default(), file_bytes_max: 100 << 20, files_max: 10 }
    }
}

/// A request, as it is recorded.
#[derive(Clone, Debug)]
pub struct Entry<'a> {
    /// The request's `Audit-Id`: see [`new_id`].
    pub id: &'a str,
    /// When it arrived.
    pub received: Timestamp,
    /// When it was answered.
    pub answered: Timestamp,
    /// How far it came.
    pub stage: Stage,
    /// Path and query, as they were written.
    pub uri: &'a str,
    /// `get`, `list`, …
    pub verb: &'a str,
    /// Who asked, in truth.
    pub user: &'a User,
    /// As whom, when not as themselves (`impersonatedUser`).
    pub impersonated: Option<&'a User>,
    /// Addresses, the client's first.
    pub source_ips: &'a [String],
    /// What the client calls itself.
    pub user_agent: &'a str,
    /// What it was about; none for a path that is no resource.
    pub object: Option<ObjectRef<'a>>,
    /// The HTTP status of the answer.
    pub code: u16,
    /// `reason` of a `Status`; empty when it went well.
    pub reason: &'a str,
    /// `message` of a `Status`, or what was shown by whoever is not known; empty when it went well.
    pub message: &'a str,
    /// What authorization decided: `allow` or `forbid`, and why.
    pub decision: Option<(&'a str, &'a str)>,
    /// What was sent, for the level `Request`.
    pub body: Option<&'a Value>,
}

/// The object of a request; what is not known is empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectRef<'a> {
    /// `deployments`.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub resource: &'a str,
    /// Its namespace.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub namespace: &'a str,
    /// Its name.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub name: &'a str,
    /// Its identity.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub uid: &'a str,
    /// `apps`.
    #[serde(rename = "apiGroup", skip_serializing_if = "str::is_empty")]
    pub group: &'a str,
    /// `v1`.
    #[serde(rename = "apiVersion", skip_serializing_if = "str::is_empty")]
    pub version: &'a str,
    /// Its version.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub resource_version: &'a str,
    /// `status`.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub subresource: &'a str,
}

/// The log. Shared by all connections.
pub struct Log {
    level: Level,
    queue: Mutex<Option<SyncSender<String>>>,
    dropped: Arc<AtomicU64>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

/// An identifier for a request, which its answer carries as `Audit-Id`.
pub fn new_id() -> String {
    random::uuid()
}

impl Log {
    /// Opens the file and starts the thread that writes to it.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn open(options: Options) -> Result<Self, FileError> {
        let level = options.level;
        let file = Rotated::open(options.path, options.file_bytes_max, options.files_max)?;
        let (sender, receiver) = sync_channel(QUEUE_ENTRIES_MAX);
        let dropped = Arc::new(AtomicU64::new(0));
        let counted = dropped.clone();
        let writer = thread::Builder::new()
            .name("audit".into())
            .spawn(move || write_all(file, &receiver, &counted))
            .expect("a thread can be started while the server starts");
        Ok(Self { level, queue: Mutex::new(Some(sender)), dropped, writer: Mutex::new(Some(writer)) })
    }

    /// Records a request. Never waits.
    pub fn record(&self, entry: &Entry<'_>) {
        if self.level == Level::None {
            return;
        }
        let mut line = entry.to_line(self.level);
        line.push('\n');
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(queue) = queue.as_ref() else { return };
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = queue.try_send(line) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many entries were dropped since the start, for metrics.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Writes what waits, and ends the thread. Blocks: for the end of the process.
    pub fn close(&self) {
        drop(self.queue.lock().unwrap_or_else(PoisonError::into_inner).take());
        if let Some(writer) = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take()
            && writer.join().is_err()
        {
            tracing::error!("the thread of the audit log has panicked");
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("level", &self.level).finish_non_exhaustive()
    }
}

impl Entry<'_> {
    /// As it stands in the log, without the end of the line.
    pub fn to_line(&self, level: Level) -> String {
        serde_json::to_string(&self.event(level)).expect("texts and numbers can be written")
    }

    fn event(&self, level: Level) -> Event<'_> {
        let body = self.body.filter(|_| level >= Level::Request && !self.is_secret());
        let body = body.filter(|body| body.to_string().len() <= BODY_BYTES_MAX);
        Event {
            kind: "Event",
            api_version: "audit.k8s.io/v1",
            level: if body.is_some() { "Request" } else { "Metadata" },
            audit_id: self.id,
            stage: self.stage,
            request_uri: shortened(self.uri),
            verb: self.verb,
            user: self.user.into(),
            impersonated_user: self.impersonated.map(UserInfo::from),
            source_ips: self.source_ips,
            user_agent: shortened(self.user_agent),
            object_ref: self.object,
            response_status: ResponseStatus {
                metadata: Nothing {},
                code: self.code,
                status: if self.reason.is_empty() { "" } else { "Failure" },
                reason: self.reason,
                message: if self.hides_message() { "" } else { shortened(self.message) },
            },
            request_received_timestamp: micro(self.received),
            stage_timestamp: micro(self.answered),
            annotations: self.decision.map(|(decision, reason)| Decision { decision, reason }),
            request_object: body,
        }
    }

    /// Messages about what was sent quote it. Who may not or is not known has sent nothing that was read.
    fn hides_message(&self) -> bool {
        self.is_secret() && self.object.is_some() && !["", "Forbidden"].contains(&self.reason)
    }

    fn is_secret(&self) -> bool {
        self.object.is_none_or(|object| SECRET.contains(&object.resource) || object.subresource == "token")
    }
}

/// An `Event` of `audit.k8s.io/v1`. What is empty is left out.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Event<'a> {
    kind: &'static str,
    api_version: &'static str,
    level: &'static str,
    #[serde(rename = "auditID")]
    audit_id: &'a str,
    stage: Stage,
    #[serde(rename = "requestURI")]
    request_uri: &'a str,
    verb: &'a str,
    user: UserInfo<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    impersonated_user: Option<UserInfo<'a>>,
    #[serde(rename = "sourceIPs")]
    source_ips: &'a [String],
    #[serde(skip_serializing_if = "str::is_empty")]
    user_agent: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    object_ref: Option<ObjectRef<'a>>,
    response_status: ResponseStatus<'a>,
    request_received_timestamp: String,
    stage_timestamp: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    annotations: Option<Decision<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_object: Option<&'a Value>,
}

#[derive(Serialize)]
struct UserInfo<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    username: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    uid: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    groups: &'a [String],
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    extra: &'a BTreeMap<String, Vec<String>>,
}

#[derive(Serialize)]
struct ResponseStatus<'a> {
    metadata: Nothing,
    code: u16,
    #[serde(skip_serializing_if = "str::is_empty")]
    status: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    reason: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    message: &'a str,
}

#[derive(Serialize)]
struct Nothing {}

#[derive(Serialize)]
struct Decision<'a> {
    #[serde(rename = "authorization.k8s.io/decision")]
    decision: &'a str,
    #[serde(rename = "authorization.k8s.io/reason")]
    reason: &'a str,
}

impl<'a> From<&'a User> for UserInfo<'a> {
    fn from(user: &'a User) -> Self {
        Self { username: &user.name, uid: &user.uid, groups: &user.groups, extra: &user.extra }
    }
}

/// Runs on a thread of its own until the log is closed.
#[expect(
    clippy::disallowed_methods,
    reason = "nothing is waited for: what comes meanwhile is written with the rest"
)]
fn write_all(mut file: Rotated, queue: &Receiver<String>, dropped: &AtomicU64) {
    let mut told = 0;
    while let Ok(first) = queue.recv() {
        thread::sleep(GATHER);
        let lost = dropped.load(Ordering::Relaxed);
        if lost > told {
            file.write(&format!("{}\n", json!({"kind": "Dropped", "entries": lost - told})));
            told = lost;
        }
        file.write(&first);
        queue.try_iter().for_each(|line| file.write(&line));
        file.flush();
    }
    file.sync();
}

/// With six digits of a second, as MicroTime has them.
fn micro(time: Timestamp) -> String {
    let time = time.round(Unit::Microsecond).unwrap_or(time);
    format!("{time:.6}")
}

fn shortened(text: &str) -> &str {
    &text[..text.floor_char_boundary(TEXT_BYTES_MAX)]
}

#[cfg(test)]
mod tests;
