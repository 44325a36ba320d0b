//! From what is typed to what it means, and every way to type it wrong.

use std::ffi::OsString;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::CommandFactory as _;
use expect_test::{Expect, expect};
use shoal_base::units::Bytes;
use shoal_runtime::{Instances, Limits, LimitsByKind, StorePlace};

use super::*;
use crate::exit::Complaint;
use crate::{AccessLog, InspectOutput, LISTEN_DEFAULT, Tls};

/// A directory with `app.wasm` and `old.cwasm` in it.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        for file in ["app.wasm", "old.cwasm"] {
            std::fs::write(dir.path().join(file), "").expect("a file");
        }
        Self(dir)
    }

    fn path(&self, file: &str) -> PathBuf {
        self.0.path().join(file)
    }

    /// Parses words separated by spaces; `@` stands for this directory.
    fn parse(&self, typed: &str) -> Result<Invocation, Exit> {
        let here = self.0.path().display().to_string();
        let words = typed.split(' ').filter(|word| !word.is_empty()).map(|word| word.replace('@', &here));
        let words = std::iter::once("shoal".to_string()).chain(words).map(OsString::from);
        let around = Surroundings { home: Some("/home/ada".into()), ..Surroundings::default() };
        parse_in(words, &around)
    }

    fn run(&self, typed: &str) -> RunRequest {
        match self.parse(&format!("run @/app.wasm {typed}")).expect("well typed").request {
            Request::Run(request) => *request,
            other => panic!("not a run: {other:?}"),
        }
    }

    fn check_error(&self, typed: &str, expected: &Expect) {
        let Err(Exit::Error(Complaint { code, what, hints })) = self.parse(typed) else {
            panic!("`{typed}` is no error");
        };
        assert_eq!(code, 64, "{typed}: {what}");
        let hints: String = hints.iter().map(|hint| format!("hint: {hint}\n")).collect();
        let here = self.0.path().display().to_string();
        expected.assert_eq(&format!("{what}\n{hints}").replace(&here, "DIR"));
    }
}

#[test]
fn the_definition_is_sound() {
    Typed::command().debug_assert();
}

#[test]
fn a_run_without_flags_grants_nothing() {
    let place = Place::new();
    let request = place.run("");
    assert_eq!(request.spec.name, "app");
    assert_eq!(request.spec.artifact, place.path("app.wasm"));
    assert_eq!(request.spec.grants, shoal_runtime::Grants::default());
    assert_eq!(request.spec.instances, Instances::Rewound);
    assert_eq!(request.spec.limits, LimitsByKind::default());
    assert_eq!(request.serve.listen, [LISTEN_DEFAULT]);
    assert_eq!(request.serve.edge.drain, Duration::from_secs(30));
    assert_eq!((request.serve.tls, request.serve.edge.admin, request.serve.edge.threads), (None, None, None));
    assert_eq!(request.serve.edge.access_log, AccessLog::Off);
    assert_eq!(request.serve.edge.traces, None);
    assert!(!request.watch);
}

#[test]
fn every_grant_has_its_flag() {
    let request = Place::new().run(
        "--env A=1 --env B=x=y --dir data:/data:ro --allow-outbound api.example.com --allow-outbound \
         tcp://10.0.0.0/8:5432 --allow-listen 7000 --config color=red --kv default --kv carts=carts.db \
         --blobs pictures=pics",
    );
    let grants = request.spec.grants;
    assert_eq!(grants.env, [("A".into(), "1".into()), ("B".into(), "x=y".into())]);
    assert_eq!(grants.dirs.len(), 1);
    assert!(!grants.dirs[0].writable);
    let outbound: Vec<String> = grants.outbound.0.iter().map(ToString::to_string).collect();
    assert_eq!(outbound, ["https://api.example.com:443", "tcp://10.0.0.0/8:5432"]);
    assert_eq!(grants.listen, [7000]);
    assert_eq!(grants.config, [("color".into(), "red".into())]);
    assert_eq!(grants.key_value[0].place, StorePlace::Memory);
    assert_eq!(grants.key_value[1].place, StorePlace::Path("carts.db".into()));
    assert_eq!(grants.blobs[0].name, "pictures");
}

