//! Single questions, asked and answered at once: the kernel answers within the system call that asks.

use std::io;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_REQUEST, NetlinkBuffer, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use crate::{
    netlink::{codec::RawMessage, dump},
    units::Ifindex,
};

/// Size in bytes of the largest answer to a single question.
const ANSWER_BYTES_MAX: usize = 32 << 10;

/// Datagrams that are read for one answer: any process may send some to this socket.
const DATAGRAMS_MAX: usize = 256;

/// The first interface of every namespace.
const LOOPBACK: Ifindex = Ifindex(1);

/// `NLMSG_ERROR`.
const ERROR: u16 = 2;

/// A socket for questions, in the network namespace of the thread that asks first.
#[derive(Debug, Default)]
pub(crate) struct Questions {
    socket: Option<Socket>,
    sequence: u32,
    datagram: Vec<u8>,
}

impl Questions {
    /// Asks the kernel; its refusal is an error with its errno.
    pub(crate) fn ask(&mut self, question: RawMessage) -> io::Result<RawMessage> {
        self.exchange(question, 0)
    }

    /// Waits until the kernel answers what it answers only while nobody else changes its network configuration.
    pub(crate) fn wait_for_lock(&mut self) -> io::Result<()> {
        match self.ask(dump::link_request(LOOPBACK)) {
            // A namespace need not have it.
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(()),
            answer => answer.map(drop),
        }
    }

    /// Has the kernel do something.
    pub(crate) fn order(&mut self, order: RawMessage, flags: u16) -> io::Result<()> {
        self.exchange(order, NLM_F_ACK | flags).map(drop)
    }

    fn exchange(&mut self, message: RawMessage, flags: u16) -> io::Result<RawMessage> {
        let answer = self.try_exchange(message, flags);
        if matches!(&answer, Err(error) if error.kind() == io::ErrorKind::WouldBlock) {
            // Whatever went wrong, the next question begins anew.
            self.socket = None;
        }
        answer
    }

    fn try_exchange(&mut self, question: RawMessage, flags: u16) -> io::Result<RawMessage> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(question));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        let socket = match &mut self.socket {
            Some(socket) => socket,
            none => none.insert(open()?),
        };
        socket.send_to(&bytes, &SocketAddr::new(0, 0), 0)?;
        self.datagram.reserve(ANSWER_BYTES_MAX);
        for _ in 0..DATAGRAMS_MAX {
            self.datagram.clear();
            let (_, from) = socket.recv_from(&mut self.datagram, 0)?;
            if from.port_number() != 0 {
                continue;
            }
            let Ok(answer) = NetlinkBuffer::new_checked(self.datagram.as_slice()) else {
                continue;
            };
            if answer.sequence_number() != self.sequence {
                continue;
            }
            let body = answer.payload();
            if answer.message_type() == ERROR {
                let code = body.first_chunk().copied().map_or(0, i32::from_ne_bytes);
                if code == 0 {
                    return Ok(RawMessage {
                        kind: ERROR,
                        body: Vec::new(),
                    });
                }
                return Err(io::Error::from_raw_os_error(-code));
            }
            return Ok(RawMessage {
                kind: answer.message_type(),
                body: body.to_vec(),
            });
        }
        Err(io::ErrorKind::WouldBlock.into())
    }
}

fn open() -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.set_netlink_get_strict_chk(true)?;
    socket.set_cap_ack(true)?;
    socket.set_non_blocking(true)?;

    Ok(socket)
}
