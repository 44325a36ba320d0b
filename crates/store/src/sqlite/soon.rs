//! The writer's place among the threads of the machine.

use std::mem::size_of;

/// How much less nice the writer is than the threads that wait for it: its share of a core is some ten times theirs.
const LESS_NICE: i32 = 10;
/// What it runs for at a time, in nanoseconds; the least that Linux takes.
const SLICE_NANOSECONDS: u64 = 100_000;

/// Has this thread run as soon as it can. All who write wait for it, and it computes for some tens of microseconds between two
/// calls of the disk; on a machine whose cores are busy it would stand in line for milliseconds each time.
///
/// Since Linux 6.12 a thread that asks for short slices goes before those with longer ones; being less nice takes a right
/// (`CAP_SYS_NICE`), and is left out without it.
pub(super) fn run_soon() {
    let nice = rustix::process::nice(0).unwrap_or_default();
    if !ask(nice - LESS_NICE) && !ask(nice) {
        tracing::debug!("the writer of the store stands in line for a core like everyone");
    }
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
    fn the_writer_goes_before_others_as_far_as_it_may() {
        let (nice, usual) = asked();
        run_soon();
        let (then, slice) = asked();
        assert!([nice, (nice - LESS_NICE).max(-20)].contains(&then), "{nice} {then}");
        // Kernels before 6.12 know no slices.
        let knows_slices = usual != 0;
        assert_eq!(slice, if knows_slices { SLICE_NANOSECONDS } else { 0 });
    }
}
