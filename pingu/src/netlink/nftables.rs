//! Whether any nftables ruleset has changed, without reading one.

use std::io;

use crate::netlink::{
    codec::attributes,
    netfilter::{FAMILY_HEADER_LEN, Netfilter, body},
};

/// `NFNL_SUBSYS_NFTABLES`.
const NFTABLES: u16 = 10 << 8;
/// `NFT_MSG_GETGEN`.
const GET_GENERATION: u16 = NFTABLES | 16;
/// `NFTA_GEN_ID`.
const GENERATION_ID: u16 = 1;

/// The number of the ruleset of this thread's namespace; every transaction of anybody moves it. The kernel answers while it is
/// asked, so this does not wait.
pub(crate) fn generation() -> io::Result<u32> {
    let mut socket = Netfilter::open()?;
    let mut request = Vec::new();
    let sequence = socket.push(&mut request, GET_GENERATION, 0, &body(0));
    socket.send(&request)?;
    let mut answers = socket.receive()?;
    let answer = answers
        .find(|answer| answer.sequence == sequence)
        .ok_or(io::ErrorKind::InvalidData)?;
    if let Some(errno) = answer.errno() {
        return Err(io::Error::from_raw_os_error(errno));
    }
    attributes(answer.body, FAMILY_HEADER_LEN)
        .find(|(kind, _)| *kind == GENERATION_ID)
        .and_then(|(_, value)| Some(u32::from_be_bytes(value.try_into().ok()?)))
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}
