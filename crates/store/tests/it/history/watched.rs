//! A watch under test: what it has given so far, and what must hold of it whatever happened.

use shoal_store::{Batch, Error, Event, Revision, Store, Watch, WatchOptions};

use crate::support::soon;

/// A watch and what it gave.
pub(crate) struct Watched {
    pub(crate) prefix: Vec<u8>,
    pub(crate) options: WatchOptions,
    state: Result<Watch, Error>,
    pub(crate) events: Vec<Event>,
    /// The revision of the last batch; before the first one that before the watch begins.
    pub(crate) seen: Revision,
}

impl Watched {
    pub(crate) async fn open(store: &dyn Store, prefix: &[u8], from: Revision, previous: bool) -> Self {
        let options = WatchOptions { from: Some(from), previous };
        let state = store.watch(prefix, options).await;
        Self { prefix: prefix.to_vec(), options, state, events: Vec::new(), seen: from.before() }
    }

    /// Opens it anew where it stopped.
    pub(crate) async fn resume(&mut self, store: &dyn Store) {
        let options = WatchOptions { from: Some(self.seen.next()), ..self.options };
        self.state = store.watch(&self.prefix, options).await;
    }

    /// The kind of error that it ended with.
    pub(crate) fn ended(&self) -> Option<&'static str> {
        self.state.as_ref().err().map(Error::kind)
    }

    /// Waits for one batch and checks it.
    pub(crate) async fn step(&mut self) -> Option<Batch> {
        let Ok(watch) = &mut self.state else { return None };
        match soon("a batch", watch.next()).await {
            Ok(batch) => {
                self.take(&batch);
                Some(batch)
            }
            Err(error) => {
                self.state = Err(error);
                None
            }
        }
    }

    /// Reads until it has seen `revision`, or has ended.
    pub(crate) async fn read_to(&mut self, revision: Revision) {
        self.ask_for_progress();
        while self.seen < revision && self.step().await.is_some() {}
    }

    /// Reads until it has given so many events, or has ended.
    pub(crate) async fn read_events(&mut self, count: usize) {
        while self.events.len() < count && self.step().await.is_some() {}
    }

    pub(crate) fn ask_for_progress(&mut self) {
        if let Ok(watch) = &mut self.state {
            watch.request_progress().expect("the engine gives progress");
        }
    }

    /// Ordered, unique, atomic, filtered; and no event at or before what a batch has claimed to be complete.
    pub(crate) fn take(&mut self, batch: &Batch) {
        let mut last: Option<&Event> = None;
        for event in &batch.events {
            assert!(event.revision > self.seen, "{event:?} again, or late: {} was complete", self.seen);
            assert!(event.revision <= batch.revision, "{event:?} is later than its batch {}", batch.revision);
            assert!(Some(event.revision) >= self.options.from, "{event:?} before the watch began");
            assert!(event.key.starts_with(&self.prefix), "{event:?} is not below {:?}", self.prefix);
            if let Some(last) = last {
                assert!(last.revision <= event.revision, "{last:?} before {event:?}");
                assert!(last.revision < event.revision || last.key != event.key, "{event:?} twice");
            }
            if let Some(object) = &event.object {
                assert_eq!(object.key, event.key);
                assert_eq!(object.mod_revision, event.revision);
                assert_eq!(event.is_create(), object.version == 1, "{event:?}");
            }
            if let Some(previous) = &event.previous {
                assert!(self.options.previous, "{event:?} carries what nobody asked for");
                assert_eq!(previous.key, event.key);
                assert!(previous.mod_revision < event.revision && !event.is_create(), "{event:?}");
            }
            last = Some(event);
        }
        // An answer to a request for progress may say again what is known.
        assert!(batch.revision >= self.seen || batch.events.is_empty(), "a batch goes back");
        self.seen = self.seen.max(batch.revision);
        self.events.extend(batch.events.iter().cloned());
    }
}
