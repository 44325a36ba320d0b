//! What the tests share.

use std::path::{Path, PathBuf};

use serde_json::Value;
use shoal_api::field::Error;
use shoal_api::{GroupVersion, GroupVersionKind};

/// `shared/golden/NAME` in a directory above this crate: what real servers were recorded to say. It stands beside the
/// repository and not in it.
pub(crate) fn golden(name: &str) -> Option<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().map(|directory| directory.join("shared/golden").join(name)).find(|path| path.exists())
}

/// The kind that an object says it is.
pub(crate) fn kind_of(object: &Value) -> GroupVersionKind {
    let version = object["apiVersion"].as_str().unwrap_or_default();
    let version: GroupVersion = version.parse().expect("an apiVersion");
    version.kind(object["kind"].as_str().unwrap_or_default())
}

/// Each mistake as it is read, in lines.
pub(crate) fn lines(errors: &[Error]) -> String {
    errors.iter().map(|error| format!("{error}\n")).collect()
}
