//! Readers of `/proc` and `/sys` below a root path. Whatever is missing or malformed is `None`.

use std::path::{Path, PathBuf};

use shoal_base::units::Bytes;

use super::Kernel;

/// Control groups say "no limit" with the largest multiple of a page; nothing near it is a limit.
const NO_LIMIT_BYTES: u64 = 1 << 60;

/// The text of a file, trimmed.
pub(super) fn word(root: &Path, path: &str) -> Option<String> {
    std::fs::read_to_string(root.join(path)).ok().map(|text| text.trim().to_string())
}

/// A file that holds one number.
pub(super) fn number(root: &Path, path: &str) -> Option<u64> {
    word(root, path)?.parse().ok()
}

/// The largest `u32` for anything larger.
pub(super) fn saturate(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// A file of `Name: value` lines.
pub(super) fn table(root: &Path, path: &str) -> Vec<(String, String)> {
    let text = word(root, path).unwrap_or_default();
    let row = |line: &str| line.split_once(':').map(|(key, value)| (key.trim().into(), value.trim().into()));
    text.lines().filter_map(row).collect()
}

fn value<'a>(table: &'a [(String, String)], key: &str) -> Option<&'a str> {
    table.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
}

/// A row of `/proc/meminfo`, in bytes.
pub(super) fn kib(meminfo: &[(String, String)], key: &str) -> Option<u64> {
    let kib: u64 = value(meminfo, key)?.strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1 << 10)
}

/// The word in brackets, as in `always [madvise] never`.
pub(super) fn chosen(root: &Path, path: &str) -> Option<String> {
    let text = word(root, path)?;
    let (_, rest) = text.split_once('[')?;
    rest.split_once(']').map(|(chosen, _)| chosen.to_string())
}

/// Cores that this process may run on: its affinity, else every processor listed.
pub(super) fn cores(root: &Path) -> Option<u32> {
    let status = table(root, "proc/self/status");
    if let Some(count) = value(&status, "Cpus_allowed_list").and_then(count_list) {
        return Some(count);
    }
    let listed = table(root, "proc/cpuinfo").iter().filter(|(key, _)| key == "processor").count();
    u32::try_from(listed).ok().filter(|&count| count > 0)
}

/// Counts a list such as `0-3,8`.
fn count_list(list: &str) -> Option<u32> {
    let mut count = 0_u32;
    for range in list.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u32, u32) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        count = count.checked_add(last.checked_sub(first)?.checked_add(1)?)?;
    }
    Some(count)
}

/// Whether the processor lists this flag.
pub(super) fn cpu_flag(root: &Path, flag: &str) -> bool {
    let table = table(root, "proc/cpuinfo");
    let flags = value(&table, "flags").unwrap_or_default();
    flags.split_whitespace().any(|word| word == flag)
}

/// `6.18.44-fc` is 6.18.
pub(super) fn kernel(root: &Path) -> Option<Kernel> {
    let release = word(root, "proc/sys/kernel/osrelease")?;
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    match (numbers.next()?, numbers.next()?) {
        (Ok(major), Ok(minor)) => Some(Kernel(major, minor)),
        _ => None,
    }
}

/// What is swapped to, from `/proc/swaps`; none when it cannot be read. A kernel built without swap has no
/// such file, but then it has `/proc/meminfo` with no `SwapTotal` or a zero.
pub(super) fn swaps(root: &Path) -> Option<Vec<String>> {
    let Some(text) = word(root, "proc/swaps") else {
        let meminfo = table(root, "proc/meminfo");
        let without = !meminfo.is_empty() && kib(&meminfo, "SwapTotal").unwrap_or(0) == 0;
        return without.then(Vec::new);
    };
    let names = text.lines().skip(1).filter_map(|line| line.split_whitespace().next());
    Some(names.map(str::to_string).collect())
}

/// zram devices that have a size.
pub(super) fn zram(root: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(root.join("sys/block")) else { return Vec::new() };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let sized =
        |name: &String| number(root, &format!("sys/block/{name}/disksize")).is_some_and(|size| size > 0);
    let mut found: Vec<_> = names.filter(|name| name.starts_with("zram")).filter(sized).collect();
    found.sort();
    found
}

/// `/proc/self/limits`.
pub(super) struct Limits(String);

impl Limits {
    pub(super) fn at(root: &Path) -> Self {
        Self(word(root, "proc/self/limits").unwrap_or_default())
    }

    /// The soft limit of this name; none when unlimited or unknown.
    pub(super) fn soft(&self, name: &str) -> Option<u64> {
        let line = self.0.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    }
}

/// The control groups of this process: for each controller, the directories from its own up to the mount.
pub(super) struct Groups {
    root: PathBuf,
    /// Unified hierarchy (version 2).
    unified: Vec<PathBuf>,
    /// `memory` and `cpu` of version 1.
    memory: Vec<PathBuf>,
    cpu: Vec<PathBuf>,
}

impl Groups {
    pub(super) fn at(root: &Path) -> Self {
        let own = word(root, "proc/self/cgroup").unwrap_or_default();
        let mounts = word(root, "proc/self/mountinfo").unwrap_or_default();
        let find = |kind: &str, controller: &str| directories(&own, &mounts, kind, controller);
        Self {
            root: root.to_path_buf(),
            unified: find("cgroup2", ""),
            memory: find("cgroup", "memory"),
            cpu: find("cgroup", "cpu"),
        }
    }

