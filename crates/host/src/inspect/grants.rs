//! Which capability an import belongs to, and the flag of `shoal run` that grants it.

use shoal_runtime::{Import, Wasi};

use super::names::Interface;

/// A capability and its flag.
type Grant = (Option<&'static str>, Option<&'static str>);

const UNKNOWN: Grant = (None, None);
const IO: Grant = (Some("io"), None);
const CLOCKS: Grant = (Some("clocks"), None);
const RANDOM: Grant = (Some("random"), None);
const COMMAND_LINE: Grant = (Some("command line"), None);
const HTTP: Grant = (Some("HTTP"), None);
const LOGGING: Grant = (Some("logging"), None);
const FILESYSTEM: Grant = (Some("filesystem"), Some("--dir HOST:GUEST[:ro]"));
const SOCKETS: Grant = (Some("sockets"), Some("--allow-outbound tcp://HOST:PORT or --allow-listen PORT"));
/// Preview 1 can only use sockets that were opened for it, and Shoal opens none.
const SOCKETS_PREVIEW1: Grant = (Some("sockets of preview 1, always refused"), None);
const OUTBOUND_HTTP: Grant = (Some("outbound HTTP"), Some("--allow-outbound PATTERN"));
const CONFIG: Grant = (Some("config"), Some("--config NAME=VALUE"));
const KEY_VALUE: Grant = (Some("key-value"), Some("--kv NAME[=PATH]"));
const BLOBS: Grant = (Some("blobs"), Some("--blobs NAME[=DIR]"));

/// The import `name` with its capability and flag.
pub(crate) fn import(name: &str) -> Import {
    let (capability, flag) = match name.split_once("::") {
        Some(("wasi_snapshot_preview1", function)) => of_preview1(function),
        Some(_) => UNKNOWN,
        None => Interface::parse(name).map_or(UNKNOWN, |interface| of_interface(&interface)),
    };
    Import { name: name.into(), capability, flag }
}

/// Released packages must have a released version; drafts that were never released are known by name, and
/// the linker decides about their versions.
fn of_interface(interface: &Interface<'_>) -> Grant {
    let grant = match interface.package() {
        "wasi:config" => return CONFIG,
        "wasi:keyvalue" => return KEY_VALUE,
        "wasi:blobstore" => return BLOBS,
        "wasi:logging" => return LOGGING,
        "wasi:io" => IO,
        "wasi:clocks" => CLOCKS,
        "wasi:random" => RANDOM,
        "wasi:cli" => COMMAND_LINE,
        "wasi:filesystem" => FILESYSTEM,
        "wasi:sockets" => SOCKETS,
        "wasi:http" => match (interface.path(), interface.wasi()) {
            ("wasi:http/types", _) => HTTP,
            ("wasi:http/outgoing-handler", Some(Wasi::P2)) => OUTBOUND_HTTP,
            ("wasi:http/client", Some(Wasi::P3)) => OUTBOUND_HTTP,
            _ => UNKNOWN,
        },
        _ => UNKNOWN,
    };
    if interface.wasi().is_some() { grant } else { UNKNOWN }
}

fn of_preview1(function: &str) -> Grant {
    match function {
        "clock_res_get" | "clock_time_get" | "poll_oneoff" => CLOCKS,
        "random_get" => RANDOM,
        "fd_prestat_get"
        | "fd_prestat_dir_name"
        | "fd_readdir"
        | "fd_allocate"
        | "fd_advise"
        | "fd_filestat_set_size"
        | "fd_filestat_set_times" => FILESYSTEM,
        _ if function.starts_with("path_") => FILESYSTEM,
        _ if function.starts_with("sock_") => SOCKETS_PREVIEW1,
        _ if ["fd_", "args_", "environ_", "proc_", "sched_"].iter().any(|p| function.starts_with(p)) => {
            COMMAND_LINE
        }
        _ => UNKNOWN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_capability_names_its_flag() {
        for (name, capability, flag) in [
            ("wasi:io/streams@0.2.6", "io", None),
            ("wasi:clocks/monotonic-clock@0.3.0", "clocks", None),
            ("wasi:random/random@0.2.0", "random", None),
            ("wasi:cli/environment@0.2.12", "command line", None),
            ("wasi:cli/terminal-stdout@0.2.0", "command line", None),
            ("wasi:filesystem/preopens@0.2.0", "filesystem", Some("--dir HOST:GUEST[:ro]")),
            (
                "wasi:sockets/tcp@0.2.0",
                "sockets",
                Some("--allow-outbound tcp://HOST:PORT or --allow-listen PORT"),
            ),
            ("wasi:http/types@0.3.0", "HTTP", None),
            ("wasi:http/outgoing-handler@0.2.6", "outbound HTTP", Some("--allow-outbound PATTERN")),
            ("wasi:http/client@0.3.0", "outbound HTTP", Some("--allow-outbound PATTERN")),
            ("wasi:config/store@0.2.0-rc.1", "config", Some("--config NAME=VALUE")),
            ("wasi:keyvalue/store@0.2.0-draft2", "key-value", Some("--kv NAME[=PATH]")),
            ("wasi:blobstore/container@0.2.0-draft", "blobs", Some("--blobs NAME[=DIR]")),
            ("wasi:logging/logging", "logging", None),
            ("wasi_snapshot_preview1::fd_write", "command line", None),
            ("wasi_snapshot_preview1::proc_exit", "command line", None),
            ("wasi_snapshot_preview1::path_open", "filesystem", Some("--dir HOST:GUEST[:ro]")),
            ("wasi_snapshot_preview1::fd_prestat_get", "filesystem", Some("--dir HOST:GUEST[:ro]")),
            ("wasi_snapshot_preview1::clock_time_get", "clocks", None),
            ("wasi_snapshot_preview1::random_get", "random", None),
            ("wasi_snapshot_preview1::sock_accept", "sockets of preview 1, always refused", None),
        ] {
            assert_eq!(
                import(name),
                Import { name: name.into(), capability: Some(capability), flag },
                "{name}"
            );
        }
    }

    #[test]
    fn what_is_not_known_says_so() {
        for name in [
            "wasi:http/types@0.2.0-rc-2023-11-10",
            "wasi:http/client@0.2.0",
            "wasi:http/outgoing-handler@0.3.0",
            "wasi:http/handler@0.3.0",
            "wasi:nn/graph@0.2.0",
            "acme:shop/cart@1.0.0",
            "env::abort",
            "wasi_unstable::fd_write",
            "wasi_snapshot_preview1::thread_spawn",
            "log",
        ] {
            assert_eq!(import(name), Import { name: name.into(), capability: None, flag: None }, "{name}");
        }
    }
}
