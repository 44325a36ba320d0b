//! The store as its users see it: the same histories on every engine.

mod etcd;
mod faulty;
mod history;
mod sqlite;
mod support;
