//! Sockets that leave by one uplink.

use std::{
    io::{self, ErrorKind},
    net::{IpAddr, SocketAddr},
    num::NonZeroU32,
    time::Instant,
};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpSocket, UdpSocket};

use super::{
    meter::{Account, Datagrams, Line, Stream},
    step,
};
use crate::engine::check::{Cause, Exit, Failure};

/// A socket bound to the interface, and to the source of the peer's family.
pub(super) fn socket(
    way: &Line<'_>,
    ipv6: bool,
    kind: Type,
    protocol: Option<Protocol>,
) -> Result<Socket, Failure> {
    let exit = exit(way, ipv6)?;
    let open = || {
        let domain = if ipv6 { Domain::IPV6 } else { Domain::IPV4 };
        let socket = Socket::new(domain, kind, protocol)?;
        socket.set_nonblocking(true)?;
        let index = NonZeroU32::new(way.ifindex.0);
        if ipv6 {
            socket.bind_device_by_index_v6(index)?;
        } else {
            socket.bind_device_by_index_v4(index)?;
        }
        socket.bind(&SocketAddr::new(exit.source, 0).into())?;
        Ok(socket)
    };
    let named = format!("no socket on {} from {}", way.interface, exit.source);
    open().map_err(|error: io::Error| Failure::local(named, error))
}

/// How packets of a family leave.
pub(super) fn exit<'a>(way: &Line<'a>, ipv6: bool) -> Result<&'a Exit, Failure> {
    let family = if ipv6 { "IPv6" } else { "IPv4" };
    let none = || Failure::local(format!("no way by {family}"), &way.interface);
    way.way.exit(ipv6).ok_or_else(none)
}

/// A TCP connection.
pub(super) async fn connect(
    way: &Line<'_>,
    address: SocketAddr,
    deadline: Instant,
) -> Result<Stream, Failure> {
    let socket = socket(way, address.is_ipv6(), Type::STREAM, Some(Protocol::TCP))?;
    let account = Account::open(&socket, address.is_ipv6(), way.meter)
        .map_err(|error| Failure::local("no second handle of a socket", error))?;
    let socket = TcpSocket::from_std_stream(socket.into());
    let connect = async {
        let connected = socket.connect(address).await;
        let connected = connected.map(|stream| Stream::new(stream, account));
        connected.map_err(|error| failure(format!("cannot connect to {address}"), &error))
    };
    step(
        deadline,
        format!("{address} does not accept a connection"),
        connect,
    )
    .await
}

/// A UDP socket that talks to one peer alone.
pub(super) async fn datagrams(way: &Line<'_>, peer: SocketAddr) -> Result<Datagrams, Failure> {
    let socket = socket(way, peer.is_ipv6(), Type::DGRAM, Some(Protocol::UDP))?;
    let open = |error| failure(format!("cannot talk to {peer}"), &error);
    let socket = UdpSocket::from_std(socket.into()).map_err(open)?;
    socket.connect(peer).await.map_err(open)?;
    Ok(Datagrams::new(socket, peer.ip(), way.meter))
}

/// What an error of a socket says of the uplink.
pub(super) fn failure(doing: String, error: &io::Error) -> Failure {
    let cause = match error.kind() {
        ErrorKind::ConnectionRefused => Cause::Refused,
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => Cause::Unreachable,
        ErrorKind::TimedOut => Cause::Timeout,
        ErrorKind::ConnectionReset
        | ErrorKind::ConnectionAborted
        | ErrorKind::BrokenPipe
        | ErrorKind::UnexpectedEof
        | ErrorKind::InvalidData => Cause::Broken,
        // An ICMP error that says "prohibited", or a firewall of this machine: both refuse.
        ErrorKind::PermissionDenied => Cause::Refused,
        _ if is_of_the_network(error) => Cause::Unreachable,
        _ => Cause::Local,
    };
    Failure::new(cause, format!("{doing}: {}", plain(error)))
}

/// Errors that ICMP brings and that have no kind of their own (`icmp_err_convert` in the kernel).
fn is_of_the_network(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENOPROTOOPT | libc::EOPNOTSUPP | libc::EPROTO | libc::ENONET | libc::EHOSTDOWN)
    )
}

/// An error without its number, which says nothing beside the words.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(end) => text[..end].to_lowercase(),
        None => text,
    }
}

/// Address and port for people and sockets.
pub(super) fn at(address: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(address, port)
}
