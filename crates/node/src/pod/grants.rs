//! What a container is granted, and how much it may use: from its pod's object to the words of the runtime.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use shoal_api::object;
use shoal_api::quantity::Quantity;
use shoal_base::units::Bytes;
use shoal_runtime::{
    DirGrant, Grants, Instances, Limits, LimitsByKind, OutboundPattern, OutboundRules, StoreGrant, StorePlace,
};

use crate::read::{items, text};

/// Destinations of outbound requests and connections, separated by commas.
pub(crate) const OUTBOUND: &str = "shoal.dev/allow-outbound";
/// Local ports that the guest may listen on, separated by commas.
pub(crate) const LISTEN: &str = "shoal.dev/allow-listen";
/// `wasi:keyvalue` stores, separated by commas. They live with the pod.
pub(crate) const KEY_VALUE: &str = "shoal.dev/keyvalue";
/// `wasi:blobstore` stores, separated by commas. They live with the pod.
pub(crate) const BLOB_STORE: &str = "shoal.dev/blobstore";
/// What `wasi:config` says begins so; the rest of the annotation's name is the key.
pub(crate) const CONFIG: &str = "config.shoal.dev/";
/// Wall time of a request, or of the whole run of a command.
pub(crate) const TIMEOUT: &str = "shoal.dev/timeout";
/// Time on the core of a request, or of the whole run of a command.
pub(crate) const CPU_TIME: &str = "shoal.dev/cpu-time";
/// How many requests one instance answers.
pub(crate) const REUSE: &str = "shoal.dev/reuse";
/// Stores of one kind that a pod may name. Each in use costs a file or a directory.
const STORES_MAX: usize = 64;

/// How `shoal run` grants something, as a refusal names it, and how a pod does. What begins with another comes first.
const IN_PODS: [(&str, &str); 13] = [
    (
        "--allow-outbound tcp://HOST:PORT or --allow-listen PORT",
        "the annotation `shoal.dev/allow-outbound: tcp://HOST:PORT` or `shoal.dev/allow-listen: PORT` of the pod",
    ),
    ("--allow-outbound PATTERN", "the annotation `shoal.dev/allow-outbound: PATTERN` of the pod"),
    ("--config NAME=VALUE", "the annotation `config.shoal.dev/NAME: VALUE` of the pod"),
    ("--kv NAME[=PATH]", "the annotation `shoal.dev/keyvalue: NAME` of the pod"),
    ("--blobs NAME[=DIR]", "the annotation `shoal.dev/blobstore: NAME` of the pod"),
    ("--dir HOST:GUEST[:ro]", "a volume, and `volumeMounts` of the container"),
    ("(--timeout)", "(annotation `shoal.dev/timeout` of the pod)"),
    ("(--cpu-time)", "(annotation `shoal.dev/cpu-time` of the pod)"),
    ("(--memory)", "(`resources.limits.memory` of the container)"),
    ("(--total-memory)", "(`--total-memory` of its node)"),
    ("(--response-body)", FIXED),
    ("(--table-elements)", FIXED),
    ("(--instances)", FIXED),
];

/// A limit that pods cannot set.
const FIXED: &str = "(the same for all pods)";

/// The way out of a refusal, in the words of a pod.
pub(crate) fn in_pods(hint: &str) -> String {
    IN_PODS.iter().fold(hint.to_owned(), |hint, (flag, here)| hint.replace(flag, here))
}

/// What a container is granted, but for its environment.
///
/// # Errors
/// A sentence that names the annotation, and what it may be.
pub(crate) fn grants(pod: &Value, dirs: Vec<DirGrant>, stores: &std::path::Path) -> Result<Grants, String> {
    let mut outbound = Vec::new();
    for one in list(pod, OUTBOUND) {
        let pattern = one.parse::<OutboundPattern>().map_err(|error| of(OUTBOUND, &error.to_string()))?;
        outbound.push(pattern);
    }
    let outbound = OutboundRules(outbound);
    if outbound.contradicts_itself() {
        return Err(of(OUTBOUND, "`none` stands beside other patterns"));
    }
    let mut listen = Vec::new();
    for one in list(pod, LISTEN) {
        listen.push(one.parse().map_err(|_| of(LISTEN, &format!("`{one}` is no port")))?);
    }
    let config = pod["metadata"]["annotations"].as_object().into_iter().flatten();
    let config = config.filter_map(|(name, value)| Some((name.strip_prefix(CONFIG)?, text(value))));
    Ok(Grants {
        env: Vec::new(),
        dirs,
        outbound,
        listen,
        config: config.map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
        key_value: named_stores(pod, KEY_VALUE, |name| stores.join(format!("keyvalue-{name}.db")))?,
        blobs: named_stores(pod, BLOB_STORE, |name| stores.join(format!("blobs-{name}")))?,
    })
}

