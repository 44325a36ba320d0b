//! Assignments on the disk: what a node runs when it starts and nobody can tell it.
//!
//! One file for each pod, with the ConfigMaps and Secrets that it names, readable for this user alone.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::pod::env::Sources;
use crate::read::{items, text};
use crate::volume::tree::private;

/// Longest file that is read: a pod and the objects that it names, with room.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// A pod as it was when it was saved.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Saved {
    /// The pod, with the status that this node gave it last.
    pub(crate) pod: Arc<Value>,
    /// What it names.
    pub(crate) sources: Sources,
    /// Containers that answer requests: these go on after a restart as if nothing had happened.
    pub(crate) serving: Vec<String>,
}

/// The file of a pod.
pub(crate) fn path(dir: &Path, uid: &str) -> PathBuf {
    dir.join(format!("{uid}.json"))
}

impl Saved {
    /// As it stands in its file.
    pub(crate) fn to_text(&self) -> String {
        let values = |map: &BTreeMap<String, Arc<Value>>| -> Value {
            map.iter()
                .map(|(name, object)| (name.clone(), Value::clone(object)))
                .collect::<serde_json::Map<_, _>>()
                .into()
        };
        json!({
            "pod": *self.pod, "configMaps": values(&self.sources.config_maps), "secrets": values(&self.sources.secrets),
            "serving": self.serving,
        })
        .to_string()
    }

    fn of_text(text: &[u8]) -> Option<Self> {
        let mut value: Value = serde_json::from_slice(text).ok()?;
        let objects = |value: &mut Value| match value.take() {
            Value::Object(map) => map.into_iter().map(|(name, object)| (name, Arc::new(object))).collect(),
            _ => BTreeMap::new(),
        };
        let config_maps = objects(&mut value["configMaps"]);
        let secrets = objects(&mut value["secrets"]);
        let serving = items(&value["serving"]).map(text_of).collect();
        let pod = value["pod"].take();
        shoal_api::object::name(&pod).get(..1)?;
        Some(Self { pod: Arc::new(pod), sources: Sources { config_maps, secrets }, serving })
    }
}

fn text_of(value: &Value) -> String {
    text(value).to_owned()
}

/// Writes a file whole: a crash leaves the old one or the new one. Blocks until it is on the disk.
///
/// # Errors
/// The disk refuses.
pub(crate) fn write(path: &Path, text: &str) -> io::Result<()> {
    let next = path.with_extension("next");
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&next)?;
    file.write_all(text.as_bytes())?;
    file.sync_data()?;
    fs::rename(&next, path)
}

/// All that is saved. What cannot be read is left where it is and said.
///
/// # Errors
/// The directory can be neither read nor made.
pub(crate) fn read_all(dir: &Path) -> io::Result<Vec<Saved>> {
    private(dir)?;
    let mut all = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let length = fs::metadata(&path).map_or(0, |metadata| metadata.len());
        let text =
            if length > FILE_BYTES_MAX { Err(io::ErrorKind::FileTooLarge.into()) } else { fs::read(&path) };
        match text.map(|text| Saved::of_text(&text)) {
            Ok(Some(saved)) => all.push(saved),
            Ok(None) => tracing::warn!(path = %path.display(), "a saved pod makes no sense and is not run"),
            Err(error) => tracing::warn!(%error, path = %path.display(), "a saved pod cannot be read"),
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_is_saved_comes_back_and_is_for_nobody_else() {
        let dir = tempfile::tempdir().expect("a directory");
        let dir = dir.path().join("pods");
        assert_eq!(read_all(&dir).expect("it is made"), Vec::new());
        let secrets = [("login".to_owned(), Arc::new(json!({"data": {"password": "eA=="}})))].into();
        let saved = Saved {
            pod: Arc::new(json!({"metadata": {"name": "web", "uid": "u"}})),
            sources: Sources { secrets, ..Sources::default() },
            serving: vec!["web".into()],
        };
        let file = path(&dir, "u");
        write(&file, &saved.to_text()).expect("written");
        write(&path(&dir, "v"), "{\"pod\": {}}").expect("written");
        write(&path(&dir, "w"), "{").expect("written");
        assert_eq!(read_all(&dir).expect("read"), [saved]);
        assert_eq!(fs::metadata(&file).expect("a file").permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(&dir).expect("a directory").permissions().mode() & 0o777, 0o700);
    }
}
