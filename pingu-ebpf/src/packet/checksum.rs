//! The Internet checksum of a message that may lie in pieces.

use pingu_common::{CHECKSUM_BLOCK_BYTES, CHECKSUM_BLOCKS_MAX};

use super::{Block, CHECKSUM_BLOCK_WORDS, PROTOCOL_ICMPV6, Packet, icmp::Message};

/// Where the two addresses of an IPv6 header begin.
const IPV6_ADDRESSES: usize = 8;
const IPV6_ADDRESS_WORDS: usize = 8;

/// How words are read.
pub trait Access {
    fn words<P: Packet, const WORDS: usize>(packet: P, offset: usize) -> Option<u64>;
}

/// Where they lie if they lie in one piece: quick.
pub struct Peeked;

/// By a call for each block: little for the verifier, for what is rare.
pub struct Loaded;

impl Access for Peeked {
    #[inline(always)]
    fn words<P: Packet, const WORDS: usize>(packet: P, offset: usize) -> Option<u64> {
        match packet.peek::<[u32; WORDS]>(offset) {
            // SAFETY: `peek` checked the bounds.
            Some(words) => Some(sum_of(unsafe { &*words })),
            None => packet
                .copy::<[u32; WORDS]>(offset)
                .map(|words| sum_of(&words)),
        }
    }
}

impl Access for Loaded {
    #[inline(always)]
    fn words<P: Packet, const WORDS: usize>(packet: P, offset: usize) -> Option<u64> {
        packet
            .load::<[u32; WORDS]>(offset)
            .map(|words| sum_of(&words))
    }
}

/// Whether the message's ICMP checksum is right (RFC 792, RFC 4443 §2.3). A message longer than any of ours is not.
#[inline(always)]
pub fn checksum_is_right<A: Access, P: Packet>(packet: P, message: &Message) -> bool {
    let Some(mut sum) = sum_message::<A, P>(packet, message.icmp_offset, message.icmp_bytes) else {
        return false;
    };
    if message.ip_version == 6 {
        let Some(addresses) =
            A::words::<P, IPV6_ADDRESS_WORDS>(packet, message.ip_offset + IPV6_ADDRESSES)
        else {
            return false;
        };
        sum += addresses;
        sum += u64::from((message.icmp_bytes as u32).to_be());
        sum += u64::from(u32::from(PROTOCOL_ICMPV6).to_be());
    }
    // 64 bits into 16: each step leaves a carry that the next one takes in.
    sum = (sum & 0xffff_ffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    sum == 0xffff
}

#[inline(always)]
fn sum_message<A: Access, P: Packet>(packet: P, start: usize, bytes: usize) -> Option<u64> {
    let mut sum = 0;
    let mut offset = start;
    let mut left = bytes;
    for _ in 0..CHECKSUM_BLOCKS_MAX {
        if left < CHECKSUM_BLOCK_BYTES {
            break;
        }
        sum += A::words::<P, CHECKSUM_BLOCK_WORDS>(packet, offset)?;
        offset += CHECKSUM_BLOCK_BYTES;
        left -= CHECKSUM_BLOCK_BYTES;
    }
    if left != 0 {
        let mut tail: Block = [0; CHECKSUM_BLOCK_WORDS];
        if left >= CHECKSUM_BLOCK_BYTES || !packet.copy_part(offset, left, &mut tail) {
            return None;
        }
        sum += sum_of(&tail);
    }
    Some(sum)
}

/// Fixed in number, so that the compiler unrolls it and the verifier sees no loop.
#[inline(always)]
fn sum_of<const WORDS: usize>(words: &[u32; WORDS]) -> u64 {
    let mut sum = 0;
    for word in words {
        sum += u64::from(*word);
    }
    sum
}
