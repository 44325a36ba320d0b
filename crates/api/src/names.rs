//! What names may look like, in the words of Kubernetes.
//!
//! Source: `k8s.io/apimachinery/pkg/util/validation` and `pkg/api/validation` of 1.32. Each function gives what is
//! wrong with a text, and nothing when it is right; the caller knows the field.

mod network;

pub use network::{cidr, ip, ipv4, ipv6, parse_cidr, parse_ip, port, port_name};

/// Longest DNS label, in bytes.
pub const LABEL_BYTES_MAX: usize = 63;
/// Longest DNS subdomain, in bytes.
pub const SUBDOMAIN_BYTES_MAX: usize = 253;
/// Longest key of a `ConfigMap` or `Secret`, in bytes.
pub const CONFIG_KEY_BYTES_MAX: usize = 253;

/// Letters that a name gets behind its `generateName`.
pub const SUFFIX_LETTERS: usize = 5;
/// No vowels, so that no words come about, and nothing that is read as something else.
const SUFFIX_ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

const LABEL: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const SUBDOMAIN: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const WILDCARD: &str = "\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const SUBDOMAIN_WORDS: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, \
                               '-' or '.', and must start and end with an alphanumeric character";
const QUALIFIED: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const QUALIFIED_WORDS: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with \
                               an alphanumeric character";

/// The end of a generated name, as Kubernetes draws it; the same for the same number.
pub fn suffix(mut drawn: u64) -> String {
    let size = SUFFIX_ALPHABET.len();
    let mut letter = || {
        let at = usize::try_from(drawn % size as u64).unwrap_or_default();
        drawn /= size as u64;
        char::from(SUFFIX_ALPHABET[at])
    };
    (0..SUFFIX_LETTERS).map(|_| letter()).collect()
}

/// `my-name`: names of namespaces, containers, volumes.
pub fn dns1123_label(text: &str) -> Vec<String> {
    let mut wrong = too_long(text, LABEL_BYTES_MAX);
    if is_label(text) {
        return wrong;
    }
    wrong.push(if is_subdomain(text) {
        "must not contain dots".into()
    } else {
        pattern(
            "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start \
             and end with an alphanumeric character",
            LABEL,
            &["my-name", "123-abc"],
        )
    });
    wrong
}

/// `example.com`: names of most objects.
pub fn dns1123_subdomain(text: &str) -> Vec<String> {
    let wrong = too_long(text, SUBDOMAIN_BYTES_MAX);
    unless(is_subdomain(text), wrong, || pattern(SUBDOMAIN_WORDS, SUBDOMAIN, &["example.com"]))
}

/// `*.example.com`: hosts of an Ingress.
pub fn wildcard_subdomain(text: &str) -> Vec<String> {
    let wrong = too_long(text, SUBDOMAIN_BYTES_MAX);
    unless(text.strip_prefix("*.").is_some_and(is_subdomain), wrong, || {
        let words = "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must \
                     consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character";
        pattern(words, WILDCARD, &["*.example.com"])
    })
}

/// `my-name`, not beginning with a digit: names of Services.
pub fn dns1035_label(text: &str) -> Vec<String> {
    let right = is_label(text) && text.starts_with(|c: char| c.is_ascii_lowercase());
    unless(right, too_long(text, LABEL_BYTES_MAX), || {
        let words = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an \
                     alphabetic character, and end with an alphanumeric character";
        pattern(words, "[a-z]([-a-z0-9]*[a-z0-9])?", &["my-name", "abc-123"])
    })
}

