//! Objects in the store: read, listed, written, each with the failures that clients know.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;
use shoal_api::Status;
use shoal_store::{Change, Error, ListOptions, Outcome, Revision, Store, Transaction, Watch, WatchOptions};
use tokio::sync::RwLock;

use crate::seal::Sealer;
use crate::stored;

/// The objects of all kinds.
#[derive(Clone)]
pub struct Objects {
    store: Arc<dyn Store>,
    sealer: Arc<Sealer>,
    /// Held while something sealed is written, and alone while the key changes.
    sealing: Arc<RwLock<()>>,
}

/// One version of an object, readable.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Where it lies.
    pub key: Bytes,
    /// As [`stored::encode`] made it.
    pub bytes: Bytes,
    /// When it was written: its `resourceVersion`.
    pub revision: Revision,
}

/// Objects of one revision.
#[derive(Clone, Debug)]
pub struct Listed {
    /// In the order of their keys.
    pub objects: Vec<Stored>,
    /// How many objects there are after the last of these; where that was not asked for, 0 still means none.
    pub remaining: u64,
    /// The revision of the list: its `resourceVersion`.
    pub revision: Revision,
}

impl Stored {
    /// Parsed, with its `resourceVersion`.
    ///
    /// # Errors
    /// 500: what is stored is not JSON.
    pub fn value(&self) -> Result<Value, Status> {
        stored::decode(&self.bytes, self.revision).map_err(|error| self.unreadable(&error))
    }

    /// The object without `metadata.managedFields`, for those who only read it.
    ///
    /// # Errors
    /// 500: what is stored is not JSON.
    pub fn lean(&self) -> Result<Value, Status> {
        stored::decode_lean(&self.bytes, self.revision).map_err(|error| self.unreadable(&error))
    }

    fn unreadable(&self, error: &serde_json::Error) -> Status {
        let key = self.key.escape_ascii();
        Status::internal(format!("{key} is stored as something else than JSON: {error}"))
    }
}

impl Objects {
    /// Objects of a store, some of them sealed.
    pub fn new(store: Arc<dyn Store>, sealer: Arc<Sealer>) -> Self {
        Self { store, sealer, sealing: Arc::default() }
    }

