//! Where an API server is and who one is there: kubeconfig files, and the place that pods find.

use std::path::{Path, PathBuf};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::Value;

/// Where an API server is, what it is believed by, and who one is there.
#[derive(Clone, PartialEq, Eq)]
pub struct Config {
    /// `https://HOST:PORT`, maybe with a path.
    pub server: String,
    /// The name that its certificate must have; empty: the host of `server`.
    pub server_name: String,
    /// PEM of the authorities; none: the public ones.
    pub authorities: Option<Vec<u8>>,
    /// PEM of a certificate and of its key.
    pub certificate: Option<(Vec<u8>, Vec<u8>)>,
    /// A bearer token.
    pub token: Token,
    /// The namespace where none is said; empty: `default`.
    pub namespace: String,
}

/// A bearer token.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum Token {
    /// None.
    #[default]
    None,
    /// This one.
    Text(String),
    /// What stands in this file, which others renew.
    File(PathBuf),
}

/// Why it is not known where the API server is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {what}", path = .path.display())]
pub struct ConfigError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub what: String,
}

/// Where pods find their token and the authority.
const IN_CLUSTER: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

impl Config {
    /// What a kubeconfig file says; `context` chooses one of several, none the current.
    ///
    /// # Errors
    /// It cannot be read, or does not say where the server is and who asks.
    pub fn from_file(path: &Path, context: Option<&str>) -> Result<Self, ConfigError> {
        let failed = |what: String| ConfigError { path: path.into(), what };
        let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
        let directory = path.parent().unwrap_or(Path::new("."));
        Self::from_text(&text, context, directory).map_err(failed)
    }

    /// What the text of a kubeconfig says; files that it names are looked for in `directory`.
    ///
    /// # Errors
    /// A sentence.
    pub fn from_text(text: &str, context: Option<&str>, directory: &Path) -> Result<Self, String> {
        let config: Value =
            serde_saphyr::from_str(text).map_err(|error| format!("it is no YAML: {error}"))?;
        let current = config["current-context"].as_str().unwrap_or_default();
        let context = named(&config, "contexts", "context", context.unwrap_or(current))?;
        let of = |field: &str| context[field].as_str().unwrap_or_default();
        let cluster = named(&config, "clusters", "cluster", of("cluster"))?;
        let user = match of("user") {
            "" => &Value::Null,
            name => named(&config, "users", "user", name)?,
        };
        if cluster["insecure-skip-tls-verify"].as_bool() == Some(true) {
            return Err("it asks not to verify the server, which is not done: name its authority".into());
        }
        for unknown in ["exec", "auth-provider", "username"] {
            if !user[unknown].is_null() {
                return Err(format!(
                    "its user has `{unknown}`, which is not known: use a certificate or a token"
                ));
            }
        }
        // What is asked for and not done is refused: without it requests would be someone else's, or go another way.
        for (of, whose, unknown) in [
            (user, "user", "as"),
            (user, "user", "as-uid"),
            (user, "user", "as-groups"),
            (user, "user", "as-user-extra"),
            (cluster, "cluster", "proxy-url"),
        ] {
            if is_given(&of[unknown]) {
                return Err(format!(
                    "its {whose} has `{unknown}`, which is not done: remove it, or choose another context"
                ));
            }
        }
        let server = cluster["server"].as_str().unwrap_or_default().trim_end_matches('/');
        if server.is_empty() {
            return Err("its cluster has no server".into());
        }
        let certificate = data(user, "client-certificate", directory)?;
        let key = data(user, "client-key", directory)?;
        let certificate = match (certificate, key) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => {
                return Err("its user has a certificate without a key, or a key without a certificate".into());
            }
        };
        // An empty one is none, as the programs have it that write such files.
        let given = |field: &str| user[field].as_str().map(str::trim).filter(|text| !text.is_empty());
        let token = match (given("tokenFile"), given("token")) {
            (Some(file), _) => Token::File(directory.join(file)),
            (None, Some(text)) => Token::Text(text.into()),
            (None, None) => Token::None,
        };
        Ok(Self {
            server: server.into(),
            server_name: cluster["tls-server-name"].as_str().unwrap_or_default().into(),
            authorities: data(cluster, "certificate-authority", directory)?,
            certificate,
            token,
            namespace: of("namespace").into(),
        })
    }

    /// What a pod finds in a cluster of Kubernetes; none outside of one.
    ///
    /// # Errors
    /// The authority cannot be read.
    pub fn in_cluster() -> Result<Option<Self>, ConfigError> {
        let variable = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
        let place = (variable("KUBERNETES_SERVICE_HOST"), variable("KUBERNETES_SERVICE_PORT"));
        let (Some(host), Some(port)) = place else { return Ok(None) };
        let path = Path::new(IN_CLUSTER).join("ca.crt");
        let authorities = std::fs::read(&path);
        let authorities = authorities.map_err(|error| ConfigError { path, what: error.to_string() })?;
        let host = if host.contains(':') { format!("[{host}]") } else { host };
        Ok(Some(Self {
            server: format!("https://{host}:{port}"),
            server_name: String::new(),
            authorities: Some(authorities),
            certificate: None,
            token: Token::File(Path::new(IN_CLUSTER).join("token")),
            namespace: std::fs::read_to_string(Path::new(IN_CLUSTER).join("namespace")).unwrap_or_default(),
        }))
    }
}

