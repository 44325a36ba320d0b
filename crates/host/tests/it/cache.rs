//! The compile cache: what is trusted, what never is, and what stays when there is no room.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use shoal_base::units::Bytes;
use shoal_host::cache::{
    About, ArtifactDigest, Cache, EngineDigest, Form, InstallationKey, Key, Trailer, TrailerError,
};
use tempfile::TempDir;

fn engine() -> EngineDigest {
    "5a".repeat(32).parse().expect("hex")
}

fn key(name: &str) -> Key {
    Key::new(&ArtifactDigest::of(name.as_bytes()), &engine(), Form::Plain)
}

fn cache() -> (TempDir, Cache) {
    let dir = tempfile::tempdir().expect("a directory");
    let cache = Cache::open(&dir.path().join("data")).expect("a cache");
    (dir, cache)
}

fn entry(dir: &TempDir, key: &Key) -> PathBuf {
    dir.path().join(format!("data/cache/{key}.cwasm"))
}

fn seal(dir: &TempDir, key: &Key) -> PathBuf {
    dir.path().join(format!("data/cache/{key}.seal"))
}

fn flip(path: &Path, bit: usize) {
    let mut bytes = fs::read(path).expect("read");
    let bit = bit % (bytes.len() * 8);
    bytes[bit / 8] ^= 1 << (bit % 8);
    fs::write(path, bytes).expect("written");
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("mode set");
}

#[test]
fn what_was_put_is_got_by_every_process_of_the_installation() {
    let (dir, cache) = cache();
    assert_eq!(cache.get(&key("a")), None);
    let path = cache.put(&key("a"), b"code").expect("put");
    assert_eq!(path, entry(&dir, &key("a")));
    assert_eq!(cache.get(&key("a")), Some(path.clone()));
    assert_eq!(cache.get(&key("b")), None);
    let other = Cache::open(&dir.path().join("data")).expect("opened again");
    assert_eq!(other.get(&key("a")), Some(path.clone()));
    assert_eq!(fs::read(path).expect("read"), b"code");
}

#[test]
fn everything_is_private() {
    let (dir, cache) = cache();
    cache.put(&key("a"), b"code").expect("put");
    for (path, expected) in [
        (dir.path().join("data"), 0o700),
        (dir.path().join("data/cache"), 0o700),
        (dir.path().join("data/installation.key"), 0o600),
        (entry(&dir, &key("a")), 0o600),
        (seal(&dir, &key("a")), 0o600),
    ] {
        assert_eq!(fs::metadata(&path).expect("there").mode() & 0o7777, expected, "{}", path.display());
    }
    assert_eq!(fs::metadata(dir.path().join("data/installation.key")).expect("there").len(), 32);
}

#[test]
fn what_others_can_write_is_refused_with_the_way_out() {
    let (dir, _) = cache();
    let data = dir.path().join("data");
    let refusal = || Cache::open(&data).expect_err("refused");
    for path in [data.clone(), data.join("cache")] {
        for writable in [0o770, 0o707] {
            mode(&path, writable);
            let refusal = refusal();
            assert!(refusal.what.contains("others can write"), "{refusal}");
            assert!(refusal.hint.expect("a hint").contains("chmod 700"));
        }
        mode(&path, 0o755);
        Cache::open(&data).expect("others may look");
    }
    for readable in [0o640, 0o604, 0o620] {
        mode(&data.join("installation.key"), readable);
        assert!(refusal().what.contains("others can read or write the installation key"));
    }
    mode(&data.join("installation.key"), 0o600);
    fs::write(data.join("installation.key"), [1; 33]).expect("written");
    assert!(refusal().what.contains("not 32 bytes"), "{}", refusal());
    fs::remove_file(data.join("installation.key")).expect("removed");
    std::os::unix::fs::symlink("/dev/zero", data.join("installation.key")).expect("linked");
    assert!(refusal().what.contains("cannot read the installation key"), "{}", refusal());
}

#[test]
fn one_key_is_made_however_many_start_at_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    std::thread::scope(|scope| {
        for worker in 0..8 {
            let data = &data;
            scope.spawn(move || {
                let cache = Cache::open(data).expect("a cache");
                cache.put(&key(&worker.to_string()), b"code").expect("put");
            });
        }
    });
    let cache = Cache::open(&data).expect("a cache");
    for worker in 0..8 {
        assert!(cache.get(&key(&worker.to_string())).is_some(), "{worker} was sealed with the same key");
    }
}

