//! `shoal server`: the Kubernetes API on this machine, and what is done with its store.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Subcommand;

use crate::exit::{self, Exit};

/// Where the server listens when nothing is said: the port of Kubernetes, for this machine only.
pub const LISTEN_DEFAULT: &str = "127.0.0.1:6443";

/// What is to be done with a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerRequest {
    /// Run it.
    Run(ServerOptions),
    /// Write a backup while it runs, or of a store that nobody has open.
    Backup {
        /// The file, which does not exist yet.
        file: PathBuf,
        /// The store.
        store: StoreChoice,
        /// Where the server listens.
        server: SocketAddr,
    },
    /// Make a store of a backup.
    Restore {
        /// The backup.
        file: PathBuf,
        /// The directory of the new store; none: that of the data directory.
        to: Option<PathBuf>,
    },
    /// Read a backup or a store and check all of it.
    Check {
        /// A backup; none: the store of the data directory.
        file: Option<PathBuf>,
    },
    /// Seal Secrets with a new key, and forget the old ones.
    RotateKeys {
        /// Where the server listens.
        server: SocketAddr,
    },
    /// Copy the store of the data directory into an empty etcd.
    Move {
        /// The etcd.
        to: EtcdChoice,
    },
}

/// How a server runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerOptions {
    /// Where objects are kept.
    pub store: StoreChoice,
    /// Where it listens.
    pub listen: SocketAddr,
    /// More names and addresses under which clients reach it.
    pub names: Vec<String>,
    /// Whether controllers run.
    pub controllers: bool,
    /// Whose tokens are believed besides the server's own.
    pub oidc: Option<Box<OidcChoice>>,
}

/// An issuer of tokens (OpenID Connect), and what its tokens mean here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OidcChoice {
    /// `https://accounts.example.com`, just as its tokens say it.
    pub issuer: String,
    /// The client whose tokens are believed.
    pub client_id: String,
    /// The claim with the user's name.
    pub username_claim: String,
    /// What is put before the name; none: the issuer, but for `email`.
    pub username_prefix: Option<String>,
    /// The claim with the user's groups; empty: none.
    pub groups_claim: String,
    /// What is put before each group.
    pub groups_prefix: String,
    /// Claims that a token must have, with these values.
    pub required_claims: BTreeMap<String, String>,
    /// PEM file of the authorities that the issuer's certificate must come from; none: the public ones.
    pub certificate_authority: Option<PathBuf>,
    /// Algorithms that are believed; empty: the server's default.
    pub algorithms: Vec<String>,
}

/// Where objects are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreChoice {
    /// In a directory of this machine; none: `store` in the data directory.
    Sqlite(Option<PathBuf>),
    /// In an etcd.
    Etcd(EtcdChoice),
}

/// An etcd and how to prove each other's names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdChoice {
    /// `https://HOST:2379`, one for each member.
    pub endpoints: Vec<String>,
    /// Certificate of the authority, client certificate and its key, as PEM files; without, the connection is plain.
    pub tls: Option<[PathBuf; 3]>,
}

/// Run the Kubernetes API server, or look after its store
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct TypedServer {
    #[command(flatten)]
    options: TypedOptions,
    #[command(subcommand)]
    verb: Option<TypedVerb>,
}

#[derive(Debug, clap::Args)]
struct TypedOptions {
    #[command(flatten)]
    place: TypedPlace,
    /// Keep objects only: no controller runs
    #[arg(long)]
    no_controllers: bool,
}

