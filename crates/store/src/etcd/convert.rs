//! Between etcd's words and ours: keys below the root, revisions above the offset.

use std::sync::Arc;

use bytes::{BufMut as _, Bytes, BytesMut};

use super::wire;
use crate::{
    Change, Committed, Conflict, Error, Event, Expect, LeaseId, Object, Outcome, Result, Revision,
    Transaction, prefix_end,
};

/// Where the keys of a store are in an etcd, and how its revisions are counted.
#[derive(Clone, Debug)]
pub(crate) struct Mapping {
    pub(crate) root: Bytes,
    /// Added to etcd's revisions: a store that moved here goes on above those it had.
    pub(crate) offset: u64,
}

impl Mapping {
    /// A key of ours in etcd.
    pub(crate) fn key(&self, key: &[u8]) -> Bytes {
        let mut whole = BytesMut::with_capacity(self.root.len() + key.len());
        whole.put_slice(&self.root);
        whole.put_slice(key);
        whole.freeze()
    }

    /// All keys that begin with `prefix`, as a range of etcd.
    pub(crate) fn range(&self, prefix: &[u8]) -> (Bytes, Bytes) {
        let begin = self.key(prefix);
        // One zero byte means to the end of everything.
        let end = prefix_end(&begin).map_or(Bytes::from_static(b"\0"), Bytes::from);
        (begin, end)
    }

    /// A revision of ours in etcd.
    ///
    /// # Errors
    /// [`Error::Compacted`] for those from before the move, [`Error::Invalid`] for 0.
    pub(crate) fn inner(&self, revision: Revision) -> Result<i64> {
        if revision == Revision(0) {
            return Err(Error::Invalid(
                "there is no revision 0: leave it out to read what is there now".into(),
            ));
        }
        let compacted = Some(Revision(self.offset + 1));
        let inner = revision.0.checked_sub(self.offset).filter(|inner| *inner > 0);
        let inner = inner.ok_or(Error::Compacted { asked: revision, compacted })?;
        i64::try_from(inner).map_err(|_| Error::Future { asked: revision })
    }

    /// A revision of etcd in ours.
    pub(crate) fn outer(&self, revision: i64) -> Result<Revision> {
        let inner = number("a revision", revision)?;
        inner.checked_add(self.offset).map(Revision).ok_or_else(|| strange("a revision past all numbers"))
    }

    /// Where etcd says it is.
    pub(crate) fn header(&self, header: Option<wire::Header>) -> Result<Revision> {
        self.outer(header.ok_or_else(|| strange("an answer without a header"))?.revision)
    }

    /// An object of etcd in ours.
    pub(crate) fn object(&self, kv: wire::KeyValue) -> Result<Arc<Object>> {
        let key = self.our_key(&kv.key)?;
        Ok(Arc::new(Object {
            key,
            value: kv.value,
            create_revision: self.outer(kv.create_revision)?,
            mod_revision: self.outer(kv.mod_revision)?,
            version: number("a version", kv.version)?,
            lease: Some(LeaseId(kv.lease)).filter(|lease| lease.0 != 0),
        }))
    }

    /// An event of etcd in ours.
    pub(crate) fn event(&self, event: wire::Event) -> Result<Event> {
        let kv = event.kv.ok_or_else(|| strange("an event without a key"))?;
        let previous = event.prev_kv.map(|kv| self.object(kv)).transpose()?;
        let revision = self.outer(kv.mod_revision)?;
        Ok(match event.kind {
            0 => {
                let object = self.object(kv)?;
                Event { key: object.key.clone(), revision, object: Some(object), previous }
            }
            1 => Event { key: self.our_key(&kv.key)?, revision, object: None, previous },
            _ => return Err(strange("an event that is neither put nor delete")),
        })
    }

    /// A transaction of ours in etcd: compare each key, then write, or read what is there instead.
    ///
    /// # Errors
    /// [`Error::Invalid`] for revisions that no etcd has.
    pub(crate) fn request(&self, transaction: &Transaction) -> Result<wire::TxnRequest> {
        let mut request = wire::TxnRequest::default();
        for write in &transaction.writes {
            let key = self.key(&write.key);
            // One that is from before the move matches nothing, as it should: all were written again.
            let expected = match write.expect {
                Expect::Absent => 0,
                Expect::At(revision) => self.inner(revision).unwrap_or(i64::MAX),
            };
            let to = Some(wire::CompareTo::ModRevision(expected));
            request.compare.push(wire::Compare { result: 0, target: 2, key: key.clone(), to });
            let change = match &write.change {
                Change::Check => None,
                Change::Put { value, lease } => Some(wire::Request::Put(wire::PutRequest {
                    key: key.clone(),
                    value: value.clone(),
                    lease: lease.map_or(0, |lease| lease.0),
                })),
                Change::Delete => Some(wire::Request::DeleteRange(wire::DeleteRangeRequest {
                    key: key.clone(),
                    prev_kv: true,
                })),
            };
            request.success.extend(change.map(|change| wire::RequestOp { request: Some(change) }));
            let read = wire::Request::Range(wire::RangeRequest { key, ..wire::RangeRequest::default() });
            request.failure.push(wire::RequestOp { request: Some(read) });
        }
        Ok(request)
    }

    /// The answer to [`Mapping::request`].
    pub(crate) fn outcome(&self, answer: wire::TxnResponse) -> Result<Outcome> {
        let revision = self.header(answer.header)?;
        let responses = answer.responses.into_iter().filter_map(|response| response.response);
        if answer.succeeded {
            let mut deleted = Vec::new();
            for response in responses {
                if let wire::Response::DeleteRange(range) = response {
                    for kv in range.prev_kvs {
                        deleted.push(self.object(kv)?);
                    }
                }
            }
            return Ok(Outcome::Committed(Committed { revision, deleted }));
        }
        let mut current = Vec::new();
        for response in responses {
            let wire::Response::Range(range) = response else {
                return Err(strange("a conflict that is answered by a write"));
            };
            current.push(range.kvs.into_iter().next().map(|kv| self.object(kv)).transpose()?);
        }
        Ok(Outcome::Conflict(Conflict { revision, current }))
    }

    fn our_key(&self, key: &Bytes) -> Result<Bytes> {
        if !key.starts_with(&self.root) {
            return Err(strange("a key that was not asked for"));
        }
        Ok(key.slice(self.root.len()..))
    }
}

/// A number that is not negative.
pub(crate) fn number(what: &str, number: i64) -> Result<u64> {
    u64::try_from(number).map_err(|_| strange(&format!("{what} of {number}")))
}

fn strange(what: &str) -> Error {
    Error::Corrupt(format!("etcd answered with {what}"))
}
