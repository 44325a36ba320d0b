//! `shoal install`: a cluster that starts with the machine, by systemd.

use std::path::Path;

use crate::exit::{self, Exit};

/// Install the unit of `shoal up`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstallRequest {
    /// Whether the unit is only printed.
    pub dry_run: bool,
    /// The words for `shoal up`.
    pub arguments: Vec<String>,
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
    pub(crate) fn meaning(self) -> Result<InstallRequest, Exit> {
        if let Some(wrong) = self.arguments.iter().find(|word| word.contains(char::is_control)) {
            let what = format!("{wrong:?} has a character that no unit of systemd can have");
            return Err(Exit::error(exit::USAGE, what).hint("leave line ends and the like out"));
        }
        Ok(InstallRequest { dry_run: self.dry_run, arguments: self.arguments })
    }
}

/// Where the unit goes, as administrators' units do (systemd.unit(5)).
pub const UNIT_PATH: &str = "/etc/systemd/system/shoal.service";

/// The unit of `shoal up` for this binary and data directory, both absolute.
///
/// # Errors
/// With code 64 when a path cannot be written in a unit.
pub fn unit(binary: &Path, data_dir: &Path, arguments: &[String]) -> Result<String, Exit> {
    let absolute = |path: &Path| {
        let text = path.to_str().filter(|text| text.starts_with('/') && !text.contains(char::is_control));
        text.map(String::from).ok_or_else(|| {
            Exit::error(exit::USAGE, format!("{} cannot stand in a unit of systemd", path.display()))
                .hint("it takes absolute paths in UTF-8")
        })
    };
    let binary = absolute(binary)?;
    let data_dir = absolute(data_dir)?;
    let words: Vec<String> = [binary, "up".into(), "--data-dir".into(), data_dir]
        .into_iter()
        .chain(arguments.iter().cloned())
        .map(|word| quoted(&word))
        .collect();
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
# Requests in flight have 30 seconds to end, and the store a few.
TimeoutStopSec=60
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

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        install: TypedInstall,
    }

    fn read(words: &[&str]) -> Result<InstallRequest, String> {
        let typed = Line::try_parse_from(std::iter::once(&"install").chain(words));
        typed.map_err(|error| error.to_string())?.install.meaning().map_err(|exit| format!("{exit:?}"))
    }

    #[test]
    fn words_of_up_are_passed_on() {
        let request = read(&["--dry-run", "--", "--http", "0.0.0.0:80"]).expect("well typed");
        assert_eq!((request.dry_run, request.arguments), (true, vec!["--http".into(), "0.0.0.0:80".into()]));
        assert!(read(&["--http", "0.0.0.0:80"]).is_err());
        assert!(read(&["--", "a\nExecStart=/bin/x"]).is_err());
    }

    #[test]
    fn the_unit_means_what_was_typed() {
        let words =
            ["--http".to_string(), "0.0.0.0:80".into(), "50% of $HOME \"x\" \\".into(), String::new()];
        let unit =
            unit(Path::new("/usr/local/bin/shoal"), Path::new("/var/lib/shoal"), &words).expect("a unit");
        expect![[r#"
            # Written by `shoal install`; `systemctl edit shoal` changes it and survives the next one.
            [Unit]
            Description=Shoal, an edge cloud for WebAssembly
            After=network-online.target
            Wants=network-online.target

            [Service]
            Type=exec
            ExecStart=/usr/local/bin/shoal up --data-dir /var/lib/shoal --http 0.0.0.0:80 "50%% of $$HOME \"x\" \\" ""
            # It serves on when the API is away, and comes back whatever ended it.
            Restart=always
            RestartSec=1
            # Requests in flight have 30 seconds to end, and the store a few.
            TimeoutStopSec=60
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
            let refused = unit(Path::new(binary), Path::new(data_dir), &[]);
            assert_eq!(refused.map_err(|exit| exit.code()), Err(64), "{binary} {data_dir:?}");
        }
        assert!(is_lasting(Path::new("/usr/local/bin/shoal")) && !is_lasting(Path::new("/tmp/shoal")));
        assert!(is_lasting(Path::new("/tmpfiles/shoal")));
    }
}
