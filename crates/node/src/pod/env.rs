//! The environment of a container.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::Value;
use shoal_api::object;

use super::fields::{self, Facts};
use crate::read::{items, text};

/// Longest environment of one container, names and values, and its arguments with it: as much as a process of Linux may
/// have. References make much of little, so it counts while they are replaced, not only when all is there.
pub(crate) const ENV_BYTES_MAX: usize = 2 << 20;
/// Longest name in a reference `$(NAME)`: what is longer is looked for in vain, from each `$(` anew.
const NAME_BYTES_MAX: usize = 1024;

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
/// A sentence: an object or a key is missing, a path is not known, all of it is too long.
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
            (Some(value), _) => {
                Some(expand(value, |name| env.get(name), ENV_BYTES_MAX).ok_or_else(too_long)?)
            }
            (None, Value::Null) => Some(String::new()),
            (None, from) => value_from(pod, container, from, sources, facts)?,
        };
        if let Some(value) = value {
            env.set(name.into(), value)?;
        }
    }
    Ok(env.all)
}

/// The arguments of a container, with what its environment says in them.
///
/// # Errors
/// A sentence: with the environment they are too long.
pub(crate) fn args(container: &Value, env: &[(String, String)]) -> Result<Vec<String>, String> {
    let known: HashMap<&str, &str> =
        env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let used: usize = env.iter().map(|(name, value)| room_of(name, value)).sum();
    let mut room = ENV_BYTES_MAX.saturating_sub(used);
    let mut args = Vec::new();
    for arg in items(&container["command"]).skip(1).chain(items(&container["args"])) {
        let arg = expand(text(arg), |name| known.get(name).copied(), room).ok_or_else(too_long)?;
        // Each has an end of its own.
        room = room.checked_sub(arg.len() + 1).ok_or_else(too_long)?;
        args.push(arg);
    }
    Ok(args)
}

/// Replaces `$(NAME)` by what is known of it. `$$` is a dollar; what is not known stays as it is. None: that would be more
/// than `bytes_max` bytes.
fn expand<'a>(text: &str, of: impl Fn(&str) -> Option<&'a str>, bytes_max: usize) -> Option<String> {
    let mut out = String::with_capacity(text.len().min(bytes_max));
    let mut put = |piece: &str| {
        out.push_str(piece);
        // One piece is no longer than one variable.
        (out.len() <= bytes_max).then_some(())
    };
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        put(&rest[..at])?;
        let after = &rest[at + 1..];
        if let Some(escaped) = after.strip_prefix('$') {
            put("$")?;
            rest = escaped;
            continue;
        }
        match reference(after).and_then(|(name, beyond)| Some((of(name)?, beyond))) {
            Some((value, beyond)) => {
                put(value)?;
                rest = beyond;
            }
            None => {
                put("$")?;
                rest = after;
            }
        }
    }
    put(rest)?;
    Some(out)
}

/// `(NAME)` at the front of a text: the name, and what comes behind it.
fn reference(text: &str) -> Option<(&str, &str)> {
    let inner = text.strip_prefix('(')?;
    let end = inner.bytes().take(NAME_BYTES_MAX + 1).position(|byte| byte == b')')?;
    Some((&inner[..end], &inner[end + 1..]))
}

/// An environment in the making, which is never longer than it may be.
#[derive(Default)]
struct Env {
    all: Vec<(String, String)>,
    /// Where each name is in it.
    places: HashMap<String, usize>,
    bytes: usize,
}

impl Env {
    fn get(&self, name: &str) -> Option<&str> {
        self.places.get(name).map(|at| self.all[*at].1.as_str())
    }

    fn set(&mut self, name: String, value: String) -> Result<(), String> {
        let place = self.places.get(&name).copied();
        let before = place.map_or(0, |at| room_of(&name, &self.all[at].1));
        let bytes = self.bytes - before + room_of(&name, &value);
        if bytes > ENV_BYTES_MAX {
            return Err(too_long());
        }
        self.bytes = bytes;
        if let Some(at) = place {
            self.all[at].1 = value;
        } else {
            self.places.insert(name.clone(), self.all.len());
            self.all.push((name, value));
        }
        Ok(())
    }
}

/// What a variable takes of the room for all: an equals sign and an end, too.
const fn room_of(name: &str, value: &str) -> usize {
    name.len() + value.len() + 2
}

fn too_long() -> String {
    format!(
        "the environment and the arguments have more than {ENV_BYTES_MAX} bytes once all references in them are replaced: \
         give the container less, or a volume instead"
    )
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
                env.set(name, String::from_utf8_lossy(&value).into_owned())?;
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
    of(&references(pod), |_| true)
}

/// Those of them without which it cannot be.
pub(crate) fn needed(pod: &Value) -> Names {
    of(&references(pod), |is_optional| !is_optional)
}

