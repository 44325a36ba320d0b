//! The store as its users see it: the same histories on every engine.

mod backup;
mod etcd;
mod faulty;
mod history;
mod seeds;
mod sqlite;
mod support;
