//! One entry of the kernel's connection table: what of it tells whose it is, and the request that deletes it and nothing else.

use std::net::IpAddr;

use crate::netlink::{
    codec::{address, attributes, exact_attributes, push_attribute},
    conntrack::Selector,
    netfilter::{FAMILY_HEADER_LEN, body},
};

// `enum ctattr_type` (linux/netfilter/nfnetlink_conntrack.h).
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
pub(super) const CTA_MARK: u16 = 8;
const CTA_ID: u16 = 12;
const CTA_ZONE: u16 = 18;
pub(super) const CTA_MARK_MASK: u16 = 21;

// `enum ctattr_tuple` and `enum ctattr_ip`.
const CTA_TUPLE_IP: u16 = 1;
const CTA_IP_V4_SRC: u16 = 1;
const CTA_IP_V4_DST: u16 = 2;
const CTA_IP_V6_SRC: u16 = 3;
const CTA_IP_V6_DST: u16 = 4;

/// The type's own bits of an attribute (`NLA_TYPE_MASK`).
const TYPE_MASK: u16 = 0x3fff;

/// An entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry<'a> {
    body: &'a [u8],
    mark: u32,
    original: Ends,
    reply: Ends,
}

/// Source and destination of one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ends {
    source: IpAddr,
    destination: IpAddr,
}

impl<'a> Entry<'a> {
    /// Reads the body of an `IPCTNL_MSG_CT_NEW`.
    pub(super) fn read(body: &'a [u8]) -> Option<Self> {
        let (mut mark, mut original, mut reply) = (0, None, None);
        for (kind, value) in attributes(body, FAMILY_HEADER_LEN) {
            match kind {
                CTA_MARK => mark = u32::from_be_bytes(value.try_into().ok()?),
                CTA_TUPLE_ORIG => original = ends(value),
                CTA_TUPLE_REPLY => reply = ends(value),
                _ => {}
            }
        }
        Some(Self {
            body,
            mark,
            original: original?,
            reply: reply?,
        })
    }

    /// Whether the flow used the selector's uplink.
    pub(super) fn belongs_to(&self, selector: &Selector) -> bool {
        let Ends {
            source,
            destination,
        } = self.original;
        if source.is_loopback() || destination.is_loopback() {
            return false;
        }
        if let Some(mark) = selector.mark
            && mark.mask != 0
            && self.mark & mark.mask == mark.value
        {
            return true;
        }
        let is_own = |ip: IpAddr| selector.addresses.contains(&ip);
        let is_here = |ip| is_own(ip) || selector.inside.iter().any(|net| net.contains(&ip));
        if is_here(source) && is_here(destination) {
            return false;
        }
        is_own(source) || is_own(destination) || is_own(self.reply.destination)
    }

    /// The body of the `IPCTNL_MSG_CT_DELETE` of this very entry: by its tuple as the kernel wrote it, with its zone, and its id
    /// so that an entry that took its place in between stays.
    pub(super) fn deletion(&self) -> Vec<u8> {
        let mut request = body(self.body[0]);
        let mut has_tuple = false;
        for (kind, value) in exact_attributes(self.body, FAMILY_HEADER_LEN) {
            let plain = kind & TYPE_MASK;
            if matches!(plain, CTA_TUPLE_ORIG | CTA_ZONE | CTA_ID) {
                push_attribute(&mut request, kind, value);
                has_tuple |= plain == CTA_TUPLE_ORIG;
            }
        }
        // A deletion without a tuple is a flush of everything.
        assert!(has_tuple, "an entry is read with its tuple or not at all");
        request
    }
}

