//! The fuzz targets that this crate owns: their seeds, and changes of them.

#[path = "../../../../fuzz/checks/api.rs"]
mod checks;
#[path = "../../../../fuzz/checks/seeds.rs"]
mod fuzz;

#[test]
fn decode_holds_for_every_input() {
    fuzz::vary("decode", checks::decode);
}

#[test]
fn proto_holds_for_every_input() {
    fuzz::vary("proto", checks::proto);
}

#[test]
fn selector_holds_for_every_input() {
    fuzz::vary("selector", checks::selector);
}

#[test]
fn patch_holds_for_every_input() {
    fuzz::vary("patch", checks::patch);
}
