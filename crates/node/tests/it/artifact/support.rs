//! A store in a directory of its own, and what it is asked for.

use std::path::{Path, PathBuf};
use std::time::Duration;

use shoal_node::artifact::{
    Artifact, Client, ClientOptions, FetchError, Image, Keyring, Policy, Reference, Retry, Store,
    StoreOptions,
};

/// A core module with a custom section that makes it `length` bytes long, and one like no other of another seed.
pub(crate) fn module(seed: u8, length: usize) -> Vec<u8> {
    let mut bytes = b"\0asm\x01\0\0\0".to_vec();
    let bytes_of = |index: usize| seed.wrapping_add((index % 251).to_le_bytes()[0]);
    bytes.extend((8..length).map(bytes_of));
    bytes
}

/// Three tries without a wait worth the name; short limits, so that a stall ends within the test.
pub(crate) fn quick() -> ClientOptions {
    ClientOptions {
        stall: Duration::from_millis(300),
        retry: Retry { tries: 3, wait: Duration::from_millis(1), wait_max: Duration::from_millis(5) },
        ..ClientOptions::default()
    }
}

pub(crate) struct Place {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) store: Store,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self::with(quick(), StoreOptions::default())
    }

    pub(crate) fn with(client: ClientOptions, options: StoreOptions) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let client = Client::new(client).expect("a client");
        let store = Store::open(dir.path(), client, options).expect("a store");
        Self { dir, store }
    }

    /// The same directory, as another process would find it.
    pub(crate) fn again(&self) -> Store {
        let client = Client::new(quick()).expect("a client");
        Store::open(self.dir.path(), client, StoreOptions::default()).expect("a store")
    }

    pub(crate) async fn fetch(&self, name: &str, policy: Policy) -> Result<Artifact, FetchError> {
        self.store.fetch(&reference(name), policy, &Keyring::default()).await
    }

    pub(crate) async fn pull(&self, name: &str) -> Result<Artifact, FetchError> {
        self.fetch(name, Policy::IfNotPresent).await
    }

    /// Files below a directory of the store.
    pub(crate) fn files(&self, dir: &str) -> Vec<PathBuf> {
        files(&self.dir.path().join(dir))
    }
}

pub(crate) fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).expect("a directory");
    entries.map(|entry| entry.expect("an entry").path()).collect()
}

pub(crate) fn reference(name: &str) -> Reference {
    name.parse().expect("a reference")
}

pub(crate) fn image(name: &str) -> Image {
    match reference(name) {
        Reference::Image(image) => image,
        Reference::File(path) => panic!("{} is a file", path.display()),
    }
}
