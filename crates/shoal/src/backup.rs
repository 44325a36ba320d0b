//! What is asked of a server that runs, as its administrator: `shoal server backup`, of a store that nobody has open from the
//! store itself, and `shoal server rotate-keys`.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use shoal_cli::{Common, Exit, StoreChoice, exit};
use shoal_server::pki::Pki;
use shoal_store::backup::{self, Report};
use tempfile::NamedTempFile;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::{process, server};

/// Writes a backup into a file that does not exist.
pub(crate) fn write(
    common: &Common,
    file: &Path,
    store: &StoreChoice,
    address: SocketAddr,
) -> Result<Report, Exit> {
    if file.exists() {
        return Err(Exit::error(exit::USAGE, format!("{} exists already", file.display()))
            .hint("a backup is written into a new file"));
    }
    process::runtime()?.block_on(async {
        match TcpStream::connect(address).await {
            Ok(stream) => fetch(common, file, stream, address).await,
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                let store = server::open(common, store).await?;
                let written = backup::backup(store.as_ref(), file).await;
                written.map_err(|error| server::failed(&file.display(), &error))
            }
            Err(error) => {
                Err(Exit::error(exit::UNAVAILABLE, format!("cannot reach the server on {address}: {error}")))
            }
        }
    })
}

/// Has a server seal its Secrets with a new key. Returns how many there are.
pub(crate) fn rotate_keys(common: &Common, address: SocketAddr) -> Result<u64, Exit> {
    process::runtime()?.block_on(async {
        let stream = TcpStream::connect(address).await.map_err(|error| {
            Exit::error(exit::UNAVAILABLE, format!("cannot reach the server on {address}: {error}"))
                .hint("keys are rotated while the server runs; --server says where it listens")
        })?;
        let answer =
            succeeded(ask(common, stream, address, Method::POST, "/rotate-keys").await?, address).await?;
        let text = answer.into_body().collect().await.map_err(|error| broken(address, &error))?.to_bytes();
        let answer: serde_json::Value =
            serde_json::from_slice(&text).map_err(|error| broken(address, &error))?;
        Ok(answer["sealed"].as_u64().unwrap_or(0))
    })
}

fn broken(address: SocketAddr, error: &dyn std::fmt::Display) -> Exit {
    Exit::error(exit::UNAVAILABLE, format!("the server on {address} broke off: {error}"))
}

/// An answer that is a success.
async fn succeeded(answer: Response<Incoming>, address: SocketAddr) -> Result<Response<Incoming>, Exit> {
    if answer.status().is_success() {
        return Ok(answer);
    }
    let code = answer.status();
    let text = answer.into_body().collect().await.map_err(|error| broken(address, &error))?.to_bytes();
    let text = String::from_utf8_lossy(&text).into_owned();
    Err(Exit::error(exit::UNAVAILABLE, format!("the server on {address} answered {code}: {text}")))
}

/// Writes what a server that runs sends, and checks it before it has its name.
async fn fetch(common: &Common, file: &Path, stream: TcpStream, address: SocketAddr) -> Result<Report, Exit> {
    let answer = succeeded(ask(common, stream, address, Method::GET, "/backup").await?, address).await?;
    let dir = file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let unwritten = |error: io::Error| {
        Exit::error(exit::UNAVAILABLE, format!("cannot write {}: {error}", file.display()))
    };
    let mut target = NamedTempFile::new_in(dir).map_err(unwritten)?;
    let mut body = answer.into_body();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| broken(address, &error))?;
        target.write_all(frame.data_ref().map(AsRef::as_ref).unwrap_or_default()).map_err(unwritten)?;
    }
    target.as_file().sync_all().map_err(unwritten)?;
    let report =
        backup::check(target.path()).map_err(|error| server::failed(&"what the server sent", &error))?;
    target.persist_noclobber(file).map_err(|error| unwritten(error.error))?;
    Ok(report)
}

async fn ask(
    common: &Common,
    stream: TcpStream,
    address: SocketAddr,
    method: Method,
    path: &str,
) -> Result<Response<Incoming>, Exit> {
    let refused = |error: &dyn std::fmt::Display| {
        Exit::error(exit::UNAVAILABLE, format!("cannot talk to the server on {address}: {error}"))
            .hint("--data-dir must be that of the server, whose keys lie in it")
    };
    let pki = Pki::open(&server::pki_dir(common), &[], Timestamp::now()).map_err(|error| refused(&error))?;
    let tls = pki.admin_client_config(Timestamp::now()).map_err(|error| refused(&error))?;
    let name = rustls_pki_types::ServerName::from(address.ip());
    let stream =
        TlsConnector::from(Arc::new(tls)).connect(name, stream).await.map_err(|error| refused(&error))?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| refused(&error))?;
    tokio::spawn(connection);
    let request = Request::builder().method(method).uri(path).header("host", address.to_string());
    let request = request.body(Empty::<Bytes>::new());
    sender.send_request(request.map_err(|error| refused(&error))?).await.map_err(|error| refused(&error))
}
