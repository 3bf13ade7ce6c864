//! Where a path's next probe leaves from, as the kernel has it at that moment.

use std::{
    collections::HashMap,
    io,
    net::IpAddr,
    time::{Duration, Instant},
};

use super::{
    gateways,
    interfaces::Interfaces,
    news::News,
    outlet::Exit,
    route::{self, Found, Lookup},
};
use crate::{
    netlink::{ask::Questions, tables::Tables},
    network::LinkLayer,
    probe::LinkHeader,
    script::probe::{Loss, Origin, PathKey},
    units::Ifindex,
};

/// Answers that are kept at most; with more paths each is asked for anew.
const KEPT_MAX: usize = 65_536;

/// So long a station's address is believed: many paths share a gateway, whose state the kernel changes in seconds.
const STATION_BELIEVED: Duration = Duration::from_millis(100);

/// And so long that it is unknown: somebody waits for it.
const UNKNOWN_BELIEVED: Duration = Duration::from_millis(5);

/// The kernel's interfaces, and where its routes lead.
#[derive(Debug)]
pub(super) struct Ways {
    news: News,
    questions: Questions,
    tables: Tables,
    interfaces: Interfaces,
    /// They are to be looked at anew.
    outdated: bool,
    /// Frames can be sent: where they would go is worth asking.
    privileged: bool,
    /// What routes said of a destination.
    kept: HashMap<(IpAddr, Via), Kept>,
    stations: HashMap<(Ifindex, IpAddr), Station>,
    /// So long an answer is believed while no news come.
    believed: Duration,
}

/// What a route was asked for with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Via {
    Any,
    Source(IpAddr),
    Interface(Ifindex),
}

/// A next hop's address, if it may be sent to.
#[derive(Clone, Copy, Debug)]
struct Station {
    asked: Instant,
    address: Option<[u8; 6]>,
}

#[derive(Clone, Copy, Debug)]
struct Kept {
    asked: Instant,
    way: Way,
}

/// How a probe may leave. Both ways lead to the same wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Way {
    /// The socket; none where only frames get there.
    pub(super) exit: Option<Exit>,
    /// Where a frame would go; none where that cannot be known.
    pub(super) hop: Option<Hop>,
}

/// Where a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hop {
    pub(super) ifindex: Ifindex,
    pub(super) layer: LinkLayer,
    pub(super) source: IpAddr,
    pub(super) next_hop: IpAddr,
}

impl Ways {
    /// Looks at the network namespace of the calling thread; believes an answer for one interval, while no news come.
    pub(super) fn new(interval: Duration, privileged: bool) -> io::Result<Self> {
        Ok(Self {
            news: News::new()?,
            questions: Questions::default(),
            tables: Tables::default(),
            interfaces: Interfaces::default(),
            outdated: true,
            privileged,
            kept: HashMap::new(),
            stations: HashMap::new(),
            believed: interval,
        })
    }

    /// Takes news in; tells whether interfaces changed. Must come before the ways of probes that are sent at once.
    pub(super) fn refresh(&mut self) -> bool {
        let changed = self.news.take();
        if changed.interfaces {
            self.outdated = true;
            self.stations.clear();
        }
        if changed.routes {
            self.kept.clear();
        }
        changed.interfaces
    }

    /// How a path's probe leaves, or why it cannot.
    pub(super) fn way(&mut self, path: &PathKey, now: Instant) -> Result<Way, Loss> {
        let destination = path.destination;
        let (exit, via) = match &path.origin {
            Origin::Any => {
                let ipv6 = destination.is_ipv6();
                (Exit::Any { ipv6 }, Via::Any)
            }
            Origin::Source(source) if source.is_ipv6() == destination.is_ipv6() => {
                (Exit::Source(*source), Via::Source(*source))
            }
            Origin::Source(_) => return Err(Loss::NoSource),
            Origin::Interface(name) => return self.by_interface(name, destination, now),
        };
        if !self.privileged {
            let (exit, hop) = (Some(exit), None);
            return Ok(Way { exit, hop });
        }
        Ok(self.kept_or(destination, via, now, |ways| {
            let lookup = Lookup {
                destination,
                source: exit.source(),
                ifindex: None,
            };
            // Where no route leads, the socket says why.
            let found = route::look_up(&mut ways.questions, &lookup);
            let hop = found.and_then(|found| ways.hop(&found, destination, exit.source()));
            let exit = Some(exit);
            Way { exit, hop }
        }))
    }

