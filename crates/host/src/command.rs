//! Running programs: WASI 0.2 and 0.3 components, and core modules of preview 1.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use futures_util::future::BoxFuture;
use shoal_runtime::{Account, Command, CommandExit};
use wasmtime::component::InstancePre;
use wasmtime::{Engine, Module, Store};
use wasmtime_wasi::I32Exit;
use wasmtime_wasi::p1;
use wasmtime_wasi::p2::bindings::CommandPre;

use crate::failure::classify;
use crate::guest::{self, Guest};
use crate::state::{Context, State};
use crate::ticker::Ticker;
use crate::turn::Turn;

/// Where all three begin.
struct Program {
    engine: Engine,
    context: Arc<Context>,
    ticker: Arc<Ticker>,
}

/// A 0.2 component that exports `wasi:cli/run`.
pub(crate) struct ComponentCommand {
    program: Program,
    command: CommandPre<State>,
}

/// A 0.3 component that exports `wasi:cli/run`.
pub(crate) struct P3Command {
    program: Program,
    command: wasmtime_wasi::p3::bindings::CommandPre<State>,
}

/// A core module that exports `_start`.
pub(crate) struct ModuleCommand {
    program: Program,
    module: wasmtime::InstancePre<State>,
}

impl ComponentCommand {
    pub(crate) fn new(
        engine: Engine,
        pre: InstancePre<State>,
        context: Arc<Context>,
        ticker: Arc<Ticker>,
    ) -> wasmtime::Result<Self> {
        Ok(Self { program: Program { engine, context, ticker }, command: CommandPre::new(pre)? })
    }
}

impl P3Command {
    pub(crate) fn new(
        engine: Engine,
        pre: InstancePre<State>,
        context: Arc<Context>,
        ticker: Arc<Ticker>,
    ) -> wasmtime::Result<Self> {
        let command = wasmtime_wasi::p3::bindings::CommandPre::new(pre)?;
        Ok(Self { program: Program { engine, context, ticker }, command })
    }
}

impl ModuleCommand {
    pub(crate) fn new(
        engine: Engine,
        module: &Module,
        context: Arc<Context>,
        ticker: Arc<Ticker>,
    ) -> wasmtime::Result<Self> {
        let mut linker = wasmtime::Linker::new(&engine);
        p1::add_to_linker_async(&mut linker, State::preview1)?;
        let module = linker.instantiate_pre(module)?;
        Ok(Self { program: Program { engine, context, ticker }, module })
    }
}

impl Command for ComponentCommand {
    fn run(self: Box<Self>) -> BoxFuture<'static, CommandExit> {
        let Self { program, command } = *self;
        program.run(move |mut store| {
            Box::pin(async move {
                let ran = async {
                    let command = command.instantiate_async(&mut store).await?;
                    command.wasi_cli_run().call_run(&mut store).await
                };
                (ran.await, store)
            })
        })
    }
}

impl Command for P3Command {
    fn run(self: Box<Self>) -> BoxFuture<'static, CommandExit> {
        let Self { program, command } = *self;
        program.run(move |mut store| {
            Box::pin(async move {
                let ran = async {
                    let command = command.instantiate_async(&mut store).await?;
                    store
                        .run_concurrent(async |accessor| command.wasi_cli_run().call_run(accessor).await)
                        .await?
                };
                (ran.await, store)
            })
        })
    }
}

impl Command for ModuleCommand {
    fn run(self: Box<Self>) -> BoxFuture<'static, CommandExit> {
        let Self { program, module } = *self;
        program.run(move |mut store| {
            Box::pin(async move {
                let ran = async {
                    let instance = module.instantiate_async(&mut store).await?;
                    let start = instance.get_typed_func::<(), ()>(&mut store, "_start")?;
                    start.call_async(&mut store, ()).await.map(Ok)
                };
                (ran.await, store)
            })
        })
    }
}

/// How a program's entry point came back, with the store it ran in.
type Ran = (wasmtime::Result<Result<(), ()>>, Store<State>);

/// The exit code of a program that says no more than that it failed.
const FAILED: u8 = 1;

impl Program {
    /// Runs `body` in a fresh store until it ends, within the limits of the workload.
    fn run(
        self,
        body: impl FnOnce(Store<State>) -> BoxFuture<'static, Ran> + Send + 'static,
    ) -> BoxFuture<'static, CommandExit> {
        let Self { engine, context, ticker } = self;
        let deadline = context.limits.timeout.map(|timeout| Instant::now() + timeout);
        let account = Arc::new(Account::default());
        let turn = Turn::default();
        let state = State::new(Arc::clone(&context), Arc::clone(&account), turn.clone());
        let store = guest::store(&engine, state, deadline);
        let code = Arc::new(OnceLock::new());
        let exited = Arc::clone(&code);
        let limits = context.limits.clone();
        let run = Box::pin(async move {
            let (ran, store) = body(store).await;
            let code = match ran {
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
