//! The fuzz targets that this crate owns: their seeds, and changes of them.

#[path = "../../../../fuzz/checks/store.rs"]
mod checks;
#[path = "../../../../fuzz/checks/seeds.rs"]
mod fuzz;

#[test]
fn backup_holds_for_every_input() {
    fuzz::vary("backup", checks::backup);
}

#[test]
fn etcd_holds_for_every_input() {
    fuzz::vary("etcd", checks::etcd);
}
