//! The environment of a container.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::Value;
use shoal_api::object;

use super::fields::{self, Facts};
use crate::read::{items, text};

/// Longest environment of one container, names and values: as much as a process of Linux may have.
pub(crate) const ENV_BYTES_MAX: usize = 2 << 20;

/// The ConfigMaps and Secrets of a namespace that a pod names; none: there is no such object.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Sources {
    /// By name.
    pub(crate) config_maps: BTreeMap<String, Arc<Value>>,
    /// By name.
    pub(crate) secrets: BTreeMap<String, Arc<Value>>,
}

/// Which ConfigMaps and Secrets a pod names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Names {
    /// ConfigMaps.
    pub(crate) config_maps: Vec<String>,
    /// Secrets.
    pub(crate) secrets: Vec<String>,
}

/// Which of the two kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// A ConfigMap.
    ConfigMap,
    /// A Secret.
    Secret,
}

impl Sources {
    /// An object, or the sentence that it is not there.
    pub(crate) fn get(&self, source: Source, name: &str) -> Result<&Value, String> {
        let (map, word) = match source {
            Source::ConfigMap => (&self.config_maps, "configmap"),
            Source::Secret => (&self.secrets, "secret"),
        };
        map.get(name).map(AsRef::as_ref).ok_or_else(|| format!("{word} {name:?} not found"))
    }
}

/// The bytes under a key of a ConfigMap or Secret.
pub(crate) fn value_of(object: &Value, source: Source, key: &str) -> Option<Vec<u8>> {
    match source {
        Source::ConfigMap => object["data"][key]
            .as_str()
            .map(|text| text.as_bytes().to_vec())
            .or_else(|| BASE64_STANDARD.decode(object["binaryData"][key].as_str()?).ok()),
        Source::Secret => BASE64_STANDARD.decode(object["data"][key].as_str()?).ok(),
    }
}

/// All keys of a ConfigMap or Secret.
pub(crate) fn keys_of(object: &Value) -> impl Iterator<Item = &String> {
    ["data", "binaryData"]
        .into_iter()
        .filter_map(|field| object[field].as_object())
        .flat_map(|map| map.keys())
}

/// The environment of a container, in order; what is said later replaces what was said before.
///
/// # Errors
/// A sentence: an object or a key is missing, a path is not known.
pub(crate) fn env(
    pod: &Value,
    container: &Value,
    sources: &Sources,
    facts: &Facts,
) -> Result<Vec<(String, String)>, String> {
    let mut env = Env::default();
    for from in items(&container["envFrom"]) {
        env_from(from, sources, &mut env)?;
    }
    for one in items(&container["env"]) {
        let name = text(&one["name"]);
        let value = match (one["value"].as_str(), &one["valueFrom"]) {
            (Some(value), _) => Some(expand(value, |name| env.get(name))),
            (None, Value::Null) => Some(String::new()),
            (None, from) => value_from(pod, container, from, sources, facts)?,
        };
        if let Some(value) = value {
            env.set(name.into(), value);
        }
    }
    let bytes: usize = env.0.iter().map(|(name, value)| name.len() + value.len() + 2).sum();
    if bytes > ENV_BYTES_MAX {
        return Err(format!("the environment has {bytes} bytes, more than {ENV_BYTES_MAX}"));
    }
    Ok(env.0)
}

/// The arguments of a container, with what its environment says in them.
pub(crate) fn args(container: &Value, env: &[(String, String)]) -> Vec<String> {
    let of = |name: &str| env.iter().find(|(one, _)| one == name).map(|(_, value)| value.as_str());
    items(&container["command"])
        .skip(1)
        .chain(items(&container["args"]))
        .map(|arg| expand(text(arg), of))
        .collect()
}

/// Replaces `$(NAME)` by what is known of it. `$$` is a dollar; what is not known stays as it is.
pub(crate) fn expand<'a>(text: &str, of: impl Fn(&str) -> Option<&'a str>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if let Some(escaped) = after.strip_prefix('$') {
            out.push('$');
            rest = escaped;
            continue;
        }
        let named = after.strip_prefix('(').and_then(|inner| inner.split_once(')'));
        match named.and_then(|(name, beyond)| Some((of(name)?, beyond))) {
            Some((value, beyond)) => {
                out.push_str(value);
                rest = beyond;
            }
            None => {
                out.push('$');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

#[derive(Default)]
struct Env(Vec<(String, String)>);

impl Env {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(one, _)| one == name).map(|(_, value)| value.as_str())
    }

    fn set(&mut self, name: String, value: String) {
        match self.0.iter_mut().find(|(one, _)| *one == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name, value)),
        }
    }
}

