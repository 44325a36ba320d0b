//! Linkers: what a guest can import, given what it was granted. One for each set of grants, shared by all
//! workloads that have it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use shoal_runtime::Grants;
use wasmtime::component::{HasData, Linker, ResourceTable};
use wasmtime_wasi::WasiView;
use wasmtime_wasi::cli::{WasiCli, WasiCliView};
use wasmtime_wasi::clocks::{WasiClocks, WasiClocksView};
use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemView};
use wasmtime_wasi::p2::bindings::{cli, clocks, filesystem, random, sockets};
use wasmtime_wasi::random::WasiRandom;
use wasmtime_wasi::sockets::{WasiSockets, WasiSocketsView};

use crate::capability;
use crate::engine::{Engines, Flavour};
use crate::state::State;

/// The interfaces beyond those that every workload has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Granted {
    outbound: bool,
    config: bool,
    key_value: bool,
    blobs: bool,
}

impl Granted {
    /// What these grants link; the interfaces of a whole WASI world come without any right.
    pub(crate) fn of(grants: &Grants, imports_its_world: bool) -> Self {
        Self {
            outbound: grants.reaches_out() || imports_its_world,
            config: !grants.config.is_empty(),
            key_value: !grants.key_value.is_empty(),
            blobs: !grants.blobs.is_empty(),
        }
    }
}

/// All linkers made so far.
#[derive(Default)]
pub(crate) struct Linkers(Mutex<Made>);

type Made = HashMap<(Flavour, Granted), Arc<Linker<State>>>;

impl Linkers {
    /// The linker for an engine and a set of grants.
    pub(crate) fn get(
        &self,
        engines: &Engines,
        flavour: Flavour,
        granted: Granted,
    ) -> wasmtime::Result<Arc<Linker<State>>> {
        let mut linkers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(linker) = linkers.get(&(flavour, granted)) {
            return Ok(Arc::clone(linker));
        }
        let linker = Arc::new(build(engines, flavour, granted)?);
        linkers.insert((flavour, granted), Arc::clone(&linker));
        Ok(linker)
    }
}

fn build(engines: &Engines, flavour: Flavour, granted: Granted) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engines.get(flavour));
    let l = &mut linker;
    link_io(l)?;
    link_everyones(l)?;
    capability::http::add_to_linker(l)?;
    if granted.outbound {
        link_outbound(l)?;
    }
    capability::logging::add_to_linker(l, State::logging)?;
    if granted.config {
        capability::config::add_to_linker(l, State::config)?;
    }
    if granted.key_value {
        capability::keyvalue::add_to_linker(l, State::key_value)?;
    }
    if granted.blobs {
        capability::blobstore::add_to_linker(l, State::blobs)?;
    }
    if flavour == Flavour::Async {
        link_p3(l, granted)?;
    }
    Ok(linker)
}

struct Io;

impl HasData for Io {
    type Data<'a> = &'a mut ResourceTable;
}

fn link_io(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    use wasmtime_wasi_io::bindings::wasi::io;
    io::error::add_to_linker::<State, Io>(linker, |state| &mut state.table)?;
    io::poll::add_to_linker::<State, Io>(linker, |state| &mut state.table)?;
    io::streams::add_to_linker::<State, Io>(linker, |state| &mut state.table)
}

/// Clocks, randomness, environment, standard streams, and a file system without any directory: these give
/// access to nothing by themselves.
fn link_everyones(l: &mut Linker<State>) -> wasmtime::Result<()> {
    clocks::wall_clock::add_to_linker::<State, WasiClocks>(l, State::clocks)?;
    clocks::monotonic_clock::add_to_linker::<State, WasiClocks>(l, State::clocks)?;
    random::random::add_to_linker::<State, WasiRandom>(l, |state| state.ctx().ctx.random())?;
    random::insecure::add_to_linker::<State, WasiRandom>(l, |state| state.ctx().ctx.random())?;
    random::insecure_seed::add_to_linker::<State, WasiRandom>(l, |state| state.ctx().ctx.random())?;
    cli::exit::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::environment::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::stdin::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::stdout::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::stderr::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::terminal_input::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::terminal_output::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::terminal_stdin::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::terminal_stdout::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::terminal_stderr::add_to_linker::<State, WasiCli>(l, State::cli)?;
    filesystem::types::add_to_linker::<State, WasiFilesystem>(l, State::filesystem)?;
    filesystem::preopens::add_to_linker::<State, WasiFilesystem>(l, State::filesystem)
}

fn link_outbound(l: &mut Linker<State>) -> wasmtime::Result<()> {
    capability::http::add_outgoing_to_linker(l)?;
    let options = sockets::network::LinkOptions::default();
    sockets::network::add_to_linker::<State, WasiSockets>(l, &options, State::sockets)?;
    sockets::instance_network::add_to_linker::<State, WasiSockets>(l, State::sockets)?;
    capability::lookup::add_to_linker(l)?;
    sockets::tcp::add_to_linker::<State, WasiSockets>(l, State::sockets)?;
    sockets::tcp_create_socket::add_to_linker::<State, WasiSockets>(l, State::sockets)?;
    sockets::udp::add_to_linker::<State, WasiSockets>(l, State::sockets)?;
    sockets::udp_create_socket::add_to_linker::<State, WasiSockets>(l, State::sockets)
}

fn link_p3(l: &mut Linker<State>, granted: Granted) -> wasmtime::Result<()> {
    use wasmtime_wasi::p3;
    p3::cli::add_to_linker(l)?;
    p3::clocks::add_to_linker(l)?;
    p3::filesystem::add_to_linker(l)?;
    p3::random::add_to_linker(l)?;
    capability::http_p3::add_to_linker(l)?;
    if granted.outbound {
        p3::bindings::sockets::types::add_to_linker::<State, WasiSockets>(l, State::sockets)?;
        capability::lookup::add_p3_to_linker(l)?;
        capability::http_p3::add_client_to_linker(l)?;
    }
    Ok(())
}
