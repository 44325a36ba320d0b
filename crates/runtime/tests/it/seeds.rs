//! The seeds of the fuzz targets that this crate owns.

#[path = "../../../../fuzz/checks/runtime.rs"]
mod checks;
#[path = "../../../../fuzz/checks/seeds.rs"]
mod fuzz;

#[test]
fn outbound_patterns_hold_for_every_seed() {
    fuzz::replay("outbound", |_, bytes| checks::outbound(bytes));
}

#[test]
fn grants_hold_for_every_seed() {
    fuzz::replay("grants", |_, bytes| checks::grants(bytes));
}
