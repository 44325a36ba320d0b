//! `shoal`: a table of contents.

mod backup;
mod cluster;
mod commands;
mod delete;
mod deploy;
mod here;
mod install;
mod logs;
mod node;
mod process;
mod registry;
mod serve;
mod server;
mod status;
mod up;
mod watch;

use std::process::ExitCode;

use shoal_cli::{Exit, Invocation, Request};

#[global_allocator]
static ALLOCATOR: shoal_base::allocator::Allocator = shoal_base::allocator::Allocator;

fn main() -> ExitCode {
    let code = process::guarded(|| shoal_cli::parse(std::env::args_os()).and_then(execute));
    ExitCode::from(code.unwrap_or_else(|exit| exit.say()))
}

/// Does what was asked; the number is the exit code.
fn execute(invocation: Invocation) -> Result<u8, Exit> {
    let Invocation { common, request } = invocation;
    process::log(&common, &request)?;
    match request {
        Request::Run(request) => commands::run(&common, &request),
        Request::Inspect(request) => commands::inspect(&request),
        Request::Compile(request) => commands::compile(&common, &request),
        Request::Push(request) => registry::push(&request),
        Request::Pull(request) => registry::pull(&common, &request),
        Request::Server(request) => server::server(&common, &request),
        Request::Up(request) => up::up(&common, &request),
        Request::Node(request) => node::node(&common, &request),
        Request::Deploy(request) => deploy::deploy(&common, &request),
        Request::Status(request) => status::status(&common, &request),
        Request::Logs(request) => logs::logs(&common, &request),
        Request::Delete(request) => delete::delete(&common, &request),
        Request::Kubeconfig(request) => server::kubeconfig(&common, &request),
        Request::Install(request) => install::install(&request),
        Request::Doctor(request) => commands::doctor(&common, &request),
        Request::Version(request) => commands::version(&request),
        Request::Write(documents) => commands::write(&documents),
    }
}
