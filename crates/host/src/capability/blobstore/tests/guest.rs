//! What guests see, in memory and in a directory.

use super::super::bindings::container::{HostContainer, HostStreamObjectNames};
use super::super::bindings::{blobstore, types};
use super::super::{MISSING_GRANT_LINES_MAX, Stores};
use super::{Instance, again, everywhere, id, run, stores};
use crate::capability::testing::{Log, grant};

#[test]
fn a_container_that_is_not_granted_is_refused_and_the_log_says_which_flag_would_grant_it() {
    let stores = Stores::open(&[grant("photos", None)]).expect("the store opens").of("shop");
    let log = Log::listen();
    run(async {
        let mut instance = Instance::new(&stores);
        instance.create("photos").await.expect("this one is granted");
        let denied = "access denied: the container `music` is not granted";
        assert_eq!(instance.create("music").await.map(drop), Err(denied.into()));
        let text = log.text();
        assert!(text.contains("hint: --blobs music, or --blobs default for all containers"), "{text}");
        assert!(text.contains("workload=\"shop\""), "{text}");
        assert_eq!(instance.open("music").await.map(drop), Err(denied.into()));
        let mut view = instance.view();
        let exists = blobstore::Host::container_exists(&mut view, "music".into()).await;
        assert_eq!(exists.expect("no trap"), Err(denied.into()));
        let deleted = blobstore::Host::delete_container(&mut view, "music".into()).await;
        assert_eq!(deleted.expect("no trap"), Err(denied.into()));
        for (from, to) in [("photos", "music"), ("music", "photos")] {
            let copied = blobstore::Host::copy_object(&mut view, id(from, "a"), id(to, "a")).await;
            assert_eq!(copied.expect("no trap"), Err(denied.into()));
            let moved = blobstore::Host::move_object(&mut view, id(from, "a"), id(to, "a")).await;
            assert_eq!(moved.expect("no trap"), Err(denied.into()));
        }
        for number in 0..50 {
            assert!(instance.open(&number.to_string()).await.is_err());
        }
    });
    assert_eq!(log.text().lines().count(), MISSING_GRANT_LINES_MAX as usize, "a guest cannot flood the log");
}

#[test]
fn containers_come_and_go() {
    everywhere(&async |stores| {
        let mut instance = Instance::new(stores);
        let missing = "the container `a/b` does not exist; create it first";
        assert_eq!(instance.open("a/b").await.map(drop), Err(missing.into()));
        let container = instance.create("a/b").await.expect("created");
        assert_eq!(instance.create("a/b").await.map(drop), Err("the container `a/b` exists already".into()));
        let mut view = instance.view();
        assert_eq!(view.name(again(&container)).await.expect("no trap"), Ok("a/b".into()));
        let info = view.info(again(&container)).await.expect("no trap").expect("information");
        assert_eq!(info.name, "a/b");
        assert!(info.created_at > 1_600_000_000, "seconds since 1970: {}", info.created_at);
        instance.put(&container, "x", b"1").await.expect("put");
        let deleted = blobstore::Host::delete_container(&mut instance.view(), "a/b".into()).await;
        assert_eq!(deleted.expect("no trap"), Ok(()));
        let exists = blobstore::Host::container_exists(&mut instance.view(), "a/b".into()).await;
        assert_eq!(exists.expect("no trap"), Ok(false));
        let deleted = blobstore::Host::delete_container(&mut instance.view(), "a/b".into()).await;
        assert_eq!(deleted.expect("no trap"), Err(missing.into()));
        assert_eq!(
            instance.put(&container, "x", b"1").await,
            Err(missing.into()),
            "the handle leads nowhere"
        );
        assert_eq!(instance.read(&container, "x").await, Err(missing.into()));
        assert_eq!(instance.list(&container, 9).await, Err(missing.into()));
        let anew = instance.create("a/b").await.expect("created anew");
        assert_eq!(instance.list(&anew, 9).await, Ok(vec![]), "nothing of the old one is left");
    });
}

