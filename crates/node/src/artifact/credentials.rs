//! What registries ask for: the files of `docker login`, and Secrets of type `kubernetes.io/dockerconfigjson`.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use serde::Deserialize;

use super::Image;
use super::reference::split_port;

/// What proves to a registry who asks.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Credential {
    /// A name and a password.
    Basic {
        /// The name.
        username: String,
        /// The password, or a token that stands for it.
        password: String,
    },
    /// A token with which others are asked for (`identitytoken`).
    Identity(String),
    /// A token that the registry itself takes (`registrytoken`).
    Bearer(String),
}

/// Credentials by the registries, and the parts of them, that they are for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Keyring(Vec<Key>);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    /// `host[:port][/path]`; a `*` in the host stands for one of its words.
    pattern: String,
    credential: Credential,
}

/// A file of credentials that cannot be understood. Never shows what stands in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyringError {
    /// It is larger than any such file.
    #[error("it has more than {CONFIG_BYTES_MAX} bytes")]
    TooLarge,
    /// It is no JSON, or not of this form.
    #[error(
        "it is not of the form {{\"auths\": {{\"REGISTRY\": {{\"auth\": \"...\"}}}}}} (line {line}, column {column})"
    )]
    Form {
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
    },
    /// `auth` is not what it should be.
    #[error("`auth` of `{0}` is not the base64 of NAME:PASSWORD")]
    Auth(String),
}

/// Largest file of credentials: what a Secret may hold.
const CONFIG_BYTES_MAX: usize = 1 << 20;

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    auths: BTreeMap<String, Auth>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Auth {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
    registrytoken: String,
}

impl Keyring {
    /// Reads `config.json` of Docker, `auth.json` of containers, or `.dockerconfigjson` of a Secret.
    ///
    /// # Errors
    /// It is of another form.
    pub fn parse(bytes: &[u8]) -> Result<Self, KeyringError> {
        let config: Config = read(bytes)?;
        Self::of(config.auths)
    }

    /// Reads `.dockercfg` of a Secret of type `kubernetes.io/dockercfg`: the same without `auths` around it.
    ///
    /// # Errors
    /// It is of another form.
    pub fn parse_legacy(bytes: &[u8]) -> Result<Self, KeyringError> {
        Self::of(read(bytes)?)
    }

    fn of(auths: BTreeMap<String, Auth>) -> Result<Self, KeyringError> {
        let mut keys = Vec::new();
        for (name, auth) in auths {
            if let Some(credential) = auth.credential(&name)? {
                keys.push(Key { pattern: pattern(&name), credential });
            }
        }
        Ok(Self(keys))
    }

    /// One with a single credential for a registry.
    pub fn with(registry: &str, credential: Credential) -> Self {
        Self(vec![Key { pattern: pattern(registry), credential }])
    }

    /// Adds what others have, behind what is here.
    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// The credentials for an image, those of the longest path first.
    pub fn of_image(&self, image: &Image) -> Vec<&Credential> {
        let mut found: Vec<&Key> = self.0.iter().filter(|key| key.fits(image)).collect();
        found.sort_by_key(|key| std::cmp::Reverse(key.pattern.len()));
        found.into_iter().map(|key| &key.credential).collect()
    }
}

fn read<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, KeyringError> {
    if bytes.len() > CONFIG_BYTES_MAX {
        return Err(KeyringError::TooLarge);
    }
    serde_json::from_slice(bytes)
        .map_err(|error| KeyringError::Form { line: error.line(), column: error.column() })
}

impl Auth {
    fn credential(self, name: &str) -> Result<Option<Credential>, KeyringError> {
        if !self.registrytoken.is_empty() {
            return Ok(Some(Credential::Bearer(self.registrytoken)));
        }
        if !self.identitytoken.is_empty() {
            return Ok(Some(Credential::Identity(self.identitytoken)));
        }
        if !self.auth.is_empty() {
            let wrong = || KeyringError::Auth(name.into());
            let bytes = STANDARD.decode(self.auth.trim());
            let bytes = bytes.or_else(|_| STANDARD_NO_PAD.decode(self.auth.trim())).map_err(|_| wrong())?;
            let text = String::from_utf8(bytes).map_err(|_| wrong())?;
            let (username, password) = text.split_once(':').ok_or_else(wrong)?;
            // Some writers pad the password with zero bytes.
            let password = password.trim_end_matches('\0');
            return Ok(Some(Credential::Basic { username: username.into(), password: password.into() }));
        }
        let is_there = !self.username.is_empty() || !self.password.is_empty();
        // An entry without anything says that a helper has the credential.
        Ok(is_there.then_some(Credential::Basic { username: self.username, password: self.password }))
    }
}

/// The registry that a key of the file is for: without scheme, version and final slashes.
fn pattern(name: &str) -> String {
    let name = name.strip_prefix("https://").or_else(|| name.strip_prefix("http://")).unwrap_or(name);
    let name = name.trim_end_matches('/');
    let name = name.strip_suffix("/v1").or_else(|| name.strip_suffix("/v2")).unwrap_or(name);
    match name {
        "index.docker.io" | "registry-1.docker.io" => "docker.io".into(),
        name => name.into(),
    }
}

impl Key {
    fn fits(&self, image: &Image) -> bool {
        let (host, path) = self.pattern.split_once('/').unwrap_or((&self.pattern, ""));
        let repository = image.repository.as_str();
        let is_above = path.is_empty()
            || repository == path
            || repository.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'));
        is_above && host_fits(host, &image.registry)
    }
}

/// Whether a host is meant: each word of it, and the port where one is named, as the kubelet compares them.
fn host_fits(pattern: &str, registry: &str) -> bool {
    let ((pattern, asked), (host, port)) = (split_port(pattern), split_port(registry));
    let (patterns, words): (Vec<&str>, Vec<&str>) = (pattern.split('.').collect(), host.split('.').collect());
    let fits = |(pattern, word): (&&str, &&str)| glob(pattern, word);
    asked == port && patterns.len() == words.len() && patterns.iter().zip(&words).all(fits)
}

/// Whether a word is meant by a pattern, in which `*` stands for any text. Both come from tenants: each part between stars is
/// looked for once, where it comes first, which is all that it takes.
fn glob(pattern: &str, word: &str) -> bool {
    let (pattern, word) = (pattern.to_ascii_lowercase(), word.to_ascii_lowercase());
    let mut parts = pattern.split('*');
    let Some(mut rest) = word.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Basic { username, .. } => write!(f, "Basic({username:?})"),
            Self::Identity(_) => f.write_str("Identity"),
            Self::Bearer(_) => f.write_str("Bearer"),
        }
    }
}

#[cfg(test)]
mod tests;
