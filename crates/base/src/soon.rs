//! The place of a thread for which many wait among the threads of the machine.

use std::mem::size_of;

/// How much less nice a thread with a larger share is: its share of a core is some ten times that of others.
const LESS_NICE: i32 = 10;
/// What it runs for at a time, in nanoseconds; the least that Linux takes.
const SLICE_NANOSECONDS: u64 = 100_000;

/// How much of a core a thread gets where there is not enough for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// As much as every other.
    Same,
    /// Some ten times that of others, where this process may ask for it (`CAP_SYS_NICE`).
    Larger,
}

/// Has this thread run as soon as it can; false: it stands in line for a core like everyone.
///
/// For a thread that many wait for, and that computes for some tens of microseconds between two calls of the disk: on a
/// machine whose cores are busy it would stand in line for milliseconds each time. Since Linux 6.12 a thread that asks for
/// short slices goes before those with longer ones.
pub fn run(share: Share) -> bool {
    let nice = rustix::process::nice(0).unwrap_or_default();
    (share == Share::Larger && ask(nice - LESS_NICE)) || ask(nice)
}

/// Sets how nice this thread is and its slice; whether that was granted.
#[allow(unsafe_code, reason = "a system call that neither the standard library nor rustix has")]
fn ask(nice: i32) -> bool {
    let attributes = libc::sched_attr {
        size: size_of::<libc::sched_attr>() as u32,
        sched_policy: libc::SCHED_OTHER as u32,
        sched_flags: 0,
        sched_nice: nice.max(-20),
        sched_priority: 0,
        sched_runtime: SLICE_NANOSECONDS,
        sched_deadline: 0,
        sched_period: 0,
    };
    // SAFETY: the kernel reads one `sched_attr` of the size that it says; zero is this thread.
    let answer = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    answer == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How nice this thread is, and its slice in nanoseconds; older kernels say nothing of that.
    #[expect(unsafe_code, reason = "there is no other way to ask")]
    fn asked() -> (i32, u64) {
        let mut attributes = std::mem::MaybeUninit::<libc::sched_attr>::zeroed();
        let size = size_of::<libc::sched_attr>();
        // SAFETY: the kernel writes at most `size` bytes, and all zeros are attributes too.
        let attributes = unsafe {
            assert_eq!(libc::syscall(libc::SYS_sched_getattr, 0, attributes.as_mut_ptr(), size, 0), 0);
            attributes.assume_init()
        };
        (attributes.sched_nice, attributes.sched_runtime)
    }

    #[test]
    fn a_thread_goes_before_others_as_far_as_it_may() {
        let (nice, usual) = asked();
        // Kernels before 6.12 know no slices.
        let short = if usual == 0 { 0 } else { SLICE_NANOSECONDS };
        assert!(run(Share::Same));
        assert_eq!(asked(), (nice, short));
        assert!(run(Share::Larger));
        let (less, slice) = asked();
        assert!([nice, (nice - LESS_NICE).max(-20)].contains(&less), "{nice} {less}");
        assert_eq!(slice, short);
    }
}
