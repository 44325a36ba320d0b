//! Machines as trees of files, and the pool that is planned for each.

use std::path::Path;

use expect_test::{Expect, expect};
use shoal_base::units::Bytes;
use shoal_host::machine::{Machine, Tried, WrittenPages, machine_section};
use shoal_host::pool::{PoolPlan, PoolWish, plan};
use shoal_runtime::report::{Row, Verdict};

const TRIED: Tried = Tried { address_bits: 47, page_bytes: 4096, written_pages: WrittenPages::Scanned };

/// A machine with these files.
fn machine(files: &[(&str, &str)], tried: Tried) -> Machine {
    let root = tempfile::tempdir().expect("a directory");
    for (path, text) in files {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        std::fs::write(path, text).expect("written");
    }
    Machine::probe_at(root.path(), &tried)
}

fn print(rows: &[Row]) -> String {
    let line = |row: &Row| {
        let mark = match row.verdict {
            Verdict::Ok => "ok",
            Verdict::Warn => "warn",
            Verdict::Bad => "bad",
        };
        format!("{mark} {}: {} ({})\n", row.key, row.value, row.why)
    };
    rows.iter().map(line).collect()
}

fn planned(machine: &Machine, wish: &PoolWish) -> PoolPlan {
    plan(machine, wish)
}

fn check(machine: &Machine, expected: &Expect) {
    expected.assert_eq(&print(&planned(machine, &PoolWish::default()).rows()));
}

const SWAP_OFF: (&str, &str) = ("proc/swaps", "Filename\tType\tSize\tUsed\tPriority\n");

const SMALL_SERVER: &[(&str, &str)] = &[
    ("proc/meminfo", "MemTotal:       24684084 kB\nMemFree: 1 kB\nSwapTotal: 0 kB\n"),
    ("proc/cpuinfo", "processor\t: 0\nflags\t: fpu sse2\n\nprocessor\t: 1\nflags\t: fpu sse2\n"),
    ("proc/self/status", "Name:\tshoal\nCpus_allowed_list:\t0-1\n"),
    (
        "proc/self/limits",
        "Limit                     Soft Limit           Hard Limit           Units\n\
         Max open files            20000                20000                files\n\
         Max address space         unlimited            unlimited            bytes\n",
    ),
    ("proc/self/cgroup", "4:memory:/jobs/a\n0::/\n"),
    (
        "proc/self/mountinfo",
        "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
         41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n",
    ),
    ("sys/fs/cgroup/memory/jobs/a/memory.limit_in_bytes", "9223372036854771712\n"),
    ("proc/sys/vm/overcommit_memory", "0\n"),
    ("proc/sys/vm/max_map_count", "65530\n"),
    ("proc/sys/kernel/osrelease", "6.18.44-fc\n"),
    ("proc/sys/net/core/somaxconn", "4096\n"),
    ("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n"),
    SWAP_OFF,
];

