//! The sockets that probes leave by and replies come in by: the kernel's echo sockets, or raw ones. One serves all paths that leave alike.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6},
    os::fd::{AsFd, BorrowedFd},
    time::Instant,
};

use pingu_common::{ICMP_HEADER_BYTES, PAYLOAD_BYTES_MAX};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::flights::{Flight, Number};
use crate::{
    probe::{
        LinkHeader, ProbeOrder, packet,
        socket::inbox::{ask_for_times, set_option},
    },
    units::{Ifindex, SlotId},
};

/// What `ping` sends: known to pass everywhere.
pub(super) const PAYLOAD_BYTES: u16 = 56;

/// What replies may wait in, as far as the kernel allows: those of some ten thousand probes.
const RECEIVE_BUFFER_BYTES: i32 = 8 << 20;

/// What probes may wait in whose next hop is looked for, as far as the kernel allows.
const SEND_BUFFER_BYTES: i32 = 4 << 20;

/// Sending again after an error: a socket reports errors that came for earlier probes to whoever sends next.
const TRIES: usize = 4;

const SO_BINDTOIFINDEX: i32 = 62;

/// What paths share that leave alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Exit {
    /// As the kernel's routes say, in this family.
    Any {
        /// IPv6.
        ipv6: bool,
    },
    /// With this source, by the way that the kernel's routes and rules give it.
    Source(IpAddr),
    /// By this interface, with this source.
    Interface(Ifindex, IpAddr),
}

impl Exit {
    pub(super) fn ipv6(self) -> bool {
        match self {
            Self::Any { ipv6 } => ipv6,
            Self::Source(source) | Self::Interface(_, source) => source.is_ipv6(),
        }
    }

    pub(super) fn ifindex(self) -> Option<Ifindex> {
        match self {
            Self::Any { .. } | Self::Source(_) => None,
            Self::Interface(ifindex, _) => Some(ifindex),
        }
    }

    pub(super) fn source(self) -> Option<IpAddr> {
        match self {
            Self::Any { .. } => None,
            Self::Source(source) | Self::Interface(_, source) => Some(source),
        }
    }
}

/// One socket.
#[derive(Debug)]
pub(super) struct Outlet {
    pub(super) exit: Exit,
    /// Of several sockets of one exit, which one.
    pub(super) spare: u8,
    /// A raw socket, whose packets come with their IPv4 header.
    pub(super) raw: bool,
    /// The identifier of all that it sends.
    pub(super) ident: u16,
    /// When it was last sent by.
    pub(super) used: Instant,
    socket: Socket,
}

impl Outlet {
    /// Opens one; `first_word` is what all cookies begin with.
    pub(super) fn open(
        exit: Exit,
        raw: bool,
        first_word: u32,
        ident: u16,
        now: Instant,
    ) -> io::Result<Self> {
        let socket = open(exit.ipv6(), raw)?;
        // Before anything is received, so that nothing else ever waits in it.
        filter(&socket, exit.ipv6(), raw, first_word)?;
        if let Some(ifindex) = exit.ifindex() {
            let number = ifindex.0 as i32;
            set_option(socket.as_fd(), libc::SOL_SOCKET, SO_BINDTOIFINDEX, &number)?;
        }
        prepare(&socket, exit.ipv6())?;
        let unspecified: IpAddr = if exit.ipv6() {
            Ipv6Addr::UNSPECIFIED.into()
        } else {
            Ipv4Addr::UNSPECIFIED.into()
        };
        socket.bind(&address(exit.source().unwrap_or(unspecified), exit))?;
        let ident = if raw {
            ident
        } else {
            // The identifier that the kernel has chosen stands where a port would.
            let local = socket.local_addr()?.as_socket();
            local.map_or(0, |local| local.port())
        };
        Ok(Self {
            exit,
            spare: 0,
            raw,
            ident,
            used: now,
            socket,
        })
    }

