//! Many packets in one system call, each with the kernel's time of it, into buffers that are allocated once.

use std::{
    io, mem,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    ptr,
};

use crate::netlink::codec;

/// Packets taken at once. A probe's replies come in bursts of ten or a hundred; the buffers take 77 KB.
const BATCH: usize = 32;

/// Bytes kept of a packet: what the longest reply that counts has, with all headers and IP options.
pub(crate) const PACKET_BYTES_MAX: usize = 2_304;

/// Enough for all control messages that the sockets here ask for.
const CONTROL_BYTES: usize = 256;

/// `SO_TIMESTAMPING_NEW`, whose times have 64 bits on every machine.
const SO_TIMESTAMPING_NEW: i32 = 65;
/// `SO_EE_ORIGIN_ICMP` and `SO_EE_ORIGIN_ICMP6`.
const ICMP_ORIGINS: [u8; 2] = [2, 3];
/// `PACKET_TX_TIMESTAMP`: what a packet socket's error queue says beside the time.
const PACKET_TX_TIMESTAMP: i32 = 16;
const NS_PER_S: u64 = 1_000_000_000;

/// One packet, and what the kernel says of it.
pub(crate) struct Message<'a> {
    /// Its bytes, as many as were kept.
    pub(crate) packet: &'a [u8],
    /// How many it had.
    pub(crate) bytes: usize,
    /// When it passed the kernel's reception, or the head of its device's queue, in nanoseconds of `CLOCK_REALTIME`.
    pub(crate) time_ns: Option<u64>,
    /// The VLAN tag that the device or the kernel has taken out.
    pub(crate) tag: Option<u16>,
    /// Who sent it; only internet sockets say so.
    pub(crate) from: Option<std::net::IpAddr>,
    /// The interface that it came in by; only internet sockets say so.
    pub(crate) ifindex: Option<u32>,
    /// The address of this machine that it was sent to; only internet sockets say so.
    pub(crate) to: Option<std::net::IpAddr>,
    /// What the error queue says of it.
    pub(crate) error: Option<Extended>,
}

impl Message<'_> {
    /// Whether it is an error queue's word of an ICMP error, and not of a departure or of this machine's own refusal.
    pub(crate) fn is_icmp_error(&self) -> bool {
        let origin = self.error.map(|error| error.origin);
        origin.is_some_and(|origin| ICMP_ORIGINS.contains(&origin))
    }
}

/// `struct sock_extended_err`, and who caused it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extended {
    pub(crate) origin: u8,
    pub(crate) kind: u8,
    pub(crate) code: u8,
    pub(crate) offender: Option<std::net::IpAddr>,
}

/// Which of a socket's two queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Queue {
    /// What came in.
    Received,
    /// Times of what was sent, and errors.
    Errors,
}

/// The buffers.
pub(crate) struct Inbox {
    packets: Vec<[u8; PACKET_BYTES_MAX]>,
    controls: Vec<Control>,
    names: Vec<libc::sockaddr_storage>,
    vectors: Vec<libc::iovec>,
    messages: Vec<libc::mmsghdr>,
}

// SAFETY: the raw pointers in `vectors` and `messages` point into the other buffers, and are written anew before each use.
unsafe impl Send for Inbox {}

#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL_BYTES]);

impl Inbox {
    pub(crate) fn new() -> Self {
        // SAFETY: a socket address is plain numbers, for which zero is a value.
        let name: libc::sockaddr_storage = unsafe { mem::zeroed() };
        Self {
            packets: vec![[0; PACKET_BYTES_MAX]; BATCH],
            controls: vec![Control([0; CONTROL_BYTES]); BATCH],
            names: vec![name; BATCH],
            vectors: Vec::with_capacity(BATCH),
            messages: Vec::with_capacity(BATCH),
        }
    }