    /// The store behind.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// One object as it is now.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn get(&self, key: &[u8]) -> Result<Option<Stored>, Status> {
        let got = self.store.get(key, None).await.map_err(status)?;
        got.object.map(|object| self.open(&object)).transpose()
    }

    /// Objects whose keys begin with `prefix`.
    ///
    /// # Errors
    /// Those of the store; 410 when the revision is compacted.
    pub async fn list(&self, prefix: &[u8], options: ListOptions) -> Result<Listed, Status> {
        let page = self.store.list(prefix, options).await.map_err(status)?;
        let shown = page.objects.len() as u64;
        Ok(Listed {
            objects: page.objects.iter().map(|object| self.open(object)).collect::<Result<_, _>>()?,
            remaining: page.count.saturating_sub(shown),
            revision: page.revision,
        })
    }

    /// Follows what changes, with what was there before.
    ///
    /// # Errors
    /// Those of the store; 410 when the revision is compacted.
    pub async fn watch(&self, prefix: &[u8], from: Revision) -> Result<Watch, Error> {
        self.store.watch(prefix, WatchOptions { from: Some(from), previous: true }).await
    }

    /// Writes all or nothing; none: some key held something else than expected.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn transact(&self, transaction: Transaction) -> Result<Option<Revision>, Status> {
        let outcome = if transaction.writes.iter().any(|write| is_sealed(&write.key)) {
            self.transact_sealed(transaction).await?
        } else {
            self.store.transact(transaction).await.map_err(status)?
        };
        match outcome {
            Outcome::Committed(committed) => Ok(Some(committed.revision)),
            Outcome::Conflict(_) => Ok(None),
        }
    }

    /// The store goes on with a write whose client has gone: what is sealed keeps the key from changing until it is written,
    /// whoever waits for it.
    async fn transact_sealed(&self, mut transaction: Transaction) -> Result<Outcome, Status> {
        let held = self.sealing.clone().read_owned().await;
        self.reseal(&mut transaction)?;
        let store = self.store.clone();
        let written = tokio::spawn(async move {
            let outcome = store.transact(transaction).await;
            drop(held);
            outcome
        });
        written.await.map_err(Status::internal)?.map_err(status)
    }

    /// What is stored for an object at a key: sealed, where its kind asks for it.
    pub fn close(&self, key: &[u8], bytes: &Bytes) -> Bytes {
        if !is_sealed(key) {
            return bytes.clone();
        }
        self.sealer.seal(&key.escape_ascii().to_string(), bytes).into()
    }

    /// Seals anew what was sealed before the key changed.
    fn reseal(&self, transaction: &mut Transaction) -> Result<(), Status> {
        for write in transaction.writes.iter_mut().filter(|write| is_sealed(&write.key)) {
            if let Change::Put { value, .. } = &mut write.change
                && !self.sealer.is_current(value)
            {
                let at = write.key.escape_ascii().to_string();
                let opened = self.sealer.unseal(&at, value).map_err(Status::internal)?.into_owned();
                *value = self.sealer.seal(&at, &opened).into();
            }
        }
        Ok(())
    }

    /// Whether an object is sealed with the newest key.
    pub(crate) fn is_current(&self, object: &shoal_store::Object) -> bool {
        self.sealer.is_current(&object.value)
    }

    /// Seals with a new key from now on: nothing that another key sealed is written after this returns. Where a rotation was
    /// begun and not finished, its key is the new one.
    ///
    /// # Errors
    /// 500: the key file cannot be written.
    pub(crate) async fn rotate(&self) -> Result<(), Status> {
        let _alone = self.sealing.write().await;
        if self.sealer.has_old_keys() {
            return Ok(());
        }
        self.sealer.rotate().map_err(Status::internal)
    }

    /// Forgets all keys but the newest.
    ///
    /// # Errors
    /// 500: the key file cannot be written.
    pub(crate) fn forget_old_keys(&self) -> Result<(), Status> {
        self.sealer.forget_old().map_err(Status::internal)
    }

    /// An object of the store, opened where it is sealed.
    ///
    /// # Errors
    /// 500: its key is not at hand, or it was altered.
    pub fn open(&self, object: &shoal_store::Object) -> Result<Stored, Status> {
        let bytes = match self.text(object)? {
            Cow::Borrowed(_) => object.value.clone(),
            Cow::Owned(opened) => opened.into(),
        };
        Ok(Stored { key: object.key.clone(), bytes, revision: object.mod_revision })
    }

    /// The same, as text alone.
    ///
    /// # Errors
    /// As [`Objects::open`].
    pub fn text<'o>(&self, object: &'o shoal_store::Object) -> Result<Cow<'o, [u8]>, Status> {
        if !is_sealed(&object.key) || object.value.is_empty() {
            return Ok(Cow::Borrowed(&object.value));
        }
        let opened = self.sealer.unseal(&object.key.escape_ascii().to_string(), &object.value);
        Ok(Cow::Owned(opened.map_err(Status::internal)?.into_owned()))
    }
}

/// What the keys of everything that is sealed begin with: Secrets.
pub(crate) const SEALED: &[u8] = b"/registry/core/secrets/";

/// Secrets are sealed; nothing else is.
fn is_sealed(key: &[u8]) -> bool {
    key.starts_with(SEALED)
}

/// A failure of the store as clients know it.
pub fn status(error: Error) -> Status {
    match error {
        Error::Compacted { .. } => Status::expired("The resourceVersion for the provided list is too old."),
        Error::Future { asked } => {
            let mut status = Status::timeout(format!("Too large resource version: {asked}"));
            status.details = Some(Box::new(shoal_api::status::Details {
                causes: vec![shoal_api::status::Cause {
                    reason: "ResourceVersionTooLarge".into(),
                    message: "Too large resource version".into(),
                    field: String::new(),
                }],
                retry_after_seconds: 1,
                ..Default::default()
            }));
            status
        }
        Error::Invalid(_) => Status::bad_request(error.to_string()),
        Error::TooLarge { .. } => Status::too_large(format!("Request entity too large: {error}")),
        Error::NoSpace(_) => Status::new(507, "InsufficientStorage", error.to_string()),
        Error::Unavailable(_) => Status::unavailable(error.to_string()),
        Error::OutcomeUnknown(_) => Status::timeout(error.to_string()),
        Error::LeaseNotFound(_) | Error::Corrupt(_) => Status::internal(error),
    }
}