/// Where a server keeps its objects and is reached.
#[derive(Debug, clap::Args)]
pub(crate) struct TypedPlace {
    #[command(flatten)]
    store: TypedStore,
    /// Where the API server listens; whoever reaches it needs a client certificate or a token
    #[arg(long, value_name = "ADDRESS", default_value = LISTEN_DEFAULT)]
    listen: SocketAddr,
    /// Another name or address under which clients reach the server, for its certificate; may be repeated
    #[arg(long = "name", value_name = "NAME")]
    names: Vec<String>,
    #[command(flatten)]
    oidc: TypedOidc,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Tokens of another issuer (OpenID Connect)")]
struct TypedOidc {
    /// Believe the tokens of this issuer, just as they name it
    #[arg(long, value_name = "URL", requires = "oidc_client_id")]
    oidc_issuer_url: Option<String>,
    /// The client that the tokens must be for
    #[arg(long, value_name = "ID", requires = "oidc_issuer_url")]
    oidc_client_id: Option<String>,
    /// The claim with the user's name
    #[arg(long, value_name = "CLAIM", default_value = "sub", requires = "oidc_issuer_url")]
    oidc_username_claim: String,
    /// What is put before the name; - for nothing [default: the issuer and #, or nothing for the claim email]
    #[arg(long, value_name = "PREFIX", requires = "oidc_issuer_url")]
    oidc_username_prefix: Option<String>,
    /// The claim with the user's groups
    #[arg(long, value_name = "CLAIM", requires = "oidc_issuer_url")]
    oidc_groups_claim: Option<String>,
    /// What is put before each group; without, the issuer can make anybody an administrator
    #[arg(long, value_name = "PREFIX", requires = "oidc_groups_claim")]
    oidc_groups_prefix: Option<String>,
    /// A claim that a token must have, with its value; may be repeated
    #[arg(long, value_name = "CLAIM=VALUE", requires = "oidc_issuer_url")]
    oidc_required_claim: Vec<String>,
    /// Authorities that the issuer's certificate must come from, PEM [default: the public ones]
    #[arg(long, value_name = "FILE", requires = "oidc_issuer_url")]
    oidc_ca_file: Option<PathBuf>,
    /// Algorithms that are believed, with commas between them [default: RS256,ES256]
    #[arg(long, value_name = "NAMES", value_delimiter = ',', requires = "oidc_issuer_url")]
    oidc_signing_algs: Vec<String>,
}

#[derive(Debug, clap::Args)]
struct TypedStore {
    /// Where objects are kept: sqlite, sqlite:DIR, or etcd:URL[,URL...] [default: sqlite, in the data directory]
    #[arg(long, value_name = "STORE", default_value = "sqlite", hide_default_value = true)]
    store: String,
    #[command(flatten)]
    etcd: TypedEtcd,
}

#[derive(Debug, clap::Args)]
struct TypedEtcd {
    /// Certificate of the authority that signed etcd's, PEM
    #[arg(long, value_name = "FILE", requires_all = ["etcd_cert", "etcd_key"])]
    etcd_ca: Option<PathBuf>,
    /// Client certificate for etcd, PEM
    #[arg(long, value_name = "FILE", requires_all = ["etcd_ca", "etcd_key"])]
    etcd_cert: Option<PathBuf>,
    /// Key of the client certificate for etcd, PEM
    #[arg(long, value_name = "FILE", requires_all = ["etcd_ca", "etcd_cert"])]
    etcd_key: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum TypedVerb {
    /// Write a backup into a new file, while the server runs
    Backup {
        /// The file, which must not exist
        file: PathBuf,
        #[command(flatten)]
        store: TypedStore,
        /// Where the server listens
        #[arg(long, value_name = "ADDRESS", default_value = LISTEN_DEFAULT)]
        server: SocketAddr,
    },
    /// Make a new store of a backup; every resourceVersion from before has expired then
    Restore {
        /// The backup
        file: PathBuf,
        /// The directory of the new store [default: store in the data directory]
        #[arg(long, value_name = "DIR")]
        to: Option<PathBuf>,
    },
    /// Read a backup, or the store of a server that does not run, and check all of it
    Check {
        /// The backup [default: the store in the data directory]
        file: Option<PathBuf>,
    },
    /// Seal all Secrets with a new key while the server runs, and forget the old keys; older backups need these
    RotateKeys {
        /// Where the server listens
        #[arg(long, value_name = "ADDRESS", default_value = LISTEN_DEFAULT)]
        server: SocketAddr,
    },
    /// Copy the store of a server that does not run into an empty etcd
    Move {
        /// The etcd: etcd:URL[,URL...]
        #[arg(long, value_name = "STORE")]
        to: String,
        #[command(flatten)]
        etcd: TypedEtcd,
    },
}

impl TypedServer {
    pub(crate) fn meaning(self) -> Result<ServerRequest, Exit> {
        let Some(verb) = self.verb else {
            let TypedOptions { place, no_controllers } = self.options;
            return Ok(ServerRequest::Run(place.meaning(!no_controllers)?));
        };
        Ok(match verb {
            TypedVerb::Backup { file, store, server } => {
                ServerRequest::Backup { file, store: store.meaning()?, server }
            }
            TypedVerb::RotateKeys { server } => ServerRequest::RotateKeys { server },
            TypedVerb::Restore { file, to } => ServerRequest::Restore { file, to },
            TypedVerb::Check { file } => ServerRequest::Check { file },
            TypedVerb::Move { to, etcd } => match (TypedStore { store: to, etcd }).meaning()? {
                StoreChoice::Etcd(to) => ServerRequest::Move { to },
                StoreChoice::Sqlite(_) => {
                    return Err(Exit::error(exit::USAGE, "a store can be moved into an etcd only")
                        .hint("give --to etcd:https://HOST:2379; `shoal server backup` copies into a file"));
                }
            },
        })
    }
}

impl TypedPlace {
    /// The options of a server in this place.
    pub(crate) fn meaning(self, controllers: bool) -> Result<ServerOptions, Exit> {
        let Self { store, listen, names, oidc } = self;
        let (store, oidc) = (store.meaning()?, oidc.meaning()?);
        Ok(ServerOptions { store, listen, names, controllers, oidc })
    }
}

impl TypedOidc {
    fn meaning(self) -> Result<Option<Box<OidcChoice>>, Exit> {
        let (Some(issuer), Some(client_id)) = (self.oidc_issuer_url, self.oidc_client_id) else {
            return Ok(None);
        };
        if !issuer.starts_with("https://") {
            return Err(Exit::error(exit::USAGE, format!("`{issuer}` is no issuer")).hint(
                "give --oidc-issuer-url https://HOST[/PATH], just as the `iss` of its tokens says it",
            ));
        }
        let mut required_claims = BTreeMap::new();
        for claim in self.oidc_required_claim {
            let (name, value) =
                claim.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or_else(|| {
                    Exit::error(exit::USAGE, format!("`{claim}` is no claim with a value"))
                        .hint("give --oidc-required-claim CLAIM=VALUE")
                })?;
            required_claims.insert(name.to_owned(), value.to_owned());
        }
        // As kube-apiserver reads it: a dash is no prefix at all.
        let prefix =
            self.oidc_username_prefix.map(|prefix| if prefix == "-" { String::new() } else { prefix });
        Ok(Some(Box::new(OidcChoice {
            issuer,
            client_id,
            username_claim: self.oidc_username_claim,
            username_prefix: prefix,
            groups_claim: self.oidc_groups_claim.unwrap_or_default(),
            groups_prefix: self.oidc_groups_prefix.unwrap_or_default(),
            required_claims,
            certificate_authority: self.oidc_ca_file,
            algorithms: self.oidc_signing_algs,
        })))
    }
}

impl TypedStore {
    fn meaning(self) -> Result<StoreChoice, Exit> {
        let tls = match (self.etcd.etcd_ca, self.etcd.etcd_cert, self.etcd.etcd_key) {
            (Some(ca), Some(certificate), Some(key)) => Some([ca, certificate, key]),
            _ => None,
        };
        if let Some(urls) = self.store.strip_prefix("etcd:") {
            let endpoints: Vec<String> =
                urls.split(',').map(str::trim).filter(|url| !url.is_empty()).map(String::from).collect();
            if endpoints.is_empty() || !endpoints.iter().all(|url| is_url(url)) {
                return Err(Exit::error(exit::USAGE, format!("`{}` names no etcd", self.store))
                    .hint("give --store etcd:https://HOST:2379, with commas between members"));
            }
            return Ok(StoreChoice::Etcd(EtcdChoice { endpoints, tls }));
        }
        match self.store.split_once(':') {
            _ if tls.is_some() => {
                Err(Exit::error(exit::USAGE, "certificates for etcd, but the store is none").hint(
                    "give --store etcd:https://HOST:2379, or leave --etcd-ca, --etcd-cert and --etcd-key out",
                ))
            }
            None if self.store == "sqlite" => Ok(StoreChoice::Sqlite(None)),
            Some(("sqlite", dir)) if !dir.is_empty() => Ok(StoreChoice::Sqlite(Some(dir.into()))),
            _ => Err(Exit::error(exit::USAGE, format!("`{}` is no store", self.store))
                .hint("give sqlite, sqlite:DIR or etcd:URL[,URL...]")),
        }
    }
}

fn is_url(text: &str) -> bool {
    ["https://", "http://"]
        .iter()
        .any(|scheme| text.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty()))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        server: TypedServer,
    }

