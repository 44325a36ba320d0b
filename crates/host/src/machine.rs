//! What the host knows of the machine it runs on: memory, cores, address space, and what the kernel can do.
//!
//! Everything that is a file is read below a root path, so that tests feed trees of other machines; what must
//! be tried out (how much address space can be reserved, what the page table tells) is in [`Tried`].
//! A file that is missing or not understood makes its value unknown, never an error: [`crate::pool`] decides
//! on the safe side of what is unknown.

mod doctor;
mod read;
mod tried;

use std::path::Path;

use shoal_base::units::Bytes;

pub use doctor::{data_dir_section, machine_section, refused_data_dir_section};
pub use tried::{Tried, WrittenPages};

/// A reading of the machine, as this process may use it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// RAM of the machine (`MemTotal`).
    pub ram: Option<Bytes>,
    /// The smallest memory limit of the control groups that this process is in, and the file that says so.
    pub memory_limit: Option<(Bytes, String)>,
    /// What may still be committed when [`Overcommit::Never`] holds (`CommitLimit` less `Committed_AS`).
    pub commit_left: Option<Bytes>,
    /// Cores that this process may run on.
    pub cores: u32,
    /// Cores' worth of time that the control group grants, rounded up.
    pub cores_quota: Option<u32>,
    /// Bits of address that user space has; 47 on most 64-bit machines, 39 on some small ones.
    pub address_bits: u32,
    /// `ulimit -v`, in bytes.
    pub address_limit: Option<Bytes>,
    /// Bytes of a page.
    pub page_bytes: u32,
    /// `vm.overcommit_memory`.
    pub overcommit: Overcommit,
    /// `vm.max_map_count`: mappings that one process may have.
    pub maps_max: Option<u32>,
    /// The kernel, as in 6.12.
    pub kernel: Option<Kernel>,
    /// How it is found which pages of its memory an instance wrote.
    pub written_pages: WrittenPages,
    /// Swap, in all its forms.
    pub swap: Swap,
    /// Whether the processor has protection keys. Known, never used: see [`crate::pool`].
    pub protection_keys: bool,
    /// Transparent huge pages: the word that is chosen in `always madvise never`.
    pub huge_pages: Option<String>,
    /// `RLIMIT_NOFILE`, soft: files and sockets that this process may have open.
    pub open_files: Option<u64>,
    /// `net.core.somaxconn`: connections that may wait for an accept.
    pub somaxconn: Option<u32>,
    /// How the first core chooses its frequency, where it can.
    pub governor: Option<String>,
}

/// Swap, in all its forms.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swap {
    /// What is swapped to now, from `/proc/swaps`; none when that file could not be read.
    pub active: Option<Vec<String>>,
    /// zswap is on: it holds pages in compressed RAM before they reach a swap device.
    pub zswap: bool,
    /// zram devices that have a size; they may become swap at any time.
    pub zram: Vec<String>,
    /// The control group forbids swapping this process (`memory.swap.max` is 0).
    pub forbidden: bool,
}

/// `vm.overcommit_memory`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overcommit {
    /// 0: only a single obvious excess is refused.
    Heuristic,
    /// 1: never refused.
    Always,
    /// 2: every writable private mapping counts against a limit.
    Never,
}

/// Version of the kernel: major, minor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kernel(pub u32, pub u32);

impl Machine {
    /// Reads the machine that this process runs on.
    pub fn probe() -> Self {
        Self::probe_at(Path::new("/"), &Tried::now())
    }

    /// Reads the machine whose `/proc` and `/sys` are below `root`; `tried` is what files cannot tell.
    pub fn probe_at(root: &Path, tried: &Tried) -> Self {
        let meminfo = read::table(root, "proc/meminfo");
        let limits = read::Limits::at(root);
        let groups = read::Groups::at(root);
        let commit_limit = read::kib(&meminfo, "CommitLimit");
        let committed = read::kib(&meminfo, "Committed_AS");
        Self {
            ram: read::kib(&meminfo, "MemTotal").map(Bytes),
            memory_limit: groups.memory_limit(),
            commit_left: commit_limit.zip(committed).map(|(limit, used)| Bytes(limit.saturating_sub(used))),
            cores: read::cores(root).unwrap_or(1),
            cores_quota: groups.cores_quota(),
            address_bits: tried.address_bits,
            address_limit: limits.soft("Max address space").map(Bytes),
            page_bytes: tried.page_bytes,
            overcommit: match read::number(root, "proc/sys/vm/overcommit_memory") {
                Some(1) => Overcommit::Always,
                Some(2) => Overcommit::Never,
                _ => Overcommit::Heuristic,
            },
            maps_max: read::number(root, "proc/sys/vm/max_map_count").map(read::saturate),
            kernel: read::kernel(root),
            written_pages: tried.written_pages,
            swap: Swap {
                active: read::swaps(root),
                zswap: read::word(root, "sys/module/zswap/parameters/enabled")
                    .is_some_and(|word| word == "Y"),
                zram: read::zram(root),
                forbidden: groups.swap_forbidden(),
            },
            protection_keys: read::cpu_flag(root, "pku"),
            huge_pages: read::chosen(root, "sys/kernel/mm/transparent_hugepage/enabled"),
            open_files: limits.soft("Max open files"),
            somaxconn: read::number(root, "proc/sys/net/core/somaxconn").map(read::saturate),
            governor: read::word(root, "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        }
    }

    /// Memory that this process may use: the RAM, or the control group's limit where that is smaller.
    pub fn memory(&self) -> Option<Bytes> {
        let limit = self.memory_limit.as_ref().map(|(bytes, _)| *bytes);
        match (self.ram, limit) {
            (Some(ram), Some(limit)) => Some(ram.min(limit)),
            (ram, limit) => ram.or(limit),
        }
    }

    /// Cores' worth of work that this process can do at once.
    pub fn workers(&self) -> u32 {
        self.cores_quota.map_or(self.cores, |quota| quota.min(self.cores)).max(1)
    }

    /// Address space that this process can reserve, in bytes.
    pub fn address_space(&self) -> u64 {
        let whole = 1_u64.checked_shl(self.address_bits).unwrap_or(u64::MAX);
        self.address_limit.map_or(whole, |limit| limit.0.min(whole))
    }
}
