//! One request at a time over a netlink socket: dumps that are whole, acknowledgements with the kernel's own words.

use std::{io, time::Duration};

use futures_util::StreamExt;
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage,
    NetlinkPayload,
};
use netlink_proto::{
    ConnectionHandle,
    sys::{AsyncSocket, SocketAddr, protocols::NETLINK_ROUTE},
};

use crate::netlink::{
    NetlinkError,
    codec::{RawMessage, attributes},
};

/// How long the kernel may be silent within one request. It answers in microseconds, or milliseconds while somebody else holds
/// the lock of all network configuration; five seconds are a fault, and waiting longer would hide it.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// How often an interrupted dump is repeated. Each repetition needs a change of the same table within the milliseconds of a
/// dump: eight in a row mean that the table never rests, and the caller's next look comes soon anyway.
pub(crate) const DUMP_ATTEMPTS_MAX: usize = 8;

/// `NLMSGERR_ATTR_MSG`: the kernel's words on an error.
const EXTENDED_ACK_TEXT: u16 = 1;

/// Size in bytes of `struct nlmsghdr`, which a capped error repeats.
pub(crate) const MESSAGE_HEADER_LEN: usize = 16;

/// A socket for requests and the task that serves it.
#[derive(Debug)]
pub(crate) struct Requests {
    handle: ConnectionHandle<RawMessage>,
    /// The socket's port: who asked, in the kernel's announcements.
    port: u32,
}

impl Requests {
    /// Opens a socket and spawns its task on the current runtime.
    pub(crate) fn new() -> io::Result<Self> {
        let (mut connection, handle, _unsolicited) =
            netlink_proto::new_connection::<RawMessage>(NETLINK_ROUTE)?;
        let socket = connection.socket_mut().socket_mut();
        // Strict checks make the kernel filter dumps, and refuse what it would otherwise misread.
        socket.set_netlink_get_strict_chk(true)?;
        socket.set_ext_ack(true)?;
        socket.set_cap_ack(true)?;
        // The end of a dump carries the interruption flag or an error; without acknowledgements an answer and a dead
        // connection would look alike.
        connection.set_forward_done(true);
        connection.set_forward_ack(true);
        let port = connection
            .socket_mut()
            .socket_mut()
            .bind_auto()?
            .port_number();
        tokio::spawn(connection);
        Ok(Self { handle, port })
    }

    /// The socket's port.
    pub(crate) fn port(&self) -> u32 {
        self.port
    }

    /// Dumps a table, again and again while it changes underneath.
    pub(crate) async fn dump(
        &mut self,
        what: &'static str,
        request: &RawMessage,
    ) -> Result<Vec<RawMessage>, NetlinkError> {
        for _ in 0..DUMP_ATTEMPTS_MAX {
            let answers = self.ask(what, request.clone(), NLM_F_DUMP).await?;
            if let Some(answers) = answers {
                return Ok(answers);
            }
        }
        Err(NetlinkError::Interrupted(what))
    }

    /// Asks for a change and waits for its acknowledgement.
    pub(crate) async fn change(
        &mut self,
        what: &str,
        request: RawMessage,
        flags: u16,
    ) -> Result<(), NetlinkError> {
        self.ask(what, request, flags | NLM_F_ACK).await.map(drop)
    }

    /// Sends a request and collects its answers; `None` if they are not of one moment.
    async fn ask(
        &mut self,
        what: &str,
        request: RawMessage,
        flags: u16,
    ) -> Result<Option<Vec<RawMessage>>, NetlinkError> {
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        let message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(request));
        let kernel = SocketAddr::new(0, 0);
        let mut answers = self
            .handle
            .request(message, kernel)
            .map_err(|_| NetlinkError::Closed)?;
        let mut collected = Vec::new();
        let mut interrupted = false;
        loop {
            let answer = tokio::time::timeout(ANSWER_TIMEOUT, answers.next())
                .await
                .map_err(|_| refused(what, io::ErrorKind::TimedOut.into(), &[]))?
                .ok_or(NetlinkError::Closed)?;
            interrupted |= answer.header.flags & NLM_F_DUMP_INTR != 0;
            match answer.payload {
                NetlinkPayload::InnerMessage(inner) => collected.push(inner),
                NetlinkPayload::Done(done) if done.code < 0 => {
                    let source = io::Error::from_raw_os_error(-done.code);
                    return Err(refused(what, source, &done.extended_ack));
                }
                NetlinkPayload::Error(error) if error.code.is_some() => {
                    let text = error.header.get(MESSAGE_HEADER_LEN..).unwrap_or_default();
                    return Err(refused(what, error.to_io(), text));
                }
                NetlinkPayload::Done(_) | NetlinkPayload::Error(_) => break,
                _ => {}
            }
        }
        Ok((!interrupted).then_some(collected))
    }
}

/// What the kernel refused, with its own words among these attributes.
pub(crate) fn refused(what: &str, source: io::Error, extended_ack: &[u8]) -> NetlinkError {
    let hint = attributes(extended_ack, 0)
        .find(|(kind, _)| *kind == EXTENDED_ACK_TEXT)
        .map(|(_, text)| {
            String::from_utf8_lossy(text)
                .trim_end_matches('\0')
                .to_owned()
        });
    NetlinkError::Refused {
        what: what.to_owned(),
        source,
        hint,
    }
}
