//! Many changes in few system calls: ten thousand prefixes move in the time that a hundred would take one by one.
//!
//! The kernel works through all messages of a datagram before the call returns, answers those that failed, and acknowledges the
//! last one that asks for it.

use std::{collections::HashMap, io};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_REQUEST, NetlinkBuffer, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use crate::netlink::codec::RawMessage;

/// Messages in a datagram. Each may be answered with an error, and all answers must fit the receive buffer.
const MESSAGES_MAX: usize = 512;

/// Receive buffer in bytes: an answer takes about 800 in the kernel.
const RECEIVE_BUFFER_BYTES: usize = 1 << 20;

/// Size in bytes of the largest answer: an error repeats the request's header only (`NETLINK_CAP_ACK`).
const ANSWER_BYTES_MAX: usize = 4096;

/// `NLMSG_ERROR`.
const ERROR: u16 = 2;

/// A socket for batches.
#[derive(Debug)]
pub(crate) struct Batch {
    socket: Socket,
    port: u32,
    sequence: u32,
}

impl Batch {
    /// Opens a socket in the calling thread's network namespace.
    pub(crate) fn new() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        let port = socket.bind_auto()?.port_number();
        socket.set_cap_ack(true)?;
        socket.set_netlink_get_strict_chk(true)?;
        socket.set_rx_buf_sz(RECEIVE_BUFFER_BYTES as libc::c_int)?;
        socket.set_non_blocking(true)?;
        Ok(Self {
            socket,
            port,
            sequence: 0,
        })
    }

    /// The socket's port.
    pub(crate) fn port(&self) -> u32 {
        self.port
    }

    /// Makes all changes, in order, and returns the errno of each; 0 is success.
    ///
    /// # Errors
    /// When the kernel takes or answers nothing; what was done until then is not known.
    pub(crate) fn change(&mut self, requests: &[(RawMessage, u16)]) -> io::Result<Vec<i32>> {
        let mut errnos = Vec::with_capacity(requests.len());
        for chunk in requests.chunks(MESSAGES_MAX) {
            errnos.extend(self.change_chunk(chunk)?);
        }
        Ok(errnos)
    }

    fn change_chunk(&mut self, requests: &[(RawMessage, u16)]) -> io::Result<Vec<i32>> {
        let mut datagram = Vec::new();
        let mut places = HashMap::with_capacity(requests.len());
        for (index, (request, flags)) in requests.iter().enumerate() {
            self.sequence = self.sequence.wrapping_add(1);
            places.insert(self.sequence, index);
            let is_last = index + 1 == requests.len();
            let mut header = NetlinkHeader::default();
            header.flags = NLM_F_REQUEST | flags | if is_last { NLM_F_ACK } else { 0 };
            header.sequence_number = self.sequence;
            let payload = NetlinkPayload::InnerMessage(request.clone());
            let mut message = NetlinkMessage::new(header, payload);
            message.finalize();
            let start = datagram.len();
            datagram.resize((start + message.buffer_len()).next_multiple_of(4), 0);
            message.serialize(&mut datagram[start..start + message.buffer_len()]);
        }
        let last = self.sequence;
        let sent = self.socket.send_to(&datagram, &SocketAddr::new(0, 0), 0)?;
        if sent != datagram.len() {
            return Err(io::ErrorKind::WriteZero.into());
        }
        let mut errnos = vec![0; requests.len()];
        loop {
            let (answer, from) = self.receive()?;
            if from.port_number() != 0 {
                continue;
            }
            if self.read(&answer, &places, last, &mut errnos) {
                return Ok(errnos);
            }
        }
    }

    /// The answers have been waiting since the sending call returned.
    fn receive(&self) -> io::Result<(Vec<u8>, SocketAddr)> {
        let mut buffer = Vec::with_capacity(ANSWER_BYTES_MAX);
        let (_, from) = self.socket.recv_from(&mut buffer, 0)?;
        Ok((buffer, from))
    }

    /// Notes the errors in a datagram of answers, and says whether the last request's answer was among them.
    fn read(
        &self,
        answer: &[u8],
        places: &HashMap<u32, usize>,
        last: u32,
        errnos: &mut [i32],
    ) -> bool {
        let mut rest = answer;
        let mut done = false;
        while let Ok(message) = NetlinkBuffer::new_checked(rest) {
            let sequence = message.sequence_number();
            let code = message.payload().first_chunk().copied();
            if message.message_type() == ERROR
                && let (Some(code), Some(&place)) = (code, places.get(&sequence))
            {
                errnos[place] = -i32::from_ne_bytes(code);
                done |= sequence == last;
            }
            let len = (message.length() as usize).next_multiple_of(4);
            rest = rest.get(len..).unwrap_or_default();
        }
        done
    }
}