/// `example.com/MyName`: keys of labels, annotations and resources; names of finalizers.
pub fn qualified(text: &str) -> Vec<String> {
    let words = || pattern(QUALIFIED_WORDS, QUALIFIED, &["MyName", "my.name", "123-abc"]);
    let mut wrong = Vec::new();
    let name = match text.split_once('/') {
        None => text,
        Some((_, name)) if name.contains('/') => {
            return vec![format!(
                "a qualified name {} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')",
                words()
            )];
        }
        Some(("", name)) => {
            wrong.push(format!("prefix part {}", empty()));
            name
        }
        Some((prefix, name)) => {
            wrong.extend(dns1123_subdomain(prefix).iter().map(|one| format!("prefix part {one}")));
            name
        }
    };
    if name.is_empty() {
        wrong.push(format!("name part {}", empty()));
    }
    wrong.extend(too_long(name, LABEL_BYTES_MAX).iter().map(|one| format!("name part {one}")));
    unless(is_qualified(name), wrong, || format!("name part {}", words()))
}

/// The value of a label; may be empty.
pub fn label_value(text: &str) -> Vec<String> {
    let wrong = too_long(text, LABEL_BYTES_MAX);
    unless(text.is_empty() || is_qualified(text), wrong, || {
        let words = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', \
                     and must start and end with an alphanumeric character";
        pattern(words, &format!("({QUALIFIED})?"), &["MyValue", "my_value", "12345"])
    })
}

/// What an object of any kind may be called: one part of a URL path.
pub fn path_segment(text: &str) -> Vec<String> {
    if matches!(text, "." | "..") {
        return vec![format!("may not be '{text}'")];
    }
    ["/", "%"]
        .into_iter()
        .filter(|part| text.contains(part))
        .map(|part| format!("may not contain '{part}'"))
        .collect()
}

/// The name that a `generateName` is checked as: a dash at its end would be followed by letters.
pub fn mask_trailing_dash(prefix: &str) -> String {
    match prefix.strip_suffix('-') {
        // As upstream: the character before the dash goes too.
        Some(name) if !name.is_empty() => {
            let kept = name.char_indices().next_back().map_or(0, |(at, _)| at);
            format!("{}a", &name[..kept])
        }
        _ => prefix.into(),
    }
}

/// `my_name`: an identifier of C.
pub fn c_identifier(text: &str) -> Vec<String> {
    let first = |c: char| c.is_ascii_alphabetic() || c == '_';
    let right = text.starts_with(first) && text.chars().all(|c| first(c) || c.is_ascii_digit());
    unless(right, Vec::new(), || {
        let words = "a valid C identifier must start with alphabetic character or '_', followed by a string of \
                     alphanumeric characters or '_'";
        pattern(words, "[A-Za-z_][A-Za-z0-9_]*", &["my_name", "MY_NAME", "MyName"])
    })
}

/// The name of an environment variable, as it was until 1.31 and still is in `envFrom` prefixes of older objects.
pub fn env_var(text: &str) -> Vec<String> {
    let first = |c: char| c.is_ascii_alphabetic() || "-._".contains(c);
    let right = text.starts_with(first) && text.chars().all(|c| first(c) || c.is_ascii_digit());
    let mut wrong = unless(right, Vec::new(), || {
        let words = "a valid environment variable name must consist of alphabetic characters, digits, '_', '-', or \
                     '.', and must not start with a digit";
        pattern(words, "[-._a-zA-Z][-._a-zA-Z0-9]*", &["my.env-name", "MY_ENV.NAME", "MyEnvName1"])
    });
    wrong.extend(leads_upwards(text));
    wrong
}

/// The name of an environment variable in 1.32: any printable ASCII but `=`.
pub fn relaxed_env_var(text: &str) -> Vec<String> {
    if text.is_empty() {
        return vec![format!("environment variable name {}", empty())];
    }
    unless(text.chars().all(|c| (' '..='~').contains(&c) && c != '='), Vec::new(), || {
        "a valid environment variable name must consist only of printable ASCII characters other than '='"
            .into()
    })
}

