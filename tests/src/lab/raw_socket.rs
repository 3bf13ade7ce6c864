//! The few raw sockets that the lab needs. A socket belongs to the namespace of the thread that opened it, for good.

use std::{
    io,
    mem::size_of,
    net::IpAddr,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    time::Duration,
};

/// A datagram-like socket, bound or connected, with a timeout on receiving.
pub struct RawSocket {
    fd: OwnedFd,
}

impl RawSocket {
    /// Whole frames of one interface, in both directions (`packet(7)`).
    pub fn frames(ifindex: u32, receive_timeout: Duration) -> io::Result<Self> {
        let protocol = (libc::ETH_P_ALL as u16).to_be();
        let socket = Self::open(
            libc::AF_PACKET,
            libc::SOCK_RAW,
            i32::from(protocol),
            receive_timeout,
        )?;
        // SAFETY: all zeroes is a valid sockaddr_ll.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = protocol;
        address.sll_ifindex = ifindex as i32;
        socket.bind(&address)?;
        Ok(socket)
    }

    /// ICMP messages to and from one host (`raw(7)`); what is received begins with the IPv4 header, or with the ICMPv6 one.
    pub fn icmp(peer: IpAddr, receive_timeout: Duration) -> io::Result<Self> {
        match peer {
            IpAddr::V4(v4) => {
                let socket = Self::open(
                    libc::AF_INET,
                    libc::SOCK_RAW,
                    libc::IPPROTO_ICMP,
                    receive_timeout,
                )?;
                // SAFETY: all zeroes is a valid sockaddr_in.
                let mut address: libc::sockaddr_in = unsafe { std::mem::zeroed() };
                address.sin_family = libc::AF_INET as u16;
                address.sin_addr.s_addr = u32::from_ne_bytes(v4.octets());
                socket.connect(&address)?;
                Ok(socket)
            }
            IpAddr::V6(v6) => {
                let socket = Self::open(
                    libc::AF_INET6,
                    libc::SOCK_RAW,
                    libc::IPPROTO_ICMPV6,
                    receive_timeout,
                )?;
                // SAFETY: all zeroes is a valid sockaddr_in6.
                let mut address: libc::sockaddr_in6 = unsafe { std::mem::zeroed() };
                address.sin6_family = libc::AF_INET6 as u16;
                address.sin6_addr.s6_addr = v6.octets();
                socket.connect(&address)?;
                Ok(socket)
            }
        }
    }

    /// The kernel's routing socket (`rtnetlink(7)`).
    pub fn rtnetlink(receive_timeout: Duration) -> io::Result<Self> {
        Self::open(
            libc::AF_NETLINK,
            libc::SOCK_RAW,
            libc::NETLINK_ROUTE,
            receive_timeout,
        )
    }

    /// Hears what the kernel announces to these groups.
    pub fn join(&self, groups: &[u32]) -> io::Result<()> {
        // To the kernel a socket without a port of its own is the one that it speaks for, and need not be told.
        // SAFETY: all zeroes is a valid sockaddr_nl.
        let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
        address.nl_family = libc::AF_NETLINK as u16;
        self.bind(&address)?;
        for group in groups {
            self.set(libc::SOL_NETLINK, libc::NETLINK_ADD_MEMBERSHIP, group)?;
        }
        Ok(())
    }

    /// Asks for so many bytes of receive buffer, beyond the system's limit.
    pub fn set_receive_buffer(&self, bytes: i32) -> io::Result<()> {
        self.set(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &bytes)
    }

    /// Sends one message.
    pub fn send(&self, message: &[u8]) -> io::Result<()> {
        // SAFETY: pointer and length describe the slice.
        let sent = unsafe {
            libc::send(
                self.fd.as_raw_fd(),
                message.as_ptr().cast(),
                message.len(),
                0,
            )
        };
        if sent < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        }
    }

    /// Receives one message; none when nothing came in time.
    pub fn receive<'a>(&self, buffer: &'a mut [u8]) -> io::Result<Option<&'a [u8]>> {
        // SAFETY: pointer and length describe the slice.
        let length = unsafe {
            libc::recv(
                self.fd.as_raw_fd(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                0,
            )
        };
        if length >= 0 {
            return Ok(Some(&buffer[..length as usize]));
        }
        let error = io::Error::last_os_error();
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(None),
            _ => Err(error),
        }
    }

    fn open(family: i32, kind: i32, protocol: i32, receive_timeout: Duration) -> io::Result<Self> {
        // SAFETY: a plain system call.
        let fd = unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, protocol) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is fresh and owned by nobody else.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let timeout = libc::timeval {
            tv_sec: receive_timeout.as_secs() as libc::time_t,
            tv_usec: receive_timeout.subsec_micros().into(),
        };
        let socket = Self { fd };
        socket.set(libc::SOL_SOCKET, libc::SO_RCVTIMEO, &timeout)?;
        Ok(socket)
    }

    fn set<V>(&self, level: i32, option: i32, value: &V) -> io::Result<()> {
        // SAFETY: pointer and length describe the value; the callers' types are what their options take.
        let set = unsafe {
            libc::setsockopt(
                self.fd.as_raw_fd(),
                level,
                option,
                (&raw const *value).cast(),
                size_of::<V>() as u32,
            )
        };
        match set {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    fn bind<A>(&self, address: &A) -> io::Result<()> {
        // SAFETY: pointer and length describe the address.
        match unsafe {
            libc::bind(
                self.fd.as_raw_fd(),
                (&raw const *address).cast(),
                size_of::<A>() as u32,
            )
        } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    fn connect<A>(&self, address: &A) -> io::Result<()> {
        // SAFETY: pointer and length describe the address.
        match unsafe {
            libc::connect(
                self.fd.as_raw_fd(),
                (&raw const *address).cast(),
                size_of::<A>() as u32,
            )
        } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}
