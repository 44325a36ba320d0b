//! What an image reads as: a file of this machine, or a name in a registry.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::{Digest, DigestError};

/// What the image of a container names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Reference {
    /// `/absolute/path.wasm` or `file:///absolute/path.wasm`.
    File(PathBuf),
    /// `[host[:port]/]repository[:tag][@digest]`.
    Image(Image),
}

/// A name in an OCI registry, with what is left out filled in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Image {
    /// `host` or `host:port`; `docker.io` where none is written.
    pub registry: String,
    /// The path in the registry; `library/` comes before a single word at `docker.io`.
    pub repository: String,
    /// The tag; `latest` where there is no digest either.
    pub tag: Option<String>,
    /// The digest of the manifest, which then decides.
    pub digest: Option<Digest>,
}

/// A part of a reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The whole text.
    Whole,
    /// The path of a file.
    Path,
    /// The host of a registry.
    Host,
    /// The port of a registry.
    Port,
    /// The repository.
    Repository,
    /// The tag.
    Tag,
    /// The digest.
    Digest,
}

/// A text that names no artifact.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` names no artifact: the {part} {why}")]
pub struct ReferenceError {
    /// What was written.
    pub text: String,
    /// The part that is wrong.
    pub part: Part,
    /// What is wrong with it.
    pub why: String,
}

/// Longest repository: what registries take (OCI distribution specification, "Pulling manifests").
const REPOSITORY_BYTES_MAX: usize = 255;
/// Longest tag (the same).
const TAG_BYTES_MAX: usize = 128;
/// Longest host name (RFC 1035, 2.3.4).
const HOST_BYTES_MAX: usize = 253;
/// Longest path of a file (`PATH_MAX` of Linux).
const PATH_BYTES_MAX: usize = 4096;

const DEFAULT_REGISTRY: &str = "docker.io";
const DEFAULT_TAG: &str = "latest";

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        parse(text).map_err(|(part, why)| ReferenceError { text: text.into(), part, why })
    }
}

/// The part that is wrong, and what is wrong with it.
type Fault = (Part, String);

fn fault<T>(part: Part, why: impl Into<String>) -> Result<T, Fault> {
    Err((part, why.into()))
}

fn parse(text: &str) -> Result<Reference, Fault> {
    if text.is_empty() {
        return fault(Part::Whole, "is empty");
    }
    if let Some(rest) = text.strip_prefix("file://") {
        let path = rest.strip_prefix("localhost").filter(|path| path.starts_with('/')).unwrap_or(rest);
        return file(&decoded(path)?);
    }
    if text.starts_with('/') {
        return file(text);
    }
    if let Some((scheme, _)) = text.split_once("://") {
        return fault(
            Part::Whole,
            format!("begins with `{scheme}://`; write registry/repository:tag, without a scheme"),
        );
    }
    image(text).map(Reference::Image)
}

fn file(path: &str) -> Result<Reference, Fault> {
    if !path.starts_with('/') {
        return fault(Part::Path, format!("`{path}` is not absolute; write file:///path"));
    }
    if path.len() > PATH_BYTES_MAX {
        return fault(Part::Path, format!("has more than {PATH_BYTES_MAX} bytes"));
    }
    if path.contains('\0') {
        return fault(Part::Path, "has a zero byte");
    }
    if path.ends_with('/') {
        return fault(Part::Path, format!("`{path}` is a directory"));
    }
    Ok(Reference::File(PathBuf::from(path)))
}

/// A path of a URL, with its `%20` and the like read (RFC 3986, 2.1).
fn decoded(path: &str) -> Result<String, Fault> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = rest.get(..2).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        let value = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        let Some(value) = value.and_then(|digits| u8::from_str_radix(digits, 16).ok()) else {
            return fault(Part::Path, "has a `%` without two hexadecimal digits behind it");
        };
        bytes.push(value);
        rest = &rest[2..];
    }
    String::from_utf8(bytes).or_else(|_| fault(Part::Path, "is not UTF-8"))
}

fn image(text: &str) -> Result<Image, Fault> {
    let (name, digest) = match text.split_once('@') {
        Some((name, digest)) => (name, Some(digest.parse().map_err(wrong_digest)?)),
        None => (text, None),
    };
    let (registry, rest) = match name.split_once('/') {
        Some((host, rest)) if is_host(host) => (host.to_string(), rest),
        _ => (DEFAULT_REGISTRY.to_string(), name),
    };
    check_host(&registry)?;
    let (repository, tag) = match rest.rsplit_once(':') {
        Some((repository, tag)) => (repository, Some(tag)),
        None => (rest, None),
    };
    check_repository(repository)?;
    tag.map_or(Ok(()), check_tag)?;
    let is_official = registry == DEFAULT_REGISTRY && !repository.contains('/');
    let repository = if is_official { format!("library/{repository}") } else { repository.to_string() };
    let tag = tag.map(String::from).or_else(|| digest.is_none().then(|| DEFAULT_TAG.to_string()));
    Ok(Image { registry, repository, tag, digest })
}

