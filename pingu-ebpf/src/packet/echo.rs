//! ICMP and ICMPv6 echo messages.

use pingu_common::{ICMP_HEADER_BYTES, PAYLOAD_HEADER_BYTES, Payload};

use super::{
    Packet,
    icmp::{self, EchoHeader, Message},
    link::LinkLayer,
};

/// Bytes of the shortest echo message that can be a probe's.
pub const ECHO_BYTES_MIN: usize = ICMP_HEADER_BYTES + PAYLOAD_HEADER_BYTES;

/// One of the two echo messages.
#[derive(Clone, Copy)]
pub enum EchoKind {
    Request,
    Reply,
}

/// An ICMP or ICMPv6 echo message that is long enough to be a probe's.
pub struct Echo {
    pub message: Message,
    pub payload: Payload,
    /// In the packet's byte order.
    pub ident: u16,
    /// In the packet's byte order.
    pub sequence: u16,
}

impl EchoKind {
    #[inline(always)]
    fn number(self, ip_version: u32) -> u8 {
        match (self, ip_version) {
            (Self::Request, 4) => 8,
            (Self::Request, _) => 128,
            (Self::Reply, 4) => 0,
            (Self::Reply, _) => 129,
        }
    }

    /// Whether a header is that of this echo message.
    #[inline(always)]
    pub fn is(self, header: &EchoHeader, ip_version: u32) -> bool {
        header.kind == self.number(ip_version) && header.code == 0
    }
}

/// Reads a packet as an echo message of this kind; none if it is anything else.
#[inline(always)]
pub fn echo<L: LinkLayer, P: Packet>(packet: P, kind: EchoKind) -> Option<Echo> {
    echo_in(packet, icmp::message::<L, P>(packet)?, kind).ok()
}

/// Reads a message as an echo message of this kind, or gives it back.
#[inline(always)]
pub fn echo_in<P: Packet>(packet: P, message: Message, kind: EchoKind) -> Result<Echo, Message> {
    if message.icmp_bytes < ECHO_BYTES_MIN {
        return Err(message);
    }
    let Some(header) = packet.read::<EchoHeader>(message.icmp_offset) else {
        return Err(message);
    };
    if !kind.is(&header, message.ip_version) {
        return Err(message);
    }
    Ok(Echo {
        message,
        payload: header.payload,
        ident: header.ident,
        sequence: header.sequence,
    })
}
