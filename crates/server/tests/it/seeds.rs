//! The fuzz targets that this crate owns: their seeds, and changes of them.

#[path = "../../../../fuzz/checks/server.rs"]
mod checks;
#[path = "../../../../fuzz/checks/seeds.rs"]
mod fuzz;

#[test]
fn token_holds_for_every_input() {
    fuzz::vary("token", checks::token);
}
