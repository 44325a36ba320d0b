//! The fuzz targets that this crate owns: their seeds, and changes of them.

#[path = "../../../../fuzz/checks/control.rs"]
mod checks;
#[path = "../../../../fuzz/checks/seeds.rs"]
mod fuzz;

#[test]
fn cel_holds_for_every_input() {
    fuzz::vary("cel", checks::cel);
}

#[test]
fn crd_holds_for_every_input() {
    fuzz::vary("crd", checks::crd);
}