    /// The smallest memory limit, and the file that holds it.
    pub(super) fn memory_limit(&self) -> Option<(Bytes, String)> {
        let unified = self.unified.iter().map(|dir| dir.join("memory.max"));
        let old = self.memory.iter().map(|dir| dir.join("memory.limit_in_bytes"));
        let limit = |path: PathBuf| {
            let bytes = word(&self.root, path.to_str()?)?.parse().ok()?;
            (bytes < NO_LIMIT_BYTES).then(|| (Bytes(bytes), format!("/{}", path.display())))
        };
        unified.chain(old).filter_map(limit).min_by_key(|(bytes, _)| *bytes)
    }

    /// Cores' worth of time, rounded up.
    pub(super) fn cores_quota(&self) -> Option<u32> {
        let unified = self.unified.iter().filter_map(|dir| {
            let text = word(&self.root, dir.join("cpu.max").to_str()?)?;
            let (quota, period) = text.split_once(' ')?;
            Some((quota.parse::<u64>().ok()?, period.parse::<u64>().ok()?))
        });
        let old = self.cpu.iter().filter_map(|dir| {
            let quota = word(&self.root, dir.join("cpu.cfs_quota_us").to_str()?)?;
            let period = word(&self.root, dir.join("cpu.cfs_period_us").to_str()?)?;
            Some((quota.parse::<u64>().ok()?, period.parse::<u64>().ok()?))
        });
        let cores =
            |(quota, period): (u64, u64)| (period > 0).then(|| saturate(quota.div_ceil(period)).max(1));
        unified.chain(old).filter_map(cores).min()
    }

    /// Whether some group forbids its members to be swapped.
    pub(super) fn swap_forbidden(&self) -> bool {
        let zero = |dir: &PathBuf| {
            dir.join("memory.swap.max").to_str().and_then(|path| number(&self.root, path)) == Some(0)
        };
        self.unified.iter().any(zero)
    }
}

/// The directories of this process's group for one controller, relative to the root, own group first. A mount
/// may show a subtree only (a container's own), then paths above it are cut off.
fn directories(own: &str, mounts: &str, kind: &str, controller: &str) -> Vec<PathBuf> {
    let named = |line: &&str| {
        let mut fields = line.splitn(3, ':').skip(1);
        fields.next().is_some_and(|list| list.split(',').any(|name| name == controller))
    };
    let Some(path) = own.lines().find(named).and_then(|line| line.splitn(3, ':').nth(2)) else {
        return Vec::new();
    };
    let Some((subtree, point)) = mounts.lines().find_map(|line| mount(line, kind, controller)) else {
        return Vec::new();
    };
    let point = Path::new(point.trim_start_matches('/'));
    let inner = Path::new(path).strip_prefix(subtree).unwrap_or(Path::new(""));
    inner.ancestors().map(|part| point.join(part)).collect()
}

/// The subtree and mount point of a `mountinfo` line, when it is a mount of this kind with this controller.
fn mount<'a>(line: &'a str, kind: &str, controller: &str) -> Option<(&'a str, &'a str)> {
    let (left, right) = line.split_once(" - ")?;
    let mut left = left.split(' ').skip(3);
    let (subtree, point) = (left.next()?, left.next()?);
    let mut right = right.split(' ');
    let (found, options) = (right.next()?, right.nth(1).unwrap_or_default());
    let fits = controller.is_empty() || options.split(',').any(|option| option == controller);
    (found == kind && fits).then_some((subtree, point))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cores_are_counted() {
        for (list, count) in
            [("0", Some(1)), ("0-1", Some(2)), ("0-3,8,10-11", Some(7)), ("3-1", None), ("x", None)]
        {
            assert_eq!(count_list(list), count, "{list}");
        }
    }

    #[test]
    fn groups_are_found_in_either_hierarchy_and_in_a_container() {
        let join = |dirs: Vec<PathBuf>| {
            dirs.iter().map(|dir| dir.display().to_string()).collect::<Vec<_>>().join(" ")
        };
        let old = "4:memory:/jobs/a\n3:cpu,cpuacct:/b\n0::/\n";
        let mounts = "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n\
                      35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
                      41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        assert_eq!(
            join(directories(old, mounts, "cgroup", "memory")),
            "sys/fs/cgroup/memory/jobs/a sys/fs/cgroup/memory/jobs sys/fs/cgroup/memory/"
        );
        assert_eq!(join(directories(old, mounts, "cgroup", "cpu")), "sys/fs/cgroup/cpu/b sys/fs/cgroup/cpu/");
        assert_eq!(join(directories(old, mounts, "cgroup2", "")), "sys/fs/cgroup/unified/");
        let inside = "30 1 0:9 /docker/7 /sys/fs/cgroup ro - cgroup2 cgroup rw,nsdelegate\n";
        assert_eq!(
            join(directories("0::/docker/7/app\n", inside, "cgroup2", "")),
            "sys/fs/cgroup/app sys/fs/cgroup/"
        );
    }
}
