//! The seeds of the fuzz targets that this crate owns.

#[path = "../../../../fuzz/checks/host.rs"]
mod checks;
#[path = "../../../../fuzz/checks/seeds.rs"]
mod fuzz;

#[test]
fn artifacts_are_inspected_or_refused_for_every_seed() {
    fuzz::replay("inspect", |_, bytes| checks::inspect(bytes));
}

#[test]
fn seals_hold_for_every_seed() {
    fuzz::replay("seal", |_, bytes| checks::seal(bytes));
}

#[test]
fn trailers_hold_for_every_seed() {
    fuzz::replay("trailer", |_, bytes| checks::trailer(bytes));
}
