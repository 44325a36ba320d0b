//! Words under which objects are filed: what controllers look objects up by, so that none of them reads a whole namespace
//! for each of its objects.

use serde_json::Value;
use shoal_api::{GroupVersionKind, object};

use crate::controllers::slices::SERVICE_NAME;
use crate::known::{ENDPOINT_SLICE, POD, REPLICA_SET, SERVICE};
use crate::snapshot::controller_of;

/// The word of objects that no controller manages.
pub const UNMANAGED: &str = "unmanaged";

/// Whether objects of a kind are filed.
pub fn is_filed(kind: &GroupVersionKind) -> bool {
    is_adopted(kind) || *kind == *SERVICE || *kind == *ENDPOINT_SLICE
}

/// Whether those objects of a kind that no controller manages are filed as such: controllers adopt them.
pub fn is_adopted(kind: &GroupVersionKind) -> bool {
    *kind == *POD || *kind == *REPLICA_SET
}

/// The words of an object: of a pod its labels, of an EndpointSlice that of its Service, of a Service the first label that
/// it selects by; of what controllers adopt [`UNMANAGED`], as long as nobody does.
pub fn words(kind: &GroupVersionKind, object: &Value) -> Vec<String> {
    let mut words = Vec::new();
    if *kind == *POD {
        words.extend(pairs(&object["metadata"]["labels"]));
    } else if *kind == *ENDPOINT_SLICE {
        words.extend(object::label(object, SERVICE_NAME).map(|service| pair(SERVICE_NAME, service)));
    } else if *kind == *SERVICE {
        words.extend(pairs(&object["spec"]["selector"]).next());
    }
    if is_adopted(kind) && controller_of(object).is_none() {
        words.push(UNMANAGED.into());
    }
    words
}

/// The word for a label.
pub fn pair(key: &str, value: &str) -> String {
    format!("{key}={value}")
}

/// The words for a map of labels.
pub fn pairs(labels: &Value) -> impl Iterator<Item = String> {
    let fields = labels.as_object().into_iter().flatten();
    fields.filter_map(|(key, value)| Some(pair(key, value.as_str()?)))
}