#[test]
fn a_small_server() {
    let machine = machine(SMALL_SERVER, TRIED);
    assert_eq!(machine.memory(), Some(Bytes::kib(24_684_084)));
    check(
        &machine,
        &expect![[r#"
        ok memory: 24105MiB (all RAM)
        ok allocation: pool (an instance takes a prepared slot instead of mapping memory)
        ok slots: 1024 (512 for each of 2 cores, at least 1000)
        ok core instances: 4096 (a component is made of several modules)
        ok tables: 4096 of 100000 elements (two in most components, more in composed ones)
        ok memory kept: 64KiB (the lowest addresses are cleared in place, the rest is given back)
        ok table kept: 64KiB (clearing is cheaper than unmapping)
        ok stack kept: 16KiB (the rest is given back)
        ok warm slots: 100 (stay prepared for the module that used them last)
        ok rewinding: PAGEMAP_SCAN (the kernel lists the pages that a request wrote)
        ok largest memory: 128MiB (the most that any workload may ask for)
        ok address space per memory: 4GiB + 32MiB guard (code needs no bounds checks)
        ok stack: 512KiB of 2MiB (the guest's part of its fiber)
        ok all guests together: 18079MiB (linear memories, tables and stacks: three quarters of the memory; --total-memory allows more, where guests are trusted)
        ok this process: 21092MiB (with more it takes no requests and ends guests, before the kernel ends it)
    "#]],
    );
}

#[test]
fn the_doctor_shows_the_machine() {
    let section = machine_section(&machine(SMALL_SERVER, TRIED));
    expect![[r#"
        ok cores: 2 ()
        ok kernel: Linux 6.18 ()
        ok address space: 47 bits ()
        ok overcommit: heuristic ()
        ok swap: off ()
        ok mappings: 65530 (vm.max_map_count bounds live instances)
        warn open files: 20000 (bounds connections; `ulimit -n 65536` or LimitNOFILE=65536 in the service raises it)
        ok accept queue: 4096 ()
        ok huge pages: madvise ()
        ok protection keys: absent (not used)
    "#]].assert_eq(&print(&section.rows));
}

#[test]
fn a_raspberry_pi_with_39_bits_and_zram() {
    let machine = machine(
        &[
            ("proc/meminfo", "MemTotal:         945364 kB\nSwapTotal: 102396 kB\n"),
            ("proc/cpuinfo", "processor\t: 0\nprocessor\t: 1\nprocessor\t: 2\nprocessor\t: 3\n"),
            ("proc/sys/vm/max_map_count", "65530\n"),
            ("proc/sys/kernel/osrelease", "6.6.31+rpt-rpi-v8\n"),
            ("proc/swaps", "Filename Type Size Used Priority\n/dev/zram0 partition 102396 0 100\n"),
            ("sys/block/zram0/disksize", "104857600\n"),
            ("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave\n"),
        ],
        Tried { address_bits: 39, written_pages: WrittenPages::Read, ..TRIED },
    );
    check(
        &machine,
        &expect![[r#"
        ok memory: 923MiB (all RAM)
        ok allocation: pool (an instance takes a prepared slot instead of mapping memory)
        ok slots: 230 (half of the memory at 1MiB for each live instance, for 2 engines)
        ok core instances: 920 (a component is made of several modules)
        ok tables: 920 of 100000 elements (two in most components, more in composed ones)
        ok memory kept: 64KiB (the lowest addresses are cleared in place, the rest is given back)
        ok table kept: 64KiB (clearing is cheaper than unmapping)
        ok stack kept: 16KiB (the rest is given back)
        ok warm slots: 100 (stay prepared for the module that used them last)
        ok rewinding: /proc/self/pagemap (read entry by entry to find the pages that a request wrote, which is slower; PAGEMAP_SCAN takes Linux 6.7 or newer)
        ok largest memory: 128MiB (the most that any workload may ask for)
        warn address space per memory: 128MiB + 2MiB guard (the address space is too small for 4GiB each: code checks bounds, which costs some speed; code compiled elsewhere with other sizes is compiled again here)
        ok stack: 512KiB of 2MiB (the guest's part of its fiber)
        ok all guests together: 692MiB (linear memories, tables and stacks: three quarters of the memory; --total-memory allows more, where guests are trusted)
        ok this process: 807MiB (with more it takes no requests and ends guests, before the kernel ends it)
    "#]],
    );
    expect![[r#"
        ok cores: 4 ()
        ok kernel: Linux 6.6 ()
        ok address space: 39 bits ()
        ok overcommit: heuristic ()
        warn swap: /dev/zram0 (a request whose memory is swapped out takes a thousand times as long; `swapoff -a`, or `MemorySwapMax=0` in the service, keeps it out)
        ok mappings: 65530 (vm.max_map_count bounds live instances)
        ok open files: unlimited ()
        ok accept queue: unknown ()
        ok huge pages: none ()
        ok protection keys: absent (not used)
        warn frequency governor: powersave (the first requests after a pause run on a slow core; `cpupower frequency-set -g performance` avoids it)
    "#]].assert_eq(&print(&machine_section(&machine).rows));
}

fn large_server(more: &[(&'static str, &'static str)]) -> Machine {
    let files = [
        ("proc/meminfo", "MemTotal:      263782912 kB\n"),
        ("proc/self/status", "Cpus_allowed_list:\t0-63\n"),
        ("proc/cpuinfo", "processor\t: 0\nflags\t: fpu pku\n"),
        ("proc/sys/vm/max_map_count", "1048576\n"),
        ("proc/sys/kernel/osrelease", "6.12.9-amd64\n"),
        SWAP_OFF,
    ];
    machine(&[&files, more].concat(), TRIED)
}

#[test]
fn a_server_of_64_cores() {
    check(
        &large_server(&[]),
        &expect![[r#"
        ok memory: 257600MiB (all RAM)
        ok allocation: pool (an instance takes a prepared slot instead of mapping memory)
        ok slots: 4059 (a quarter of 47 bits of address space, for 2 engines)
        ok core instances: 16236 (a component is made of several modules)
        ok tables: 16236 of 100000 elements (two in most components, more in composed ones)
        ok memory kept: 64KiB (the lowest addresses are cleared in place, the rest is given back)
        ok table kept: 64KiB (clearing is cheaper than unmapping)
        ok stack kept: 16KiB (the rest is given back)
        ok warm slots: 100 (stay prepared for the module that used them last)
        ok rewinding: PAGEMAP_SCAN (the kernel lists the pages that a request wrote)
        ok largest memory: 128MiB (the most that any workload may ask for)
        ok address space per memory: 4GiB + 32MiB guard (code needs no bounds checks)
        ok stack: 512KiB of 2MiB (the guest's part of its fiber)
        ok all guests together: 193200MiB (linear memories, tables and stacks: three quarters of the memory; --total-memory allows more, where guests are trusted)
        ok this process: 225400MiB (with more it takes no requests and ends guests, before the kernel ends it)
    "#]],
    );
}

#[test]
fn a_container_of_256_mib() {
    let machine = machine(
        &[
            ("proc/meminfo", "MemTotal:       16384000 kB\n"),
            ("proc/self/status", "Cpus_allowed_list:\t0-7\n"),
            ("proc/self/cgroup", "0::/\n"),
            ("proc/self/mountinfo", "30 1 0:9 / /sys/fs/cgroup ro - cgroup2 cgroup rw,nsdelegate\n"),
            ("sys/fs/cgroup/memory.max", "268435456\n"),
            ("sys/fs/cgroup/memory.swap.max", "0\n"),
            ("sys/fs/cgroup/cpu.max", "150000 100000\n"),
            ("proc/sys/kernel/osrelease", "6.1.0-13-amd64\n"),
            ("proc/swaps", "Filename Type Size Used Priority\n/swapfile file 2097148 0 -2\n"),
        ],
        Tried { written_pages: WrittenPages::Read, ..TRIED },
    );
    assert_eq!(machine.workers(), 2, "one and a half cores' worth of time keeps two busy");
    assert!(machine.swap.forbidden, "by the control group");
    check(
        &machine,
        &expect![[r#"
        ok memory: 256MiB (limited by /sys/fs/cgroup/memory.max)
        ok allocation: pool (an instance takes a prepared slot instead of mapping memory)
        ok slots: 64 (half of the memory at 1MiB for each live instance, for 2 engines)
        ok core instances: 256 (a component is made of several modules)
        ok tables: 256 of 100000 elements (two in most components, more in composed ones)
        ok memory kept: 64KiB (the lowest addresses are cleared in place, the rest is given back)
        ok table kept: 64KiB (clearing is cheaper than unmapping)
        ok stack kept: 16KiB (the rest is given back)
        ok warm slots: 64 (stay prepared for the module that used them last)
        ok rewinding: /proc/self/pagemap (read entry by entry to find the pages that a request wrote, which is slower; PAGEMAP_SCAN takes Linux 6.7 or newer)
        ok largest memory: 128MiB (the most that any workload may ask for)
        ok address space per memory: 4GiB + 32MiB guard (code needs no bounds checks)
        ok stack: 512KiB of 2MiB (the guest's part of its fiber)
        ok all guests together: 192MiB (linear memories, tables and stacks: three quarters of the memory; --total-memory allows more, where guests are trusted)
        ok this process: 224MiB (with more it takes no requests and ends guests, before the kernel ends it)
    "#]],
    );
}

#[test]
fn a_machine_that_tells_nothing() {
    check(
        &machine(&[], Tried { written_pages: WrittenPages::Unknown, ..TRIED }),
        &expect![[r#"
        warn memory: assumed 512MiB (the RAM is unknown: mount /proc to let Shoal use what there is)
        ok allocation: pool (an instance takes a prepared slot instead of mapping memory)
        ok slots: 128 (half of the memory at 1MiB for each live instance, for 2 engines)
        ok core instances: 512 (a component is made of several modules)
        ok tables: 512 of 100000 elements (two in most components, more in composed ones)
        ok memory kept: 64KiB (the lowest addresses are cleared in place, the rest is given back)
        ok table kept: 64KiB (clearing is cheaper than unmapping)
        ok stack kept: 16KiB (the rest is given back)
        ok warm slots: 100 (stay prepared for the module that used them last)
        warn rewinding: off (nothing tells which pages a request wrote, so each gets a new instance, which is slower; mount /proc to let Shoal read /proc/self/pagemap)
        ok largest memory: 128MiB (the most that any workload may ask for)
        ok address space per memory: 4GiB + 32MiB guard (code needs no bounds checks)
        ok stack: 512KiB of 2MiB (the guest's part of its fiber)
        ok all guests together: 384MiB (linear memories, tables and stacks: three quarters of the memory; --total-memory allows more, where guests are trusted)
        warn this process: no limit (the RAM is unknown: mount /proc to let Shoal keep within it)
    "#]],
    );
}

#[test]
fn little_address_space_means_no_pool() {
    let limits = "Max address space         4294967296           unlimited            bytes\n";
    let machine = machine(&[SMALL_SERVER, &[("proc/self/limits", limits)]].concat(), TRIED);
    assert_eq!(machine.address_space(), 4 << 30);
    check(
        &machine,
        &expect![[r#"
        ok memory: 24105MiB (all RAM)
        warn allocation: on demand (a pool of 3 slots is too small to be of use (a quarter of `ulimit -v` 4GiB, for 2 engines); each instance maps its own memory, which takes some 10 µs more per request)
        ok rewinding: PAGEMAP_SCAN (the kernel lists the pages that a request wrote)
        ok largest memory: 128MiB (the most that any workload may ask for)
        warn address space per memory: 128MiB + 2MiB guard (the address space is too small for 4GiB each: code checks bounds, which costs some speed; code compiled elsewhere with other sizes is compiled again here)
        ok stack: 512KiB of 2MiB (the guest's part of its fiber)
        ok all guests together: 18079MiB (linear memories, tables and stacks: three quarters of the memory; --total-memory allows more, where guests are trusted)
        ok this process: 21092MiB (with more it takes no requests and ends guests, before the kernel ends it)
    "#]],
    );
}

#[test]
fn strict_overcommit_counts_what_is_reserved() {
    let meminfo = "MemTotal: 24684084 kB\nCommitLimit: 12342040 kB\nCommitted_AS: 200000 kB\n";
    let strict = [("proc/meminfo", meminfo), ("proc/sys/vm/overcommit_memory", "2\n")];
    let machine = machine(&[SMALL_SERVER, &strict].concat(), TRIED);
    assert_eq!(machine.commit_left, Some(Bytes::kib(12_142_040)));
    let row = planned(&machine, &PoolWish::default()).rows().remove(2);
    expect![[r#"
        ok slots: 488 (vm.overcommit_memory=2 counts what is only reserved; `sysctl vm.overcommit_memory=0` allows more)
    "#]].assert_eq(&print(&[row]));
}

#[test]
fn pages_that_nothing_is_rewound_with_are_named() {
    let machine = machine(SMALL_SERVER, Tried { page_bytes: 16384, ..TRIED });
    let rows = planned(&machine, &PoolWish::default()).rows();
    let row = rows.into_iter().find(|row| row.key == "rewinding").expect("a row");
    expect![[r#"
        warn rewinding: off (pages are of 16KiB, so each request gets a new instance, which is slower; a kernel with pages of 4KiB allows it)
    "#]].assert_eq(&print(&[row]));
}

#[test]
fn swap_is_shown_in_all_its_forms() {
    let swapping = ("proc/swaps", "Filename Type Size Used Priority\n/swapfile file 2097148 0 -2\n");
    let zram = ("sys/block/zram0/disksize", "104857600\n");
    let unsized_zram = ("sys/block/zram0/disksize", "0\n");
    let zswap = ("sys/module/zswap/parameters/enabled", "Y\n");
    let group = [
        ("proc/self/cgroup", "0::/app\n"),
        ("proc/self/mountinfo", "30 1 0:9 / /sys/fs/cgroup ro - cgroup2 cgroup rw\n"),
        ("sys/fs/cgroup/app/memory.swap.max", "0\n"),
    ];
    for (files, value, verdict) in [
        (vec![], "unknown", Verdict::Warn),
        (vec![("proc/meminfo", "MemTotal: 16384000 kB\n")], "off", Verdict::Ok),
        (vec![SWAP_OFF, zram], "off", Verdict::Ok),
        (vec![swapping], "/swapfile", Verdict::Warn),
        (vec![swapping, zswap], "/swapfile, zswap", Verdict::Warn),
        ([&[swapping, zram][..], &group].concat(), "forbidden", Verdict::Ok),
    ] {
        let row = swap_row(&files);
        assert_eq!((row.value.as_str(), row.verdict), (value, verdict), "{files:?}");
    }
    assert_eq!(swap_row(&[SWAP_OFF, zram]).why, "zram0 may become swap");
    assert_eq!(swap_row(&[SWAP_OFF, unsized_zram]).why, "");
}

fn swap_row(files: &[(&str, &str)]) -> Row {
    let rows = machine_section(&machine(files, TRIED)).rows;
    rows.into_iter().find(|row| row.key == "swap").expect("a row")
}

#[test]
fn a_wish_bounds_the_slots_and_a_large_memory_widens_the_reservation() {
    let machine = large_server(&[]);
    let few = planned(&machine, &PoolWish { slots_max: Some(100), ..PoolWish::default() });
    assert_eq!(few.pool.expect("a pool").slots, 100);
    let large = planned(&machine, &PoolWish { memory_max: Bytes::gib(16), ..PoolWish::default() });
    assert_eq!(large.memory_reservation, Bytes::gib(16));
    assert_eq!(large.pool.expect("a pool").memory_max, Bytes::gib(16));
}

/// Every plan that is printed above is one that the engine accepts; here the one for the machine of the test.
#[test]
fn the_engine_accepts_the_plan_for_this_machine() {
    let machine = Machine::probe();
    let plan = planned(&machine, &PoolWish { slots_max: Some(64), ..PoolWish::default() });
    let mut config = wasmtime::Config::new();
    plan.apply(&mut config);
    let engine = wasmtime::Engine::new(&config).expect("an engine");
    let module = wasmtime::Module::new(&engine, "(module (memory 1) (table 10 funcref))").expect("compiled");
    let mut store = wasmtime::Store::new(&engine, ());
    wasmtime::Instance::new(&mut store, &module, &[]).expect("an instance");
}

#[test]
fn small_reservations_and_no_pool_are_accepted_too() {
    for (bits, pooled) in [(39, true), (33, false)] {
        let machine = machine(SMALL_SERVER, Tried { address_bits: bits, ..TRIED });
        let plan = planned(&machine, &PoolWish { slots_max: Some(64), ..PoolWish::default() });
        assert_eq!(plan.pool.is_some(), pooled, "{bits} bits");
        let mut config = wasmtime::Config::new();
        plan.apply(&mut config);
        let engine = wasmtime::Engine::new(&config).expect("an engine");
        let module = wasmtime::Module::new(&engine, "(module (memory 1))").expect("compiled");
        let mut store = wasmtime::Store::new(&engine, ());
        wasmtime::Instance::new(&mut store, &module, &[]).expect("an instance");
    }
}

#[test]
fn the_machine_of_the_test_is_read() {
    let machine = Machine::probe();
    assert!(machine.cores >= 1 && machine.workers() >= 1);
    if Path::new("/proc/meminfo").exists() {
        assert!(machine.memory().expect("there is memory") > Bytes::mib(1));
    }
    let pagemap = Path::new("/proc/self/pagemap").exists();
    assert_eq!(machine.written_pages != WrittenPages::Unknown, pagemap);
}
