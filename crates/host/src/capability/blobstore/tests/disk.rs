//! What is on the disk, and what is left alone there.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::super::directory::{DirectoryStore, OBJECT_BYTES};
use super::super::{Backend as _, Stores};
use super::{Instance, run, stores};
use crate::capability::testing::grant;

/// All files below the directory, as paths relative to it, sorted.
fn files(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).expect("a directory") {
            let entry = entry.expect("an entry");
            if entry.file_type().expect("a type").is_dir() {
                directories.push(entry.path());
            } else {
                let relative = entry.path().strip_prefix(root).expect("below").to_owned();
                found.push(relative.to_str().expect("text").to_owned());
            }
        }
    }
    found.sort();
    found
}

#[test]
fn a_container_is_a_directory_and_an_object_is_a_file_that_outlives_the_process() {
    let directory = tempfile::tempdir().expect("a directory");
    let root = directory.path().join("blobs");
    run(async {
        let first = stores(Some(&root));
        let mut instance = Instance::new(&first);
        let container = instance.create("shop/photos").await.expect("created");
        instance.put(&container, "../a.jpg", b"picture").await.expect("put");
        instance.put(&container, "large", &vec![b'x'; 100_000]).await.expect("put");
        let unfinished = instance.new_value().await;
        instance.write_data(&container, "never", &unfinished).await.expect("a destination");
        let body = instance.body(&unfinished).await;
        instance.write(&body, &vec![b'x'; 100_000]).await.expect("written");
    });
    // The runtime has ended, and with it the writes that were under way.
    assert_eq!(files(&root), ["shop%2Fphotos/%2E.%2Fa.jpg", "shop%2Fphotos/large"], "nothing else is left");
    assert_eq!(fs::read(root.join("shop%2Fphotos/%2E.%2Fa.jpg")).expect("the file"), b"picture");
    run(async {
        let second = stores(Some(&root));
        let mut instance = Instance::new(&second);
        let container = instance.open("shop/photos").await.expect("it is there");
        assert_eq!(instance.read(&container, "../a.jpg").await, Ok(b"picture".to_vec()));
    });
}

#[test]
fn what_is_there_is_counted_and_stays_right() {
    let directory = tempfile::tempdir().expect("a directory");
    run(async {
        let stores = stores(Some(directory.path()));
        let mut instance = Instance::new(&stores);
        for container in ["c", "d"] {
            let container = instance.create(container).await.expect("created");
            for (name, bytes) in [("a", 10), ("b", 100_000), ("a", 30), ("gone", 5)] {
                instance.put(&container, name, &vec![0; bytes]).await.expect("put");
            }
        }
        let store = stores.find("c").expect("the store");
        store.delete("c", "gone").expect("deleted");
        store.rename(("c", "b"), ("d", "a")).expect("moved");
        store.clear("c").expect("cleared");
        store.remove("d").expect("removed");
        store.create("e").expect("created");
    });
    let counted = |store: &DirectoryStore| store.counted_bytes();
    let store = DirectoryStore::open("default", directory.path()).expect("it opens");
    assert_eq!(counted(&store), 2 * OBJECT_BYTES, "two empty containers");
    let mut value = super::super::value::Spool::new(directory.path().join(".tmp"), std::sync::Arc::default());
    value.accept(bytes::Bytes::from_static(b"12345")).expect("accepted");
    store.put("c", "o", &mut value).expect("put");
    store.rename(("c", "o"), ("e", "o")).expect("moved");
    store.remove("c").expect("removed");
    assert_eq!(counted(&store), 2 * OBJECT_BYTES + 5);
    let recounted = DirectoryStore::open("default", directory.path()).expect("it opens");
    assert_eq!(counted(&recounted), counted(&store));
}

#[test]
fn what_is_not_ours_is_neither_shown_nor_followed() {
    let directory = tempfile::tempdir().expect("a directory");
    let root = directory.path().join("blobs");
    let secret = directory.path().join("secret");
    fs::write(&secret, "secret").expect("a file");
    run(async {
        let stores = stores(Some(&root));
        let mut instance = Instance::new(&stores);
        let container = instance.create("c").await.expect("created");
        instance.put(&container, "mine", b"1").await.expect("put");
        symlink(&secret, root.join("c/link")).expect("a link");
        symlink(directory.path(), root.join("outside")).expect("a link");
        fs::create_dir(root.join("c/directory")).expect("a directory");
        fs::write(root.join("c/.hidden"), "x").expect("a file");
        fs::write(root.join("c/%41"), "x").expect("a file");
        fs::write(root.join("file"), "x").expect("a file");
        assert_eq!(instance.list(&container, 9).await, Ok(vec!["mine".into()]));
        for name in ["link", "directory"] {
            let missing = Err(format!("the object `{name}` does not exist"));
            assert_eq!(instance.read(&container, name).await, missing);
        }
        for name in ["outside", "file"] {
            let missing = format!("the container `{name}` does not exist; create it first");
            assert_eq!(instance.open(name).await.map(drop), Err(missing));
        }
        // A link that stands where an object comes is replaced, not followed.
        instance.put(&container, "link", b"2").await.expect("put");
        assert_eq!(fs::read(&secret).expect("the file"), b"secret");
        stores.find("c").expect("the store").clear("c").expect("cleared");
    });
    assert_eq!(files(&root), ["c/%41", "c/.hidden", "file", "outside"]);
}

#[test]
fn leftovers_of_a_crash_are_removed_when_they_are_old() {
    let directory = tempfile::tempdir().expect("a directory");
    let temporary = directory.path().join(".tmp");
    fs::create_dir(&temporary).expect("a directory");
    for (name, days) in [("old", 2), ("young", 0)] {
        let file = fs::File::create(temporary.join(name)).expect("a file");
        file.set_modified(SystemTime::now() - Duration::from_secs(days * 24 * 60 * 60)).expect("a time");
    }
    DirectoryStore::open("default", directory.path()).expect("it opens");
    assert_eq!(files(directory.path()), [".tmp/young"]);
}

#[test]
fn a_place_that_cannot_be_a_store_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("file");
    fs::write(&file, "x").expect("a file");
    for (path, reason) in [
        (file.clone(), "Not a directory (os error 20)"),
        (directory.path().join("no/such"), "No such file or directory (os error 2)"),
    ] {
        let refusal = Stores::open(&[grant("photos", Some(&path))]).map(drop).expect_err("refused");
        let expected = format!("the blob store `photos` cannot use {}: {reason}", path.display());
        assert_eq!(refusal.what, expected);
        assert!(refusal.hint.is_some());
    }
    let twice = Stores::open(&[grant("a", None), grant("a", None)]).map(drop);
    assert_eq!(twice.map_err(|refusal| refusal.what), Err("the blob store `a` is granted twice".into()));
}
