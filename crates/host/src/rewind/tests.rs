//! Rewritten modules and components, run by the engine; memories of our own.

use std::io::Write;

use proptest::prelude::*;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use wasmtime::{Config, Engine, Module, Store, Val};

use super::memory::{Image, Memory, PAGE_BYTES};
use super::module::{HEADROOM_PAGES, Module as Rewritten, Way};
use crate::faults::Faults;
use crate::guest::in_slice;
use crate::pagemap::Pagemap;
use crate::ticker::TICK;

fn binary(wat: &str) -> Vec<u8> {
    crate::inspect::to_binary(wat.as_bytes()).expect("valid text").into_owned()
}

/// The export that toolchains make of a function that answers requests.
const HANDLE: &str = "wasi:http/incoming-handler@0.2.12#handle";

/// An instance of a module that was rewritten.
struct Running {
    store: Store<()>,
    instance: wasmtime::Instance,
}

impl Running {
    fn new(wat: &str, own_size: bool) -> Self {
        let mut running = Self::unmarked(wat, own_size);
        running.call("shoal:save", &[]);
        running
    }

    fn unmarked(wat: &str, own_size: bool) -> Self {
        let binary = binary(wat);
        let module = Rewritten::read(&binary).expect("can be rewound");
        let engine = Engine::new(&Config::new()).expect("an engine");
        let at_entry = module.rewinds_at_entry(HANDLE).then_some(HANDLE);
        let rewritten = module.rewritten(Way { own_size, at_entry });
        let module = Module::new(&engine, &rewritten).expect("the rewritten module is valid");
        let mut store = Store::new(&engine, ());
        let instance = wasmtime::Instance::new(&mut store, &module, &[]).expect("an instance");
        Self { store, instance }
    }

    /// Calls a function of the module; its result, or zero.
    fn call(&mut self, name: &str, arguments: &[i32]) -> i64 {
        let function = self.instance.get_func(&mut self.store, name).unwrap_or_else(|| panic!("no {name}"));
        let arguments: Vec<_> = arguments.iter().map(|argument| Val::I32(*argument)).collect();
        let mut results = vec![Val::I32(0); function.ty(&self.store).results().len()];
        function.call(&mut self.store, &arguments, &mut results).expect("no trap");
        match results.first() {
            Some(Val::I32(value)) => (*value).into(),
            Some(Val::I64(value)) => *value,
            _ => 0,
        }
    }

    /// Whether it was brought back.
    fn rewind(&mut self) -> bool {
        self.call("shoal:rewind", &[]) == 0
    }
}

#[test]
fn globals_of_every_kind_come_back() {
    let mut running = Running::new(
        r#"(module
            (global $a (mut i32) (i32.const 7)) (global $fixed i32 (i32.const 1))
            (global $b (mut i64) (i64.const -1)) (global $c (mut f64) (f64.const 2.5))
            (global $d (mut f32) (f32.const 1)) (global $e (mut v128) (v128.const i64x2 3 4))
            (func (export "change")
                (global.set $a (i32.const 8)) (global.set $b (i64.const 9)) (global.set $c (f64.const 0))
                (global.set $d (f32.const 5)) (global.set $e (v128.const i64x2 0 0)))
            (func (export "read") (result i64)
                (i64.add (i64.extend_i32_u (global.get $a)) (i64.mul (global.get $b) (i64.trunc_f64_s (global.get $c))))
                (i64.add (i64.trunc_f32_s (global.get $d))) (i64.add (i64x2.extract_lane 1 (global.get $e)))))"#,
        true,
    );
    let first = running.call("read", &[]);
    running.call("change", &[]);
    assert_ne!(running.call("read", &[]), first);
    assert!(running.rewind());
    assert_eq!(running.call("read", &[]), first);
}