    /// Sends a probe's request.
    pub(super) fn send(&self, number: Number, flight: &Flight) -> io::Result<()> {
        let order = ProbeOrder {
            slot: SlotId(number.0),
            ifindex: Ifindex(0),
            link: LinkHeader::Bare,
            // The kernel writes addresses, and a checksum where it depends on them.
            source: match flight.target {
                IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
            },
            target: flight.target,
            ident: flight.ident,
            sequence: flight.sequence,
            payload_bytes: PAYLOAD_BYTES,
            reflect: None,
        };
        let payload = pingu_common::Payload {
            slot: number.0,
            cookie: flight.cookie,
        };
        let mut bytes = [0; packet::HEADER_BYTES_MAX + PAYLOAD_BYTES_MAX as usize];
        let length = packet::write(&mut bytes, &order, &payload)
            .expect("both addresses are of one family, and nothing is asked of a reflector");
        let message = &bytes[length - ICMP_HEADER_BYTES - usize::from(PAYLOAD_BYTES)..length];
        let target = address(flight.target, self.exit);
        let mut result = Ok(());
        for _ in 0..TRIES {
            result = self
                .socket
                .send_to_with_flags(message, &target, libc::MSG_DONTWAIT)
                .map(drop);
            if result.is_ok() {
                break;
            }
        }
        result
    }
}

impl AsFd for Outlet {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Opens a socket, for nothing in particular.
pub(super) fn open(ipv6: bool, raw: bool) -> io::Result<Socket> {
    let (domain, protocol) = if ipv6 {
        (Domain::IPV6, Protocol::ICMPV6)
    } else {
        (Domain::IPV4, Protocol::ICMPV4)
    };
    let kind = if raw { Type::RAW } else { Type::DGRAM };
    let socket = Socket::new(domain, kind, Some(protocol))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn prepare(socket: &Socket, ipv6: bool) -> io::Result<()> {
    let fd = socket.as_fd();
    ask_for_times(fd, libc::SOF_TIMESTAMPING_RX_SOFTWARE)?;
    let (level, errors, arrivals) = if ipv6 {
        (libc::SOL_IPV6, libc::IPV6_RECVERR, libc::IPV6_RECVPKTINFO)
    } else {
        (libc::SOL_IP, libc::IP_RECVERR, libc::IP_PKTINFO)
    };
    set_option(fd, level, errors, &1_i32)?;
    set_option(fd, level, arrivals, &1_i32)?;
    for (force, plain, bytes) in [
        (libc::SO_RCVBUFFORCE, libc::SO_RCVBUF, RECEIVE_BUFFER_BYTES),
        (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF, SEND_BUFFER_BYTES),
    ] {
        if set_option(fd, libc::SOL_SOCKET, force, &bytes).is_err() {
            set_option(fd, libc::SOL_SOCKET, plain, &bytes)?;
        }
    }
    Ok(())
}

/// Lets pass only echo replies whose cookie begins with this word: neither other people's pings nor forged replies fill the queue that
/// true replies wait in.
fn filter(socket: &Socket, ipv6: bool, raw: bool, first_word: u32) -> io::Result<()> {
    const LOAD_X_HEADER_LENGTH: u16 = 0xb1;
    const LOAD_X: u16 = 0x01;
    const LOAD_BYTE_AT_X: u16 = 0x50;
    const LOAD_WORD_AT_X: u16 = 0x40;
    const JUMP_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    /// Of the cookie's first word, behind the ICMP header and the slot.
    const COOKIE_AT: u32 = ICMP_HEADER_BYTES as u32 + 4;
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let reply = if ipv6 { 129 } else { 0 };
    let start = if raw && !ipv6 {
        step(LOAD_X_HEADER_LENGTH, 0, 0, 0)
    } else {
        step(LOAD_X, 0, 0, 0)
    };
    let mut program = [
        start,
        step(LOAD_BYTE_AT_X, 0, 0, 0),
        step(JUMP_EQUAL, 0, 3, reply),
        step(LOAD_WORD_AT_X, 0, 0, COOKIE_AT),
        // Loads are big-endian.
        step(JUMP_EQUAL, 0, 1, first_word.to_be()),
        step(RETURN, 0, 0, u32::MAX),
        step(RETURN, 0, 0, 0),
    ];
    let program = libc::sock_fprog {
        len: program.len() as u16,
        filter: program.as_mut_ptr(),
    };
    set_option(
        socket.as_fd(),
        libc::SOL_SOCKET,
        libc::SO_ATTACH_FILTER,
        &program,
    )
}

/// A link-local address means nothing without its interface.
fn address(address: IpAddr, exit: Exit) -> SockAddr {
    match (address, exit.ifindex()) {
        (IpAddr::V6(address), Some(ifindex)) if address.is_unicast_link_local() => {
            SocketAddrV6::new(address, 0, 0, ifindex.0).into()
        }
        (address, _) => SocketAddr::new(address, 0).into(),
    }
}
