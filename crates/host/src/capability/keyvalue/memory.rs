//! Values in memory, gone with the process.

use std::collections::{BTreeMap, HashMap};

use super::table::{Entry, Head, StoreError, Table};

/// Largest store in memory: the memory is the node's, shared among thousands of tenants.
pub(super) const MEMORY_BYTES_MAX: u64 = 64 << 20;

/// A table in memory.
#[derive(Default)]
pub(super) struct MemoryTable {
    entries: HashMap<String, Slot>,
    /// Keys by identity, for lists.
    order: BTreeMap<u64, String>,
    /// Versions and identities come from here: neither is given twice.
    last_number: u64,
    bytes: u64,
}

struct Slot {
    entry: Entry,
    identity: u64,
}

impl MemoryTable {
    fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }
}

impl Table for MemoryTable {
    fn get(&mut self, key: &str) -> Result<Option<Entry>, StoreError> {
        Ok(self.entries.get(key).map(|slot| slot.entry.clone()))
    }

    fn head(&mut self, key: &str) -> Result<Option<Head>, StoreError> {
        Ok(self
            .entries
            .get(key)
            .map(|slot| Head { version: slot.entry.version, value_bytes: slot.entry.value.len() as u64 }))
    }

    fn put(&mut self, key: &str, value: &[u8], bytes_after: u64) -> Result<(), StoreError> {
        let entry = Entry { value: value.to_vec(), version: self.next_number() };
        match self.entries.get_mut(key) {
            Some(slot) => slot.entry = entry,
            None => {
                let identity = self.next_number();
                self.order.insert(identity, key.to_owned());
                self.entries.insert(key.to_owned(), Slot { entry, identity });
            }
        }
        self.bytes = bytes_after;
        Ok(())
    }

    fn remove(&mut self, key: &str, bytes_after: u64) -> Result<(), StoreError> {
        if let Some(slot) = self.entries.remove(key) {
            self.order.remove(&slot.identity);
        }
        self.bytes = bytes_after;
        Ok(())
    }

    fn page(&mut self, after: u64, limit: usize) -> Result<Vec<(u64, String)>, StoreError> {
        let later = self.order.range(after.saturating_add(1)..);
        Ok(later.take(limit).map(|(identity, key)| (*identity, key.clone())).collect())
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn bytes_max(&self) -> u64 {
        MEMORY_BYTES_MAX
    }
}
