//! The edge as a whole: bound first, then served by its threads until it is drained.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use shoal_base::drain::{Drain, Drained};
use tokio::runtime::Runtime;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::accept::{Door, accept};
use crate::access_log::{self, FLUSH_INTERVAL, Sink};
use crate::admin::{self, Admin};
use crate::config::{Config, Listener};
use crate::error::Error;
use crate::gate::{Gate, Peers};
use crate::listener;
use crate::metrics::Metrics;
use crate::otlp::{self, Source};
use crate::ports::{Doors, Ports};
use crate::routes::{Entry, Routes};
use crate::worker::Worker;

/// An edge whose sockets are open; nothing is accepted until [`Edge::serve`].
#[derive(Debug)]
pub struct Edge {
    config: Config,
    sockets: Vec<Bound>,
    admin: Option<(SocketAddr, std::net::TcpListener)>,
    peers: Arc<Peers>,
    ports: Ports,
    /// For each thread.
    more_doors: Vec<Arc<Doors>>,
}

/// How serving ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Served {
    /// Requests answered, refused ones included.
    pub requests: u64,
    /// Whether every request in flight was finished within the deadline.
    pub drained: Drained,
}

/// One listener with a socket for each thread.
#[derive(Debug)]
struct Bound {
    address: SocketAddr,
    listener: Listener,
    per_thread: Vec<std::net::TcpListener>,
}

impl Edge {
    /// Checks the configuration and opens all sockets.
    ///
    /// # Errors
    /// When the configuration makes no sense or an address cannot be had.
    pub fn bind(config: Config) -> Result<Self, Error> {
        config.check()?;
        let threads = config.thread_count();
        let bind = |listener: &Listener| {
            let (address, per_thread) = listener::bind(listener.address, threads)?;
            Ok(Bound { address, listener: listener.clone(), per_thread })
        };
        let sockets = config.listeners.iter().map(bind).collect::<Result<_, Error>>()?;
        let admin = match config.admin {
            None => None,
            Some(address) => {
                let (bound, mut sockets) = listener::bind(address, 1)?;
                sockets.pop().map(|socket| (bound, socket))
            }
        };
        let peers = Arc::new(Peers::new(&config.limits));
        let (ports, more_doors) = Ports::new(&config.limits, peers.clone(), threads);
        Ok(Self { config, sockets, admin, peers, ports, more_doors })
    }

    /// The addresses served, in the order of [`Config::listeners`], with the ports that the kernel chose.
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        self.sockets.iter().map(|bound| bound.address).collect()
    }

    /// The address of the admin listener, if there is one.
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(|(address, _)| *address)
    }

    /// Opens and closes further ports while this edge serves.
    pub fn ports(&self) -> Ports {
        self.ports.clone()
    }

    /// Serves until the drain begins and requests in flight have ended, at most [`Config::drain_deadline`]
    /// longer; what runs then is stopped. Blocks. Holds a guard of the drain meanwhile.
    ///
    /// # Errors
    /// When a thread or its runtime cannot be had; threads that were started are drained.
    pub fn serve(self, routes: &Routes, drain: &Drain) -> Result<Served, Error> {
        let _working = drain.guard();
        let threads = self.config.thread_count();
        let mut runtimes = (0..threads).map(|_| runtime()).collect::<Result<Vec<_>, Error>>()?;
        let metrics: Vec<Arc<Metrics>> = std::iter::repeat_with(Arc::default).take(threads).collect();
        let (sink, log_thread) = match access_log::open(self.config.access_log) {
            None => (None, None),
            Some((sink, pipe)) => (Some(sink), Some(start("edge-log".into(), move || pipe.run())?)),
        };
        let all_served = CancellationToken::new();
        let delivery = Arc::default();
        let (source, traces_thread) = match self.config.traces {
            None => (None, None),
            Some(traces) => {
                let (source, exporter) = otlp::open(traces, &delivery);
                let (runtime, all_served) = (runtime()?, all_served.clone());
                (Some(source), Some(start("edge-otlp".into(), move || exporter.run(runtime, &all_served))?))
            }
        };
        let admin_thread = match self.admin {
            None => None,
            Some((_, socket)) => {
                let counted = (metrics.clone(), routes.clone());
                let admin = Admin::new(counted, delivery, self.config.more_metrics, drain.clone());
                let (runtime, all_served) = (runtime()?, all_served.clone());
                Some(start("edge-admin".into(), move || admin::serve(&runtime, socket, admin, &all_served))?)
            }
        };
        let doors = (self.sockets, self.more_doors, self.peers);
        let plans = plan(doors, &metrics, &self.config.limits, routes, sink.as_ref(), source.as_ref());
        // Log and traces end when the last thread that writes to them does.
        drop((sink, source));
        let mut serving = Vec::new();
        for (index, (plan, runtime)) in plans.into_iter().zip(runtimes.drain(..)).enumerate() {
            let (thread_drain, deadline) = (drain.clone(), self.config.drain_deadline);
            match start(format!("edge-{index}"), move || run(runtime, plan, &thread_drain, deadline)) {
                Ok(thread) => serving.push(thread),
                Err(error) => {
                    drain.begin();
                    serving.into_iter().for_each(|thread| drop(thread.join()));
                    return Err(error);
                }
            }
        }
        let left = serving.into_iter().map(join).sum();
        all_served.cancel();
        admin_thread.map(join);
        log_thread.map(join);
        traces_thread.map(join);
        let requests = metrics.iter().flat_map(|metrics| metrics.codes()).map(|(_, count)| count).sum();
        let drained = if left == 0 { Drained::Clean } else { Drained::Late { left } };
        Ok(Served { requests, drained })
    }
}

