//! What `shoal push`, `shoal pull` and `shoal up` know of registries.

use std::path::PathBuf;

use crate::data_dir::Surroundings;
use crate::exit::{self, Exit};

/// How registries are reached, and as whom.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegistryOptions {
    /// Registries that may be spoken to without TLS.
    pub plain_http: Vec<String>,
    /// Certificates of authorities to trust beside the public ones, PEM.
    pub authorities: Option<PathBuf>,
    /// Files of credentials, in the form of `docker login`.
    pub credentials: Vec<CredentialsFile>,
}

/// A file of credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialsFile {
    /// Where it is.
    pub path: PathBuf,
    /// Whether it was asked for: then it is an error when it is not there.
    pub is_named: bool,
}

/// How registries are reached.
#[derive(Debug, clap::Args)]
pub(crate) struct TypedReach {
    /// Speak plain HTTP with this registry (HOST or HOST:PORT) when it knows no TLS; may be repeated. One on this
    /// machine's loopback needs no leave
    #[arg(long, value_name = "HOST")]
    plain_http: Vec<String>,
    /// Certificates of authorities to trust beside the public ones, PEM
    #[arg(long, value_name = "FILE")]
    registry_ca: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct TypedRegistry {
    #[command(flatten)]
    reach: TypedReach,
    /// Credentials as `docker login` writes them [env: REGISTRY_AUTH_FILE, DOCKER_CONFIG] [default:
    /// ~/.docker/config.json]
    #[arg(long, value_name = "FILE")]
    credentials: Option<PathBuf>,
}

impl TypedReach {
    /// The options without credentials.
    pub(crate) fn meaning(self) -> Result<RegistryOptions, Exit> {
        let is_host = |host: &&String| !host.is_empty() && !host.contains(['/', '@']);
        if let Some(wrong) = self.plain_http.iter().find(|host| !is_host(host)) {
            return Err(Exit::error(exit::USAGE, format!("`{wrong}` is no registry"))
                .hint("give --plain-http HOST or HOST:PORT, without a scheme or a path"));
        }
        let Self { plain_http, registry_ca: authorities } = self;
        Ok(RegistryOptions { plain_http, authorities, credentials: Vec::new() })
    }
}

impl TypedRegistry {
    pub(crate) fn meaning(self, around: &Surroundings) -> Result<RegistryOptions, Exit> {
        let named = self.credentials.map(|path| CredentialsFile { path, is_named: true });
        let credentials = match named {
            Some(file) => vec![file],
            None => around.credentials().map(|path| CredentialsFile { path, is_named: false }).collect(),
        };
        Ok(RegistryOptions { credentials, ..self.reach.meaning()? })
    }
}

impl Surroundings {
    /// Where tools of containers keep credentials: the first that is there counts for a registry.
    fn credentials(&self) -> impl Iterator<Item = PathBuf> {
        let docker = self.docker_config.clone();
        let docker = docker.or_else(|| self.home.as_ref().map(|home| home.join(".docker")));
        let docker = docker.map(|dir| dir.join("config.json"));
        [self.registry_auth_file.clone(), docker].into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(
        plain_http: &[&str],
        credentials: Option<&str>,
        around: &Surroundings,
    ) -> Result<Vec<String>, u8> {
        let plain_http = plain_http.iter().map(ToString::to_string).collect();
        let typed = TypedRegistry {
            reach: TypedReach { plain_http, registry_ca: None },
            credentials: credentials.map(PathBuf::from),
        };
        let options = typed.meaning(around).map_err(|exit| exit.code())?;
        let file = |file: CredentialsFile| format!("{} {}", file.path.display(), file.is_named);
        Ok(options.credentials.into_iter().map(file).collect())
    }

    #[test]
    fn credentials_are_found_where_others_keep_them() {
        let mut around = Surroundings::default();
        assert_eq!(read(&[], None, &around), Ok(vec![]));
        around.home = Some("/home/ada".into());
        assert_eq!(read(&[], None, &around), Ok(vec!["/home/ada/.docker/config.json false".into()]));
        around.docker_config = Some("/etc/docker".into());
        around.registry_auth_file = Some("/run/auth.json".into());
        let both = ["/run/auth.json false".to_string(), "/etc/docker/config.json false".into()];
        assert_eq!(read(&[], None, &around), Ok(both.into()));
        assert_eq!(read(&[], Some("mine.json"), &around), Ok(vec!["mine.json true".into()]));
    }

    #[test]
    fn a_registry_is_a_host() {
        for wrong in ["", "http://a", "a/b", "ada@a"] {
            assert_eq!(read(&[wrong], None, &Surroundings::default()), Err(64), "{wrong}");
        }
        assert_eq!(read(&["a", "b:5000"], None, &Surroundings::default()), Ok(vec![]));
    }
}
