//! What a volume holds, from its pod's object.

use std::collections::BTreeMap;
use std::path::{Component, Path};

use serde_json::Value;
use shoal_api::object;

use crate::pod::env::{Source, Sources, keys_of, value_of};
use crate::pod::fields::{self, Facts};
use crate::read::{items, text};

/// Longest content of one volume: projected ones can hold several objects of a megabyte.
pub(crate) const CONTENT_BYTES_MAX: usize = 16 << 20;
/// Longest content of all volumes of one pod, which the agent has in memory while the pod runs.
pub(crate) const POD_BYTES_MAX: usize = 64 << 20;
/// The mode of files for which nobody says one.
const MODE: u32 = 0o644;

/// What a volume holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// Whatever the pod writes.
    Empty,
    /// These files, which the pod cannot change.
    Files(BTreeMap<String, File>),
}

/// A file of a volume.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct File {
    /// What is in it.
    pub(crate) bytes: Vec<u8>,
    /// Its mode.
    pub(crate) mode: u32,
}

/// Tokens of ServiceAccounts, by the volume and the path that they are for.
pub(crate) type Tokens = BTreeMap<(String, String), String>;

impl Content {
    /// Bytes that the agent holds for it.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Empty => 0,
            Self::Files(files) => files.values().map(|file| file.bytes.len()).sum(),
        }
    }
}

impl std::fmt::Debug for File {
    /// Never what is in it: it may be secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes, mode {:o}", self.bytes.len(), self.mode)
    }
}

/// What a volume holds.
///
/// # Errors
/// A sentence: an object or a key is missing, a path leads elsewhere, the kind of volume is not supported.
pub(crate) fn content(
    pod: &Value,
    volume: &Value,
    sources: &Sources,
    facts: &Facts,
    tokens: &Tokens,
) -> Result<Content, String> {
    if volume["emptyDir"].is_object() {
        return Ok(Content::Empty);
    }
    let mut files = Files { pod, volume, sources, facts, mode: MODE, all: BTreeMap::new(), bytes: 0 };
    if let Some(map) = volume.get("configMap") {
        files.mode = mode(&map["defaultMode"], MODE);
        files.object(Source::ConfigMap, map, text(&map["name"]))?;
    } else if let Some(secret) = volume.get("secret") {
        files.mode = mode(&secret["defaultMode"], MODE);
        files.object(Source::Secret, secret, text(&secret["secretName"]))?;
    } else if let Some(api) = volume.get("downwardAPI") {
        files.mode = mode(&api["defaultMode"], MODE);
        files.downward(api)?;
    } else if let Some(projected) = volume.get("projected") {
        files.mode = mode(&projected["defaultMode"], MODE);
        for source in items(&projected["sources"]) {
            files.projected(source, tokens)?;
        }
    } else {
        return Err(unsupported(volume));
    }
    Ok(Content::Files(files.all))
}

/// The tokens that a pod's volumes want: volume, path, audience (empty: the API), seconds.
pub(crate) fn wanted_tokens(pod: &Value) -> Vec<(String, String, String, u64)> {
    let mut wanted = Vec::new();
    for volume in items(&pod["spec"]["volumes"]) {
        for token in items(&volume["projected"]["sources"]).map(|source| &source["serviceAccountToken"]) {
            if token.is_object() {
                let seconds = token["expirationSeconds"].as_u64().unwrap_or(3600);
                let of = |field: &str| text(&token[field]).to_owned();
                wanted.push((text(&volume["name"]).to_owned(), of("path"), of("audience"), seconds));
            }
        }
    }
    wanted
}

fn unsupported(volume: &Value) -> String {
    let fields = volume.as_object().into_iter().flatten();
    let kind = fields.map(|(field, _)| field.as_str()).find(|field| *field != "name").unwrap_or("none");
    format!(
        "volume {:?} is of the kind {kind}, which is not supported: use configMap, secret, projected, downwardAPI or emptyDir",
        text(&volume["name"])
    )
}

