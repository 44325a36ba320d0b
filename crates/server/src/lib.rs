//! The API server: the Kubernetes API over the store.
//!
//! A request is met by [`http`], [`front`] (who asks, may they, whose turn is it) and [`route`]; then by [`read`],
//! [`watch`], [`write`], [`patch`], [`delete`] or a [`subresource`]. What is written goes through [`admit`] and
//! [`commit`]. Objects lie in the store as [`stored`] says; [`world`] keeps them at hand for admission,
//! authorization and the controllers, which [`driver`] runs.

pub mod access;
pub mod admit;
mod allocate;
pub mod answer;
pub mod api;
pub mod audit;
pub mod auth;
mod backup;
mod body;
pub mod changes;
mod commit;
mod convert;
mod custom;
mod delete;
mod documents;
mod driver;
mod execute;
pub mod fair;
mod filed;
mod files;
pub mod front;
mod gzip;
mod hooks;
pub mod http;
mod https;
mod leader;
mod lease;
pub mod local;
mod media;
mod metrics;
mod nodes;
pub mod objects;
pub mod options;
mod page;
mod patch;
mod paths;
pub mod pki;
mod random;
mod read;
pub mod registry;
mod render;
mod review;
mod rights;
mod rotate;
mod route;
pub mod seal;
mod select;
pub mod start;
mod stored;
mod subresource;
pub mod target;
mod watch;
pub mod world;
mod write;

pub use api::Api;
pub use local::Local;
pub use start::{Config, Controllers, Running, start};
