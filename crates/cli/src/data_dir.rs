//! Where Shoal keeps what must survive: compiled artifacts, the installation's key, stores.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::exit::{self, Exit};

/// What the command line takes from around the process, read once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// `SHOAL_DATA_DIR`.
    pub data_dir: Option<PathBuf>,
    /// `SHOAL_LOG`.
    pub log: Option<String>,
    /// `XDG_DATA_HOME`.
    pub data_home: Option<PathBuf>,
    /// `HOME`.
    pub home: Option<PathBuf>,
    /// `REGISTRY_AUTH_FILE`.
    pub registry_auth_file: Option<PathBuf>,
    /// `DOCKER_CONFIG`, a directory.
    pub docker_config: Option<PathBuf>,
    /// `KUBECONFIG`; of several files, the first.
    pub kubeconfig: Option<PathBuf>,
    /// Whether the process runs as root.
    pub is_root: bool,
}

/// The data directory of a system-wide installation (Filesystem Hierarchy Standard, `/var/lib`).
const SYSTEM_DATA_DIR: &str = "/var/lib/shoal";

impl Surroundings {
    /// Those of this process. A variable that is set but empty counts as not set.
    pub fn of_process() -> Self {
        let set = |name: &str| std::env::var_os(name).filter(|value: &OsString| !value.is_empty());
        Self {
            data_dir: set("SHOAL_DATA_DIR").map(PathBuf::from),
            log: set("SHOAL_LOG").map(|value| value.to_string_lossy().into_owned()),
            data_home: set("XDG_DATA_HOME").map(PathBuf::from),
            home: set("HOME").map(PathBuf::from),
            registry_auth_file: set("REGISTRY_AUTH_FILE").map(PathBuf::from),
            docker_config: set("DOCKER_CONFIG").map(PathBuf::from),
            kubeconfig: set("KUBECONFIG")
                .and_then(|files| std::env::split_paths(&files).find(|file| !file.as_os_str().is_empty())),
            is_root: rustix::process::geteuid().is_root(),
        }
    }

    /// The data directory: as typed, else `SHOAL_DATA_DIR`, else the system's for root, else the user's own
    /// (XDG Base Directory Specification, which says to ignore a relative `XDG_DATA_HOME`).
    pub(crate) fn choose_data_dir(&self, typed: Option<PathBuf>) -> Result<PathBuf, Exit> {
        let system = self.is_root.then(|| PathBuf::from(SYSTEM_DATA_DIR));
        let data_home = self.data_home.as_ref().filter(|path| path.is_absolute());
        typed
            .or_else(|| self.data_dir.clone())
            .or(system)
            .or_else(|| data_home.map(|path| path.join("shoal")))
            .or_else(|| self.home.as_ref().map(|path| path.join(".local/share/shoal")))
            .ok_or_else(|| {
                Exit::error(exit::USAGE, "no data directory: HOME is not set")
                    .hint("give --data-dir DIR or set SHOAL_DATA_DIR")
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_counts() {
        let mut around = Surroundings {
            data_dir: Some("/set".into()),
            log: None,
            data_home: Some("/xdg".into()),
            home: Some("/home/ada".into()),
            is_root: true,
            ..Surroundings::default()
        };
        let chosen = |around: &Surroundings| around.choose_data_dir(None).expect("a directory");
        assert_eq!(around.choose_data_dir(Some("typed".into())), Ok("typed".into()));
        assert_eq!(chosen(&around), PathBuf::from("/set"));
        around.data_dir = None;
        assert_eq!(chosen(&around), PathBuf::from("/var/lib/shoal"));
        around.is_root = false;
        assert_eq!(chosen(&around), PathBuf::from("/xdg/shoal"));
        around.data_home = Some("relative".into());
        assert_eq!(chosen(&around), PathBuf::from("/home/ada/.local/share/shoal"));
        around.home = None;
        let exit = around.choose_data_dir(None).expect_err("nowhere to go");
        assert_eq!(exit.code(), exit::USAGE);
    }
}