struct Files<'a> {
    pod: &'a Value,
    volume: &'a Value,
    sources: &'a Sources,
    facts: &'a Facts,
    mode: u32,
    all: BTreeMap<String, File>,
    /// Of all that was read for it: one key may be named any number of times.
    bytes: usize,
}

impl Files<'_> {
    fn projected(&mut self, source: &Value, tokens: &Tokens) -> Result<(), String> {
        if let Some(map) = source.get("configMap") {
            return self.object(Source::ConfigMap, map, text(&map["name"]));
        }
        if let Some(secret) = source.get("secret") {
            return self.object(Source::Secret, secret, text(&secret["name"]));
        }
        if let Some(api) = source.get("downwardAPI") {
            return self.downward(api);
        }
        if let Some(token) = source.get("serviceAccountToken") {
            let path = text(&token["path"]);
            let key = (text(&self.volume["name"]).to_owned(), path.to_owned());
            let token = tokens.get(&key).ok_or_else(|| format!("there is no token for {path} yet"))?;
            return self.add(path, token.clone().into_bytes(), self.mode);
        }
        Err("a projected volume has a source that is not supported".into())
    }

    /// The keys of a ConfigMap or Secret: all, or those that are listed.
    fn object(&mut self, source: Source, from: &Value, name: &str) -> Result<(), String> {
        let is_optional = from["optional"] == true;
        let sources = self.sources;
        let object = match sources.get(source, name) {
            Ok(object) => object,
            Err(_) if is_optional => return Ok(()),
            Err(missing) => return Err(missing),
        };
        if from["items"].is_null() {
            for key in keys_of(object) {
                let bytes = value_of(object, source, key).unwrap_or_default();
                self.add(key, bytes, self.mode)?;
            }
            return Ok(());
        }
        for item in items(&from["items"]) {
            let key = text(&item["key"]);
            match value_of(object, source, key) {
                Some(bytes) => self.add(text(&item["path"]), bytes, mode(&item["mode"], self.mode))?,
                None if is_optional => {}
                None => {
                    let space = object::namespace(self.pod);
                    return Err(format!("references non-existent config key: {key} of {space}/{name}"));
                }
            }
        }
        Ok(())
    }

    fn downward(&mut self, api: &Value) -> Result<(), String> {
        for item in items(&api["items"]) {
            let path = text(&item["path"]);
            let value = match (&item["fieldRef"], &item["resourceFieldRef"]) {
                (Value::Null, reference) => {
                    let own = &self.pod["spec"]["containers"][0];
                    fields::resource(fields::container_of(self.pod, reference, own), self.facts, reference)
                }
                (reference, _) => fields::field(self.pod, self.facts, text(&reference["fieldPath"])),
            };
            let value =
                value.ok_or_else(|| format!("the file {path} has a field or resource that is not known"))?;
            self.add(path, value.into_bytes(), mode(&item["mode"], self.mode))?;
        }
        Ok(())
    }

    fn add(&mut self, path: &str, bytes: Vec<u8>, mode: u32) -> Result<(), String> {
        let is_plain = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
        // Names that begin with two dots are those of the tree itself.
        if path.is_empty() || path.starts_with("..") || !is_plain || path.ends_with('/') {
            return Err(format!("the path {path:?} does not stay in its volume"));
        }
        self.bytes = self.bytes.saturating_add(bytes.len());
        if self.bytes > CONTENT_BYTES_MAX {
            let name = text(&self.volume["name"]);
            return Err(format!("volume {name:?} would hold more than {CONTENT_BYTES_MAX} bytes"));
        }
        self.all.insert(path.into(), File { bytes, mode });
        Ok(())
    }
}