#[test]
fn two_that_compile_the_same_artifact_both_get_it() {
    let (dir, _) = cache();
    let code = vec![7; 1 << 20];
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let cache = Cache::open(&dir.path().join("data")).expect("a cache");
                for _ in 0..5 {
                    let path = cache.put(&key("same"), &code).expect("put");
                    assert_eq!(cache.get(&key("same")), Some(path.clone()));
                    assert_eq!(fs::read(path).expect("read"), code);
                }
            });
        }
    });
}

#[test]
fn an_entry_from_a_backup_is_read_once_and_sealed_anew() {
    let (dir, cache) = cache();
    let path = cache.put(&key("a"), b"code").expect("put");
    let copy = dir.path().join("copy");
    fs::copy(&path, &copy).expect("copied");
    fs::rename(&copy, &path).expect("restored");
    let before = fs::read(seal(&dir, &key("a"))).expect("read");
    assert_eq!(cache.get(&key("a")), Some(path));
    let after = fs::read(seal(&dir, &key("a"))).expect("read");
    assert_ne!(before, after, "sealed anew");
    assert!(cache.get(&key("a")).is_some());
    assert_eq!(fs::read(seal(&dir, &key("a"))).expect("read"), after, "and no more");
}

/// Every way to put something else in the place of an entry.
#[test]
fn nothing_else_is_trusted() {
    type Change = fn(&TempDir);
    let changes: [(&str, Change); 8] = [
        ("no seal", |dir| fs::remove_file(seal(dir, &key("a"))).expect("removed")),
        ("an empty seal", |dir| fs::write(seal(dir, &key("a")), b"").expect("written")),
        ("a longer entry", |dir| fs::write(entry(dir, &key("a")), b"codes").expect("written")),
        ("an empty entry", |dir| fs::write(entry(dir, &key("a")), b"").expect("written")),
        ("other code of the same size", |dir| fs::write(entry(dir, &key("a")), b"evil").expect("written")),
        ("another entry with its seal", |dir| {
            fs::rename(entry(dir, &key("b")), entry(dir, &key("a"))).expect("renamed");
            fs::rename(seal(dir, &key("b")), seal(dir, &key("a"))).expect("renamed");
        }),
        ("a link to another entry", |dir| {
            fs::remove_file(entry(dir, &key("a"))).expect("removed");
            std::os::unix::fs::symlink(entry(dir, &key("b")), entry(dir, &key("a"))).expect("linked");
        }),
        ("a directory", |dir| {
            fs::remove_file(entry(dir, &key("a"))).expect("removed");
            fs::create_dir(entry(dir, &key("a"))).expect("made");
        }),
    ];
    for (name, change) in changes {
        let (dir, cache) = cache();
        cache.put(&key("a"), b"code").expect("put");
        cache.put(&key("b"), b"evil").expect("put");
        change(&dir);
        assert_eq!(cache.get(&key("a")), None, "{name}");
        let gone = !entry(&dir, &key("a")).is_file() && !seal(&dir, &key("a")).exists();
        assert!(gone, "{name}: it is removed");
        if !entry(&dir, &key("a")).exists() {
            cache.put(&key("a"), b"code").expect("put again");
            assert!(cache.get(&key("a")).is_some(), "{name}: and can be made again");
        }
    }
}

#[test]
fn the_entries_of_another_installation_are_not_trusted() {
    let (dir, cache) = cache();
    cache.put(&key("a"), b"code").expect("put");
    let other = InstallationKey::from_bytes([9; 32]);
    let other = Cache::open_with(&dir.path().join("data"), other).expect("a cache");
    assert_eq!(other.get(&key("a")), None);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn a_flipped_bit_anywhere_is_never_trusted(
        code in proptest::collection::vec(any::<u8>(), 1..5000), bit: usize, in_seal: bool, size_kept: bool,
    ) {
        let (dir, cache) = cache();
        cache.put(&key("a"), &code).expect("put");
        let path = if in_seal { seal(&dir, &key("a")) } else { entry(&dir, &key("a")) };
        flip(&path, bit);
        if !size_kept {
            let file = File::options().write(true).open(&path).expect("opened");
            file.set_len(file.metadata().expect("there").len() - 1).expect("cut");
        }
        prop_assert_eq!(cache.get(&key("a")), None);
        prop_assert!(!entry(&dir, &key("a")).exists());
    }

    #[test]
    fn a_flipped_bit_in_a_cwasm_is_never_trusted(
        code in proptest::collection::vec(any::<u8>(), 0..3000), bit: usize,
    ) {
        let (dir, cache) = cache();
        let path = dir.path().join("a.cwasm");
        fs::write(&path, cache.export(&code, &about()).expect("exported")).expect("written");
        flip(&path, bit);
        prop_assert!(cache.import(&path).is_err());
        fs::write(&path, cache.export(&code, &about()).expect("exported")).expect("written");
        prop_assert!(cache.import(&path).is_ok());
    }
}

