//! The store: artifacts by what references mean, fetched when they are not here.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use http::{Method, header};
use parking_lot::Mutex;

use super::access::{Ask, Session};
use super::download::{self, Progress};
use super::files::{Files, Identity, Partial, Record, touch};
use super::flight::Flights;
use super::kind::HEAD_BYTES;
use super::manifest::{self, Descriptor, Document, Manifest, Plan};
use super::unpack::{choose, unpack};
use super::{Client, Digest, FetchError, Image, Keyring, Kind, Problem, Reference};

/// An artifact on this machine's disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifact {
    /// Its file. One of the store stays until [`Store::collect`] throws it away.
    pub path: PathBuf,
    /// The digest of its content.
    pub digest: Digest,
    /// What it is.
    pub kind: Kind,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// What means exactly this for ever, for `imageID`: `registry/repository@sha256:...`, or the digest alone of a file.
    pub id: String,
}

/// When a registry is asked (`imagePullPolicy`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Policy {
    /// Each time, what the reference means now. One with a digest means what it meant, and nobody is asked.
    Always,
    /// When the reference is not known here.
    IfNotPresent,
    /// Never.
    Never,
}

/// How much may be fetched and kept.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// Largest artifact in bytes.
    pub artifact_bytes_max: u64,
    /// Most bytes of all layers of a container image, as they are sent.
    pub layers_bytes_max: u64,
    /// Bytes of artifacts that [`Store::collect`] leaves.
    pub keep_bytes: u64,
}

impl Default for StoreOptions {
    /// Interpreters with their libraries have tens of megabytes as components; 512 MiB is a mistake. Images that hold one
    /// beside a distribution have up to a gigabyte. Four gigabytes are kept: hundreds of ordinary components, on disks
    /// of 32 GB.
    fn default() -> Self {
        Self { artifact_bytes_max: 512 << 20, layers_bytes_max: 1 << 30, keep_bytes: 4 << 30 }
    }
}

/// The store of a data directory. Its clones are the same.
#[derive(Clone)]
pub struct Store(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) files: Files,
    pub(super) options: StoreOptions,
    client: Client,
    /// Files whose content was read and found to be of this digest, by their paths.
    known: Mutex<HashMap<PathBuf, Known>>,
    fetches: Flights<(Image, Policy, Keyring), Result<Artifact, FetchError>>,
    /// By registry: another one may be slow or wrong.
    blobs: Flights<(String, Digest), Result<Identity, FetchError>>,
    /// Held while a file of the store is looked up or thrown away.
    pub(super) gate: Mutex<()>,
}

/// What a file was when it was read, the digest of its content, and its kind where someone has looked.
type Known = (Identity, Digest, Option<Kind>);

/// Files that are remembered as read: more than a node has artifacts.
const KNOWN_MAX: usize = 16 << 10;

impl Store {
    /// Opens the store in this directory, which is made when it is missing.
    ///
    /// # Errors
    /// The directory cannot be used.
    pub fn open(dir: &Path, client: Client, options: StoreOptions) -> Result<Self, FetchError> {
        Ok(Self(Arc::new(Inner {
            files: Files::open(dir)?,
            options,
            client,
            known: Mutex::default(),
            fetches: Flights::default(),
            blobs: Flights::default(),
            gate: Mutex::default(),
        })))
    }

    /// The artifact that a reference means, fetched when the policy says so. Those who ask for the same at the same
    /// moment share one fetch, and what comes of it.
    ///
    /// # Errors
    /// It is not to be had; [`FetchError::problem`] says whether that may change by itself.
    pub async fn fetch(
        &self,
        reference: &Reference,
        policy: Policy,
        keyring: &Keyring,
    ) -> Result<Artifact, FetchError> {
        self.fetch_with(reference, policy, keyring, &|_, _| {}).await
    }

    /// Like [`fetch`](Self::fetch), and says how far it is.
    ///
    /// # Errors
    /// As [`fetch`](Self::fetch).
    pub async fn fetch_with(
        &self,
        reference: &Reference,
        policy: Policy,
        keyring: &Keyring,
        progress: Progress<'_>,
    ) -> Result<Artifact, FetchError> {
        match reference {
            Reference::File(path) => {
                let (inner, path) = (self.0.clone(), path.clone());
                blocking(move || inner.local(&path)).await.map_err(|error| match policy {
                    Policy::Never if error.problem == Problem::Missing => FetchError::never(reference),
                    _ => error,
                })
            }
            Reference::Image(image) => self.image(image, policy, keyring, progress).await,
        }
    }

