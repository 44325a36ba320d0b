//! What images read as, and every way to write them wrong.

use super::*;

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn shown(text: &str) -> String {
    text.parse::<Reference>().map_or_else(|error| panic!("{error}"), |reference| reference.to_string())
}

#[test]
fn names_are_filled_in() {
    for (text, expected) in [
        ("hello", "docker.io/library/hello:latest"),
        ("ada/hello", "docker.io/ada/hello:latest"),
        ("ada/hello:1.0", "docker.io/ada/hello:1.0"),
        ("ghcr.io/ada/hello", "ghcr.io/ada/hello:latest"),
        ("localhost/hello", "localhost/hello:latest"),
        ("localhost:5000/hello", "localhost:5000/hello:latest"),
        ("hello:5000", "docker.io/library/hello:5000"),
        ("[::1]:5000/a/b/c:x", "[::1]:5000/a/b/c:x"),
        ("[::1]/a", "[::1]/a:latest"),
        ("Registry/a", "Registry/a:latest"),
        ("ghcr.io/a__b/c-d/e.f", "ghcr.io/a__b/c-d/e.f:latest"),
        ("/srv/hello.wasm", "/srv/hello.wasm"),
        ("file:///srv/hello%20you.wasm", "/srv/hello you.wasm"),
        ("file://localhost/srv/hello.wasm", "/srv/hello.wasm"),
    ] {
        assert_eq!(shown(text), expected, "{text}");
        assert_eq!(shown(expected), expected, "what is shown means the same");
    }
    assert_eq!(shown(&format!("hello@{DIGEST}")), format!("docker.io/library/hello@{DIGEST}"));
    assert_eq!(shown(&format!("ghcr.io/a/b:1@{DIGEST}")), format!("ghcr.io/a/b:1@{DIGEST}"));
}

#[test]
fn a_wrong_part_is_named() {
    let long_word = |length: usize| "a".repeat(length);
    for (text, part) in [
        (String::new(), Part::Whole),
        ("https://ghcr.io/a/b".into(), Part::Whole),
        ("file://a.wasm".into(), Part::Path),
        ("file:///a%2".into(), Part::Path),
        ("file:///a%ff".into(), Part::Path),
        ("/srv/".into(), Part::Path),
        ("/a\0b".into(), Part::Path),
        (format!("/{}", long_word(PATH_BYTES_MAX)), Part::Path),
        ("-a.b/c".into(), Part::Host),
        ("a..b/c".into(), Part::Host),
        ("[::x]/c".into(), Part::Host),
        (format!("{}.b/c", long_word(HOST_BYTES_MAX)), Part::Host),
        ("a.b:0/c".into(), Part::Port),
        ("a.b:65536/c".into(), Part::Port),
        ("a.b:+1/c".into(), Part::Port),
        ("a.b:/c".into(), Part::Port),
        ("ghcr.io/".into(), Part::Repository),
        ("ghcr.io/Ada".into(), Part::Repository),
        ("ghcr.io/a//b".into(), Part::Repository),
        ("ghcr.io/a/.b".into(), Part::Repository),
        ("ghcr.io/a..b".into(), Part::Repository),
        ("ghcr.io/a___b".into(), Part::Repository),
        ("ghcr.io/a b".into(), Part::Repository),
        (long_word(REPOSITORY_BYTES_MAX + 1), Part::Repository),
        ("a:".into(), Part::Tag),
        ("a:.b".into(), Part::Tag),
        ("a:b c".into(), Part::Tag),
        (format!("a:{}", long_word(TAG_BYTES_MAX + 1)), Part::Tag),
        ("a@".into(), Part::Digest),
        ("a@sha256:00".into(), Part::Digest),
        ("a@sha512:00".into(), Part::Digest),
    ] {
        let error = text.parse::<Reference>().expect_err(&text);
        assert_eq!(error.part, part, "{error}");
        assert!(
            error.to_string().starts_with(&format!("`{text}` names no artifact: the {part} ")),
            "{error}"
        );
    }
}

#[test]
fn the_longest_parts_fit() {
    for text in [
        "a".repeat(REPOSITORY_BYTES_MAX),
        format!("a:{}", "a".repeat(TAG_BYTES_MAX)),
        format!("/{}", "a".repeat(PATH_BYTES_MAX - 1)),
        "a.b:65535/c".into(),
    ] {
        assert!(text.parse::<Reference>().is_ok(), "{text}");
    }
}

#[test]
fn a_digest_decides() {
    let Ok(Reference::Image(image)) = "ghcr.io/a/b:1".parse() else { panic!("an image") };
    assert_eq!(image.version(), "1");
    let pinned = image.pinned(Digest::of(b""));
    assert_eq!((pinned.version(), pinned.to_string()), (DIGEST.into(), format!("ghcr.io/a/b@{DIGEST}")));
    assert_eq!(pinned.tagged("2").map(|image| image.to_string()), Ok("ghcr.io/a/b:2".into()));
    assert!(image.tagged("a b").is_err());
}
