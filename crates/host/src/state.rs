//! What one store holds: the resources of its guest, its account, and the way to its workload.

use std::sync::Arc;
use std::time::Instant;

use shoal_runtime::{Account, DirGrant, Grants, Limits, Output, Stream};
use tokio::sync::Semaphore;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtxView, WasiHttpView};

use crate::budget::{OverBudget, Share};
use crate::capability::blobstore::{self, BlobView};
use crate::capability::config::ConfigView;
use crate::capability::http::{HasHttp, HttpContext, HttpView};
use crate::capability::http_p3::HttpP3;
use crate::capability::keyvalue::{KeyValueView, Stores};
use crate::capability::logging::LoggingView;
use crate::compile::Compiled;
use crate::habit::Habit;
use crate::limiter::Limiter;
use crate::log_budget::LogBudget;
use crate::outbound::socket_check;
use crate::stdio::LogStream;
use crate::turn::Turn;

/// Resources (streams, fields, pollables …) that one instance may hold at once. A proxy with 64 requests in
/// flight holds some five hundred. With header lists and body buffers of 64 KiB each this keeps what a
/// guest can make the host hold to the order of its own memory.
const RESOURCES_MAX: usize = 2_048;

/// The data of one store.
pub(crate) struct State {
    pub(crate) table: ResourceTable,
    pub(crate) limiter: Limiter,
    pub(crate) account: Arc<Account>,
    pub(crate) context: Arc<Context>,
    pub(crate) turn: Turn,
    /// When the guest must be done.
    pub(crate) deadline: Option<Instant>,
    /// Made when the guest first asks for something of it: most requests never do.
    wasi: Option<WasiCtx>,
    preview1: Option<WasiP1Ctx>,
    in_flight: Option<Arc<Semaphore>>,
    http_p3: HttpP3,
}

/// What all stores of one workload share.
pub(crate) struct Context {
    /// Names the workload in logs.
    pub(crate) name: String,
    /// What it runs, which others of the same artifact find as long as it is held.
    pub(crate) compiled: Arc<Compiled>,
    /// Arguments of a command, its own name first.
    pub(crate) args: Vec<String>,
    /// What it may touch.
    pub(crate) grants: Grants,
    /// How much it may use.
    pub(crate) limits: Limits,
    /// `wasi:http`.
    pub(crate) http: HttpContext,
    /// `wasi:keyvalue`.
    pub(crate) key_value: Stores,
    /// `wasi:blobstore`.
    pub(crate) blobs: blobstore::Stores,
    /// Whether its requests are long.
    pub(crate) habit: Habit,
    /// How much it may log.
    pub(crate) log_budget: Arc<LogBudget>,
    /// What it has of that which all workloads of the host share.
    pub(crate) share: Arc<Share>,
    /// Where its standard streams go.
    pub(crate) stdio: Stdio,
    /// Where what it says goes instead of the log.
    pub(crate) output: Option<Arc<dyn Output>>,
}

/// Where the standard streams of a guest go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stdio {
    /// To those of this process: a command.
    Inherit,
    /// To the output of the workload or to the log, line by line, as far as the log rate allows.
    Log,
}

impl State {
    /// The state of a fresh store.
    pub(crate) fn new(context: Arc<Context>, account: Arc<Account>, turn: Turn) -> Result<Self, OverBudget> {
        let http_p3 = HttpP3::new(&context.http);
        Ok(Self {
            table: table(),
            limiter: Limiter::new(&context.limits, Arc::clone(&account), &context.share)?,
            account,
            context,
            turn,
            deadline: None,
            wasi: None,
            preview1: None,
            in_flight: None,
            http_p3,
        })
    }

    /// What a core module of preview 1 works on.
    pub(crate) fn preview1(&mut self) -> &mut WasiP1Ctx {
        self.preview1.get_or_insert_with(|| self.context.wasi().build_p1())
    }

