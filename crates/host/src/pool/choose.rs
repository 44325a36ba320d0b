//! The choices: pure arithmetic on what the machine has.

use shoal_base::units::Bytes;
use shoal_runtime::report::Row;

use super::{Pool, PoolPlan, PoolWish};
use crate::machine::{Machine, Overcommit, WrittenPages};
use crate::rewind;

/// Assumed where the RAM cannot be read: the smallest machine that Shoal is for.
const MEMORY_UNKNOWN: Bytes = Bytes::mib(512);

/// What guests may have of the memory, in quarters; the rest is for the host itself, and for what the kernel keeps for
/// it: bodies on their way, compiled code, sockets.
const QUARTERS_FOR_GUESTS: u64 = 3;

/// What the process may have of the memory, in eighths, before it takes no more requests.
const EIGHTHS_FOR_PROCESS: u64 = 7;

/// Memory that a live instance is expected to use. A Rust guest holds 40 KiB, an interpreter tens of MiB.
const MEMORY_PER_SLOT: Bytes = Bytes::mib(1);

/// Requests in progress on one core beyond which it is overloaded whatever they wait for; each slot also
/// costs some microseconds when the process starts.
const SLOTS_PER_WORKER: u64 = 512;

/// A machine of one core still serves this many.
const SLOTS_WORKERS_MIN: u64 = 1000;

/// A pool smaller than this fails requests that the machine could serve.
const SLOTS_MIN: u64 = 16;

/// With this many slots, memories of the full reservation are preferred to more slots: their code needs no
/// bounds checks.
const SLOTS_ENOUGH: u64 = 256;

/// Mappings of a live instance (measured: about 6) and of its fiber stack (2).
const MAPS_PER_SLOT: u64 = 8;

/// `vm.max_map_count` where it cannot be read: the kernel's default.
const MAPS_UNKNOWN: u32 = 65_530;

/// All 32-bit addresses: code needs no bounds checks.
const RESERVATION_FULL: Bytes = Bytes::gib(4);

/// Behind a full reservation: covers the constant offsets of nearly all loads and stores.
const GUARD_FULL: Bytes = Bytes::mib(32);

/// Behind a small reservation, where code checks bounds anyway.
const GUARD_SMALL: Bytes = Bytes::mib(2);

/// Host functions run on the guest's fiber; TLS handshakes and unoptimised builds need room.
const STACK_HOST: Bytes = Bytes::kib(1536);

/// A component that a toolchain made of one core module has two more for its imports and their table.
const CORE_INSTANCES_PER_SLOT: u64 = 4;

/// Such a component has two tables; composed ones have more.
const TABLES_PER_SLOT: u64 = 4;

/// The lowest addresses are cleared, used or not. Guests with a small stack have their data there; for others
/// this is the most that is worth clearing in vain.
const KEEP_MEMORY: Bytes = Bytes::kib(64);

/// Tables are small: clearing beats unmapping (measured: 18 µs become 10 µs per instance).
const KEEP_TABLE: Bytes = Bytes::kib(64);

/// Most guests and the host functions that they call need no more stack.
const KEEP_STACK: Bytes = Bytes::kib(16);

/// Modules whose slots stay prepared while other modules run.
const WARM_SLOTS_MAX: u32 = 100;

/// The most slots that one of the machine's means allows.
struct Bound {
    slots: u64,
    why: String,
}

/// Address space of one memory.
#[derive(Clone, Copy)]
struct Reservation {
    memory: Bytes,
    guard: Bytes,
}

pub(super) fn plan(machine: &Machine, wish: &PoolWish) -> PoolPlan {
    let async_stack = Bytes(page_up(wish.stack.0.saturating_add(STACK_HOST.0), machine));
    let bounds = bounds(machine, wish, async_stack);
    let (reservation, space) = reserve(machine, wish, lowest(&bounds).map_or(u64::MAX, |bound| bound.slots));
    let bounds: Vec<_> = bounds.into_iter().chain([space]).collect();
    let bound = lowest(&bounds).expect("the address space is always a bound");
    let mut rows = memory_rows(machine);
    let pool = if bound.slots < SLOTS_MIN {
        rows.push(Row::warn(
            "allocation",
            "on demand",
            format!(
                "a pool of {} slots is too small to be of use ({}); each instance maps its own memory, \
                 which takes some 10 µs more per request",
                bound.slots, bound.why
            ),
        ));
        None
    } else {
        let pool = pool(wish, u32::try_from(bound.slots).unwrap_or(u32::MAX));
        rows.push(Row::ok(
            "allocation",
            "pool",
            "an instance takes a prepared slot instead of mapping memory",
        ));
        rows.extend(pool_rows(&pool, &bound.why));
        Some(pool)
    };
    rows.push(rewinding_row(machine));
    let reservation = if pool.is_some() { reservation } else { on_demand(machine, wish) };
    rows.extend(reservation_rows(wish, reservation, async_stack));
    let (memory_total, row) = memory_total(machine, wish);
    rows.push(row);
    let (memory_process, row) = memory_process(machine, wish);
    rows.push(row);
    PoolPlan {
        pool,
        memory_reservation: reservation.memory,
        memory_guard: reservation.guard,
        stack: wish.stack,
        async_stack,
        memory_total,
        memory_process,
        rows,
    }
}

