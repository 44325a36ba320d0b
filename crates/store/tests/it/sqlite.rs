//! What is special to the embedded engine.

use crate::support::{Fresh, put};
use shoal_store::{Expect, Store};

#[tokio::test]
async fn what_was_written_is_there_after_opening_again() {
    let fresh = Fresh::new();
    let revision = put(&fresh.store, "a", "1", Expect::Absent).await;
    let fresh = fresh.reopen();
    let got = fresh.store.get(b"a", None).await.expect("a read");
    assert_eq!(got.revision, revision);
    assert_eq!(got.object.expect("it is there").value, "1");
}
