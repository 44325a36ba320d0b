//! The clock that interrupts guests: each thread that runs them has a timer, whose signal advances the engines'
//! epochs.
//!
//! A guest checks its epoch deadline at every loop head and function entry. A thread that enters a guest sets its timer
//! if it has gone off since; where it goes off elsewhere than in a guest it stays so, and an idle node costs nothing.
//! The kernel runs the handler on that very thread, before any more of the guest. A thread that counts time for the
//! others would first need a core: on one that is busy the kernel lets it wait for milliseconds, and the guest runs on
//! meanwhile.

use std::cell::RefCell;
use std::io;
use std::marker::PhantomData;
use std::ptr::{null, null_mut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering::Relaxed};
use std::time::Duration;

use wasmtime::Engine;

/// How long a guest may hold its core before others get it for the first time. Few guests run for so long.
pub(crate) const TICK: Duration = Duration::from_millis(1);

/// How long a guest that has had its tick may hold the core each time after that. A request that arrives meanwhile
/// waits for so long; each yield costs a few microseconds.
pub(crate) const SLICE: Duration = Duration::from_micros(200);

/// Less than this is not waited for: setting a timer may take as long.
pub(crate) const MOMENT: Duration = Duration::from_micros(20);

/// How long after a timer has gone off in a guest it does so again, unless it was set by then. A guest whose deadline was
/// being set at just that moment has not seen the first. Behind the next tick of the kernel, so that it costs a
/// microsecond to set; a timer that is the next costs several, most of all in a virtual machine.
const AGAIN: Duration = Duration::from_millis(5);

/// How often a timer is set until it has not gone off at once: then it is left to go off again.
const SET_TIMES_MAX: u32 = 3;

/// The signal of the timers. Whoever does not know it ignores it, no program is known to send it to others, and what
/// the kernel has it for (urgent data of a socket) must be asked for.
const SIGNAL: libc::c_int = libc::SIGURG;

/// The engines whose guests are interrupted.
pub(crate) struct Ticker {
    engines: Vec<Engine>,
}

/// Marks a thread as being in a guest, until it is dropped.
pub(crate) struct InGuest<'a> {
    outer: *const Ticker,
    ticker: PhantomData<&'a Ticker>,
}

// What the handler reads has neither a first use nor an end.
thread_local! {
    /// The clock of the guest that this thread is in; null: it is in none.
    static RUNNING: AtomicPtr<Ticker> = const { AtomicPtr::new(null_mut()) };
    /// Whether the timer of this thread has gone off since it was set, or was never set.
    static WENT_OFF: AtomicBool = const { AtomicBool::new(true) };
    /// Whether it will go off, for the first time or again.
    static STARTED: AtomicBool = const { AtomicBool::new(false) };
    /// The timer as the kernel knows it.
    static ID: AtomicPtr<libc::c_void> = const { AtomicPtr::new(null_mut()) };
    static TIMER: RefCell<Option<Timer>> = const { RefCell::new(None) };
}

impl Ticker {
    /// A clock for these engines.
    ///
    /// # Errors
    /// When the system gives no timers, or the signal is in use: no guest could be stopped.
    pub(crate) fn start(engines: Vec<Engine>) -> io::Result<Arc<Self>> {
        install()?;
        drop(Timer::new()?);
        Ok(Arc::new(Self { engines }))
    }

    /// The calling thread enters a guest.
    pub(crate) fn enter(&self) -> InGuest<'_> {
        let entered = std::ptr::from_ref(self).cast_mut();
        let outer = RUNNING.with(|running| {
            let outer = running.load(Relaxed);
            running.store(entered, Relaxed);
            outer
        });
        set_again(TICK);
        InGuest { outer, ticker: PhantomData }
    }

    /// Every guest of these engines looks what time it is.
    fn tick(&self) {
        self.engines.iter().for_each(Engine::increment_epoch);
    }
}

impl Drop for InGuest<'_> {
    fn drop(&mut self) {
        RUNNING.with(|running| running.store(self.outer.cast_mut(), Relaxed));
    }
}

/// The timer of this thread next goes off after `time`, whatever it was set to before.
///
/// # Panics
/// When the system gives this thread no timer: a guest on it could not be stopped.
#[cold]
pub(crate) fn set(time: Duration) {
    TIMER.with_borrow_mut(|timer| {
        if timer.is_none() {
            let new = Timer::new().expect("a thread that runs guests has a timer: see `ulimit -i`");
            ID.with(|id| id.store(new.0, Relaxed));
            *timer = Some(new);
        }
    });
    STARTED.with(|started| started.store(true, Relaxed));
    let id = ID.with(|id| id.load(Relaxed));
    // The end of a call is where the kernel likes to give the core to others, and it may be that long until this one
    // goes on. A guest whose deadline is set next would not see that the timer has gone off before.
    for _ in 0..SET_TIMES_MAX {
        WENT_OFF.with(|went_off| went_off.store(false, Relaxed));
        set_timer(id, time.max(MOMENT), AGAIN);
        if !WENT_OFF.with(|went_off| went_off.load(Relaxed)) {
            return;
        }
    }
}