#[test]
fn objects_come_and_go_under_any_name() {
    everywhere(&async |stores| {
        let mut instance = Instance::new(stores);
        let container = instance.create("c").await.expect("created");
        let mut names =
            vec!["a", "A", "../../etc/passwd", "..", ".tmp", "a\0b", "a%00b", "фото 1.jpg", "\u{202e}"];
        for name in &names {
            assert_eq!(instance.put(&container, name, name.as_bytes()).await, Ok(()), "{name:?}");
        }
        names.sort_unstable();
        assert_eq!(instance.list(&container, 2).await, Ok(names.iter().map(ToString::to_string).collect()));
        for name in &names {
            assert_eq!(instance.read(&container, name).await, Ok(name.as_bytes().to_vec()), "{name:?}");
        }
        let mut view = instance.view();
        assert_eq!(view.has_object(again(&container), "a".into()).await.expect("no trap"), Ok(true));
        let info =
            view.object_info(again(&container), "..".into()).await.expect("no trap").expect("information");
        assert_eq!((info.name.as_str(), info.container.as_str(), info.size), ("..", "c", 2));
        for _ in 0..2 {
            let deleted = view.delete_object(again(&container), "a".into()).await.expect("no trap");
            assert_eq!(deleted, Ok(()), "deleting nothing is no error");
        }
        assert_eq!(view.has_object(again(&container), "a".into()).await.expect("no trap"), Ok(false));
        let missing = "the object `a` does not exist".to_string();
        let info = view.object_info(again(&container), "a".into()).await.expect("no trap");
        assert_eq!(info.map(drop), Err(missing.clone()));
        let some = vec!["..".into(), "A".into(), "never there".into()];
        assert_eq!(view.delete_objects(again(&container), some).await.expect("no trap"), Ok(()));
        assert_eq!(instance.read(&container, "a").await, Err(missing));
        assert_eq!(instance.list(&container, 100).await.map(|names| names.len()), Ok(6));
        assert_eq!(instance.view().clear(again(&container)).await.expect("no trap"), Ok(()));
        assert_eq!(instance.list(&container, 100).await, Ok(vec![]));
        assert_eq!(instance.put(&container, "", b"").await, Err("the name is empty".into()));
    });
}

#[test]
fn both_ends_of_a_range_are_inside_it() {
    everywhere(&async |stores| {
        let mut instance = Instance::new(stores);
        let container = instance.create("c").await.expect("created");
        instance.put(&container, "digits", b"0123456789").await.expect("put");
        instance.put(&container, "empty", b"").await.expect("put");
        for (name, start, end, part) in [
            ("digits", 0, 9, "0123456789"),
            ("digits", 0, 0, "0"),
            ("digits", 3, 5, "345"),
            ("digits", 8, 1000, "89"),
            ("digits", 0, u64::MAX, "0123456789"),
            ("digits", 10, 11, ""),
            ("digits", u64::MAX, u64::MAX, ""),
            ("empty", 0, 0, ""),
        ] {
            let value = instance.get(&container, name, start, end).await.expect("a value");
            let size = types::HostIncomingValue::size(&mut instance.view(), again(&value)).await;
            assert_eq!(size.expect("no trap"), part.len() as u64, "{name} {start}-{end}");
            assert_eq!(instance.whole(value).await, Ok(part.as_bytes().to_vec()), "{name} {start}-{end}");
            let value = instance.get(&container, name, start, end).await.expect("a value");
            assert_eq!(instance.streamed(value).await, part.as_bytes(), "{name} {start}-{end}");
        }
        let backwards = instance.get(&container, "digits", 5, 4).await.map(drop);
        assert_eq!(backwards, Err("the range starts at 5, after its end 4".into()));
    });
}

#[test]
fn large_objects_stream_in_and_out() {
    everywhere(&async |stores| {
        let mut instance = Instance::new(stores);
        let container = instance.create("c").await.expect("created");
        let large: Vec<u8> = (0..3_000_000u32).map(|number| (number % 251) as u8).collect();
        instance.put(&container, "large", &large).await.expect("put");
        let value = instance.get(&container, "large", 0, u64::MAX).await.expect("a value");
        assert!(instance.streamed(value).await == large);
        let value = instance.get(&container, "large", 1_000_000, 2_499_999).await.expect("a value");
        assert!(instance.streamed(value).await == large[1_000_000..2_500_000]);
    });
}

