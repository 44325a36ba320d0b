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
fn seals_hold_for_every_input() {
    fuzz::vary("seal", checks::seal);
}

#[test]
fn trailers_hold_for_every_input() {
    fuzz::vary("trailer", checks::trailer);
}
