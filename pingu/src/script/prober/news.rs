//! Hears that interfaces, addresses or routes changed, and no more than that: what to know of them is asked anew.

use std::{io, os::fd::AsRawFd};

use netlink_sys::{Socket, protocols::NETLINK_ROUTE};

/// Receive buffer in bytes; an overrun does no harm, it is news, too.
const RECEIVE_BUFFER_BYTES: usize = 1 << 20;

/// Messages read in a row: a flood of them does not hold up probes, and what is left says again what is known already.
const READ_MAX: usize = 4_096;

const GROUPS: [u32; 8] = [
    libc::RTNLGRP_LINK,
    libc::RTNLGRP_IPV4_IFADDR,
    libc::RTNLGRP_IPV6_IFADDR,
    libc::RTNLGRP_IPV4_ROUTE,
    libc::RTNLGRP_IPV6_ROUTE,
    libc::RTNLGRP_NEXTHOP,
    libc::RTNLGRP_IPV4_RULE,
    libc::RTNLGRP_IPV6_RULE,
];

/// The kernel's announcements.
#[derive(Debug)]
pub(super) struct News(Socket);

/// What changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Changed {
    /// Links or addresses.
    pub(super) interfaces: bool,
    /// Anything that decides where packets go.
    pub(super) routes: bool,
}

impl News {
    /// Listens from here on, in the calling thread's network namespace.
    pub(super) fn new() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.set_rx_buf_sz(RECEIVE_BUFFER_BYTES as u32)?;
        socket.bind_auto()?;
        for group in GROUPS {
            socket.add_membership(group)?;
        }
        socket.set_non_blocking(true)?;
        Ok(Self(socket))
    }

    /// What changed since the last call. Changes that were made before the call are told by it.
    pub(super) fn take(&mut self) -> Changed {
        let mut changed = Changed::default();
        for _ in 0..READ_MAX {
            // The netlink header is enough; the kernel throws the rest away.
            let mut header = [0_u8; 16];
            // SAFETY: the buffer outlives the call, and its length is right.
            let bytes = unsafe {
                libc::recv(
                    self.0.as_raw_fd(),
                    header.as_mut_ptr().cast(),
                    header.len(),
                    libc::MSG_DONTWAIT,
                )
            };
            if bytes < 0 {
                match io::Error::last_os_error().raw_os_error() {
                    Some(libc::EINTR) => continue,
                    Some(libc::EAGAIN) => break,
                    // An overrun, or something as bad: anything may have changed.
                    _ => {
                        changed.interfaces = true;
                        changed.routes = true;
                        continue;
                    }
                }
            }
            changed.routes = true;
            changed.interfaces |= matches!(
                u16::from_ne_bytes([header[4], header[5]]),
                libc::RTM_NEWLINK | libc::RTM_DELLINK | libc::RTM_NEWADDR | libc::RTM_DELADDR
            );
        }
        changed
    }
}
