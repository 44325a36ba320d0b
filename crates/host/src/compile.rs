//! Machine code for artifacts: found in the cache, imported from a `.cwasm` file, or compiled.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use shoal_base::error_chain::chain;
use shoal_base::units::Bytes;
use shoal_runtime::{Inspection, Kind, Progress, Refusal, Step, Wasi};
use wasmtime::component::Component;
use wasmtime::{Config, Engine, Module, ResourcesRequired};

use crate::cache::{About, ArtifactDigest, Cache, EngineDigest, Form, Key};
use crate::engine::{Engines, Flavour};
use crate::inspect::{self, inspect};
use crate::loaded::Loaded;
use crate::rewind;

/// What the loader must know of an artifact; travels with compiled code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Facts {
    /// How it runs.
    pub(crate) kind: Kind,
    /// Which engine runs it.
    pub(crate) flavour: Flavour,
    /// What it imports, by name.
    pub(crate) imports: Vec<String>,
    /// The language it was written in, where that is known.
    pub(crate) language: Option<String>,
}

/// The unit of linear memory.
const WASM_PAGE: Bytes = Bytes::kib(64);

/// The name of the facts in a `.cwasm` file.
const FACTS: &str = "loader";

/// An artifact with its code, mapped and ready to be linked.
pub(crate) struct Compiled {
    pub(crate) facts: Facts,
    pub(crate) code: Code,
}

/// Mapped code.
pub(crate) enum Code {
    Component(Component),
    Module(Module),
}

impl Facts {
    fn of(inspection: Inspection) -> Result<Self, Refusal> {
        let kind = inspection.kind.ok_or_else(|| inspect::refuse_unknown(&inspection))?;
        let flavour = if inspection.needs_async { Flavour::Async } else { Flavour::Sync };
        let imports = inspection.imports.into_iter().map(|import| import.name).collect();
        Ok(Self { kind, flavour, imports, language: inspection.language })
    }
}

/// The code of the artifact at `path`: that which another workload has, or from the cache; compiles what is not
/// there, and says so. An instance may have `memory_max` of linear memory.
pub(crate) fn compiled(
    path: &Path,
    memory_max: Bytes,
    engines: &Engines,
    cache: &Cache,
    progress: &dyn Progress,
) -> Result<Arc<Compiled>, Refusal> {
    if path.extension().is_some_and(|extension| extension == "cwasm") {
        return imported(path, engines, cache).map(Arc::new);
    }
    let bytes = read(path)?;
    let digest = ArtifactDigest::of(&bytes);
    if let Some(compiled) = in_use(&engines.loaded, digest, memory_max) {
        return Ok(compiled);
    }
    let facts = facts(path, &bytes)?;
    let engine = engines.get(facts.flavour);
    let artifact = Artifact { path, bytes: &bytes, digest, facts: &facts, engine, cache };
    let mut form = form(&facts);
    let mut code = artifact.code(form, progress)?;
    if form == Form::Rewindable && !code.starts_within(memory_max) {
        // The room that a rewindable memory has beyond what it needs is too much here.
        form = Form::Plain;
        code = artifact.code(form, progress)?;
    }
    Ok(engines.loaded.share(digest, form, Compiled { facts, code }))
}

/// The code that another workload of this artifact has, if it is that which this one would get.
fn in_use(loaded: &Loaded, digest: ArtifactDigest, memory_max: Bytes) -> Option<Arc<Compiled>> {
    match loaded.get(digest, Form::Rewindable) {
        Some(compiled) if compiled.code.starts_within(memory_max) => Some(compiled),
        Some(_) => loaded.get(digest, Form::Plain),
        // What is rewound where there is room for that may have been too large for the other's memory only.
        None => loaded.get(digest, Form::Plain).filter(|compiled| form(&compiled.facts) == Form::Plain),
    }
}

/// An artifact that was read, and where its code goes.
struct Artifact<'a> {
    path: &'a Path,
    bytes: &'a [u8],
    digest: ArtifactDigest,
    facts: &'a Facts,
    engine: &'a Engine,
    cache: &'a Cache,
}

