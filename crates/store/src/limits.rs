//! The limits of every store. Those of etcd hold in the embedded engine too, so that moving never surprises.

use std::time::Duration;

/// Longest key, in bytes. Longer than any name that Kubernetes allows with its group, resource and namespace.
pub const KEY_BYTES_MAX: usize = 1024;

/// Largest request that etcd takes: 1.5 MiB, encoded.
pub const ETCD_REQUEST_BYTES_MAX: usize = 1536 << 10;

/// What etcd's encoding adds to one write at most: the key stands in the comparison, in the write and in the read
/// that answers a conflict, each below the root, with a few numbers and lengths.
pub const WRITE_OVERHEAD_BYTES: usize = 3 * ROOT_BYTES_MAX + 96;

/// Longest root below which a store keeps its keys in an etcd that it shares.
pub const ROOT_BYTES_MAX: usize = 32;

/// Most that one transaction may carry: of each write its value, three times its key, and
/// [`WRITE_OVERHEAD_BYTES`]. It leaves etcd 4 KiB for what stands around a request.
pub const REQUEST_BYTES_MAX: usize = ETCD_REQUEST_BYTES_MAX - (4 << 10);

/// Writes in one transaction: etcd's `--max-txn-ops`.
pub const OPERATIONS_MAX: usize = 128;

/// Default size of the database at which writes that add are refused: etcd's default quota.
pub const QUOTA_BYTES: u64 = 2 << 30;

/// Shortest and longest life of a lease. etcd lengthens shorter ones as its elections need; so does the embedded
/// engine, to the same 2 s that etcd has by default.
pub const LEASE_TTL_MIN: Duration = Duration::from_secs(2);
/// See [`LEASE_TTL_MIN`]. A year: what must live longer is no lease.
pub const LEASE_TTL_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// Keys on one lease. They are deleted in one revision, which is held in memory.
pub const LEASE_KEYS_MAX: usize = 100_000;

/// Leases at a time.
pub const LEASES_MAX: usize = 100_000;

/// How far apart compactions are. In Kubernetes they are five minutes apart, and up to ten minutes of history is kept.
pub const COMPACT_EVERY: Duration = Duration::from_secs(60);

/// The history that is kept at least, in times of [`COMPACT_EVERY`]: five minutes, as in Kubernetes. A client that was away
/// for longer lists anew.
pub const COMPACT_KEEPS: usize = 5;

/// A commit, a read from disk or a request to etcd that takes longer is named in the log.
pub const SLOW: Duration = Duration::from_millis(200);

/// Objects in one page when nothing else was asked for; 0 asks for all. etcd answers with one message that it and
/// we hold in memory whole.
pub const PAGE_OBJECTS: usize = 500;