fn ends(tuple: &[u8]) -> Option<Ends> {
    let (_, addresses) = attributes(tuple, 0).find(|(kind, _)| *kind == CTA_TUPLE_IP)?;
    let (mut source, mut destination) = (None, None);
    for (kind, value) in attributes(addresses, 0) {
        match kind {
            CTA_IP_V4_SRC | CTA_IP_V6_SRC => source = address(value),
            CTA_IP_V4_DST | CTA_IP_V6_DST => destination = address(value),
            _ => {}
        }
    }
    Some(Ends {
        source: source?,
        destination: destination?,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        config::FirewallMark,
        netlink::codec::{INET, push_address},
    };

    const NESTED: u16 = 0x8000;
    const UPLINK: &str = "10.0.0.2";

    fn tuple(source: &str, destination: &str) -> Vec<u8> {
        let (mut ip, mut tuple) = (Vec::new(), Vec::new());
        push_address(&mut ip, CTA_IP_V4_SRC, source.parse().unwrap());
        push_address(&mut ip, CTA_IP_V4_DST, destination.parse().unwrap());
        push_attribute(&mut tuple, CTA_TUPLE_IP | NESTED, &ip);
        push_attribute(&mut tuple, 2 | NESTED, &[5, 0, 1, 0, 6, 0, 0, 0]);
        tuple
    }

    fn message(original: (&str, &str), reply: (&str, &str), mark: u32) -> Vec<u8> {
        let mut message = body(INET);
        push_attribute(
            &mut message,
            CTA_TUPLE_ORIG | NESTED,
            &tuple(original.0, original.1),
        );
        push_attribute(
            &mut message,
            CTA_TUPLE_REPLY | NESTED,
            &tuple(reply.0, reply.1),
        );
        push_attribute(&mut message, CTA_MARK, &mark.to_be_bytes());
        push_attribute(&mut message, CTA_ID, &[9, 8, 7, 6]);
        push_attribute(&mut message, CTA_ZONE, &[0, 3]);
        message
    }

    fn by_address() -> Selector {
        Selector {
            mark: None,
            addresses: vec![UPLINK.parse().unwrap()],
            inside: vec!["192.168.1.0/24".parse().unwrap()],
        }
    }

    #[test]
    fn an_entry_belongs_to_the_uplink_that_its_addresses_name() {
        let far = "198.51.100.1";
        for (original, reply, belongs) in [
            // A LAN host's, masqueraded.
            (("192.168.1.5", far), (far, UPLINK), true),
            // The router's own.
            ((UPLINK, far), (far, UPLINK), true),
            // In over the uplink, to the router and to a LAN host behind it.
            ((far, UPLINK), (UPLINK, far), true),
            ((far, UPLINK), ("192.168.1.5", far), true),
            // To the uplink's own network, such as its modem.
            (("192.168.1.5", "10.0.0.1"), ("10.0.0.1", UPLINK), true),
            // Over another uplink.
            (("192.168.1.5", far), (far, "10.1.0.2"), false),
            (("10.1.0.2", UPLINK), (UPLINK, "10.1.0.2"), true),
            // Within the router, and between it and the LAN.
            ((UPLINK, UPLINK), (UPLINK, UPLINK), false),
            (("192.168.1.5", UPLINK), (UPLINK, "192.168.1.5"), false),
            (
                ("192.168.1.5", UPLINK),
                ("192.168.1.6", "192.168.1.1"),
                false,
            ),
            (("127.0.0.1", UPLINK), (UPLINK, "127.0.0.1"), false),
            (
                ("192.168.1.5", "192.168.1.1"),
                ("192.168.1.1", "192.168.1.5"),
                false,
            ),
        ] {
            let message = message(original, reply, 0x200);
            let entry = Entry::read(&message).unwrap();
            assert_eq!(entry.belongs_to(&by_address()), belongs, "{original:?}");
            assert!(!entry.belongs_to(&Selector::default()));
        }
    }

    #[test]
    fn a_mark_counts_by_its_mask() {
        let mark = |value, mask| Selector {
            mark: Some(FirewallMark { value, mask }),
            ..Selector::default()
        };
        let flow = (
            ("192.168.1.5", "198.51.100.1"),
            ("198.51.100.1", "10.9.0.2"),
        );
        let marked = message(flow.0, flow.1, 0x1234);
        let entry = Entry::read(&marked).unwrap();
        assert!(entry.belongs_to(&mark(0x1200, 0xff00)));
        assert!(!entry.belongs_to(&mark(0x200, 0xff00)));
        assert!(!entry.belongs_to(&mark(0x1200, u32::MAX)));
        assert!(!entry.belongs_to(&mark(0, 0)));
        let local = message(
            ("127.0.0.1", "127.0.0.1"),
            ("127.0.0.1", "127.0.0.1"),
            0x1234,
        );
        let local = Entry::read(&local).unwrap();
        assert!(!local.belongs_to(&mark(0x1200, 0xff00)));
    }

    #[test]
    fn a_deletion_names_tuple_zone_and_id_as_the_kernel_wrote_them() {
        let message = message((UPLINK, "198.51.100.1"), ("198.51.100.1", UPLINK), 7);
        let mut expected = body(INET);
        let original = tuple(UPLINK, "198.51.100.1");
        push_attribute(&mut expected, CTA_TUPLE_ORIG | NESTED, &original);
        push_attribute(&mut expected, CTA_ID, &[9, 8, 7, 6]);
        push_attribute(&mut expected, CTA_ZONE, &[0, 3]);
        assert_eq!(Entry::read(&message).unwrap().deletion(), expected);
    }

    proptest! {
        #[test]
        fn damaged_entries_neither_panic_nor_lose_their_tuple(
            place in 0_usize..120, byte: u8, len in 0_usize..140,
        ) {
            let mut message = message((UPLINK, "198.51.100.1"), ("198.51.100.1", UPLINK), 7);
            if let Some(victim) = message.get_mut(place) {
                *victim = byte;
            }
            message.truncate(len);
            if let Some(entry) = Entry::read(&message) {
                entry.belongs_to(&by_address());
                let deletion = entry.deletion();
                let tuple = attributes(&deletion, FAMILY_HEADER_LEN).find(|(kind, _)| *kind == CTA_TUPLE_ORIG);
                prop_assert!(tuple.is_some_and(|(_, value)| !value.is_empty()));
            }
        }
    }
}
