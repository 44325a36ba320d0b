//! Why an artifact is not to be had, in words for people and in those of Kubernetes.

use std::fmt;

use super::{Image, ManifestError, ReferenceError};

/// The reason that a container's status gives, as the kubelet's are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// It could not be fetched, or is not what it should be.
    ErrImagePull,
    /// It is not here, and the policy says never to fetch it.
    ErrImageNeverPull,
    /// The image is no reference.
    InvalidImageName,
}

impl Reason {
    /// As it stands in `state.waiting.reason`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ErrImagePull => "ErrImagePull",
            Self::ErrImageNeverPull => "ErrImageNeverPull",
            Self::InvalidImageName => "InvalidImageName",
        }
    }
}

/// What kind of thing is wrong, for who decides what to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Problem {
    /// The registry cannot be reached: what is here already is all there is for now.
    Unreachable,
    /// The registry does not let this one in.
    Denied,
    /// There is no such file or image.
    Missing,
    /// It is larger than the limits allow.
    TooLarge,
    /// Its content is not what its digest says.
    Corrupt,
    /// It is no WebAssembly, or is packed in a way that Shoal does not know.
    Unusable,
    /// The registry fails, or says what makes no sense.
    Registry,
    /// This machine's disk fails or is full.
    Disk,
    /// The reference or the policy cannot be followed.
    Request,
}

/// Why an artifact is not to be had. `Display` is the message of a container's status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchError {
    /// The reason of a container's status.
    pub reason: Reason,
    /// What kind of thing is wrong.
    pub problem: Problem,
    /// What is wrong, with which object.
    pub what: String,
    /// What to do next.
    pub hint: Option<String>,
}

impl FetchError {
    pub(crate) fn new(problem: Problem, what: impl Into<String>) -> Self {
        let what = harmless(&what.into(), WHAT_SHOWN_MAX);
        Self { reason: Reason::ErrImagePull, problem, what, hint: None }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn disk(what: impl fmt::Display, path: &std::path::Path, error: &std::io::Error) -> Self {
        Self::new(Problem::Disk, format!("cannot {what} {}: {error}", path.display()))
    }

    pub(crate) fn never(reference: impl fmt::Display) -> Self {
        Self {
            reason: Reason::ErrImageNeverPull,
            ..Self::new(
                Problem::Request,
                format!("Container image \"{reference}\" is not present with pull policy of Never"),
            )
            .hint(format!(
                "fetch it on this node with `shoal pull {reference}`, or let the policy be IfNotPresent"
            ))
        }
    }

    /// The same, of an image.
    pub(crate) fn of(self, image: &Image) -> Self {
        let what = format!("failed to pull image \"{image}\": {}", self.what);
        Self { what, ..self }
    }
}

/// Shown of what is wrong: registries and layers choose some of the words, and it stands in the status of a pod.
const WHAT_SHOWN_MAX: usize = 2000;

/// Text from outside as it may be shown: on one line, without what steers a terminal, and short.
pub(crate) fn harmless(text: &str, characters_max: usize) -> String {
    text.chars().filter(|c| !c.is_control()).take(characters_max).collect()
}

impl From<ReferenceError> for FetchError {
    fn from(error: ReferenceError) -> Self {
        Self { reason: Reason::InvalidImageName, ..Self::new(Problem::Request, error.to_string()) }
    }
}

impl From<ManifestError> for FetchError {
    fn from(error: ManifestError) -> Self {
        Self::new(Problem::Unusable, error.to_string())
    }
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, "; {hint}"))
    }
}

impl std::error::Error for FetchError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_from_outside_are_short_and_plain() {
        let error = FetchError::new(Problem::Unusable, format!("a\u{1b}[31m\nb{}", "x".repeat(3 << 20)));
        assert!(error.what.starts_with("a[31mbx"));
        assert_eq!(error.what.chars().count(), WHAT_SHOWN_MAX);
    }
}