#[test]
fn an_object_appears_whole_when_its_value_is_finished() {
    everywhere(&async |stores| {
        let mut instance = Instance::new(stores);
        let container = instance.create("c").await.expect("created");
        instance.put(&container, "o", b"old").await.expect("put");
        let value = instance.new_value().await;
        let body = instance.body(&value).await;
        instance.write(&body, &vec![b'n'; 200_000]).await.expect("written");
        instance.write_data(&container, "o", &value).await.expect("a destination");
        instance.write(&body, b"!").await.expect("written");
        assert_eq!(instance.read(&container, "o").await, Ok(b"old".to_vec()), "not finished yet");
        instance.table.delete(body).expect("the stream");
        assert_eq!(instance.finish(value).await, Ok(()));
        let read = instance.read(&container, "o").await.expect("the object");
        assert_eq!((read.len(), read.last()), (200_001, Some(&b'!')));
    });
}

#[test]
fn a_value_that_is_dropped_unfinished_is_no_object() {
    everywhere(&async |stores| {
        let mut instance = Instance::new(stores);
        let container = instance.create("c").await.expect("created");
        let value = instance.new_value().await;
        instance.write_data(&container, "o", &value).await.expect("a destination");
        let body = instance.body(&value).await;
        instance.write(&body, &vec![0; 200_000]).await.expect("written");
        instance.table.delete(body).expect("the stream");
        types::HostOutgoingValue::drop(&mut instance.view(), value).await.expect("no trap");
        assert_eq!(instance.list(&container, 9).await, Ok(vec![]));
    });
}

#[test]
fn a_value_goes_to_one_place_through_one_stream() {
    let stores = stores(None);
    run(async {
        let mut instance = Instance::new(&stores);
        let container = instance.create("c").await.expect("created");
        let value = instance.new_value().await;
        let body = instance.body(&value).await;
        let second =
            types::HostOutgoingValue::outgoing_value_write_body(&mut instance.view(), again(&value)).await;
        assert!(matches!(second, Ok(Err(()))));
        instance.write_data(&container, "one", &value).await.expect("a destination");
        let twice = instance.write_data(&container, "two", &value).await;
        assert_eq!(twice, Err("the value goes to the object `one` already".into()));
        let with_stream = types::HostOutgoingValue::finish(&mut instance.view(), value).await;
        assert!(with_stream.is_err(), "finishing a value whose stream is open stops the guest");
        instance.table.delete(body).expect("the stream");
        let nowhere = instance.new_value().await;
        let lost = instance.finish(nowhere).await;
        assert_eq!(lost, Err("the value goes nowhere: call write-data before finish".into()));
    });
}

#[test]
fn readers_keep_the_bytes_that_they_opened() {
    everywhere(&async |stores| {
        let mut instance = Instance::new(stores);
        let container = instance.create("c").await.expect("created");
        instance.put(&container, "o", &vec![b'1'; 300_000]).await.expect("put");
        let one = instance.get(&container, "o", 0, u64::MAX).await.expect("a value");
        instance.put(&container, "o", &vec![b'2'; 300_000]).await.expect("put");
        let two = instance.get(&container, "o", 0, u64::MAX).await.expect("a value");
        let deleted = blobstore::Host::delete_container(&mut instance.view(), "c".into()).await;
        assert_eq!(deleted.expect("no trap"), Ok(()));
        assert!(instance.streamed(one).await == vec![b'1'; 300_000]);
        assert!(instance.streamed(two).await == vec![b'2'; 300_000]);
    });
}

