//! The operations of a store, written once over what both engines offer.

use std::ops::RangeInclusive;

use shoal_base::units::Bytes;

/// Longest key. Keys are held whole in indexes and lists; other stores cap them between 256 bytes and 1 KiB.
pub(super) const KEY_BYTES_MAX: usize = 1 << 10;
/// Largest value. A value is copied whole into the guest and back; larger data belongs into a blob store.
pub(super) const VALUE_BYTES_MAX: usize = 1 << 20;
/// Keys in one batch: one batch must not hold the store for long.
pub(super) const BATCH_KEYS_MAX: usize = 1_000;
/// Values of one batch together, in or out: they are in the host's memory at once.
pub(super) const BATCH_BYTES_MAX: usize = 4 << 20;
/// Keys in one page of a list.
pub(super) const LIST_KEYS_MAX: usize = 1_000;
/// Bytes of the keys in one page of a list: a page must fit the memory of a small guest.
pub(super) const LIST_BYTES_MAX: usize = 64 << 10;
/// What an entry costs beyond its key and its value: index, version, identity.
pub(super) const ENTRY_BYTES: u64 = 64;

/// Why a store did not do what it was asked. `Other` is shown to the guest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(unreachable_pub, reason = "the bindings carry it")]
pub enum StoreError {
    /// The name is not granted.
    #[error("no such store")]
    NoSuchStore,
    /// The file may not be read or written.
    #[error("access denied")]
    AccessDenied,
    /// A limit, a value that is no number, a failing disk.
    #[error("{0}")]
    Other(String),
}

/// A value with its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// The bytes.
    pub(super) value: Vec<u8>,
    /// Changes with every write to the key and never comes back in this store.
    pub(super) version: u64,
}

/// An entry without its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// As in [`Entry`].
    pub(super) version: u64,
    /// Size of the value in bytes.
    pub(super) value_bytes: u64,
}

/// What an engine offers. No limit but the capacity is checked here; [`Operation`]s do that.
pub(super) trait Table {
    /// The value of a key.
    fn get(&mut self, key: &str) -> Result<Option<Entry>, StoreError>;
    /// Version and size of the value of a key.
    fn head(&mut self, key: &str) -> Result<Option<Head>, StoreError>;
    /// Writes a value under a new version. `bytes_after` is the size of the store afterwards.
    fn put(&mut self, key: &str, value: &[u8], bytes_after: u64) -> Result<(), StoreError>;
    /// Removes a key that is there. `bytes_after` is the size of the store afterwards.
    fn remove(&mut self, key: &str, bytes_after: u64) -> Result<(), StoreError>;
    /// Up to `limit` keys made after the one with the identity `after`, in the order of their making. A key
    /// keeps its identity while it exists; a key that is made again gets a new one.
    fn page(&mut self, after: u64, limit: usize) -> Result<Vec<(u64, String)>, StoreError>;
    /// Size of the store in bytes: keys, values and [`ENTRY_BYTES`] each.
    fn bytes(&self) -> u64;
    /// Largest size of the store in bytes.
    fn bytes_max(&self) -> u64;
}

/// One page of keys, and where the next begins.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Page {
    /// The keys, in the order of their making.
    pub(super) keys: Vec<String>,
    /// Identity of the last key, when there are more.
    pub(super) cursor: Option<u64>,
}

/// The value of a key.
pub(super) fn get(table: &mut dyn Table, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
    check_key(key)?;
    Ok(table.get(key)?.map(|entry| entry.value))
}

/// Whether the key is there.
pub(super) fn exists(table: &mut dyn Table, key: &str) -> Result<bool, StoreError> {
    check_key(key)?;
    Ok(table.head(key)?.is_some())
}

/// Writes a value.
pub(super) fn set(table: &mut dyn Table, key: &str, value: &[u8]) -> Result<(), StoreError> {
    check_key(key)?;
    if value.len() > VALUE_BYTES_MAX {
        return Err(over("the value", value.len(), VALUE_BYTES_MAX, "keep larger data in a blob store"));
    }
    let freed = table.head(key)?.map_or(0, |head| cost(key, head.value_bytes));
    let after = table.bytes() - freed + cost(key, value.len() as u64);
    if after > table.bytes_max() {
        let full = Bytes(table.bytes_max());
        return Err(StoreError::Other(format!("the store is full: at most {full}; delete something first")));
    }
    table.put(key, value, after)
}

/// Removes a key; one that is not there is no error.
pub(super) fn delete(table: &mut dyn Table, key: &str) -> Result<(), StoreError> {
    check_key(key)?;
    match table.head(key)? {
        Some(head) => {
            let after = table.bytes() - cost(key, head.value_bytes);
            table.remove(key, after)
        }
        None => Ok(()),
    }
}