/// The ports on which the guests of a pod may listen; what is no port counts for nothing here.
pub(crate) fn listens(pod: &Value) -> Vec<u16> {
    list(pod, LISTEN).filter_map(|port| port.parse().ok()).collect()
}

/// How much a container may use: the defaults, its memory limit and its pod's annotations.
///
/// # Errors
/// A sentence that names the annotation or field.
pub(crate) fn limits(pod: &Value, container: &Value) -> Result<LimitsByKind, String> {
    let mut limits = LimitsByKind { serving: Limits::default(), command: Limits::for_command() };
    if let Some(memory) = container["resources"]["limits"]["memory"].as_str() {
        let amount: Quantity =
            memory.parse().map_err(|_| format!("limits.memory: `{memory}` is no amount"))?;
        let bytes = u64::try_from(amount.value()).unwrap_or_default();
        limits.serving.memory = Bytes(bytes);
        limits.command.memory = Bytes(bytes);
    }
    if let Some(time) = duration(pod, TIMEOUT)? {
        limits.serving.timeout = Some(time);
        limits.command.timeout = Some(time);
    }
    if let Some(time) = duration(pod, CPU_TIME)? {
        limits.serving.cpu_time = Some(time);
        limits.command.cpu_time = Some(time);
    }
    Ok(limits)
}

/// Where the instances of requests come from.
///
/// # Errors
/// A sentence that names the annotation.
pub(crate) fn instances(pod: &Value) -> Result<Instances, String> {
    match object::annotation(pod, REUSE) {
        None => Ok(Instances::Rewound),
        Some("0") => Ok(Instances::New),
        Some(text) => text
            .parse::<NonZeroU32>()
            .map(Instances::Reused)
            .map_err(|_| of(REUSE, &format!("`{text}` is no count of requests"))),
    }
}

/// The directories that a container mounts. `place` says where a volume is; none: there is no such volume.
///
/// # Errors
/// A sentence that names the mount.
pub(crate) fn mounts(
    container: &Value,
    place: impl Fn(&str) -> Option<(PathBuf, bool)>,
) -> Result<Vec<DirGrant>, String> {
    let mut dirs = Vec::new();
    for mount in items(&container["volumeMounts"]) {
        let (name, guest) = (text(&mount["name"]), text(&mount["mountPath"]));
        let (host, is_writable) =
            place(name).ok_or_else(|| format!("volume {name:?} of the mount {guest} is not there"))?;
        let sub = text(&mount["subPath"]);
        if !mount["subPathExpr"].is_null() {
            return Err(format!("the mount {guest} has a subPathExpr, which is not supported: use subPath"));
        }
        let inner = std::path::Path::new(sub);
        if inner.components().any(|part| !matches!(part, std::path::Component::Normal(_))) {
            return Err(format!("the mount {guest} has the subPath {sub:?}, which leads out of its volume"));
        }
        // What is in there is the guests': a link that one of them makes would lead the next one anywhere on this machine.
        if is_writable && !sub.is_empty() {
            return Err(format!(
                "the mount {guest} has a subPath of the emptyDir {name:?}, which is not supported: mount the whole volume"
            ));
        }
        let guest = if guest.starts_with('/') { guest.to_owned() } else { format!("/{guest}") };
        let writable = is_writable && mount["readOnly"] != true;
        let host = if sub.is_empty() { host } else { host.join(sub) };
        dirs.push(DirGrant { host, guest, writable });
    }
    Ok(dirs)
}

fn list<'a>(pod: &'a Value, annotation: &str) -> impl Iterator<Item = &'a str> {
    let text = object::annotation(pod, annotation).unwrap_or_default();
    text.split(',').map(str::trim).filter(|one| !one.is_empty())
}

fn named_stores(
    pod: &Value,
    annotation: &str,
    path: impl Fn(&str) -> PathBuf,
) -> Result<Vec<StoreGrant>, String> {
    let mut stores = Vec::new();
    for name in list(pod, annotation) {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if name.len() > 64 || !name.bytes().all(is_plain) {
            return Err(of(
                annotation,
                &format!("`{name}` is no name of at most 64 letters, digits, `-` and `_`"),
            ));
        }
        stores.push(StoreGrant { name: name.into(), place: StorePlace::Path(path(name)) });
    }
    if stores.len() > STORES_MAX {
        return Err(of(annotation, &format!("{} stores, more than {STORES_MAX}", stores.len())));
    }
    Ok(stores)
}

fn duration(pod: &Value, annotation: &str) -> Result<Option<Duration>, String> {
    let Some(text) = object::annotation(pod, annotation) else { return Ok(None) };
    let time = shoal_base::units::parse_duration(text);
    time.map(Some).map_err(|error| of(annotation, &error.to_string()))
}

