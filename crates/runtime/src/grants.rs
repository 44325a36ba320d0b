//! What a workload is allowed to touch. The default is nothing.

use std::path::PathBuf;
use std::str::FromStr;

use crate::OutboundRules;

/// Everything granted to one workload. What is not granted does not exist for the guest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    /// Environment variables, in order.
    pub env: Vec<(String, String)>,
    /// Directories of the host, under the names the guest sees.
    pub dirs: Vec<DirGrant>,
    /// Destinations for outbound HTTP and sockets.
    pub outbound: OutboundRules,
    /// Local ports that the guest may listen on (TCP and UDP).
    pub listen: Vec<u16>,
    /// `wasi:config` values.
    pub config: Vec<(String, String)>,
    /// `wasi:keyvalue` stores, by the name the guest opens.
    pub key_value: Vec<StoreGrant>,
    /// `wasi:blobstore` containers live in these stores; each is a directory.
    pub blobs: Vec<StoreGrant>,
}

impl Grants {
    /// Whether the guest may try to reach out at all, by HTTP or sockets.
    pub fn reaches_out(&self) -> bool {
        !self.outbound.0.is_empty() || !self.listen.is_empty()
    }
}

/// A directory of the host, preopened for the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirGrant {
    /// The directory on the host.
    pub host: PathBuf,
    /// Its absolute path as the guest sees it.
    pub guest: String,
    /// Whether the guest may write.
    pub writable: bool,
}

/// A named store of values or blobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreGrant {
    /// The name that the guest opens.
    pub name: String,
    /// Where the data lives.
    pub place: StorePlace,
}

/// Where a store keeps its data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StorePlace {
    /// In memory, shared by all instances of the workload, gone with the process.
    Memory,
    /// At this path: a SQLite file for values, a directory for blobs.
    Path(PathBuf),
}

/// Why a grant was not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// A directory grant is not `HOST:GUEST[:ro]`.
    #[error("`{0}` is not HOST:GUEST or HOST:GUEST:ro with an absolute GUEST path")]
    Dir(String),
    /// The guest's path of a directory grant is not a plain one.
    #[error(
        "`{0}` names a path of the guest with `:`, `.` or `..` in it; give HOST:/DIR, with `:ro` behind it for reading only"
    )]
    GuestPath(String),
    /// A store grant is not `NAME` or `NAME=PATH`.
    #[error("`{0}` is not NAME (kept in memory) or NAME=PATH")]
    Store(String),
}

impl FromStr for DirGrant {
    type Err = GrantError;

    fn from_str(text: &str) -> Result<Self, GrantError> {
        let (pair, writable) = match (text.strip_suffix(":ro"), text.strip_suffix(":rw")) {
            (Some(pair), _) => (pair, false),
            (None, Some(pair)) => (pair, true),
            (None, None) => (text, true),
        };
        let (host, guest) = pair.split_once(':').unwrap_or((pair, "/"));
        if host.is_empty() || !guest.starts_with('/') {
            return Err(GrantError::Dir(text.into()));
        }
        // A guest looks names up as text: what is written in two ways would be found in one of them only.
        if guest.contains(':') || guest.split('/').any(|name| matches!(name, "." | "..")) {
            return Err(GrantError::GuestPath(text.into()));
        }
        let names = guest.split('/').filter(|name| !name.is_empty()).collect::<Vec<_>>();
        Ok(Self { host: host.into(), guest: format!("/{}", names.join("/")), writable })
    }
}

impl FromStr for StoreGrant {
    type Err = GrantError;

    fn from_str(text: &str) -> Result<Self, GrantError> {
        let (name, place) = match text.split_once('=') {
            None => (text, StorePlace::Memory),
            Some((_, "")) => return Err(GrantError::Store(text.into())),
            Some((name, path)) => (name, StorePlace::Path(path.into())),
        };
        if name.is_empty() {
            return Err(GrantError::Store(text.into()));
        }
        Ok(Self { name: name.into(), place })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_writable_unless_it_says_ro() {
        let dir = |text: &str| text.parse::<DirGrant>();
        assert_eq!(
            dir("data:/data"),
            Ok(DirGrant { host: "data".into(), guest: "/data".into(), writable: true })
        );
        assert_eq!(
            dir("data:/d:ro"),
            Ok(DirGrant { host: "data".into(), guest: "/d".into(), writable: false })
        );
        assert_eq!(dir("."), Ok(DirGrant { host: ".".into(), guest: "/".into(), writable: true }));
        assert_eq!(dir("data:relative"), Err(GrantError::Dir("data:relative".into())));
        assert_eq!(dir(":/data"), Err(GrantError::Dir(":/data".into())));
    }

    #[test]
    fn the_path_of_the_guest_is_a_plain_one() {
        let guest = |text: &str| text.parse::<DirGrant>().map(|grant| grant.guest);
        assert_eq!(guest("data:/d/"), Ok("/d".into()), "a guest asks for /d");
        assert_eq!(guest("data://a//b"), Ok("/a/b".into()));
        assert_eq!(guest("data:/:ro"), Ok("/".into()));
        assert_eq!(guest("data:/...d"), Ok("/...d".into()));
        // A slip of the pen must not give the right to write.
        for slip in ["d:/d:r", "d:/d:RO", "d:/d:ro:ro", "d:/d/../e", "d:/./d"] {
            assert_eq!(guest(slip), Err(GrantError::GuestPath(slip.into())));
        }
    }

    #[test]
    fn a_store_lives_in_memory_unless_it_names_a_path() {
        let store = |text: &str| text.parse::<StoreGrant>();
        assert_eq!(store("default"), Ok(StoreGrant { name: "default".into(), place: StorePlace::Memory }));
        assert_eq!(
            store("carts=/var/carts.db"),
            Ok(StoreGrant { name: "carts".into(), place: StorePlace::Path("/var/carts.db".into()) })
        );
        assert_eq!(store("carts="), Err(GrantError::Store("carts=".into())));
        assert_eq!(store("=x"), Err(GrantError::Store("=x".into())));
    }
}
