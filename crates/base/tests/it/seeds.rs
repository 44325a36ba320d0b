//! The seeds of the fuzz targets that this crate owns.

#[path = "../../../../fuzz/checks/base.rs"]
mod checks;
#[path = "../../../../fuzz/checks/seeds.rs"]
mod fuzz;

#[test]
fn units_hold_for_every_seed() {
    fuzz::replay("units", |_, bytes| checks::units(bytes));
}