/// The page of keys after the one with the identity `cursor`.
pub(super) fn list(table: &mut dyn Table, cursor: Option<u64>) -> Result<Page, StoreError> {
    let found = table.page(cursor.unwrap_or(0), LIST_KEYS_MAX + 1)?;
    let mut bytes = 0;
    let fitting = found.iter().take(LIST_KEYS_MAX).take_while(|(_, key)| {
        bytes += key.len();
        bytes <= LIST_BYTES_MAX
    });
    let count = fitting.count();
    let cursor = (count < found.len()).then(|| found[count - 1].0);
    Ok(Page { keys: found.into_iter().take(count).map(|(_, key)| key).collect(), cursor })
}

/// Adds to the number that the key holds as decimal text; an absent key counts as zero. Both the number and
/// the sum must lie in `range`.
pub(super) fn increment(
    table: &mut dyn Table,
    key: &str,
    delta: i128,
    range: &RangeInclusive<i128>,
) -> Result<i128, StoreError> {
    check_key(key)?;
    let old = match table.get(key)? {
        None => 0,
        Some(entry) => number(&entry.value).ok_or_else(|| {
            StoreError::Other("the value is not a decimal number; increment works on counters only".into())
        })?,
    };
    let new = old.checked_add(delta).filter(|new| range.contains(&old) && range.contains(new));
    let new = new.ok_or_else(|| {
        let (low, high) = (range.start(), range.end());
        StoreError::Other(format!("{old} and {delta} more leave the range {low} to {high} of this counter"))
    })?;
    set(table, key, new.to_string().as_bytes())?;
    Ok(new)
}

/// The version of a key's value; none: the key is absent.
pub(super) fn version(table: &mut dyn Table, key: &str) -> Result<Option<u64>, StoreError> {
    check_key(key)?;
    Ok(table.head(key)?.map(|head| head.version))
}

/// Writes the value if the key still has the version `seen`. Otherwise writes nothing and gives the version
/// that the key has now.
pub(super) fn swap(
    table: &mut dyn Table,
    key: &str,
    seen: Option<u64>,
    value: &[u8],
) -> Result<Swap, StoreError> {
    let now = version(table, key)?;
    if now != seen {
        return Ok(Swap::Stale { now });
    }
    set(table, key, value)?;
    Ok(Swap::Done)
}

/// How a swap ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Swap {
    /// The value is written.
    Done,
    /// Somebody was faster; the key has this version now.
    Stale {
        /// None: the key is absent.
        now: Option<u64>,
    },
}

/// The values of the keys, in their order.
pub(super) fn get_many(table: &mut dyn Table, keys: &[String]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
    check_batch(keys.len())?;
    let mut bytes = 0;
    let mut values = Vec::with_capacity(keys.len());
    for key in keys {
        let value = get(table, key)?;
        bytes += value.as_ref().map_or(0, Vec::len);
        if bytes > BATCH_BYTES_MAX {
            return Err(over("the batch of values", bytes, BATCH_BYTES_MAX, "ask for fewer keys at once"));
        }
        values.push(value);
    }
    Ok(values)
}

/// Writes the values in their order. When one is refused, those before it stay written.
pub(super) fn set_many(table: &mut dyn Table, pairs: &[(String, Vec<u8>)]) -> Result<(), StoreError> {
    check_batch(pairs.len())?;
    let bytes = pairs.iter().map(|(_, value)| value.len()).sum();
    if bytes > BATCH_BYTES_MAX {
        return Err(over("the batch of values", bytes, BATCH_BYTES_MAX, "set fewer keys at once"));
    }
    pairs.iter().try_for_each(|(key, value)| set(table, key, value))
}

/// Removes the keys. When one is refused, those before it stay removed.
pub(super) fn delete_many(table: &mut dyn Table, keys: &[String]) -> Result<(), StoreError> {
    check_batch(keys.len())?;
    keys.iter().try_for_each(|key| delete(table, key))
}

/// What an entry counts for in the size of the store.
pub(super) fn cost(key: &str, value_bytes: u64) -> u64 {
    key.len() as u64 + value_bytes + ENTRY_BYTES
}

fn check_key(key: &str) -> Result<(), StoreError> {
    if key.len() > KEY_BYTES_MAX {
        return Err(over("the key", key.len(), KEY_BYTES_MAX, "use a shorter key"));
    }
    Ok(())
}

fn check_batch(keys: usize) -> Result<(), StoreError> {
    if keys > BATCH_KEYS_MAX {
        let text = format!("the batch has {keys} keys; at most {BATCH_KEYS_MAX}: split it");
        return Err(StoreError::Other(text));
    }
    Ok(())
}

fn over(what: &str, bytes: usize, max: usize, way_out: &str) -> StoreError {
    StoreError::Other(format!("{what} has {bytes} bytes; at most {}: {way_out}", Bytes(max as u64)))
}

fn number(value: &[u8]) -> Option<i128> {
    std::str::from_utf8(value).ok()?.parse().ok()
}
