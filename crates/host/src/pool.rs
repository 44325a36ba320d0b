//! The instance pool that fits the machine: a pure plan from [`Machine`] and [`PoolWish`], each choice with
//! its reason.
//!
//! What is decided here is decided once, when an engine is made.
//!
//! Memory protection keys stay off: they save address space, which is not what runs out first on a machine
//! with 47 bits of it, few processors at the edge have them, and the engine calls them experimental.

mod choose;

use shoal_base::units::Bytes;
use shoal_runtime::report::{Row, Section};
use wasmtime::{Config, Enabled, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::machine::Machine;

/// What the node wants of its pools.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolWish {
    /// The largest linear memory that any workload may have.
    pub memory_max: Bytes,
    /// The most elements that one table may have.
    pub table_elements: u64,
    /// Wasm stack of an instance.
    pub stack: Bytes,
    /// Engines in this process, each with a pool of its own.
    pub engines: u32,
    /// Live instances at once, if fewer than the machine would carry.
    pub slots_max: Option<u32>,
    /// What all guests together may have; none: a share of what the machine has.
    pub memory_total: Option<Bytes>,
    /// What the process may have before it takes no more requests; none: a share of what the machine has.
    pub memory_process: Option<Bytes>,
}

impl Default for PoolWish {
    fn default() -> Self {
        let limits = shoal_runtime::Limits::default();
        Self {
            memory_max: limits.memory,
            table_elements: limits.table_elements,
            stack: limits.stack,
            engines: 2,
            slots_max: None,
            memory_total: None,
            memory_process: None,
        }
    }
}

/// How instances are allocated on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolPlan {
    /// The pool; none: each instance maps its own memory.
    pub pool: Option<Pool>,
    /// Address space kept for each linear memory. Compiled code depends on it.
    pub memory_reservation: Bytes,
    /// Address space behind each memory that must fault. Compiled code depends on it.
    pub memory_guard: Bytes,
    /// Wasm stack of an instance.
    pub stack: Bytes,
    /// Stack of the fiber it runs on: wasm, and the host functions that it calls.
    pub async_stack: Bytes,
    /// Linear memories, tables and stacks that all guests together may have.
    pub memory_total: Bytes,
    /// Memory of its own that the process may have before it takes no more requests.
    pub memory_process: Bytes,
    rows: Vec<Row>,
}

/// The numbers of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Components alive at once; also memories and fiber stacks.
    pub slots: u32,
    /// Core instances alive at once.
    pub core_instances: u32,
    /// Tables alive at once.
    pub tables: u32,
    /// Elements that one table may have.
    pub table_elements: u64,
    /// Bytes that one linear memory may have.
    pub memory_max: Bytes,
    /// Bytes of a memory that are cleared in place, not unmapped, when its instance ends.
    pub memory_keep_resident: Bytes,
    /// The same for a table.
    pub table_keep_resident: Bytes,
    /// The same for a stack.
    pub stack_keep_resident: Bytes,
    /// Slots that stay prepared for the module that used them last.
    pub warm_slots_max: u32,
}

/// Core modules of one component with two tables each; a composed component has a few of these.
const TABLES_PER_MODULE_MAX: u32 = 16;

/// Memories of one core module. More than one is rare; the number costs 16 bytes per instance.
const MEMORIES_PER_MODULE_MAX: u32 = 8;

/// Instances that may wait for another request where there is no pool: each maps memory of its own.
const RESTING_MAX_UNPOOLED: usize = 100;

/// Bookkeeping of one core instance: 32 bytes per function that it lets escape. Python has some ten thousand.
const CORE_INSTANCE_BYTES_MAX: usize = 4 << 20;

/// The same for all core instances of a component.
const COMPONENT_INSTANCE_BYTES_MAX: usize = 16 << 20;

/// Chooses how to allocate instances on `machine`. Pure.
pub fn plan(machine: &Machine, wish: &PoolWish) -> PoolPlan {
    choose::plan(machine, wish)
}

impl PoolPlan {
    /// Sets an engine up as planned.
    pub fn apply(&self, config: &mut Config) {
        config.memory_reservation(self.memory_reservation.0);
        config.memory_guard_size(self.memory_guard.0);
        // A memory that is rewound is known by its address.
        config.memory_may_move(false);
        config.max_wasm_stack(self.stack.as_usize());
        config.async_stack_size(self.async_stack.as_usize());
        // Else a stack keeps all that the deepest of its guests ever used.
        config.async_stack_zeroing(true);
        let Some(pool) = &self.pool else {
            config.allocation_strategy(InstanceAllocationStrategy::OnDemand);
            return;
        };
        config.allocation_strategy(pool.config());
    }

    /// How many instances may wait for another request: half of the pool.
    pub(crate) fn resting_max(&self) -> usize {
        self.pool.map_or(RESTING_MAX_UNPOOLED, |pool| pool.slots as usize / 2)
    }

    /// The choices with their reasons, for `shoal doctor`.
    pub fn rows(&self) -> Vec<Row> {
        self.rows.clone()
    }

    /// [`PoolPlan::rows`] as a section.
    pub fn section(&self) -> Section {
        Section::new("Instances", self.rows())
    }
}

impl Pool {
    fn config(&self) -> PoolingAllocationConfig {
        let mut config = PoolingAllocationConfig::new();
        config
            .total_component_instances(self.slots)
            .total_core_instances(self.core_instances)
            .total_memories(self.slots)
            .total_gc_heaps(self.slots)
            .total_stacks(self.slots)
            .total_tables(self.tables)
            .table_elements(usize::try_from(self.table_elements).unwrap_or(usize::MAX))
            .max_memory_size(self.memory_max.as_usize())
            .max_tables_per_module(TABLES_PER_MODULE_MAX)
            .max_memories_per_module(MEMORIES_PER_MODULE_MAX)
            .max_core_instance_size(CORE_INSTANCE_BYTES_MAX)
            .max_component_instance_size(COMPONENT_INSTANCE_BYTES_MAX)
            .linear_memory_keep_resident(self.memory_keep_resident.as_usize())
            .table_keep_resident(self.table_keep_resident.as_usize())
            .async_stack_keep_resident(self.stack_keep_resident.as_usize())
            // What an instance wrote is gone when it ends: a batch would keep as many memories, of any size, that
            // nobody is charged for.
            .decommit_batch_size(1)
            .max_unused_warm_slots(self.warm_slots_max)
            // The engine's own scan misses pages that are swapped out or being moved, and the next guest could
            // read them. Whatever the engine's default becomes, it stays off.
            .pagemap_scan(Enabled::No);
        config
    }
}
