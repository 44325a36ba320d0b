//! The fuzz targets of this crate: their seeds, and changes of them.

#[path = "../../../../../fuzz/checks/node.rs"]
mod checks;
#[path = "../../../../../fuzz/checks/seeds.rs"]
mod fuzz;

#[test]
fn reference_holds_for_every_input() {
    fuzz::vary("reference", checks::reference);
}

#[test]
fn manifest_holds_for_every_input() {
    fuzz::vary("manifest", checks::manifest);
}

#[test]
fn credentials_holds_for_every_input() {
    fuzz::vary("credentials", checks::credentials);
}

#[test]
fn layer_holds_for_every_input() {
    fuzz::vary("layer", checks::layer);
}

#[test]
fn spdy_holds_for_every_input() {
    fuzz::vary("spdy", checks::spdy);
}