/// How long calls to the system may go on that nobody waits for any more, such as the write of a file for a request that
/// was stopped. Some never end (a pipe that nobody writes to, a file system whose server is gone), and must not keep the process.
const CALLS_AFTER_DRAIN: Duration = Duration::from_secs(1);

/// What one thread serves.
struct Plan {
    worker: Worker,
    doors: Vec<Door>,
    more_doors: Arc<Doors>,
}

fn plan(
    (sockets, more_doors, peers): (Vec<Bound>, Vec<Arc<Doors>>, Arc<Peers>),
    metrics: &[Arc<Metrics>],
    limits: &crate::Limits,
    routes: &Routes,
    sink: Option<&Sink>,
    source: Option<&Source>,
) -> Vec<Plan> {
    let mut plans: Vec<Plan> = metrics
        .iter()
        .zip(more_doors)
        .enumerate()
        .map(|(index, (metrics, more_doors))| {
            let log = sink.map(|sink| sink.for_thread(metrics.clone()));
            let tracer = source.map(Source::for_thread);
            let worker = Worker::new(index, limits.clone(), routes.clone(), metrics.clone(), log, tracer);
            Plan { worker, doors: Vec::new(), more_doors }
        })
        .collect();
    for bound in sockets {
        let gate = Arc::new(Gate::new(limits, peers.clone()));
        let tls = bound.listener.tls.map(|certificates| TlsAcceptor::from(certificates.server()));
        for (plan, listener) in plans.iter_mut().zip(bound.per_thread) {
            let (tls, gate, closed) = (tls.clone(), gate.clone(), CancellationToken::new());
            plan.doors.push(Door { listener, tls, gate, entry: Entry::Ingress, closed });
        }
    }
    plans
}

/// One serving thread, from its first connection to its last. Returns the requests that it had to stop.
fn run(runtime: Runtime, plan: Plan, drain: &Drain, deadline: Duration) -> usize {
    // Should this thread end by a panic, the others must not carry on as if nothing were missing.
    let _end_of_one_is_end_of_all = BeginOnDrop(drain.clone());
    let worker = Arc::new(plan.worker);
    let left = runtime.block_on(async {
        let tracker = TaskTracker::new();
        let doors: Vec<_> = plan
            .doors
            .into_iter()
            .map(|door| tokio::spawn(open_door(door, worker.clone(), tracker.clone())))
            .collect();
        tracker.spawn(open_more(plan.more_doors, worker.clone(), tracker.clone()));
        let flusher = tokio::spawn(flush_log(worker.clone()));
        drain.begun().await;
        worker.begin_drain();
        let rest = async {
            for door in doors {
                // Its panic has been reported where it happened.
                let _ = door.await;
            }
            tracker.close();
            tracker.wait().await;
        };
        let is_late = timeout(deadline, rest).await.is_err();
        flusher.abort();
        let left = worker.metrics.in_flight.get();
        if is_late {
            worker.metrics.aborted.add(left);
        }
        usize::try_from(left).unwrap_or(usize::MAX)
    });
    runtime.shutdown_timeout(CALLS_AFTER_DRAIN);
    left
}

/// Hands lines to the log that wait for more to come.
async fn flush_log(worker: Arc<Worker>) {
    if let Some(log) = &worker.log {
        loop {
            tokio::time::sleep(FLUSH_INTERVAL).await;
            log.flush();
        }
    }
}

/// Opens the doors that come until the drain begins.
async fn open_more(doors: Arc<Doors>, worker: Arc<Worker>, tracker: TaskTracker) {
    loop {
        let doors = tokio::select! {
            () = worker.drain_begun.cancelled() => return,
            doors = doors.take() => doors,
        };
        for door in doors {
            tracker.spawn(open_door(door, worker.clone(), tracker.clone()));
        }
    }
}

/// Accepts until the drain begins or the door is closed. A socket that fails leaves the rest of the edge at work.
async fn open_door(door: Door, worker: Arc<Worker>, tracker: TaskTracker) {
    if let Err(error) = accept(door, worker, tracker).await {
        tracing::error!(%error, "a listening socket failed; this thread no longer accepts from it");
    }
}

/// A runtime for one thread, made before any thread starts: it takes descriptors, which may be used up.
fn runtime() -> Result<Runtime, Error> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| Error::Runtime { source })
}

fn start<R: Send + 'static>(
    name: String,
    work: impl FnOnce() -> R + Send + 'static,
) -> Result<JoinHandle<R>, Error> {
    Builder::new().name(name.clone()).spawn(work).map_err(|source| Error::Thread { name, source })
}

/// Waits for a thread; its panic is ours.
fn join<R>(thread: JoinHandle<R>) -> R {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

struct BeginOnDrop(Drain);

impl Drop for BeginOnDrop {
    fn drop(&mut self) {
        self.0.begin();
    }
}
