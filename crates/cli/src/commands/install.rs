//! `shoal install`: a cluster that starts with the machine, by systemd.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Common, Request, parse_in};
use crate::data_dir::Surroundings;
use crate::exit::{self, Exit};

/// Install the unit of `shoal up`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstallRequest {
    /// Whether the unit is only printed.
    pub dry_run: bool,
    /// The words behind the program's name: `up`, what holds for every verb as it was given, and the words for it. `shoal`
    /// understands them; all paths that hold for every verb are absolute.
    pub words: Vec<String>,
    /// Where words that are relative paths begin.
    pub directory: PathBuf,
    /// How long requests in flight have to end by these words.
    pub drain: Duration,
}

/// Make `shoal up` a service of systemd that starts now and with the machine
#[derive(Debug, clap::Args)]
pub(crate) struct TypedInstall {
    /// Print the unit, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Words for `shoal up`, as in `shoal install -- --http 0.0.0.0:80`
    #[arg(last = true, value_name = "ARGUMENT")]
    arguments: Vec<String>,
}

impl TypedInstall {
    pub(crate) fn meaning(self, common: &Common) -> Result<InstallRequest, Exit> {
        let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.into());
        let (data_dir, key) = (absolute(&common.data_dir), common.key.as_deref().map(absolute));
        let words = words(&Common { data_dir, key, ..common.clone() }, self.arguments)?;
        if let Some(wrong) = words.iter().find(|word| word.contains(char::is_control)) {
            let what = format!("{wrong:?} has a character that no unit of systemd can have");
            return Err(Exit::error(exit::USAGE, what).hint("leave line ends and the like out"));
        }
        // A service that does not understand its words would be started again for ever: these very words are read, with nothing
        // around them, as systemd will start it.
        let line = std::iter::once("shoal").chain(words.iter().map(String::as_str));
        let Request::Up(up) = parse_in(line.map(Into::into), &Surroundings::default())?.request else {
            return Err(Exit::error(exit::USAGE, "the words after -- are not for `shoal up`")
                .hint("`shoal up --help` shows what it takes"));
        };
        let directory = std::env::current_dir().map_err(|error| {
            Exit::error(exit::UNAVAILABLE, format!("cannot tell the directory that this is in: {error}"))
        })?;
        Ok(InstallRequest { dry_run: self.dry_run, words, directory, drain: up.node.edge.drain })
    }
}

/// The words behind the program's name, with what holds for every verb.
fn words(common: &Common, arguments: Vec<String>) -> Result<Vec<String>, Exit> {
    let mut words = vec!["up".into(), "--data-dir".into(), in_unit(&common.data_dir)?];
    if let Some(key) = &common.key {
        words.extend(["--key".into(), in_unit(key)?]);
    }
    if let Some(log) = &common.log {
        words.extend(["--log".into(), log.clone()]);
    }
    words.extend(arguments);
    Ok(words)
}

/// A path as it stands in a unit.
fn in_unit(path: &Path) -> Result<String, Exit> {
    let text = path.to_str().filter(|text| text.starts_with('/') && !text.contains(char::is_control));
    text.map(String::from).ok_or_else(|| {
        Exit::error(exit::USAGE, format!("{} cannot stand in a unit of systemd", path.display()))
            .hint("it takes absolute paths in UTF-8")
    })
}

/// Where the unit goes, as administrators' units do (systemd.unit(5)).
pub const UNIT_PATH: &str = "/etc/systemd/system/shoal.service";

/// After the requests, the node and the API have this long to end; then systemd ends them.
const STOP_SPARE: Duration = Duration::from_secs(60);

/// The unit of `shoal up` for this binary.
///
/// # Errors
/// With code 64 when a path cannot be written in a unit.
pub fn unit(binary: &Path, request: &InstallRequest) -> Result<String, Exit> {
    let directory = in_unit(&request.directory)?;
    // It is not read as words are (systemd.exec(5)): what stands at its end would be lost, or go on in the next line.
    if directory.ends_with(['\\', ' ']) {
        let what = format!("{directory} cannot be where a unit of systemd begins");
        return Err(Exit::error(exit::USAGE, what).hint("install it from another directory"));
    }
    let directory = directory.replace('%', "%%");
    let binary = in_unit(binary)?;
    let words = std::iter::once(&binary).chain(&request.words);
    let words: Vec<String> = words.map(|word| quoted(word)).collect();
    let stop = (request.drain + STOP_SPARE).as_secs();
    Ok(format!(
        "\
# Written by `shoal install`; `systemctl edit shoal` changes it and survives the next one.
[Unit]
Description=Shoal, an edge cloud for WebAssembly
After=network-online.target
Wants=network-online.target

[Service]
Type=exec
ExecStart={}
# Where relative paths begin; a service without any starts when it is gone, too.
WorkingDirectory=-{directory}
# It serves on when the API is away, and comes back whatever ended it.
Restart=always
RestartSec=1
# Requests in flight end first, then the node and the API.
TimeoutStopSec={stop}
# Each connection takes a descriptor.
LimitNOFILE=1048576
# Guests never become more than this; files of the system are read only to all of it.
NoNewPrivileges=yes
ProtectSystem=full
ProtectKernelModules=yes
ProtectControlGroups=yes
RestrictSUIDSGID=yes

[Install]
WantedBy=multi-user.target
",
        words.join(" ")
    ))
}

/// A word of `ExecStart` as it is meant (systemd.service(5), "Command lines"; systemd.unit(5), "Specifiers").
fn quoted(word: &str) -> String {
    let meant = word.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%").replace('$', "$$");
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-:=,@+".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) { meant } else { format!("\"{meant}\"") }
}

