//! `shoal server`, `shoal kubeconfig`: the API server of this machine, and what is done with its store.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use shoal_base::drain::{Drain, Drained};
use shoal_cli::{
    Common, EtcdChoice, Exit, KubeconfigRequest, OidcChoice, SERVER_LISTEN_DEFAULT, ServerOptions,
    ServerRequest, StoreChoice, exit,
};
use shoal_server::auth::{Oidc, OidcConfig};
use shoal_server::pki::Pki;
use shoal_server::{Config, Controllers, start};
use shoal_store::backup::{self, Report};
use shoal_store::etcd::{EtcdOptions, EtcdStore, Tls};
use shoal_store::sqlite::{self, SqliteStore};
use shoal_store::{Error, Store};

use crate::process::{self, Asked, Signals};

/// What all keys begin with in an etcd that others may use too.
const ETCD_ROOT: &str = "/shoal";
/// Where the store of this machine lies, in the data directory.
const STORE_DIR: &str = "store";
/// Where keys and certificates lie, in the data directory.
const PKI_DIR: &str = "pki";
/// How long requests in flight have to end.
const DRAIN: Duration = Duration::from_secs(30);

/// Does what was asked of a server.
pub(crate) fn server(common: &Common, request: &ServerRequest) -> Result<u8, Exit> {
    match request {
        ServerRequest::Run(options) => run(common, options),
        ServerRequest::Backup { file, store, server } => {
            let report = crate::backup::write(common, file, store, *server)?;
            Ok(said(&format!("{} holds {}", file.display(), shown(&report))))
        }
        ServerRequest::RotateKeys { server } => {
            let sealed = crate::backup::rotate_keys(common, *server)?;
            Ok(said(&format!("{sealed} Secrets are sealed with a new key; the old ones are gone")))
        }
        ServerRequest::Restore { file, to } => {
            let dir = to.clone().unwrap_or_else(|| common.data_dir.join(STORE_DIR));
            let report = backup::restore(file, &dir).map_err(|error| failed(&file.display(), &error))?;
            Ok(said(&format!("{} holds {}", dir.display(), shown(&report))))
        }
        ServerRequest::Check { file } => {
            let path = file.clone().unwrap_or_else(|| common.data_dir.join(STORE_DIR).join(sqlite::FILE));
            let report = backup::check(&path).map_err(|error| failed(&path.display(), &error))?;
            Ok(said(&format!("{} is sound: {}", path.display(), shown(&report))))
        }
        ServerRequest::Move { to } => process::runtime()?.block_on(move_to(common, to)),
    }
}

/// Writes a kubeconfig.
pub(crate) fn kubeconfig(common: &Common, request: &KubeconfigRequest) -> Result<u8, Exit> {
    let dir = common.data_dir.join(PKI_DIR);
    let now = Timestamp::now();
    let text = Pki::open(&dir, &[], now)
        .and_then(|pki| pki.admin_kubeconfig(&request.server, now))
        .map_err(|error| Exit::error(exit::UNAVAILABLE, chain(&error)))?;
    match &request.output {
        Some(path) => process::write_file(path, text.as_bytes())?,
        None => {
            // A reader that has gone away (`| head`) is no error.
            let _ = std::io::stdout().write_all(text.as_bytes());
        }
    }
    Ok(exit::OK)
}

fn run(common: &Common, options: &ServerOptions) -> Result<u8, Exit> {
    process::raise_file_limit();
    process::use_small_pages();
    process::threaded_runtime()?.block_on(async {
        let mut signals = Signals::new()
            .map_err(|error| Exit::error(exit::UNAVAILABLE, format!("cannot take signals: {error}")))?;
        let drain = Drain::new();
        let store = open(common, &options.store).await?;
        let running = start(config(common, options)?, store, drain.clone())
            .await
            .map_err(|error| Exit::error(exit::UNAVAILABLE, chain(&error)))?;
        said(&format!("the API server listens on https://{}", running.address));
        said(&format!("hint: `{}` writes what kubectl needs", kubeconfig_line(running.address)));
        while signals.next().await != Asked::End {}
        if let Drained::Late { left } = drain.finish(DRAIN).await {
            tracing::warn!("{left} connections were still open at the end");
        }
        running.ended().await;
        Ok(exit::OK)
    })
}

/// The command that writes a kubeconfig for a server that listens here.
fn kubeconfig_line(address: SocketAddr) -> String {
    let server = match address {
        // Where `shoal kubeconfig` looks by itself.
        _ if address.to_string() == SERVER_LISTEN_DEFAULT => String::new(),
        _ if address.ip().is_unspecified() => format!(" --server HOST:{}", address.port()),
        _ => format!(" --server {address}"),
    };
    format!("shoal kubeconfig{server} -o FILE")
}