impl Artifact<'_> {
    /// The code of a form, from the cache or compiled now.
    fn code(&self, form: Form, progress: &dyn Progress) -> Result<Code, Refusal> {
        let Self { path, facts, engine, cache, .. } = self;
        let key = Key::new(&self.digest, &EngineDigest::of(engine), form);
        if let Some(entry) = cache.get(&key) {
            match map(engine, facts.kind, &entry) {
                Ok(code) => return Ok(code),
                Err(error) => tracing::warn!("compiling {} again: {error:#}", path.display()),
            }
        }
        progress.step(Step::Compiling { size_bytes: self.bytes.len() as u64 });
        let began = Instant::now();
        let machine_code = compile(engine, facts.kind, form, self.bytes, path)?;
        tracing::debug!(artifact = %path.display(), took = ?began.elapsed(), "compiled");
        let code = match cache.put(&key, &machine_code) {
            Ok(entry) => map(engine, facts.kind, &entry),
            Err(error) => {
                tracing::warn!("{}; it will be compiled again next time", chain(&error));
                keep(engine, facts.kind, &machine_code)
            }
        };
        code.map_err(|error| Refusal::new(format!("{} cannot be loaded: {error:#}", path.display())))
    }
}

impl Code {
    /// What the largest linear memory of an instance begins with; of a component that imports modules nobody knows.
    pub(crate) fn first_memory(&self) -> Bytes {
        let pages = self.resources().and_then(|resources| resources.max_initial_memory_size);
        Bytes(pages.unwrap_or(0).saturating_mul(WASM_PAGE.0))
    }

    /// Elements that the largest table of an instance begins with.
    pub(crate) fn first_table_elements(&self) -> u64 {
        self.resources().and_then(|resources| resources.max_initial_table_size).unwrap_or(0)
    }

    fn resources(&self) -> Option<ResourcesRequired> {
        match self {
            Self::Component(component) => component.resources_required(),
            Self::Module(module) => Some(module.resources_required()),
        }
    }

    /// Whether an instance begins with no more than this much linear memory.
    fn starts_within(&self, memory_max: Bytes) -> bool {
        self.first_memory() <= memory_max
    }
}

/// The form of artifacts like this: those that answer requests of WASI 0.2 are rewound.
fn form(facts: &Facts) -> Form {
    match (facts.kind, facts.flavour) {
        (Kind::Http(Wasi::P2), Flavour::Sync) => Form::Rewindable,
        _ => Form::Plain,
    }
}

/// The bytes of a `.cwasm` file with the code of the artifact at `path`, for this machine or for `target`.
pub(crate) fn export(
    path: &Path,
    target: Option<&str>,
    engines: &Engines,
    cache: &Cache,
    progress: &dyn Progress,
) -> Result<Vec<u8>, Refusal> {
    let bytes = read(path)?;
    let facts = facts(path, &bytes)?;
    let cross;
    let engine = match target {
        None => engines.get(facts.flavour),
        Some(target) => {
            cross = cross_engine(engines.config(facts.flavour), target)?;
            &cross
        }
    };
    progress.step(Step::Compiling { size_bytes: bytes.len() as u64 });
    let machine_code = compile(engine, facts.kind, form(&facts), &bytes, path)?;
    let mut about = About::here(ArtifactDigest::of(&bytes), EngineDigest::of(engine), target);
    let json = serde_json::to_string(&facts).expect("names and numbers become JSON");
    about.facts.insert(FACTS.into(), json);
    let file = cache.export(&machine_code, &about)?;
    progress.step(Step::Ready);
    Ok(file)
}

fn cross_engine(mut config: Config, target: &str) -> Result<Engine, Refusal> {
    let known = "x86_64-unknown-linux-gnu and aarch64-unknown-linux-gnu";
    // The engine compiles for others, too, where nothing would load it.
    if !target.contains("-linux") {
        let what = format!("cannot compile for `{target}`: Shoal runs on Linux");
        return Err(Refusal::new(what).hint(format!("known targets are {known}")));
    }
    let refuse = |error: wasmtime::Error| {
        Refusal::new(format!("cannot compile for `{target}`: {error:#}"))
            .hint(format!("known targets are {known}"))
    };
    config.target(target).map_err(refuse)?;
    Engine::new(&config).map_err(refuse)
}