/// Whether a field says anything.
fn is_given(field: &Value) -> bool {
    match field {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        Value::Bool(_) | Value::Number(_) => true,
    }
}

/// The entry of a list in a kubeconfig that has this name.
fn named<'a>(config: &'a Value, list: &str, field: &str, name: &str) -> Result<&'a Value, String> {
    let entries = config[list].as_array().map(Vec::as_slice).unwrap_or_default();
    let found = entries.iter().find(|entry| entry["name"].as_str() == Some(name));
    found.map(|entry| &entry[field]).ok_or_else(|| format!("it has no {field} {name:?}"))
}

/// What stands in `FIELD-data`, or in the file that `FIELD` names.
fn data(of: &Value, field: &str, directory: &Path) -> Result<Option<Vec<u8>>, String> {
    if let Some(text) = of[format!("{field}-data")].as_str().filter(|text| !text.is_empty()) {
        let bytes =
            BASE64_STANDARD.decode(text).map_err(|error| format!("{field}-data is no base64: {error}"))?;
        return Ok(Some(bytes));
    }
    let Some(file) = of[field].as_str().filter(|text| !text.is_empty()) else { return Ok(None) };
    let path = directory.join(file);
    let bytes = std::fs::read(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    Ok(Some(bytes))
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config").field("server", &self.server).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
current-context: a
contexts:
- {name: a, context: {cluster: one, user: me}}
- {name: b, context: {cluster: two, user: bot, namespace: team}}
- {name: c, context: {cluster: one, user: nobody}}
- {name: d, context: {cluster: one, user: tool}}
- {name: e, context: {cluster: one, user: other}}
- {name: f, context: {cluster: one, user: member}}
- {name: g, context: {cluster: one, user: double}}
- {name: h, context: {cluster: one, user: extra}}
- {name: i, context: {cluster: behind, user: me}}
- {name: j, context: {cluster: one, user: blank}}
- {name: k, context: {cluster: one, user: file}}
clusters:
- {name: one, cluster: {server: "https://one:6443/", certificate-authority-data: Q0E=}}
- {name: two, cluster: {server: "https://two", tls-server-name: kubernetes}}
- {name: behind, cluster: {server: "https://three", proxy-url: "http://proxy:3128"}}
users:
- {name: me, user: {client-certificate-data: Q1JU, client-key-data: S0VZ}}
- {name: bot, user: {tokenFile: token}}
- {name: tool, user: {exec: {command: aws}}}
- {name: other, user: {token: secret, as: root}}
- {name: member, user: {token: secret, as-groups: ["system:masters"]}}
- {name: double, user: {token: secret, as-uid: "7"}}
- {name: extra, user: {token: secret, as-user-extra: {scopes: [all]}}}
- {name: blank, user: {token: " ", tokenFile: "", as: "", as-groups: [], as-user-extra: {}}}
- {name: file, user: {token: "", tokenFile: token}}
"#;

    #[test]
    fn a_kubeconfig_says_where_and_who() {
        let read = |context| Config::from_text(TEXT, context, Path::new("/etc"));
        let first = read(None).expect("a config");
        assert_eq!(first.server, "https://one:6443");
        assert_eq!(first.authorities.as_deref(), Some(&b"CA"[..]));
        assert_eq!(first.certificate, Some((b"CRT".to_vec(), b"KEY".to_vec())));
        let second = read(Some("b")).expect("a config");
        assert_eq!((second.server_name.as_str(), second.authorities), ("kubernetes", None));
        assert_eq!((first.namespace.as_str(), second.namespace.as_str()), ("", "team"));
        assert!(second.token == Token::File("/etc/token".into()));
        for (context, what) in [
            (Some("c"), "it has no user \"nobody\""),
            (Some("x"), "it has no context \"x\""),
            (Some("d"), "its user has `exec`, which is not known: use a certificate or a token"),
            (Some("e"), "its user has `as`, which is not done: remove it, or choose another context"),
            (Some("f"), "its user has `as-groups`, which is not done: remove it, or choose another context"),
            (Some("g"), "its user has `as-uid`, which is not done: remove it, or choose another context"),
            (
                Some("h"),
                "its user has `as-user-extra`, which is not done: remove it, or choose another context",
            ),
            (
                Some("i"),
                "its cluster has `proxy-url`, which is not done: remove it, or choose another context",
            ),
        ] {
            assert_eq!(read(context).map(|config| config.server), Err(what.to_owned()));
        }
        assert!(read(Some("j")).expect("a config").token == Token::None, "an empty token is none");
        assert!(read(Some("k")).expect("a config").token == Token::File("/etc/token".into()));
    }
}