/// What a server is told.
pub(crate) fn config(common: &Common, options: &ServerOptions) -> Result<Config, Exit> {
    Ok(Config {
        data: common.data_dir.clone(),
        listen: options.listen,
        names: options.names.clone(),
        issuers: issuers(options.oidc.as_deref())?,
        controllers: if options.controllers { Controllers::All } else { Controllers::None },
    })
}

/// Whose tokens are believed.
fn issuers(choice: Option<&OidcChoice>) -> Result<Vec<Oidc>, Exit> {
    let Some(choice) = choice.cloned() else { return Ok(Vec::new()) };
    let config = OidcConfig {
        issuer: choice.issuer,
        audiences: vec![choice.client_id],
        username_claim: choice.username_claim,
        username_prefix: choice.username_prefix,
        groups_claim: choice.groups_claim,
        groups_prefix: choice.groups_prefix,
        required_claims: choice.required_claims,
        certificate_authority: choice.certificate_authority,
        algorithms: choice.algorithms,
    };
    let issuer = Oidc::new(config).map_err(|error| Exit::error(exit::USAGE, chain(&error)))?;
    Ok(vec![issuer])
}

/// Opens a store.
pub(crate) async fn open(common: &Common, choice: &StoreChoice) -> Result<Arc<dyn Store>, Exit> {
    match choice {
        StoreChoice::Sqlite(dir) => {
            let dir = dir.clone().unwrap_or_else(|| common.data_dir.join(STORE_DIR));
            let store = SqliteStore::open(&sqlite::Options::new(&dir))
                .map_err(|error| failed(&dir.display(), &error))?;
            Ok(Arc::new(store))
        }
        StoreChoice::Etcd(choice) => {
            let store = EtcdStore::open(&etcd(choice)?).await.map_err(|error| failed(&"etcd", &error))?;
            Ok(Arc::new(store))
        }
    }
}

async fn move_to(common: &Common, to: &EtcdChoice) -> Result<u8, Exit> {
    let from = open(common, &StoreChoice::Sqlite(None)).await?;
    let revision = from.progress().await.map_err(|error| failed(&"the store", &error))?;
    let etcd = EtcdStore::open(&etcd(to)?).await.map_err(|error| failed(&"etcd", &error))?;
    let etcd = etcd.continue_after(revision).await.map_err(|error| failed(&"etcd", &error))?;
    let report = backup::copy(from.as_ref(), &etcd).await.map_err(|error| failed(&"etcd", &error))?;
    said(&format!("{} holds {}", to.endpoints.join(","), shown(&report)));
    Ok(said("hint: from now on, run `shoal server --store etcd:…`; the old store is left as it is"))
}

fn etcd(choice: &EtcdChoice) -> Result<EtcdOptions, Exit> {
    let read = |path: &PathBuf| {
        std::fs::read_to_string(path)
            .map_err(|error| Exit::error(exit::NO_INPUT, format!("cannot read {}: {error}", path.display())))
    };
    let tls = match &choice.tls {
        Some([ca, certificate, key]) => {
            Some(Tls { ca_pem: read(ca)?, identity_pem: Some((read(certificate)?, read(key)?)) })
        }
        None => None,
    };
    Ok(EtcdOptions { endpoints: choice.endpoints.clone(), root: ETCD_ROOT.into(), tls })
}

/// The directory of the keys and certificates.
pub(crate) fn pki_dir(common: &Common) -> PathBuf {
    common.data_dir.join(PKI_DIR)
}

/// An error of a store, with what it happened to.
pub(crate) fn failed(what: &dyn std::fmt::Display, error: &Error) -> Exit {
    let code = match error {
        Error::Invalid(_) => exit::USAGE,
        _ => exit::UNAVAILABLE,
    };
    Exit::error(code, format!("{what}: {error}"))
}

fn shown(report: &Report) -> String {
    format!("{} objects at revision {}", report.objects, report.revision)
}

/// Talk, for people: on standard error.
pub(crate) fn said(text: &str) -> u8 {
    let _ = writeln!(std::io::stderr(), "{text}");
    exit::OK
}

fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    shoal_base::error_chain::chain(error).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hint_leads_to_where_the_server_listens() {
        for (address, expected) in [
            ("127.0.0.1:6443", "shoal kubeconfig -o FILE"),
            ("127.0.0.1:7443", "shoal kubeconfig --server 127.0.0.1:7443 -o FILE"),
            ("[::1]:6443", "shoal kubeconfig --server [::1]:6443 -o FILE"),
            ("0.0.0.0:6443", "shoal kubeconfig --server HOST:6443 -o FILE"),
        ] {
            assert_eq!(kubeconfig_line(address.parse().expect("an address")), expected);
        }
    }
}
