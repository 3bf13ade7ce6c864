//! Dumps of route tables, read as they come: a table may hold a million routes of which a handful matter here, so nothing is copied
//! that is not kept, and reading may end early.

use std::{io, os::fd::AsRawFd, time::Duration};

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkBuffer, NetlinkHeader, NetlinkMessage,
    NetlinkPayload,
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use crate::netlink::{
    NetlinkError,
    codec::RawMessage,
    request::{ANSWER_TIMEOUT, DUMP_ATTEMPTS_MAX, MESSAGE_HEADER_LEN, refused},
};

/// Size in bytes of the largest datagram of a dump: the kernel makes none above 32 KiB, and no larger ones than the reader has room for.
const DATAGRAM_BYTES_MAX: usize = 64 << 10;

/// `NLMSG_ERROR`.
const ERROR: u16 = 2;

/// `NLMSG_DONE`.
const DONE: u16 = 3;

/// What becomes of a message of a dump.
#[derive(Debug)]
pub(crate) enum Sight<T> {
    /// It is kept.
    Keep(T),
    /// It does not matter.
    Pass,
    /// Neither it nor any that follows matters.
    Enough,
}

/// A socket for dumps, one at a time. The kernel fills a datagram whenever one is taken, in the calling thread: reading never waits
/// for anybody but the holder of the kernel's own locks.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    socket: Option<Socket>,
    sequence: u32,
    datagram: Vec<u8>,
}

/// How a dump ended.
enum End {
    Whole,
    /// The reader had enough: the socket holds the rest of it.
    Early,
    /// The table changed underneath.
    Interrupted,
}

impl Tables {
    /// Dumps a table in the calling thread's network namespace, again and again while it changes underneath.
    pub(crate) fn dump<T>(
        &mut self,
        what: &'static str,
        request: &RawMessage,
        mut see: impl FnMut(&[u8]) -> Sight<T>,
    ) -> Result<Vec<T>, NetlinkError> {
        let mut kept = Vec::new();
        for _ in 0..DUMP_ATTEMPTS_MAX {
            kept.clear();
            match self.read(what, request, &mut kept, &mut see) {
                Ok(End::Whole) => return Ok(kept),
                Ok(End::Early) => {
                    // The kernel forgets the rest of the dump with the socket.
                    self.socket = None;
                    return Ok(kept);
                }
                Ok(End::Interrupted) => self.socket = None,
                Err(error) => {
                    self.socket = None;
                    return Err(error);
                }
            }
        }
        Err(NetlinkError::Interrupted(what))
    }

    fn read<T>(
        &mut self,
        what: &'static str,
        request: &RawMessage,
        kept: &mut Vec<T>,
        see: &mut impl FnMut(&[u8]) -> Sight<T>,
    ) -> Result<End, NetlinkError> {
        self.ask(request)
            .map_err(|error| refused(what, error, &[]))?;
        let mut interrupted = false;
        loop {
            self.receive().map_err(|error| refused(what, error, &[]))?;
            let mut rest = self.datagram.as_slice();
            while let Ok(message) = NetlinkBuffer::new_checked(rest) {
                let length = (message.length() as usize).next_multiple_of(4);
                rest = rest.get(length..).unwrap_or_default();
                if message.sequence_number() != self.sequence {
                    continue;
                }
                interrupted |= message.flags() & NLM_F_DUMP_INTR != 0;
                let body = message.payload();
                match message.message_type() {
                    DONE => {
                        failure(what, body, size_of::<i32>())?;
                        let whole = !interrupted;
                        return Ok(if whole { End::Whole } else { End::Interrupted });
                    }
                    ERROR => failure(what, body, size_of::<i32>() + MESSAGE_HEADER_LEN)?,
                    _ => match see(body) {
                        Sight::Keep(one) => kept.push(one),
                        Sight::Pass => {}
                        Sight::Enough if interrupted => return Ok(End::Interrupted),
                        Sight::Enough => return Ok(End::Early),
                    },
                }
            }
        }
    }

    fn ask(&mut self, request: &RawMessage) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_DUMP;
        header.sequence_number = self.sequence;
        let payload = NetlinkPayload::InnerMessage(request.clone());
        let mut message = NetlinkMessage::new(header, payload);
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        let socket = match &mut self.socket {
            Some(socket) => socket,
            none => none.insert(open()?),
        };
        socket.send_to(&bytes, &SocketAddr::new(0, 0), 0).map(drop)
    }

    /// Waits for a datagram of the kernel's: any other process may send to this socket.
    fn receive(&mut self) -> io::Result<()> {
        let socket = self.socket.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        self.datagram.reserve(DATAGRAM_BYTES_MAX);
        loop {
            self.datagram.clear();
            let (_, from) = socket.recv_from(&mut self.datagram, 0)?;
            if from.port_number() == 0 {
                return Ok(());
            }
        }
    }
}

/// What an end or an error says: a negative errno, and the kernel's words behind so many bytes.
fn failure(what: &'static str, body: &[u8], text_at: usize) -> Result<(), NetlinkError> {
    let code = body.first_chunk().copied().map_or(0, i32::from_ne_bytes);
    if code >= 0 {
        return Ok(());
    }
    let text = body.get(text_at..).unwrap_or_default();
    Err(refused(what, io::Error::from_raw_os_error(-code), text))
}

fn open() -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    // Strict checks make the kernel filter dumps, and refuse what it would otherwise misread.
    socket.set_netlink_get_strict_chk(true)?;
    socket.set_ext_ack(true)?;
    socket.set_cap_ack(true)?;
    set_receive_timeout(&socket, ANSWER_TIMEOUT)?;
    Ok(socket)
}

fn set_receive_timeout(socket: &Socket, timeout: Duration) -> io::Result<()> {
    let value = libc::timeval {
        tv_sec: timeout.as_secs() as libc::time_t,
        tv_usec: timeout.subsec_micros().into(),
    };
    // SAFETY: the descriptor is open, and the option's value is a timeval of the size given.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVTIMEO,
            (&raw const value).cast(),
            size_of::<libc::timeval>() as libc::socklen_t,
        )
    };
    match set {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
