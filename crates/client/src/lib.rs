//! The one way to the Kubernetes API.
//!
//! A [`Client`] has the verbs; a [`Transport`] carries a request: [`http::Http`] over TLS to any Kubernetes API server,
//! or the handlers of Shoal's own server in this process, without a socket. A [`Cache`] follows the objects of one
//! kind and has them at hand. [`fake::Fake`] is an API in memory, for tests of whoever speaks to one.
//!
//! Objects are JSON values, as everywhere in Shoal.

mod cache;
mod client;
mod discover;
mod error;
pub mod fake;
pub mod http;
pub mod kubeconfig;
mod lines;
mod list;
mod log;
mod options;
mod resource;
mod transport;
mod watch;

pub use cache::{Cache, Contact};
pub use client::Client;
pub use error::{Error, Refused};
pub use list::List;
pub use log::{Log, Said};
pub use options::{Deletion, Patch, Select};
pub use resource::{Resource, kinds};
pub use transport::{Body, Transport};
pub use watch::{Change, Events};
