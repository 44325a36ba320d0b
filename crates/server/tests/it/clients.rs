//! Client libraries in other languages: their scripts in `tests/clients`, each against a server of its own.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::server::Server;

/// For packages to be fetched.
const INSTALL_WITHIN: Duration = Duration::from_secs(300);
/// For all contracts of one language.
const RUN_WITHIN: Duration = Duration::from_secs(300);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_python_client_works() {
    let home = place("python", &["contract.py", "requirements.txt"]);
    let python = home.join("venv/bin/python");
    let commands: [&[&str]; 2] = [
        &["python3", "-m", "venv", "--clear", "venv"],
        &["venv/bin/python", "-m", "pip", "install", "--quiet", "--no-deps", "-r", "requirements.txt"],
    ];
    if let Err(why) = installed(&home, "requirements.txt", &commands).await {
        return skipped("the Python client", &why);
    }
    holds(Command::new(python).arg("contract.py"), &home).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_javascript_client_works() {
    let home = place("javascript", &["contract.js", "package.json", "package-lock.json"]);
    let commands: [&[&str]; 1] = [&["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"]];
    if let Err(why) = installed(&home, "package-lock.json", &commands).await {
        return skipped("the JavaScript client", &why);
    }
    holds(Command::new("node").arg("contract.js"), &home).await;
}

/// Sees to it that what a lock file names is installed: once for each content of the file.
async fn installed(home: &Path, lock: &str, commands: &[&[&str]]) -> Result<(), String> {
    let wanted = std::fs::read_to_string(home.join(lock)).expect("a lock file");
    let done = home.join("installed");
    if std::fs::read_to_string(&done).is_ok_and(|found| found == wanted) {
        return Ok(());
    }
    for command in commands {
        let mut running = Command::new(command[0]);
        run(running.args(&command[1..]), home)
            .await
            .map_err(|why| format!("{}: {why}", command.join(" ")))?;
    }
    std::fs::write(done, wanted).expect("a mark");
    Ok(())
}

/// A directory that outlives the test, so that packages are fetched once.
fn place(language: &str, files: &[&str]) -> PathBuf {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("clients").join(language);
    std::fs::create_dir_all(&home).expect("a directory");
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(language);
    for file in files {
        std::fs::copy(from.join(file), home.join(file)).expect("a file");
    }
    home
}

fn skipped(what: &str, why: &str) {
    assert!(std::env::var_os("SHOAL_CI").is_none(), "{what}: {why}");
    eprintln!("SKIPPED: {what}: {why}");
}

async fn run(command: &mut Command, home: &Path) -> Result<(), String> {
    let child = command.current_dir(home).stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(INSTALL_WITHIN, child).await.map_err(|_| "it took too long")?;
    let output = output.map_err(|error| error.to_string())?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

/// Runs a script, and sees that all its contracts hold.
async fn holds(command: &mut Command, home: &Path) {
    let server = Server::start().await;
    let kubeconfig = server.dir().join("kubeconfig");
    std::fs::write(&kubeconfig, &server.kubeconfig).expect("a kubeconfig");
    let child = command
        .current_dir(home)
        .env("KUBECONFIG", kubeconfig)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(RUN_WITHIN, child).await.expect("it ends").expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (told, why) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{told}\n{why}");
    assert!(told.lines().count() > 3 && told.lines().all(|line| line.starts_with("ok ")), "{told}");
    server.end().await;
}