    /// Takes what waits in a queue, up to `packets_max`, and hands each packet over. Returns how many there were.
    pub(crate) fn take(
        &mut self,
        socket: BorrowedFd<'_>,
        queue: Queue,
        packets_max: usize,
        mut each: impl FnMut(&Message<'_>),
    ) -> io::Result<usize> {
        let mut taken = 0;
        while taken < packets_max {
            // A socket's error is told once, before what waits there: an interface that went down does not hide replies of before.
            let count = match self.receive(socket, queue) {
                Err(error) => {
                    tracing::debug!(%error, "a socket's error");
                    self.receive(socket, queue)?
                }
                Ok(count) => count,
            };
            for index in 0..count {
                each(&self.message(index));
            }
            taken += count;
            if count < BATCH {
                break;
            }
        }
        Ok(taken)
    }

    /// Takes what came in.
    pub(crate) fn take_received(
        &mut self,
        socket: BorrowedFd<'_>,
        packets_max: usize,
        each: impl FnMut(&Message<'_>),
    ) -> io::Result<usize> {
        self.take(socket, Queue::Received, packets_max, each)
    }

    fn receive(&mut self, socket: BorrowedFd<'_>, queue: Queue) -> io::Result<usize> {
        self.vectors.clear();
        self.messages.clear();
        self.vectors
            .extend(self.packets.iter_mut().map(|packet| libc::iovec {
                iov_base: packet.as_mut_ptr().cast(),
                iov_len: PACKET_BYTES_MAX,
            }));
        let parts = self.vectors.iter_mut().zip(&mut self.controls);
        for ((vector, control), name) in parts.zip(&mut self.names) {
            // SAFETY: all of these are integers or pointers, for which zero is a value.
            let mut message: libc::mmsghdr = unsafe { mem::zeroed() };
            message.msg_hdr.msg_iov = vector;
            message.msg_hdr.msg_iovlen = 1;
            message.msg_hdr.msg_control = control.0.as_mut_ptr().cast();
            message.msg_hdr.msg_controllen = CONTROL_BYTES as _;
            message.msg_hdr.msg_name = ptr::from_mut(name).cast();
            message.msg_hdr.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            self.messages.push(message);
        }
        let flags = libc::MSG_DONTWAIT
            | libc::MSG_TRUNC
            | match queue {
                Queue::Received => 0,
                Queue::Errors => libc::MSG_ERRQUEUE,
            };
        // SAFETY: every message points to one vector, one control buffer and one address that live as long as `self`, and each
        // vector into `packets`.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.messages.as_mut_ptr(),
                BATCH as u32,
                flags as _,
                ptr::null_mut(),
            )
        };
        if count >= 0 {
            return Ok(count as usize);
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EAGAIN | libc::EINTR) => Ok(0),
            _ => Err(error),
        }
    }

    fn message(&self, index: usize) -> Message<'_> {
        let header = &self.messages[index];
        let bytes = header.msg_len as usize;
        let mut message = Message {
            packet: &self.packets[index][..bytes.min(PACKET_BYTES_MAX)],
            bytes,
            time_ns: None,
            tag: None,
            from: address_in(&self.names[index], header.msg_hdr.msg_namelen as usize),
            ifindex: None,
            to: None,
            error: None,
        };
        let mut rest = &self.controls[index].0[..length(header.msg_hdr.msg_controllen)];
        while let Some((level, kind, data, next)) = control_message(rest) {
            message.note(level, kind, data);
            rest = next;
        }
        message
    }
}

impl Message<'_> {
    fn note(&mut self, level: i32, kind: i32, data: &[u8]) {
        match (level, kind) {
            (libc::SOL_SOCKET, SO_TIMESTAMPING_NEW) => {
                let (Some(seconds), Some(nanoseconds)) = (number(data, 0), number(data, 8)) else {
                    return;
                };
                let time_ns = seconds * NS_PER_S + nanoseconds;
                self.time_ns = (time_ns != 0).then_some(time_ns);
            }
            (libc::SOL_PACKET, libc::PACKET_AUXDATA) => {
                // `struct tpacket_auxdata`: status at 0, the tag at 16.
                let status = word(data, 0).unwrap_or(0);
                if status & libc::TP_STATUS_VLAN_VALID != 0 {
                    self.tag = half_word(data, 16);
                }
            }
            (libc::SOL_PACKET, PACKET_TX_TIMESTAMP)
            | (libc::SOL_IP, libc::IP_RECVERR)
            | (libc::SOL_IPV6, libc::IPV6_RECVERR) => self.error = extended(data),
            (libc::SOL_IP, libc::IP_PKTINFO) => {
                self.ifindex = word(data, 0);
                // `struct in_pktinfo`: the address of the header is the last of three numbers.
                self.to = data.get(8..).and_then(codec::address);
            }
            (libc::SOL_IPV6, libc::IPV6_PKTINFO) => {
                self.ifindex = word(data, 16);
                self.to = data.get(..16).and_then(codec::address);
            }
            _ => {}
        }
    }
}

