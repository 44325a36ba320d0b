//! From an artifact to a workload: read, recognise, check against the grants, compile or find compiled, link.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use shoal_base::drain::Drain;
use shoal_base::units::Bytes;
use shoal_runtime::report::Report;
use shoal_runtime::{
    Grants, Instances, Kind, Limits, Progress, Refusal, Runtime, Step, Wasi, Workload, WorkloadSpec,
};
use wasmtime::component::InstancePre;
use wasmtime_wasi_http::p3::bindings::ServicePre;

use crate::budget::{Budget, Share};
use crate::cache::{Cache, InstallationKey};
use crate::capability::http::{HttpContext, ProxyIndices};
use crate::capability::{blobstore, keyvalue};
use crate::command::{Entry, Program};
use crate::compile::{self, Code, Compiled, Facts};
use crate::engine::Engines;
use crate::entry;
use crate::habit::Habit;
use crate::inspect;
use crate::linker::{Granted, Linkers};
use crate::log_budget::LogBudget;
use crate::machine::{self, Machine};
use crate::outbound::{Outbound, OutboundSetup};
use crate::pagemap::Pagemap;
use crate::pool::{self, PoolWish};
use crate::rewind::Rewinder;
use crate::serve::{Service, Shared, Source};
use crate::serve_p3::ServiceP3;
use crate::state::{Context, State, Stdio};

/// Where the host keeps its things, and what ends it.
#[derive(Clone, Debug)]
pub struct HostConfig {
    /// Holds the compile cache and the key of this installation.
    pub data_dir: PathBuf,
    /// The secret that seals compiled code; none: that of the data directory, made when it is missing.
    pub key: Option<PathBuf>,
    /// How much the instance pools should hold.
    pub pool: PoolWish,
    /// Guests that outlive their response hold guards of this drain.
    pub drain: Drain,
}

/// The Wasm host of this process.
pub struct Host {
    engines: Engines,
    cache: Cache,
    linkers: Linkers,
    /// None where nothing can be rewound for want of `/proc`.
    pagemap: Option<Arc<Pagemap>>,
    drain: Drain,
}

impl Host {
    /// Makes the engines and opens the compile cache.
    ///
    /// # Errors
    /// When the machine cannot carry the engines, or the data directory cannot be trusted.
    pub fn new(config: &HostConfig) -> Result<Self, Refusal> {
        let cache = match &config.key {
            None => Cache::open(&config.data_dir)?,
            Some(key) => Cache::open_with(&config.data_dir, InstallationKey::open(key)?)?,
        };
        let engines = Engines::new(pool::plan(&Machine::probe(), &config.pool))?;
        let pagemap = Pagemap::open().map(Arc::new);
        Ok(Self { engines, cache, linkers: Linkers::default(), pagemap, drain: config.drain.clone() })
    }

    /// A `.cwasm` file with the machine code of an artifact, for this machine or for `target` (a triple such
    /// as `aarch64-unknown-linux-gnu`), sealed with the key of this installation.
    ///
    /// # Errors
    /// When the artifact is not one that Shoal runs, or the target is unknown.
    pub fn compile(
        &self,
        artifact: &Path,
        target: Option<&str>,
        progress: &dyn Progress,
    ) -> Result<Vec<u8>, Refusal> {
        compile::export(artifact, target, &self.engines, &self.cache, progress)
    }

    /// What all guests together may have: linear memories, tables and stacks.
    pub fn memory_total(&self) -> Bytes {
        self.engines.memory_total()
    }

    /// Live instances and other numbers of the engines, as Prometheus text.
    pub fn metrics(&self) -> String {
        self.engines.metrics()
    }
}

