//! From an artifact to a workload: read, recognise, check against the grants, compile or find compiled, link.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use shoal_base::drain::Drain;
use shoal_runtime::{
    Grants, Inspection, Kind, Limits, Progress, Refusal, Runtime, Step, Wasi, Workload, WorkloadSpec,
};
use wasmtime::Module;
use wasmtime::component::{Component, InstancePre};

use crate::capability::http::{HttpContext, ProxyPre};
use crate::capability::keyvalue;
use crate::command::{ComponentCommand, ModuleCommand, P3Command};
use crate::engine::{Engines, Flavour};
use crate::inspect::{self, inspect};
use crate::linker::{Granted, Linkers};
use crate::log_budget::LogBudget;
use crate::machine::Machine;
use crate::outbound::Outbound;
use crate::pool::{self, PoolWish};
use crate::serve::Service;
use crate::serve_p3::ServiceP3;
use crate::state::{Context, State, Stdio};

/// Where the host keeps its things, and what ends it.
#[derive(Clone, Debug)]
pub struct HostConfig {
    /// Holds the compile cache and the key of this installation.
    pub data_dir: PathBuf,
    /// How much the instance pools should hold.
    pub pool: PoolWish,
    /// Guests that outlive their response hold guards of this drain.
    pub drain: Drain,
}

/// The Wasm host of this process.
pub struct Host {
    engines: Engines,
    linkers: Linkers,
    drain: Drain,
}

impl Host {
    /// Makes the engines and opens the compile cache.
    ///
    /// # Errors
    /// When the machine cannot carry the engines, or the data directory cannot be trusted.
    pub fn new(config: &HostConfig) -> Result<Self, Refusal> {
        let plan = pool::plan(&Machine::probe(), &config.pool);
        let engines = Engines::new(&plan)?;
        Ok(Self { engines, linkers: Linkers::default(), drain: config.drain.clone() })
    }
}

impl Runtime for Host {
    fn load(&self, spec: &WorkloadSpec, progress: &dyn Progress) -> Result<Workload, Refusal> {
        let bytes = read(&spec.artifact)?;
        let inspection = inspect(&bytes)?;
        let kind = inspection.kind.ok_or_else(|| inspect::refuse_unknown(&inspection))?;
        let granted = check_grants(&spec.name, &inspection, &spec.grants)?;
        let flavour = if inspection.needs_async { Flavour::Async } else { Flavour::Sync };
        let context = Arc::new(context(spec, kind)?);
        progress.step(Step::Compiling { size_bytes: inspection.size_bytes });
        let code = self.compile(&spec.name, flavour, kind, &bytes)?;
        let workload = self.link(spec, kind, flavour, granted, context, code)?;
        progress.step(Step::Ready);
        Ok(workload)
    }
}

/// Compiled code, mapped.
enum Code {
    Component(Component),
    Module(Module),
}

impl Host {
    fn compile(&self, name: &str, flavour: Flavour, kind: Kind, bytes: &[u8]) -> Result<Code, Refusal> {
        let binary = inspect::to_binary(bytes)?;
        let engine = self.engines.get(flavour);
        let code = match kind {
            Kind::CommandModule => Module::from_binary(engine, &binary).map(Code::Module),
            Kind::Http(_) | Kind::Command(_) => Component::from_binary(engine, &binary).map(Code::Component),
        };
        code.map_err(|error| Refusal::new(format!("`{name}` is not valid WebAssembly: {error:#}")))
    }

    fn link(
        &self,
        spec: &WorkloadSpec,
        kind: Kind,
        flavour: Flavour,
        granted: Granted,
        context: Arc<Context>,
        code: Code,
    ) -> Result<Workload, Refusal> {
        let refuse =
            |error: wasmtime::Error| Refusal::new(format!("`{}` cannot be linked: {error:#}", spec.name));
        let engine = self.engines.get(flavour).clone();
        let ticker = Arc::clone(&self.engines.ticker);
        let component = match code {
            Code::Module(module) => {
                let command = ModuleCommand::new(engine, &module, context, ticker).map_err(refuse)?;
                return Ok(Workload::Command(Box::new(command)));
            }
            Code::Component(component) => component,
        };
        let linker = self.linkers.get(&self.engines, flavour, granted).map_err(refuse)?;
        let pre: InstancePre<State> = linker.instantiate_pre(&component).map_err(refuse)?;
        Ok(match kind {
            Kind::Http(Wasi::P2) => {
                let proxy = ProxyPre::new(pre).map_err(refuse)?;
                let drain = self.drain.clone();
                Workload::Http(Arc::new(Service::new(engine, proxy, context, ticker, drain, spec.reuse)))
            }
            Kind::Http(Wasi::P3) => {
                let service = wasmtime_wasi_http::p3::bindings::ServicePre::new(pre).map_err(refuse)?;
                let drain = self.drain.clone();
                Workload::Http(Arc::new(ServiceP3::new(engine, service, context, ticker, drain)))
            }
            Kind::Command(Wasi::P2) => Workload::Command(Box::new(
                ComponentCommand::new(engine, pre, context, ticker).map_err(refuse)?,
            )),
            Kind::Command(Wasi::P3) => {
                Workload::Command(Box::new(P3Command::new(engine, pre, context, ticker).map_err(refuse)?))
            }
            Kind::CommandModule => unreachable!("a core module was compiled as a component"),
        })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Refusal> {
    std::fs::read(path).map_err(|error| Refusal::new(format!("cannot read `{}`: {error}", path.display())))
}

fn context(spec: &WorkloadSpec, kind: Kind) -> Result<Context, Refusal> {
    let serves = matches!(kind, Kind::Http(_));
    let limits =
        spec.limits.clone().unwrap_or_else(|| if serves { Limits::default() } else { Limits::for_command() });
    let own_name =
        spec.artifact.file_name().unwrap_or(spec.artifact.as_os_str()).to_string_lossy().into_owned();
    let outbound = Arc::new(Outbound::new(spec.grants.outbound.clone()));
    Ok(Context {
        name: spec.name.clone(),
        args: std::iter::once(own_name).chain(spec.args.iter().cloned()).collect(),
        http: HttpContext {
            header_list_bytes: limits.header_list.as_usize(),
            body_bytes: limits.response_body.0,
            outbound,
            outbound_in_flight: limits.outbound_in_flight,
        },
        key_value: keyvalue::Stores::open(&spec.grants.key_value)?,
        log_budget: LogBudget::new(limits.log_rate, Instant::now()),
        stdio: if serves { Stdio::Log } else { Stdio::Inherit },
        grants: spec.grants.clone(),
        limits,
    })
}

/// Languages whose runtime imports its whole world, whatever the program uses: for these an interface that
/// was not granted is linked without any right, where others are refused.
const WORLD_IMPORTING_LANGUAGES: [&str; 2] = ["JavaScript", "Python"];

/// Refuses an artifact that imports what was not granted, or what nobody has.
fn check_grants(name: &str, inspection: &Inspection, grants: &Grants) -> Result<Granted, Refusal> {
    let imports_its_world = inspection
        .language
        .as_deref()
        .is_some_and(|language| WORLD_IMPORTING_LANGUAGES.iter().any(|known| language.starts_with(known)));
    for import in &inspection.imports {
        let Some(capability) = import.capability else {
            let what = format!("`{name}` imports `{}`, which Shoal does not provide", import.name);
            return Err(Refusal::new(what).hint("see `shoal inspect` for all imports of the artifact"));
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
