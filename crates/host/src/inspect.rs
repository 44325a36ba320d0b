//! What an artifact is, found from its bytes: no code is compiled, validated or run.
//!
//! [`inspect`] must come before anything else that reads an untrusted artifact, the engine among it: it
//! refuses shapes whose nesting would exhaust the stack of the readers that come after (see [`scan`]).

mod describe;
mod grants;
mod language;
mod names;
mod scan;
mod text;

use std::borrow::Cow;

use shoal_runtime::{Inspection, Kind, Refusal, Wasi};

pub use describe::refuse_unknown;
pub use text::{to_binary, wat, wit};

pub(crate) use grants::import;
use names::Interface;
use scan::Scan;

use crate::rewind;

/// Says what an artifact is: a component or a core module, binary or text.
///
/// Reads section headers, names and types only, so that an artifact of tens of megabytes takes
/// milliseconds (most of them for its digest).
///
/// # Errors
/// When the bytes are not WebAssembly, or are cut off or malformed where they were read. A well-formed
/// artifact that Shoal cannot run is no error: its [`Inspection::kind`] is none, and
/// [`refuse_unknown`] puts that into words.
pub fn inspect(bytes: &[u8]) -> Result<Inspection, Refusal> {
    let binary = to_binary(bytes)?;
    let scan = scan::scan(&binary)?;
    let interfaces: Vec<Interface<'_>> = scan.names().filter_map(Interface::parse).collect();
    Ok(Inspection {
        kind: kind(&scan),
        component: scan.component,
        needs_async: scan.is_async || interfaces.iter().any(|i| i.wasi() == Some(Wasi::P3)),
        size_bytes: binary.len() as u64,
        digest: format!("blake3:{}", blake3::hash(&binary)),
        imports: scan.imports.iter().map(|name| import(name)).collect(),
        wasi_versions: names::wasi_versions(&scan.imports, &interfaces),
        language: language::of(&scan),
        exports: scan.exports.into_iter().map(|export| export.name).collect(),
        producers: scan.producers,
        custom_sections: scan.custom_sections,
        modules: scan.modules,
    })
}

/// The component, binary or text, with what it takes to bring its instances back to their first state.
///
/// # Errors
/// Why that cannot be, in words; a component that is refused here may still run, with an instance for each request.
pub fn rewindable(component: &[u8]) -> Result<Vec<u8>, String> {
    let (binary, _) = harmless(component).map_err(|refusal| refusal.what)?;
    rewind::rewindable(&binary).map_err(|why| why.to_string())
}

/// The same artifact as a binary whose nesting is known to be harmless.
fn harmless(bytes: &[u8]) -> Result<(Cow<'_, [u8]>, Scan), Refusal> {
    let binary = to_binary(bytes)?;
    let scan = scan::scan(&binary)?;
    Ok((binary, scan))
}

/// How the artifact runs. HTTP goes before commands, and 0.3 before 0.2: who exports both serves, with the
/// newer interface.
fn kind(scan: &Scan) -> Option<Kind> {
    if !scan.component {
        return is_command_module(scan).then_some(Kind::CommandModule);
    }
    let exports = |interface: &str, wasi: Wasi| {
        scan.exports.iter().any(|export| {
            export.is_instance
                && Interface::parse(&export.name)
                    .is_some_and(|found| found.path() == interface && found.wasi() == Some(wasi))
        })
    };
    let entries = [
        ("wasi:http/handler", Wasi::P3, Kind::Http(Wasi::P3)),
        ("wasi:http/incoming-handler", Wasi::P2, Kind::Http(Wasi::P2)),
        ("wasi:cli/run", Wasi::P3, Kind::Command(Wasi::P3)),
        ("wasi:cli/run", Wasi::P2, Kind::Command(Wasi::P2)),
    ];
    entries.into_iter().find(|(name, wasi, _)| exports(name, *wasi)).map(|(_, _, kind)| kind)
}

/// A preview 1 command exports its start, and its memory as soon as it calls anything of the host.
fn is_command_module(scan: &Scan) -> bool {
    let has = |name: &str, is_function: bool| {
        scan.exports.iter().any(|export| export.name == name && export.is_function == is_function)
    };
    has("_start", true) && (scan.imports.is_empty() || has("memory", false))
}

#[cfg(test)]
mod tests;
