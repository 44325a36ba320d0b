//! Compiling ahead of time: what is loaded, what is refused, and that nothing is compiled twice.

use crate::process::{Place, built};

fn hello() -> String {
    built("hello").display().to_string()
}

#[test]
fn a_compiled_component_serves() {
    let place = Place::new();
    for guest in ["hello", "hello-p3"] {
        let compiled = place.arg(&format!("{guest}.cwasm"));
        let source = built(guest).display().to_string();
        let ended = place.output(&["compile", &source, "--output", &compiled]);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), ""), "{}", ended.stderr);
        let server = place.serve_file(compiled.as_ref(), &[]);
        assert_eq!(server.get("/"), (200, "Hello from Shoal\n".into()));
    }
}

#[test]
fn a_compiled_program_runs() {
    let place = Place::new();
    let compiled = place.arg("cli.cwasm");
    let source = built("cli").display().to_string();
    assert_eq!(place.output(&["compile", &source, "-o", &compiled]).code, Some(0));
    let ended = place.output(&["run", &compiled, "--", "3"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(3), ""));
    assert!(ended.stdout.starts_with("args: [\"3\"]\n"), "{}", ended.stdout);
}

#[test]
fn what_another_installation_compiled_is_refused() {
    let (here, there) = (Place::new(), Place::new());
    let compiled = there.arg("hello.cwasm");
    assert_eq!(there.output(&["compile", &hello(), "-o", &compiled]).code, Some(0));
    let ended = here.output(&["run", &compiled]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(65), ""));
    assert!(ended.stderr.contains("it was sealed by another installation, or changed"), "{}", ended.stderr);
    assert!(ended.stderr.contains("hint: "), "{}", ended.stderr);
}

#[test]
fn changed_code_is_refused() {
    let place = Place::new();
    let compiled = place.path("hello.cwasm");
    let path = compiled.display().to_string();
    assert_eq!(place.output(&["compile", &hello(), "-o", &path]).code, Some(0));
    let mut bytes = std::fs::read(&compiled).expect("a file");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&compiled, &bytes).expect("a file");
    let ended = place.output(&["run", &path]);
    assert_eq!(ended.code, Some(65));
    assert!(ended.stderr.contains("its code was changed after it was sealed"), "{}", ended.stderr);
    bytes.truncate(middle);
    std::fs::write(&compiled, &bytes).expect("a file");
    let ended = place.output(&["run", &path]);
    assert_eq!(ended.code, Some(65));
    assert!(ended.stderr.contains("it has no seal of `shoal compile`"), "{}", ended.stderr);
}

#[test]
fn code_for_another_machine_is_made_and_refused_here() {
    let place = Place::new();
    let other = if cfg!(target_arch = "x86_64") { "aarch64" } else { "x86_64" };
    let target = format!("{other}-unknown-linux-gnu");
    for guest in ["hello", "hello-p3", "cli"] {
        let compiled = place.arg(&format!("{guest}.cwasm"));
        let source = built(guest).display().to_string();
        let ended = place.output(&["compile", &source, "--target", &target, "-o", &compiled]);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{guest}");
        let ended = place.output(&["run", &compiled]);
        assert_eq!(ended.code, Some(65), "{guest}: {ended:?}");
        let reason = format!("it was compiled for {target}, and this machine is");
        assert!(ended.stderr.contains(&reason), "{guest}: {}", ended.stderr);
    }
}

#[test]
fn an_unknown_target_is_refused() {
    let place = Place::new();
    let compiled = place.arg("hello.cwasm");
    for target in ["nothing", "mips64-unknown-linux-gnu", "x86_64-apple-darwin"] {
        let ended = place.output(&["compile", &hello(), "--target", target, "-o", &compiled]);
        assert_eq!(ended.code, Some(65), "{target}: {ended:?}");
        assert!(ended.stderr.contains(&format!("cannot compile for `{target}`")), "{}", ended.stderr);
        assert!(!place.path("hello.cwasm").exists());
    }
}

#[test]
fn the_second_start_compiles_nothing() {
    let place = Place::new();
    let compiles = || {
        let server = place.serve("hello", &["--log", "shoal_host=debug"]);
        assert_eq!(server.get("/").0, 200);
        let (_, _, lines) = server.stop();
        lines.iter().filter(|line| line.contains("compiled") && line.contains("hello.wasm")).count()
    };
    assert_eq!(compiles(), 1);
    assert_eq!(compiles(), 0);
}
