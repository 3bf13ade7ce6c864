//! What a probe's payload carries behind [`Payload`](crate::Payload) when it asks for a reflection, and what a reflector's reply has
//! there. A host that is no reflector echoes the question, which is then no answer.

use core::mem::{offset_of, size_of};

use crate::PAYLOAD_HEADER_BYTES;

/// Stands in a request that asks for a reflection.
pub const MAGIC_REQUEST: [u8; 4] = *b"PGrq";

/// Stands in the reply of a reflector.
pub const MAGIC_REPLY: [u8; 4] = *b"PGrp";

/// What is written behind [`Payload`](crate::Payload). All numbers are big-endian; in a request all but the magic is 0.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reflection {
    /// [`MAGIC_REQUEST`] or [`MAGIC_REPLY`].
    pub magic: [u8; 4],
    /// When the request reached the reflector, in nanoseconds of its own clock.
    pub received_ns: [u8; 8],
    /// When the reply left it, in nanoseconds of the same clock.
    pub sent_ns: [u8; 8],
    /// How many requests of this path it had received by then, this one included; wraps.
    pub requests: [u8; 4],
}

/// Where a reflection begins in the ICMP payload.
pub const REFLECTION_OFFSET: usize = PAYLOAD_HEADER_BYTES;

/// Bytes of a reflection.
pub const REFLECTION_BYTES: usize = size_of::<Reflection>();

/// The smallest ICMP payload of a probe that asks for a reflection.
pub const PAYLOAD_BYTES_REFLECTED: u16 = (REFLECTION_OFFSET + REFLECTION_BYTES) as u16;

const _: () = {
    assert!(REFLECTION_OFFSET + offset_of!(Reflection, magic) == 20);
    assert!(REFLECTION_OFFSET + offset_of!(Reflection, received_ns) == 24);
    assert!(REFLECTION_OFFSET + offset_of!(Reflection, sent_ns) == 32);
    assert!(REFLECTION_OFFSET + offset_of!(Reflection, requests) == 40);
    assert!(PAYLOAD_BYTES_REFLECTED == 44);
};