fn used(dir: &TempDir, name: &str, ago: Duration) {
    let seal = File::options().write(true).open(seal(dir, &key(name))).expect("opened");
    seal.set_modified(SystemTime::now() - ago).expect("time set");
}

#[test]
fn the_least_used_goes_first_and_only_past_the_bound() {
    let (dir, cache) = cache();
    let cache = cache.with_bytes_max(Bytes(30));
    let there = |name: &str| cache.get(&key(name)).is_some();
    for (name, hours) in [("old", 3), ("new", 1)] {
        cache.put(&key(name), &[0; 10]).expect("put");
        used(&dir, name, Duration::from_secs(3600 * hours));
    }
    cache.put(&key("third"), &[0; 10]).expect("put");
    assert!(
        there("new") && there("third") && entry(&dir, &key("old")).exists(),
        "30 bytes are within the bound"
    );
    used(&dir, "new", Duration::from_secs(3600));
    cache.put(&key("fourth"), &[0; 1]).expect("put");
    assert!(!there("old"), "31 bytes are not");
    assert!(there("new") && there("third") && there("fourth"));
    assert!(!seal(&dir, &key("old")).exists());

    // A use counts: `new` was used above, so `third` is now the oldest.
    used(&dir, "third", Duration::from_secs(600));
    used(&dir, "fourth", Duration::from_secs(500));
    cache.put(&key("fifth"), &[0; 15]).expect("put");
    assert!(there("new") && !there("third") && there("fifth"));

    cache.put(&key("huge"), &[0; 100]).expect("put");
    assert!(there("huge"), "what was just put stays, however large");
    assert!(!there("new") && !there("fifth"));
}

#[test]
fn what_a_crash_left_is_removed() {
    let (dir, cache) = cache();
    cache.put(&key("a"), b"code").expect("put");
    cache.put(&key("b"), b"code").expect("put");
    fs::remove_file(seal(&dir, &key("a"))).expect("removed");
    fs::remove_file(entry(&dir, &key("b"))).expect("removed");
    let old = dir.path().join("data/cache/.unfinished-old");
    let young = dir.path().join("data/cache/.unfinished-young");
    fs::write(&old, b"half").expect("written");
    fs::write(&young, b"half").expect("written");
    let hours = SystemTime::now() - Duration::from_secs(3601);
    File::options().write(true).open(&old).expect("opened").set_modified(hours).expect("time set");
    cache.put(&key("c"), b"code").expect("put");
    assert!(!entry(&dir, &key("a")).exists() && !seal(&dir, &key("b")).exists() && !old.exists());
    assert!(young.exists(), "its writer may still be at work");
    assert!(cache.get(&key("c")).is_some());
    assert_eq!(cache.section().rows[0].value, "1 entries, 0MiB of 4GiB");
}

#[test]
fn what_cannot_be_written_says_so_and_changes_nothing() {
    let (dir, cache) = cache();
    cache.put(&key("a"), b"code").expect("put");
    let moved = dir.path().join("moved");
    fs::rename(dir.path().join("data/cache"), &moved).expect("renamed");
    let error = cache.put(&key("b"), b"code").expect_err("no directory");
    assert!(error.to_string().starts_with("cannot keep compiled code in"), "{error}");
    assert_eq!(cache.get(&key("a")), None);
    fs::rename(&moved, dir.path().join("data/cache")).expect("renamed");
    assert!(cache.get(&key("a")).is_some());
}

fn about() -> About {
    let mut about = About::here(ArtifactDigest::of(b"a"), engine(), None);
    about.facts.insert("kind".into(), "http 0.2".into());
    about
}

#[test]
fn a_cwasm_is_loaded_where_it_was_sealed_and_nowhere_else() {
    let (dir, cache) = cache();
    let path = dir.path().join("a.cwasm");
    fs::write(&path, cache.export(b"code", &about()).expect("exported")).expect("written");
    let imported = cache.import(&path).expect("imported");
    assert_eq!(imported.about, about());
    assert_eq!(fs::read(&imported.path).expect("read"), b"code");

    let elsewhere = tempfile::tempdir().expect("a directory");
    let stranger = Cache::open(elsewhere.path()).expect("a cache");
    let refusal = stranger.import(&path).expect_err("refused");
    assert!(refusal.what.contains("sealed by another installation"), "{refusal}");
    assert!(refusal.hint.expect("a hint").contains("--key"));

    let key = InstallationKey::open(&dir.path().join("data/installation.key")).expect("the key");
    let fleet = Cache::open_with(elsewhere.path(), key).expect("a cache");
    assert_eq!(fleet.import(&path).expect("imported").about, about());
}

