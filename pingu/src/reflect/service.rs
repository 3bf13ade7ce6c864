//! What is served on which interface, and the few steps that make it what it should be.

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    io, iter,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixListener},
    },
};

use pingu_common::VlanIds;

use super::{
    desired::{Desired, Desires},
    driver::{self, Driver},
};
use crate::{
    network::LinkLayer,
    probe::kernel::{
        AttachError,
        reflector::{Attached, ReflectHook, Reflector},
    },
    units::Ifindex,
};

/// Which hook to use (`--hook`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum HookChoice {
    /// Native XDP where replies are sure to leave by it, TC elsewhere.
    Auto,
    /// Native XDP or nothing.
    Xdp,
    /// TC: the packet's way through the kernel is longer, and every device has it. By TCX, or clsact before Linux 6.6.
    Tc,
    /// TC by a clsact filter, which outlives a killed reflector until the next one.
    Clsact,
}

/// The interfaces that are served.
pub(super) struct Services {
    reflector: Reflector,
    choice: HookChoice,
    running: BTreeMap<Ifindex, Service>,
    /// What was said of interfaces that cannot be served, so that it is said once.
    said: BTreeMap<Ifindex, String>,
    absent: BTreeSet<String>,
}

/// One that is.
pub(super) struct Service {
    pub(super) wanted: Desired,
    attached: Attached,
    /// Keeps a second reflector away; it ends with the process.
    _claim: UnixListener,
}

impl Service {
    pub(super) fn hook(&self) -> ReflectHook {
        self.attached.hook()
    }
}

impl Services {
    pub(super) fn new(reflector: Reflector, choice: HookChoice) -> Self {
        Self {
            reflector,
            choice,
            running: BTreeMap::new(),
            said: BTreeMap::new(),
            absent: BTreeSet::new(),
        }
    }

    pub(super) fn reflector(&self) -> &Reflector {
        &self.reflector
    }

    pub(super) fn running(&self) -> impl Iterator<Item = &Service> {
        self.running.values()
    }

    /// The names that no interface has, and why interfaces that are there are not served.
    pub(super) fn unserved(&self) -> (&BTreeSet<String>, impl Iterator<Item = &str>) {
        (&self.absent, self.said.values().map(String::as_str))
    }

    /// All of it in one short line.
    pub(super) fn summary(&self) -> String {
        let served = self.running.len();
        let named = served + self.absent.len() + self.failing().count();
        format!("reflecting on {served} of {named} interfaces")
    }

    /// Interfaces that are there and not served at all.
    fn failing(&self) -> impl Iterator<Item = &Ifindex> {
        self.said
            .keys()
            .filter(|ifindex| !self.running.contains_key(ifindex))
    }

    /// Makes it so. Returns what stands in the way, a sentence for each interface; what is new of it is logged.
    pub(super) fn follow(&mut self, desires: Desires) -> Vec<String> {
        self.end_unwanted(&desires.interfaces);
        self.said
            .retain(|ifindex, _| desires.interfaces.iter().any(|one| one.ifindex == *ifindex));
        for interface in desires.absent.difference(&self.absent) {
            tracing::warn!(interface, "is not there; it is served as soon as it is");
        }
        self.absent = desires.absent;
        if let Err(error) = self.reflector.refuse(desires.martians) {
            tracing::debug!(%error, "not all own addresses are refused as sources");
        }
        let mut failures = Vec::new();
        for wanted in desires.interfaces {
            let ifindex = wanted.ifindex;
            match self.serve(wanted) {
                Ok(()) => {
                    self.said.remove(&ifindex);
                }
                Err(failure) => {
                    if self.said.get(&ifindex) != Some(&failure) {
                        tracing::warn!("{failure}");
                        self.said.insert(ifindex, failure.clone());
                    }
                    failures.push(failure);
                }
            }
        }
        failures
    }

    /// Ends what is not wanted so any more, or not there: by its number, its layer, its life, or its hook's reliability.
    fn end_unwanted(&mut self, desired: &[Desired]) {
        let choice = self.choice;
        let is_wanted = |service: &Service| {
            let wanted = desired
                .iter()
                .find(|wanted| wanted.ifindex == service.wanted.ifindex);
            wanted.is_some_and(|wanted| {
                wanted.is_bare() == service.wanted.is_bare()
                    && service.attached.is_alive()
                    && (service.hook() != ReflectHook::Xdp || xdp_refusal(choice, wanted).is_none())
            })
        };
        let ended: Vec<Ifindex> = self
            .running
            .values()
            .filter(|service| !is_wanted(service))
            .map(|service| service.wanted.ifindex)
            .collect();
        for ifindex in ended {
            if let Some(service) = self.running.remove(&ifindex) {
                for address in &service.wanted.addresses {
                    self.reflector.forget(ifindex, VlanIds::default(), *address);
                }
                tracing::info!(interface = service.wanted.interface, "reflecting no more");
            }
        }
    }

