//! The sockets that replies of one interface wait in. They see a packet before every hook of traffic control, and consume nothing.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
};

use super::{
    filter::{self, Passes},
    inbox::{self, ask_for_times, set_option},
};
use crate::units::Ifindex;

/// What a queued reply costs, by the kernel's own count, and a little more.
const QUEUED_REPLY_BYTES: usize = 1_024;

/// However few slots there are.
const QUEUE_BYTES_MIN: usize = 256 * 1024;

/// However many slots there are: what waits is read at every turn of the loop. Memory is taken by what waits alone.
const QUEUE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Replies that are none of ours say little, and may overflow.
const STRAY_QUEUE_BYTES: usize = 64 * 1024;

/// Whoever only counts reads nothing: the kernel gives the least that it has, and goes on counting when that is full.
const QUEUE_BYTES_LEAST: usize = 0;

const PACKET_STATISTICS: i32 = 6;

/// `ETH_P_ALL`: the only protocol whose sockets see tagged frames, too.
const EVERY_PROTOCOL: u16 = 0x0003;

/// A receiving packet socket.
pub(in crate::probe) struct Tap {
    pub(in crate::probe) socket: OwnedFd,
    pub(in crate::probe) bare: bool,
}

impl Tap {
    /// Opens one whose queue holds the replies to so many probes.
    pub(super) fn open(
        ifindex: Ifindex,
        bare: bool,
        passes: Passes,
        probes: u32,
    ) -> io::Result<Self> {
        let queue_bytes = match passes {
            Passes::OtherReplies(_) => STRAY_QUEUE_BYTES,
            Passes::Traffic(_) => QUEUE_BYTES_LEAST,
            Passes::Own(_) | Passes::AllReplies => {
                (probes as usize * QUEUED_REPLY_BYTES).clamp(QUEUE_BYTES_MIN, QUEUE_BYTES_MAX)
            }
        };
        let kind = if bare {
            libc::SOCK_DGRAM
        } else {
            libc::SOCK_RAW
        };
        // Protocol 0 receives nothing until the filter is in place and the socket is bound.
        let socket = inbox::open(libc::AF_PACKET, kind, 0)?;
        let fd = socket.as_fd();
        filter::attach(fd, passes, bare)?;
        ask_for_times(fd, libc::SOF_TIMESTAMPING_RX_SOFTWARE)?;
        set_option(fd, libc::SOL_PACKET, libc::PACKET_AUXDATA, &1_i32)?;
        set_option(fd, libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, &1_i32)?;
        // The kernel doubles the number. Without CAP_NET_ADMIN the administrator's limit holds.
        let half = (queue_bytes / 2) as i32;
        set_option(fd, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &half)
            .or_else(|_| set_option(fd, libc::SOL_SOCKET, libc::SO_RCVBUF, &half))?;
        bind(&socket, ifindex)?;
        Ok(Self { socket, bare })
    }

    /// Opens one for all echo replies.
    pub(in crate::probe) fn open_to_all(
        ifindex: Ifindex,
        bare: bool,
        probes: u32,
    ) -> io::Result<Self> {
        Self::open(ifindex, bare, Passes::AllReplies, probes)
    }

    /// How many packets found no room since the last call.
    pub(super) fn overflowed(&self) -> io::Result<u32> {
        Ok(self.statistics()?.drops)
    }

    /// How many packets have passed the filter since the last call, with room or without.
    pub(super) fn passed(&self) -> io::Result<u32> {
        Ok(self.statistics()?.packets)
    }

    /// What the kernel has counted since the last call.
    fn statistics(&self) -> io::Result<Statistics> {
        let mut statistics = Statistics::default();
        let mut length = size_of::<Statistics>() as libc::socklen_t;
        // SAFETY: the value outlives the call, and its length is right.
        let result = unsafe {
            libc::getsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_PACKET,
                PACKET_STATISTICS,
                (&raw mut statistics).cast(),
                &raw mut length,
            )
        };
        if result == 0 {
            Ok(statistics)
        } else {
            Err(io::Error::last_os_error())
        }
    }
}

/// `struct tpacket_stats`; `packets` has the dropped ones, too.
#[repr(C)]
#[derive(Default)]
struct Statistics {
    packets: u32,
    drops: u32,
}

fn bind(socket: &OwnedFd, ifindex: Ifindex) -> io::Result<()> {
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: EVERY_PROTOCOL.to_be(),
        sll_ifindex: ifindex.0 as i32,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    // SAFETY: the address outlives the call, and its length is right.
    let bound = unsafe {
        libc::bind(
            socket.as_raw_fd(),
            (&raw const address).cast(),
            size_of::<libc::sockaddr_ll>() as libc::socklen_t,
        )
    };
    if bound == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
