//! Security contexts of pods and containers.

use serde_json::Value;
use shoal_api::field::Path;

use super::volumes::local_path;
use crate::kinds::faults::Faults;
use crate::kinds::look::{flag, given, int, list, text, texts};
use crate::kinds::words;

/// Most characters of a sysctl's name.
const SYSCTL_CHARACTERS_MAX: usize = 253;

/// Most characters of a profile's path on the node: `PATH_MAX` without its end.
const PROFILE_PATH_MAX: usize = 4095;

/// Most bytes of a credential specification of Windows.
const CREDENTIAL_BYTES_MAX: usize = 64 * 1024;

/// Fields of a pod's context that have no meaning on Windows.
const NOT_WINDOWS_POD: [&str; 10] = [
    "appArmorProfile",
    "seLinuxOptions",
    "seccompProfile",
    "fsGroup",
    "fsGroupChangePolicy",
    "sysctls",
    "runAsUser",
    "runAsGroup",
    "supplementalGroups",
    "supplementalGroupsPolicy",
];

/// Fields of a container's context that have no meaning on Windows.
const NOT_WINDOWS_CONTAINER: [&str; 10] = [
    "appArmorProfile",
    "seLinuxOptions",
    "seccompProfile",
    "capabilities",
    "readOnlyRootFilesystem",
    "privileged",
    "allowPrivilegeEscalation",
    "procMount",
    "runAsUser",
    "runAsGroup",
];

/// `securityContext` of a container.
pub(super) fn container(context: &Value, path: &Path, faults: &mut Faults) {
    if context.is_null() {
        return;
    }
    identities(context, &["runAsUser", "runAsGroup"], path, faults);
    seccomp(&context["seccompProfile"], &path.child("seccompProfile"), faults);
    if context["allowPrivilegeEscalation"] == Value::Bool(false) {
        if flag(context, "privileged") {
            let message = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
            faults.invalid(path, context.clone(), message);
        }
        if texts(&context["capabilities"], "add").contains(&"CAP_SYS_ADMIN") {
            let message =
                "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            faults.invalid(path, context.clone(), message);
        }
    }
    windows_options(&context["windowsOptions"], &path.child("windowsOptions"), faults);
    app_armor(&context["appArmorProfile"], &path.child("appArmorProfile"), faults);
}

/// `securityContext` of a pod.
pub(super) fn pod(spec: &Value, path: &Path, faults: &mut Faults) {
    let context = &spec["securityContext"];
    let path = path.child("securityContext");
    identities(context, &["fsGroup", "runAsUser", "runAsGroup"], &path, faults);
    for (index, group) in list(context, "supplementalGroups").iter().enumerate() {
        let group = group.as_i64().unwrap_or_default();
        faults.numbers(&path.child("supplementalGroups").index(index), group, words::identity(group));
    }
    if flag(spec, "shareProcessNamespace") && flag(spec, "hostPID") {
        let message = "ShareProcessNamespace and HostPID cannot both be enabled";
        faults.invalid(&path.child("shareProcessNamespace"), true, message);
    }
    sysctls(spec, &path.child("sysctls"), faults);
    if given(context, "fsGroupChangePolicy") {
        let policy = text(context, "fsGroupChangePolicy");
        faults.one_of(&path.child("fsGroupChangePolicy"), policy, &["Always", "OnRootMismatch"]);
    }
    seccomp(&context["seccompProfile"], &path.child("seccompProfile"), faults);
    windows_options(&context["windowsOptions"], &path.child("windowsOptions"), faults);
    app_armor(&context["appArmorProfile"], &path.child("appArmorProfile"), faults);
}

fn identities(context: &Value, fields: &[&str], path: &Path, faults: &mut Faults) {
    for field in fields {
        if let Some(id) = int(context, field) {
            faults.numbers(&path.child(field), id, words::identity(id));
        }
    }
}

fn sysctls(spec: &Value, path: &Path, faults: &mut Faults) {
    let mut names: Vec<&str> = Vec::new();
    for (index, sysctl) in list(&spec["securityContext"], "sysctls").iter().enumerate() {
        let path = path.index(index).child("name");
        let name = text(sysctl, "name");
        if name.is_empty() {
            faults.required(&path, "");
        } else if !is_sysctl(name) {
            let message = format!(
                "must have at most {SYSCTL_CHARACTERS_MAX} characters and match regex \
                 ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$"
            );
            faults.invalid(&path, name, &message);
        } else if names.contains(&name) {
            faults.duplicate(&path, name);
        }
        let plain = name.replace('/', ".");
        let network = plain.starts_with("net.");
        let messages = ["kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue."];
        let ipc = messages.iter().any(|prefix| plain.starts_with(prefix));
        if flag(spec, "hostNetwork") && network {
            faults.invalid(&path, name, "may not be specified when 'hostNetwork' is true");
        } else if flag(spec, "hostIPC") && ipc {
            faults.invalid(&path, name, "may not be specified when 'hostIPC' is true");
        }
        names.push(name);
    }
}

