//! What an image reference resolves to: WebAssembly from a file of this machine or from an OCI registry.
//!
//! [`Reference`] is what an image reads as. [`Store`] keeps what was fetched, by its digest, and fetches what is missing
//! through a [`Client`]; a [`Keyring`] has what registries ask for. [`push`](Client::push) is the other direction.

mod access;
mod answer;
mod challenge;
mod client;
mod collect;
mod connection;
mod credentials;
mod digest;
mod download;
mod error;
mod files;
mod flight;
mod kind;
mod layer;
mod manifest;
mod push;
mod reference;
mod retry;
mod store;
mod unpack;

pub use client::{Client, ClientOptions};
pub use collect::Collected;
pub use credentials::{Credential, Keyring, KeyringError};
pub use digest::{Digest, DigestError};
pub use download::Progress;
pub use error::{FetchError, Problem, Reason};
pub use kind::Kind;
pub use layer::{Entry, LayerError, read_layer};
pub use manifest::{Index, Manifest, ManifestError, Plan};
pub use push::{Push, Pushed};
pub use reference::{Image, Part, Reference, ReferenceError};
pub use retry::Retry;
pub use store::{Artifact, Policy, Store, StoreOptions};
