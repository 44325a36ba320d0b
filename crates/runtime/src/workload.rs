//! A workload: an artifact with its grants and limits, ready to serve or to run.

use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde::Serialize;

use crate::{Account, Grants, Invoke, LimitsByKind, Mesh, Output};

/// What to run, and what it may do.
#[derive(Clone, Debug)]
pub struct WorkloadSpec {
    /// Names the workload in logs and metrics.
    pub name: String,
    /// The artifact: `.wasm`, `.wat` or `.cwasm`.
    pub artifact: PathBuf,
    /// Arguments of a command, without its own name.
    pub args: Vec<String>,
    /// What it may touch.
    pub grants: Grants,
    /// How much it may use.
    pub limits: LimitsByKind,
    /// Where the instance of a request comes from.
    pub instances: Instances,
    /// The namespace of its pod: where the names of services begin that it calls.
    pub namespace: String,
    /// The services of its cluster, if it is in one. Calling them needs a grant as any other destination does.
    pub mesh: Option<Arc<dyn Mesh>>,
    /// Where what it prints goes. None: a command has the standard streams of this process, what serves the log.
    pub output: Option<Arc<dyn Output>>,
}

/// Where the instance of a request comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Instances {
    /// It answered others and was brought back to the state that it was made in, where that is certain to be
    /// whole; else it is new. Nothing that a request leaves behind reaches the next.
    #[default]
    Rewound,
    /// It is always new.
    New,
    /// It answers up to this many requests, and finds what the earlier ones left behind: that isolation is
    /// traded for speed.
    Reused(std::num::NonZeroU32),
}

/// Loads workloads.
pub trait Runtime: Send + Sync {
    /// Reads, compiles where needed, and links the artifact. Blocks; may take long for a large artifact
    /// that is not in the compile cache, and reports through `progress` meanwhile.
    ///
    /// # Errors
    /// A [`Refusal`] that names the artifact, what is wrong and the way out.
    fn load(&self, spec: &WorkloadSpec, progress: &dyn Progress) -> Result<Workload, Refusal>;
}

/// A loaded workload.
pub enum Workload {
    /// Answers requests.
    Http(Arc<dyn Invoke>),
    /// Runs once and ends.
    Command(Box<dyn Command>),
}

/// A program that runs to its end.
pub trait Command: Send {
    /// Runs the program; what it uses is added to `account` while it runs. Dropping the future stops the program
    /// wherever it is: there is no signal that it could hear.
    fn run(self: Box<Self>, account: Arc<Account>) -> BoxFuture<'static, CommandExit>;
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandExit {
    /// It exited with this code.
    Code(u8),
    /// It trapped or was stopped; already logged.
    Failed(crate::Failure),
}

/// Why a workload cannot be loaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct Refusal {
    /// What is wrong, naming the artifact and the part of it.
    pub what: String,
    /// The way out.
    pub hint: Option<String>,
    /// Whether nothing is wrong with the artifact, but what it was granted is not to be had.
    pub unavailable: bool,
}

impl Refusal {
    /// A refusal without a hint.
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), hint: None, unavailable: false }
    }

    /// A refusal of an artifact that may be as it should: a store that it was granted cannot be opened.
    #[must_use]
    pub fn unavailable(self) -> Self {
        Self { unavailable: true, ..self }
    }

    /// Adds the way out.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

/// Where a load stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Step {
    /// Compiling; the number is the size of the artifact in bytes.
    Compiling {
        /// Size of the artifact in bytes.
        size_bytes: u64,
    },
    /// Ready.
    Ready,
}

/// Told where a load stands.
pub trait Progress: Send + Sync {
    /// A step was reached.
    fn step(&self, step: Step);
}

/// Says nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quiet;

impl Progress for Quiet {
    fn step(&self, _step: Step) {}
}