/// As [`set`], if the timer has gone off since it was set; otherwise it does so within a tick anyway.
pub(crate) fn set_again(time: Duration) {
    if WENT_OFF.with(|went_off| went_off.load(Relaxed)) {
        set(time);
    }
}

/// Runs in the middle of anything on this thread, so it touches numbers only, and calls what may be called so.
extern "C" fn on_signal(_signal: libc::c_int) {
    WENT_OFF.with(|went_off| went_off.store(true, Relaxed));
    let running = RUNNING.with(|running| running.load(Relaxed)).cast_const();
    #[allow(unsafe_code, reason = "a pointer that a signal handler can read")]
    // SAFETY: `enter` stored it, on this thread, and the mark that borrows the clock clears it before the clock ends.
    if let Some(ticker) = unsafe { running.as_ref() } {
        ticker.tick();
    } else if STARTED.with(|started| started.swap(false, Relaxed)) {
        set_timer(ID.with(|id| id.load(Relaxed)), Duration::ZERO, Duration::ZERO);
    }
}

/// Lets a timer go off after `first` and then each `period`; never, for a `first` of zero. May be called from the
/// handler.
#[allow(unsafe_code, reason = "a call that the standard library does not have")]
fn set_timer(id: libc::timer_t, first: Duration, period: Duration) {
    let time = |time: Duration| libc::timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(time.subsec_nanos()),
    };
    let setting = libc::itimerspec { it_interval: time(period), it_value: time(first) };
    // SAFETY: reads the setting given; it fails, and changes nothing, for a timer that there is not.
    let _ = unsafe { libc::timer_settime(id, 0, &raw const setting, null_mut()) };
}

/// Makes `on_signal` the handler of the process.
#[allow(unsafe_code, reason = "calls that the standard library does not have")]
fn install() -> io::Result<()> {
    let handler: extern "C" fn(libc::c_int) = on_signal;
    // SAFETY: all zeros is a valid action.
    let (mut ours, mut old) =
        unsafe { (std::mem::zeroed::<libc::sigaction>(), std::mem::zeroed::<libc::sigaction>()) };
    ours.sa_sigaction = handler as libc::sighandler_t;
    // Calls that it interrupts go on; and a guest's stack may be nearly full.
    ours.sa_flags = libc::SA_RESTART | libc::SA_ONSTACK;
    // SAFETY: reads and writes the structures given.
    check(unsafe { libc::sigaction(SIGNAL, null(), &raw mut old) })?;
    if ![libc::SIG_DFL, libc::SIG_IGN, ours.sa_sigaction].contains(&old.sa_sigaction) {
        return Err(io::Error::other("something else in this process handles SIGURG"));
    }
    // SAFETY: reads the structure given; the handler lives as long as the process and does only what one may.
    check(unsafe { libc::sigaction(SIGNAL, &raw const ours, null_mut()) })
}

/// A timer that sends the signal to the thread that made it.
struct Timer(libc::timer_t);

#[allow(unsafe_code, reason = "calls that the standard library does not have")]
impl Timer {
    fn new() -> io::Result<Self> {
        // SAFETY: all zeros is a valid event and a valid set; the set is made empty before it is used.
        let (mut event, mut signals) =
            unsafe { (std::mem::zeroed::<libc::sigevent>(), std::mem::zeroed::<libc::sigset_t>()) };
        event.sigev_notify = libc::SIGEV_THREAD_ID;
        event.sigev_signo = SIGNAL;
        event.sigev_notify_thread_id = rustix::thread::gettid().as_raw_pid();
        // SAFETY: writes to the set given.
        check(unsafe { libc::sigemptyset(&raw mut signals) })?;
        // SAFETY: writes to the set given, which is empty.
        check(unsafe { libc::sigaddset(&raw mut signals, SIGNAL) })?;
        // Whoever started this process may have blocked it.
        // SAFETY: reads the set given, and changes only which signals this thread takes.
        let failed = unsafe { libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const signals, null_mut()) };
        if failed != 0 {
            return Err(io::Error::from_raw_os_error(failed));
        }
        let mut timer = null_mut();
        // SAFETY: reads the event given and writes the id of the timer.
        check(unsafe { libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut timer) })?;
        Ok(Self(timer))
    }
}

#[allow(unsafe_code, reason = "a call that the standard library does not have")]
impl Drop for Timer {
    fn drop(&mut self) {
        // SAFETY: the timer is ours, and nobody uses it after this.
        let _ = unsafe { libc::timer_delete(self.0) };
    }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use wasmtime::{Config, Instance, Module, Store, UpdateDeadline};

