//! A prober and a kernel that answers for many addresses, at the two ends of a veth pair.

use std::{
    io::Write,
    net::{IpAddr, Ipv4Addr},
};

use anyhow::Result;
use pingu::{
    probe::{LinkHeader, ProbeOrder},
    units::{Ifindex, SlotId},
};

use super::{
    daemon::{Uplink, shares},
    namespace::Namespace,
    watched::Counters,
};

/// 10.78.0.0/16 answers, and nothing else is reachable.
pub(super) const TARGETS: u32 = u32::from_be_bytes([10, 78, 0, 0]);
/// The prober's end of the link.
pub(super) const INTERFACE: &str = "uplink0";

const SOURCE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 77, 255, 254);
/// More targets than this answer through one address with a /16 prefix instead of one each. So many chains the kernel keeps a namespace's
/// addresses in, one of which it walks for each reply: with thousands of addresses a fifth of a probe's cost would be that walk.
const ADDRESSES_MAX: u32 = 256;

/// Two namespaces and their link.
pub(super) struct Link {
    /// Where probers run.
    pub(super) sender: Namespace,
    /// What both kernels count.
    pub(super) counters: Counters,
    /// The two Ethernet addresses: the prober's and the gateway's.
    pub(super) addresses: [[u8; 6]; 2],
    ifindex: Ifindex,
    _peer: Namespace,
}

impl Link {
    /// So many addresses answer; both ends know each other.
    pub(super) fn new(targets: u32) -> Result<Self> {
        let (sender, peer) = (Namespace::new()?, Namespace::new()?);
        sender.veth(INTERFACE, &peer, "peer0")?;
        sender.ip("address add 10.77.0.1/16 dev uplink0")?;
        peer.ip("address add 10.77.255.254/16 dev peer0")?;
        add_targets(&peer, targets)?;
        sender.ip("route add 10.78.0.0/16 via 10.77.255.254")?;
        sender.command("ping -q -c 1 -W 5 10.78.0.0")?;
        Ok(Self {
            counters: Counters::new(&sender, &peer),
            addresses: [sender.mac(INTERFACE)?, peer.mac("peer0")?],
            ifindex: Ifindex(sender.ifindex(INTERFACE)?),
            sender,
            _peer: peer,
        })
    }

    /// An order that lacks only its slot, its target and its sequence number.
    pub(super) fn template(&self) -> ProbeOrder {
        let [source, destination] = self.addresses;
        ProbeOrder {
            slot: SlotId(0),
            ifindex: self.ifindex,
            link: LinkHeader::Ethernet {
                source,
                destination,
            },
            source: IpAddr::V4(SOURCE),
            target: IpAddr::V4(SOURCE),
            ident: 0x7069,
            sequence: 0,
            payload_bytes: 56,
            reflect: None,
        }
    }

    /// Uplinks of a daemon's that share so many targets, each with an address of its own on the link.
    pub(super) fn uplinks(&self, targets: u32) -> Result<Vec<Uplink>> {
        let (count, each) = shares(targets);
        let source = |number: u32| Ipv4Addr::from(u32::from(SOURCE) + number);
        let mut batch = tempfile::NamedTempFile::new()?;
        for number in 1..count {
            writeln!(
                batch,
                "address replace {}/16 dev {INTERFACE}",
                source(number)
            )?;
        }
        self.sender
            .ip(&format!("-batch {}", batch.path().display()))?;
        let uplink = |number| Uplink {
            interface: INTERFACE.to_owned(),
            gateway: GATEWAY,
            source: source(number),
            targets: (number * each..(number + 1) * each)
                .map(|target| Ipv4Addr::from(TARGETS + target))
                .collect(),
        };
        Ok((0..count).map(uplink).collect())
    }
}

/// Addresses of the peer's own, as hosts have them. A `local` route for all of them would be shorter, but it makes the kernel check every
/// packet's source against the routes (`fib_has_custom_local_routes`), whoever sent it.
fn add_targets(peer: &Namespace, targets: u32) -> Result<()> {
    let mut batch = tempfile::NamedTempFile::new()?;
    for target in 0..targets.min(ADDRESSES_MAX) {
        writeln!(
            batch,
            "address add {}/32 dev lo",
            Ipv4Addr::from(TARGETS + target)
        )?;
    }
    if targets > ADDRESSES_MAX {
        writeln!(batch, "address add 10.78.255.255/16 dev lo")?;
    }
    peer.ip(&format!("-batch {}", batch.path().display()))?;
    Ok(())
}
