//! Amounts that are compared for each node: whole numbers instead of quantities.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::quota::pod_amounts;
use crate::words::{Amounts, amounts};

/// What a pod without a request counts as when nodes are compared, in thousandths of a core, as in Kubernetes.
const CPU_ASSUMED_MILLI: i64 = 100;
/// The same for memory, in bytes.
const MEMORY_ASSUMED_BYTES: i64 = 200 << 20;

/// How much of everything that can run out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Amount {
    pub(super) cpu_milli: i64,
    pub(super) memory_bytes: i64,
    pub(super) storage_bytes: i64,
    pub(super) pods: i64,
    /// Processor and memory with something assumed for pods that ask for nothing.
    pub(super) assumed: (i64, i64),
    /// Whatever else nodes offer, by name.
    pub(super) others: BTreeMap<String, i64>,
}

impl Amount {
    /// What a node offers.
    pub(super) fn allocatable(node: &Value) -> Self {
        let given = &node["status"]["allocatable"];
        let given = if given.is_null() { &node["status"]["capacity"] } else { given };
        Self::of(&amounts(given))
    }

    /// What a pod asks for; the pod itself counts as one.
    pub(super) fn requested(pod: &Value) -> Self {
        let mut amount = Self::of(&pod_amounts(pod, "requests"));
        amount.pods = 1;
        let or = |value: i64, assumed: i64| if value == 0 { assumed } else { value };
        amount.assumed =
            (or(amount.cpu_milli, CPU_ASSUMED_MILLI), or(amount.memory_bytes, MEMORY_ASSUMED_BYTES));
        amount
    }

    fn of(amounts: &Amounts) -> Self {
        let mut found = Self::default();
        for (name, amount) in amounts {
            match name.as_str() {
                "cpu" => found.cpu_milli = amount.milli_value(),
                "memory" => found.memory_bytes = amount.value(),
                "ephemeral-storage" => found.storage_bytes = amount.value(),
                "pods" => found.pods = amount.value(),
                other => {
                    found.others.insert(other.to_owned(), amount.value());
                }
            }
        }
        found
    }

    /// Adds what a pod asks for, or takes it away again.
    pub(super) fn add(&mut self, other: &Self, sign: i64) {
        self.cpu_milli += sign * other.cpu_milli;
        self.memory_bytes += sign * other.memory_bytes;
        self.storage_bytes += sign * other.storage_bytes;
        self.pods += sign * other.pods;
        self.assumed.0 += sign * other.assumed.0;
        self.assumed.1 += sign * other.assumed.1;
        for (name, amount) in &other.others {
            *self.others.entry(name.clone()).or_default() += sign * amount;
        }
    }
}