/// A key of a `ConfigMap` or `Secret`.
pub fn config_key(text: &str) -> Vec<String> {
    let right = !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c));
    let mut wrong = unless(right, too_long(text, CONFIG_KEY_BYTES_MAX), || {
        let words = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'";
        pattern(words, "[-._a-zA-Z0-9]+", &["key.name", "KEY_NAME", "key-name"])
    });
    wrong.extend(leads_upwards(text));
    wrong
}

/// The name of an HTTP header.
pub fn http_header(text: &str) -> Vec<String> {
    let right = !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    unless(right, Vec::new(), || {
        let words = "a valid HTTP header must consist of alphanumeric characters or '-'";
        pattern(words, "[-A-Za-z0-9]+", &["X-Header-Name"])
    })
}

/// `25%`.
pub fn percent(text: &str) -> Vec<String> {
    let digits = text.strip_suffix('%').unwrap_or_default();
    let right = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    unless(right, Vec::new(), || {
        let words = "a valid percent string must be a numeric string followed by an ending '%'";
        pattern(words, "[0-9]+%", &["1%", "93%"])
    })
}

/// A domain of at least three parts: `signer.example.com`.
pub fn fully_qualified(text: &str) -> Vec<String> {
    let wrong = dns1123_subdomain(text);
    if !wrong.is_empty() {
        return wrong;
    }
    unless(text.split('.').count() >= 3, wrong, || {
        "should be a domain with at least three segments separated by dots".into()
    })
}

/// `example.com/path`.
pub fn domain_prefixed_path(text: &str) -> Vec<String> {
    let Some((domain, path)) =
        text.split_once('/').filter(|(domain, path)| !domain.is_empty() && !path.is_empty())
    else {
        return vec!["must be a domain-prefixed path (such as \"acme.io/foo\")".into()];
    };
    let wrong = dns1123_subdomain(domain);
    let in_path = |c: char| c.is_ascii_alphanumeric() || "/-._~%!$&'()*+,;=:".contains(c);
    if !wrong.is_empty() {
        return wrong.into_iter().take(1).collect();
    }
    unless(path.chars().all(in_path), wrong, || {
        format!("Invalid path (regex used for validation is '{}')", "[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+")
    })
}

/// `must be between least and most, inclusive`, for a number that is not.
pub fn in_range(number: i64, least: i64, most: i64) -> Vec<String> {
    unless((least..=most).contains(&number), Vec::new(), || {
        format!("must be between {least} and {most}, inclusive")
    })
}

/// What is said of a text with more bytes than it may have.
pub fn max_length(bytes_max: usize) -> String {
    format!("must be no more than {bytes_max} characters")
}

/// What is said of an empty text.
pub fn empty() -> &'static str {
    "must be non-empty"
}

/// What is said of a text that does not match a pattern.
pub fn pattern(words: &str, pattern: &str, examples: &[&str]) -> String {
    if examples.is_empty() {
        return format!("{words} (regex used for validation is '{pattern}')");
    }
    let examples: Vec<String> = examples.iter().map(|example| format!("'{example}', ")).collect();
    format!("{words} (e.g. {}regex used for validation is '{pattern}')", examples.join(" or "))
}

fn too_long(text: &str, bytes_max: usize) -> Vec<String> {
    if text.len() > bytes_max { vec![max_length(bytes_max)] } else { Vec::new() }
}

/// With one more thing that is wrong, unless it is right.
fn unless(right: bool, mut wrong: Vec<String>, words: impl FnOnce() -> String) -> Vec<String> {
    if !right {
        wrong.push(words());
    }
    wrong
}

/// A name that would be read as a way out of its directory.
fn leads_upwards(text: &str) -> Option<String> {
    match text {
        "." => Some("must not be '.'".into()),
        ".." => Some("must not be '..'".into()),
        text if text.starts_with("..") => Some("must not start with '..'".into()),
        _ => None,
    }
}

fn is_label(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.starts_with(plain) && text.ends_with(plain) && text.chars().all(|c| plain(c) || c == '-')
}

