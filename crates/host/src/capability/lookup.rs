//! `wasi:sockets/ip-name-lookup` 0.2 and 0.3: wasmtime's own, asked only about names that were granted.
//!
//! A lookup tells the name servers of this machine what is asked, and so the owner of the name: without a
//! grant it would be a way out. Addresses written as text are no names, nobody is asked about them, and using them
//! needs its own grant.

use std::net::IpAddr;
use std::sync::Arc;

use wasmtime::component::{Accessor, HasData, Linker, Resource};
use wasmtime_wasi::p2::bindings::sockets::{ip_name_lookup as p2, network};
use wasmtime_wasi::p2::{DynPollable, SocketError};
use wasmtime_wasi::p3::bindings::sockets::{ip_name_lookup as p3, types as p3_types};
use wasmtime_wasi::sockets::{WasiSockets, WasiSocketsCtxView, WasiSocketsView};

use crate::outbound::Outbound;
use crate::state::State;

/// What a lookup works on.
pub(crate) struct LookupView<'a> {
    sockets: WasiSocketsCtxView<'a>,
    outbound: Arc<Outbound>,
}

struct Lookup;

impl HasData for Lookup {
    type Data<'a> = LookupView<'a>;
}

/// Links the lookup of WASI 0.2.
pub(crate) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    p2::add_to_linker::<State, Lookup>(linker, view)
}

/// Links the lookup of WASI 0.3.
pub(crate) fn add_p3_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    p3::add_to_linker::<State, Lookup>(linker, view)
}

fn view(state: &mut State) -> LookupView<'_> {
    let outbound = Arc::clone(&state.context.http.outbound);
    LookupView { sockets: state.sockets(), outbound }
}

impl LookupView<'_> {
    /// Whether this may be resolved; says so in the log where it may not.
    fn allows(&self, name: &str) -> bool {
        let is_address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok();
        is_address || self.outbound.allows_lookup(name)
    }
}

impl p2::Host for LookupView<'_> {
    fn resolve_addresses(
        &mut self,
        network: Resource<network::Network>,
        name: String,
    ) -> Result<Resource<p2::ResolveAddressStream>, SocketError> {
        if !self.allows(&name) {
            return Err(network::ErrorCode::AccessDenied.into());
        }
        p2::Host::resolve_addresses(&mut self.sockets, network, name)
    }
}

impl p2::HostResolveAddressStream for LookupView<'_> {
    fn resolve_next_address(
        &mut self,
        stream: Resource<p2::ResolveAddressStream>,
    ) -> Result<Option<network::IpAddress>, SocketError> {
        self.sockets.resolve_next_address(stream)
    }

    fn subscribe(
        &mut self,
        stream: Resource<p2::ResolveAddressStream>,
    ) -> wasmtime::Result<Resource<DynPollable>> {
        p2::HostResolveAddressStream::subscribe(&mut self.sockets, stream)
    }

    fn drop(&mut self, stream: Resource<p2::ResolveAddressStream>) -> wasmtime::Result<()> {
        p2::HostResolveAddressStream::drop(&mut self.sockets, stream)
    }
}

impl network::Host for LookupView<'_> {
    fn convert_error_code(&mut self, error: SocketError) -> wasmtime::Result<network::ErrorCode> {
        self.sockets.convert_error_code(error)
    }

    fn network_error_code(
        &mut self,
        error: Resource<wasmtime::Error>,
    ) -> wasmtime::Result<Option<network::ErrorCode>> {
        self.sockets.network_error_code(error)
    }
}

impl network::HostNetwork for LookupView<'_> {
    fn drop(&mut self, network: Resource<network::Network>) -> wasmtime::Result<()> {
        network::HostNetwork::drop(&mut self.sockets, network)
    }
}

impl p3::Host for LookupView<'_> {}

impl p3::HostWithStore<State> for Lookup {
    async fn resolve_addresses(
        store: &Accessor<State, Self>,
        name: String,
    ) -> wasmtime::Result<Result<Vec<p3_types::IpAddress>, p3::ErrorCode>> {
        if !store.with(|mut access| access.get().allows(&name)) {
            return Ok(Err(p3::ErrorCode::AccessDenied));
        }
        let sockets = store.with_getter::<WasiSockets>(State::sockets);
        <WasiSockets as p3::HostWithStore<State>>::resolve_addresses(&sockets, name).await
    }
}
