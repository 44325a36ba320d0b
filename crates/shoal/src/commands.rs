//! What each verb does, in terms of the rooms below.

use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use shoal_base::drain::Drain;
use shoal_cli::progress::CompileProgress;
use shoal_cli::render::{self, version::Versions};
use shoal_cli::{
    AccessLog, Common, CompileRequest, DoctorRequest, Document, Exit, InspectOutput, InspectRequest,
    RunRequest, VersionRequest, exit,
};
use shoal_host::pool::PoolWish;
use shoal_host::{Host, HostConfig};
use shoal_runtime::{Command, CommandExit, Refusal, Runtime as _, Workload, WorkloadSpec};

use crate::process;
use crate::serve;

/// Serves an artifact, or runs it to its end.
pub(crate) fn run(common: &Common, request: &RunRequest) -> Result<u8, Exit> {
    process::raise_file_limit();
    check_dirs(&request.spec)?;
    let drain = Drain::new();
    let pool = PoolWish { memory_total: request.total_memory, ..wish(&request.spec) };
    let host = host(common, pool, &drain)?;
    match load(&host, &request.spec)? {
        Workload::Http(invoke) => serve::run(host, request, invoke, &drain),
        Workload::Command(command) => {
            say_idle_flags(request);
            run_command(command)
        }
    }
}

/// Says which of the flags mean nothing to a command: who gave them took it for something that serves.
fn say_idle_flags(request: &RunRequest) {
    let (serve, edge) = (&request.serve, &request.serve.edge);
    let given = [
        ("--watch", request.watch),
        ("--admin", edge.admin.is_some()),
        ("--access-log", edge.access_log != AccessLog::Off),
        ("--otlp", edge.traces.is_some()),
        ("--tls-cert, --tls-key or --tls-self-signed", serve.tls.is_some()),
    ];
    for (flag, _) in given.iter().filter(|(_, is_given)| *is_given) {
        let what =
            format!("`{}` is a command, which runs to its end: {flag} has no effect", request.spec.name);
        let _ = anstream::stderr().write_all(render::error::warning(&what, None).as_bytes());
    }
}

/// Refuses a grant of a directory that is not there, before a request meets it.
fn check_dirs(spec: &WorkloadSpec) -> Result<(), Exit> {
    for grant in &spec.grants.dirs {
        std::fs::read_dir(&grant.host).map_err(|error| {
            let what = format!("cannot grant {} as {}: {error}", grant.host.display(), grant.guest);
            Exit::error(exit::NO_INPUT, what).hint("--dir names a directory of this machine that exists")
        })?;
    }
    Ok(())
}

/// The host of this process.
pub(crate) fn host(common: &Common, pool: PoolWish, drain: &Drain) -> Result<Host, Exit> {
    let config =
        HostConfig { data_dir: common.data_dir.clone(), key: common.key.clone(), pool, drain: drain.clone() };
    Host::new(&config).map_err(|refusal| refused(exit::UNAVAILABLE, &refusal))
}

/// A pool in which this one workload fits. Never a smaller one than usual: code is checked against the pool first, and
/// what begins with more than its own limit must be refused by that limit, by name.
fn wish(spec: &WorkloadSpec) -> PoolWish {
    let (serving, command, usual) = (&spec.limits.serving, &spec.limits.command, PoolWish::default());
    PoolWish {
        memory_max: serving.memory.max(command.memory).max(usual.memory_max),
        table_elements: serving.table_elements.max(command.table_elements).max(usual.table_elements),
        stack: serving.stack.max(command.stack),
        ..usual
    }
}

/// Loads a workload, showing a compile that takes long.
pub(crate) fn load(host: &Host, spec: &WorkloadSpec) -> Result<Workload, Exit> {
    let progress = CompileProgress::new(&spec.name, std::io::stderr().is_terminal());
    host.load(spec, &progress).map_err(|refusal| {
        refused(if refusal.unavailable { exit::UNAVAILABLE } else { exit::BAD_ARTIFACT }, &refusal)
    })
}

