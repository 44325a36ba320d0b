//! A command that asks for sockets of WASI 0.3 (`wasi:sockets`).
//!
//! - `socket-p3 resolve HOST` prints the addresses of a name
//! - `socket-p3 listen PORT` listens on 127.0.0.1, prints `listening on PORT`, and ends
//! - `socket-p3 connect ADDRESS PORT` connects over IPv4, prints `connected`, and ends
//!
//! A failure prints `error: ` and the error code, and exits with 1.

use wasip3::cli::stdout;
use wasip3::exports::cli::run::Guest;
use wasip3::sockets::ip_name_lookup::resolve_addresses;
use wasip3::sockets::types::{IpAddressFamily, IpSocketAddress, Ipv4SocketAddress, TcpSocket};
use wasip3::wit_stream;

const USAGE: &str = "usage: socket-p3 resolve HOST | listen PORT | connect ADDRESS PORT";

struct Socket;

impl Guest for Socket {
    async fn run() -> Result<(), ()> {
        let args = wasip3::cli::environment::get_arguments();
        let words: Vec<&str> = args.iter().skip(1).map(String::as_str).collect();
        let done = match words.as_slice() {
            ["resolve", host] => resolve(host).await,
            ["listen", port] => listen(port),
            ["connect", address, port] => connect(address, port).await,
            _ => Err(USAGE.into()),
        };
        match done {
            Ok(text) => print(text).await,
            Err(text) => {
                print(format!("error: {text}\n")).await?;
                Err(())
            }
        }
    }
}

async fn resolve(host: &str) -> Result<String, String> {
    let found = resolve_addresses(host.to_owned()).await.map_err(named("resolve"))?;
    Ok(found.iter().map(|address| format!("{address:?}\n")).collect())
}

fn listen(port: &str) -> Result<String, String> {
    let port = port.parse().map_err(|_| USAGE)?;
    let socket = TcpSocket::create(IpAddressFamily::Ipv4).map_err(named("create"))?;
    socket.bind(local(port)).map_err(named("bind"))?;
    let _connections = socket.listen().map_err(named("listen"))?;
    match socket.get_local_address().map_err(named("address"))? {
        IpSocketAddress::Ipv4(address) => Ok(format!("listening on {}\n", address.port)),
        IpSocketAddress::Ipv6(_) => Err("another family than was asked for".into()),
    }
}

async fn connect(address: &str, port: &str) -> Result<String, String> {
    let port = port.parse().map_err(|_| USAGE)?;
    let address: std::net::Ipv4Addr = address.parse().map_err(|_| USAGE)?;
    let to = IpSocketAddress::Ipv4(Ipv4SocketAddress { port, address: address.octets().into() });
    let socket = TcpSocket::create(IpAddressFamily::Ipv4).map_err(named("create"))?;
    socket.connect(to).await.map_err(named("connect"))?;
    Ok("connected\n".into())
}

fn local(port: u16) -> IpSocketAddress {
    IpSocketAddress::Ipv4(Ipv4SocketAddress { port, address: (127, 0, 0, 1) })
}

fn named<E: std::fmt::Debug>(what: &'static str) -> impl Fn(E) -> String {
    move |error| format!("{what}: {error:?}")
}

async fn print(text: String) -> Result<(), ()> {
    let (mut writer, reader) = wit_stream::new();
    let write = async move {
        let rest = writer.write_all(text.into_bytes()).await;
        if rest.is_empty() { Ok(()) } else { Err(()) }
    };
    let (written, taken) = futures::join!(write, async { stdout::write_via_stream(reader).await });
    written.and(taken.map_err(|_| ()))
}

wasip3::cli::command::export!(Socket);