    fn read(line: &str) -> Result<ServerRequest, String> {
        let typed = Line::try_parse_from(std::iter::once("server").chain(line.split_whitespace()));
        let typed = typed.map_err(|error| error.to_string())?;
        typed.server.meaning().map_err(|exit| format!("{exit:?}"))
    }

    #[test]
    fn stores_are_read() {
        let store = |text: &str| match read(&format!("--store {text}")) {
            Ok(ServerRequest::Run(options)) => Some(options.store),
            _ => None,
        };
        assert_eq!(store("sqlite"), Some(StoreChoice::Sqlite(None)));
        assert_eq!(store("sqlite:/var/x"), Some(StoreChoice::Sqlite(Some("/var/x".into()))));
        let etcd =
            EtcdChoice { endpoints: vec!["https://a:2379".into(), "https://b:2379".into()], tls: None };
        assert_eq!(store("etcd:https://a:2379,https://b:2379"), Some(StoreChoice::Etcd(etcd)));
        for wrong in ["sqlite:", "etcd:", "etcd:a:2379", "redis"] {
            assert_eq!(store(wrong), None, "{wrong}");
        }
        assert!(read("--store etcd:https://a:2379 --etcd-ca a").is_err(), "a certificate without its key");
        assert!(read("--etcd-ca a --etcd-cert b --etcd-key c").is_err(), "certificates without an etcd");
    }