/// Whether a binary is still there when the machine starts: not one below a directory that is emptied.
pub fn is_lasting(binary: &Path) -> bool {
    !["/tmp", "/var/tmp", "/run", "/dev/shm"].iter().any(|gone| binary.starts_with(gone))
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use expect_test::expect;

    use super::*;
    use crate::Color;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        install: TypedInstall,
    }

    fn read(words: &[&str]) -> Result<InstallRequest, String> {
        let typed = Line::try_parse_from(std::iter::once(&"install").chain(words));
        typed
            .map_err(|error| error.to_string())?
            .install
            .meaning(&common("/"))
            .map_err(|exit| format!("{exit:?}"))
    }

    fn common(data_dir: &str) -> Common {
        Common { data_dir: data_dir.into(), key: None, log: None, color: Color::Auto }
    }

    fn words_of(common: &Common, arguments: &[String]) -> Vec<String> {
        words(common, arguments.to_vec()).expect("words of a unit")
    }

    fn request(words: Vec<String>, directory: &str) -> InstallRequest {
        InstallRequest { dry_run: true, words, directory: directory.into(), drain: Duration::from_secs(30) }
    }

    #[test]
    fn what_the_unit_says_is_what_was_read() {
        let with_log = |log: Option<&str>, arguments: &[&str]| {
            let words = ["shoal", "install", "--dry-run", "--"].iter().chain(arguments).map(Into::into);
            let around = Surroundings {
                data_dir: Some("/data".into()),
                log: log.map(String::from),
                ..Surroundings::default()
            };
            match parse_in(words, &around).map(|invocation| invocation.request) {
                Ok(Request::Install(request)) => Ok(request.words.join(" ")),
                Ok(other) => panic!("{other:?}"),
                Err(exit) => Err(exit.code()),
            }
        };
        assert_eq!(with_log(None, &["--log", "debug"]), Ok("up --data-dir /data --log debug".into()));
        assert_eq!(with_log(Some("info"), &[]), Ok("up --data-dir /data --log info".into()));
        // The unit would name it twice, and never start.
        assert_eq!(with_log(Some("info"), &["--log", "debug"]), Err(64));
    }

    #[test]
    fn words_of_up_are_passed_on() {
        let request = read(&["--dry-run", "--", "--http", "0.0.0.0:80"]).expect("well typed");
        assert_eq!(
            (request.dry_run, &request.words[3..]),
            (true, &["--http".into(), "0.0.0.0:80".into()][..])
        );
        assert!(read(&["--http", "0.0.0.0:80"]).is_err());
        assert!(read(&["--", "a\nExecStart=/bin/x"]).is_err());
        for not_for_up in [&["--", "--htp", "x"][..], &["--", "--data-dir", "/x"], &["--", "serve"]] {
            assert!(read(not_for_up).is_err(), "{not_for_up:?}");
        }
    }

    #[test]
    fn the_unit_means_what_was_typed() {
        let words =
            ["--http".to_string(), "0.0.0.0:80".into(), "50% of $HOME \"x\" \\".into(), String::new()];
        let log = Some("info".into());
        let common = Common { key: Some("/etc/shoal key".into()), log, ..common("/var/lib/shoal") };
        let request = request(words_of(&common, &words), "/home/ada/50% of it");
        let unit = unit(Path::new("/usr/local/bin/shoal"), &request).expect("a unit");
        expect![[r#"
            # Written by `shoal install`; `systemctl edit shoal` changes it and survives the next one.
            [Unit]
            Description=Shoal, an edge cloud for WebAssembly
            After=network-online.target
            Wants=network-online.target

            [Service]
            Type=exec
            ExecStart=/usr/local/bin/shoal up --data-dir /var/lib/shoal --key "/etc/shoal key" --log info --http 0.0.0.0:80 "50%% of $$HOME \"x\" \\" ""
            # Where relative paths begin; a service without any starts when it is gone, too.
            WorkingDirectory=-/home/ada/50%% of it
            # It serves on when the API is away, and comes back whatever ended it.
            Restart=always
            RestartSec=1
            # Requests in flight end first, then the node and the API.
            TimeoutStopSec=90
            # Each connection takes a descriptor.
            LimitNOFILE=1048576
            # Guests never become more than this; files of the system are read only to all of it.
            NoNewPrivileges=yes
            ProtectSystem=full
            ProtectKernelModules=yes
            ProtectControlGroups=yes
            RestrictSUIDSGID=yes

            [Install]
            WantedBy=multi-user.target
        "#]]
        .assert_eq(&unit);
    }

    #[test]
    fn a_unit_takes_absolute_paths_that_last() {
        for (binary, data_dir, directory) in [
            ("shoal", "/var/lib/shoal", "/"),
            ("/bin/shoal", "data", "/"),
            ("/bin/shoal", "/a\nb", "/"),
            ("/bin/shoal", "/var/lib/shoal", "home"),
            ("/bin/shoal", "/var/lib/shoal", "/home\\"),
            ("/bin/shoal", "/var/lib/shoal", "/home "),
        ] {
            let refused = words(&common(data_dir), Vec::new())
                .and_then(|words| unit(Path::new(binary), &request(words, directory)));
            assert_eq!(refused.map_err(|exit| exit.code()), Err(64), "{binary} {data_dir:?} {directory:?}");
        }
        assert!(is_lasting(Path::new("/usr/local/bin/shoal")) && !is_lasting(Path::new("/tmp/shoal")));
        assert!(is_lasting(Path::new("/tmpfiles/shoal")));
    }
}