#[test]
fn the_copy_in_the_cache_is_used_again_without_reading_the_code() {
    let (dir, cache) = cache();
    let path = dir.path().join("a.cwasm");
    fs::write(&path, cache.export(b"code", &about()).expect("exported")).expect("written");
    let first = cache.import(&path).expect("imported");
    let inode = fs::metadata(&first.path).expect("there").ino();
    flip(&path, 0);
    let again = cache.import(&path).expect("the sealed digest names the copy");
    assert_eq!(fs::read(&again.path).expect("read"), b"code", "what runs is what was sealed");
    assert_eq!(fs::metadata(&again.path).expect("there").ino(), inode);
    fs::remove_file(&first.path).expect("removed");
    let refusal = cache.import(&path).expect_err("now the code counts");
    assert!(refusal.what.contains("changed after it was sealed"), "{refusal}");
}

#[test]
fn foreign_and_stale_files_are_refused_with_the_reason() {
    let (dir, cache) = cache();
    let path = dir.path().join("a.cwasm");
    let refused = |bytes: &[u8]| {
        fs::write(&path, bytes).expect("written");
        cache.import(&path).expect_err("refused").what
    };
    assert!(refused(b"\x7fELF of wasmtime compile").contains("no seal of `shoal compile`"));
    assert!(refused(b"").contains("no seal"));
    let whole = cache.export(b"code", &about()).expect("exported");
    assert!(refused(&whole[1..]).contains("cut off"));
    assert!(refused(&[b"x", &whole[..]].concat()).contains("added to"));
    let mut foreign = about();
    foreign.target = "riscv64gc-unknown-linux-gnu".into();
    assert!(refused(&cache.export(b"code", &foreign).expect("exported")).contains("compiled for riscv64gc"));
    let mut stale = about();
    stale.shoal = "0.0.1".into();
    assert!(refused(&cache.export(b"code", &stale).expect("exported")).contains("compiled by shoal 0.0.1"));
    fs::remove_file(&path).expect("removed");
    assert!(cache.import(&path).expect_err("refused").what.contains("cannot read"));
    assert!(cache.import(dir.path()).expect_err("refused").what.contains("not a plain file"));
}

#[test]
fn what_is_said_about_code_has_a_bound() {
    let (_dir, cache) = cache();
    let with = |bytes: usize| {
        let mut about = about();
        about.facts.insert("padding".into(), "x".repeat(bytes));
        about
    };
    let base = serde_json::to_vec(&with(0)).expect("json").len();
    let bound = 64 << 10;
    let whole = cache.export(b"code", &with(bound - base)).expect("at the bound");
    assert!(Trailer::parse(&whole, whole.len() as u64).is_ok());
    assert!(cache.export(b"code", &with(bound - base + 1)).is_err(), "one more");
    assert_eq!(Trailer::parse(b"short", 5), Err(TrailerError::Absent));
}

/// A real module through the cache: compiled once, mapped afterwards.
#[test]
fn compiled_code_runs_from_the_cache() {
    let (_dir, cache) = cache();
    let engine = wasmtime::Engine::default();
    let wat = b"(module (func (export \"answer\") (result i32) i32.const 42))";
    let module = wasmtime::Module::new(&engine, wat).expect("compiled");
    let key = Key::new(&ArtifactDigest::of(wat), &EngineDigest::of(&engine), Form::Plain);
    cache.put(&key, &module.serialize().expect("serialized")).expect("put");
    let path = cache.get(&key).expect("got");
    #[expect(unsafe_code, reason = "what is tested is that this is safe")]
    // SAFETY: the cache has just verified that this installation made the file.
    let module = unsafe { wasmtime::Module::deserialize_file(&engine, path) }.expect("mapped");
    let mut store = wasmtime::Store::new(&engine, ());
    let instance = wasmtime::Instance::new(&mut store, &module, &[]).expect("an instance");
    let answer = instance.get_typed_func::<(), i32>(&mut store, "answer").expect("exported");
    assert_eq!(answer.call(&mut store, ()).expect("called"), 42);
}