    use super::*;

    /// However loaded the machine is.
    const LONG: Duration = Duration::from_secs(60);

    /// A store of an engine with this clock, and a guest in it that never ends by itself.
    struct Looping {
        ticker: Arc<Ticker>,
        store: Store<u32>,
        run: wasmtime::TypedFunc<(), ()>,
    }

    impl Looping {
        /// Counts in the store how often it was interrupted; ends at `end`.
        fn new(end: u32) -> Self {
            let mut config = Config::new();
            config.epoch_interruption(true);
            let engine = Engine::new(&config).expect("an engine");
            let ticker = Ticker::start(vec![engine.clone()]).expect("a clock");
            let module =
                Module::new(&engine, r#"(module (func (export "run") (loop br 0)))"#).expect("it compiles");
            let mut store = Store::new(&engine, 0);
            store.set_epoch_deadline(1);
            store.epoch_deadline_callback(move |mut store| {
                *store.data_mut() += 1;
                if *store.data() == end {
                    return Ok(UpdateDeadline::Interrupt);
                }
                set(SLICE);
                Ok(UpdateDeadline::Continue(1))
            });
            let instance = Instance::new(&mut store, &module, &[]).expect("an instance");
            let run = instance.get_typed_func(&mut store, "run").expect("the export");
            Self { ticker, store, run }
        }

        /// How long it ran and how often it was interrupted.
        fn run(&mut self) -> (Duration, u32) {
            let began = Instant::now();
            let _in_guest = self.ticker.enter();
            self.run.call(&mut self.store, ()).expect_err("it was stopped");
            (began.elapsed(), *self.store.data())
        }
    }

    fn went_off() -> bool {
        WENT_OFF.with(|went_off| went_off.load(Relaxed))
    }

    fn wait(until: impl Fn() -> bool) {
        let began = Instant::now();
        while !until() {
            assert!(began.elapsed() < LONG, "the timer goes off");
        }
    }

    #[test]
    fn a_guest_is_interrupted_after_a_tick_and_then_after_each_slice() {
        wait(went_off);
        let (took, interrupted) = Looping::new(6).run();
        assert_eq!(interrupted, 6);
        assert!(took >= TICK + SLICE * 5, "{took:?}");
    }

    #[test]
    fn a_thread_that_is_in_no_guest_any_more_is_let_be() {
        let looping = Looping::new(1);
        let in_guest = looping.ticker.enter();
        wait(went_off);
        drop(in_guest);
        // It goes off once more, and finds no guest.
        wait(|| !STARTED.with(|started| started.load(Relaxed)));
    }

    /// What a guest's deadline counts from may be set only after the timer has gone off.
    #[test]
    fn a_tick_that_comes_before_the_guest_is_not_the_last() {
        let mut looping = Looping::new(1);
        let ticker = Arc::clone(&looping.ticker);
        let _in_guest = ticker.enter();
        wait(went_off);
        looping.store.set_epoch_deadline(1);
        assert_eq!(looping.run().1, 1);
    }

    #[test]
    fn every_thread_has_a_timer_of_its_own() {
        let run = || assert_eq!(Looping::new(3).run().1, 3);
        std::thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(run))));
    }

    #[test]
    fn a_timer_that_goes_off_elsewhere_than_in_a_guest_says_nothing() {
        let mut looping = Looping::new(1);
        drop(looping.ticker.enter());
        assert!(!went_off(), "entering sets it");
        wait(went_off);
        let began = Instant::now();
        let (took, _) = looping.run();
        assert!(took >= TICK && began.elapsed() >= TICK, "nothing of before was left: {took:?}");
    }

    #[test]
    fn the_outer_guest_is_interrupted_after_an_inner_one() {
        let (mut outer, mut inner) = (Looping::new(2), Looping::new(2));
        let ticker = Arc::clone(&outer.ticker);
        let _in_guest = ticker.enter();
        assert_eq!(inner.run().1, 2);
        assert_eq!(outer.run.call(&mut outer.store, ()).map_err(|_| *outer.store.data()), Err(2));
    }

    #[test]
    fn a_signal_that_somebody_handles_is_not_taken_away() {
        // The handler of a process is one: this test runs in a process of its own (`cargo nextest run`).
        extern "C" fn somebody(_signal: libc::c_int) {}
        let handler: extern "C" fn(libc::c_int) = somebody;
        #[allow(unsafe_code, reason = "there is no other way to set a handler")]
        // SAFETY: the handler does nothing.
        let old = unsafe { libc::signal(SIGNAL, handler as libc::sighandler_t) };
        let error = Ticker::start(Vec::new()).err().expect("it is refused");
        assert!(error.to_string().contains("SIGURG"), "{error}");
        #[allow(unsafe_code, reason = "as above")]
        // SAFETY: what it was.
        let _ = unsafe { libc::signal(SIGNAL, old) };
    }
}
