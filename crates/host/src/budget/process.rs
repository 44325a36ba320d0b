//! What the process as a whole has in memory: the guests, and what they make the host hold for them.

use std::fs::File;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use shoal_base::allocator;
use shoal_base::units::Bytes;

/// How often it is looked at while there are requests. A core writes a few MiB of new memory in this time; a look takes
/// a microsecond.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// How often what is freed is given back to the kernel while it is full; that takes milliseconds.
const MAKE_ROOM_EVERY: Duration = Duration::from_millis(40);

/// How long the end of a guest may take to be seen in what the process has.
const PATIENCE: Duration = Duration::from_millis(100);

/// More than this and it is growing.
const GROWTH_BYTES: u64 = 1 << 20;

/// `/proc/self/statm` is seven numbers in one line.
const STATM_BYTES_MAX: usize = 256;

/// The memory of this process, against what it may have.
pub(super) struct Process {
    max_bytes: u64,
    /// None where `/proc` is missing: nobody knows then.
    statm: Option<File>,
    page_bytes: u64,
    since: Instant,
    /// When it was looked at, in microseconds.
    looked: AtomicU64,
    is_full: AtomicBool,
    /// What it had then.
    bytes: AtomicU64,
    /// When room was last made, in microseconds.
    made_room: AtomicU64,
    /// When a guest was last ended for it, in microseconds.
    ended: AtomicU64,
    /// What it had then.
    ended_bytes: AtomicU64,
}

impl Process {
    /// This process, which may have up to `max`.
    pub(super) fn new(max: Bytes) -> Self {
        Self {
            max_bytes: max.0,
            statm: File::open("/proc/self/statm").ok(),
            page_bytes: rustix::param::page_size() as u64,
            since: Instant::now(),
            looked: AtomicU64::new(0),
            is_full: AtomicBool::new(false),
            bytes: AtomicU64::new(0),
            made_room: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            ended_bytes: AtomicU64::new(0),
        }
    }

    /// What it may have.
    pub(super) fn max(&self) -> Bytes {
        Bytes(self.max_bytes)
    }

    /// Whether it has more than it may; looks when that was not done for a while. `make_room` is called first, but not
    /// again and again.
    pub(super) fn is_full(&self, now: Instant, make_room: impl FnOnce()) -> bool {
        let micros = self.micros(now);
        let looked = self.looked.load(Relaxed);
        let is_due = micros.saturating_sub(looked) >= LOOK_EVERY.as_micros() as u64;
        if !is_due || self.looked.compare_exchange(looked, micros, Relaxed, Relaxed).is_err() {
            return self.is_full.load(Relaxed);
        }
        let has_too_much = || {
            let bytes = self.own_bytes().unwrap_or(0);
            self.bytes.store(bytes, Relaxed);
            bytes > self.max_bytes
        };
        let mut is_full = has_too_much();
        let waited = Duration::from_micros(micros.saturating_sub(self.made_room.load(Relaxed)));
        if is_full && (!self.is_full.load(Relaxed) || waited >= MAKE_ROOM_EVERY) {
            self.made_room.store(micros, Relaxed);
            make_room();
            allocator::give_back();
            is_full = has_too_much();
        }
        self.is_full.store(is_full, Relaxed);
        is_full
    }

    /// Whether a guest has to end for it: when it is full and still has more than when the last one ended, or that
    /// one's end gave back too little. What is freed reaches the kernel some time later.
    pub(super) fn must_end_one(&self, now: Instant, make_room: impl FnOnce()) -> bool {
        if !self.is_full(now, make_room) {
            return false;
        }
        let (micros, bytes) = (self.micros(now), self.bytes.load(Relaxed));
        let ended = self.ended.load(Relaxed);
        let has_grown = bytes > self.ended_bytes.load(Relaxed).saturating_add(GROWTH_BYTES);
        let had_time = micros.saturating_sub(ended) >= PATIENCE.as_micros() as u64;
        // Of guests on many cores one ends.
        if !(has_grown || had_time) || self.ended.compare_exchange(ended, micros, Relaxed, Relaxed).is_err() {
            return false;
        }
        self.ended_bytes.store(bytes, Relaxed);
        true
    }

    fn micros(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.since).as_micros()).unwrap_or(u64::MAX)
    }

    /// Memory that is this process's own: neither of files nor shared.
    fn own_bytes(&self) -> Option<u64> {
        let mut text = [0; STATM_BYTES_MAX];
        let length = rustix::io::pread(self.statm.as_ref()?, &mut text, 0).ok()?;
        own_pages(text.get(..length)?).map(|pages| pages * self.page_bytes)
    }
}

/// Pages of the process's own, of the text of `statm`: the second number less the third (proc_pid_statm(5)).
fn own_pages(statm: &[u8]) -> Option<u64> {
    let mut numbers = std::str::from_utf8(statm).ok()?.split_ascii_whitespace().map(str::parse::<u64>);
    let (resident, shared) = (numbers.nth(1)?.ok()?, numbers.next()?.ok()?);
    Some(resident.saturating_sub(shared))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_its_own_is_resident_and_not_shared() {
        assert_eq!(own_pages(b"5000 1200 200 10 0 700 0\n"), Some(1000));
        for wrong in [&b""[..], b"1 2", b"1 x 3", b"\xff"] {
            assert_eq!(own_pages(wrong), None);
        }
    }

    #[test]
    fn it_is_full_as_long_as_it_has_more_than_it_may() {
        let own = Process::new(Bytes(0)).own_bytes().expect("there is a /proc");
        let process = Process::new(Bytes(own + (64 << 20)));
        let at = |millis: u64| process.since + Duration::from_millis(millis);
        assert!(!process.is_full(at(2), || panic!("there is room")));
        let mut taken = vec![1_u8; 128 << 20];
        std::hint::black_box(&mut taken);
        assert!(!process.is_full(at(3), || panic!("it was just looked at")));
        let mut asked = 0;
        assert!(process.is_full(at(4), || asked += 1));
        assert!(process.is_full(at(6), || asked += 1), "still");
        assert_eq!(asked, 1, "room was just asked for");
        assert!(!process.is_full(at(50), || drop(std::mem::take(&mut taken))), "room was made");
        assert!(!process.is_full(at(52), || panic!("there is room again")));
    }

    #[test]
    fn one_guest_after_another_ends_while_it_grows_or_stays_full() {
        let process = Process::new(Bytes(1));
        let at = |millis: u64| process.since + Duration::from_millis(millis);
        assert!(process.must_end_one(at(2), || ()));
        assert!(!process.must_end_one(at(3), || ()), "it did not grow since");
        let more = vec![1_u8; 16 << 20];
        assert!(process.must_end_one(at(5), || ()), "it grew");
        assert!(!process.must_end_one(at(104), || ()));
        assert!(process.must_end_one(at(105), || ()), "the end of that one was not enough");
        drop(std::hint::black_box(more));
    }
}
