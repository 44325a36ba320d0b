//! Memory, tables and instances of one store, against the limits of its workload.

use std::sync::Arc;

use shoal_runtime::{Account, Limits};
use wasmtime::ResourceLimiter;

/// Counts what the instances of one store hold.
#[derive(Debug)]
pub(crate) struct Limiter {
    memory_bytes: usize,
    memory_bytes_max: usize,
    table_elements: usize,
    table_elements_max: usize,
    instances_max: usize,
    refusal: Option<String>,
    account: Arc<Account>,
}

impl Limiter {
    /// A limiter for a fresh store.
    pub(crate) fn new(limits: &Limits, account: Arc<Account>) -> Self {
        Self {
            memory_bytes: 0,
            memory_bytes_max: limits.memory.as_usize(),
            table_elements: 0,
            table_elements_max: usize::try_from(limits.table_elements).unwrap_or(usize::MAX),
            instances_max: limits.instances as usize,
            refusal: None,
            account,
        }
    }

    /// The first growth that was refused, in words; a guest that then traps ran out of memory.
    pub(crate) fn refusal(&self) -> Option<&str> {
        self.refusal.as_deref()
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
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let total = self.memory_bytes.saturating_add(desired.saturating_sub(current));
        if total > self.memory_bytes_max {
            let max = self.memory_bytes_max >> 10;
            self.refusal
                .get_or_insert_with(|| format!("its memory would pass the limit of {max} KiB (--memory)"));
            return Ok(false);
        }
        self.memory_bytes = total;
        self.account.raise_memory(total as u64);
        Ok(true)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        self.refusal.get_or_insert_with(|| format!("its memory could not grow: {error}"));
        Ok(())
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let total = self.table_elements.saturating_add(desired.saturating_sub(current));
        if total > self.table_elements_max {
            let max = self.table_elements_max;
            self.refusal.get_or_insert_with(|| {
                format!("its tables would pass the limit of {max} elements (--table-elements)")
            });
            return Ok(false);
        }
        self.table_elements = total;
        Ok(true)
    }

    fn table_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        self.refusal.get_or_insert_with(|| format!("its table could not grow: {error}"));
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

    #[test]
    fn memories_count_together_up_to_the_limit_itself() {
        let limits = Limits { memory: Bytes::kib(192), ..Limits::default() };
        let account = Arc::new(Account::default());
        let mut limiter = Limiter::new(&limits, account.clone());
        assert!(limiter.memory_growing(0, 64 << 10, None).expect("no trap"));
        assert!(limiter.memory_growing(0, 128 << 10, None).expect("no trap"), "exactly the limit");
        assert!(!limiter.memory_growing(64 << 10, 128 << 10, None).expect("no trap"));
        assert_eq!(limiter.refusal(), Some("its memory would pass the limit of 192 KiB (--memory)"));
        assert_eq!(account.usage().memory_bytes_peak, 192 << 10);
    }

    #[test]
    fn tables_count_together_up_to_the_limit_itself() {
        let limits = Limits { table_elements: 100, ..Limits::default() };
        let mut limiter = Limiter::new(&limits, Arc::default());
        assert!(limiter.table_growing(0, 100, None).expect("no trap"));
        assert!(!limiter.table_growing(100, 101, None).expect("no trap"));
    }
}
