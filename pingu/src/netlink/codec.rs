//! Bytes of rtnetlink messages: headers and attributes, read leniently and written exactly.
//!
//! Bodies stay bytes here. A typed decoder fails a whole message over one attribute it does not know, and a link or a route
//! that is missing from a dump for that reason would look as if it were gone.

use std::{
    convert::Infallible,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use netlink_packet_core::{
    NLA_HEADER_SIZE, NLA_TYPE_MASK, NetlinkDeserializable, NetlinkHeader, NetlinkSerializable,
    NlasIterator,
};

/// `AF_INET`, as the one byte that rtnetlink headers have for it.
pub(crate) const INET: u8 = libc::AF_INET as u8;
/// `AF_INET6`, as the one byte that rtnetlink headers have for it.
pub(crate) const INET6: u8 = libc::AF_INET6 as u8;

/// A message: its type and everything behind the netlink header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RawMessage {
    /// `nlmsg_type`, such as `RTM_NEWROUTE`.
    pub(crate) kind: u16,
    /// The family's header and the attributes.
    pub(crate) body: Vec<u8>,
}

impl NetlinkSerializable for RawMessage {
    fn message_type(&self) -> u16 {
        self.kind
    }

    fn buffer_len(&self) -> usize {
        self.body.len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        buffer.copy_from_slice(&self.body);
    }
}

impl NetlinkDeserializable for RawMessage {
    type Error = Infallible;

    fn deserialize(header: &NetlinkHeader, payload: &[u8]) -> Result<Self, Infallible> {
        Ok(Self {
            kind: header.message_type,
            body: payload.to_vec(),
        })
    }
}

/// `struct rtmsg`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RouteHeader {
    pub(crate) family: u8,
    pub(crate) destination_len: u8,
    pub(crate) source_len: u8,
    pub(crate) tos: u8,
    pub(crate) table: u8,
    pub(crate) protocol: u8,
    pub(crate) scope: u8,
    pub(crate) kind: u8,
    pub(crate) flags: u32,
}

impl RouteHeader {
    /// Its size in bytes.
    pub(crate) const LEN: usize = 12;

    /// Reads it from the front of a body.
    pub(crate) fn read(body: &[u8]) -> Option<Self> {
        let (bytes, _) = body.split_first_chunk::<{ Self::LEN }>()?;
        let [
            family,
            destination_len,
            source_len,
            tos,
            table,
            protocol,
            scope,
            kind,
            flags @ ..,
        ] = *bytes;
        Some(Self {
            family,
            destination_len,
            source_len,
            tos,
            table,
            protocol,
            scope,
            kind,
            flags: u32::from_ne_bytes(flags),
        })
    }

    /// Starts a body with it.
    pub(crate) fn write(&self) -> Vec<u8> {
        let mut body = vec![
            self.family,
            self.destination_len,
            self.source_len,
            self.tos,
            self.table,
            self.protocol,
            self.scope,
            self.kind,
        ];
        body.extend_from_slice(&self.flags.to_ne_bytes());
        body
    }
}

/// The attributes behind a header of so many bytes, by their type without flags; a damaged one ends them.
pub(crate) fn attributes(body: &[u8], header_len: usize) -> impl Iterator<Item = (u16, &[u8])> {
    exact_attributes(body, header_len).map(|(kind, value)| (kind & NLA_TYPE_MASK, value))
}

/// The same, with the types' flags as they are.
pub(crate) fn exact_attributes(
    body: &[u8],
    header_len: usize,
) -> impl Iterator<Item = (u16, &[u8])> {
    NlasIterator::new(body.get(header_len..).unwrap_or_default())
        .map_while(Result::ok)
        .map(|attribute| {
            let len = usize::from(attribute.length());
            let bytes = attribute.into_inner();
            let kind = u16::from_ne_bytes([bytes[2], bytes[3]]);
            (kind, &bytes[NLA_HEADER_SIZE..len])
        })
}

/// Every attribute, by its type without flags; `None` if one of them is damaged, or if not all bytes belong to one.
pub(crate) fn whole_attributes(bytes: &[u8]) -> Option<Vec<(u16, &[u8])>> {
    let mut all = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let len = usize::from(u16::from_ne_bytes(*rest.first_chunk()?));
        let attribute = rest.get(..len)?;
        let (header, value) = attribute.split_first_chunk::<NLA_HEADER_SIZE>()?;
        let kind = u16::from_ne_bytes([header[2], header[3]]);
        all.push((kind & NLA_TYPE_MASK, value));
        // The padding of the last one may be missing.
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    Some(all)
}

/// Appends an attribute, padded to the four bytes that netlink aligns to.
pub(crate) fn push_attribute(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let len = u16::try_from(NLA_HEADER_SIZE + value.len())
        .expect("attributes that pingu writes are a few bytes long, or come from the kernel");
    body.extend_from_slice(&len.to_ne_bytes());
    body.extend_from_slice(&kind.to_ne_bytes());
    body.extend_from_slice(value);
    body.resize(body.len().next_multiple_of(4), 0);
}

/// Appends an IP address as an attribute.
pub(crate) fn push_address(body: &mut Vec<u8>, kind: u16, address: IpAddr) {
    match address {
        IpAddr::V4(address) => push_attribute(body, kind, &address.octets()),
        IpAddr::V6(address) => push_attribute(body, kind, &address.octets()),
    }
}

/// A number in the machine's byte order.
pub(crate) fn number(value: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(value.try_into().ok()?))
}

/// An IP address, its family told by its length.
pub(crate) fn address(value: &[u8]) -> Option<IpAddr> {
    if let Ok(octets) = <[u8; 4]>::try_from(value) {
        return Some(Ipv4Addr::from(octets).into());
    }
    let octets = <[u8; 16]>::try_from(value).ok()?;
    Some(Ipv6Addr::from(octets).into())
}

/// The address family's number.
pub(crate) fn family(ipv6: bool) -> u8 {
    if ipv6 { INET6 } else { INET }
}
