//! Stories with what they show, and some seeds of chaos.

use std::path::Path;

use expect_test::expect_file;
use shoal_sim::{chaos, story};

/// Seeds that run with the tests; `cargo run -p shoal-sim -- --seeds 1000` tells more.
const SEEDS: std::ops::Range<u64> = 0..12;

#[test]
fn stories_show_what_they_showed() {
    let stories = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stories");
    let mut told = 0;
    let mut files: Vec<_> =
        stories.read_dir().expect("there are stories").map(|file| file.expect("a file").path()).collect();
    files.sort();
    for path in files {
        let script = std::fs::read_to_string(&path).expect("a story");
        let shown = story::tell(1, &script).unwrap_or_else(|why| panic!("{}:\n{why}", path.display()));
        expect_file![&path].assert_eq(&shown);
        told += 1;
    }
    assert!(told >= 4, "the stories are found");
}

#[test]
fn seeds_come_to_rest_whatever_goes_wrong() {
    for seed in SEEDS {
        let told = chaos::tell(seed);
        assert_eq!(told.failure, None, "seed {seed}: {}", told.lines.join("\n"));
    }
}

#[test]
fn the_same_seed_tells_the_same_story() {
    let (one, two, other) = (chaos::tell(3), chaos::tell(3), chaos::tell(4));
    assert!(one.trace.len() > 100, "all that was written is told: {}", one.trace.len());
    assert_eq!(one.lines, two.lines);
    assert_eq!(one.trace, two.trace);
    assert_ne!(one.lines, other.lines);
    assert_ne!(one.trace, other.trace);
}

#[test]
fn a_line_that_is_none_is_refused() {
    for line in ["fly", "scale web x", "scale web 3", "kill node-9", "show air", "delete web"] {
        assert!(story::tell(0, line).is_err(), "{line}");
    }
}