fn is_subdomain(text: &str) -> bool {
    text.split('.').all(is_label)
}

fn is_qualified(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric();
    text.starts_with(plain) && text.ends_with(plain) && text.chars().all(|c| plain(c) || "-_.".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Check = fn(&str) -> Vec<String>;

    #[test]
    fn names_that_are_right() {
        let long = "a".repeat(LABEL_BYTES_MAX);
        let subdomain = format!("{}.a", "a".repeat(SUBDOMAIN_BYTES_MAX - 2));
        let checks: [(Check, &[&str]); 14] = [
            (dns1123_label, &["a", "0", "a-b", "1a", &long]),
            (dns1123_subdomain, &["a", "a.b", "a-b.c-d", "1.2", &subdomain]),
            (wildcard_subdomain, &["*.a", "*.example.com"]),
            (dns1035_label, &["a", "a0", "a-b"]),
            (qualified, &["a", "A_b.c-D", "a.b/C", &long]),
            (label_value, &["", "a", "A_b.c", "1"]),
            (path_segment, &["a:b", "...", "ä"]),
            (c_identifier, &["_", "a1"]),
            (env_var, &["A", "-a.b_c", ".a"]),
            (relaxed_env_var, &["1 a", "a/b"]),
            (config_key, &["a.b", ".a", "1"]),
            (http_header, &["X-A"]),
            (percent, &["0%", "100%"]),
            (domain_prefixed_path, &["a.b/c/d"]),
        ];
        for (check, texts) in checks {
            for text in texts {
                assert_eq!(check(text), Vec::<String>::new(), "{text}");
            }
        }
    }

    #[test]
    fn names_that_are_wrong_are_told_as_by_kubernetes() {
        let subdomain = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or \
                         '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used \
                         for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
        let name = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
                    alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation \
                    is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
        assert_eq!(dns1123_subdomain("Bad_Name"), [subdomain]);
        assert_eq!(dns1123_label("a.b"), ["must not contain dots"]);
        assert_eq!(
            dns1123_label("A"),
            [
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start \
              and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
              '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
            ]
        );
        assert_eq!(qualified("a b"), [format!("name part {name}")]);
        assert_eq!(qualified("/a"), ["prefix part must be non-empty"]);
        assert_eq!(
            qualified("A/"),
            [
                format!("prefix part {subdomain}"),
                "name part must be non-empty".into(),
                format!("name part {name}")
            ]
        );
        assert!(qualified("a/b/c")[0].starts_with("a qualified name must consist of"));
        assert_eq!(label_value(&"a".repeat(LABEL_BYTES_MAX + 1)), ["must be no more than 63 characters"]);
        assert_eq!(
            dns1123_subdomain(&"a".repeat(SUBDOMAIN_BYTES_MAX + 1)),
            ["must be no more than 253 characters"]
        );
        assert_eq!(
            config_key(&"a".repeat(CONFIG_KEY_BYTES_MAX + 1)),
            ["must be no more than 253 characters"]
        );
        assert_eq!(path_segment(".."), ["may not be '..'"]);
        assert_eq!(path_segment("a/b%"), ["may not contain '/'", "may not contain '%'"]);
        assert_eq!(config_key("../a").last().map(String::as_str), Some("must not start with '..'"));
        assert_eq!(relaxed_env_var("a=b").len(), 1);
        assert_eq!(
            fully_qualified("a.b"),
            ["should be a domain with at least three segments separated by dots"]
        );
        assert_eq!(in_range(0, 1, 65_535), ["must be between 1 and 65535, inclusive"]);
    }

    #[test]
    fn a_prefix_is_checked_as_if_it_went_on() {
        for (prefix, expected) in [("web-", "wea"), ("web", "web"), ("-", "-"), ("a-", "a"), ("ä-", "a")] {
            assert_eq!(mask_trailing_dash(prefix), expected);
        }
    }
}
