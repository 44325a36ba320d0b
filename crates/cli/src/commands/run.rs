//! `shoal run`: serves an artifact, or runs it to its end.

pub(crate) mod edge_limit;
pub(crate) mod grants;
pub(crate) mod limits;
pub(crate) mod serve;

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use shoal_base::units::Bytes;
use shoal_runtime::{Instances, WorkloadSpec};

use crate::artifact;
use crate::exit::{self, Exit};

use grants::TypedGrants;
use limits::{TypedLimits, TypedTotal};
use serve::{ServeRequest, TypedServe};

/// Where requests are taken when nothing was said: this machine only, on the port that is customary for
/// trying things out.
pub const LISTEN_DEFAULT: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 8080));

/// Serve an artifact, or run it to its end: its kind decides.
#[derive(Debug)]
pub struct RunRequest {
    /// What to run, what it may touch, how much it may use.
    pub spec: WorkloadSpec,
    /// How requests are taken, should it answer any.
    pub serve: ServeRequest,
    /// Whether to load the artifact again when it changes.
    pub watch: bool,
    /// What all instances together may have; none: a share of what the machine has.
    pub total_memory: Option<Bytes>,
}

/// Serve a component that answers HTTP, or run a command to its end
///
/// What the artifact exports decides which. A guest may touch only what is granted here.
#[derive(Debug, clap::Args)]
pub(crate) struct TypedRun {
    /// A .wasm, .wat or .cwasm file, or a directory that holds one
    #[arg(value_name = "FILE|DIR")]
    artifact: PathBuf,
    /// Name of the workload in logs and metrics [default: the file's name]
    #[arg(long, value_parser = name)]
    name: Option<String>,
    /// Load the artifact again when it changes; no request is dropped
    #[arg(long)]
    watch: bool,
    /// Let one instance answer up to N requests; each then finds what the earlier ones left behind
    #[arg(long, value_name = "N", value_parser = limits::count)]
    reuse: Option<NonZeroU32>,
    /// Make a new instance for each request, also where one that has answered could be brought back to its
    /// first state
    #[arg(long, conflicts_with = "reuse")]
    no_rewind: bool,
    #[command(flatten)]
    serve: TypedServe,
    #[command(flatten)]
    grants: TypedGrants,
    #[command(flatten)]
    limits: TypedLimits,
    #[command(flatten)]
    total: TypedTotal,
    /// Arguments of a command
    #[arg(last = true, value_name = "ARGS", help_heading = None)]
    args: Vec<String>,
}

impl TypedRun {
    pub(crate) fn meaning(self) -> Result<RunRequest, Exit> {
        let artifact = artifact::find(&self.artifact)?;
        let spec = WorkloadSpec {
            name: self.name.unwrap_or_else(|| name_of(&artifact)),
            grants: self.grants.meaning()?,
            artifact,
            args: self.args,
            limits: self.limits.meaning(),
            instances: match (self.reuse, self.no_rewind) {
                (Some(requests), _) => Instances::Reused(requests),
                (None, true) => Instances::New,
                (None, false) => Instances::Rewound,
            },
            // A workload by itself is in no cluster.
            namespace: String::new(),
            mesh: None,
            output: None,
        };
        let (serve, total_memory) = (self.serve.meaning()?, self.total.total_memory);
        Ok(RunRequest { spec, serve, watch: self.watch, total_memory })
    }
}

/// Bytes in the name of a workload. It is a label of every metric and a field of every log line, and later
/// the name of a Kubernetes object, which allows as many (RFC 1123 label).
const NAME_MAX: usize = 63;

fn name(text: &str) -> Result<String, String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if text.is_empty() || text.len() > NAME_MAX || !text.chars().all(is_plain) {
        return Err(format!("a name has 1 to {NAME_MAX} letters, digits, `-`, `_` or `.`"));
    }
    Ok(text.into())
}

/// The name of the file without its extension, in the letters that a name may have.
fn name_of(artifact: &Path) -> String {
    let stem = artifact.file_stem().unwrap_or_default().to_string_lossy();
    let plain: String =
        stem.chars().map(|c| if name(c.encode_utf8(&mut [0; 4])).is_ok() { c } else { '-' }).collect();
    let cut = plain.get(..NAME_MAX).unwrap_or(&plain);
    if cut.is_empty() { "workload".into() } else { cut.into() }
}

/// Refuses a key that is there twice: which of the two was meant?
pub(crate) fn each_once<'a>(flag: &str, keys: impl IntoIterator<Item = &'a str>) -> Result<(), Exit> {
    let mut seen = std::collections::BTreeSet::new();
    match keys.into_iter().find(|key| !seen.insert(*key)) {
        None => Ok(()),
        Some(twice) => Err(Exit::error(exit::USAGE, format!("{flag} names `{twice}` twice"))
            .hint("leave out all but one of them")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_ends_at_its_limit() {
        assert!(name(&"a".repeat(NAME_MAX)).is_ok());
        assert!(name(&"a".repeat(NAME_MAX + 1)).is_err());
        assert!(name("").is_err());
    }

    #[test]
    fn a_workload_is_named_after_its_file() {
        for (path, expected) in [
            ("dir/hello-http.wasm", "hello-http"),
            ("my app (1).wasm", "my-app--1-"),
            ("é.wasm", "-"),
            ("..", "workload"),
            ("Shop_1.2.wasm", "Shop_1.2"),
        ] {
            assert_eq!(name_of(Path::new(path)), expected, "{path}");
        }
        assert_eq!(name_of(Path::new(&"x".repeat(100))).len(), NAME_MAX);
    }
}