/// `struct sock_extended_err` is 16 bytes, and the offender's address follows.
fn extended(data: &[u8]) -> Option<Extended> {
    let (head, address) = data.split_at_checked(16)?;
    Some(Extended {
        origin: head[4],
        kind: head[5],
        code: head[6],
        offender: address_of(address),
    })
}

/// The first control message, as level, kind and data, and what follows it.
fn control_message(control: &[u8]) -> Option<(i32, i32, &[u8], &[u8])> {
    const HEADER: usize = size_of::<libc::cmsghdr>();
    if control.len() < HEADER {
        return None;
    }
    // SAFETY: there are as many bytes, and the header is plain numbers.
    let header: libc::cmsghdr =
        unsafe { control.as_ptr().cast::<libc::cmsghdr>().read_unaligned() };
    let length = length(header.cmsg_len);
    let data = control.get(HEADER..length)?;
    let next = control.get(length.next_multiple_of(size_of::<usize>())..);
    Some((
        header.cmsg_level,
        header.cmsg_type,
        data,
        next.unwrap_or(&[]),
    ))
}

fn address_in(name: &libc::sockaddr_storage, bytes: usize) -> Option<std::net::IpAddr> {
    let bytes = bytes.min(size_of::<libc::sockaddr_storage>());
    // SAFETY: the address is as long, and plain numbers that were zero before the kernel wrote there.
    address_of(unsafe { std::slice::from_raw_parts(ptr::from_ref(name).cast(), bytes) })
}

/// The address in a `struct sockaddr_in` or `sockaddr_in6`.
fn address_of(bytes: &[u8]) -> Option<std::net::IpAddr> {
    match i32::from(half_word(bytes, 0)?) {
        libc::AF_INET => {
            let address: [u8; 4] = bytes.get(4..8)?.try_into().ok()?;
            Some(address.into())
        }
        libc::AF_INET6 => {
            let address: [u8; 16] = bytes.get(8..24)?.try_into().ok()?;
            Some(address.into())
        }
        _ => None,
    }
}

/// The kernel's lengths have different types with different C libraries.
fn length(bytes: impl TryInto<usize>) -> usize {
    bytes.try_into().unwrap_or(0)
}

fn half_word(data: &[u8], offset: usize) -> Option<u16> {
    let bytes = data.get(offset..offset + 2)?;
    Some(u16::from_ne_bytes(bytes.try_into().ok()?))
}

fn word(data: &[u8], offset: usize) -> Option<u32> {
    let bytes = data.get(offset..offset + 4)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

fn number(data: &[u8], offset: usize) -> Option<u64> {
    let bytes = data.get(offset..offset + 8)?;
    Some(u64::from_ne_bytes(bytes.try_into().ok()?))
}

/// Asks the kernel for times of what a socket sends or receives.
pub(crate) fn ask_for_times(socket: BorrowedFd<'_>, of: u32) -> io::Result<()> {
    set_option(
        socket,
        libc::SOL_SOCKET,
        SO_TIMESTAMPING_NEW,
        &(of | libc::SOF_TIMESTAMPING_SOFTWARE),
    )
}

/// Sets a socket option to a value of plain numbers.
pub(crate) fn set_option<T: Copy>(
    socket: BorrowedFd<'_>,
    level: i32,
    option: i32,
    value: &T,
) -> io::Result<()> {
    // SAFETY: the value outlives the call, and its length is right.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Opens a socket that never blocks and is nobody's after an exec.
pub(crate) fn open(family: i32, kind: i32, protocol: i32) -> io::Result<OwnedFd> {
    let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: a plain system call.
    let socket = unsafe { libc::socket(family, kind | flags, protocol) };
    if socket < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was opened just above and is nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(socket) })
}