fn env_from(from: &Value, sources: &Sources, env: &mut Env) -> Result<(), String> {
    let prefix = text(&from["prefix"]);
    for (field, source) in [("configMapRef", Source::ConfigMap), ("secretRef", Source::Secret)] {
        let reference = &from[field];
        if reference.is_null() {
            continue;
        }
        let object = match sources.get(source, text(&reference["name"])) {
            Ok(object) => object,
            Err(_) if reference["optional"] == true => continue,
            Err(missing) => return Err(missing),
        };
        for key in object["data"].as_object().into_iter().flat_map(|map| map.keys()) {
            let name = format!("{prefix}{key}");
            // A name with an equals sign could not be told from its value.
            if !name.is_empty() && !name.contains(['=', '\0']) {
                let value = value_of(object, source, key).unwrap_or_default();
                env.set(name, String::from_utf8_lossy(&value).into_owned());
            }
        }
    }
    Ok(())
}

/// What `valueFrom` reads; none when it is optional and not there.
fn value_from(
    pod: &Value,
    container: &Value,
    from: &Value,
    sources: &Sources,
    facts: &Facts,
) -> Result<Option<String>, String> {
    for (field, source) in [("configMapKeyRef", Source::ConfigMap), ("secretKeyRef", Source::Secret)] {
        if !from[field].is_null() {
            return key_ref(pod, &from[field], source, sources);
        }
    }
    let reference = &from["fieldRef"];
    if !reference.is_null() {
        let path = text(&reference["fieldPath"]);
        let value = fields::field(pod, facts, path);
        return value.map(Some).ok_or_else(|| format!("unsupported fieldPath: {path}"));
    }
    let reference = &from["resourceFieldRef"];
    let of = fields::container_of(pod, reference, container);
    let value = fields::resource(of, facts, reference);
    value.map(Some).ok_or_else(|| format!("unsupported container resource: {}", text(&reference["resource"])))
}

fn key_ref(
    pod: &Value,
    reference: &Value,
    source: Source,
    sources: &Sources,
) -> Result<Option<String>, String> {
    let (name, key) = (text(&reference["name"]), text(&reference["key"]));
    let is_optional = reference["optional"] == true;
    let object = match sources.get(source, name) {
        Ok(object) => object,
        Err(_) if is_optional => return Ok(None),
        Err(missing) => return Err(missing),
    };
    match value_of(object, source, key) {
        Some(value) => Ok(Some(String::from_utf8_lossy(&value).into_owned())),
        None if is_optional => Ok(None),
        None => {
            let kind = if source == Source::Secret { "Secret" } else { "ConfigMap" };
            Err(format!("couldn't find key {key} in {kind} {}/{name}", object::namespace(pod)))
        }
    }
}

/// Every ConfigMap and Secret that a pod names, once.
pub(crate) fn names(pod: &Value) -> Names {
    let spec = &pod["spec"];
    let mut names = Names::default();
    let containers = items(&spec["initContainers"]).chain(items(&spec["containers"]));
    for container in containers {
        for from in items(&container["envFrom"]) {
            names.config_map(&from["configMapRef"]["name"]);
            names.secret(&from["secretRef"]["name"]);
        }
        for from in items(&container["env"]).map(|one| &one["valueFrom"]) {
            names.config_map(&from["configMapKeyRef"]["name"]);
            names.secret(&from["secretKeyRef"]["name"]);
        }
    }
    for volume in items(&spec["volumes"]) {
        names.config_map(&volume["configMap"]["name"]);
        names.secret(&volume["secret"]["secretName"]);
        for source in items(&volume["projected"]["sources"]) {
            names.config_map(&source["configMap"]["name"]);
            names.secret(&source["secret"]["name"]);
        }
    }
    items(&spec["imagePullSecrets"]).for_each(|one| names.secret(&one["name"]));
    names
}

impl Names {
    fn config_map(&mut self, name: &Value) {
        add(&mut self.config_maps, name);
    }

    fn secret(&mut self, name: &Value) {
        add(&mut self.secrets, name);
    }
}

