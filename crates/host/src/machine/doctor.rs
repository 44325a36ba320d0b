//! The machine as rows of `shoal doctor`: what was found, and what to do about it.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use shoal_base::units::show_duration;
use shoal_runtime::Refusal;
use shoal_runtime::report::{Row, Section};

use super::{Kernel, Machine, Overcommit};

/// Every connection is a file, and so is every loaded artifact; a busy edge has tens of thousands.
const OPEN_FILES_ENOUGH: u64 = 65_536;

/// A burst of connections waits here until it is accepted.
const SOMAXCONN_ENOUGH: u32 = 1024;

/// Disks of servers take a fraction of this; slower ones delay every acknowledged write.
const FSYNC_FAST: Duration = Duration::from_millis(10);

/// Slower than this, writes queue up behind each other.
const FSYNC_SLOW: Duration = Duration::from_millis(50);

/// Enough for a median that one slow write does not move.
const FSYNC_ROUNDS: usize = 9;

/// Database pages are of this size.
const FSYNC_BYTES: usize = 4096;

/// What was found out about the machine.
pub fn machine_section(machine: &Machine) -> Section {
    let rows = vec![
        cores(machine),
        kernel(machine),
        address_space(machine),
        overcommit(machine),
        swap(machine),
        mappings(machine),
        open_files(machine),
        somaxconn(machine),
        huge_pages(machine),
        protection_keys(machine),
    ];
    Section::new("Machine", rows.into_iter().chain(governor(machine)).collect())
}

/// Tries the directory in which Shoal keeps its data: whether it can be written, and how long a write takes
/// to reach the disk. Leaves nothing behind.
pub fn data_dir_section(dir: &Path) -> Section {
    let shown = dir.display().to_string();
    let row = match fsync_median(dir) {
        Err(error) => Row::bad(
            "data directory",
            shown,
            format!("cannot be written: {error}; make it, or choose another with --data-dir"),
        ),
        Ok(median) => fsync_row(median, &shown),
    };
    Section::new("Disk", vec![row])
}

/// Says why a directory cannot hold Shoal's data.
pub fn refused_data_dir_section(dir: &Path, refusal: &Refusal) -> Section {
    let next = refusal.hint.as_ref().map(|hint| format!("; {hint}")).unwrap_or_default();
    let row = Row::bad("data directory", dir.display().to_string(), format!("{}{next}", refusal.what));
    Section::new("Disk", vec![row])
}

fn fsync_row(median: Duration, dir: &str) -> Row {
    let value = format!("fsync in {}", show_duration(round(median)));
    if median <= FSYNC_FAST {
        Row::ok("data directory", value, dir)
    } else if median <= FSYNC_SLOW {
        Row::warn(
            "data directory",
            value,
            format!("{dir}: each acknowledged write waits this long; a faster disk helps"),
        )
    } else {
        Row::bad(
            "data directory",
            value,
            format!(
                "{dir}: too slow for acknowledged writes; choose a directory on a faster disk with --data-dir"
            ),
        )
    }
}

/// Two digits are enough to judge a disk.
fn round(duration: Duration) -> Duration {
    let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    let step = 10_u64.pow(micros.max(1).ilog10().saturating_sub(1));
    Duration::from_micros(micros / step * step)
}

fn fsync_median(dir: &Path) -> std::io::Result<Duration> {
    let mut file = tempfile::tempfile_in(dir)?;
    let page = [0_u8; FSYNC_BYTES];
    let mut took = Vec::with_capacity(FSYNC_ROUNDS);
    for _ in 0..FSYNC_ROUNDS {
        let start = Instant::now();
        file.write_all(&page)?;
        file.sync_data()?;
        took.push(start.elapsed());
    }
    took.sort();
    Ok(took[FSYNC_ROUNDS / 2])
}

fn cores(machine: &Machine) -> Row {
    match machine.cores_quota {
        Some(quota) if quota < machine.cores => Row::ok(
            "cores",
            quota.to_string(),
            format!("the control group grants this much of the time of {}", machine.cores),
        ),
        _ => Row::ok("cores", machine.cores.to_string(), ""),
    }
}

fn kernel(machine: &Machine) -> Row {
    match machine.kernel {
        Some(Kernel(major, minor)) => Row::ok("kernel", format!("Linux {major}.{minor}"), ""),
        None => {
            Row::warn("kernel", "unknown", "its features were tried one by one; mount /proc to show more")
        }
    }
}

fn address_space(machine: &Machine) -> Row {
    let bits = format!("{} bits", machine.address_bits);
    match machine.address_limit {
        Some(limit) => Row::warn(
            "address space",
            format!("{limit} of {bits}"),
            "`ulimit -v` leaves no room to reserve memory for instances; `ulimit -v unlimited` lifts it",
        ),
        None => Row::ok("address space", bits, ""),
    }
}