/// How long the call in which a command was stopped may go on. Some never return, such as the open of a pipe that nobody
/// writes to.
const CALLS_AFTER_END: Duration = Duration::from_secs(1);

fn run_command(command: Box<dyn Command>) -> Result<u8, Exit> {
    let runtime = process::runtime()?;
    let exit = runtime.block_on(command.run(Arc::default()));
    if let CommandExit::Failed(failure) = &exit {
        runtime.shutdown_timeout(CALLS_AFTER_END);
        return Err(Exit::error(exit::of_command(&exit), &failure.reason));
    }
    Ok(exit::of_command(&exit))
}

/// Says what an artifact is.
pub(crate) fn inspect(request: &InspectRequest) -> Result<u8, Exit> {
    let path = &request.artifact;
    let bytes = read(path)?;
    let refuse = |refusal: Refusal| Exit::refusal(exit::BAD_ARTIFACT, path.display(), &refusal);
    let text = match request.output {
        InspectOutput::Table => {
            render::inspect::inspection(path, &shoal_host::inspect(&bytes).map_err(refuse)?)
        }
        InspectOutput::Json => {
            render::inspect::inspection_json(path, &shoal_host::inspect(&bytes).map_err(refuse)?)
        }
        InspectOutput::Wit => shoal_host::wit(&bytes).map_err(refuse)?,
        InspectOutput::Wat => shoal_host::wat(&bytes).map_err(refuse)?,
    };
    print(&text).map(|()| exit::OK)
}

/// Compiles an artifact into a `.cwasm` file.
pub(crate) fn compile(common: &Common, request: &CompileRequest) -> Result<u8, Exit> {
    let host = host(common, PoolWish::default(), &Drain::new())?;
    let progress =
        CompileProgress::new(request.artifact.display().to_string(), std::io::stderr().is_terminal());
    let file = host
        .compile(&request.artifact, request.target.as_deref(), &progress)
        .map_err(|refusal| refused(exit::BAD_ARTIFACT, &refusal))?;
    process::write_file(&request.output, &file)?;
    Ok(exit::OK)
}

/// Reports on this machine.
pub(crate) fn doctor(common: &Common, request: &DoctorRequest) -> Result<u8, Exit> {
    let report = shoal_host::doctor(&common.data_dir, &PoolWish::default());
    let text =
        if request.json { render::doctor::doctor_json(&report) } else { render::doctor::doctor(&report) };
    print(&text)?;
    Ok(exit::of_report(report.verdict()))
}

/// Names the versions.
pub(crate) fn version(request: &VersionRequest) -> Result<u8, Exit> {
    let versions = Versions {
        shoal: env!("CARGO_PKG_VERSION"),
        wasmtime: shoal_host::WASMTIME_VERSION,
        target: shoal_host::cache::host_target(),
    };
    let text = if request.json {
        render::version::version_json(&versions)
    } else {
        render::version::version(&versions)
    };
    print(&text).map(|()| exit::OK)
}

/// Writes completions or manual pages.
pub(crate) fn write(documents: &[Document]) -> Result<u8, Exit> {
    documents.iter().try_for_each(Document::write)?;
    Ok(exit::OK)
}

/// An error from a refusal that names its object itself.
pub(crate) fn refused(code: u8, refusal: &Refusal) -> Exit {
    let exit = Exit::error(code, &refusal.what);
    match &refusal.hint {
        Some(hint) => exit.hint(hint),
        None => exit,
    }
}

/// What a file holds that was named.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Exit> {
    std::fs::read(path)
        .map_err(|error| Exit::error(exit::NO_INPUT, format!("cannot read {}: {error}", path.display())))
}

/// Prints data. A reader that has gone away (`| head`) is no error.
fn print(text: &str) -> Result<(), Exit> {
    let mut stdout = anstream::stdout();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Exit::error(exit::UNAVAILABLE, format!("cannot write standard output: {error}")))
        }
        _ => Ok(()),
    }
}
