//! The kernel's announcements, reduced to news: a socket of its own, so that a flood of them never delays a request.

use std::{collections::VecDeque, io, os::fd::AsRawFd};

use futures_util::FutureExt;
use netlink_packet_core::{NLM_F_REPLACE, NetlinkBuffer};
use netlink_sys::{
    AsyncSocket, AsyncSocketExt, Socket, SocketAddr, TokioSocket, protocols::NETLINK_ROUTE,
};
use tokio::task::unconstrained;

use crate::{
    netlink::{
        codec::RouteHeader,
        dump::{self, neighbour, route_table},
        sieve,
    },
    network::{Deed, Interference, News},
    units::{Protocol, TableId},
};

/// Receive buffer in bytes. 208 KiB, the usual default, overran at some two thousand neighbours; the kernel charges only what
/// is waiting in it.
const RECEIVE_BUFFER_BYTES: usize = 16 << 20;

/// Size in bytes of the largest datagram that the kernel sends.
const DATAGRAM_BYTES_MAX: usize = 64 << 10;

/// News that may wait here; more stay in the socket. One datagram adds a handful.
const PENDING_NEWS_MAX: usize = 256;

/// Interferences that may wait here.
const INTERFERENCES_PENDING_MAX: usize = 32;

/// Datagrams read before news are handed out, so that a flood of messages never holds up the loop for long: some milliseconds. With
/// fewer, the loop would look at the kernel once for each handful of a flood.
const DATAGRAMS_PER_TURN: usize = 4096;

/// What is listened to.
const GROUPS: [u32; 9] = [
    libc::RTNLGRP_LINK,
    libc::RTNLGRP_IPV4_IFADDR,
    libc::RTNLGRP_IPV6_IFADDR,
    libc::RTNLGRP_IPV4_ROUTE,
    libc::RTNLGRP_IPV6_ROUTE,
    libc::RTNLGRP_NEIGH,
    // The deletion of a nexthop object takes its routes along without a message about them.
    libc::RTNLGRP_NEXTHOP,
    libc::RTNLGRP_IPV4_RULE,
    libc::RTNLGRP_IPV6_RULE,
];

/// The kernel's announcements.
pub struct Watch {
    socket: TokioSocket,
    protocol: Protocol,
    /// The ports of pingu's own sockets.
    own_ports: Vec<u32>,
    pending: VecDeque<News>,
    datagram: Vec<u8>,
}

impl Watch {
    /// Listens from here on, in the calling thread's network namespace, on the current runtime.
    pub fn new(protocol: Protocol) -> io::Result<Self> {
        Self::with_buffer(protocol, RECEIVE_BUFFER_BYTES)
    }

    /// As `new`, with so many bytes of receive buffer.
    pub fn with_buffer(protocol: Protocol, bytes: usize) -> io::Result<Self> {
        let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
        set_receive_buffer(socket.socket_ref(), bytes)?;
        socket.socket_mut().bind_auto()?;
        sift(&socket, protocol, &[]);
        for group in GROUPS {
            socket.socket_mut().add_membership(group)?;
        }
        Ok(Self {
            socket,
            protocol,
            own_ports: Vec::new(),
            pending: VecDeque::new(),
            datagram: Vec::with_capacity(DATAGRAM_BYTES_MAX),
        })
    }

    /// Tells the ports of pingu's own sockets: what was asked for there is nobody else's deed.
    pub fn know_own(&mut self, ports: Vec<u32>) {
        if self.own_ports != ports {
            self.own_ports = ports;
            sift(&self.socket, self.protocol, &self.own_ports);
        }
    }

    /// Waits for the next news. Nothing is lost if the future is dropped.
    pub async fn next(&mut self) -> io::Result<News> {
        loop {
            if let Some(news) = self.pending.pop_front() {
                return Ok(news);
            }
            self.datagram.clear();
            let received = self.socket.recv_from(&mut self.datagram).await;
            self.take(received)?;
            // What already waits is taken along, so that a burst of changes becomes one.
            for _ in 1..DATAGRAMS_PER_TURN {
                if self.pending.len() >= PENDING_NEWS_MAX {
                    break;
                }
                self.datagram.clear();
                // Tokio would end the turn after a hundred or so.
                let received = unconstrained(self.socket.recv_from(&mut self.datagram));
                match received.now_or_never() {
                    Some(received) => self.take(received)?,
                    None => break,
                }
            }
        }
    }

