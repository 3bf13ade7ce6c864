//! pingu's engines, one probe at a time, as their slots have it.

use std::{
    net::{IpAddr, Ipv4Addr},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use pingu::{
    config::ReceiveHook,
    probe::{
        EngineKind, LinkHeader, ProbeOrder, ProbeTransport,
        kernel::{KernelTransport, LoadOptions},
        socket::SocketTransport,
    },
    units::{Ifindex, SlotId},
};

use super::claims::{Claim, Probe};
use crate::lab::site::{Site, TARGET};

/// So many probes are on their way before the first is looked at again: far more than a slow path holds.
const KEPT: u32 = 64;

/// One of pingu's engines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Engine {
    Tc,
    Xdp,
    Socket,
}

/// Probes so often, so far apart.
pub(super) fn probe(
    site: &Site,
    engine: Engine,
    count: u32,
    interval: Duration,
) -> Result<Vec<Claim>> {
    let template = template(site);
    site.router.enter(|| {
        let ifindex = template.ifindex;
        match engine {
            Engine::Socket => {
                let mut transport = SocketTransport::new(KEPT)?;
                transport.attach(ifindex, false)?;
                Ok(run(&mut transport, &template, count, interval))
            }
            Engine::Tc | Engine::Xdp => {
                let (hook, wanted) = match engine {
                    Engine::Xdp => (ReceiveHook::Xdp, EngineKind::Xdp),
                    _ => (ReceiveHook::Tcx, EngineKind::Tcx),
                };
                // So that the capture, which native XDP comes before, sees the replies.
                let options = LoadOptions::new(KEPT, hook).passing_replies();
                let mut transport = KernelTransport::load(options)?;
                let kind = transport.attach(ifindex, false)?;
                ensure!(kind == wanted, "{kind:?} instead of {wanted:?}");
                Ok(run(&mut transport, &template, count, interval))
            }
        }
    })
}

fn run<T: ProbeTransport>(
    transport: &mut T,
    template: &ProbeOrder,
    count: u32,
    interval: Duration,
) -> Vec<Claim> {
    let mut claims = Vec::new();
    let mut results = Vec::new();
    let begin = Instant::now();
    // The last ones are only looked at.
    for number in 0..count + KEPT {
        thread::sleep((interval * number).saturating_sub(begin.elapsed()));
        let slot = SlotId(number % KEPT);
        transport.refresh();
        if number >= KEPT {
            let stamps = transport.read(slot);
            if let (Some(sent), Some(received)) = (stamps.sent_ns, stamps.received_ns) {
                claims.push(Claim {
                    probe: Probe::Sequence((number - KEPT) as u16),
                    rtt_us: received.saturating_sub(sent) as f64 / 1e3,
                });
            }
        }
        if number < count {
            let order = ProbeOrder {
                slot,
                sequence: number as u16,
                ..*template
            };
            transport.send(&[order], &mut results);
        }
    }
    claims
}

fn template(site: &Site) -> ProbeOrder {
    let provider = &site.providers[0];
    ProbeOrder {
        slot: SlotId(0),
        ifindex: Ifindex(site.ifindex(0)),
        link: LinkHeader::Ethernet {
            source: site.router.mac(provider.interface()),
            destination: provider.namespace.mac("r0"),
        },
        source: IpAddr::V4(Ipv4Addr::new(10, 0, 1, 2)),
        target: IpAddr::V4(TARGET),
        ident: 0x7069,
        sequence: 0,
        payload_bytes: 56,
        reflect: None,
    }
}