    /// What a frame to there begins with; none while no station is known there for sure.
    pub(super) fn header(&mut self, hop: &Hop, now: Instant) -> Option<LinkHeader> {
        let source = match hop.layer {
            LinkLayer::Ethernet(source) => source,
            LinkLayer::Bare => return Some(LinkHeader::Bare),
            LinkLayer::Other(_) => return None,
        };
        let key = (hop.ifindex, hop.next_hop);
        let known = self.stations.get(&key).copied();
        let known = known.filter(|station| {
            let believed = match station.address {
                Some(_) => STATION_BELIEVED,
                None => UNKNOWN_BELIEVED,
            };
            now < station.asked + believed
        });
        let station = known.unwrap_or_else(|| {
            let station = Station {
                asked: now,
                address: route::station(&mut self.questions, key.0, key.1),
            };
            if self.stations.len() >= KEPT_MAX {
                self.stations.clear();
            }
            self.stations.insert(key, station);
            station
        });
        station.address.map(|destination| LinkHeader::Ethernet {
            source,
            destination,
        })
    }

    /// Has the kernel look for the station there; what is known of it is forgotten.
    pub(super) fn solicit(&mut self, hop: &Hop) {
        self.stations.remove(&(hop.ifindex, hop.next_hop));
        route::solicit(&mut self.questions, hop.ifindex, hop.next_hop);
    }

    /// Whether an interface of this number exists.
    pub(super) fn exists(&mut self, ifindex: Ifindex) -> bool {
        self.interfaces().link(ifindex).is_some()
    }

    /// Whether an address is one of this machine's own.
    pub(super) fn is_own(&mut self, address: IpAddr) -> bool {
        self.interfaces().is_own(address)
    }

    fn by_interface(&mut self, name: &str, destination: IpAddr, now: Instant) -> Result<Way, Loss> {
        let interfaces = self.interfaces();
        let link = interfaces.called(name).ok_or(Loss::NoSource)?;
        let ifindex = link.ifindex;
        let sources = interfaces.sources(ifindex, destination);
        if sources.is_empty() {
            return Err(Loss::NoSource);
        }
        let way = self.kept_or(destination, Via::Interface(ifindex), now, |ways| {
            ways.out_of(ifindex, destination, &sources)
        });
        if way == Way::default() {
            // The kernel takes a destination for one on the wire if no route leads there by the interface that a socket is bound to, and
            // the probe would die in ARP.
            return Err(Loss::NotSent(libc::ENETUNREACH));
        }
        Ok(way)
    }

    fn kept_or(
        &mut self,
        destination: IpAddr,
        via: Via,
        now: Instant,
        ask: impl FnOnce(&mut Self) -> Way,
    ) -> Way {
        let key = (destination, via);
        let kept = self.kept.get(&key);
        if let Some(kept) = kept.filter(|kept| now < kept.asked + self.believed) {
            return kept.way;
        }
        let way = ask(self);
        if self.kept.len() >= KEPT_MAX {
            self.kept.clear();
        }
        self.kept.insert(key, Kept { asked: now, way });
        way
    }

    /// How a probe leaves by an interface and no other; the empty way if no route leads there by it.
    fn out_of(&mut self, ifindex: Ifindex, destination: IpAddr, sources: &[IpAddr]) -> Way {
        let mut look_up = |source| {
            let lookup = Lookup {
                destination,
                source,
                ifindex: Some(ifindex),
            };
            route::look_up(&mut self.questions, &lookup)
        };
        // A rule may lead to a table of its own what has the interface's address.
        let found = look_up(None).map(|found| {
            let preferred = found.source.filter(|source| sources.contains(source));
            (found, preferred.unwrap_or(sources[0]))
        });
        let found = found.or_else(|| {
            let mut sources = sources.iter().copied();
            sources.find_map(|source| Some((look_up(Some(source))?, source)))
        });
        if let Some((found, source)) = found {
            let hop = self.hop(&found, destination, Some(source));
            let exit = Some(Exit::Interface(ifindex, source));
            return Way { exit, hop };
        }
        if !self.privileged {
            return Way::default();
        }
        let gateway = gateways::learn(&mut self.tables, ifindex, destination);
        let hop = gateway.and_then(|gateway| {
            let found = Found {
                ifindex: Some(ifindex),
                gateway,
                plain: true,
                ..Found::default()
            };
            self.hop(&found, destination, Some(sources[0]))
        });
        Way { exit: None, hop }
    }

    /// Where a frame goes that follows a route; none if it could be elsewhere than the kernel's own packets.
    fn hop(&mut self, found: &Found, destination: IpAddr, source: Option<IpAddr>) -> Option<Hop> {
        if !self.privileged || !found.plain {
            return None;
        }
        let link = self.interfaces().link(found.ifindex?)?;
        if let LinkLayer::Other(_) = link.layer {
            return None;
        }
        let next_hop = found.gateway.unwrap_or(destination);
        Some(Hop {
            ifindex: link.ifindex,
            layer: link.layer,
            source: source.or(found.source)?,
            next_hop,
        })
    }

    fn interfaces(&mut self) -> &Interfaces {
        if self.outdated {
            match Interfaces::look(&mut self.tables) {
                Ok(interfaces) => {
                    self.interfaces = interfaces;
                    self.outdated = false;
                }
                // What was known is better than nothing, and the next probe looks again.
                Err(error) => tracing::debug!(%error, "cannot look at the interfaces"),
            }
        }
        &self.interfaces
    }
}
