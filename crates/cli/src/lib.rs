//! The command line: from what was typed to what it means, and from data to what people read.
//!
//! [`parse`] turns arguments into an [`Invocation`]; the `shoal` binary does what it says. [`render`] turns
//! answers into text, [`progress`] shows a long compile or transfer, [`exit`] holds the exit codes. Nothing here runs a
//! guest or opens a socket; of the disk, only the names of artifacts in a directory are read.

mod artifact;
pub mod cluster;
mod commands;
mod data_dir;
pub mod exit;
pub mod progress;
pub mod render;

pub use commands::compile::CompileRequest;
pub use commands::doctor::DoctorRequest;
pub use commands::inspect::{InspectOutput, InspectRequest};
pub use commands::install::{InstallRequest, UNIT_PATH, is_lasting, unit};
pub use commands::kubeconfig::KubeconfigRequest;
pub use commands::node::{NodeOptions, NodeRequest};
pub use commands::pull::PullRequest;
pub use commands::push::PushRequest;
pub use commands::registry::{CredentialsFile, RegistryOptions};
pub use commands::run::edge_limit::EdgeLimits;
pub use commands::run::serve::{AccessLog, EdgeOptions, ServeRequest, Tls, Traces};
pub use commands::run::{LISTEN_DEFAULT, RunRequest};
pub use commands::server::LISTEN_DEFAULT as SERVER_LISTEN_DEFAULT;
pub use commands::server::{EtcdChoice, OidcChoice, ServerOptions, ServerRequest, StoreChoice};
pub use commands::up::UpRequest;
pub use commands::version::VersionRequest;
pub use commands::{Color, Common, Document, Invocation, Request, definition, parse, parse_in};
pub use data_dir::Surroundings;
pub use exit::Exit;
