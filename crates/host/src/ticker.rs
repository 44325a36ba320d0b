//! The clock that interrupts guests: one thread that advances the engines' epochs while guests run.
//!
//! A guest checks its epoch deadline at every loop head and function entry. Each core marks a cell of its
//! own while it is in a guest; when no core has been in one for a while the ticker slows down, so that an
//! idle node costs nothing.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread::Thread;
use std::time::Duration;

use wasmtime::EngineWeak;

/// Time between two ticks while guests run: how long a guest may hold its core before others get it.
pub(crate) const TICK: Duration = Duration::from_millis(1);

/// Time between two looks while no guest runs. A guest that starts wakes the ticker; this bounds the cost of
/// a wake-up that is lost in a race.
const IDLE_TICK: Duration = Duration::from_millis(50);

/// Ticks without a guest before the ticker slows down, so that it stays awake between two requests.
const TICKS_UNTIL_IDLE: u32 = 20;

/// Shared by the ticker thread and the cores.
pub(crate) struct Ticker {
    cores: Mutex<Vec<Weak<Core>>>,
    idle: AtomicBool,
    thread: OnceLock<Thread>,
}

/// One core's mark, alone on its cache line.
#[repr(align(128))]
#[derive(Default)]
pub(crate) struct Core {
    in_guest: AtomicBool,
}

impl Ticker {
    /// Starts the thread. It ends when all engines are gone.
    pub(crate) fn start(engines: Vec<EngineWeak>) -> std::io::Result<Arc<Self>> {
        let ticker =
            Arc::new(Self { cores: Mutex::default(), idle: AtomicBool::new(false), thread: OnceLock::new() });
        let shared = Arc::clone(&ticker);
        std::thread::Builder::new().name("epoch".into()).spawn(move || shared.run(&engines))?;
        Ok(ticker)
    }

    /// A mark for the calling core.
    pub(crate) fn register(&self) -> Arc<Core> {
        let core = Arc::new(Core::default());
        self.cores().push(Arc::downgrade(&core));
        core
    }

    /// The core enters a guest.
    pub(crate) fn enter(&self, core: &Core) {
        core.in_guest.store(true, Relaxed);
        if self.idle.load(Relaxed) {
            self.wake();
        }
    }

    /// The core has left the guest.
    pub(crate) fn leave(&self, core: &Core) {
        core.in_guest.store(false, Relaxed);
    }

    #[cold]
    fn wake(&self) {
        self.idle.store(false, Relaxed);
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    fn run(&self, engines: &[EngineWeak]) {
        let _ = self.thread.set(std::thread::current());
        let mut quiet_ticks = 0;
        loop {
            let idle = quiet_ticks > TICKS_UNTIL_IDLE;
            self.idle.store(idle, Relaxed);
            std::thread::park_timeout(if idle { IDLE_TICK } else { TICK });
            let mut alive = false;
            for engine in engines.iter().filter_map(EngineWeak::upgrade) {
                engine.increment_epoch();
                alive = true;
            }
            if !alive {
                return;
            }
            quiet_ticks = if self.any_in_guest() { 0 } else { quiet_ticks + 1 };
        }
    }

    fn any_in_guest(&self) -> bool {
        let mut cores = self.cores();
        cores.retain(|core| core.strong_count() > 0);
        cores.iter().filter_map(Weak::upgrade).any(|core| core.in_guest.load(Relaxed))
    }

    fn cores(&self) -> MutexGuard<'_, Vec<Weak<Core>>> {
        self.cores.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
