//! The binary as people and scripts meet it: processes, sockets, signals, files and exit codes.
#![expect(clippy::print_stderr, reason = "a test that is left out says so, loudly")]

mod client;
mod commands;
mod compile;
mod edge_limits;
mod grants;
mod guide;
mod hellos;
mod hostile;
mod process;
mod refusals;
mod shows;
mod signals;
mod sockets;
mod tls;
mod traces;
mod up;
mod upstream;
mod verbs;
mod watch;
