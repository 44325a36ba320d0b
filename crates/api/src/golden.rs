//! What real servers were recorded to say. The recordings stand beside the repository and not in it: where they are
//! absent, the tests that compare with them have nothing to compare.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// `shared/golden/NAME` in a directory above this crate.
pub(crate) fn path(name: &str) -> Option<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().map(|directory| directory.join("shared/golden").join(name)).find(|path| path.exists())
}

/// A JSON document of the recordings.
pub(crate) fn document(name: &str) -> Option<Value> {
    let text = fs::read_to_string(path(name)?).expect("a file of text");
    Some(serde_json::from_str(&text).expect("a JSON document"))
}
