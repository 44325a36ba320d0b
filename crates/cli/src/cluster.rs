//! The verbs that speak to a cluster: what may be typed, and what it means.
//!
//! Each has a `Typed...`, clap's definition, with `meaning`, which gives the request; [`app`] makes an App of a bare
//! artifact.

pub mod app;
pub mod delete;
pub mod deploy;
pub mod logs;
pub mod status;

use std::path::PathBuf;

use crate::data_dir::Surroundings;
use crate::exit::{self, Exit};

/// Which cluster is meant, and which part of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterOptions {
    /// The file that says where the cluster is; none: the cluster of this machine.
    pub kubeconfig: Option<PathBuf>,
    /// The namespace; none: that of the kubeconfig, else `default`.
    pub namespace: Option<String>,
}

/// Which cluster is meant.
#[derive(Debug, clap::Args)]
pub struct TypedCluster {
    /// The cluster that this file leads to [env: KUBECONFIG] [default: the one of this machine]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The namespace [default: that of the kubeconfig, else default]
    #[arg(short, long, value_name = "NAME")]
    namespace: Option<String>,
}

impl TypedCluster {
    fn meaning(self, around: &Surroundings) -> Result<ClusterOptions, Exit> {
        if let Some(namespace) = &self.namespace {
            check_name("namespace", namespace)?;
        }
        let kubeconfig = self.kubeconfig.or_else(|| around.kubeconfig.clone());
        Ok(ClusterOptions { kubeconfig, namespace: self.namespace })
    }
}

/// Longest name of a namespace, and of whatever becomes part of a host name (RFC 1123, 2.1).
const NAME_BYTES_MAX: usize = 63;

/// Refuses what is no label of a host name.
fn check_name(what: &str, name: &str) -> Result<(), Exit> {
    let is_plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_inner = |c: u8| is_plain(c) || c == b'-';
    let (first, last) = (name.bytes().next(), name.bytes().last());
    let fits = name.len() <= NAME_BYTES_MAX
        && first.is_some_and(is_plain)
        && last.is_some_and(is_plain)
        && name.bytes().all(is_inner);
    if fits {
        return Ok(());
    }
    Err(Exit::error(exit::USAGE, format!("`{name}` is no name of a {what}")).hint(format!(
        "it has at most {NAME_BYTES_MAX} lower-case letters, digits and dashes, none of them at either end a dash"
    )))
}

/// `KIND/NAME`, as kubectl writes it, or a name alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The kind, in lower case; none where it was not said.
    pub kind: Option<String>,
    /// The name.
    pub name: String,
}

impl Named {
    fn parse(text: &str) -> Result<Self, Exit> {
        let (kind, name) = match text.split_once('/') {
            Some((kind, name)) => (Some(kind), name),
            None => (None, text),
        };
        let is_word =
            |word: &str| !word.is_empty() && word.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'.');
        // Names of pods may have dots, and are longer than those of Apps: the server knows.
        let is_name = !name.is_empty() && !name.contains(['/', ' ', '%']);
        if !is_name || kind.is_some_and(|kind| !is_word(kind)) {
            return Err(Exit::error(exit::USAGE, format!("`{text}` names nothing"))
                .hint("write NAME, or KIND/NAME as in deployment/shop"));
        }
        Ok(Self { kind: kind.map(str::to_ascii_lowercase), name: name.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_labels_of_hosts() {
        let longest = "a".repeat(NAME_BYTES_MAX);
        for name in ["a", "shop-2", "2", &longest] {
            assert_eq!(check_name("namespace", name), Ok(()), "{name}");
        }
        let long = format!("{longest}a");
        for name in ["", "-a", "a-", "A", "a.b", "a_b", "é", &long] {
            assert_eq!(check_name("namespace", name).map_err(|exit| exit.code()), Err(64), "{name}");
        }
    }

    #[test]
    fn objects_are_named_as_kubectl_names_them() {
        let named =
            |kind: Option<&str>, name: &str| Ok(Named { kind: kind.map(String::from), name: name.into() });
        assert_eq!(Named::parse("shop"), named(None, "shop"));
        assert_eq!(Named::parse("Deployment/shop"), named(Some("deployment"), "shop"));
        assert_eq!(Named::parse("apps.shoal.dev/a.b"), named(Some("apps.shoal.dev"), "a.b"));
        for wrong in ["", "/a", "a/", "a/b/c", "a b", "a%2f"] {
            assert!(Named::parse(wrong).is_err(), "{wrong}");
        }
    }
}
