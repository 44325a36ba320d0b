//! `shoal install`: a cluster that starts with the machine, by systemd.

use std::path::Path;
use std::time::Duration;

use super::{Common, Request, parse_in};
use crate::data_dir::Surroundings;
use crate::exit::{self, Exit};

/// Install the unit of `shoal up`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstallRequest {
    /// Whether the unit is only printed.
    pub dry_run: bool,
    /// The words for `shoal up`, which it understands.
    pub arguments: Vec<String>,
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
    pub(crate) fn meaning(self, around: &Surroundings) -> Result<InstallRequest, Exit> {
        if let Some(wrong) = self.arguments.iter().find(|word| word.contains(char::is_control)) {
            let what = format!("{wrong:?} has a character that no unit of systemd can have");
            return Err(Exit::error(exit::USAGE, what).hint("leave line ends and the like out"));
        }
        // A service that does not understand its words would be started again for ever.
        let line =
            ["shoal", "up", "--data-dir", "/"].into_iter().chain(self.arguments.iter().map(String::as_str));
        let Request::Up(up) = parse_in(line.map(Into::into), around)?.request else {
            return Err(Exit::error(exit::USAGE, "the words after -- are not for `shoal up`")
                .hint("`shoal up --help` shows what it takes"));
        };
        let drain = up.node.edge.drain;
        Ok(InstallRequest { dry_run: self.dry_run, arguments: self.arguments, drain })
    }
}

/// Where the unit goes, as administrators' units do (systemd.unit(5)).
pub const UNIT_PATH: &str = "/etc/systemd/system/shoal.service";

/// After the requests, the node and the API have this long to end; then systemd ends them.
const STOP_SPARE: Duration = Duration::from_secs(60);

/// The unit of `shoal up` for this binary, with what holds for every verb as it was given; all paths are absolute.
///
/// # Errors
/// With code 64 when a path cannot be written in a unit.
pub fn unit(binary: &Path, common: &Common, request: &InstallRequest) -> Result<String, Exit> {
    let absolute = |path: &Path| {
        let text = path.to_str().filter(|text| text.starts_with('/') && !text.contains(char::is_control));
        text.map(String::from).ok_or_else(|| {
            Exit::error(exit::USAGE, format!("{} cannot stand in a unit of systemd", path.display()))
                .hint("it takes absolute paths in UTF-8")
        })
    };
    let mut words = vec![absolute(binary)?, "up".into(), "--data-dir".into(), absolute(&common.data_dir)?];
    if let Some(key) = &common.key {
        words.extend(["--key".into(), absolute(key)?]);
    }
    if let Some(log) = &common.log {
        words.extend(["--log".into(), log.clone()]);
    }
    words.extend(request.arguments.iter().cloned());
    let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
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
            .meaning(&Surroundings::of_process())
            .map_err(|exit| format!("{exit:?}"))
    }

    fn common(data_dir: &str) -> Common {
        Common { data_dir: data_dir.into(), key: None, log: None, color: Color::Auto }
    }

    #[test]
    fn words_of_up_are_passed_on() {
        let request = read(&["--dry-run", "--", "--http", "0.0.0.0:80"]).expect("well typed");
        assert_eq!((request.dry_run, request.arguments), (true, vec!["--http".into(), "0.0.0.0:80".into()]));
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
        let request =
            InstallRequest { dry_run: true, arguments: words.to_vec(), drain: Duration::from_secs(30) };
        let log = Some("info".into());
        let common = Common { key: Some("/etc/shoal key".into()), log, ..common("/var/lib/shoal") };
        let unit = unit(Path::new("/usr/local/bin/shoal"), &common, &request).expect("a unit");
        expect![[r#"
            # Written by `shoal install`; `systemctl edit shoal` changes it and survives the next one.
            [Unit]
            Description=Shoal, an edge cloud for WebAssembly
            After=network-online.target
            Wants=network-online.target

            [Service]
            Type=exec
            ExecStart=/usr/local/bin/shoal up --data-dir /var/lib/shoal --key "/etc/shoal key" --log info --http 0.0.0.0:80 "50%% of $$HOME \"x\" \\" ""
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
        for (binary, data_dir) in
            [("shoal", "/var/lib/shoal"), ("/bin/shoal", "data"), ("/bin/shoal", "/a\nb")]
        {
            let request =
                InstallRequest { dry_run: true, arguments: Vec::new(), drain: Duration::from_secs(30) };
            let refused = unit(Path::new(binary), &common(data_dir), &request);
            assert_eq!(refused.map_err(|exit| exit.code()), Err(64), "{binary} {data_dir:?}");
        }
        assert!(is_lasting(Path::new("/usr/local/bin/shoal")) && !is_lasting(Path::new("/tmp/shoal")));
        assert!(is_lasting(Path::new("/tmpfiles/shoal")));
    }
}
