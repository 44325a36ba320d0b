//! Phase *route*: which workload answers a request.

use std::fmt;
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use shoal_runtime::Invoke;

/// The route table, shared by all threads and replaced as a whole while they serve: a request sees one table
/// from start to end, and a workload that was replaced finishes the requests that it has.
///
/// Today every request goes to one workload; hosts and paths become fields of the table.
#[derive(Clone)]
pub struct Routes(Arc<ArcSwap<Table>>);

/// One version of the route table.
pub(crate) struct Table {
    /// Answers what no route names.
    fallback: Arc<dyn Invoke>,
}

impl Routes {
    /// Sends every request to this workload.
    pub fn to(workload: Arc<dyn Invoke>) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(Table { fallback: workload })))
    }

    /// Sends every request from now on to this workload. Requests in flight stay where they are.
    pub fn replace(&self, workload: Arc<dyn Invoke>) {
        self.0.store(Arc::new(Table { fallback: workload }));
    }

    /// The table as it is now.
    pub(crate) fn now(&self) -> Guard<Arc<Table>> {
        self.0.load()
    }
}

impl Table {
    /// The workload that answers requests for this host and path.
    pub(crate) fn find(&self, _host: &str, _path: &str) -> &dyn Invoke {
        self.fallback.as_ref()
    }
}

impl fmt::Debug for Routes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Routes")
    }
}