fn imported(path: &Path, engines: &Engines, cache: &Cache) -> Result<Compiled, Refusal> {
    let imported = cache.import(path)?;
    let shown = path.display();
    let facts = imported.about.facts.get(FACTS).and_then(|json| serde_json::from_str::<Facts>(json).ok());
    let facts = facts.ok_or_else(|| {
        Refusal::new(format!("{shown} does not say how it runs"))
            .hint("compile it again with `shoal compile`")
    })?;
    let code = map(engines.get(facts.flavour), facts.kind, &imported.path).map_err(|error| {
        Refusal::new(format!("{shown} was compiled for another machine or other settings: {error:#}"))
            .hint("compile it again with `shoal compile` on this machine, or run the .wasm itself")
    })?;
    Ok(Compiled { facts, code })
}

/// The bytes of the artifact at `path`; text as the binary that it stands for.
fn read(path: &Path) -> Result<Vec<u8>, Refusal> {
    let unreadable = |error| Refusal::new(format!("cannot read {}: {error}", path.display()));
    let bytes = std::fs::read(path).map_err(unreadable)?;
    let binary = inspect::to_binary(&bytes).map_err(|refusal| about(path, refusal))?;
    Ok(match binary {
        Cow::Borrowed(_) => bytes,
        Cow::Owned(binary) => binary,
    })
}

fn facts(path: &Path, bytes: &[u8]) -> Result<Facts, Refusal> {
    inspect(bytes).and_then(Facts::of).map_err(|refusal| about(path, refusal))
}

/// Names the file in a refusal about its content.
fn about(path: &Path, refusal: Refusal) -> Refusal {
    Refusal { what: format!("{}: {}", path.display(), refusal.what), ..refusal }
}

fn compile(engine: &Engine, kind: Kind, form: Form, binary: &[u8], path: &Path) -> Result<Vec<u8>, Refusal> {
    let invalid = |error| Refusal::new(format!("{} is not valid WebAssembly: {error:#}", path.display()));
    if kind == Kind::CommandModule {
        return engine.precompile_module(binary).map_err(invalid);
    }
    if form == Form::Rewindable {
        let rewindable = rewind::rewindable(binary).map_err(|why| why.to_string());
        match rewindable
            .and_then(|binary| engine.precompile_component(&binary).map_err(|error| format!("{error:#}")))
        {
            Ok(code) => return Ok(code),
            Err(why) => {
                tracing::debug!(artifact = %path.display(), "each request gets a new instance: {why}");
            }
        }
    }
    engine.precompile_component(binary).map_err(invalid)
}

#[allow(unsafe_code, reason = "mapping machine code is the purpose of the cache")]
fn map(engine: &Engine, kind: Kind, entry: &PathBuf) -> wasmtime::Result<Code> {
    // SAFETY: the cache hands out only files that this installation wrote and sealed, and that nobody else
    // can write: see `cache`. The engine checks that they were made for it.
    unsafe {
        match kind {
            Kind::CommandModule => Module::deserialize_file(engine, entry).map(Code::Module),
            Kind::Http(_) | Kind::Command(_) => {
                Component::deserialize_file(engine, entry).map(Code::Component)
            }
        }
    }
}

#[allow(unsafe_code, reason = "a node whose disk is full still serves")]
fn keep(engine: &Engine, kind: Kind, machine_code: &[u8]) -> wasmtime::Result<Code> {
    // SAFETY: these bytes came from this engine a moment ago.
    unsafe {
        match kind {
            Kind::CommandModule => Module::deserialize(engine, machine_code).map(Code::Module),
            Kind::Http(_) | Kind::Command(_) => {
                Component::deserialize(engine, machine_code).map(Code::Component)
            }
        }
    }
}
