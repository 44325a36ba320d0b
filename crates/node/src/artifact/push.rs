//! Pushing WebAssembly as an OCI artifact (CNCF, Wasm OCI artifact layout).

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use http::{Method, StatusCode, header};
use jiff::Timestamp;
use serde_json::{Value, json};
use shoal_runtime::Inspection;

use super::access::{Ask, Payload, Session, Target};
use super::download::Progress;
use super::manifest::{MANIFEST_TYPE, WASM_CONFIG_TYPE, WASM_LAYER_TYPE};
use super::retry::{Tries, Trouble};
use super::{Client, Digest, FetchError, Image, Keyring, Kind, Problem};

/// What is pushed, and where.
#[derive(Clone, Debug)]
pub struct Push<'a> {
    /// The WebAssembly binary.
    pub file: &'a Path,
    /// Where it goes.
    pub image: &'a Image,
    /// More tags for the same.
    pub tags: &'a [String],
    /// Words about it, in the manifest.
    pub annotations: &'a BTreeMap<String, String>,
    /// What it is.
    pub inspection: &'a Inspection,
    /// When it was made, as it says of itself.
    pub created: Timestamp,
}

/// What a registry has now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// The name that means exactly this for ever.
    pub image: Image,
    /// The digest of the manifest.
    pub manifest: Digest,
    /// The digest of the WebAssembly.
    pub artifact: Digest,
    /// Whether the registry had the WebAssembly before.
    pub was_there: bool,
}

impl Client {
    /// Pushes an artifact.
    ///
    /// # Errors
    /// It is no WebAssembly binary, or the registry does not take it.
    pub async fn push(
        &self,
        push: &Push<'_>,
        keyring: &Keyring,
        progress: Progress<'_>,
    ) -> Result<Pushed, FetchError> {
        let image = push.image;
        self.push_all(push, keyring, progress).await.map_err(|error| {
            let what = format!("failed to push \"{image}\": {}", error.what);
            FetchError { what, ..error }
        })
    }

    async fn push_all(
        &self,
        push: &Push<'_>,
        keyring: &Keyring,
        progress: Progress<'_>,
    ) -> Result<Pushed, FetchError> {
        if push.image.digest.is_some() {
            return Err(FetchError::new(
                Problem::Request,
                "a digest follows from the content, and cannot be chosen",
            )
            .hint("push to a tag: registry/repository:tag"));
        }
        let tags = push.tags.iter().map(|tag| push.image.tagged(tag)).collect::<Result<Vec<_>, _>>()?;
        let (artifact, size_bytes) = read(push.file).await?;
        let config = config(push, artifact).to_string();
        let manifest = manifest(push, &config, artifact, size_bytes).to_string();
        let mut session = Session::new(self, push.image, keyring, "pull,push");
        let file = Payload::File(push.file.to_owned(), size_bytes);
        let was_there = upload(&mut session, artifact, file).await?;
        progress(size_bytes, size_bytes);
        let config = Bytes::from(config);
        upload(&mut session, Digest::of(&config), Payload::Bytes(config)).await?;
        let manifest = Bytes::from(manifest);
        for image in std::iter::once(push.image).chain(&tags) {
            let ask = Ask {
                payload: Payload::Bytes(manifest.clone()),
                ..Ask::new(Method::PUT, format!("manifests/{}", image.version()))
            };
            session
                .ask_until(&ask.header(header::CONTENT_TYPE, MANIFEST_TYPE), &[], ANSWER_BYTES_MAX)
                .await?;
        }
        let manifest = Digest::of(&manifest);
        Ok(Pushed { image: push.image.pinned(manifest), manifest, artifact, was_there })
    }
}

/// What a registry may say to something that it took.
const ANSWER_BYTES_MAX: usize = 64 << 10;