fn of(all: &[(Source, &str, bool)], wanted: impl Fn(bool) -> bool) -> Names {
    let mut names = Names::default();
    for (source, name, is_optional) in all {
        let list = match source {
            Source::ConfigMap => &mut names.config_maps,
            Source::Secret => &mut names.secrets,
        };
        if wanted(*is_optional) && !name.is_empty() && !list.iter().any(|one| one == name) {
            list.push((*name).to_owned());
        }
    }
    names
}

/// Everything in which a pod names an object: which kind, its name, and whether it may be missing.
fn references<'p>(pod: &'p Value) -> Vec<(Source, &'p str, bool)> {
    let spec = &pod["spec"];
    let mut all = Vec::new();
    let mut add = |source, reference: &'p Value, field: &str| {
        all.push((source, text(&reference[field]), reference["optional"] == true));
    };
    for container in items(&spec["initContainers"]).chain(items(&spec["containers"])) {
        for from in items(&container["envFrom"]) {
            add(Source::ConfigMap, &from["configMapRef"], "name");
            add(Source::Secret, &from["secretRef"], "name");
        }
        for from in items(&container["env"]).map(|one| &one["valueFrom"]) {
            add(Source::ConfigMap, &from["configMapKeyRef"], "name");
            add(Source::Secret, &from["secretKeyRef"], "name");
        }
    }
    for volume in items(&spec["volumes"]) {
        add(Source::ConfigMap, &volume["configMap"], "name");
        add(Source::Secret, &volume["secret"], "secretName");
        for source in items(&volume["projected"]["sources"]) {
            add(Source::ConfigMap, &source["configMap"], "name");
            add(Source::Secret, &source["secret"], "name");
        }
    }
    // A registry that needs no credentials needs no object with them either: others are asked first and say so.
    all.extend(items(&spec["imagePullSecrets"]).map(|one| (Source::Secret, text(&one["name"]), true)));
    all
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
    fn references_that_multiply_end_at_the_limit() {
        // Each variable is the one before it, ten times: the last would have 10^30 bytes.
        let tenfold =
            |n: usize| json!({"name": format!("V{}", n + 1), "value": format!("$(V{n})").repeat(10)});
        let mut all = vec![json!({"name": "V0", "value": "x"})];
        all.extend((0..30).map(tenfold));
        let told = read(&json!({"env": all})).expect_err("it is too long");
        assert!(told.starts_with("the environment and the arguments have more than 2097152 bytes"), "{told}");
        // One value by itself.
        let one = json!({"env": [{"name": "A", "value": "x".repeat(1 << 20)}, {"name": "B", "value": "$(A)".repeat(300_000)}]});
        assert!(read(&one).is_err());
        // An object that is read again and again.
        let from = |n: usize| json!({"prefix": format!("P{n}_"), "configMapRef": {"name": "large"}});
        let large = json!({"data": {"a": "x".repeat(1 << 20)}});
        let sources =
            Sources { config_maps: [("large".to_owned(), Arc::new(large))].into(), ..Sources::default() };
        let all = |count: usize| {
            let container = json!({"envFrom": (0..count).map(from).collect::<Vec<_>>()});
            env(&pod(&container), &container, &sources, &Facts::default())
        };
        assert!(all(1).is_ok() && all(2000).is_err());
    }

    #[test]
    fn arguments_share_the_limit_of_the_environment() {
        let env = [("A".to_owned(), "x".repeat(ENV_BYTES_MAX / 2 - 3))];
        let with = |given: &[String]| args(&json!({"command": ["guest"], "args": given}), &env);
        let half = ENV_BYTES_MAX / 2 - 1;
        assert_eq!(with(&["y".repeat(half)]).map(|args| args[0].len()), Ok(half));
        assert!(with(&["y".repeat(half + 1)]).is_err());
        assert!(with(&["$(A)".into()]).is_ok());
        assert!(with(&["$(A)$(A)".into()]).is_err());
        assert!(with(&["$(A)".into(), "$(A)".into()]).is_err());
        let few = args(&json!({"args": ["$(A)$$(A)", "$(B)", "$("]}), &[("A".to_owned(), "1".to_owned())]);
        assert_eq!(few, Ok(vec!["1$(A)".to_owned(), "$(B)".to_owned(), "$(".to_owned()]));
    }

    #[test]
    fn names_of_references_have_their_limit() {
        for (length, is_found) in [(NAME_BYTES_MAX, true), (NAME_BYTES_MAX + 1, false)] {
            let text = format!("$({})", "n".repeat(length));
            let expected = if is_found { "v" } else { &text };
            assert_eq!(expand(&text, |_| Some("v"), 1 << 20).as_deref(), Some(expected), "{length}");
        }
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
        // One that is optional here and needed there is needed.
        pod["spec"]["volumes"][0]["secret"]["optional"] = json!(true);
        pod["spec"]["containers"][0]["envFrom"][0]["configMapRef"]["optional"] = json!(true);
        let expected = Names { config_maps: vec!["a".into(), "b".into()], secrets: vec!["s".into()] };
        assert_eq!(needed(&pod), expected);
    }
}
