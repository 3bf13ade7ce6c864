//! A capture that disturbs nothing: a packet socket that nobody waits at. The kernel stamps and queues the echoes; they are read at the
//! end. A reader that is woken for each would delay the very packet that was just stamped.

use std::{
    io, mem,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

use anyhow::{Context, Result, ensure};

use crate::lab::{
    capture::{Exchange, exchanges},
    namespace::Namespace,
};

/// Each echo takes about a kilobyte in the queue.
const QUEUE_BYTES: i32 = 128 << 20;

/// More than the headers of an echo.
const FRAME_BYTES: usize = 128;

/// The first word of a capture file with nanoseconds, and its kind of link: Ethernet.
const PCAP_MAGIC_NS: u32 = 0xa1b2_3c4d;
const LINK_ETHERNET: u32 = 1;

/// The protocol of an IPv4 packet behind an Ethernet header, compared with ICMP: all but that is left out.
const ONLY_ICMP: [libc::sock_filter; 6] = [
    // Load the half-word at 12; unless it is IPv4, leave out.
    instruction(0x28, 0, 0, 12),
    instruction(0x15, 0, 3, 0x0800),
    // Load the byte at 23; unless it is ICMP, leave out.
    instruction(0x30, 0, 0, 23),
    instruction(0x15, 0, 1, 1),
    instruction(0x06, 0, 0, FRAME_BYTES as u32),
    instruction(0x06, 0, 0, 0),
];

/// A running capture.
pub(super) struct Tap {
    socket: OwnedFd,
}

impl Tap {
    /// Sees the IPv4 echoes of an interface from here on.
    pub(super) fn start(namespace: &Namespace, interface: &str) -> Result<Self> {
        let ifindex = namespace.ifindex(interface);
        let socket = namespace.enter(|| open(ifindex));
        let socket = socket.with_context(|| format!("cannot capture on {interface}"))?;
        Ok(Self { socket })
    }

    /// All that was seen.
    pub(super) fn finish(self) -> Result<Vec<Exchange>> {
        let mut file = Vec::new();
        for word in [PCAP_MAGIC_NS, 0, 0, 0, FRAME_BYTES as u32, LINK_ETHERNET] {
            file.extend(word.to_ne_bytes());
        }
        while let Some((time, frame)) = self.next()? {
            let bytes = frame.len() as u32;
            for word in [time.tv_sec as u32, time.tv_nsec as u32, bytes, bytes] {
                file.extend(word.to_ne_bytes());
            }
            file.extend(frame);
        }
        ensure!(self.dropped()? == 0, "the capture is not complete");
        Ok(exchanges(&file))
    }

    fn next(&self) -> Result<Option<(libc::timespec, Vec<u8>)>> {
        let mut frame = vec![0; FRAME_BYTES];
        let mut control = [0_u64; 16];
        let mut vector = libc::iovec {
            iov_base: frame.as_mut_ptr().cast(),
            iov_len: frame.len(),
        };
        // SAFETY: all of these are integers or pointers, for which zero is a value.
        let mut message: libc::msghdr = unsafe { mem::zeroed() };
        message.msg_iov = &mut vector;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of_val(&control);
        // SAFETY: the message points to buffers that live through the call, with their lengths.
        let read =
            unsafe { libc::recvmsg(self.socket.as_raw_fd(), &mut message, libc::MSG_DONTWAIT) };
        if read < 0 {
            let error = io::Error::last_os_error();
            return match error.kind() {
                io::ErrorKind::WouldBlock => Ok(None),
                _ => Err(error).context("the capture's socket"),
            };
        }
        frame.truncate(read as usize);
        // SAFETY: the kernel has filled the control buffer and told its length.
        let time = unsafe {
            let header = libc::CMSG_FIRSTHDR(&message);
            ensure!(
                !header.is_null() && (*header).cmsg_type == libc::SO_TIMESTAMPNS,
                "an echo without a time"
            );
            libc::CMSG_DATA(header)
                .cast::<libc::timespec>()
                .read_unaligned()
        };
        Ok(Some((time, frame)))
    }

    /// What did not fit into the queue.
    fn dropped(&self) -> Result<u32> {
        let mut statistics = [0_u32; 2];
        let mut bytes = size_of_val(&statistics) as libc::socklen_t;
        // SAFETY: pointer and length describe the array, as PACKET_STATISTICS takes it.
        let got = unsafe {
            libc::getsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                statistics.as_mut_ptr().cast(),
                &mut bytes,
            )
        };
        ensure!(
            got == 0,
            "PACKET_STATISTICS: {}",
            io::Error::last_os_error()
        );
        Ok(statistics[1])
    }
}

fn open(ifindex: u32) -> io::Result<OwnedFd> {
    // Of no protocol until it is bound: nothing is queued before the filter stands.
    // SAFETY: a plain system call, and the descriptor is nobody else's.
    let socket = unsafe {
        let socket = libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0);
        if socket < 0 {
            return Err(io::Error::last_os_error());
        }
        OwnedFd::from_raw_fd(socket)
    };
    let mut filter = ONLY_ICMP;
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_mut_ptr(),
    };
    set(&socket, libc::SO_ATTACH_FILTER, &program)?;
    set(&socket, libc::SO_RCVBUFFORCE, &QUEUE_BYTES)?;
    set(&socket, libc::SO_TIMESTAMPNS, &1_i32)?;
    // SAFETY: all zeroes is a valid sockaddr_ll.
    let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
    address.sll_ifindex = ifindex as i32;
    // SAFETY: pointer and length describe the address.
    let bound = unsafe {
        libc::bind(
            socket.as_raw_fd(),
            (&raw const address).cast(),
            size_of_val(&address) as libc::socklen_t,
        )
    };
    if bound != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(socket)
}

fn set<V>(socket: &OwnedFd, option: i32, value: &V) -> io::Result<()> {
    // SAFETY: pointer and length describe the value, of the type that the option takes.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            option,
            std::ptr::from_ref(value).cast(),
            size_of::<V>() as libc::socklen_t,
        )
    };
    match set {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

const fn instruction(code: u16, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter { code, jt, jf, k }
}
