//! Where a path's next probe leaves from, as the kernel has it at that moment.

use std::{
    collections::HashMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use super::{
    news::{Changed, News},
    outlet::Exit,
    route::{self, Lookup},
};
use crate::{
    netlink::{
        ask::Questions,
        dump,
        tables::{Sight, Tables},
    },
    network::{Address, Link},
    script::probe::{Loss, Origin, PathKey},
    units::Ifindex,
};

/// Answers that are kept at most; with more paths each is asked for anew.
const KEPT_MAX: usize = 65_536;

/// The kernel's interfaces, and where its routes lead.
#[derive(Debug)]
pub(super) struct Ways {
    news: News,
    questions: Questions,
    tables: Tables,
    interfaces: Option<Interfaces>,
    /// What routes said of a destination by an interface.
    kept: HashMap<(Ifindex, IpAddr), Kept>,
    /// So long an answer is believed while no news come.
    believed: Duration,
}

#[derive(Debug, Default)]
struct Interfaces {
    links: Vec<Link>,
    addresses: Vec<Address>,
}

#[derive(Clone, Copy, Debug)]
struct Kept {
    asked: Instant,
    source: Option<IpAddr>,
}

impl Ways {
    /// Looks at the network namespace of the calling thread; believes an answer for one interval, while no news come.
    pub(super) fn new(interval: Duration) -> std::io::Result<Self> {
        Ok(Self {
            news: News::new()?,
            questions: Questions::default(),
            tables: Tables::default(),
            interfaces: None,
            kept: HashMap::new(),
            believed: interval,
        })
    }

    /// Takes news in. Must come before the ways of probes that are sent at once.
    pub(super) fn refresh(&mut self) -> Changed {
        let changed = self.news.take();
        if changed.interfaces {
            self.interfaces = None;
        }
        if changed.routes {
            self.kept.clear();
        }
        changed
    }

    /// Where a path's probe leaves from, or why it cannot leave.
    pub(super) fn exit(&mut self, path: &PathKey, now: Instant) -> Result<Exit, Loss> {
        let ipv6 = path.destination.is_ipv6();
        match &path.origin {
            Origin::Any => Ok(Exit::Any { ipv6 }),
            Origin::Source(source) if source.is_ipv6() != ipv6 => Err(Loss::NoSource),
            Origin::Source(source) => Ok(Exit::Source(*source)),
            Origin::Interface(name) => self.by_interface(name, path.destination, now),
        }
    }

    /// Whether an address is one of this machine's own.
    pub(super) fn is_own(&mut self, address: IpAddr) -> bool {
        let interfaces = self.interfaces();
        interfaces
            .addresses
            .iter()
            .any(|own| own.address == address)
    }

    fn by_interface(
        &mut self,
        name: &str,
        destination: IpAddr,
        now: Instant,
    ) -> Result<Exit, Loss> {
        let interfaces = self.interfaces();
        let link = interfaces.links.iter().find(|link| link.is_called(name));
        let ifindex = link.ok_or(Loss::NoSource)?.ifindex;
        let sources = sources(&interfaces.addresses, ifindex, destination);
        if sources.is_empty() {
            return Err(Loss::NoSource);
        }
        let key = (ifindex, destination);
        let kept = self.kept.get(&key).copied();
        let source = match kept.filter(|kept| now < kept.asked + self.believed) {
            Some(kept) => kept.source,
            None => {
                let source = self.source(ifindex, destination, &sources);
                if self.kept.len() >= KEPT_MAX {
                    self.kept.clear();
                }
                self.kept.insert(key, Kept { asked: now, source });
                source
            }
        };
        // The kernel takes a destination for one on the wire if no route leads there by the interface that a socket is bound to, and
        // the probe would die in ARP.
        let source = source.ok_or(Loss::NotSent(libc::ENETUNREACH))?;
        Ok(Exit::Interface(ifindex, source))
    }

    /// The source with which a route leads there by the interface; none if no route does, whatever the source.
    fn source(
        &mut self,
        ifindex: Ifindex,
        destination: IpAddr,
        sources: &[IpAddr],
    ) -> Option<IpAddr> {
        let mut lookup = |source| {
            let lookup = Lookup {
                destination,
                source,
                ifindex: Some(ifindex),
            };
            route::look_up(&mut self.questions, &lookup)
        };
        if let Some(found) = lookup(None) {
            let preferred = found.source.filter(|source| sources.contains(source));
            return Some(preferred.unwrap_or(sources[0]));
        }
        // A rule may lead to a table of its own what has the interface's address.
        sources
            .iter()
            .copied()
            .find(|source| lookup(Some(*source)).is_some())
    }

    fn interfaces(&mut self) -> &Interfaces {
        let tables = &mut self.tables;
        self.interfaces.get_or_insert_with(|| {
            look(tables).unwrap_or_else(|error| {
                tracing::debug!(%error, "cannot look at the interfaces");
                Interfaces::default()
            })
        })
    }
}

fn look(tables: &mut Tables) -> Result<Interfaces, crate::netlink::NetlinkError> {
    let keep = |one| Sight::Keep(one);
    let links = tables.dump("link", &dump::links_request(), |body| {
        dump::link(body).map_or(Sight::Pass, keep)
    })?;
    let keep = |one| Sight::Keep(one);
    let addresses = tables.dump("address", &dump::addresses_request(), |body| {
        dump::interface_address(body).map_or(Sight::Pass, keep)
    })?;
    Ok(Interfaces { links, addresses })
}

/// The interface's addresses that a probe to there may have, the best first.
fn sources(addresses: &[Address], ifindex: Ifindex, destination: IpAddr) -> Vec<IpAddr> {
    let is_link_local = |address: &IpAddr| match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    let mut fit: Vec<&Address> = addresses
        .iter()
        .filter(|own| own.ifindex == ifindex && own.address.is_ipv6() == destination.is_ipv6())
        .collect();
    let to_link = is_link_local(&destination);
    fit.sort_by_key(|own| {
        (
            !own.usable,
            is_link_local(&own.address) != to_link,
            !own.global,
            own.secondary,
        )
    });
    fit.iter().map(|own| own.address).collect()
}