#[test]
fn every_limit_has_its_flag() {
    let request = Place::new().run(
        "--memory 64MiB --cpu-time 50ms --timeout none --request-body 1MiB --response-body 2MiB --header-list 8KiB \
         --table-elements 10 --instances 3 --stack 256KiB --outbound-in-flight 0 --log-rate 1KiB --reuse 128",
    );
    let expected = Limits {
        memory: Bytes::mib(64),
        table_elements: 10,
        instances: 3,
        stack: Bytes::kib(256),
        cpu_time: Some(Duration::from_millis(50)),
        timeout: None,
        request_body: Bytes::mib(1),
        response_body: Bytes::mib(2),
        header_list: Bytes::kib(8),
        outbound_in_flight: 0,
        log_rate: Bytes::kib(1),
    };
    assert_eq!(request.spec.limits, expected.into());
    assert_eq!(request.spec.instances, Instances::Reused(NonZeroU32::new(128).expect("not zero")));
}

#[test]
fn serving_is_set_flag_by_flag() {
    let place = Place::new();
    let request = place.run(
        "--listen 8080 --listen [::]:8443 --tls-cert c.pem --tls-key k.pem --admin 9090 --access-log json \
         --drain 5s --threads 2 --otlp http://127.0.0.1:4318 --otlp-sample 0.25 --edge-limit keep_alive=5s --edge-limit connections=9 --watch --name shop --reuse 2 -- --verbose -x",
    );
    let listen: Vec<String> = request.serve.listen.iter().map(ToString::to_string).collect();
    assert_eq!(listen, ["127.0.0.1:8080", "[::]:8443"]);
    assert_eq!(request.serve.tls, Some(Tls::Files { cert: "c.pem".into(), key: "k.pem".into() }));
    assert_eq!(request.serve.edge.admin, "127.0.0.1:9090".parse().ok());
    assert_eq!(request.serve.edge.access_log, AccessLog::Json);
    assert_eq!(request.serve.edge.drain, Duration::from_secs(5));
    let limits = request.serve.edge.limits;
    assert_eq!((limits.keep_alive, limits.connections), (Some(Duration::from_secs(5)), Some(9)));
    assert_eq!(limits.linger, None);
    let traces = request.serve.edge.traces.expect("traces are sent");
    assert_eq!(traces.collector.to_string(), "http://127.0.0.1:4318/v1/traces");
    assert_eq!(traces.sample.to_string(), "0.25");
    assert_eq!(request.serve.edge.threads.map(usize::from), Some(2));
    assert!(request.watch);
    assert_eq!(
        (request.spec.name.as_str(), request.spec.args),
        ("shop", vec!["--verbose".into(), "-x".into()])
    );
    assert_eq!(place.run("--tls-self-signed").serve.tls, Some(Tls::SelfSigned));
    assert_eq!(place.run("--listen 0 --listen 0").serve.listen.len(), 2, "two ports of the system's choice");
}