#[test]
fn objects_are_copied_and_moved_within_a_store_and_between_stores() {
    everywhere(&async |stores| {
        let mut instance = Instance::new(stores);
        let (c, d) =
            (instance.create("c").await.expect("created"), instance.create("d").await.expect("created"));
        let aside = instance.create("aside").await.expect("created");
        let bytes = vec![b'b'; 100_000];
        instance.put(&c, "o", &bytes).await.expect("put");
        instance.put(&d, "taken", b"old").await.expect("put");
        for to in [id("c", "copy"), id("d", "taken"), id("aside", "copy"), id("c", "o")] {
            let copied = blobstore::Host::copy_object(&mut instance.view(), id("c", "o"), to).await;
            assert_eq!(copied.expect("no trap"), Ok(()));
        }
        for (from, to) in [
            (id("c", "copy"), id("d", "moved")),
            (id("aside", "copy"), id("d", "taken")),
            (id("c", "o"), id("aside", "o")),
            (id("d", "moved"), id("d", "moved")),
        ] {
            let moved = blobstore::Host::move_object(&mut instance.view(), from, to).await;
            assert_eq!(moved.expect("no trap"), Ok(()));
        }
        assert_eq!(instance.list(&c, 9).await, Ok(vec![]));
        assert_eq!(instance.list(&d, 9).await, Ok(vec!["moved".into(), "taken".into()]));
        assert_eq!(instance.list(&aside, 9).await, Ok(vec!["o".into()]));
        for (container, object) in [(&d, "moved"), (&d, "taken"), (&aside, "o")] {
            assert!(instance.read(container, object).await.as_ref() == Ok(&bytes), "{object}");
        }
    });
}

#[test]
fn what_cannot_be_copied_or_moved_stays() {
    everywhere(&async |stores| {
        let mut instance = Instance::new(stores);
        let c = instance.create("c").await.expect("created");
        instance.put(&c, "o", b"kept").await.expect("put");
        let mut view = instance.view();
        let missing = Err("the object `none` does not exist".to_string());
        let copied = blobstore::Host::copy_object(&mut view, id("c", "none"), id("c", "o")).await;
        assert_eq!(copied.expect("no trap"), missing);
        let moved = blobstore::Host::move_object(&mut view, id("c", "none"), id("c", "o")).await;
        assert_eq!(moved.expect("no trap"), missing);
        for to in ["none", "aside"] {
            let nowhere = Err(format!("the container `{to}` does not exist; create it first"));
            let copied = blobstore::Host::copy_object(&mut view, id("c", "o"), id(to, "o")).await;
            assert_eq!(copied.expect("no trap"), nowhere);
            let moved = blobstore::Host::move_object(&mut view, id("c", "o"), id(to, "o")).await;
            assert_eq!(moved.expect("no trap"), nowhere);
        }
        assert_eq!(instance.read(&c, "o").await, Ok(b"kept".to_vec()));
    });
}

#[test]
fn names_are_read_and_skipped_in_pages() {
    everywhere(&async |stores| {
        let mut instance = Instance::new(stores);
        let container = instance.create("c").await.expect("created");
        for number in 0..7 {
            instance.put(&container, &number.to_string(), b"").await.expect("put");
        }
        let mut view = instance.view();
        let names = view.list_objects(again(&container)).await.expect("no trap").expect("names");
        let skip = view.skip_stream_object_names(again(&names), 2).await.expect("no trap");
        assert_eq!(skip, Ok((2, false)));
        let (page, ended) =
            view.read_stream_object_names(again(&names), 4).await.expect("no trap").expect("a page");
        assert_eq!((page.len(), ended), (4, false));
        let skip = view.skip_stream_object_names(again(&names), 5).await.expect("no trap");
        assert_eq!(skip, Ok((1, true)));
        let (page, ended) =
            view.read_stream_object_names(again(&names), 4).await.expect("no trap").expect("a page");
        assert_eq!((page.len(), ended), (0, true));
    });
}

/// Threads that write at the same time.
const THREADS: u8 = 6;

#[test]
fn of_concurrent_writers_of_one_object_one_wins_whole() {
    everywhere(&async |stores| {
        let mut instance = Instance::new(stores);
        let container = instance.create("c").await.expect("created");
        std::thread::scope(|scope| {
            for number in 0..THREADS {
                scope.spawn(move || run(write_and_read(stores, number)));
            }
        });
        assert_eq!(instance.list(&container, 9).await, Ok(vec!["o".into()]));
    });
}

/// Replaces one object again and again, and finds it whole each time.
async fn write_and_read(stores: &Stores, number: u8) {
    let mut instance = Instance::new(stores);
    let container = instance.open("c").await.expect("the container");
    for _ in 0..5 {
        instance.put(&container, "o", &vec![number; 150_000]).await.expect("put");
        let read = instance.read(&container, "o").await.expect("the object");
        assert!(read.len() == 150_000 && read.iter().all(|byte| *byte == read[0]));
    }
}
