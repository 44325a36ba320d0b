//! Whether the machine swaps, now and later.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::read;

/// What is swapped to, from `/proc/swaps`; none when it cannot be read. A kernel built without swap has no
/// such file, but then it has `/proc/meminfo` with no `SwapTotal` or a zero.
pub(super) fn active(root: &Path) -> Option<Vec<String>> {
    let Some(text) = read::word(root, "proc/swaps") else {
        let meminfo = read::table(root, "proc/meminfo");
        let without = !meminfo.is_empty() && read::kib(&meminfo, "SwapTotal").unwrap_or(0) == 0;
        return without.then(Vec::new);
    };
    let names = text.lines().skip(1).filter_map(|line| line.split_whitespace().next());
    Some(names.map(str::to_string).collect())
}

/// Notices swap that appears while the process runs.
///
/// The kernel marks `/proc/swaps` at every `swapon` and `swapoff`, so that a check costs one `poll` (well under
/// a microsecond) and sees the change as soon as it was made. Nothing is missed between two checks: any change
/// counts, also a swap that is gone again. Once seen, swap stays seen.
#[derive(Debug)]
pub struct SwapWatch {
    swaps: File,
    seen: AtomicBool,
}

impl SwapWatch {
    /// Starts watching.
    ///
    /// # Errors
    /// When `/proc/swaps` cannot be opened; then nobody can tell, and the caller must assume swap.
    pub fn open() -> io::Result<Self> {
        let swaps = File::open("/proc/swaps")?;
        // Read after opening: a change between the two is then seen by one or the other.
        Ok(Self { swaps, seen: AtomicBool::new(super::Machine::swap_now()) })
    }

    /// Whether there is swap now, or was at any time since this watch began.
    pub fn swap_seen(&self) -> bool {
        if self.seen.load(Ordering::Relaxed) {
            return true;
        }
        let mut files = [PollFd::new(&self.swaps, PollFlags::PRI)];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        let changed = match poll(&mut files, Some(&at_once)) {
            Ok(_) => files[0].revents().intersects(PollFlags::PRI | PollFlags::ERR),
            Err(_) => true,
        };
        if changed {
            self.seen.store(true, Ordering::Relaxed);
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_agrees_with_the_machine() {
        let Ok(watch) = SwapWatch::open() else {
            assert!(!Path::new("/proc/swaps").exists(), "the file is there but cannot be watched");
            return;
        };
        assert_eq!(watch.swap_seen(), super::super::Machine::swap_now());
    }
}