async fn read(file: &Path) -> Result<(Digest, u64), FetchError> {
    let path = file.to_owned();
    let read = tokio::task::spawn_blocking(move || {
        let bytes = std::fs::File::open(&path);
        let read = bytes.and_then(|mut file| {
            let mut head = [0; super::kind::HEAD_BYTES];
            let is_wasm =
                std::io::Read::read_exact(&mut file, &mut head).is_ok() && Kind::of(&head).is_some();
            std::io::Seek::rewind(&mut file)?;
            Ok((is_wasm, Digest::of_reader(file)?))
        });
        read.map_err(|error| FetchError::disk("read", &path, &error))
    });
    let broken =
        |error| FetchError::new(Problem::Disk, format!("reading {} broke off: {error}", file.display()));
    let (is_wasm, read) = read.await.map_err(broken)??;
    if is_wasm {
        return Ok(read);
    }
    Err(FetchError::new(Problem::Unusable, format!("{} is no WebAssembly binary", file.display()))
        .hint("push a .wasm file"))
}

/// The configuration: what the artifact is, for who does not want to read all of it.
fn config(push: &Push<'_>, artifact: Digest) -> Value {
    let found = push.inspection;
    let mut config = json!({
        "created": push.created.to_string(),
        "architecture": "wasm",
        "os": if found.component { "wasip2" } else { "wasip1" },
        "layerDigests": [artifact],
    });
    if found.component {
        let imports: Vec<&str> = found.imports.iter().map(|import| import.name.as_str()).collect();
        config["component"] = json!({"exports": found.exports, "imports": imports});
    }
    config
}

fn manifest(push: &Push<'_>, config: &str, artifact: Digest, size_bytes: u64) -> Value {
    let mut annotations = push.annotations.clone();
    let created = || push.created.to_string();
    annotations.entry("org.opencontainers.image.created".into()).or_insert_with(created);
    json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": {
            "mediaType": WASM_CONFIG_TYPE,
            "digest": Digest::of(config.as_bytes()),
            "size": config.len(),
        },
        "layers": [{"mediaType": WASM_LAYER_TYPE, "digest": artifact, "size": size_bytes}],
        "annotations": annotations,
    })
}

/// Uploads a blob in one piece, unless the registry has it.
async fn upload(session: &mut Session<'_>, digest: Digest, payload: Payload) -> Result<bool, FetchError> {
    let head = Ask::new(Method::HEAD, format!("blobs/{digest}"));
    let mut tries = Tries::new(session.client().options().retry, 1);
    loop {
        let trouble = match session.ask(&head, &[StatusCode::NOT_FOUND]).await {
            Ok(answer) if answer.status.is_success() => return Ok(true),
            Ok(_) => match send(session, digest, payload.clone()).await {
                Ok(()) => return Ok(false),
                Err(trouble) => trouble,
            },
            Err(trouble) => trouble,
        };
        tries.next(trouble).await?;
    }
}

/// `POST` for a place, `PUT` to that place (OCI distribution specification, "Pushing a blob monolithically").
async fn send(session: &mut Session<'_>, digest: Digest, payload: Payload) -> Result<(), Trouble> {
    let begun = session.ask(&Ask::new(Method::POST, "blobs/uploads/"), &[]).await?;
    let from = begun.from.clone();
    let location =
        begun.headers.get(header::LOCATION).and_then(|value| value.to_str().ok()).map(String::from);
    begun.bytes(ANSWER_BYTES_MAX).await?;
    let nowhere = || Trouble::last(Problem::Registry, format!("{from} does not say where to upload"));
    let (endpoint, path) = session.place(&location.ok_or_else(nowhere)?).await?;
    let separator = if path.contains('?') { '&' } else { '?' };
    // The colon of the digest may stand in a query as it is (RFC 3986, 3.4).
    let target = Target::Url(endpoint, format!("{path}{separator}digest={digest}"));
    let ask = Ask { target, payload, ..Ask::new(Method::PUT, "") };
    let ask = ask.header(header::CONTENT_TYPE, "application/octet-stream");
    session.ask(&ask, &[]).await?.bytes(ANSWER_BYTES_MAX).await?;
    Ok(())
}
