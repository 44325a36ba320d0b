//! The fuzz targets that this crate owns: their seeds, and changes of them.

use expect_test::expect;

#[path = "../../../../fuzz/checks/edge.rs"]
mod checks;
#[path = "../../../../fuzz/checks/seeds.rs"]
mod fuzz;

#[test]
fn framing_holds_for_every_input() {
    fuzz::vary("framing", checks::framing);
}

#[test]
fn admission_holds_for_every_input() {
    fuzz::vary("admit", checks::admit);
}

#[test]
fn traceparent_holds_for_every_input() {
    fuzz::vary("traceparent", checks::traceparent);
}

#[test]
fn every_seed_of_a_connection_is_answered_as_it_deserves() {
    let edge = checks::Http::start();
    let mut answers = String::new();
    fuzz::replay("http", |name, bytes| {
        let status = edge.status_of(bytes).map_or("-".to_string(), |status| status.to_string());
        answers += &format!("{name}: {status}\n");
    });
    expect![[r#"
        bare: 400
        both: 400
        chunked: 200
        connect: 400
        cut: 200
        encoding: 400
        expect: 200
        get: 200
        h2-continuation: -
        h2-cut: -
        h2-get: -
        h2-goaway-ping: -
        h2-post: -
        h2-reset: -
        h2-window: -
        head: 200
        hosts: 400
        length: 200
        long: 400
        negative: 400
        nohost: 400
        nul: 400
        old: 200
        options: 200
        pipelined: 200
        post: 200
        size: 200
        tls: 400
        trailers: 200
        twice: 400
        upgrade: 200
    "#]]
    .assert_eq(&answers);
}

#[test]
fn the_edge_outlives_every_connection() {
    let edge = checks::Http::start();
    fuzz::vary("http", |bytes| edge.check(bytes));
}