/// What `shoal doctor` says: the machine, the pools that fit it, the data directory.
pub fn doctor(data_dir: &Path, wish: &PoolWish) -> Report {
    let machine = Machine::probe();
    let mut sections = vec![machine::machine_section(&machine), pool::plan(&machine, wish).section()];
    // What the first `shoal run` would make is made here: a directory that is not there yet is no fault.
    let cache = Cache::open(data_dir);
    sections.push(match &cache {
        Ok(_) => machine::data_dir_section(data_dir),
        Err(refusal) => machine::refused_data_dir_section(data_dir, refusal),
    });
    sections.extend(cache.iter().map(|cache| cache.section()));
    Report { sections }
}

impl Runtime for Host {
    fn load(&self, spec: &WorkloadSpec, progress: &dyn Progress) -> Result<Workload, Refusal> {
        let compiled = compile::compiled(
            &spec.artifact,
            spec.limits.serving.memory,
            &self.engines,
            &self.cache,
            progress,
        )?;
        check_reuse(spec, compiled.facts.kind)?;
        let granted = check_grants(&spec.name, &compiled.facts, &spec.grants)?;
        let context = Arc::new(context(spec, compiled, &self.engines.budget)?);
        let workload = self.link(spec, granted, context)?;
        progress.step(Step::Ready);
        Ok(workload)
    }
}

impl Host {
    fn link(
        &self,
        spec: &WorkloadSpec,
        granted: Granted,
        context: Arc<Context>,
    ) -> Result<Workload, Refusal> {
        let compiled = Arc::clone(&context.compiled);
        let facts = &compiled.facts;
        let refuse =
            |error: wasmtime::Error| Refusal::new(format!("`{}` cannot be linked: {error:#}", spec.name));
        let engine = self.engines.get(facts.flavour).clone();
        let ticker = Arc::clone(&self.engines.ticker);
        let component = match &compiled.code {
            Code::Module(module) => {
                let entry = Entry::module(&engine, module).map_err(refuse)?;
                return Ok(Workload::Command(Box::new(Program::new(engine, context, ticker, entry))));
            }
            Code::Component(component) => component,
        };
        let linker = self.linkers.get(&self.engines, facts.flavour, granted).map_err(refuse)?;
        entry::check(&spec.name, component.engine(), component, facts.kind)?;
        let pre: InstancePre<State> = linker.instantiate_pre(component).map_err(refuse)?;
        Ok(match facts.kind {
            Kind::Http(Wasi::P2) => {
                let proxy = ProxyIndices::new(&pre).map_err(refuse)?;
                Workload::Http(Arc::new(Service::new(Shared {
                    engine,
                    component: pre,
                    proxy,
                    context,
                    ticker,
                    drain: self.drain.clone(),
                    shelf: self.engines.shelves.shelf(),
                    source: Source::new(
                        spec.instances,
                        self.pagemap.as_ref().and_then(|pagemap| Rewinder::of(component, pagemap)),
                    ),
                })))
            }
            Kind::Http(Wasi::P3) => {
                let service = ServicePre::new(pre).map_err(refuse)?;
                let drain = self.drain.clone();
                Workload::Http(Arc::new(ServiceP3::new(engine, service, context, ticker, drain)))
            }
            Kind::Command(wasi) => {
                let entry = match wasi {
                    Wasi::P2 => Entry::p2(pre),
                    Wasi::P3 => Entry::p3(pre),
                };
                let program = Program::new(engine, context, ticker, entry.map_err(refuse)?);
                Workload::Command(Box::new(program))
            }
            Kind::CommandModule => unreachable!("a core module was compiled as a component"),
        })
    }
}

