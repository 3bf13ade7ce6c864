//! The benchmark's own netlink: routes written in batches as bare as can be, and dumps to see by which interface each prefix leaves.

use std::{collections::BTreeMap, net::Ipv4Addr, time::Duration};

use anyhow::{Context, Result, bail, ensure};

use crate::lab::raw_socket::RawSocket;

/// Messages in a datagram, as many as pingu's own batches have.
const MESSAGES_PER_DATAGRAM: usize = 512;

/// The kernel answers at once.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Size in bytes of `struct nlmsghdr`.
pub(super) const HEADER_BYTES: usize = 16;
const ROUTE_HEADER_BYTES: usize = 12;
const DATAGRAM_BYTES_MAX: usize = 64 << 10;
const ANSWER_RECEIVE_BUFFER_BYTES: i32 = 4 << 20;

/// `RTA_NH_ID`
const ROUTE_NEXTHOP_ID: u16 = 30;

/// The first of the prefixes that move: a /32 each, so that ten thousand of them are ten thousand entries.
pub(super) const FIRST_PREFIX: u32 = u32::from_be_bytes([100, 64, 0, 0]);

/// They all are in this network (RFC 6598), where nothing else is.
const PREFIXES_MASK: u32 = u32::MAX << 22;

/// The first of the prefixes of somebody else's.
const FIRST_FOREIGN: u32 = u32::from_be_bytes([20, 0, 0, 0]);

/// A prefix that moves.
pub(super) fn prefix(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(FIRST_PREFIX + number)
}

/// Whether an address is one of those that move.
pub(super) fn is_moving(address: u32) -> bool {
    address & PREFIXES_MASK == FIRST_PREFIX
}

/// A prefix of somebody else's.
pub(super) fn foreign_prefix(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(FIRST_FOREIGN + number)
}

/// Where a route to one address leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HostWay {
    pub(super) to: u32,
    pub(super) metric: u32,
    /// The interface's number.
    pub(super) by: u32,
}

/// A route to one address.
#[derive(Clone, Copy, Debug)]
pub(super) struct HostRoute {
    pub(super) destination: Ipv4Addr,
    pub(super) gateway: Ipv4Addr,
    pub(super) ifindex: u32,
    pub(super) table: u32,
    pub(super) metric: u32,
    pub(super) protocol: u8,
}

/// What to do with a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Add,
    Replace,
    Delete,
}

/// A socket for routes.
pub(super) struct Wire {
    socket: RawSocket,
    buffer: Vec<u8>,
}

impl Wire {
    /// Opens it in the calling thread's namespace.
    pub(super) fn open() -> Result<Self> {
        let socket =
            RawSocket::rtnetlink(ANSWER_TIMEOUT).context("cannot open a netlink socket")?;
        socket.set_receive_buffer(ANSWER_RECEIVE_BUFFER_BYTES)?;
        Ok(Self {
            socket,
            buffer: vec![0; DATAGRAM_BYTES_MAX],
        })
    }

    /// Sends routes in batches, of which the last message alone is acknowledged.
    pub(super) fn write(&mut self, datagrams: &[Vec<u8>]) -> Result<()> {
        for datagram in datagrams {
            self.socket.send(datagram)?;
            let answer = self.socket.receive(&mut self.buffer)?;
            let answer = answer.context("the kernel does not answer")?;
            let errno = answer.get(HEADER_BYTES..HEADER_BYTES + 4);
            let errno = i32::from_ne_bytes(errno.context("short answer")?.try_into()?);
            if errno != 0 {
                bail!(
                    "the kernel refused a route: {}",
                    std::io::Error::from_raw_os_error(-errno)
                );
            }
        }
        Ok(())
    }

    /// By which interface each prefix leaves: of the routes to it in the main table the one with the lowest metric, and of those the
    /// first that the kernel lists. `interface_of` tells for nexthop objects.
    pub(super) fn ways(&mut self, interface_of: &BTreeMap<u32, u32>) -> Result<BTreeMap<u32, u32>> {
        let mut best: BTreeMap<u32, HostWay> = BTreeMap::new();
        for way in self.list(interface_of)? {
            let known = best.entry(way.to).or_insert(way);
            if way.metric < known.metric {
                *known = way;
            }
        }
        Ok(best.into_iter().map(|(to, way)| (to, way.by)).collect())
    }