#[test]
fn a_function_that_answers_requests_finds_the_saved_state() {
    const ANSWERS: &str = r#"(module
            (global $a (mut i32) (i32.const 7)) (global $seen (mut i32) (i32.const 0))
            (func $handle (param i32 i32)
                (global.set $seen (i32.add (global.get $a) (i32.add (local.get 0) (local.get 1))))
                (global.set $a (i32.const 100)))
            (export "wasi:http/incoming-handler@0.2.12#handle" (func $handle)) (export "other" (func $handle))
            (func (export "seen") (result i32) (global.get $seen)))"#;
    let mut running = Running::new(ANSWERS, true);
    for _ in 0..2 {
        running.call(HANDLE, &[1, 2]);
        assert_eq!(running.call("seen", &[]), 10);
    }
    running.call("other", &[1, 2]);
    assert_eq!(running.call("seen", &[]), 103, "only requests begin anew");
    let mut unmarked = Running::unmarked(ANSWERS, true);
    for seen in [10, 103] {
        unmarked.call(HANDLE, &[1, 2]);
        assert_eq!(unmarked.call("seen", &[]), seen, "nothing was saved to come back to");
    }
}

#[test]
fn what_a_start_function_sets_is_part_of_the_first_state() {
    let mut running = Running::new(
        r#"(module
            (global $a (mut i32) (i32.const 0))
            (func $start (global.set $a (i32.const 42))) (start $start)
            (func (export "change") (global.set $a (i32.const 1)))
            (func (export "read") (result i32) (global.get $a)))"#,
        true,
    );
    running.call("change", &[]);
    assert!(running.rewind());
    assert_eq!(running.call("read", &[]), 42);
}

#[test]
fn a_memory_grows_within_its_room_as_the_guest_expects_and_shrinks_again() {
    let mut running = Running::new(
        r#"(module
            (memory (export "memory") 2 40)
            (func (export "size") (result i32) memory.size)
            (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0))))"#,
        true,
    );
    let real_pages = |running: &mut Running| {
        let memory = running.instance.get_memory(&mut running.store, "memory").expect("a memory");
        memory.size(&running.store)
    };
    assert_eq!(real_pages(&mut running), 2 + HEADROOM_PAGES);
    for (by, old, size) in
        [(0, 2, 2), (3, 2, 5), (30, 5, 35), (6, -1, 35), (-1, -1, 35), (5, 35, 40), (1, -1, 40)]
    {
        assert_eq!(running.call("grow", &[by]), old, "growing by {by}");
        assert_eq!(running.call("size", &[]), size, "after growing by {by}");
    }
    assert_eq!(real_pages(&mut running), 40);
    assert!(running.rewind());
    assert_eq!((running.call("size", &[]), running.call("grow", &[1])), (2, 2));
}

#[test]
fn a_memory_that_others_size_as_well_is_not_brought_back_once_it_grew() {
    let mut running = Running::new(
        r#"(module (memory 1) (func (export "grow") (result i32) (memory.grow (i32.const 1))))"#,
        false,
    );
    assert!(running.rewind());
    assert_eq!(running.call("grow", &[]), 1);
    assert!(!running.rewind());
}

#[test]
fn the_memory_is_given_whole_and_as_it_was() {
    let mut running =
        Running::new(r#"(module (memory (export "memory") 1) (data (i32.const 0) "first words"))"#, true);
    let memory = running.instance.get_memory(&mut running.store, "memory").expect("a memory");
    let before = memory.data(&running.store)[..16].to_vec();
    assert_eq!(running.call("shoal:memory", &[]), 0, "the address of the list");
    let words = &memory.data(&running.store)[..8];
    let bytes = u32::from_le_bytes(words[4..].try_into().expect("four bytes"));
    assert_eq!((&words[..4], bytes as usize), ([0; 4].as_slice(), memory.data_size(&running.store)));
    running.call("shoal:memory-done", &[0]);
    assert_eq!(memory.data(&running.store)[..16], before);
}

#[test]
fn what_cannot_be_brought_back_is_noticed() {
    for (change, harmless) in [
        ("(table.set $t (i32.const 0) (ref.null func))", false),
        ("(drop (table.grow $t (ref.null func) (i32.const 1)))", false),
        ("(table.fill $t (i32.const 0) (ref.null func) (i32.const 1))", false),
        ("(table.copy $t $t (i32.const 0) (i32.const 1) (i32.const 1))", false),
        ("(table.init $t $elements (i32.const 0) (i32.const 0) (i32.const 1))", false),
        ("(elem.drop $elements)", false),
        ("(data.drop $data)", false),
        ("(drop (table.get $t (i32.const 0)))", true),
        ("(memory.init $data (i32.const 0) (i32.const 0) (i32.const 1))", true),
        ("(if (i32.const 0) (then (elem.drop $elements)))", true),
    ] {
        let mut running = Running::new(
            &format!(
                r#"(module (memory 1) (table $t 4 8 funcref) (func $f) (elem $elements func $f) (data $data "x")
                    (func (export "change") {change}))"#
            ),
            true,
        );
        assert!(running.rewind(), "before {change}");
        running.call("change", &[]);
        assert_eq!(running.rewind(), harmless, "after {change}");
    }
}

