//! Probing where even packet sockets are refused: the kernel's own echo sockets, which a process may open whose group is in the range of
//! `net.ipv4.ping_group_range`. The kernel writes IP header, identifier and checksum, finds the next hop by its routing tables, and hands
//! over only replies with its identifier. So a probe goes where the routes of its interface lead, VLAN tags are out of reach, and what a
//! packet socket would tell of corrupt and forged replies is never seen.

use std::{
    io, mem,
    net::IpAddr,
    os::fd::{AsFd, AsRawFd, OwnedFd},
};

use pingu_common::{
    COOKIE_WORDS, ICMP_HEADER_BYTES, PAYLOAD_BYTES_MAX, PAYLOAD_BYTES_MIN, Payload,
};

use super::{
    clockwork::Clockwork,
    inbox::{self, ask_for_times, set_option},
    listener::Heard,
};
use crate::{
    probe::{LinkHeader, ProbeOrder, SendResult, kernel::slots::Slots, packet},
    units::Ifindex,
};

/// Sockets of one interface: one for each source address. An interface has few, and the oldest make room.
const SOURCES_MAX: usize = 8;

/// Sending again after an error: the kernel reports an earlier probe's ICMP error to whoever sends next, and more of them may come in
/// between. One that repeats itself so often is this probe's own.
const TRIES: usize = 4;

const SO_BINDTOIFINDEX: i32 = 62;

/// The echo sockets of one interface.
pub(super) struct PingInterface {
    pub(super) ifindex: Ifindex,
    pub(super) sockets: Vec<PingSocket>,
}

/// An echo socket.
pub(super) struct PingSocket {
    pub(super) socket: OwnedFd,
    source: IpAddr,
    /// The identifier of everything that it sends.
    ident: u16,
    /// Replies that found no room, as the kernel counts them.
    drops: u32,
}

impl PingInterface {
    /// Nothing is open yet; fails where echo sockets are refused.
    pub(super) fn new(ifindex: Ifindex) -> io::Result<Self> {
        open(false, ifindex)?;
        let sockets = Vec::new();
        Ok(Self { ifindex, sockets })
    }

    /// Arms an order's slot and sends it. Returns the socket too if it is a new one.
    pub(super) fn send(
        &mut self,
        order: &ProbeOrder,
        cookie: [u32; COOKIE_WORDS],
        slots: &Slots,
        heard: &mut Heard,
        clockwork: &mut Clockwork,
    ) -> (SendResult, Option<&OwnedFd>) {
        slots.forget(order.slot);
        if !(PAYLOAD_BYTES_MIN..=PAYLOAD_BYTES_MAX).contains(&order.payload_bytes) {
            return (SendResult::NotSent(libc::EMSGSIZE), None);
        }
        if let LinkHeader::Vlan { .. } = order.link {
            return (SendResult::NotSent(libc::EOPNOTSUPP), None);
        }
        let mut sockets = self.sockets.iter();
        let known = sockets.position(|socket| socket.source == order.source);
        let place = match known {
            Some(place) => place,
            None => match PingSocket::open(order.source, self.ifindex) {
                Ok(socket) => {
                    if self.sockets.len() >= SOURCES_MAX {
                        self.sockets.remove(0);
                    }
                    self.sockets.push(socket);
                    self.sockets.len() - 1
                }
                Err(error) => return (SendResult::NotSent(errno(&error)), None),
            },
        };
        let socket = &self.sockets[place];
        let result = socket.send(order, cookie, slots, heard, clockwork);
        (result, known.is_none().then_some(&socket.socket))
    }
}

impl PingSocket {
    fn open(source: IpAddr, ifindex: Ifindex) -> io::Result<Self> {
        let socket = open(source.is_ipv6(), ifindex)?;
        let fd = socket.as_fd();
        let times = libc::SOF_TIMESTAMPING_TX_SCHED | libc::SOF_TIMESTAMPING_RX_SOFTWARE;
        ask_for_times(fd, times)?;
        let (level, errors, discover) = match source {
            IpAddr::V4(_) => (
                libc::SOL_IP,
                libc::IP_RECVERR,
                (libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_PROBE),
            ),
            IpAddr::V6(_) => (
                libc::SOL_IPV6,
                libc::IPV6_RECVERR,
                (libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_PROBE),
            ),
        };
        set_option(fd, level, errors, &1_i32)?;
        set_option(fd, level, discover.0, &discover.1)?;
        bind(&socket, source, ifindex)?;
        let ident = ident(&socket)?;
        Ok(Self {
            socket,
            source,
            ident,
            drops: 0,
        })
    }

    fn send(
        &self,
        order: &ProbeOrder,
        cookie: [u32; COOKIE_WORDS],
        slots: &Slots,
        heard: &mut Heard,
        clockwork: &mut Clockwork,
    ) -> SendResult {
        // The kernel writes its own identifier, and that is the one to wait for.
        let order = ProbeOrder {
            ident: self.ident,
            ..*order
        };
        let mut packet = [0; packet::HEADER_BYTES_MAX + PAYLOAD_BYTES_MAX as usize];
        let Some(message) = write(&mut packet, &order, cookie) else {
            return SendResult::NotSent(libc::EAFNOSUPPORT);
        };
        slots.arm(&order, cookie);
        let mut result = Ok(());
        for _ in 0..TRIES {
            clockwork.look();
            result = send_to(&self.socket, message, &order);
            // A full queue, or a filter, drops what is sent again as well, and no router's error reads so.
            let is_dropped = |error: &io::Error| errno(error) == libc::ENOBUFS;
            if result.as_ref().err().is_none_or(is_dropped) {
                break;
            }
        }
        let handed_over_ns = clockwork.look.monotonic_ns;
        let result = result.map_err(|error| errno(&error));
        match result {
            Ok(()) | Err(libc::ENOBUFS) => {
                // Errors of earlier probes wait in the same queue, and a near router's of this one.
                clockwork.stamp_departures(self.socket.as_fd(), slots, |message| {
                    heard.take_error(message, slots);
                });
                if slots.read(order.slot).sent_ns.is_none() {
                    // The kernel still looks for the next hop, or may not show this process what it sends: counted from here, the RTT
                    // is a little longer.
                    slots.set_sent(order.slot, handed_over_ns);
                }
                match result {
                    Ok(()) => SendResult::Sent,
                    Err(_) => SendResult::Dropped(libc::ENOBUFS),
                }
            }
            Err(errno) => {
                slots.disarm(order.slot);
                SendResult::NotSent(errno)
            }
        }
    }

