//! `WWW-Authenticate`: how a registry wants to be asked (RFC 9110, 11.6.1; OCI distribution, "Authentication").

use http::HeaderMap;
use http::header::WWW_AUTHENTICATE;

/// How a registry wants to be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// With a token, which is had there.
    Bearer {
        /// The URL that gives tokens.
        realm: String,
        /// Whose tokens they are.
        service: Option<String>,
        /// What the token must allow.
        scope: Option<String>,
    },
    /// With a name and a password.
    Basic,
}

/// The way of asking that is preferred among those that the registry offers.
pub(super) fn of(headers: &HeaderMap) -> Option<Challenge> {
    let texts = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
    let found: Vec<Challenge> = texts.flat_map(parse).collect();
    let is_bearer = |challenge: &&Challenge| matches!(challenge, Challenge::Bearer { .. });
    found.iter().find(is_bearer).or(found.first()).cloned()
}

/// Every challenge of one header that is known; what has another form ends the reading.
fn parse(text: &str) -> Vec<Challenge> {
    let mut found = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (scheme, after) = token(rest);
        if scheme.is_empty() {
            return found;
        }
        let (parameters, after) = parameters(after.trim_start());
        let parameter = |name: &str| {
            parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, v)| v.clone())
        };
        if scheme.eq_ignore_ascii_case("basic") {
            found.push(Challenge::Basic);
        } else if let (true, Some(realm)) = (scheme.eq_ignore_ascii_case("bearer"), parameter("realm")) {
            found.push(Challenge::Bearer { realm, service: parameter("service"), scope: parameter("scope") });
        }
        rest = after.trim_start_matches([',', ' ', '\t']);
    }
    found
}

/// `key=value, key="value"`, and what stands behind them.
fn parameters(mut text: &str) -> (Vec<(String, String)>, &str) {
    let mut found = Vec::new();
    loop {
        let (key, after) = token(text);
        let Some(after) = after.trim_start().strip_prefix('=').filter(|_| !key.is_empty()) else {
            return (found, text);
        };
        let Some((value, after)) = value(after.trim_start()) else { return (found, "") };
        found.push((key.to_string(), value));
        let after = after.trim_start();
        let Some(next) = after.strip_prefix(',') else { return (found, after) };
        text = next.trim_start();
    }
}

fn value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let (value, rest) = token(text);
        return Some((value.to_string(), rest));
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => value.push(chars.next()?.1),
            c => value.push(c),
        }
    }
    None
}

fn token(text: &str) -> (&str, &str) {
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~/:".contains(c);
    let end = text.find(|c| !is_token(c)).unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        let (service, scope) = (service.map(String::from), scope.map(String::from));
        Challenge::Bearer { realm: realm.into(), service, scope }
    }

    #[test]
    fn challenges_are_read_as_registries_write_them() {
        let hub = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#;
        let expected = bearer(
            "https://auth.docker.io/token",
            Some("registry.docker.io"),
            Some("repository:a/b:pull,push"),
        );
        assert_eq!(parse(hub), [expected]);
        assert_eq!(parse(r#"Basic realm="Registry Realm""#), [Challenge::Basic]);
        assert_eq!(parse("basic"), [Challenge::Basic]);
        assert_eq!(parse("Bearer realm=https://a/t"), [bearer("https://a/t", None, None)]);
        assert_eq!(parse(r#"Bearer realm="a \"b\"""#), [bearer("a \"b\"", None, None)]);
        assert_eq!(
            parse(r#"Negotiate, Basic realm="x", Bearer realm="y""#),
            [Challenge::Basic, bearer("y", None, None)]
        );
        for nothing in ["", "Bearer", "Bearer realm=\"open", "Digest realm=\"x\", nonce=1", "=,=", ",,,"] {
            assert_eq!(parse(nothing), [], "{nothing}");
        }
    }

    #[test]
    fn a_token_is_preferred() {
        let mut headers = HeaderMap::new();
        assert_eq!(of(&headers), None);
        headers.append(WWW_AUTHENTICATE, "Basic realm=\"x\"".parse().expect("a value"));
        assert_eq!(of(&headers), Some(Challenge::Basic));
        headers.append(WWW_AUTHENTICATE, "Bearer realm=\"y\"".parse().expect("a value"));
        assert_eq!(of(&headers), Some(bearer("y", None, None)));
    }
}