    async fn image(
        &self,
        image: &Image,
        policy: Policy,
        keyring: &Keyring,
        progress: Progress<'_>,
    ) -> Result<Artifact, FetchError> {
        let asks_anyway = policy == Policy::Always && image.digest.is_none();
        if !asks_anyway && let Some(artifact) = self.present(image).await {
            return Ok(artifact);
        }
        if policy == Policy::Never {
            return Err(FetchError::never(image));
        }
        // On the heap: what a fetch holds is large, and those who only wait for one need none of it.
        let work = Box::pin(self.pull(image, policy, keyring, progress));
        let work = async { work.await.map_err(|error| error.of(image)) };
        self.0.fetches.join((image.clone(), policy, keyring.clone()), work).await
    }

    /// What a reference meant when it was last fetched, if that is still here and whole.
    async fn present(&self, image: &Image) -> Option<Artifact> {
        let (inner, image) = (self.0.clone(), image.clone());
        tokio::task::spawn_blocking(move || inner.present(&image)).await.ok().flatten()
    }

    async fn pull(
        &self,
        image: &Image,
        policy: Policy,
        keyring: &Keyring,
        progress: Progress<'_>,
    ) -> Result<Artifact, FetchError> {
        // Someone may have been quicker.
        let present = self.present(image).await;
        if let (Policy::IfNotPresent, Some(artifact)) = (policy, &present) {
            return Ok(artifact.clone());
        }
        let mut session = Session::new(&self.0.client, image, keyring, "pull");
        if let Some(artifact) = present
            && is_current(&mut session, image, &artifact).await?
        {
            return Ok(artifact);
        }
        let (top, manifest) = resolve(&mut session, image).await?;
        let plan = manifest.plan()?;
        let (artifact, file) = match plan {
            Plan::Blob(blob) => self.blob(&mut session, &blob, progress).await?,
            Plan::Layers(layers) => self.layers(&mut session, &manifest, layers, progress).await?,
        };
        let record = Record { image: image.to_string(), manifest: top, artifact, file };
        let (store, image) = (self.clone(), image.clone());
        blocking(move || {
            let pinned = image.pinned(top);
            for name in [&pinned, &image] {
                store.0.files.write_record(name, &Record { image: name.to_string(), ..record.clone() })?;
            }
            let gone = || FetchError::new(Problem::Corrupt, "it was gone as soon as it was here");
            store.0.present(&image).ok_or_else(gone)
        })
        .await
    }

    /// A blob that is the artifact itself.
    async fn blob(
        &self,
        session: &mut Session<'_>,
        blob: &Descriptor,
        progress: Progress<'_>,
    ) -> Result<(Digest, Identity), FetchError> {
        check_size("an artifact", blob.size, self.0.options.artifact_bytes_max)?;
        let key = (session.image.registry.clone(), blob.digest);
        let work = async {
            let (inner, digest) = (self.0.clone(), blob.digest);
            if let Some(file) = blocking(move || Ok(inner.whole(digest))).await? {
                return Ok(file);
            }
            let mut partial = self.partial(blob.digest).await?;
            download::blob(session, blob, &mut partial, progress).await?;
            let inner = self.0.clone();
            blocking(move || {
                let mut file = partial.into_file();
                let kind = read_kind(file.as_file_mut());
                kind.and_then(Kind::of_bytes).ok_or_else(|| {
                    FetchError::new(
                        Problem::Unusable,
                        "its layer of WebAssembly is none: it begins otherwise",
                    )
                })?;
                inner.keep(file, digest)
            })
            .await
        };
        Ok((blob.digest, self.0.blobs.join(key, work).await?))
    }

    async fn partial(&self, digest: Digest) -> Result<Partial, FetchError> {
        let inner = self.0.clone();
        blocking(move || Partial::open(&inner.files, digest)).await
    }