fn lowest(bounds: &[Bound]) -> Option<&Bound> {
    bounds.iter().min_by_key(|bound| bound.slots)
}

/// What bounds the number of slots of each pool, other than address space.
fn bounds(machine: &Machine, wish: &PoolWish, async_stack: Bytes) -> Vec<Bound> {
    let engines = u64::from(wish.engines.max(1));
    let memory = machine.memory().unwrap_or(MEMORY_UNKNOWN);
    let workers = u64::from(machine.workers());
    let maps = machine.maps_max.unwrap_or(MAPS_UNKNOWN);
    let mut bounds = vec![
        Bound {
            slots: memory.0 / 2 / engines / MEMORY_PER_SLOT.0,
            why: format!(
                "half of the memory at {MEMORY_PER_SLOT} for each live instance, for {engines} engines"
            ),
        },
        Bound {
            slots: (workers * SLOTS_PER_WORKER).max(SLOTS_WORKERS_MIN),
            why: format!("{SLOTS_PER_WORKER} for each of {workers} cores, at least {SLOTS_WORKERS_MIN}"),
        },
        Bound {
            slots: u64::from(maps) / 4 * 3 / engines / MAPS_PER_SLOT,
            why: format!(
                "three quarters of vm.max_map_count={maps} at {MAPS_PER_SLOT} mappings for each, for {engines} \
                 engines; `sysctl vm.max_map_count=1048576` allows more"
            ),
        },
    ];
    if machine.overcommit == Overcommit::Never {
        let left = machine.commit_left.unwrap_or(memory);
        let tables = TABLES_PER_SLOT * table_bytes(wish, machine);
        let each = tables + async_stack.0 + MEMORY_PER_SLOT.0;
        bounds.push(Bound {
            slots: left.0 / 2 / engines / each,
            why: "vm.overcommit_memory=2 counts what is only reserved; `sysctl vm.overcommit_memory=0` allows more"
                .to_string(),
        });
    }
    if let Some(most) = wish.slots_max {
        bounds.push(Bound { slots: u64::from(most).max(SLOTS_MIN), why: "as configured".to_string() });
    }
    bounds
}

/// Chooses the reservation for each memory: full where enough of them fit, else only what a memory may grow to.
/// A quarter of the address space is for pools.
fn reserve(machine: &Machine, wish: &PoolWish, wanted: u64) -> (Reservation, Bound) {
    let engines = u64::from(wish.engines.max(1));
    let share = machine.address_space() / 4 / engines;
    let tables = TABLES_PER_SLOT * table_bytes(wish, machine);
    let others = tables + wish.stack.0 + STACK_HOST.0 + u64::from(machine.page_bytes);
    let fit = |reservation: Reservation| Bound {
        slots: share / (reservation.memory.0 + reservation.guard.0 + others),
        why: match machine.address_limit {
            Some(limit) => format!("a quarter of `ulimit -v` {limit}, for {engines} engines"),
            None => {
                format!("a quarter of {} bits of address space, for {engines} engines", machine.address_bits)
            }
        },
    };
    let (full, small) = (full(wish), small(wish));
    let in_full = fit(full);
    if in_full.slots >= wanted.min(SLOTS_ENOUGH) { (full, in_full) } else { (small, fit(small)) }
}

fn full(wish: &PoolWish) -> Reservation {
    Reservation { memory: wasm_up(wish.memory_max).max(RESERVATION_FULL), guard: GUARD_FULL }
}

fn small(wish: &PoolWish) -> Reservation {
    Reservation { memory: wasm_up(wish.memory_max), guard: GUARD_SMALL }
}

/// Without a pool, memories come and go: the full reservation where a thousand of them would fit.
fn on_demand(machine: &Machine, wish: &PoolWish) -> Reservation {
    let full = full(wish);
    let many = 1000 * (full.memory.0 + full.guard.0);
    if machine.address_space() / 4 >= many { full } else { small(wish) }
}

fn pool(wish: &PoolWish, slots: u32) -> Pool {
    let times = |factor: u64| u32::try_from(u64::from(slots) * factor).unwrap_or(u32::MAX);
    Pool {
        slots,
        core_instances: times(CORE_INSTANCES_PER_SLOT),
        tables: times(TABLES_PER_SLOT),
        table_elements: wish.table_elements,
        memory_max: wasm_up(wish.memory_max),
        memory_keep_resident: KEEP_MEMORY,
        table_keep_resident: KEEP_TABLE,
        stack_keep_resident: KEEP_STACK,
        warm_slots_max: WARM_SLOTS_MAX.min(slots),
    }
}

