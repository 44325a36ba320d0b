//! The specification has the limits that hold.

use shoal_base::units::show_duration;
use shoal_edge::Limits;

#[test]
fn the_specification_has_these_limits() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../SPECIFICATION.md");
    let text = std::fs::read_to_string(path).expect("the specification can be read");
    // Without `..`: a new limit does not build until it has its row.
    let Limits {
        header_read,
        tls_handshake,
        keep_alive,
        body_stall,
        write_stall,
        header_list,
        header_count,
        uri,
        request_body,
        connections,
        connections_per_peer,
        requests_per_thread,
        h2_streams,
        h2_resets,
        early_response_drain,
        linger,
    } = Limits::default();
    for (name, shown) in [
        ("header_read", show_duration(header_read)),
        ("tls_handshake", show_duration(tls_handshake)),
        ("keep_alive", show_duration(keep_alive)),
        ("body_stall", show_duration(body_stall)),
        ("write_stall", show_duration(write_stall)),
        ("header_list", header_list.to_string()),
        ("header_count", header_count.to_string()),
        ("uri", uri.to_string()),
        ("request_body", request_body.to_string()),
        ("connections", connections.to_string()),
        ("connections_per_peer", connections_per_peer.to_string()),
        ("requests_per_thread", requests_per_thread.to_string()),
        ("h2_streams", h2_streams.to_string()),
        ("h2_resets", h2_resets.to_string()),
        ("early_response_drain", early_response_drain.to_string()),
        ("linger", show_duration(linger)),
    ] {
        let row = format!("| `{name}` | {shown} |");
        assert!(text.contains(&row), "SPECIFICATION.md lacks `{row}`");
    }
}
