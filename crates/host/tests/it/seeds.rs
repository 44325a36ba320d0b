//! The fuzz targets that this crate owns: their seeds, and changes of them.

#[path = "../../../../fuzz/checks/host.rs"]
mod checks;
#[path = "../../../../fuzz/checks/seeds.rs"]
mod fuzz;

#[test]
fn artifacts_are_inspected_or_refused_for_every_input() {
    fuzz::vary("inspect", checks::inspect);
}

#[test]
fn components_are_rewritten_validly_or_not_at_all_for_every_input() {
    fuzz::vary("rewindable", checks::rewindable);
}

#[test]
fn the_seeds_of_components_are_rewritten_or_refused_as_they_are_named() {
    fuzz::replay("rewindable", |name, bytes| match shoal_host::rewindable(bytes) {
        Ok(_) => assert!(!name.starts_with("refused-"), "{name} is rewritten"),
        Err(why) => assert!(!name.starts_with("rewritten-"), "{name} is refused: {why}"),
    });
}

#[test]
fn seals_hold_for_every_input() {
    fuzz::vary("seal", checks::seal);
}

#[test]
fn trailers_hold_for_every_input() {
    fuzz::vary("trailer", checks::trailer);
}