fn of(annotation: &str, what: &str) -> String {
    format!("annotation {annotation}: {what}")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::*;

    fn pod(annotations: &Value) -> Value {
        json!({"metadata": {"annotations": annotations}})
    }

    #[test]
    fn limits_are_named_as_a_pod_has_them() {
        for (flag, here) in [
            (
                "used more than its CPU time of 1s (--cpu-time)",
                "(annotation `shoal.dev/cpu-time` of the pod)",
            ),
            ("not done within 1s (--timeout)", "(annotation `shoal.dev/timeout` of the pod)"),
            ("the limit of 64 KiB (--memory)", "(`resources.limits.memory` of the container)"),
            ("larger than 64 bytes (--response-body)", FIXED),
            ("more than 32MiB of memory (--total-memory)", "(`--total-memory` of its node)"),
        ] {
            let said = in_pods(flag);
            assert!(said.ends_with(here) && !said.contains("(--"), "{said}");
        }
    }

    #[test]
    fn annotations_are_grants() {
        let pod = pod(&json!({
            OUTBOUND: "https://api.example.com, *.shop:80", LISTEN: "9000", KEY_VALUE: "default",
            "config.shoal.dev/color": "blue", REUSE: "7", TIMEOUT: "2s",
        }));
        let grants = grants(&pod, Vec::new(), Path::new("/data")).expect("they are granted");
        assert_eq!(grants.outbound.0.len(), 2);
        assert_eq!(grants.listen, [9000]);
        assert_eq!(listens(&pod), [9000]);
        assert_eq!(grants.config, [("color".to_owned(), "blue".to_owned())]);
        assert_eq!(grants.key_value[0].place, StorePlace::Path("/data/keyvalue-default.db".into()));
        assert_eq!(instances(&pod), Ok(Instances::Reused(NonZeroU32::new(7).expect("seven"))));
        let container = json!({"resources": {"limits": {"memory": "64Mi"}}});
        let limits = limits(&pod, &container).expect("limits");
        assert_eq!((limits.serving.memory, limits.command.memory), (Bytes::mib(64), Bytes::mib(64)));
        assert_eq!(limits.serving.timeout, Some(Duration::from_secs(2)));
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for (annotation, value) in [
            (OUTBOUND, "ftp://x"),
            (OUTBOUND, "none, https://x"),
            (LISTEN, "http"),
            (KEY_VALUE, "../x"),
            (BLOB_STORE, "a b"),
        ] {
            let error = grants(&pod(&json!({annotation: value})), Vec::new(), Path::new("/data"));
            assert!(
                error.as_ref().is_err_and(|text| text.starts_with(&format!("annotation {annotation}: "))),
                "{error:?}"
            );
        }
        let many: Vec<String> = (0..=STORES_MAX).map(|n| format!("s{n}")).collect();
        let with = |count: usize| {
            grants(&pod(&json!({KEY_VALUE: many[..count].join(",")})), Vec::new(), Path::new("/d"))
        };
        assert!(with(STORES_MAX).is_ok() && with(STORES_MAX + 1).is_err());
        assert!(instances(&pod(&json!({REUSE: "x"}))).is_err());
        assert!(limits(&pod(&json!({TIMEOUT: "soon"})), &json!({})).is_err());
    }

    #[test]
    fn mounts_are_directories_of_volumes_that_are_there() {
        let place = |name: &str| match name {
            "data" => Some((PathBuf::from("/v/data"), true)),
            "map" => Some((PathBuf::from("/v/map"), false)),
            _ => None,
        };
        let mount =
            |fields: Value| mounts(&json!({"volumeMounts": [fields]}), place).map(|dirs| dirs[0].clone());
        let dir = |host: &str, writable| Ok(DirGrant { host: host.into(), guest: "/x".into(), writable });
        assert_eq!(mount(json!({"name": "data", "mountPath": "/x"})), dir("/v/data", true));
        assert_eq!(mount(json!({"name": "data", "mountPath": "x", "readOnly": true})), dir("/v/data", false));
        assert_eq!(mount(json!({"name": "map", "mountPath": "/x"})), dir("/v/map", false));
        assert_eq!(
            mount(json!({"name": "map", "mountPath": "/x", "subPath": "a/b"})),
            dir("/v/map/a/b", false)
        );
        for bad in [
            json!({"name": "none", "mountPath": "/x"}),
            json!({"name": "map", "mountPath": "/x", "subPath": "a/../../b"}),
            // A guest may have put a link there.
            json!({"name": "data", "mountPath": "/x", "subPath": "a"}),
            json!({"name": "data", "mountPath": "/x", "subPath": "a", "readOnly": true}),
        ] {
            assert!(mount(bad.clone()).is_err(), "{bad}");
        }
    }
}
