//! Assignments on the disk: what a node runs when it starts and nobody can tell it.
//!
//! One file for each pod, with the ConfigMaps and Secrets that it names, readable for this user alone.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use shoal_api::object;

use crate::pod::env::Sources;
use crate::read::{items, text};
use crate::volume::tree::private;

/// Longest file that is read: a pod and the objects that it names, with room.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// What a file is called while it is written.
const NEXT: &str = "next";

/// A pod as it was when it was saved.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Saved {
    /// The pod. What its status says that `status` does not is kept.
    pub(crate) pod: Arc<Value>,
    /// The status that this node gave it last.
    pub(crate) status: Value,
    /// What it names.
    pub(crate) sources: Arc<Sources>,
    /// Containers that answer requests: these go on after a restart as if nothing had happened.
    pub(crate) serving: Vec<String>,
    /// Whether all that it names had been read: what is missing from `sources` was not there, then.
    pub(crate) is_read: bool,
}

/// What stands in the file.
#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct File<'a> {
    pod: BTreeMap<&'a str, &'a Value>,
    config_maps: BTreeMap<&'a str, &'a Value>,
    secrets: BTreeMap<&'a str, &'a Value>,
    serving: &'a [String],
    is_read: bool,
}

/// The file of a pod.
pub(crate) fn path(dir: &Path, uid: &str) -> PathBuf {
    dir.join(format!("{uid}.json"))
}

impl Saved {
    /// As it stands in its file.
    pub(crate) fn to_text(&self) -> String {
        fn values(map: &BTreeMap<String, Arc<Value>>) -> BTreeMap<&str, &Value> {
            map.iter().map(|(name, object)| (name.as_str(), &**object)).collect()
        }
        let mut status = self.pod["status"].clone();
        match (status.as_object_mut(), self.status.as_object()) {
            (Some(fields), Some(next)) => fields.extend(next.clone()),
            _ => status = self.status.clone(),
        }
        let fields = self.pod.as_object().into_iter().flatten();
        let fields = fields.map(|(name, value)| (name.as_str(), value));
        let file = File {
            pod: fields.chain([("status", &status)]).collect(),
            config_maps: values(&self.sources.config_maps),
            secrets: values(&self.sources.secrets),
            serving: &self.serving,
            is_read: self.is_read,
        };
        serde_json::to_string(&file).expect("maps of texts become text")
    }

    fn of_text(text: &[u8]) -> Option<Self> {
        let mut value: Value = serde_json::from_slice(text).ok().filter(Value::is_object)?;
        let objects = |value: &mut Value| match value.take() {
            Value::Object(map) => map.into_iter().map(|(name, object)| (name, Arc::new(object))).collect(),
            _ => BTreeMap::new(),
        };
        let config_maps = objects(&mut value["configMaps"]);
        let secrets = objects(&mut value["secrets"]);
        let serving = items(&value["serving"]).map(text_of).collect();
        let is_read = value["isRead"] == true;
        let pod = value["pod"].take();
        if object::name(&pod).is_empty() || object::uid(&pod).is_empty() {
            return None;
        }
        let (status, sources) = (pod["status"].clone(), Arc::new(Sources { config_maps, secrets }));
        Some(Self { pod: Arc::new(pod), status, sources, serving, is_read })
    }
}

fn text_of(value: &Value) -> String {
    text(value).to_owned()
}

/// Writes a file whole: a crash leaves the old one or the new one. Blocks until it is on the disk, and its name, too.
///
/// # Errors
/// The disk refuses.
pub(crate) fn write(path: &Path, text: &str) -> io::Result<()> {
    let next = path.with_extension(NEXT);
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&next)?;
    file.write_all(text.as_bytes())?;
    file.sync_data()?;
    fs::rename(&next, path)?;
    sync_names(path.parent())
}

/// Removes a file, for good. Blocks until the disk knows.
///
/// # Errors
/// The disk refuses.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    for path in [path, &path.with_extension(NEXT)] {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    sync_names(path.parent())
}

/// Sees to it that the names in a directory survive a power cut.
fn sync_names(dir: Option<&Path>) -> io::Result<()> {
    dir.map_or(Ok(()), |dir| fs::File::open(dir)?.sync_all())
}

/// A pod as its file has it; none: there is no such file.
///
/// # Errors
/// It cannot be read, or makes no sense.
pub(crate) fn read(path: &Path) -> io::Result<Option<Saved>> {
    let text = match fs::metadata(path) {
        Ok(metadata) if metadata.len() > FILE_BYTES_MAX => return Err(io::ErrorKind::FileTooLarge.into()),
        Ok(_) => fs::read(path)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    Saved::of_text(&text)
        .map(Some)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "it is no saved pod"))
}

/// All that is saved. What cannot be read is left where it is and said; what a crash left half-written goes.
///
/// # Errors
/// The directory can be neither read nor made.
pub(crate) fn read_all(dir: &Path) -> io::Result<Vec<Saved>> {
    private(dir)?;
    sync_names(dir.parent())?;
    let mut all = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == NEXT) {
            fs::remove_file(&path)?;
        }
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        match read(&path) {
            Ok(saved) => all.extend(saved),
            Err(error) => {
                tracing::warn!(%error, path = %path.display(), "a saved pod cannot be read and is not run");
            }
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_saved_comes_back_and_is_for_nobody_else() {
        let dir = tempfile::tempdir().expect("a directory");
        let dir = dir.path().join("pods");
        assert_eq!(read_all(&dir).expect("it is made"), Vec::new());
        let secrets = [("login".to_owned(), Arc::new(json!({"data": {"password": "eA=="}})))].into();
        let saved = Saved {
            pod: Arc::new(json!({"metadata": {"name": "web", "uid": "u"}, "status": {"phase": "Running"}})),
            status: json!({"phase": "Running"}),
            sources: Arc::new(Sources { secrets, ..Sources::default() }),
            serving: vec!["web".into()],
            is_read: true,
        };
        let file = path(&dir, "u");
        write(&file, &saved.to_text()).expect("written");
        write(&path(&dir, "v"), "{\"pod\": {}}").expect("written");
        // None of these is a pod, and none of them stops the others.
        for (at, text) in [
            "{",
            "[]",
            "7",
            "\"x\"",
            "null",
            "[{\"pod\": 1}]",
            "{\"pod\": []}",
            "{\"pod\": {\"metadata\": {\"name\": \"x\"}}}",
        ]
        .into_iter()
        .enumerate()
        {
            write(&path(&dir, &format!("w{at}")), text).expect("written");
        }
        let half = dir.join("u.next");
        fs::write(&half, "{\"pod").expect("written");
        assert_eq!(read_all(&dir).expect("read"), [saved]);
        assert!(!half.exists(), "what a crash left goes");
        assert_eq!(fs::metadata(&file).expect("a file").permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(&dir).expect("a directory").permissions().mode() & 0o777, 0o700);
        fs::write(&half, "x").expect("written");
        remove(&file).expect("removed");
        remove(&file).expect("removed twice");
        assert!(!file.exists() && !half.exists() && read(&file).expect("no file").is_none());
    }
}
