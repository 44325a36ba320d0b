//! What loaded apps cost: many copies of one component, each with a digest of its own, in one process.
//!
//! ```text
//! cargo build --profile dist -p shoal-host --example density
//! target/dist/examples/density prepare guests/built/hello.wasm 1000 DIR    # compiles the copies into DIR
//! target/dist/examples/density measure guests/built/hello.wasm 1000 DIR guests/built/hostile.wasm
//! ```
//!
//! `measure` prints one JSON object: bytes per loaded idle app, bytes per live instance (of the last argument,
//! at `/never`, where it waits), and times in microseconds as `[p50, p99]`. The two steps are two processes,
//! so that what the compiler left in the allocator hides nothing.
#![allow(clippy::print_stdout, reason = "an example talks to whoever runs it")]

use std::error::Error;
use std::future::poll_fn;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use http::Request;
use http_body_util::BodyExt as _;
use shoal_base::drain::Drain;
use shoal_host::pool::PoolWish;
use shoal_host::{Host, HostConfig};
use shoal_runtime::{
    Account, Body, Call, Grants, Instances, Invoke, LimitsByKind, Quiet, Runtime as _, Usage, Workload,
    WorkloadSpec,
};

// The allocator of the binary: the figures are to be its figures.
#[global_allocator]
static ALLOCATOR: shoal_base::allocator::Allocator = shoal_base::allocator::Allocator;

type Failable<T> = Result<T, Box<dyn Error>>;

/// Apps that are loaded and asked once, to time the way from the cache to the first byte.
const FIRST_BYTES: usize = 100;

/// Requests to one app, to time instantiation.
const REQUESTS: usize = 5_000;

/// Requests before those that count.
const WARM_UP: usize = 500;

/// Instances alive at the same time; fewer than the pool of a small machine has slots.
const LIVE: usize = 200;

fn main() -> Failable<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["prepare", component, count, dir] => prepare(component, count.parse()?, dir),
        ["measure", component, count, dir, waiting] => measure(component, count.parse()?, dir, waiting),
        _ => Err("usage: density prepare COMPONENT COUNT DIR | measure COMPONENT COUNT DIR WAITING".into()),
    }
}

fn prepare(component: &str, count: usize, dir: &str) -> Failable<()> {
    let apps = Apps::new(component, dir)?;
    (0..=count + FIRST_BYTES).try_for_each(|number| apps.load(number).map(drop))
}

fn measure(component: &str, count: usize, dir: &str, waiting: &str) -> Failable<()> {
    let apps = Apps::new(component, dir)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Makes what the first app and the first request make once for all: linker, engine thread, timers.
    let first = apps.load(0)?;
    runtime.block_on(ask(&first))?;

    let before = Memory::now()?;
    let loaded = (1..=count).map(|number| apps.load(number)).collect::<Failable<Vec<_>>>()?;
    let after = Memory::now()?;
    // Before anything is freed: what the allocator keeps would hide what the instances take.
    let waiting = apps.serve("waiting", Path::new(waiting))?;
    let live_bytes = runtime.block_on(live(&waiting))?;

    let (mut load, mut first_byte) = (Vec::new(), Vec::new());
    for number in count + 1..=count + FIRST_BYTES {
        let file = apps.file(number)?;
        let began = Instant::now();
        let app = apps.serve("app", &file.0)?;
        load.push(began.elapsed());
        runtime.block_on(ask(&app))?;
        first_byte.push(began.elapsed());
    }

    let (mut instantiate, mut on_core) = (Vec::new(), Vec::new());
    for number in 0..WARM_UP + REQUESTS {
        let usage = runtime.block_on(ask(&first))?;
        if number >= WARM_UP {
            instantiate.push(usage.instantiate);
            on_core.push(usage.on_core);
        }
    }

    let per_app = |after: u64, before: u64| after.saturating_sub(before) / count as u64;
    let figures = serde_json::json!({
        "apps": loaded.len(),
        "anonymous_bytes": after.anonymous,
        "anonymous_bytes_per_app": per_app(after.anonymous, before.anonymous),
        "file_bytes_per_app": per_app(after.file, before.file),
        "live_anonymous_bytes_per_instance": live_bytes,
        "load_us": spread(load),
        "first_byte_us": spread(first_byte),
        "instantiate_us": spread(instantiate),
        "on_core_us": spread(on_core),
    });
    println!("{figures}");
    Ok(())
}

/// Copies of one component in one host.
struct Apps {
    host: Host,
    component: Vec<u8>,
    dir: PathBuf,
}

/// The artifact of one copy, removed again when it has been loaded.
struct AppFile(PathBuf);