    /// Turns what was received into pending news.
    fn take(&mut self, received: io::Result<SocketAddr>) -> io::Result<()> {
        match received {
            // Any process with the privilege may send to this socket; the kernel's port is 0.
            Ok(source) if source.port_number() != 0 => {}
            Ok(_) => {
                for interference in interferences_of(&self.datagram, self.protocol) {
                    if !self.own_ports.contains(&interference.port) {
                        note(&mut self.pending, interference);
                    }
                }
                for news in news_of(&self.datagram, self.protocol) {
                    remember(&mut self.pending, news);
                }
            }
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                // Whoever hears this looks at everything: what waited before it is old.
                self.pending.clear();
                self.pending.push_back(News::Overrun);
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// The messages in a datagram.
fn messages(datagram: &[u8]) -> impl Iterator<Item = NetlinkBuffer<&[u8]>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let message = NetlinkBuffer::new_checked(rest).ok()?;
        let len = (message.length() as usize).next_multiple_of(4);
        rest = rest.get(len..).unwrap_or_default();
        Some(message)
    })
}

/// The news in a datagram.
fn news_of(datagram: &[u8], protocol: Protocol) -> Vec<News> {
    messages(datagram)
        .filter_map(|message| news(message.message_type(), message.payload(), protocol))
        .collect()
}

/// What was done to own routes, and asked for by somebody: the kernel's own doings come from port 0.
fn interferences_of(datagram: &[u8], own: Protocol) -> Vec<Interference> {
    let asked_for = messages(datagram).filter(|message| message.port_number() != 0);
    let interference = |message: NetlinkBuffer<&[u8]>| {
        let is_replacement = message.flags() & NLM_F_REPLACE != 0;
        let deed = match message.message_type() {
            libc::RTM_DELROUTE => Deed::Deleted,
            libc::RTM_NEWROUTE if is_replacement => Deed::Replaced,
            _ => return None,
        };
        let header = RouteHeader::read(message.payload())?;
        if (header.protocol == own.0) != (deed == Deed::Deleted) {
            return None;
        }
        let route = match deed {
            Deed::Deleted => dump::route(message.payload(), own)?,
            Deed::Replaced => dump::default_route(message.payload(), own)?,
        };
        let port = message.port_number();
        Some(Interference { deed, route, port })
    };
    asked_for.filter_map(interference).collect()
}

/// Adds an interference to what waits, unless so many do that it is no fight about a route but the end of a table.
fn note(pending: &mut VecDeque<News>, interference: Interference) {
    let waiting = pending
        .iter()
        .filter(|news| matches!(news, News::Interfered(_)));
    if waiting.count() < INTERFERENCES_PENDING_MAX {
        remember(pending, News::Interfered(Box::new(interference)));
    }
}

/// The news in a message, if it is any to a watcher of default routes.
fn news(kind: u16, body: &[u8], protocol: Protocol) -> Option<News> {
    match kind {
        libc::RTM_NEWROUTE | libc::RTM_DELROUTE => {
            let header = RouteHeader::read(body)?;
            let is_default =
                header.destination_len == 0 && route_table(&header, body) == TableId::MAIN;
            (is_default || header.protocol == protocol.0).then_some(News::Changed)
        }
        libc::RTM_NEWNEIGH => neighbour(body, false).map(News::Neighbour),
        libc::RTM_DELNEIGH => neighbour(body, true).map(News::Neighbour),
        _ => Some(News::Changed),
    }
}

/// Adds news to those that wait; what waits already and says the same, or something older of the same neighbour, goes.
fn remember(pending: &mut VecDeque<News>, news: News) {
    let superseded = |old: &News| match (old, &news) {
        (News::Neighbour(old), News::Neighbour(new)) => {
            (old.ifindex, old.address) == (new.ifindex, new.address)
        }
        (old, new) => old == new,
    };
    if let Some(place) = pending.iter().position(superseded) {
        pending.remove(place);
    }
    pending.push_back(news);
}

/// Without a filter everything is heard, and what does not matter is sorted out here.
fn sift(socket: &TokioSocket, own: Protocol, ports: &[u32]) {
    if let Err(error) = sieve::attach(socket.socket_ref(), own, ports) {
        tracing::debug!(%error, "the news cannot be filtered in the kernel");
    }
}

/// Asks for a receive buffer beyond the system's limit, and takes what the limit allows without the privilege.
fn set_receive_buffer(socket: &Socket, bytes: usize) -> io::Result<()> {
    let wanted = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
    // SAFETY: the descriptor is open, and the option's value is a c_int of the size given.
    let forced = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVBUFFORCE,
            (&raw const wanted).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if forced == 0 {
        return Ok(());
    }
    socket.set_rx_buf_sz(wanted)
}