#[test]
fn modules_that_cannot_be_rewound_say_why() {
    for (wat, why) in [
        ("(module (memory i64 1))", "plain 32-bit memory"),
        ("(module (memory 1) (memory 1))", "plain 32-bit memory"),
        ("(module (memory 1 2 shared))", "plain 32-bit memory"),
        ("(module (global (mut funcref) (ref.null func)))", "mutable global that holds a reference"),
        ("(module (type (struct (field i32))))", "garbage-collected"),
        (r#"(module (func (export "shoal:rewind")))"#, "begin with `shoal:`"),
    ] {
        let binary = binary(wat);
        let refused = Rewritten::read(&binary).err().unwrap_or_else(|| panic!("{wat} can be rewound"));
        assert!(refused.to_string().contains(why), "{wat}: {refused}");
    }
}

#[test]
fn components_that_cannot_be_rewound_say_why() {
    for (wat, why) in [
        ("(component (type (resource (rep i32))))", "resources of its own"),
        ("(component (component (type (resource (rep i32)))))", "resources of its own"),
        ("(component (component (core module $m) (core instance (instantiate $m))))", "composed"),
        ("(component (import \"m\" (core module)))", "imports a module"),
        (
            "(component (core module $m (memory 1)) (core instance (instantiate $m)) (core instance (instantiate $m)))",
            "more than one instance",
        ),
        (
            "(component (core module $a (memory 1)) (core module $b (memory 1))
                (core instance (instantiate $a)) (core instance (instantiate $b)))",
            "more than one of its modules",
        ),
        (
            "(component (core module $m (func (export \"f\"))) (core instance $i (instantiate $m))
                (func (export \"shoal-save-0\") (canon lift (core func $i \"f\"))))",
            "begin with `shoal-`",
        ),
        (
            "(component (core module $m (func (export \"f\"))) (core instance $i (instantiate $m))
                (func (export \"SHOAL-save-0\") (canon lift (core func $i \"f\"))))",
            "begin with `shoal-`",
        ),
        ("(module)", "no component"),
    ] {
        let refused = super::rewindable(&binary(wat)).err().unwrap_or_else(|| panic!("{wat} can be rewound"));
        assert!(refused.to_string().contains(why), "{wat}: {refused}");
    }
}

/// A component with one stateful module `$main`, which has `body`, and after its instance `$i` what `rest` says.
fn component(body: &str, rest: &str) -> String {
    format!(
        r#"(component
            (core module $main
                (memory (export "memory") 1) (global $g (mut i32) (i32.const 0))
                (func (export "answer") (param i32 i32) (global.set $g (local.get 0)))
                (func (export "other") (param i32 i32)) {body})
            (core instance $i (instantiate $main))
            (type $t (func (param "a" u32) (param "b" u32)))
            {rest})"#
    )
}

#[test]
fn a_component_rewinds_itself_only_where_nothing_else_of_it_can_be_called() {
    const ANSWER: &str = r#"(func (export "one") (type $t) (canon lift (core func $i "answer")))"#;
    let two = format!(r#"{ANSWER} (func (export "two") (type $t) (canon lift (core func $i "other")))"#);
    let elsewhere = r#"
        (core module $plain (func (export "answer") (param i32 i32)))
        (core instance $j (instantiate $plain))
        (func (export "one") (type $t) (canon lift (core func $j "answer")))"#;
    let sized_by_another = format!(
        r#"(core module $sizer (import "m" "memory" (memory 1)) (func (drop (memory.grow (i32.const 1)))))
        (core instance (instantiate $sizer (with "m" (instance $i))))
        {ANSWER}"#
    );
    let engine = Engine::new(&Config::new()).expect("an engine");
    for (what, body, rest, itself) in [
        ("one function, whatever its name", "", ANSWER, true),
        (
            "a function of another name beside it",
            &format!(r#"(func (export "{HANDLE}") (param i32 i32))"#),
            ANSWER,
            true,
        ),
        ("two functions", "", &two, false),
        ("a function of another module", "", elsewhere, false),
        ("a memory that another module may grow", "", &sized_by_another, false),
        (
            "a table that may change",
            "(table $u 1 funcref) (func (table.set $u (i32.const 0) (ref.null func)))",
            ANSWER,
            false,
        ),
    ] {
        let rewritten = super::rewindable(&binary(&component(body, rest))).expect("can be rewound");
        let rewritten = wasmtime::component::Component::new(&engine, rewritten).expect("it is valid");
        let is_called = rewritten.get_export_index(None, "shoal-rewind-0").is_some();
        assert_eq!(!is_called, itself, "{what}");
    }
}

/// Pages of the memories below.
const PAGES: usize = 64;

/// A private mapping as a slot of the pool is: anonymous memory, with an image of some pages in the middle.
struct Mapped {
    start: *mut u8,
    bytes: usize,
}

impl Mapped {
    #[allow(unsafe_code, reason = "a mapping to work on")]
    fn new() -> Self {
        let mut image = tempfile::tempfile().expect("a file");
        let pattern: Vec<u8> = (0..16 * PAGE_BYTES).map(|at| (at / 7) as u8).collect();
        image.write_all(&pattern).expect("room");
        let bytes = PAGES * PAGE_BYTES;
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: new private mappings; the second lies within the first.
        let start = unsafe {
            let start = rustix::mm::mmap_anonymous(std::ptr::null_mut(), bytes, access, MapFlags::PRIVATE)
                .expect("room");
            let at = start.cast::<u8>().add(20 * PAGE_BYTES);
            mmap(at.cast(), pattern.len(), access, MapFlags::PRIVATE | MapFlags::FIXED, &image, 0)
                .expect("room");
            start
        };
        Self { start: start.cast(), bytes }
    }

    #[allow(unsafe_code, reason = "a mapping to work on")]
    fn content(&mut self) -> &mut [u8] {
        // SAFETY: the mapping is ours, and borrowed as long as the slice lives.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.bytes) }
    }
}

impl Drop for Mapped {
    #[allow(unsafe_code, reason = "a mapping to work on")]
    fn drop(&mut self) {
        // SAFETY: nobody uses the mapping any more.
        let _ = unsafe { munmap(self.start.cast(), self.bytes) };
    }
}

fn write(memory: &mut [u8], places: &[usize]) {
    places.iter().for_each(|place| memory[place % (PAGES * PAGE_BYTES)] ^= 0xa5);
}

proptest! {
    /// Whatever is written, before the mark and in any number of requests, every request begins with the same.
    #[test]
    fn a_memory_comes_back_whatever_was_written(
        at_start in prop::collection::vec(any::<usize>(), 0..20),
        requests in prop::collection::vec(prop::collection::vec(any::<usize>(), 0..80), 1..6),
        scans in any::<bool>(),
    ) {
        let pagemap = if scans { Pagemap::open() } else { Pagemap::open_to_read() };
        let pagemap = pagemap.expect("Linux");
        let image = Image::default();
        let mut mapped = Mapped::new();
        write(mapped.content(), &at_start);
        let first = mapped.content().to_vec();
        let faults = Faults::of_kernel().expect("Linux");
        #[allow(unsafe_code, reason = "the memory under test")]
        // SAFETY: the mapping outlives the mark, and nobody else uses it meanwhile.
        let mut memory = unsafe { Memory::mark(mapped.content(), &pagemap) }
            .expect("the kernel scans").expect("small enough");
        prop_assert!(mapped.content() == first, "marking changes nothing");
        // The second of two like requests writes no page for the first time.
        for places in requests.iter().flat_map(|places| [places, places]) {
            let ((), _) = in_slice(TICK, || {
                let watch = faults.watch().expect("a guest runs");
                write(mapped.content(), places);
                let without = faults.none_since(watch);
                memory.rewind(PAGES * PAGE_BYTES, without, &image, &pagemap).expect("the kernel scans");
            });
            prop_assert!(mapped.content() == first, "it did not come back");
        }
    }
}