fn overcommit(machine: &Machine) -> Row {
    let key = "overcommit";
    match machine.overcommit {
        Overcommit::Heuristic => Row::ok(key, "heuristic", ""),
        Overcommit::Always => Row::ok(key, "always", ""),
        Overcommit::Never => Row::warn(
            key,
            "never",
            "memory that instances only reserve counts as used; `sysctl vm.overcommit_memory=0` lifts it",
        ),
    }
}

fn swap(machine: &Machine) -> Row {
    let swap = &machine.swap;
    let also =
        |row: Row| if swap.zswap { Row { value: format!("{}, zswap", row.value), ..row } } else { row };
    match &swap.active {
        _ if swap.forbidden => Row::ok("swap", "forbidden", "memory.swap.max is 0 for this control group"),
        None => Row::warn(
            "swap",
            "unknown",
            "swapped memory is slow; mount /proc to let Shoal see whether there is any",
        ),
        Some(active) if !active.is_empty() => also(Row::warn(
            "swap",
            active.join(", "),
            "a request whose memory is swapped out takes a thousand times as long; `swapoff -a`, or \
             `MemorySwapMax=0` in the service, keeps it out",
        )),
        Some(_) if !swap.zram.is_empty() => {
            also(Row::ok("swap", "off", format!("{} may become swap", swap.zram.join(", "))))
        }
        Some(_) => Row::ok("swap", "off", ""),
    }
}

fn mappings(machine: &Machine) -> Row {
    match machine.maps_max {
        Some(maps) => Row::ok("mappings", maps.to_string(), "vm.max_map_count bounds live instances"),
        None => Row::warn("mappings", "unknown", "the kernel's default is assumed"),
    }
}

fn open_files(machine: &Machine) -> Row {
    match machine.open_files {
        Some(files) if files < OPEN_FILES_ENOUGH => Row::warn(
            "open files",
            files.to_string(),
            format!(
                "bounds connections; `ulimit -n {OPEN_FILES_ENOUGH}` or LimitNOFILE={OPEN_FILES_ENOUGH} in the service raises it"
            ),
        ),
        Some(files) => Row::ok("open files", files.to_string(), ""),
        None => Row::ok("open files", "unlimited", ""),
    }
}

fn somaxconn(machine: &Machine) -> Row {
    match machine.somaxconn {
        Some(waiting) if waiting < SOMAXCONN_ENOUGH => Row::warn(
            "accept queue",
            waiting.to_string(),
            "bursts of connections are dropped; `sysctl net.core.somaxconn=4096` raises it",
        ),
        Some(waiting) => Row::ok("accept queue", waiting.to_string(), ""),
        None => Row::ok("accept queue", "unknown", ""),
    }
}

fn huge_pages(machine: &Machine) -> Row {
    match machine.huge_pages.as_deref() {
        Some("always") => Row::warn(
            "huge pages",
            "always",
            "a guest that touches one byte may get 2MiB; \
             `echo madvise > /sys/kernel/mm/transparent_hugepage/enabled` keeps instances small",
        ),
        Some(other) => Row::ok("huge pages", other, ""),
        None => Row::ok("huge pages", "none", ""),
    }
}

fn protection_keys(machine: &Machine) -> Row {
    let value = if machine.protection_keys { "present" } else { "absent" };
    Row::ok("protection keys", value, "not used")
}

fn governor(machine: &Machine) -> Option<Row> {
    let governor = machine.governor.as_deref()?;
    Some(match governor {
        "powersave" | "conservative" => Row::warn(
            "frequency governor",
            governor,
            "the first requests after a pause run on a slow core; `cpupower frequency-set -g performance` avoids it",
        ),
        _ => Row::ok("frequency governor", governor, ""),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use shoal_runtime::report::Verdict;

    #[test]
    fn a_disk_is_judged_at_its_edges() {
        for (millis, verdict) in [
            (1, Verdict::Ok),
            (10, Verdict::Ok),
            (11, Verdict::Warn),
            (50, Verdict::Warn),
            (51, Verdict::Bad),
        ] {
            assert_eq!(fsync_row(Duration::from_millis(millis), "/data").verdict, verdict, "{millis}");
        }
        assert_eq!(fsync_row(Duration::from_micros(1234), "/data").value, "fsync in 1200us");
        assert_eq!(fsync_row(Duration::ZERO, "/data").value, "fsync in 0us");
    }

    #[test]
    fn a_data_directory_that_is_not_there_says_what_to_do() {
        let dir = tempfile::tempdir().expect("a directory");
        assert_ne!(data_dir_section(dir.path()).rows[0].verdict, Verdict::Bad);
        assert_eq!(std::fs::read_dir(dir.path()).expect("listed").count(), 0, "nothing is left behind");
        let row = data_dir_section(&dir.path().join("absent")).rows.remove(0);
        assert_eq!(row.verdict, Verdict::Bad);
        assert!(row.why.contains("--data-dir"), "{}", row.why);
    }
}