impl Drop for AppFile {
    fn drop(&mut self) {
        // Only disk space would be lost.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Apps {
    fn new(component: &str, dir: &str) -> Failable<Self> {
        let dir = PathBuf::from(dir);
        let config =
            HostConfig { data_dir: dir.clone(), key: None, pool: PoolWish::default(), drain: Drain::new() };
        let host = Host::new(&config).map_err(|refusal| refusal.to_string())?;
        Ok(Self { host, component: std::fs::read(component)?, dir })
    }

    /// Loads the copy with this number; its code is in the cache after the first time.
    fn load(&self, number: usize) -> Failable<Arc<dyn Invoke>> {
        self.serve(&format!("app-{number}"), &self.file(number)?.0)
    }

    fn file(&self, number: usize) -> Failable<AppFile> {
        let path = self.dir.join(format!("app-{}.wasm", std::process::id()));
        std::fs::write(&path, numbered(&self.component, number))?;
        Ok(AppFile(path))
    }

    fn serve(&self, name: &str, artifact: &Path) -> Failable<Arc<dyn Invoke>> {
        let spec = WorkloadSpec {
            name: name.into(),
            artifact: artifact.into(),
            args: Vec::new(),
            grants: Grants::default(),
            limits: LimitsByKind::default(),
            instances: Instances::default(),
            namespace: String::new(),
            mesh: None,
            output: None,
        };
        match self.host.load(&spec, &Quiet).map_err(|refusal| refusal.to_string())? {
            Workload::Http(invoke) => Ok(invoke),
            Workload::Command(_) => Err(format!("{name} does not answer requests").into()),
        }
    }
}

/// The component with a custom section that holds `number`: the same code under another digest.
fn numbered(component: &[u8], number: usize) -> Vec<u8> {
    const NAME: &[u8] = b"copy";
    const CUSTOM_SECTION: u8 = 0;
    let number = (number as u64).to_le_bytes();
    let mut copy = component.to_vec();
    copy.push(CUSTOM_SECTION);
    // Both lengths are below 128: one byte each in LEB128.
    copy.push((1 + NAME.len() + number.len()) as u8);
    copy.push(NAME.len() as u8);
    copy.extend_from_slice(NAME);
    copy.extend_from_slice(&number);
    copy
}

/// Sends one request, reads the whole answer, and says what it used.
async fn ask(app: &Arc<dyn Invoke>) -> Failable<Usage> {
    let account = Arc::new(Account::default());
    let answer = app.invoke(request("/")?, call(&account)).await?;
    if !answer.status().is_success() {
        return Err(format!("an app answered {}", answer.status()).into());
    }
    answer.into_body().collect().await?;
    Ok(account.usage())
}

/// Anonymous bytes for each instance that is alive and waits.
async fn live(app: &Arc<dyn Invoke>) -> Failable<u64> {
    let before = Memory::now()?;
    let mut waiting = Vec::with_capacity(LIVE);
    for _ in 0..LIVE {
        let mut answer = app.invoke(request("/never")?, call(&Arc::new(Account::default())));
        let pending = poll_fn(|context| Poll::Ready(answer.as_mut().poll(context).is_pending())).await;
        if !pending {
            return Err("the waiting guest answered `/never`".into());
        }
        waiting.push(answer);
    }
    let after = Memory::now()?;
    Ok(after.anonymous.saturating_sub(before.anonymous) / LIVE as u64)
}

fn request(path: &str) -> Failable<Request<Body>> {
    Ok(Request::builder().uri(path).header(http::header::HOST, "density.test").body(Body::empty())?)
}

fn call(account: &Arc<Account>) -> Call {
    Call {
        id: 1,
        scheme: http::uri::Scheme::HTTP,
        peer: ([127, 0, 0, 1], 1).into(),
        received: Instant::now(),
        account: Arc::clone(account),
    }
}

/// p50 and p99 in microseconds.
fn spread(mut times: Vec<Duration>) -> [f64; 2] {
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e6;
    [at(0.5), at(0.99)]
}

/// Resident memory of this process in bytes.
struct Memory {
    anonymous: u64,
    file: u64,
}

impl Memory {
    fn now() -> Failable<Self> {
        let status = std::fs::read_to_string("/proc/self/status")?;
        let bytes = |name: &str| -> Failable<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let kibibytes = line.and_then(|line| line.split_whitespace().next());
            Ok(kibibytes.ok_or("a line is missing in /proc/self/status")?.parse::<u64>()? * 1024)
        };
        Ok(Self { anonymous: bytes("RssAnon:")?, file: bytes("RssFile:")? })
    }
}
