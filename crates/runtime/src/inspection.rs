//! What an artifact is, found from its bytes alone.

use serde::{Deserialize, Serialize};

/// How an artifact runs, decided by what it exports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A component that answers HTTP requests.
    Http(Wasi),
    /// A component that runs as a process.
    Command(Wasi),
    /// A core module that runs as a process (WASI preview 1).
    CommandModule,
}

/// A version of the WASI component interfaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Wasi {
    /// 0.2: resources, pollables.
    #[serde(rename = "0.2")]
    P2,
    /// 0.3: async functions, streams, futures.
    #[serde(rename = "0.3")]
    P3,
}

/// Everything that can be said of an artifact without running it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Inspection {
    /// How it runs; none when nothing here can run it.
    pub kind: Option<Kind>,
    /// Whether it is a component (else a core module).
    pub component: bool,
    /// Whether it uses async functions, streams, futures or an interface of 0.3: only an engine with
    /// concurrency support can run it, whatever its kind.
    pub needs_async: bool,
    /// Size of the binary in bytes.
    pub size_bytes: u64,
    /// BLAKE3 digest of the binary, `blake3:<hex>`.
    pub digest: String,
    /// What it imports, each with the flag that would grant it.
    pub imports: Vec<Import>,
    /// What it exports.
    pub exports: Vec<String>,
    /// WASI versions named by its imports and exports, in order.
    pub wasi_versions: Vec<String>,
    /// The language it was written in, where the producers section tells.
    pub language: Option<String>,
    /// The producers section: field, name, version.
    pub producers: Vec<(String, String, String)>,
    /// Custom sections: name and size in bytes.
    pub custom_sections: Vec<(String, u64)>,
    /// Core modules inside, with their sizes in bytes.
    pub modules: Vec<u64>,
}

/// One import of an artifact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Import {
    /// The interface, as in `wasi:http/outgoing-handler@0.2.6`, or `module::function` of a core module.
    pub name: String,
    /// The capability it belongs to, as in `outbound HTTP`; none when Shoal does not know it.
    pub capability: Option<&'static str>,
    /// The flag of `shoal run` that grants it; none when every workload has it.
    pub flag: Option<&'static str>,
}
