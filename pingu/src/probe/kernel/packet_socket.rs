//! The packet sockets that probes leave by.

use std::{
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    ptr,
};

use pingu_common::MARK;

use crate::units::Ifindex;

/// Opens a socket that sends by one interface and receives nothing; `bare` is one without link header.
pub(super) fn open(ifindex: Ifindex, bare: bool) -> io::Result<OwnedFd> {
    let kind = if bare {
        libc::SOCK_DGRAM
    } else {
        libc::SOCK_RAW
    };
    let socket = unbound(kind)?;
    let address = address(ifindex, 0);
    // SAFETY: the address outlives the call, and its length is right.
    let bound = unsafe {
        libc::bind(
            socket.as_raw_fd(),
            ptr::from_ref(&address).cast(),
            size_of::<libc::sockaddr_ll>() as libc::socklen_t,
        )
    };
    if bound != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(socket)
}

/// Opens a socket that sends whole frames by whatever interface each of them names, and receives nothing.
pub(super) fn open_for_all() -> io::Result<OwnedFd> {
    unbound(libc::SOCK_RAW)
}

fn unbound(kind: libc::c_int) -> io::Result<OwnedFd> {
    // Protocol 0 receives nothing: the kernel copies no packet to the socket.
    // SAFETY: a plain system call.
    let socket = unsafe {
        libc::socket(
            libc::AF_PACKET,
            kind | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK,
            0,
        )
    };
    if socket < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was opened just above and is nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(socket) })
}

/// By the mark the egress program knows its own.
pub(super) fn mark(socket: &OwnedFd) -> io::Result<()> {
    let mark = MARK;
    // SAFETY: the option is a number of four bytes that outlives the call.
    let marked = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MARK,
            ptr::from_ref(&mark).cast(),
            size_of::<u32>() as libc::socklen_t,
        )
    };
    if marked == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// The address of frames of this type that leave by an interface.
pub(super) fn address(ifindex: Ifindex, ether_type: u16) -> libc::sockaddr_ll {
    libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: ether_type.to_be(),
        sll_ifindex: ifindex.0 as i32,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    }
}