    /// The file of WebAssembly in the layers of a container image.
    async fn layers(
        &self,
        session: &mut Session<'_>,
        manifest: &Manifest,
        layers: Vec<(Descriptor, bool)>,
        progress: Progress<'_>,
    ) -> Result<(Digest, Identity), FetchError> {
        let total = layers.iter().fold(0_u64, |sum, (layer, _)| sum.saturating_add(layer.size));
        check_size("an image", total, self.0.options.layers_bytes_max)?;
        let mut parts = Vec::new();
        let mut before = 0;
        for (layer, is_gzip) in layers {
            let mut partial = self.partial(layer.digest).await?;
            let so_far = before;
            download::blob(session, &layer, &mut partial, &|done, _| progress(so_far + done, total)).await?;
            before += layer.size;
            parts.push((partial, is_gzip));
        }
        let inner = self.0.clone();
        let found = blocking(move || {
            // Those that are whole stay for the next try until all are.
            let mut layers: Vec<_> =
                parts.into_iter().map(|(partial, is_gzip)| (partial.into_file(), is_gzip)).collect();
            unpack(&inner.files, &mut layers, inner.options.artifact_bytes_max)
        })
        .await?;
        let entry_points = if found.len() > 1 { entry_points(session, manifest).await? } else { Vec::new() };
        let inner = self.0.clone();
        blocking(move || {
            let one = choose(found, &entry_points)?;
            Ok((one.digest, inner.keep(one.file, one.digest)?))
        })
        .await
    }
}

/// Work on the disk, away from those who wait for sockets.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, FetchError> + Send + 'static,
) -> Result<T, FetchError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        Err(FetchError::new(Problem::Disk, format!("work on the disk broke off: {error}")))
    })
}

fn check_size(what: &str, bytes: u64, max: u64) -> Result<(), FetchError> {
    if bytes <= max {
        return Ok(());
    }
    Err(FetchError::new(Problem::TooLarge, format!("it has {bytes} bytes, and {what} may have {max}")))
}

/// Whether the reference still means what is here. A registry that does not say is asked for all of it.
async fn is_current(
    session: &mut Session<'_>,
    image: &Image,
    artifact: &Artifact,
) -> Result<bool, FetchError> {
    let ask = Ask::new(Method::HEAD, format!("manifests/{}", image.version()));
    let ask = ask.header(header::ACCEPT, manifest::ACCEPT);
    let also =
        [http::StatusCode::METHOD_NOT_ALLOWED, http::StatusCode::NOT_FOUND, http::StatusCode::BAD_REQUEST];
    let (headers, _) = session.ask_until(&ask, &also, 0).await?;
    let digest = headers.get("docker-content-digest").and_then(|value| value.to_str().ok());
    Ok(digest.is_some_and(|digest| artifact.id.ends_with(&format!("@{digest}"))))
}

/// What the registry has under the name: the digest of that, and the manifest that it leads to.
async fn resolve(session: &mut Session<'_>, image: &Image) -> Result<(Digest, Manifest), FetchError> {
    let (top, body) = document(session, &image.version(), image.digest).await?;
    let index = match Document::parse(&body)? {
        Document::Manifest(manifest) => return Ok((top, manifest)),
        Document::Index(index) => index,
    };
    let chosen = index.choose()?.digest;
    let (_, body) = document(session, &chosen.to_string(), Some(chosen)).await?;
    match Document::parse(&body)? {
        Document::Manifest(manifest) => Ok((top, manifest)),
        Document::Index(_) => Err(FetchError::new(Problem::Unusable, "it is an index of indexes")),
    }
}

async fn document(
    session: &mut Session<'_>,
    version: &str,
    expected: Option<Digest>,
) -> Result<(Digest, bytes::Bytes), FetchError> {
    let ask = Ask::new(Method::GET, format!("manifests/{version}")).header(header::ACCEPT, manifest::ACCEPT);
    let (headers, body) = session.ask_until(&ask, &[], manifest::MANIFEST_BYTES_MAX).await?;
    let found = Digest::of(&body);
    let said = headers.get("docker-content-digest").and_then(|value| value.to_str().ok()?.parse().ok());
    match expected.or(said) {
        Some(expected) if expected != found => Err(download::wrong_digest(expected, found)),
        _ => Ok((found, body)),
    }
}

async fn entry_points(session: &mut Session<'_>, manifest: &Manifest) -> Result<Vec<String>, FetchError> {
    let ask = Ask::new(Method::GET, format!("blobs/{}", manifest.config.digest));
    let (_, body) = session.ask_until(&ask, &[], manifest::MANIFEST_BYTES_MAX).await?;
    let found = Digest::of(&body);
    if found != manifest.config.digest {
        return Err(download::wrong_digest(manifest.config.digest, found));
    }
    Ok(manifest::entry_points(&body))
}

