//! The kubectl and the helm of this machine, and a place for them to run in.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Outputs change between minor versions: the scripts hold those of this one.
const MINOR: &str = "32";
/// For commands of scripts: `follow LINES COMMAND...` prints the first lines of a command that does not end. After the
/// first one it runs `$THEN`, which makes the others come.
const FOLLOW: &str = r#"#!/bin/sh
lines=$1; shift
pipe=$(mktemp -u); mkfifo "$pipe"
"$@" > "$pipe" 2>&1 & pid=$!
seen=0
while [ $seen -lt "$lines" ] && IFS= read -r line; do
    printf '%s\n' "$line"
    seen=$((seen + 1))
    if [ $seen -eq "${AFTER:-1}" ] && [ -n "$THEN" ]; then sh -c "$THEN" > /dev/null; fi
done < "$pipe"
kill $pid 2> /dev/null
rm -f "$pipe"
"#;

/// A kubectl, and what some scripts need beside it.
pub(crate) struct Tool {
    path: PathBuf,
    helm: Option<PathBuf>,
}

/// A kubectl with a directory, as an administrator.
pub(crate) struct Placed {
    directory: PathBuf,
    path: String,
}

/// What a command printed.
pub(crate) struct Output {
    /// Standard output.
    pub(crate) stdout: String,
    /// Standard error.
    pub(crate) stderr: String,
    /// The exit code; none: it was ended by a signal.
    pub(crate) code: Option<i32>,
}

impl Tool {
    /// The kubectl on the path, or beside it, that is of the right version; it says aloud when there is none.
    pub(crate) fn find() -> Option<Self> {
        let on_path = directories().map(|directory| directory.join("kubectl")).find(|file| file.is_file());
        let real = on_path.and_then(|path| path.canonicalize().ok());
        let beside = real.as_ref().map(|path| path.with_file_name(format!("kubectl.1.{MINOR}")));
        let found = beside.into_iter().chain(real).find(|path| minor(path).as_deref() == Some(MINOR));
        if found.is_none() {
            assert!(std::env::var_os("SHOAL_CI").is_none(), "kubectl 1.{MINOR} is not on the path");
            eprintln!("SKIPPED: kubectl 1.{MINOR} is not on the path");
        }
        found.map(|path| Self { path, helm: None })
    }

    /// With the helm on the path, or where the build keeps tools; it says aloud when there is none.
    pub(super) fn with_helm(self) -> Option<Self> {
        let tools = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("tools");
        let helm =
            directories().chain([tools]).map(|directory| directory.join("helm")).find(|file| file.is_file());
        if helm.is_none() {
            assert!(std::env::var_os("SHOAL_CI").is_none(), "helm is not on the path");
            eprintln!("SKIPPED: helm is not on the path");
        }
        helm.map(|helm| Self { helm: Some(helm), ..self })
    }

    /// Puts it in a directory of its own.
    pub(crate) fn in_directory(&self, parent: &Path, kubeconfig: &str) -> Placed {
        let directory = parent.join("work");
        let programs = parent.join("bin");
        for path in [&directory, &programs] {
            std::fs::create_dir(path).expect("a directory");
        }
        std::os::unix::fs::symlink(&self.path, programs.join("kubectl")).expect("a link");
        if let Some(helm) = &self.helm {
            std::os::unix::fs::symlink(helm, programs.join("helm")).expect("a link");
        }
        std::fs::write(programs.join("follow"), FOLLOW).expect("a program");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(programs.join("follow"), mode).expect("a program");
        std::fs::write(directory.join("kubeconfig"), kubeconfig).expect("a kubeconfig");
        let rest = std::env::var("PATH").unwrap_or_default();
        Placed { path: format!("{}:{rest}", programs.display()), directory }
    }
}

impl Placed {
    /// Where commands run.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Runs a command by a shell.
    pub(crate) async fn run(&self, command: &str, within: Duration) -> Output {
        let child = tokio::process::Command::new("sh")
            .args(["-c", command])
            .current_dir(&self.directory)
            .env_clear()
            .env("PATH", &self.path)
            .env("HOME", &self.directory)
            .env("KUBECONFIG", self.directory.join("kubeconfig"))
            .env("TZ", "UTC")
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(within, child).await;
        let output = output.unwrap_or_else(|_| panic!("it did not end: {command}")).expect("a shell");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Output { stdout: text(output.stdout), stderr: text(output.stderr), code: output.status.code() }
    }
}

/// Of the path.
fn directories() -> impl Iterator<Item = PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).collect::<Vec<_>>().into_iter()
}

fn minor(path: &Path) -> Option<String> {
    let output = Command::new(path).args(["version", "--client", "-o", "json"]).output().ok()?;
    let version: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
    Some(version["clientVersion"]["minor"].as_str()?.trim_end_matches('+').to_owned())
}