#[test]
fn the_other_verbs_mean_what_they_say() {
    let place = Place::new();
    let request = |typed: &str| place.parse(typed).expect("well typed").request;
    for (flag, expected) in [
        ("", InspectOutput::Table),
        ("--json", InspectOutput::Json),
        ("--wit", InspectOutput::Wit),
        ("--wat", InspectOutput::Wat),
    ] {
        assert!(
            matches!(request(&format!("inspect @/app.wasm {flag}")), Request::Inspect(r) if r.output == expected),
            "{flag}"
        );
    }
    let Request::Compile(compile) = request("compile @/app.wasm") else { panic!("not a compile") };
    assert_eq!((compile.output, compile.target), (place.path("app.cwasm"), None));
    let Request::Compile(compile) = request("compile @/app.wasm -o out --target aarch64-unknown-linux-gnu")
    else {
        panic!("not a compile")
    };
    assert_eq!((compile.output, compile.target), ("out".into(), Some("aarch64-unknown-linux-gnu".into())));
    let Request::Push(push) = request("push @/app.wasm ghcr.io/a/b:1 --tag latest --annotation a=b=c") else {
        panic!("not a push")
    };
    assert_eq!((push.artifact, push.reference.as_str()), (place.path("app.wasm"), "ghcr.io/a/b:1"));
    assert_eq!((push.tags, push.annotations), (vec!["latest".into()], [("a".into(), "b=c".into())].into()));
    let Request::Pull(pull) =
        request("pull ghcr.io/a/b -o out.wasm --plain-http a:5000 --registry-ca ca.pem")
    else {
        panic!("not a pull")
    };
    assert_eq!((pull.reference.as_str(), pull.output), ("ghcr.io/a/b", Some("out.wasm".into())));
    assert_eq!(
        (pull.registry.plain_http, pull.registry.authorities),
        (vec!["a:5000".into()], Some("ca.pem".into()))
    );
    assert!(matches!(request("doctor --json"), Request::Doctor(DoctorRequest { json: true })));
    assert!(matches!(request("version"), Request::Version(VersionRequest { json: false })));
}

#[test]
fn what_holds_for_every_verb_may_come_anywhere() {
    let place = Place::new();
    let common = place.parse("doctor").expect("well typed").common;
    assert_eq!(common.data_dir, Path::new("/home/ada/.local/share/shoal"));
    assert_eq!((common.log, common.color), (None, Color::Auto));
    for typed in [
        "--data-dir here --log debug --color never doctor",
        "doctor --log debug --color never --data-dir here",
    ] {
        let common = place.parse(typed).expect("well typed").common;
        let expected =
            Common { data_dir: "here".into(), key: None, log: Some("debug".into()), color: Color::Never };
        assert_eq!(common, expected, "{typed}");
    }
}

#[test]
fn documents_are_made_from_the_definitions() {
    let place = Place::new();
    let documents = |typed: &str| match place.parse(typed).expect("well typed").request {
        Request::Write(documents) => documents,
        other => panic!("not documents: {other:?}"),
    };
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let [document] = &documents(&format!("completions {shell}"))[..] else { panic!("one document") };
        assert_eq!(document.path, None);
        assert!(String::from_utf8_lossy(&document.content).contains("allow-outbound"), "{shell}");
    }
    let [page] = &documents("man")[..] else { panic!("one page") };
    assert!(page.path.is_none() && page.content.starts_with(b".ie"), "a page in roff");
    let names: Vec<PathBuf> =
        documents("man pages").into_iter().filter_map(|document| document.path).collect();
    let expected = [
        "",
        "-run",
        "-up",
        "-deploy",
        "-status",
        "-logs",
        "-delete",
        "-inspect",
        "-compile",
        "-push",
        "-pull",
        "-server",
        "-node",
        "-kubeconfig",
        "-install",
        "-doctor",
        "-version",
        "-completions",
        "-man",
    ];
    assert_eq!(names, expected.map(|verb| PathBuf::from(format!("pages/shoal{verb}.1"))));
    let run = &documents("man pages")[1];
    assert!(String::from_utf8_lossy(&run.content).contains("allow\\-outbound"));
}

#[test]
fn a_document_is_written_or_the_reason_is_told() {
    let place = Place::new();
    let document = |path: PathBuf| Document { path: Some(path), content: b"text".to_vec() };
    assert_eq!(document(place.path("page.1")).write(), Ok(()));
    assert_eq!(std::fs::read(place.path("page.1")).expect("the page"), b"text");
    let exit = document(place.path("gone/page.1")).write().expect_err("no such directory");
    assert_eq!(exit.code(), 69);
}