fn mode(value: &Value, or: u32) -> u32 {
    // Whatever is asked for, the agent itself must be able to read it and clean it away.
    value.as_u64().and_then(|mode| u32::try_from(mode).ok()).map_or(or, |mode| mode & 0o777) | 0o400
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;

    fn shown(volume: &Value) -> Result<String, String> {
        let map = json!({"data": {"a": "1", "b": "2"}, "binaryData": {"c": "AAE="}});
        let secret = json!({"data": {"password": "aHVudGVyMg=="}});
        let sources = Sources {
            config_maps: [("map".to_owned(), Arc::new(map))].into(),
            secrets: [("login".to_owned(), Arc::new(secret))].into(),
        };
        let pod = json!({"metadata": {"namespace": "shop", "labels": {"x": "1", "y": "2"}}, "spec": {"containers": [{}]}});
        let tokens = [(("all".to_owned(), "token".to_owned()), "jwt".to_owned())].into();
        match content(&pod, volume, &sources, &Facts::default(), &tokens)? {
            Content::Empty => Ok("empty".into()),
            Content::Files(files) => {
                let of = |(path, file): (&String, &File)| {
                    format!("{path}:{:o}={}", file.mode, String::from_utf8_lossy(&file.bytes).escape_debug())
                };
                Ok(files.iter().map(of).collect::<Vec<_>>().join(" "))
            }
        }
    }

    #[test]
    fn a_volume_ends_at_its_limit_while_it_is_read() {
        let map = json!({"data": {"a": "x".repeat(1 << 20)}});
        let sources =
            Sources { config_maps: [("map".to_owned(), Arc::new(map))].into(), ..Sources::default() };
        let read = |count: usize| {
            let files: Vec<Value> =
                (0..count).map(|n| json!({"key": "a", "path": format!("f{n}")})).collect();
            let volume = json!({"name": "m", "configMap": {"name": "map", "items": files}});
            content(&json!({}), &volume, &sources, &Facts::default(), &Tokens::new())
                .map(|content| content.bytes())
        };
        assert_eq!(read(16), Ok(CONTENT_BYTES_MAX));
        let more = Err("volume \"m\" would hold more than 16777216 bytes".to_owned());
        assert_eq!(read(17), more);
        // A hundred gigabytes are never read.
        assert_eq!(read(100_000), more);
    }

    #[test]
    fn volumes_hold_what_their_sources_have() {
        let table = [
            (json!({"name": "e", "emptyDir": {}}), Ok("empty")),
            (json!({"name": "m", "configMap": {"name": "map"}}), Ok("a:644=1 b:644=2 c:644=\\0\\u{1}")),
            (
                json!({"name": "m", "configMap": {"name": "map", "defaultMode": 0o600, "items": [{"key": "a", "path": "x/y"}]}}),
                Ok("x/y:600=1"),
            ),
            (
                json!({"name": "s", "secret": {"secretName": "login", "defaultMode": 0}}),
                Ok("password:400=hunter2"),
            ),
            (json!({"name": "s", "secret": {"secretName": "none"}}), Err("secret \"none\" not found")),
            (json!({"name": "s", "secret": {"secretName": "none", "optional": true}}), Ok("")),
            (
                json!({"name": "m", "configMap": {"name": "map", "items": [{"key": "z", "path": "z"}]}}),
                Err("references non-existent config key: z of shop/map"),
            ),
            (
                json!({"name": "m", "configMap": {"name": "map", "items": [{"key": "a", "path": "../a"}]}}),
                Err("the path \"../a\" does not stay in its volume"),
            ),
            (
                json!({"name": "d", "downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}}),
                Ok("labels:644=x=\\\"1\\\"\\ny=\\\"2\\\""),
            ),
            (
                json!({"name": "all", "projected": {"sources": [
                    {"serviceAccountToken": {"path": "token"}},
                    {"configMap": {"name": "map", "items": [{"key": "a", "path": "ca.crt"}]}},
                    {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
                ]}}),
                Ok("ca.crt:644=1 namespace:644=shop token:644=jwt"),
            ),
        ];
        for (volume, expected) in table {
            assert_eq!(shown(&volume), expected.map(str::to_owned).map_err(str::to_owned), "{volume}");
        }
        let host = shown(&json!({"name": "h", "hostPath": {"path": "/"}})).expect_err("it is not supported");
        assert!(host.starts_with("volume \"h\" is of the kind hostPath, which is not supported"), "{host}");
    }
}
