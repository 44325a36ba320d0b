//! Files of credentials as they are found, and whom each is for.

use super::*;
use crate::artifact::Reference;

fn image(text: &str) -> Image {
    match text.parse() {
        Ok(Reference::Image(image)) => image,
        other => panic!("{text} is no image: {other:?}"),
    }
}

fn basic(username: &str, password: &str) -> Credential {
    Credential::Basic { username: username.into(), password: password.into() }
}

#[test]
fn every_form_of_a_credential_is_read() {
    let text = br#"{
        "auths": {
            "https://index.docker.io/v1/": {"auth": "YWRhOnM6Y3JldA=="},
            "ghcr.io": {"username": "ada", "password": "x", "email": "ada@example.com"},
            "registry.example.com:5000/team": {"auth": "YWRhOng", "identitytoken": "id"},
            "quay.io": {"registrytoken": "token"},
            "helped.example.com": {}
        },
        "credsStore": "desktop", "HttpHeaders": {"User-Agent": "x"}
    }"#;
    let keyring = Keyring::parse(text).expect("a file of docker login");
    let of = |text: &str| keyring.of_image(&image(text)).into_iter().cloned().collect::<Vec<_>>();
    assert_eq!(of("hello"), [basic("ada", "s:cret")]);
    assert_eq!(of("ghcr.io/a/b"), [basic("ada", "x")]);
    assert_eq!(of("registry.example.com:5000/team/app"), [Credential::Identity("id".into())]);
    assert_eq!(of("quay.io/a"), [Credential::Bearer("token".into())]);
    for other in [
        "helped.example.com/a",
        "registry.example.com:5000/teams",
        "registry.example.com/team",
        "example.com/a",
    ] {
        assert_eq!(of(other), [], "{other}");
    }
    let legacy = Keyring::parse_legacy(br#"{"ghcr.io": {"auth": "YWRhOng="}}"#).expect("a .dockercfg");
    assert_eq!(legacy.of_image(&image("ghcr.io/a")), [&basic("ada", "x")]);
}

#[test]
fn words_of_a_host_may_be_left_open() {
    for (pattern, registry, fits) in [
        ("*.example.com", "eu.example.com/a", true),
        ("*.example.com", "example.com/a", false),
        ("*.example.com", "a.b.example.com/a", false),
        ("*.*.example.com", "a.b.example.com/a", true),
        ("reg*y.example.com", "registry.example.com/a", true),
        ("reg*y.example.com", "regis.example.com/a", false),
        ("*.example.com:5000", "eu.example.com/a", false),
        ("EU.example.com", "eu.example.com/a", true),
    ] {
        let keyring = Keyring::with(pattern, Credential::Bearer("x".into()));
        assert_eq!(!keyring.of_image(&image(registry)).is_empty(), fits, "{pattern} {registry}");
    }
}

#[test]
fn the_longest_path_comes_first() {
    let mut keyring = Keyring::with("ghcr.io", Credential::Bearer("all".into()));
    keyring.extend(Keyring::with("ghcr.io/ada/app", Credential::Bearer("app".into())));
    keyring.extend(Keyring::with("ghcr.io/ada", Credential::Bearer("ada".into())));
    let tokens = |text: &str| keyring.of_image(&image(text)).into_iter().cloned().collect::<Vec<_>>();
    let token = |text: &str| Credential::Bearer(text.into());
    assert_eq!(tokens("ghcr.io/ada/app"), [token("app"), token("ada"), token("all")]);
    assert_eq!(tokens("ghcr.io/ada/other"), [token("ada"), token("all")]);
}

#[test]
fn what_is_wrong_is_told_without_showing_a_secret() {
    let error = Keyring::parse(br#"{"auths": {"ghcr.io": {"auth": "c2VjcmV0"}}}"#).expect_err("no colon");
    assert_eq!(error.to_string(), "`auth` of `ghcr.io` is not the base64 of NAME:PASSWORD");
    let error = Keyring::parse(br#"{"auths": {"ghcr.io": "secret"}}"#).expect_err("no object");
    assert!(error.to_string().starts_with("it is not of the form") && !error.to_string().contains("secret"));
    assert_eq!(Keyring::parse(&vec![b' '; CONFIG_BYTES_MAX + 1]), Err(KeyringError::TooLarge));
    assert!(matches!(Keyring::parse(&vec![b' '; CONFIG_BYTES_MAX]), Err(KeyringError::Form { .. })));
    assert!(!format!("{:?}", basic("ada", "secret")).contains("secret"));
}

#[test]
fn a_pattern_takes_no_longer_for_its_stars() {
    let (pattern, word) = (format!("{}b", "*a".repeat(30)), "a".repeat(250));
    assert!(!glob(&pattern, &word) && glob(&format!("{pattern}*"), &format!("{word}b{word}")));
    for (pattern, word, fits) in [
        ("*", "", true),
        ("a*a", "a", false),
        ("a*a", "aa", true),
        ("a*b*c", "A-b-B-C", true),
        ("a*b*c", "acb", false),
        ("**", "x", true),
    ] {
        assert_eq!(glob(pattern, word), fits, "{pattern} {word}");
    }
}