fn add(list: &mut Vec<String>, name: &Value) {
    let name = text(name);
    if !name.is_empty() && !list.iter().any(|one| one == name) {
        list.push(name.into());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sources() -> Sources {
        let map = json!({"data": {"color": "blue", "bad=name": "x"}, "binaryData": {"raw": "AAE="}});
        let secret = json!({"data": {"password": "aHVudGVyMg=="}});
        Sources {
            config_maps: [("settings".to_owned(), Arc::new(map))].into(),
            secrets: [("login".to_owned(), Arc::new(secret))].into(),
        }
    }

    fn pod(container: &Value) -> Value {
        json!({
            "metadata": {"name": "web", "namespace": "shop", "labels": {"app": "web"}},
            "spec": {"nodeName": "edge-1", "containers": [container]},
        })
    }

    fn read(container: &Value) -> Result<String, String> {
        let pod = pod(container);
        let facts =
            Facts { host: "192.0.2.1".into(), address: "10.0.0.2".into(), allocatable: json!({"cpu": "2"}) };
        let env = env(&pod, &pod["spec"]["containers"][0], &sources(), &facts)?;
        Ok(env.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn an_environment_is_made_of_all_its_sources() {
        let key = |field: &str, name: &str, key: &str| json!({"name": "X", "valueFrom": {field: {"name": name, "key": key}}});
        let field = |path: &str| json!({"name": "X", "valueFrom": {"fieldRef": {"fieldPath": path}}});
        let table = [
            (
                json!({"env": [{"name": "A", "value": "1"}, {"name": "B", "value": "$(A)$$(A)$(C)$"}]}),
                Ok("A=1 B=1$(A)$(C)$"),
            ),
            (json!({"env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2$(A)"}]}), Ok("A=21")),
            (json!({"env": [{"name": "A"}]}), Ok("A=")),
            (
                json!({"envFrom": [{"prefix": "P_", "configMapRef": {"name": "settings"}}, {"secretRef": {"name": "login"}}],
                    "env": [{"name": "P_color", "value": "not $(P_color)"}]}),
                Ok("P_color=not blue password=hunter2"),
            ),
            (json!({"env": [key("configMapKeyRef", "settings", "color")]}), Ok("X=blue")),
            (json!({"env": [key("secretKeyRef", "login", "password")]}), Ok("X=hunter2")),
            (
                json!({"env": [key("secretKeyRef", "login", "x")]}),
                Err("couldn't find key x in Secret shop/login"),
            ),
            (json!({"env": [key("configMapKeyRef", "none", "x")]}), Err("configmap \"none\" not found")),
            (json!({"envFrom": [{"secretRef": {"name": "none"}}]}), Err("secret \"none\" not found")),
            (json!({"envFrom": [{"secretRef": {"name": "none", "optional": true}}]}), Ok("")),
            (json!({"env": [field("metadata.labels['app']")]}), Ok("X=web")),
            (
                json!({"env": [field("status.podIP"), {"name": "Y", "value": "http://$(X)"}]}),
                Ok("X=10.0.0.2 Y=http://10.0.0.2"),
            ),
            (json!({"env": [field("spec.nodeName")]}), Ok("X=edge-1")),
            (json!({"env": [field("spec.secret")]}), Err("unsupported fieldPath: spec.secret")),
            (
                json!({"resources": {"limits": {"memory": "64Mi"}},
                    "env": [{"name": "X", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}},
                            {"name": "Y", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1m"}}}]}),
                Ok("X=64 Y=2000"),
            ),
        ];
        for (container, expected) in &table {
            let expected = expected.map(str::to_owned).map_err(str::to_owned);
            assert_eq!(read(container), expected, "{container}");
        }
    }

    #[test]
    fn an_environment_has_its_limit() {
        let with = |length: usize| read(&json!({"env": [{"name": "A", "value": "x".repeat(length)}]}));
        assert!(with(ENV_BYTES_MAX - 3).is_ok());
        assert!(with(ENV_BYTES_MAX - 2).is_err());
    }

    #[test]
    fn all_names_of_a_pod_are_found_once() {
        let mut pod = pod(&json!({
            "envFrom": [{"configMapRef": {"name": "a"}}, {"secretRef": {"name": "s"}}],
            "env": [{"valueFrom": {"configMapKeyRef": {"name": "a", "key": "k"}}}],
        }));
        pod["spec"]["volumes"] = json!([
            {"secret": {"secretName": "t"}},
            {"projected": {"sources": [{"configMap": {"name": "b"}}, {"secret": {"name": "s"}}]}},
        ]);
        pod["spec"]["imagePullSecrets"] = json!([{"name": "pull"}]);
        let expected = Names {
            config_maps: vec!["a".into(), "b".into()],
            secrets: vec!["s".into(), "t".into(), "pull".into()],
        };
        assert_eq!(names(&pod), expected);
    }
}
