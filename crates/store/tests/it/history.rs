//! Generated histories: every engine must agree with the model in each answer, each event and each revision.

mod concurrent;
mod flawed;
mod operations;
mod play;
mod watched;

use std::sync::Arc;
use std::time::Duration;

use proptest::test_runner::{Config, TestCaseError, TestRunner};
use shoal_store::Store;
use shoal_store::model::Model;
use shoal_store::sqlite::SqliteStore;

use crate::support::Fresh;
pub(crate) use concurrent::check as concurrent_check;
pub(crate) use flawed::{Flaw, Flawed};
pub(crate) use play::{Subject, play};

/// Histories for each engine in an ordinary run; `SHOAL_HISTORIES` gives another number.
const HISTORIES: u32 = 48;

/// Operations in one history.
const OPERATIONS: usize = 60;

/// Plays generated histories, each on a world that `world` makes.
pub(crate) fn agree<S: Subject>(mut world: impl FnMut() -> (S, Model)) {
    let asked =
        std::env::var("SHOAL_HISTORIES").ok().map(|text| text.parse().expect("a number of histories"));
    let cases = asked.unwrap_or(HISTORIES);
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 400, ..Config::default() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut runner = TestRunner::new_with_rng(
        config,
        proptest::test_runner::TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha),
    );
    let world = std::cell::RefCell::new(&mut world);
    runner
        .run(&operations::history(OPERATIONS), |operations| {
            let (subject, model) = (world.borrow_mut())();
            runtime.block_on(play(subject, model, &operations)).map_err(TestCaseError::fail)
        })
        .unwrap_or_else(|failure| panic!("{failure}"));
}

/// The embedded engine, with little history in memory so that the disk is read too.
struct Embedded(Option<Fresh>);

impl Subject for Embedded {
    fn store(&self) -> &dyn Store {
        let Some(Fresh { store, .. }) = &self.0 else { unreachable!("it is always open between two calls") };
        store as &SqliteStore
    }

    fn reopen(&mut self) {
        self.0 = self.0.take().map(Fresh::reopen);
    }
}

#[test]
fn the_embedded_engine_agrees_with_the_model() {
    agree(|| (Embedded(Some(Fresh::new())), Model::default()));
}

#[test]
fn it_agrees_when_hardly_any_history_is_in_memory() {
    agree(|| (Embedded(Some(Fresh::with(|options| options.ring_bytes = 1))), Model::default()));
}

#[test]
fn concurrent_histories_of_the_embedded_engine_are_linearizable() {
    for seed in 0..4 {
        // The second half has next to no history in memory.
        let fresh = Fresh::with(|options| options.ring_bytes = if seed < 2 { options.ring_bytes } else { 1 });
        let Fresh { store, dir: _dir, .. } = fresh;
        concurrent_check(async || Arc::new(store) as Arc<dyn Store>, &Model::default(), seed, 150);
    }
}

#[test]
fn concurrent_histories_of_the_model_are_linearizable() {
    concurrent_check(async || Arc::new(Model::default()) as Arc<dyn Store>, &Model::default(), 7, 100);
}

/// The checks themselves: they must find what is wrong.
#[test]
fn a_flawed_store_is_found() {
    for flaw in [
        Flaw::StaleRead,
        Flaw::RepeatedBatch,
        Flaw::NoPrevious,
        Flaw::BlindWrite,
        Flaw::RevisionSkipped,
        Flaw::BrokenPages,
    ] {
        let found = std::panic::catch_unwind(|| agree(|| (Flawed::new(flaw), Model::default())));
        assert!(found.is_err(), "{flaw:?} is not found");
    }
}

/// How long a lease lives in a history: none ends by itself.
const LEASE: Duration = Duration::from_secs(600);