fn is_sysctl(name: &str) -> bool {
    let word = |word: &str| {
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let bytes = word.as_bytes();
        bytes.first().is_some_and(|byte| inner(*byte))
            && bytes.last().is_some_and(|byte| inner(*byte))
            && bytes.iter().all(|byte| inner(*byte) || matches!(byte, b'-' | b'_'))
    };
    name.len() <= SYSCTL_CHARACTERS_MAX && name.split(['.', '/']).all(word)
}

fn seccomp(profile: &Value, path: &Path, faults: &mut Faults) {
    if profile.is_null() {
        return;
    }
    let kind = text(profile, "type");
    if kind.is_empty() {
        faults.required(&path.child("type"), "type is required when seccompProfile is set");
    } else {
        faults.one_of(&path.child("type"), kind, &["Localhost", "RuntimeDefault", "Unconfined"]);
    }
    let at = path.child("localhostProfile");
    match (kind, given(profile, "localhostProfile")) {
        ("Localhost", false) => faults.required(&at, "must be set when seccomp type is Localhost"),
        ("Localhost", true) => local_path(text(profile, "localhostProfile"), &at, faults),
        (_, true) => {
            faults.invalid(&at, profile.clone(), "can only be set when seccomp type is Localhost");
        }
        (_, false) => {}
    }
}

fn app_armor(profile: &Value, path: &Path, faults: &mut Faults) {
    if profile.is_null() {
        return;
    }
    let at = path.child("localhostProfile");
    let target = profile["localhostProfile"].as_str();
    match text(profile, "type") {
        "Localhost" => match target {
            None => faults.required(&at, "must be set when AppArmor type is Localhost"),
            Some(target) => {
                if target.trim() != target {
                    faults.invalid(&at, target, "must not be padded with whitespace");
                } else if target.is_empty() {
                    faults.required(&at, "must be set when AppArmor type is Localhost");
                }
                if target.len() > PROFILE_PATH_MAX {
                    faults.too_long(&at, PROFILE_PATH_MAX);
                }
            }
        },
        "RuntimeDefault" | "Unconfined" => {
            if let Some(target) = target {
                faults.invalid(&at, target, "can only be set when AppArmor type is Localhost");
            }
        }
        "" => faults.required(&path.child("type"), "type is required when appArmorProfile is set"),
        other => {
            faults.not_supported(&path.child("type"), other, &["Localhost", "RuntimeDefault", "Unconfined"]);
        }
    }
}

fn windows_options(options: &Value, path: &Path, faults: &mut Faults) {
    if let Some(name) = options["gmsaCredentialSpecName"].as_str() {
        faults.words(&path.child("gmsaCredentialSpecName"), name, words::dns_subdomain(name));
    }
    if let Some(credential) = options["gmsaCredentialSpec"].as_str() {
        let path = path.child("gmsaCredentialSpec");
        if credential.is_empty() {
            faults.invalid(&path, credential, "gmsaCredentialSpec cannot be an empty string");
        } else if credential.len() > CREDENTIAL_BYTES_MAX {
            faults.invalid(&path, credential, "gmsaCredentialSpec size must be under 64 KiB");
        }
    }
    if let Some(user) = options["runAsUserName"].as_str() {
        let path = path.child("runAsUserName");
        if user.is_empty() {
            faults.invalid(&path, user, "runAsUserName cannot be an empty string");
        } else if user.chars().any(char::is_control) {
            faults.invalid(&path, user, "runAsUserName cannot contain control characters");
        } else if user.matches('\\').count() > 1 {
            faults.invalid(&path, user, "runAsUserName cannot contain more than one backslash");
        }
    }
}

/// `os`: which fields make sense there.
pub(super) fn operating_system(spec: &Value, path: &Path, faults: &mut Faults) {
    if !given(spec, "os") {
        return;
    }
    match text(&spec["os"], "name") {
        "" => faults.required(&path.child("os").child("name"), "cannot be empty"),
        "linux" => on_linux(spec, path, faults),
        "windows" => on_windows(spec, path, faults),
        other => faults.not_supported(&path.child("os"), other, &["linux", "windows"]),
    }
}

fn on_linux(spec: &Value, path: &Path, faults: &mut Faults) {
    let message = "windows options cannot be set for a linux pod";
    let mut check = |context: &Value, path: &Path| {
        if given(context, "windowsOptions") {
            faults.forbidden(&path.child("securityContext").child("windowsOptions"), message);
        }
    };
    check(&spec["securityContext"], path);
    super::each_container(spec, path, |container, path| check(&container["securityContext"], path));
}

fn on_windows(spec: &Value, path: &Path, faults: &mut Faults) {
    let message = "cannot be set for a windows pod";
    let context = &spec["securityContext"];
    for field in NOT_WINDOWS_POD {
        if given(context, field) {
            faults.forbidden(&path.child("securityContext").child(field), message);
        }
    }
    for field in ["hostPID", "hostIPC"] {
        if flag(spec, field) {
            faults.forbidden(&path.child(field), message);
        }
    }
    if given(spec, "shareProcessNamespace") {
        faults.forbidden(&path.child("shareProcessNamespace"), message);
    }
    super::each_container(spec, path, |container, path| {
        for field in NOT_WINDOWS_CONTAINER {
            if given(&container["securityContext"], field) {
                faults.forbidden(&path.child("securityContext").child(field), message);
            }
        }
    });
}
