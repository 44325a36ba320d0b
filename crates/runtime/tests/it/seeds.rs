//! The fuzz targets that this crate owns: their seeds, and changes of them.

#[path = "../../../../fuzz/checks/runtime.rs"]
mod checks;
#[path = "../../../../fuzz/checks/seeds.rs"]
mod fuzz;

#[test]
fn outbound_patterns_hold_for_every_input() {
    fuzz::vary("outbound", checks::outbound);
}

#[test]
fn grants_hold_for_every_input() {
    fuzz::vary("grants", checks::grants);
}