    #[test]
    fn an_issuer_of_tokens_is_read() {
        let oidc = |line: &str| match read(line)? {
            ServerRequest::Run(options) => Ok(options.oidc),
            other => Err(format!("{other:?}")),
        };
        assert_eq!(oidc(""), Ok(None));
        let named = "--oidc-issuer-url https://id.example.com --oidc-client-id shoal";
        let plain = OidcChoice {
            issuer: "https://id.example.com".into(),
            client_id: "shoal".into(),
            username_claim: "sub".into(),
            ..OidcChoice::default()
        };
        assert_eq!(oidc(named), Ok(Some(Box::new(plain.clone()))));
        let more = "--oidc-username-claim email --oidc-username-prefix - --oidc-groups-claim groups \
                    --oidc-groups-prefix corp: --oidc-required-claim hd=corp --oidc-required-claim x=a=b \
                    --oidc-ca-file ca.pem --oidc-signing-algs RS256,PS512";
        let all = OidcChoice {
            username_claim: "email".into(),
            username_prefix: Some(String::new()),
            groups_claim: "groups".into(),
            groups_prefix: "corp:".into(),
            required_claims: [("hd".into(), "corp".into()), ("x".into(), "a=b".into())].into(),
            certificate_authority: Some("ca.pem".into()),
            algorithms: vec!["RS256".into(), "PS512".into()],
            ..plain
        };
        assert_eq!(oidc(&format!("{named} {more}")), Ok(Some(Box::new(all))));
        for wrong in [
            "--oidc-issuer-url https://id.example.com",
            "--oidc-client-id shoal",
            "--oidc-groups-claim groups",
            "--oidc-issuer-url http://id.example.com --oidc-client-id shoal",
            &format!("{named} --oidc-required-claim hd"),
            &format!("{named} --oidc-groups-prefix corp:"),
        ] {
            assert!(oidc(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn verbs_stand_alone() {
        assert!(matches!(read("backup x.db"), Ok(ServerRequest::Backup { .. })));
        assert!(matches!(read("check"), Ok(ServerRequest::Check { file: None })));
        assert!(matches!(read("move --to etcd:http://a:1"), Ok(ServerRequest::Move { .. })));
        assert!(matches!(read("rotate-keys --server 127.0.0.1:1"), Ok(ServerRequest::RotateKeys { .. })));
        assert!(read("move --to sqlite").is_err());
        assert!(read("--no-controllers backup x.db").is_err());
    }
}
