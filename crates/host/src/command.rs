//! Running programs: WASI 0.2 and 0.3 components, and core modules of preview 1.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use futures_util::future::BoxFuture;
use shoal_runtime::{Account, Command, CommandExit};
use wasmtime::component::InstancePre;
use wasmtime::{Engine, Module, Store};
use wasmtime_wasi::p2::bindings as p2;
use wasmtime_wasi::p3::bindings as p3;
use wasmtime_wasi::{I32Exit, p1};

use crate::failure::classify;
use crate::guest::{self, Guest};
use crate::state::{Context, State};
use crate::ticker::Ticker;
use crate::turn::Turn;

/// A program, ready to run.
pub(crate) struct Program {
    engine: Engine,
    context: Arc<Context>,
    ticker: Arc<Ticker>,
    entry: Entry,
}

/// Where a program begins.
pub(crate) enum Entry {
    /// `wasi:cli/run` of a 0.2 component.
    P2(p2::CommandPre<State>),
    /// `wasi:cli/run` of a 0.3 component.
    P3(p3::CommandPre<State>),
    /// `_start` of a core module.
    Module(wasmtime::InstancePre<State>),
}

impl Entry {
    /// The entry of a 0.2 component.
    pub(crate) fn p2(pre: InstancePre<State>) -> wasmtime::Result<Self> {
        p2::CommandPre::new(pre).map(Self::P2)
    }

    /// The entry of a 0.3 component.
    pub(crate) fn p3(pre: InstancePre<State>) -> wasmtime::Result<Self> {
        p3::CommandPre::new(pre).map(Self::P3)
    }

    /// The entry of a core module.
    pub(crate) fn module(engine: &Engine, module: &Module) -> wasmtime::Result<Self> {
        let mut linker = wasmtime::Linker::new(engine);
        p1::add_to_linker_async(&mut linker, State::preview1)?;
        linker.instantiate_pre(module).map(Self::Module)
    }

    /// Makes an instance and runs it to its end. What comes back inside is the program's own verdict.
    async fn run(self, store: &mut Store<State>) -> wasmtime::Result<Result<(), ()>> {
        match self {
            Self::P2(command) => {
                let command = command.instantiate_async(&mut *store).await?;
                command.wasi_cli_run().call_run(store).await
            }
            Self::P3(command) => {
                let command = command.instantiate_async(&mut *store).await?;
                store.run_concurrent(async |accessor| command.wasi_cli_run().call_run(accessor).await).await?
            }
            Self::Module(module) => {
                let instance = module.instantiate_async(&mut *store).await?;
                let start = instance.get_typed_func::<(), ()>(&mut *store, "_start")?;
                start.call_async(store, ()).await.map(Ok)
            }
        }
    }
}

/// The exit code of a program that says no more than that it failed.
const FAILED: u8 = 1;

impl Program {
    /// The program that begins at `entry`.
    pub(crate) fn new(engine: Engine, context: Arc<Context>, ticker: Arc<Ticker>, entry: Entry) -> Self {
        Self { engine, context, ticker, entry }
    }
}

impl Command for Program {
    /// Runs the program in a fresh store until it ends, within the limits of the workload.
    fn run(self: Box<Self>, account: Arc<Account>) -> BoxFuture<'static, CommandExit> {
        let Self { engine, context, ticker, entry } = *self;
        let deadline = context.limits.timeout.map(|timeout| Instant::now() + timeout);
        let turn = Turn::default();
        let state = match State::new(Arc::clone(&context), Arc::clone(&account), turn.clone()) {
            Ok(state) => state,
            Err(over) => return Box::pin(async move { CommandExit::Failed(over.into()) }),
        };
        let mut store = guest::store(&engine, state, deadline);
        let code = Arc::new(OnceLock::new());
        let exited = Arc::clone(&code);
        let limits = context.limits.clone();
        let run = Box::pin(async move {
            let code = match entry.run(&mut store).await {
                Ok(Ok(())) => 0,
                Ok(Err(())) => FAILED,
                Err(error) => match error.downcast_ref::<I32Exit>() {
                    Some(exit) => exit_code(exit.0),
                    None => return Err(classify(&error, store.data().limiter.refusal(), &limits)),
                },
            };
            let _ = exited.set(code);
            Ok(())
        });
        let mut guest = Guest::new(run, context, account, ticker, turn, deadline);
        Box::pin(async move {
            match guest.finish().await {
                Ok(()) => CommandExit::Code(code.get().copied().unwrap_or(FAILED)),
                Err(failure) => CommandExit::Failed(failure),
            }
        })
    }
}

/// The code as a process can report it: its low byte, but never zero for a failure.
fn exit_code(code: i32) -> u8 {
    match (code, code.to_le_bytes()[0]) {
        (0, _) => 0,
        (_, 0) => FAILED,
        (_, low) => low,
    }
}
