//! `shoal install`: the unit of systemd.

use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use shoal_cli::{Exit, InstallRequest, UNIT_PATH, exit, is_lasting, unit};

use crate::process;

/// What systemd calls the service.
const SERVICE: &str = "shoal.service";

/// Writes the unit of `shoal up` and starts it, or prints it.
pub(crate) fn install(request: &InstallRequest) -> Result<u8, Exit> {
    let binary = std::env::current_exe()
        .map_err(|error| Exit::error(exit::UNAVAILABLE, format!("cannot tell where shoal is: {error}")))?;
    let unit = unit(&binary, request)?;
    if request.dry_run {
        let _ = write!(anstream::stdout(), "{unit}");
        return Ok(exit::OK);
    }
    if !is_lasting(&binary) {
        let what = format!("{} is gone when the machine starts again", binary.display());
        return Err(
            Exit::error(exit::USAGE, what).hint("copy it to /usr/local/bin first, and install from there")
        );
    }
    if !rustix::process::geteuid().is_root() {
        return Err(Exit::error(exit::UNAVAILABLE, format!("only root can write {UNIT_PATH}"))
            .hint("run it with sudo; `shoal install --dry-run` prints the unit"));
    }
    process::write_file(Path::new(UNIT_PATH), unit.as_bytes())?;
    let readable = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(UNIT_PATH, readable).map_err(|error| {
        Exit::error(exit::UNAVAILABLE, format!("cannot make {UNIT_PATH} readable: {error}"))
    })?;
    systemctl(&["daemon-reload"])?;
    systemctl(&["enable", SERVICE])?;
    // One that runs takes the new unit, too.
    systemctl(&["restart", SERVICE])?;
    let _ = writeln!(
        anstream::stderr(),
        "shoal runs now and whenever this machine starts: systemctl status shoal"
    );
    Ok(exit::OK)
}

fn systemctl(arguments: &[&str]) -> Result<(), Exit> {
    let shown = format!("systemctl {}", arguments.join(" "));
    let ended = Command::new("systemctl").args(arguments).status().map_err(|error| match error.kind() {
        ErrorKind::NotFound => Exit::error(exit::UNAVAILABLE, "this machine has no systemd")
            .hint("`shoal install --dry-run` shows what its own supervisor is to run"),
        _ => Exit::error(exit::UNAVAILABLE, format!("cannot run `{shown}`: {error}")),
    })?;
    if ended.success() {
        return Ok(());
    }
    Err(Exit::error(exit::UNAVAILABLE, format!("`{shown}` fails: {ended}"))
        .hint("`journalctl -u shoal` says what went wrong"))
}