    /// How many replies found no room since the last call.
    pub(super) fn overflowed(&mut self) -> u32 {
        /// `SK_MEMINFO_DROPS` is the ninth number of `SO_MEMINFO`.
        const NUMBERS: usize = 9;
        let mut numbers = [0_u32; NUMBERS];
        let mut length = size_of_val(&numbers) as libc::socklen_t;
        // SAFETY: the numbers outlive the call, and their length is right.
        let result = unsafe {
            libc::getsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_MEMINFO,
                numbers.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        if result != 0 {
            return 0;
        }
        let before = mem::replace(&mut self.drops, numbers[NUMBERS - 1]);
        self.drops.wrapping_sub(before)
    }
}

/// The echo message of an order's packet; none if the packet can't be written.
fn write<'a>(
    packet: &'a mut [u8],
    order: &ProbeOrder,
    cookie: [u32; COOKIE_WORDS],
) -> Option<&'a [u8]> {
    let bare = ProbeOrder {
        link: LinkHeader::Bare,
        ..*order
    };
    let payload = Payload {
        slot: order.slot.0,
        cookie,
    };
    let bytes = packet::write(packet, &bare, &payload)?;
    let icmp_bytes = ICMP_HEADER_BYTES + usize::from(order.payload_bytes);
    Some(&packet[bytes - icmp_bytes..bytes])
}

fn open(ipv6: bool, ifindex: Ifindex) -> io::Result<OwnedFd> {
    let (family, protocol) = if ipv6 {
        (libc::AF_INET6, libc::IPPROTO_ICMPV6)
    } else {
        (libc::AF_INET, libc::IPPROTO_ICMP)
    };
    let socket = inbox::open(family, libc::SOCK_DGRAM, protocol)?;
    let number = ifindex.0 as i32;
    set_option(socket.as_fd(), libc::SOL_SOCKET, SO_BINDTOIFINDEX, &number)?;
    Ok(socket)
}

fn bind(socket: &OwnedFd, source: IpAddr, ifindex: Ifindex) -> io::Result<()> {
    let (address, length) = raw_address(source, ifindex);
    // SAFETY: the address outlives the call, and its length is right.
    let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
    ok(bound as isize)
}

fn send_to(socket: &OwnedFd, message: &[u8], order: &ProbeOrder) -> io::Result<()> {
    let (address, length) = raw_address(order.target, order.ifindex);
    // SAFETY: the message and the address outlive the call, and their lengths are right.
    ok(unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            message.as_ptr().cast(),
            message.len(),
            libc::MSG_DONTWAIT,
            (&raw const address).cast(),
            length,
        )
    })
}

/// The identifier that the kernel has chosen stands where a port would.
fn ident(socket: &OwnedFd) -> io::Result<u16> {
    // SAFETY: a socket address is plain numbers, for which zero is a value.
    let mut address: libc::sockaddr_storage = unsafe { mem::zeroed() };
    let mut length = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    // SAFETY: the address outlives the call, and its length is right.
    let named = unsafe {
        libc::getsockname(
            socket.as_raw_fd(),
            (&raw mut address).cast(),
            &raw mut length,
        )
    };
    ok(named as isize)?;
    // SAFETY: in both families the port follows the family, and the storage is larger than either.
    let address: libc::sockaddr_in =
        unsafe { (&raw const address).cast::<libc::sockaddr_in>().read() };
    Ok(u16::from_be(address.sin_port))
}

fn raw_address(address: IpAddr, ifindex: Ifindex) -> (libc::sockaddr_storage, libc::socklen_t) {
    // SAFETY: a socket address is plain numbers, for which zero is a value.
    let mut storage: libc::sockaddr_storage = unsafe { mem::zeroed() };
    let place = &raw mut storage;
    let length = match address {
        IpAddr::V4(address) => {
            let raw = libc::sockaddr_in {
                sin_family: libc::AF_INET as u16,
                sin_port: 0,
                sin_addr: libc::in_addr {
                    s_addr: u32::from_ne_bytes(address.octets()),
                },
                sin_zero: [0; 8],
            };
            // SAFETY: the storage is large enough for any address, and aligned for it.
            unsafe { place.cast::<libc::sockaddr_in>().write(raw) };
            size_of::<libc::sockaddr_in>()
        }
        IpAddr::V6(address) => {
            let raw = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as u16,
                sin6_port: 0,
                sin6_flowinfo: 0,
                sin6_addr: libc::in6_addr {
                    s6_addr: address.octets(),
                },
                // A link-local address means nothing without its link; of any other address the kernel does not ask.
                sin6_scope_id: ifindex.0,
            };
            // SAFETY: as above.
            unsafe { place.cast::<libc::sockaddr_in6>().write(raw) };
            size_of::<libc::sockaddr_in6>()
        }
    };
    (storage, length as libc::socklen_t)
}

fn ok(result: isize) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

fn errno(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EIO)
}