    fn serve(&mut self, wanted: Desired) -> Result<(), String> {
        let ifindex = wanted.ifindex;
        if self.running.contains_key(&ifindex) {
            return self.follow_addresses(wanted);
        }
        let name = &wanted.interface;
        if let LinkLayer::Other(kind) = wanted.layer {
            return Err(format!(
                "{name} cannot be served: what stands before the IP header there is unknown (type {kind})"
            ));
        }
        let claim = claim(ifindex).map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => format!("another reflector serves {name}"),
            _ => format!("cannot claim {name}: {error}"),
        })?;
        let attached = self.attach(&wanted)?;
        let hook = attached.hook().as_str();
        // Addresses come last: nothing is answered before everything stands.
        self.running.insert(
            ifindex,
            Service {
                wanted: Desired {
                    addresses: BTreeSet::new(),
                    ..wanted.clone()
                },
                attached,
                _claim: claim,
            },
        );
        tracing::info!(interface = name, hook, addresses = ?wanted.addresses, "reflecting");
        self.follow_addresses(wanted)
    }

    fn attach(&self, wanted: &Desired) -> Result<Attached, String> {
        let (ifindex, name) = (wanted.ifindex, &wanted.interface);
        let refusal = match xdp_refusal(self.choice, wanted) {
            None => match self.reflector.attach_xdp(ifindex) {
                Ok(attached) => return Ok(attached),
                Err(error) => Some(explain_xdp(&error)),
            },
            Some(XdpRefusal::NotAsked) => None,
            Some(XdpRefusal::Because(reason)) => Some(reason),
        };
        if let Some(reason) = refusal {
            if self.choice == HookChoice::Xdp {
                return Err(format!("{name} cannot be served by XDP: {reason}"));
            }
            tracing::info!(interface = name, reason, "TC serves instead of XDP");
        }
        let clsact = self.choice == HookChoice::Clsact;
        let attached = self
            .reflector
            .attach_classifier(ifindex, wanted.is_bare(), clsact);
        attached.map_err(|error| format!("{name} cannot be served by TC: {}", whole(&error)))
    }

    /// Serves the addresses that the interface has, under the Ethernet address that it has.
    fn follow_addresses(&mut self, mut wanted: Desired) -> Result<(), String> {
        let ifindex = wanted.ifindex;
        let service = self.running.get_mut(&ifindex).expect("it is served");
        let moved = service.wanted.layer != wanted.layer;
        for gone in service.wanted.addresses.difference(&wanted.addresses) {
            self.reflector.forget(ifindex, VlanIds::default(), *gone);
            tracing::debug!(interface = wanted.interface, address = %gone, "address gone");
        }
        let (link_address, vlan) = (wanted.link_address(), VlanIds::default());
        let (interface, mut failed) = (&wanted.interface, None);
        wanted.addresses.retain(|address| {
            if !moved && service.wanted.addresses.contains(address) {
                return true;
            }
            match self.reflector.serve(ifindex, vlan, *address, link_address) {
                Ok(()) => tracing::debug!(interface, %address, "address served"),
                Err(error) => {
                    // Not kept among those that are served, so that it is tried again.
                    failed = Some(format!(
                        "{address} of {interface} cannot be served: {error}"
                    ));
                    return false;
                }
            }
            true
        });
        service.wanted = wanted;
        failed.map_or(Ok(()), Err)
    }
}

/// An error with its causes.
fn whole(error: &AttachError) -> String {
    let causes = iter::successors(error.source(), |&cause| cause.source());
    let causes: String = causes.map(|cause| format!(": {cause}")).collect();
    format!("{error}{causes}")
}

fn explain_xdp(error: &AttachError) -> String {
    let number = match error {
        AttachError::Hook { source, .. } => source.raw_os_error(),
        AttachError::Socket { .. } | AttachError::NotLoaded(_) | AttachError::Occupied { .. } => {
            None
        }
    };
    match number {
        Some(libc::EBUSY | libc::EEXIST) => "it has another XDP program, which stays".to_owned(),
        Some(libc::EOPNOTSUPP) => "its driver has no native XDP".to_owned(),
        Some(_) | None => whole(error),
    }
}

/// Why XDP is not even tried.
enum XdpRefusal {
    NotAsked,
    Because(String),
}

fn xdp_refusal(choice: HookChoice, wanted: &Desired) -> Option<XdpRefusal> {
    match choice {
        HookChoice::Tc | HookChoice::Clsact => return Some(XdpRefusal::NotAsked),
        HookChoice::Auto | HookChoice::Xdp => {}
    }
    if wanted.is_bare() {
        return Some(XdpRefusal::Because("it has no Ethernet headers".to_owned()));
    }
    let driver = driver::ask(wanted.ifindex, &wanted.interface);
    xdp_fault(choice, &driver).map(XdpRefusal::Because)
}

/// Why replies might not leave by XDP, if they might not.
fn xdp_fault(choice: HookChoice, driver: &Driver) -> Option<String> {
    if driver
        .features
        .is_some_and(|bits| bits & driver::XDP_BASIC == 0)
    {
        return Some("its driver has no native XDP".to_owned());
    }
    if !driver.is_veth() {
        return None;
    }
    // A veth's other end silently drops what XDP sends, unless somebody there has switched its receive queues on.
    if choice == HookChoice::Auto {
        return Some("the other end of a veth pair takes XDP's frames only as long as it has GRO or a program".to_owned());
    }
    match driver.features {
        Some(bits) if bits & driver::XDP_TRANSMITS != 0 => None,
        Some(_) => Some(
            "the other end of this veth pair takes no XDP frames; `ethtool -K DEVICE gro on` there makes it"
                .to_owned(),
        ),
        None => Some("whether the other end of this veth pair takes XDP frames is unknown (Linux 6.3 says it)".to_owned()),
    }
}

/// One reflector for each interface of a network namespace: abstract socket names are the namespace's own.
fn claim(ifindex: Ifindex) -> io::Result<UnixListener> {
    let name = SocketAddr::from_abstract_name(format!("pingu/reflect/{ifindex}"))?;
    UnixListener::bind_addr(&name)
}

#[cfg(test)]
mod tests;