#[test]
fn help_and_version_are_answers() {
    let place = Place::new();
    for typed in ["--help", "run --help", "-h", "--version"] {
        let exit = place.parse(typed).expect_err("an answer");
        assert!(matches!(&exit, Exit::Answer(text) if text.contains("shoal")), "{typed}: {exit:?}");
        assert_eq!(exit.code(), 0);
    }
}

#[test]
fn what_is_typed_wrong_is_named_with_the_way_out() {
    let place = Place::new();
    for (typed, expected) in [
        (
            "",
            expect![[r#"
            no command given
            hint: see `shoal --help`
        "#]],
        ),
        (
            "rum app.wasm",
            expect![[r#"
            unrecognized subcommand 'rum'
            hint: a similar subcommand exists: 'run'
            hint: see `shoal --help`
        "#]],
        ),
        (
            "run",
            expect![[r#"
                the following required arguments were not provided: <FILE|DIR>
                hint: see `shoal run --help`
            "#]],
        ),
        (
            "run @/app.wasm --memmory 1MiB",
            expect![[r#"
            unexpected argument '--memmory' found
            hint: a similar argument exists: '--memory'
            hint: to pass '--memmory' as a value, use '-- --memmory'
            hint: see `shoal run --help`
        "#]],
        ),
        (
            "run @/app.wasm stray",
            expect![[r#"
            unexpected argument 'stray' found
            hint: see `shoal run --help`
        "#]],
        ),
        (
            "run @/app.wasm --memory 64mb",
            expect![[r#"
                invalid value '64mb' for '--memory <SIZE>': `64mb` has the unit `mb`; known are B, KiB (or Ki, K), MiB (or Mi, M), GiB (or Gi, G), KB, MB, GB
                hint: see `shoal run --help`
            "#]],
        ),
        (
            "run @/app.wasm --memory 1KiB",
            expect![[r#"
                invalid value '1KiB' for '--memory <SIZE>': a guest needs at least 64KiB
                hint: see `shoal run --help`
            "#]],
        ),
        (
            "run @/app.wasm --stack 1GiB",
            expect![[r#"
                invalid value '1GiB' for '--stack <SIZE>': a stack has 16KiB to 64MiB
                hint: see `shoal run --help`
            "#]],
        ),
        (
            "run @/app.wasm --cpu-time 50",
            expect![[r#"
                invalid value '50' for '--cpu-time <TIME>': it has no unit; say 50ms or 50s
                hint: see `shoal run --help`
            "#]],
        ),
        (
            "run @/app.wasm --timeout 0s",
            expect![[r#"
                invalid value '0s' for '--timeout <TIME>': nothing can be done in no time; say `none` for no limit
                hint: see `shoal run --help`
            "#]],
        ),
        (
            "run @/app.wasm --instances 0",
            expect![[r#"
                invalid value '0' for '--instances <N>': it is not a number from 1 to 4294967295
                hint: see `shoal run --help`
            "#]],
        ),
        (
            "run @/app.wasm --reuse 0",
            expect![[r#"
                invalid value '0' for '--reuse <N>': it is not a number from 1 to 4294967295
                hint: see `shoal run --help`
            "#]],
        ),
        (
            "run @/app.wasm --threads 0",
            expect![[r#"
                invalid value '0' for '--threads <N>': it is not a number from 1 to 1024
                hint: see `shoal run --help`
            "#]],
        ),
        (
            "run @/app.wasm --listen :8080",
            expect![[r#"
                invalid value ':8080' for '--listen <ADDRESS>': it has no address; 0.0.0.0:PORT takes requests from everywhere, PORT from this machine
                hint: see `shoal run --help`
            "#]],
        ),
        (
            "run @/app.wasm --listen 1.2.3.4",
            expect![[r#"
                invalid value '1.2.3.4' for '--listen <ADDRESS>': it is not ADDRESS:PORT, [ADDRESS]:PORT, localhost:PORT or PORT
                hint: see `shoal run --help`
            "#]],
        ),
        (
            "run @/app.wasm --listen 80 --listen 80",
            expect![[r#"
            127.0.0.1:80 is given twice
            hint: give each --listen, and --admin, an address of its own
        "#]],
        ),
        (
            "run @/app.wasm --listen 80 --admin 80",
            expect![[r#"
            127.0.0.1:80 is given twice
            hint: give each --listen, and --admin, an address of its own
        "#]],
        ),
        (
            "run @/app.wasm --allow-listen 65536",
            expect![[r#"
                invalid value '65536' for '--allow-listen <PORT>': 65536 is not in 0..=65535
                hint: see `shoal run --help`
            "#]],
        ),
        (
            "run @/app.wasm --allow-outbound ftp://a:21",
            expect![[r#"
                invalid value 'ftp://a:21' for '--allow-outbound <PATTERN>': `ftp://a:21` has an unknown scheme; known are https, http, tcp, udp and *
                hint: see `shoal run --help`
            "#]],
        ),
        (
            "run @/app.wasm --dir data:relative",
            expect![[r#"
                invalid value 'data:relative' for '--dir <HOST:GUEST[:ro]>': `data:relative` is not HOST:GUEST or HOST:GUEST:ro with an absolute GUEST path
                hint: see `shoal run --help`
            "#]],
        ),
        (
            "run @/app.wasm --dir a:/x --dir b:/x",
            expect![[r#"
            --dir names `/x` twice
            hint: leave out all but one of them
        "#]],
        ),
        (
            "run @/app.wasm --allow-outbound none --allow-outbound x.org",
            expect![[r#"
            --allow-outbound none stands beside other patterns
            hint: leave out `none` to grant what the others do, or the others to grant nothing
        "#]],
        ),
        (
            "run @/app.wasm --env A",
            expect![[r#"
                invalid value 'A' for '--env <NAME=VALUE>': it is not NAME=VALUE
                hint: see `shoal run --help`
            "#]],
        ),
        (
            "run @/app.wasm --env A=1 --env A=2",
            expect![[r#"
            --env names `A` twice
            hint: leave out all but one of them
        "#]],
        ),
        (
            "run @/app.wasm --config =x",
            expect![[r#"
                invalid value '=x' for '--config <NAME=VALUE>': it is not NAME=VALUE
                hint: see `shoal run --help`
            "#]],
        ),
        (
            "run @/app.wasm --kv carts=",
            expect![[r#"
                invalid value 'carts=' for '--kv <NAME[=PATH]>': `carts=` is not NAME (kept in memory) or NAME=PATH
                hint: see `shoal run --help`
            "#]],
        ),
        (
            "run @/app.wasm --kv a --kv a=b",
            expect![[r#"
            --kv names `a` twice
            hint: leave out all but one of them
        "#]],
        ),
        (
            "run @/app.wasm --tls-cert c.pem",
            expect![[r#"
                the following required arguments were not provided: --tls-key <FILE>
                hint: see `shoal run --help`
            "#]],
        ),
        (
            "run @/app.wasm --tls-self-signed --tls-cert c --tls-key k",
            expect![[r#"
            the argument '--tls-self-signed' cannot be used with '--tls-cert <FILE>'
            hint: see `shoal run --help`
        "#]],
        ),
        (
            "run @/app.wasm --access-log xml",
            expect![[r#"
                invalid value 'xml' for '--access-log <FORM>' [possible values: off, human, json]
                hint: see `shoal run --help`
            "#]],
        ),
        (
            "run @/app.wasm --edge-limit uri",
            expect![[r#"
            invalid value 'uri' for '--edge-limit <NAME=VALUE>': it is not NAME=VALUE; NAME is one of header_read, tls_handshake, keep_alive, body_stall, write_stall, header_count, uri, connections, connections_per_peer, requests_per_thread, h2_streams, h2_resets, early_response_drain, linger
            hint: see `shoal run --help`
        "#]],
        ),
        (
            "run @/app.wasm --edge-limit url=1KiB",
            expect![[r#"
            invalid value 'url=1KiB' for '--edge-limit <NAME=VALUE>': there is no limit `url`; NAME is one of header_read, tls_handshake, keep_alive, body_stall, write_stall, header_count, uri, connections, connections_per_peer, requests_per_thread, h2_streams, h2_resets, early_response_drain, linger
            hint: see `shoal run --help`
        "#]],
        ),
        (
            "run @/app.wasm --edge-limit request_body=1KiB",
            expect![[r#"
            invalid value 'request_body=1KiB' for '--edge-limit <NAME=VALUE>': this is a limit of the workload: --request-body
            hint: see `shoal run --help`
        "#]],
        ),
        (
            "run @/app.wasm --edge-limit linger=2",
            expect![[r#"
            invalid value 'linger=2' for '--edge-limit <NAME=VALUE>': it has no unit; say 2ms or 2s
            hint: see `shoal run --help`
        "#]],
        ),
        (
            "run @/app.wasm --edge-limit uri=1KiB --edge-limit uri=2KiB",
            expect![[r#"
            --edge-limit names `uri` twice
            hint: leave out all but one of them
        "#]],
        ),
        (
            "run @/app.wasm --otlp localhost:4318",
            expect![[r#"
            invalid value 'localhost:4318' for '--otlp <URL>': it is not http://HOST[:PORT] or https://HOST[:PORT], such as http://127.0.0.1:4318
            hint: see `shoal run --help`
        "#]],
        ),
        (
            "run @/app.wasm --otlp http://a:4318 --otlp-sample 10%",
            expect![[r#"
            invalid value '10%' for '--otlp-sample <RATIO>': it is not a number from 0 (none) to 1 (all)
            hint: see `shoal run --help`
        "#]],
        ),
        (
            "run @/app.wasm --otlp-sample 0.5",
            expect![[r#"
            the following required arguments were not provided: --otlp <URL>
            hint: see `shoal run --help`
        "#]],
        ),
        (
            "run @/app.wasm --name a/b",
            expect![[r#"
                invalid value 'a/b' for '--name <NAME>': a name has 1 to 63 letters, digits, `-`, `_` or `.`
                hint: see `shoal run --help`
            "#]],
        ),
        (
            "run @",
            expect![[r#"
            2 artifacts in DIR, and one is to run
            hint: name one of DIR/app.wasm, DIR/old.cwasm
        "#]],
        ),
        (
            "inspect @/app.wasm --wit --wat",
            expect![[r#"
            the argument '--wit' cannot be used with '--wat'
            hint: see `shoal inspect --help`
        "#]],
        ),
        (
            "compile @/app.wasm --output @/./app.wasm",
            expect![[r#"
            DIR/app.wasm would be written over by what is made from it
            hint: name another file with --output
        "#]],
        ),
        (
            "compile @/old.cwasm",
            expect![[r#"
            DIR/old.cwasm is compiled already
            hint: compile the .wasm or .wat file that it was made from
        "#]],
        ),
        (
            "push @/old.cwasm ghcr.io/a/b",
            expect![[r#"
                DIR/old.cwasm is compiled, for one kind of machine
                hint: push the .wasm file that it was made from; each node compiles it for itself
            "#]],
        ),
        (
            "push @/app.wasm ghcr.io/a/b --annotation a",
            expect![[r#"
                `a` is not of the form NAME=VALUE
                hint: give --annotation NAME=VALUE
            "#]],
        ),
        (
            "push @/app.wasm ghcr.io/a/b --annotation a=1 --annotation a=2",
            expect![[r#"
                the annotation `a` is given twice
                hint: give each once
            "#]],
        ),
        (
            "completions tcsh",
            expect![[r#"
                invalid value 'tcsh' for '<SHELL>' [possible values: bash, elvish, fish, powershell, zsh]
                hint: a similar value exists: 'zsh'
                hint: see `shoal completions --help`
            "#]],
        ),
    ] {
        place.check_error(typed, &expected);
    }
}

#[test]
fn what_keeps_nothing_needs_no_home() {
    let place = Place::new();
    let app = place.path("app.wasm").display().to_string();
    let parse = |words: &[&str]| {
        let words = std::iter::once("shoal").chain(words.iter().copied()).map(OsString::from);
        parse_in(words, &Surroundings::default()).map(|_| ()).map_err(|exit| exit.code())
    };
    for words in [&["version"][..], &["inspect", &app], &["completions", "bash"], &["man"]] {
        assert_eq!(parse(words), Ok(()), "{words:?}");
    }
    assert_eq!(parse(&["run", &app]), Err(64));
}

#[test]
fn colours_are_read_from_words_that_may_be_wrong() {
    let typed = |words: &[&str]| Color::typed_in(&words.iter().map(OsString::from).collect::<Vec<_>>());
    assert_eq!(typed(&["shoal", "run", "--wrong", "--color", "always"]), Color::Always);
    assert_eq!(typed(&["shoal", "--color=never", "run"]), Color::Never);
    assert_eq!(typed(&["shoal", "run", "a.wasm", "--", "--color", "always"]), Color::Auto, "the guest's own");
    assert_eq!(typed(&["shoal", "--color"]), Color::Auto);
    assert_eq!(typed(&["shoal", "--color", "blue"]), Color::Auto);
}

#[test]
fn what_is_not_there_has_its_own_code() {
    for typed in ["run @/gone.wasm", "inspect @/gone.wasm", "compile @/gone.wasm"] {
        assert_eq!(Place::new().parse(typed).map(|_| ()).map_err(|exit| exit.code()), Err(66), "{typed}");
    }
}

/// The guide that goes with the definitions.
const GUIDE: &str = include_str!("../../../../docs/cli.md");

#[test]
fn the_guide_knows_every_command_and_every_flag() {
    let root = Typed::command();
    for verb in root.get_subcommands() {
        assert!(
            GUIDE.contains(&format!("`shoal {}", verb.get_name())),
            "docs/cli.md lacks `shoal {}`",
            verb.get_name()
        );
    }
    let of_verbs = root.get_subcommands().flat_map(clap::Command::get_arguments);
    for flag in root.get_arguments().chain(of_verbs).filter_map(clap::Arg::get_long) {
        assert!(GUIDE.contains(&format!("--{flag}")), "docs/cli.md lacks --{flag}");
    }
    let known = |flag: &str| {
        let of_verbs = root.get_subcommands().flat_map(clap::Command::get_arguments);
        root.get_arguments().chain(of_verbs).any(|argument| argument.get_long() == Some(flag))
    };
    let is_letter = |c: char| c.is_ascii_lowercase() || c == '-';
    for word in GUIDE.split("`--").skip(1) {
        let flag = &word[..word.find(|c| !is_letter(c)).unwrap_or(word.len())];
        assert!(
            flag.is_empty() || flag == "help" || known(flag),
            "docs/cli.md names --{flag}, which is none"
        );
    }
}

#[test]
fn the_guide_knows_every_exit_code() {
    use crate::exit::{BAD_ARTIFACT, INTERNAL, NO_INPUT, OK, STOPPED, TRAPPED, UNAVAILABLE, USAGE};
    for code in [OK, USAGE, BAD_ARTIFACT, NO_INPUT, UNAVAILABLE, INTERNAL, STOPPED, TRAPPED] {
        assert!(GUIDE.contains(&format!("\n| {code} |")), "docs/cli.md lacks exit code {code}");
    }
}