fn read_kind(file: &mut File) -> Option<Vec<u8>> {
    let mut head = Vec::new();
    file.rewind().ok()?;
    file.take(HEAD_BYTES as u64).read_to_end(&mut head).ok()?;
    Some(head)
}

impl Inner {
    /// Keeps a whole file, unless the same is there.
    fn keep(&self, file: tempfile::NamedTempFile, digest: Digest) -> Result<Identity, FetchError> {
        let identity = self.files.keep(file, digest)?;
        self.remember(self.files.blob(digest), identity, digest, None);
        Ok(identity)
    }

    fn remember(&self, path: PathBuf, identity: Identity, digest: Digest, kind: Option<Kind>) {
        let mut known = self.known.lock();
        if known.len() >= KNOWN_MAX {
            known.clear();
        }
        known.insert(path, (identity, digest, kind));
    }

    /// The blob of this digest, if it is here: known, or read again. One that is not what its name says is removed.
    fn whole(&self, digest: Digest) -> Option<Identity> {
        let path = self.files.blob(digest);
        let file = File::open(&path).ok()?;
        let identity = Identity::from(&file.metadata().ok()?);
        if self.known.lock().get(&path).is_some_and(|known| known.0 == identity) {
            return Some(identity);
        }
        let (found, _) = Digest::of_reader(file).ok()?;
        if found == digest {
            self.remember(path, identity, digest, None);
            return Some(identity);
        }
        tracing::error!("{} has the digest {found}: it is removed and fetched again", path.display());
        let _ = std::fs::remove_file(&path);
        None
    }

    fn present(&self, image: &Image) -> Option<Artifact> {
        let _gate = self.gate.lock();
        let record = self.files.record(image)?;
        let path = self.files.blob(record.artifact);
        let mut file = File::open(&path).ok()?;
        let identity = Identity::from(&file.metadata().ok()?);
        if identity == record.file {
            self.remember(path.clone(), identity, record.artifact, None);
        } else {
            let file = self.whole(record.artifact)?;
            // The next one need not read it.
            let _ = self.files.write_record(image, &Record { file, ..record.clone() });
        }
        touch(&self.files.reference(image), SystemTime::now());
        let kind = read_kind(&mut file).and_then(Kind::of_bytes)?;
        let id = image.pinned(record.manifest).to_string();
        Some(Artifact { path, digest: record.artifact, kind, size_bytes: identity.size_bytes, id })
    }

    /// A file that someone else looks after.
    fn local(&self, path: &Path) -> Result<Artifact, FetchError> {
        let shown = path.display();
        let unreadable = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::NotFound => {
                FetchError::new(Problem::Missing, format!("no such file on this node: {shown}")).hint(
                    "put it there on each node, or push it to a registry with `shoal push FILE REFERENCE`",
                )
            }
            _ => FetchError::disk("read", path, &error),
        };
        let metadata = std::fs::metadata(path).map_err(unreadable)?;
        if !metadata.is_file() {
            return Err(FetchError::new(Problem::Unusable, format!("{shown} is not a file")));
        }
        check_size("an artifact", metadata.len(), self.options.artifact_bytes_max)
            .map_err(|error| FetchError { what: format!("{shown}: {}", error.what), ..error })?;
        let identity = Identity::from(&metadata);
        let known = self.known.lock().get(path).copied().filter(|known| known.0 == identity);
        let (digest, kind) = match known {
            Some((_, digest, Some(kind))) => (digest, kind),
            _ => {
                let mut file = File::open(path).map_err(unreadable)?;
                let head = read_kind(&mut file).unwrap_or_default();
                let kind = Kind::of_file(path, &head).ok_or_else(|| {
                    FetchError::new(Problem::Unusable, format!("{shown} is not WebAssembly"))
                        .hint("name a .wasm file, or a .wat or .cwasm file by that extension")
                })?;
                file.rewind().map_err(unreadable)?;
                let (digest, _) = Digest::of_reader(file).map_err(unreadable)?;
                self.remember(path.to_owned(), identity, digest, Some(kind));
                (digest, kind)
            }
        };
        let (path, size_bytes) = (path.to_owned(), identity.size_bytes);
        Ok(Artifact { path, digest, kind, size_bytes, id: digest.to_string() })
    }
}
