//! Memory, tables and instances of one store, against the limits of its workload and the budget of the host.

use std::sync::Arc;

use shoal_runtime::{Account, Limits};
use wasmtime::ResourceLimiter;

use crate::budget::{Charge, OverBudget, Share};

/// Bytes of one element of a table.
const TABLE_ELEMENT_BYTES: u64 = size_of::<usize>() as u64;

/// Counts what the instances of one store hold.
pub(crate) struct Limiter {
    memory_bytes: usize,
    memory_bytes_max: usize,
    table_elements: usize,
    table_elements_max: usize,
    instances_max: usize,
    refusal: Option<Refusal>,
    account: Arc<Account>,
    charge: Charge,
}

/// Why a store does not get what it asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// It would pass a limit of its workload.
    #[error("{0}")]
    Limit(String),
    /// It would pass the budget of the host.
    #[error(transparent)]
    Budget(#[from] OverBudget),
}

impl Limiter {
    /// A limiter for a fresh store, for which `share` is charged an instance and a stack.
    pub(crate) fn new(
        limits: &Limits,
        account: Arc<Account>,
        share: &Arc<Share>,
    ) -> Result<Self, OverBudget> {
        let mut charge = Charge::new(share)?;
        charge.add(limits.stack.0)?;
        Ok(Self {
            memory_bytes: 0,
            memory_bytes_max: limits.memory.as_usize(),
            table_elements: 0,
            table_elements_max: usize::try_from(limits.table_elements).unwrap_or(usize::MAX),
            instances_max: limits.instances as usize,
            refusal: None,
            account,
            charge,
        })
    }

    /// The first growth that was refused; a guest that then traps ran out of memory.
    pub(crate) fn refusal(&self) -> Option<&Refusal> {
        self.refusal.as_ref()
    }

    /// Bytes of all linear memories.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }

    /// A new request in the same store.
    pub(crate) fn begin(&mut self, account: Arc<Account>) {
        account.raise_memory(self.memory_bytes as u64);
        self.account = account;
        self.refusal = None;
    }

    fn refuse(&mut self, refusal: Refusal) {
        self.refusal.get_or_insert(refusal);
    }

    /// Charges the budget of the host for a growth.
    fn charge(&mut self, bytes: u64) -> bool {
        self.charge.add(bytes).map_err(|over| self.refuse(over.into())).is_ok()
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            self.refuse(Refusal::Limit("its memory would pass the maximum that it declares".into()));
            return Ok(false);
        }
        let more = desired.saturating_sub(current);
        let total = self.memory_bytes.saturating_add(more);
        if total > self.memory_bytes_max {
            let max = self.memory_bytes_max >> 10;
            self.refuse(Refusal::Limit(format!("its memory would pass the limit of {max} KiB (--memory)")));
            return Ok(false);
        }
        if !self.charge(more as u64) {
            return Ok(false);
        }
        self.memory_bytes = total;
        self.account.raise_memory(total as u64);
        Ok(true)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        self.refuse(Refusal::Limit(format!("its memory could not grow: {error}")));
        Ok(())
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            self.refuse(Refusal::Limit("its table would pass the maximum that it declares".into()));
            return Ok(false);
        }
        let more = desired.saturating_sub(current);
        let total = self.table_elements.saturating_add(more);
        if total > self.table_elements_max {
            let max = self.table_elements_max;
            let why = format!("its tables would pass the limit of {max} elements (--table-elements)");
            self.refuse(Refusal::Limit(why));
            return Ok(false);
        }
        if !self.charge((more as u64).saturating_mul(TABLE_ELEMENT_BYTES)) {
            return Ok(false);
        }
        self.table_elements = total;
        Ok(true)
    }

    fn table_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        self.refuse(Refusal::Limit(format!("its table could not grow: {error}")));
        Ok(())
    }

    fn instances(&self) -> usize {
        self.instances_max
    }
}

#[cfg(test)]
mod tests {
    use shoal_base::units::Bytes;

    use super::*;
    use crate::budget::Budget;
    use crate::engine::Flavour;

    /// A limiter of the only workload of a host whose guests may have `memory` together.
    fn limiter(limits: &Limits, memory: Bytes, account: &Arc<Account>) -> Result<Limiter, OverBudget> {
        let share = Share::new(&Budget::of(memory, u64::MAX), Flavour::Sync);
        Limiter::new(limits, Arc::clone(account), &share)
    }

    #[test]
    fn memories_count_together_up_to_the_limit_itself() {
        let limits = Limits { memory: Bytes::kib(192), ..Limits::default() };
        let account = Arc::new(Account::default());
        let mut limiter = limiter(&limits, Bytes::gib(1), &account).expect("within the budget");
        assert!(limiter.memory_growing(0, 64 << 10, None).expect("no trap"));
        assert!(limiter.memory_growing(0, 128 << 10, None).expect("no trap"), "exactly the limit");
        assert!(!limiter.memory_growing(64 << 10, 128 << 10, None).expect("no trap"));
        let refusal = limiter.refusal().map(ToString::to_string);
        assert_eq!(refusal.as_deref(), Some("its memory would pass the limit of 192 KiB (--memory)"));
        assert_eq!(account.usage().memory_bytes_peak, 192 << 10);
    }

    #[test]
    fn tables_count_together_up_to_the_limit_itself() {
        let limits = Limits { table_elements: 100, ..Limits::default() };
        let mut limiter = limiter(&limits, Bytes::gib(1), &Arc::default()).expect("within the budget");
        assert!(limiter.table_growing(0, 100, None).expect("no trap"));
        assert!(!limiter.table_growing(100, 101, None).expect("no trap"));
    }

    #[test]
    fn growth_past_a_declared_maximum_counts_for_nothing() {
        let account = Arc::new(Account::default());
        let mut limiter = limiter(&Limits::default(), Bytes::gib(1), &account).expect("within the budget");
        assert!(!limiter.memory_growing(0, 128 << 10, Some(64 << 10)).expect("no trap"));
        assert!(!limiter.table_growing(0, 2, Some(1)).expect("no trap"));
        assert_eq!((limiter.memory_bytes(), account.usage().memory_bytes_peak), (0, 0));
        let refusal = limiter.refusal().map(ToString::to_string);
        assert_eq!(refusal.as_deref(), Some("its memory would pass the maximum that it declares"));
    }

    #[test]
    fn the_stack_the_memory_and_the_table_are_charged() {
        let limits = Limits { stack: Bytes::kib(64), ..Limits::default() };
        // One workload may have eight ninths.
        let little = limiter(&limits, Bytes::kib(71), &Arc::default());
        assert!(little.is_err(), "no room for a stack");
        let total = Bytes(Bytes::kib(129).0 / 8 * 9);
        let mut limiter = limiter(&limits, total, &Arc::default()).expect("room for a stack");
        assert!(limiter.memory_growing(0, 64 << 10, None).expect("no trap"));
        assert!(limiter.table_growing(0, 128, None).expect("no trap"), "exactly the budget");
        assert!(!limiter.table_growing(128, 129, None).expect("no trap"));
        assert!(!limiter.memory_growing(64 << 10, 65 << 10, None).expect("no trap"));
        let over = OverBudget::Alone(Bytes::kib(129));
        assert_eq!(limiter.refusal(), Some(&Refusal::Budget(over)));
    }
}
