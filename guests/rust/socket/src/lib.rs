//! A command that talks over sockets (`wasi:sockets`).
//!
//! - `socket tcp HOST PORT TEXT` connects, sends TEXT and a newline, and prints what comes back until the peer closes
//! - `socket udp HOST PORT TEXT` sends one datagram and prints the first that comes back
//! - `socket listen PORT` accepts one connection on 127.0.0.1, prints `listening on PORT` first, and echoes it
//! - `socket resolve HOST` prints the addresses of a name
//!
//! A failure prints the error code on stderr and exits with 1.

use wasip2::cli::{environment, stderr, stdout};
use wasip2::exports::cli::run::Guest;
use wasip2::io::streams::{OutputStream, StreamError};
use wasip2::sockets::instance_network::instance_network;
use wasip2::sockets::ip_name_lookup::resolve_addresses;
use wasip2::sockets::network::{
    ErrorCode, IpAddress, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress, Ipv6SocketAddress,
};
use wasip2::sockets::tcp_create_socket::create_tcp_socket;
use wasip2::sockets::udp::OutgoingDatagram;
use wasip2::sockets::udp_create_socket::create_udp_socket;

const USAGE: &str = "usage: socket tcp HOST PORT TEXT | udp HOST PORT TEXT | listen PORT | resolve HOST";

struct Socket;

impl Guest for Socket {
    fn run() -> Result<(), ()> {
        let args = environment::get_arguments();
        let words: Vec<&str> = args.iter().skip(1).map(String::as_str).collect();
        let done = match words.as_slice() {
            ["tcp", host, port, text] => address(host, port).and_then(|to| tcp(to, text)),
            ["udp", host, port, text] => address(host, port).and_then(|to| udp(to, text)),
            ["listen", port] => listen(port),
            ["resolve", host] => resolve(host).map(|found| {
                found.iter().for_each(|address| print(format!("{address:?}\n").as_bytes()));
            }),
            _ => Err(USAGE.into()),
        };
        done.map_err(|text| {
            let _nowhere_to_tell =
                stderr::get_stderr().blocking_write_and_flush(format!("error: {text}\n").as_bytes());
        })
    }
}

fn print(bytes: &[u8]) {
    let _stdout_closed = send_all(&stdout::get_stdout(), bytes);
}

fn tcp(to: IpSocketAddress, text: &str) -> Result<(), String> {
    let network = instance_network();
    let socket = create_tcp_socket(family(&to)).map_err(named("create"))?;
    socket.start_connect(&network, to).map_err(named("connect"))?;
    socket.subscribe().block();
    let (input, output) = socket.finish_connect().map_err(named("connect"))?;
    send_all(&output, format!("{text}\n").as_bytes()).map_err(|error| format!("send: {error:?}"))?;
    loop {
        match input.blocking_read(4096) {
            Ok(bytes) => print(&bytes),
            Err(StreamError::Closed) => return Ok(()),
            Err(error) => return Err(format!("receive: {error:?}")),
        }
    }
}

fn udp(to: IpSocketAddress, text: &str) -> Result<(), String> {
    let network = instance_network();
    let socket = create_udp_socket(family(&to)).map_err(named("create"))?;
    socket.start_bind(&network, any_port(&to)).map_err(named("bind"))?;
    socket.finish_bind().map_err(named("bind"))?;
    let (incoming, outgoing) = socket.stream(Some(to)).map_err(named("connect"))?;
    while outgoing.check_send().map_err(named("send"))? == 0 {
        outgoing.subscribe().block();
    }
    let datagram = OutgoingDatagram { data: text.as_bytes().to_vec(), remote_address: None };
    outgoing.send(&[datagram]).map_err(named("send"))?;
    loop {
        incoming.subscribe().block();
        if let Some(datagram) = incoming.receive(1).map_err(named("receive"))?.first() {
            print(&datagram.data);
            print(b"\n");
            return Ok(());
        }
    }
}