fn context(spec: &WorkloadSpec, compiled: Arc<Compiled>, budget: &Arc<Budget>) -> Result<Context, Refusal> {
    let serves = matches!(compiled.facts.kind, Kind::Http(_));
    let limits = if serves { &spec.limits.serving } else { &spec.limits.command }.clone();
    check_start(&spec.name, &compiled.code, &limits)?;
    let own_name =
        spec.artifact.file_name().unwrap_or(spec.artifact.as_os_str()).to_string_lossy().into_owned();
    let setup = OutboundSetup {
        workload: spec.name.clone(),
        header_list: limits.header_list,
        mesh: spec.mesh.clone(),
        namespace: spec.namespace.clone(),
        output: spec.output.clone(),
        ..OutboundSetup::default()
    };
    let outbound = Arc::new(Outbound::new(spec.grants.outbound.clone(), setup)?);
    Ok(Context {
        name: spec.name.clone(),
        share: Share::new(budget, compiled.facts.flavour),
        compiled,
        args: std::iter::once(own_name).chain(spec.args.iter().cloned()).collect(),
        http: HttpContext {
            header_list_bytes: limits.header_list.as_usize(),
            body_bytes: limits.response_body.0,
            outbound,
            outbound_in_flight: limits.outbound_in_flight,
        },
        key_value: keyvalue::Stores::open(&spec.grants.key_value)?.of(&spec.name),
        blobs: blobstore::Stores::open(&spec.grants.blobs)?.of(&spec.name),
        habit: Habit::default(),
        log_budget: Arc::new(LogBudget::new(limits.log_rate, Instant::now())),
        stdio: if serves || spec.output.is_some() { Stdio::Log } else { Stdio::Inherit },
        output: spec.output.clone(),
        grants: spec.grants.clone(),
        limits,
    })
}

/// Refuses an artifact of which no instance could be made within its limits, rather than fail each request.
fn check_start(name: &str, code: &Code, limits: &Limits) -> Result<(), Refusal> {
    let (memory, elements) = (code.first_memory(), code.first_table_elements());
    if memory > limits.memory {
        let what = format!("`{name}` begins with {memory} of memory, and its limit is {}", limits.memory);
        return Err(Refusal::new(what).hint("raise the limit (--memory)"));
    }
    if elements > limits.table_elements {
        let limit = limits.table_elements;
        let what = format!("`{name}` begins with a table of {elements} elements, and its limit is {limit}");
        return Err(Refusal::new(what).hint("raise the limit (--table-elements)"));
    }
    Ok(())
}

/// Refuses reuse where it is not to be had, rather than ignore what was asked for.
fn check_reuse(spec: &WorkloadSpec, kind: Kind) -> Result<(), Refusal> {
    if !matches!(spec.instances, Instances::Reused(_)) || kind == Kind::Http(Wasi::P2) {
        return Ok(());
    }
    let what = format!("`{}` is no HTTP component of WASI 0.2: its instances cannot be reused", spec.name);
    Err(Refusal::new(what).hint("leave out --reuse: each request gets an instance of its own"))
}

/// Languages whose runtime imports its whole world, whatever the program uses: for these an interface that
/// was not granted is linked without any right, where others are refused.
const WORLD_IMPORTING_LANGUAGES: [&str; 2] = ["JavaScript", "Python"];

/// Refuses an artifact that imports what was not granted, or what nobody has.
fn check_grants(name: &str, facts: &Facts, grants: &Grants) -> Result<Granted, Refusal> {
    let imports_its_world = facts
        .language
        .as_deref()
        .is_some_and(|language| WORLD_IMPORTING_LANGUAGES.iter().any(|known| language.starts_with(known)));
    for import in facts.imports.iter().map(|name| inspect::import(name)) {
        let Some(capability) = import.capability else {
            let what = format!("`{name}` imports `{}`, which Shoal does not provide", import.name);
            return Err(Refusal::new(what).hint("`shoal inspect` shows all imports of the artifact"));
        };
        let granted = match capability {
            "outbound HTTP" | "sockets" => grants.reaches_out() || imports_its_world,
            "config" => !grants.config.is_empty(),
            "key-value" => !grants.key_value.is_empty(),
            "blobs" => !grants.blobs.is_empty(),
            _ => true,
        };
        if !granted {
            let what = format!("`{name}` imports `{}` ({capability}), which is not granted", import.name);
            return Err(Refusal::new(what).hint(format!("grant it with {}", import.flag.unwrap_or_default())));
        }
    }
    Ok(Granted::of(grants, imports_its_world))
}