    /// Every route of the main table to a prefix that moves, in the kernel's order.
    pub(super) fn list(&mut self, interface_of: &BTreeMap<u32, u32>) -> Result<Vec<HostWay>> {
        let mut request = Vec::new();
        push_header(&mut request, libc::RTM_GETROUTE, libc::NLM_F_DUMP as u16);
        request.extend([libc::AF_INET as u8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        close(&mut request, 0);
        self.socket.send(&request)?;
        let mut ways = Vec::new();
        loop {
            let answer = self.socket.receive(&mut self.buffer)?;
            let mut rest = answer.context("the kernel does not answer")?;
            while rest.len() >= HEADER_BYTES {
                let length = u32::from_ne_bytes(rest[..4].try_into()?) as usize;
                let kind = u16::from_ne_bytes([rest[4], rest[5]]);
                ensure!(kind != libc::NLMSG_ERROR as u16, "the dump was refused");
                if kind == libc::NLMSG_DONE as u16 {
                    return Ok(ways);
                }
                ways.extend(way(&rest[HEADER_BYTES..length], interface_of));
                rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
            }
        }
    }
}

/// Where a route of the main table to a prefix that moves leads.
pub(super) fn way(body: &[u8], interface_of: &BTreeMap<u32, u32>) -> Option<HostWay> {
    if body[1] != 32 || body[4] != libc::RT_TABLE_MAIN {
        return None;
    }
    let (mut to, mut metric, mut by) = (None, 0, None);
    let mut rest = &body[ROUTE_HEADER_BYTES..];
    while rest.len() >= 4 {
        let length = usize::from(u16::from_ne_bytes([rest[0], rest[1]]));
        let value = rest.get(4..length)?;
        let number = || Some(u32::from_ne_bytes(value.try_into().ok()?));
        match u16::from_ne_bytes([rest[2], rest[3]]) {
            libc::RTA_DST => to = number().map(u32::from_be),
            libc::RTA_PRIORITY => metric = number()?,
            libc::RTA_OIF => by = by.or(number()),
            ROUTE_NEXTHOP_ID => by = interface_of.get(&number()?).copied(),
            _ => {}
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    let to = to.filter(|to| is_moving(*to))?;
    Some(HostWay {
        to,
        metric,
        by: by?,
    })
}

/// Datagrams that do this with these routes.
pub(super) fn datagrams(verb: Verb, routes: &[HostRoute]) -> Vec<Vec<u8>> {
    let of_chunk = |chunk: &[HostRoute]| {
        let mut datagram = Vec::new();
        for (place, route) in chunk.iter().enumerate() {
            push_route(&mut datagram, verb, route, place + 1 == chunk.len());
        }
        datagram
    };
    routes.chunks(MESSAGES_PER_DATAGRAM).map(of_chunk).collect()
}

fn push_route(datagram: &mut Vec<u8>, verb: Verb, route: &HostRoute, acknowledged: bool) {
    let (kind, mut flags) = match verb {
        Verb::Add => (libc::RTM_NEWROUTE, libc::NLM_F_CREATE | libc::NLM_F_EXCL),
        Verb::Replace => (libc::RTM_NEWROUTE, libc::NLM_F_CREATE | libc::NLM_F_REPLACE),
        Verb::Delete => (libc::RTM_DELROUTE, 0),
    };
    if acknowledged {
        flags |= libc::NLM_F_ACK;
    }
    let start = datagram.len();
    push_header(datagram, kind, flags as u16);
    let table = u8::try_from(route.table).unwrap_or(libc::RT_TABLE_UNSPEC);
    datagram.extend([libc::AF_INET as u8, 32, 0, 0, table, route.protocol]);
    datagram.extend([libc::RT_SCOPE_UNIVERSE, libc::RTN_UNICAST, 0, 0, 0, 0]);
    for (kind, value) in [
        (libc::RTA_DST, route.destination.octets()),
        (libc::RTA_TABLE, route.table.to_ne_bytes()),
        (libc::RTA_PRIORITY, route.metric.to_ne_bytes()),
        (libc::RTA_GATEWAY, route.gateway.octets()),
        (libc::RTA_OIF, route.ifindex.to_ne_bytes()),
    ] {
        datagram.extend(8_u16.to_ne_bytes());
        datagram.extend(kind.to_ne_bytes());
        datagram.extend(value);
    }
    close(datagram, start);
}

/// A header whose length is not known yet.
fn push_header(datagram: &mut Vec<u8>, kind: u16, flags: u16) {
    datagram.extend([0; 4]);
    datagram.extend(kind.to_ne_bytes());
    datagram.extend((libc::NLM_F_REQUEST as u16 | flags).to_ne_bytes());
    datagram.extend([0; 8]);
}

fn close(datagram: &mut [u8], start: usize) {
    let length = (datagram.len() - start) as u32;
    datagram[start..start + 4].copy_from_slice(&length.to_ne_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTE: HostRoute = HostRoute {
        destination: Ipv4Addr::new(100, 64, 0, 7),
        gateway: Ipv4Addr::new(10, 0, 1, 1),
        ifindex: 3,
        table: libc::RT_TABLE_MAIN as u32,
        metric: 100,
        protocol: 250,
    };

    #[test]
    fn a_written_route_reads_back_as_it_leaves() {
        let datagrams = datagrams(Verb::Add, &[ROUTE]);
        let body = &datagrams[0][HEADER_BYTES..];
        let to = u32::from(ROUTE.destination);
        let expected = HostWay {
            to,
            metric: 100,
            by: 3,
        };
        assert_eq!(way(body, &BTreeMap::new()), Some(expected));
    }

    #[test]
    fn only_the_last_message_of_a_datagram_is_acknowledged() {
        let datagrams = datagrams(Verb::Replace, &[ROUTE; MESSAGES_PER_DATAGRAM + 1]);
        assert_eq!(datagrams.len(), 2);
        let asks = |datagram: &[u8]| datagram[6] & libc::NLM_F_ACK as u8 != 0;
        let length = datagrams[1].len();
        assert!(!asks(&datagrams[0]));
        assert!(asks(&datagrams[0][datagrams[0].len() - length..]));
        assert!(asks(&datagrams[1]));
    }
}