fn listen(port: &str) -> Result<(), String> {
    let port = port.parse().map_err(|_| USAGE)?;
    let network = instance_network();
    let local = IpSocketAddress::Ipv4(Ipv4SocketAddress { port, address: (127, 0, 0, 1) });
    let socket = create_tcp_socket(IpAddressFamily::Ipv4).map_err(named("create"))?;
    socket.start_bind(&network, local).map_err(named("bind"))?;
    socket.finish_bind().map_err(named("bind"))?;
    socket.start_listen().map_err(named("listen"))?;
    socket.finish_listen().map_err(named("listen"))?;
    print(
        format!("listening on {}\n", port_of(&socket.local_address().map_err(named("listen"))?)).as_bytes(),
    );
    socket.subscribe().block();
    let (_peer, input, output) = socket.accept().map_err(named("accept"))?;
    loop {
        match input.blocking_read(4096) {
            Ok(bytes) => send_all(&output, &bytes).map_err(|error| format!("send: {error:?}"))?,
            Err(StreamError::Closed) => return Ok(()),
            Err(error) => return Err(format!("receive: {error:?}")),
        }
    }
}

/// The address of a host given by number or by name.
fn address(host: &str, port: &str) -> Result<IpSocketAddress, String> {
    let port = port.parse().map_err(|_| USAGE)?;
    let found = match host.parse::<std::net::IpAddr>() {
        Ok(std::net::IpAddr::V4(v4)) => IpAddress::Ipv4(v4.octets().into()),
        Ok(std::net::IpAddr::V6(v6)) => IpAddress::Ipv6(v6.segments().into()),
        Err(_) => *resolve(host)?.first().ok_or("the name has no address")?,
    };
    Ok(match found {
        IpAddress::Ipv4(address) => IpSocketAddress::Ipv4(Ipv4SocketAddress { port, address }),
        IpAddress::Ipv6(address) => {
            IpSocketAddress::Ipv6(Ipv6SocketAddress { port, flow_info: 0, address, scope_id: 0 })
        }
    })
}

fn resolve(host: &str) -> Result<Vec<IpAddress>, String> {
    let network = instance_network();
    let lookup = resolve_addresses(&network, host).map_err(named("resolve"))?;
    let mut found = Vec::new();
    loop {
        match lookup.resolve_next_address() {
            Ok(Some(address)) => found.push(address),
            Ok(None) => return Ok(found),
            Err(ErrorCode::WouldBlock) => lookup.subscribe().block(),
            Err(code) => return Err(named("resolve")(code)),
        }
    }
}

fn send_all(stream: &OutputStream, bytes: &[u8]) -> Result<(), StreamError> {
    // The host takes at most 4096 bytes in one such call.
    bytes.chunks(4096).try_for_each(|chunk| stream.blocking_write_and_flush(chunk))
}

fn named(step: &str) -> impl Fn(ErrorCode) -> String {
    move |code| format!("{step}: {}", code.name())
}

fn family(address: &IpSocketAddress) -> IpAddressFamily {
    match address {
        IpSocketAddress::Ipv4(_) => IpAddressFamily::Ipv4,
        IpSocketAddress::Ipv6(_) => IpAddressFamily::Ipv6,
    }
}

fn any_port(like: &IpSocketAddress) -> IpSocketAddress {
    match like {
        IpSocketAddress::Ipv4(_) => {
            IpSocketAddress::Ipv4(Ipv4SocketAddress { port: 0, address: (0, 0, 0, 0) })
        }
        IpSocketAddress::Ipv6(_) => IpSocketAddress::Ipv6(Ipv6SocketAddress {
            port: 0,
            flow_info: 0,
            address: (0, 0, 0, 0, 0, 0, 0, 0),
            scope_id: 0,
        }),
    }
}

fn port_of(address: &IpSocketAddress) -> u16 {
    match address {
        IpSocketAddress::Ipv4(address) => address.port,
        IpSocketAddress::Ipv6(address) => address.port,
    }
}

wasip2::cli::command::export!(Socket);