/// How it is found which pages an instance wrote, so that it can be rewound.
fn rewinding_row(machine: &Machine) -> Row {
    let key = "rewinding";
    if u64::from(machine.page_bytes) != rewind::PAGE_BYTES as u64 {
        let (here, known) = (Bytes(machine.page_bytes.into()), Bytes(rewind::PAGE_BYTES as u64));
        return Row::warn(
            key,
            "off",
            format!(
                "pages are of {here}, so each request gets a new instance, which is slower; a kernel with pages of \
                 {known} allows it"
            ),
        );
    }
    match machine.written_pages {
        WrittenPages::Scanned => {
            Row::ok(key, "PAGEMAP_SCAN", "the kernel lists the pages that a request wrote")
        }
        WrittenPages::Read => Row::ok(
            key,
            "/proc/self/pagemap",
            "read entry by entry to find the pages that a request wrote, which is slower; PAGEMAP_SCAN takes Linux \
             6.7 or newer",
        ),
        WrittenPages::Unknown => Row::warn(
            key,
            "off",
            "nothing tells which pages a request wrote, so each gets a new instance, which is slower; mount /proc to \
             let Shoal read /proc/self/pagemap",
        ),
    }
}

fn memory_rows(machine: &Machine) -> Vec<Row> {
    let Some(memory) = machine.memory() else {
        return vec![Row::warn(
            "memory",
            format!("assumed {MEMORY_UNKNOWN}"),
            "the RAM is unknown: mount /proc to let Shoal use what there is",
        )];
    };
    let why = match &machine.memory_limit {
        Some((limit, file)) if *limit == memory => format!("limited by {file}"),
        _ => "all RAM".to_string(),
    };
    vec![Row::ok("memory", shown(memory), why)]
}

fn pool_rows(pool: &Pool, bound: &str) -> Vec<Row> {
    vec![
        Row::ok("slots", pool.slots.to_string(), bound),
        Row::ok("core instances", pool.core_instances.to_string(), "a component is made of several modules"),
        Row::ok(
            "tables",
            format!("{} of {} elements", pool.tables, pool.table_elements),
            "two in most components, more in composed ones",
        ),
        Row::ok(
            "memory kept",
            pool.memory_keep_resident.to_string(),
            "the lowest addresses are cleared in place, the rest is given back",
        ),
        Row::ok("table kept", pool.table_keep_resident.to_string(), "clearing is cheaper than unmapping"),
        Row::ok("stack kept", pool.stack_keep_resident.to_string(), "the rest is given back"),
        Row::ok(
            "warm slots",
            pool.warm_slots_max.to_string(),
            "stay prepared for the module that used them last",
        ),
    ]
}

fn reservation_rows(wish: &PoolWish, reservation: Reservation, async_stack: Bytes) -> Vec<Row> {
    let size = format!("{} + {} guard", reservation.memory, reservation.guard);
    let space = if reservation.memory >= RESERVATION_FULL {
        Row::ok("address space per memory", size, "code needs no bounds checks")
    } else {
        Row::warn(
            "address space per memory",
            size,
            "the address space is too small for 4GiB each: code checks bounds, which costs some speed; code \
             compiled elsewhere with other sizes is compiled again here",
        )
    };
    vec![
        Row::ok(
            "largest memory",
            wasm_up(wish.memory_max).to_string(),
            "the most that any workload may ask for",
        ),
        space,
        Row::ok("stack", format!("{} of {async_stack}", wish.stack), "the guest's part of its fiber"),
    ]
}

/// What all guests together may have.
fn memory_total(machine: &Machine, wish: &PoolWish) -> (Bytes, Row) {
    let key = "all guests together";
    let what = "linear memories, tables and stacks";
    if let Some(total) = wish.memory_total {
        return (total, Row::ok(key, shown(total), format!("{what}: as configured")));
    }
    let total = Bytes(machine.memory().unwrap_or(MEMORY_UNKNOWN).0 / 4 * QUARTERS_FOR_GUESTS);
    let why =
        format!("{what}: three quarters of the memory; --total-memory allows more, where guests are trusted");
    (total, Row::ok(key, shown(total), why))
}

/// What the process may have before it takes no more requests.
fn memory_process(machine: &Machine, wish: &PoolWish) -> (Bytes, Row) {
    let key = "this process";
    let share = machine.memory().map(|memory| Bytes(memory.0 / 8 * EIGHTHS_FOR_PROCESS));
    let Some(max) = wish.memory_process.or(share) else {
        let why = "the RAM is unknown: mount /proc to let Shoal keep within it";
        return (Bytes(u64::MAX), Row::warn(key, "no limit", why));
    };
    let why = "with more it takes no requests and ends guests, before the kernel ends it";
    (max, Row::ok(key, shown(max), why))
}

/// RAM in whole MiB, as nobody counts it in bytes.
fn shown(memory: Bytes) -> String {
    if memory < Bytes::mib(1) { memory.to_string() } else { format!("{}MiB", memory.0 >> 20) }
}

/// Whole wasm pages of 64 KiB.
fn wasm_up(bytes: Bytes) -> Bytes {
    Bytes(bytes.0.next_multiple_of(1 << 16))
}

fn page_up(bytes: u64, machine: &Machine) -> u64 {
    bytes.next_multiple_of(u64::from(machine.page_bytes.max(1)))
}

fn table_bytes(wish: &PoolWish, machine: &Machine) -> u64 {
    page_up(wish.table_elements.saturating_mul(size_of::<usize>() as u64), machine)
}
