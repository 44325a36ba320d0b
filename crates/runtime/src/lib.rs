//! The wall between whoever serves requests and whatever runs guests.
//!
//! `edge` calls [`Invoke`]; `host` implements it; neither knows the other. A [`WorkloadSpec`] says what to
//! run, what it is granted ([`Grants`]) and how much it may use ([`Limits`]); a [`Runtime`] turns that into
//! a [`Workload`] or a [`Refusal`] that names what is missing. [`Endpoints`] holds the replicas that the node agent
//! lets serve and the edge sends requests to; [`Mesh`] is a guest's way to the services of its cluster.
//!
//! Nothing here opens a socket or a file.

mod account;
mod body;
mod endpoints;
mod failure;
mod grants;
mod inspection;
mod invoke;
mod limits;
mod mesh;
mod outbound;
mod output;
mod trace;
mod workload;

pub mod fake;
pub mod report;

pub use account::{Account, Usage};
pub use body::{Body, BodyError};
pub use endpoints::{Endpoints, InFlight, Replica, Serving};
pub use failure::{Failure, FailureKind};
pub use grants::{DirGrant, GrantError, Grants, StoreGrant, StorePlace};
pub use inspection::{Import, Inspection, Kind, Wasi};
pub use invoke::{Answer, Call, Invoke};
pub use limits::{Limits, LimitsByKind};
pub use mesh::{HOPS_MAX, Mesh};
pub use outbound::{OutboundPattern, OutboundRules, PatternError};
pub use output::{Output, Stream};
pub use trace::{CollectorUrl, CollectorUrlError, SampleRatio, TRACEPARENT, TRACESTATE, TraceContext};
pub use workload::{
    Command, CommandExit, Instances, Progress, Quiet, Refusal, Runtime, Step, Workload, WorkloadSpec,
};