fn wrong_digest(error: DigestError) -> Fault {
    match error {
        DigestError::Malformed(text) => {
            (Part::Digest, format!("`{text}` is not sha256: and 64 hexadecimal digits in lower case"))
        }
        DigestError::Algorithm(text) => (Part::Digest, format!("`{text}` is not of sha256")),
    }
}

/// Whether what stands before the first slash is a host, as Docker decides it.
fn is_host(text: &str) -> bool {
    text == "localhost" || text.contains(['.', ':', '[']) || text.bytes().any(|c| c.is_ascii_uppercase())
}

fn check_host(registry: &str) -> Result<(), Fault> {
    let (host, port) = split_port(registry);
    if let Some(port) = port {
        let is_port =
            port.bytes().all(|c| c.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0);
        if !is_port {
            return fault(Part::Port, format!("`{port}` is no number from 1 to 65535"));
        }
    }
    if host.len() > HOST_BYTES_MAX {
        return fault(Part::Host, format!("has more than {HOST_BYTES_MAX} characters"));
    }
    if let Some(address) = host.strip_prefix('[') {
        let is_address =
            address.strip_suffix(']').is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok());
        return if is_address { Ok(()) } else { fault(Part::Host, format!("`{host}` is no IPv6 address")) };
    }
    let is_label = |label: &str| {
        let is_word = |c: u8| c.is_ascii_alphanumeric() || c == b'-';
        !label.is_empty() && label.bytes().all(is_word) && !label.starts_with('-') && !label.ends_with('-')
    };
    if host.split('.').all(is_label) {
        Ok(())
    } else {
        fault(Part::Host, format!("`{host}` is no host name"))
    }
}

/// Host and port; the host of an IPv6 address keeps its brackets.
pub(super) fn split_port(registry: &str) -> (&str, Option<&str>) {
    match registry.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (registry, None),
    }
}

fn check_repository(repository: &str) -> Result<(), Fault> {
    let wrong = |why: String| fault(Part::Repository, why);
    if repository.is_empty() {
        return wrong("is missing".into());
    }
    if repository.len() > REPOSITORY_BYTES_MAX {
        return wrong(format!("has more than {REPOSITORY_BYTES_MAX} characters"));
    }
    let is_known = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-/".contains(c);
    if let Some(c) = repository.chars().find(|&c| !is_known(c)) {
        let way = if c.is_ascii_uppercase() { "write it in lower case" } else { "it has a-z, 0-9 and ._-/" };
        return wrong(format!("`{repository}` has the character `{}`; {way}", c.escape_debug()));
    }
    match repository.split('/').find(|word| !is_word(word)) {
        Some("") => wrong(format!("`{repository}` has an empty part between its slashes")),
        Some(word) => wrong(format!(
            "`{repository}` has the part `{word}`; each begins and ends with a letter or digit, between which are \
             single separators: `.`, `_`, `__` or dashes"
        )),
        None => Ok(()),
    }
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*` (OCI distribution specification, "Pulling manifests").
fn is_word(word: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_edge_plain = word.starts_with(is_plain) && word.ends_with(is_plain);
    let mut separators = word.split(is_plain).filter(|separator| !separator.is_empty());
    let is_separator = |s: &str| matches!(s, "." | "_" | "__") || s.bytes().all(|c| c == b'-');
    is_edge_plain && separators.all(is_separator)
}

fn check_tag(tag: &str) -> Result<(), Fault> {
    let wrong = |why: String| fault(Part::Tag, why);
    if tag.is_empty() {
        return wrong("is empty; leave the `:` out, or name one".into());
    }
    if tag.len() > TAG_BYTES_MAX {
        return wrong(format!("has more than {TAG_BYTES_MAX} characters"));
    }
    let is_first = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let is_later = |c: char| is_first(c) || c == '.' || c == '-';
    if tag.starts_with(is_first) && tag.chars().all(is_later) {
        return Ok(());
    }
    wrong(format!("`{tag}` is no tag; it has letters, digits and _.- and begins with none of `.-`"))
}

impl Image {
    /// What the registry is asked for: the digest, else the tag.
    pub fn version(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, tag) => tag.clone().unwrap_or_else(|| DEFAULT_TAG.into()),
        }
    }

    /// The same image by this digest alone, which means the same content for ever.
    #[must_use]
    pub fn pinned(&self, digest: Digest) -> Self {
        Self { tag: None, digest: Some(digest), ..self.clone() }
    }

    /// The same image under another tag.
    ///
    /// # Errors
    /// It is no tag.
    pub fn tagged(&self, tag: &str) -> Result<Self, ReferenceError> {
        match check_tag(tag) {
            Ok(()) => Ok(Self { tag: Some(tag.into()), digest: None, ..self.clone() }),
            Err((part, why)) => Err(ReferenceError { text: tag.into(), part, why }),
        }
    }
}

impl Reference {
    /// The path, where it is a file.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Image(_) => None,
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Image(image) => image.fmt(f),
        }
    }
}

impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        self.digest.map_or(Ok(()), |digest| write!(f, "@{digest}"))
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Whole => "text",
            Self::Path => "path",
            Self::Host => "host",
            Self::Port => "port",
            Self::Repository => "repository",
            Self::Tag => "tag",
            Self::Digest => "digest",
        })
    }
}

#[cfg(test)]
mod tests;
