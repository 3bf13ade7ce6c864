//! The engine without eBPF judges packets by the same rules: whatever the programs are shown, it is shown as well.

use std::net::IpAddr;

use pingu::{
    probe::socket::reply::{self, Arrival, Verdict},
    units::{Ifindex, SlotId},
};
use pingu_common::{Slot, VlanIds};

use crate::{
    harness::{IFINDEX, Receiver, SENT_NS},
    reference::{Decision, Entry, Judged},
};

/// Demands that the socket engine's verdict is the reference's, the outer VLAN tag being in the packet or taken out of it.
pub fn check(receiver: Receiver, packet: &[u8], entries: &[Entry], expected: &Judged) {
    let arrival = Arrival {
        packet,
        bytes: packet.len(),
        bare: !receiver.has_ethernet(),
        tag: None,
        ifindex: Ifindex(IFINDEX),
    };
    let expected = verdict(expected);
    let slot = |id: SlotId| entries.get(id.0 as usize).map(slot);
    let judged = reply::judge(&arrival, slot);
    assert_eq!(judged, expected, "{packet:02x?}\n{entries:?}");
    if let Some([0x81, 0x00, high, low] | [0x88, 0xa8, high, low]) = packet.get(12..16)
        && receiver.has_ethernet()
    {
        let untagged = [&packet[..12], &packet[16..]].concat();
        let arrival = Arrival {
            packet: &untagged,
            bytes: untagged.len(),
            tag: Some(u16::from_be_bytes([*high, *low])),
            ..arrival
        };
        let judged = reply::judge(&arrival, slot);
        assert_eq!(judged, expected, "untagged {packet:02x?}\n{entries:?}");
    }
}

fn verdict(judged: &Judged) -> Verdict {
    let slot = SlotId(judged.slot as u32);
    match judged.decision {
        Decision::Foreign => Verdict::Foreign,
        Decision::Stale => Verdict::Stale(slot),
        Decision::Forged => Verdict::Forged(slot),
        Decision::WrongUplink => Verdict::WrongUplink(slot),
        Decision::Duplicate => Verdict::Duplicate(slot),
        Decision::Corrupt => Verdict::Corrupt(slot),
        Decision::Matched => Verdict::Matched(slot, judged.reflection),
        Decision::Error => Verdict::Error(slot, judged.error.expect("an error says what it is")),
        Decision::ErrorUnproven => Verdict::ErrorUnproven,
    }
}

fn slot(entry: &Entry) -> Slot {
    let target = entry.target.unwrap_or(IpAddr::from([0; 4]));
    let (octets, ip_version) = match target {
        IpAddr::V4(address) => (address.to_ipv6_mapped().octets(), 4),
        IpAddr::V6(address) => (address.octets(), 6),
    };
    let (words, _) = octets.as_chunks::<4>();
    Slot {
        state: match (entry.is_live, entry.is_answered) {
            (false, _) => 0,
            (true, true) => SENT_NS + 1,
            (true, false) => Slot::armed(&entry.cookie),
        },
        sent_ns: if entry.is_stamped { SENT_NS } else { 0 },
        cookie: entry.cookie,
        target: std::array::from_fn(|word| u32::from_ne_bytes(words[word])),
        ifindex: entry.ifindex,
        ident: entry.ident.to_be(),
        sequence: entry.sequence.to_be(),
        vlan: VlanIds {
            outer: entry.vlan[0],
            inner: entry.vlan[1],
        },
        ip_version,
    }
}