    /// `wasi:config`.
    pub(crate) fn config(&mut self) -> ConfigView<'_> {
        ConfigView { values: &self.context.grants.config }
    }

    /// `wasi:logging`.
    pub(crate) fn logging(&mut self) -> LoggingView<'_> {
        self.context.logging()
    }

    /// `wasi:keyvalue`.
    pub(crate) fn key_value(&mut self) -> KeyValueView<'_> {
        KeyValueView { stores: &self.context.key_value, table: &mut self.table }
    }

    /// `wasi:blobstore`.
    pub(crate) fn blobs(&mut self) -> BlobView<'_> {
        BlobView { stores: &self.context.blobs, table: &mut self.table }
    }

    /// A new request in the same store.
    pub(crate) fn begin(&mut self, account: Arc<Account>, turn: Turn) {
        self.limiter.begin(Arc::clone(&account));
        self.account = account;
        self.turn = turn;
    }

    /// Forgets all of the last request: the next finds the state of a fresh store. How many resources it left.
    pub(crate) fn forget(&mut self) -> usize {
        self.wasi = None;
        self.preview1 = None;
        self.in_flight = None;
        if self.table.is_empty() {
            return 0;
        }
        let mut left = std::mem::replace(&mut self.table, table());
        left.iter_mut().count()
    }
}

fn table() -> ResourceTable {
    let mut table = ResourceTable::new();
    table.set_max_capacity(RESOURCES_MAX);
    table
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let ctx = self.wasi.get_or_insert_with(|| self.context.wasi().build());
        WasiCtxView { ctx, table: &mut self.table }
    }
}

impl HasHttp for State {
    fn http_p2(&mut self) -> HttpView<'_> {
        HttpView {
            table: &mut self.table,
            context: &self.context.http,
            in_flight: &mut self.in_flight,
            trace: self.account.trace(),
            hops: self.account.hops(),
        }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        self.http_p3.view(&mut self.table, self.account.trace(), self.account.hops())
    }
}

impl Drop for Context {
    /// What was dropped from the log since the last line is said at last.
    fn drop(&mut self) {
        if let Some(dropped_bytes) = self.log_budget.take_dropped() {
            let notice = self.log_budget.notice(dropped_bytes);
            match &self.output {
                Some(output) => output.write(Stream::Stderr, notice.as_bytes(), true),
                None => tracing::warn!(target: "guest", workload = self.name, "{notice}"),
            }
        }
    }
}

impl Context {
    /// Where the workload says what it has to say, and how much it may.
    pub(crate) fn logging(&self) -> LoggingView<'_> {
        LoggingView { workload: &self.name, budget: &self.log_budget, output: self.output.as_deref() }
    }

    /// The WASI context with exactly what is granted.
    pub(crate) fn wasi(&self) -> WasiCtxBuilder {
        let mut wasi = WasiCtxBuilder::new();
        wasi.envs(&self.grants.env).args(&self.args);
        for dir in &self.grants.dirs {
            self.preopen(&mut wasi, dir);
        }
        if self.grants.reaches_out() {
            let rules = Arc::new(self.grants.outbound.clone());
            let check = socket_check(
                self.name.clone(),
                rules,
                self.grants.listen.clone(),
                self.http.outbound.resolver(),
                self.output.clone(),
            );
            wasi.socket_addr_check(check).allow_tcp(true).allow_udp(true).allow_ip_name_lookup(true);
        }
        match self.stdio {
            Stdio::Inherit => {
                wasi.inherit_stdio();
            }
            Stdio::Log => {
                let stream =
                    |stream| LogStream::new(&self.name, stream, &self.log_budget, self.output.as_ref());
                wasi.stdout(stream(Stream::Stdout));
                wasi.stderr(stream(Stream::Stderr));
            }
        }
        wasi
    }

    fn preopen(&self, wasi: &mut WasiCtxBuilder, dir: &DirGrant) {
        let perms = if dir.writable { FsPerms::ReadWrite } else { FsPerms::ReadOnly };
        if let Err(error) = wasi.preopened_dir(&dir.host, &dir.guest, perms) {
            let host = dir.host.display();
            tracing::warn!(workload = self.name, "the granted directory {host} cannot be opened: {error}");
        }
    }
}
