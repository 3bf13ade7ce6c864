//! A blocking socket to the kernel's netfilter (nfnetlink), for threads of their own and for questions that the kernel answers at
//! once. Messages are written and read as bytes.

use std::{io, mem::size_of_val, os::fd::AsRawFd, ptr};

use netlink_packet_core::{NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};

/// How long the kernel may be silent. It answers in microseconds; five seconds are a fault.
const ANSWER_TIMEOUT_S: libc::time_t = 5;

/// The kernel packs at most 32 KiB of a dump into one datagram (`netlink_dump`).
const DATAGRAM_BYTES_MAX: usize = 64 << 10;

/// Size in bytes of `struct nlmsghdr`.
const MESSAGE_HEADER_LEN: usize = 16;

/// Size in bytes of `struct nfgenmsg`.
pub(crate) const FAMILY_HEADER_LEN: usize = 4;

/// A message as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer<'a> {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) sequence: u32,
    /// Everything behind the netlink header: `struct nfgenmsg` and attributes, or an error.
    pub(crate) body: &'a [u8],
}

impl Answer<'_> {
    /// The errno of an error or of the end of a dump, 0 for success; none for any other message.
    pub(crate) fn errno(&self) -> Option<i32> {
        if !matches!(self.kind, NLMSG_ERROR | NLMSG_DONE) {
            return None;
        }
        let code = self
            .body
            .first_chunk()
            .map_or(0, |b| i32::from_ne_bytes(*b));
        Some(-code)
    }
}

/// The socket, in the network namespace of the thread that opened it.
#[derive(Debug)]
pub(crate) struct Netfilter {
    socket: Socket,
    buffer: Vec<u8>,
    sequence: u32,
}

impl Netfilter {
    pub(crate) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        socket.bind_auto()?;
        // Errors repeat no request: a whole batch's answers fit the receive buffer.
        socket.set_cap_ack(true)?;
        let timeout = libc::timeval {
            tv_sec: ANSWER_TIMEOUT_S,
            tv_usec: 0,
        };
        // SAFETY: the descriptor is open, and the pointer and the length are those of a live timeval.
        let done = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_RCVTIMEO,
                ptr::from_ref(&timeout).cast(),
                size_of_val(&timeout) as libc::socklen_t,
            )
        };
        if done != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self {
            socket,
            buffer: Vec::with_capacity(DATAGRAM_BYTES_MAX),
            sequence: 0,
        })
    }

    /// Appends a request to what will be sent at once, and gives its sequence number.
    pub(crate) fn push(&mut self, batch: &mut Vec<u8>, kind: u16, flags: u16, body: &[u8]) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        let len = u32::try_from(MESSAGE_HEADER_LEN + body.len())
            .expect("requests are some hundred bytes long");
        batch.extend_from_slice(&len.to_ne_bytes());
        batch.extend_from_slice(&kind.to_ne_bytes());
        batch.extend_from_slice(&(NLM_F_REQUEST | flags).to_ne_bytes());
        batch.extend_from_slice(&self.sequence.to_ne_bytes());
        batch.extend_from_slice(&[0; 4]);
        batch.extend_from_slice(body);
        batch.resize(batch.len().next_multiple_of(4), 0);
        self.sequence
    }

    pub(crate) fn send(&self, batch: &[u8]) -> io::Result<()> {
        self.socket
            .send_to(batch, &SocketAddr::new(0, 0), 0)
            .map(drop)
    }

    /// The next datagram of the kernel; what other processes sent is dropped.
    pub(crate) fn receive(&mut self) -> io::Result<impl Iterator<Item = Answer<'_>>> {
        loop {
            self.buffer.clear();
            match self.socket.recv_from(&mut self.buffer, 0) {
                Ok((_, sender)) if sender.port_number() == 0 => break,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(messages(&self.buffer))
    }
}

/// The messages of a datagram; a damaged one ends them.
fn messages(mut datagram: &[u8]) -> impl Iterator<Item = Answer<'_>> {
    std::iter::from_fn(move || {
        let header: &[u8; MESSAGE_HEADER_LEN] = datagram.first_chunk()?;
        let [l0, l1, l2, l3, k0, k1, f0, f1, s0, s1, s2, s3, ..] = *header;
        let len = u32::from_ne_bytes([l0, l1, l2, l3]) as usize;
        let body = datagram.get(MESSAGE_HEADER_LEN..len)?;
        datagram = datagram.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some(Answer {
            kind: u16::from_ne_bytes([k0, k1]),
            flags: u16::from_ne_bytes([f0, f1]),
            sequence: u32::from_ne_bytes([s0, s1, s2, s3]),
            body,
        })
    })
}

/// Starts a body: `struct nfgenmsg` of an address family, 0 for any.
pub(crate) fn body(family: u8) -> Vec<u8> {
    vec![family, 0, 0, 0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_is_read_up_to_what_is_damaged() {
        let mut batch = Vec::new();
        for (kind, body) in [
            (0x100, &[1, 2, 3, 4, 5][..]),
            (3, &[0xfe, 0xff, 0xff, 0xff]),
        ] {
            let len = (MESSAGE_HEADER_LEN + body.len()) as u32;
            batch.extend_from_slice(&len.to_ne_bytes());
            batch.extend_from_slice(&u16::to_ne_bytes(kind));
            batch.extend_from_slice(&[0; 10]);
            batch.extend_from_slice(body);
            batch.resize(batch.len().next_multiple_of(4), 0);
        }
        let whole: Vec<_> = messages(&batch).collect();
        assert_eq!(whole.len(), 2);
        assert_eq!((whole[0].kind, whole[0].body.len()), (0x100, 5));
        assert_eq!((whole[0].errno(), whole[1].errno()), (None, Some(2)));
        for cut in 0..batch.len() {
            assert!(messages(&batch[..cut]).count() < 2);
        }
        batch[0] = 3;
        assert_eq!(messages(&batch).count(), 0);
    }
}
