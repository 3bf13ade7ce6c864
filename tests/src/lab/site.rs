//! The network that most tests use: a router between a LAN and some providers, and an Internet behind all of them.
//!
//! ```text
//! lan --- router ===(one interface per provider)=== provider 0, 1, ... === internet (the targets are on its loopback)
//! ```

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use crate::lab::{dhcp, namespace::Namespace, provider::Provider, wait::wait_until};

/// The address that answers behind every provider.
pub const TARGET: Ipv4Addr = Ipv4Addr::new(8, 8, 8, 8);

/// Another one.
pub const SECOND_TARGET: Ipv4Addr = Ipv4Addr::new(1, 1, 1, 1);

/// One of IPv6 (RFC 3849).
pub const TARGET_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 8);

/// All that answer: the well-known resolvers among them are what people put into configurations.
const TARGETS: [&str; 9] = [
    "8.8.8.8/32",
    "8.8.4.4/32",
    "1.1.1.1/32",
    "1.0.0.1/32",
    "9.9.9.9/32",
    "2001:db8:ffff::8/128",
    "2001:4860:4860::8888/128",
    "2606:4700:4700::1111/128",
    "2620:fe::fe/128",
];

/// The router's interface to the LAN.
pub const LAN_INTERFACE: &str = "lan0";

/// The kernel takes milliseconds; much more on a busy machine.
const ADDRESS_DEADLINE: Duration = Duration::from_secs(10);

/// Metrics of learned routes begin here: worse than any that the tests give pingu's own.
pub const LEARNED_METRIC: u32 = 1000;

/// How the router comes by its addresses and learned routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Addressing {
    /// Addresses are set, and a default route per provider, as a DHCP client would leave it.
    Learned,
    /// Addresses are set, no default routes.
    AddressesOnly,
    /// A DHCP client per uplink asks the provider's DHCP server.
    Dhcp,
}

/// What a site should look like.
#[derive(Clone, Debug)]
pub struct Plan {
    interfaces: Vec<String>,
    addressing: Addressing,
    /// Of each provider: its gateway's address, and the router's. Those that are not given follow from the provider's number.
    wires: Vec<(Ipv4Addr, Ipv4Addr)>,
}

/// A whole network. Fields are dropped in this order: clients before the network that they run in.
pub struct Site {
    /// The DHCP clients, one per uplink where DHCP was asked for.
    pub clients: Vec<dhcp::Client>,
    /// The providers, in the order of the uplinks.
    pub providers: Vec<Provider>,
    /// Where pingu runs.
    pub router: Namespace,
    /// A host behind the router.
    pub lan: Namespace,
    /// Where the targets are.
    pub internet: Namespace,
}

impl Plan {
    /// A site with these uplink interfaces: static addresses of both families, and a learned IPv4 default for each.
    pub fn new(interfaces: &[&str]) -> Self {
        let interfaces = interfaces.iter().map(|&name| name.to_owned()).collect();
        Self {
            interfaces,
            addressing: Addressing::Learned,
            wires: Vec::new(),
        }
    }

    /// Without any default route.
    pub fn without_defaults(mut self) -> Self {
        self.addressing = Addressing::AddressesOnly;
        self
    }

    /// IPv4 addresses and default routes by real DHCP.
    pub fn dhcp(mut self) -> Self {
        self.addressing = Addressing::Dhcp;
        self
    }

    /// Every provider's gateway has the same IPv4 address, on the same network.
    pub fn same_gateway(mut self) -> Self {
        let number_of = |index: usize| u8::try_from(index + 1).expect("a site has few uplinks");
        self.wires = (0..self.interfaces.len())
            .map(|index| {
                let router_address = Ipv4Addr::new(192, 168, 1, 10 + number_of(index));
                (Ipv4Addr::new(192, 168, 1, 1), router_address)
            })
            .collect();
        self
    }

    /// These addresses on the wires, in the order of the uplinks: the gateway's and the router's, in a network of 24 bits.
    pub fn wires(mut self, wires: &[([u8; 4], [u8; 4])]) -> Self {
        self.wires = wires
            .iter()
            .map(|&(gateway, router_address)| (gateway.into(), router_address.into()))
            .collect();
        self
    }

    /// Builds it.
    #[track_caller]
    pub fn build(self) -> Site {
        let router = Namespace::new("router");
        let lan = Namespace::new("lan");
        let internet = Namespace::new("internet");
        for target in TARGETS {
            internet.ip(&format!("address add {target} dev lo"));
        }
        forward(&router);
        build_lan(&router, &lan, &self.interfaces);
        let providers: Vec<Provider> = self
            .interfaces
            .iter()
            .enumerate()
            .map(|(index, interface)| {
                let wire = self.wires.get(index).copied();
                Provider::build(index, interface, wire, &router, &internet)
            })
            .collect();
        let mut site = Site {
            clients: Vec::new(),
            providers,
            router,
            lan,
            internet,
        };
        for (index, provider) in site.providers.iter_mut().enumerate() {
            let metric = LEARNED_METRIC + index as u32;
            provider.set_router_address_v6(&site.router);
            if self.addressing == Addressing::Dhcp {
                provider.serve_dhcp();
                site.clients.push(dhcp::Client::start(
                    &site.router,
                    provider.interface(),
                    metric,
                ));
            } else {
                provider.set_router_address(&site.router);
            }
            if self.addressing == Addressing::Learned {
                provider.leave_default(&site.router, metric);
            }
        }
        for (client, provider) in site.clients.iter_mut().zip(&site.providers) {
            client.wait_for_lease(provider.router_address());
        }
        wait_for_addresses(&site.router);
        site
    }
}

impl Site {
    /// The number of the router's interface to a provider.
    #[track_caller]
    pub fn ifindex(&self, uplink: usize) -> u32 {
        self.router.ifindex(self.providers[uplink].interface())
    }
}

/// The targets as `IpAddr`s of both families, for tests that want one of each.
pub fn targets_of_both_families() -> [IpAddr; 2] {
    [TARGET.into(), TARGET_V6.into()]
}

pub(crate) fn forward(namespace: &Namespace) {
    namespace.sysctl("net.ipv4.ip_forward", "1");
    namespace.sysctl("net.ipv6.conf.all.forwarding", "1");
}

/// Even without duplicate detection the kernel takes an IPv6 address into use a little after it was set.
#[track_caller]
fn wait_for_addresses(namespace: &Namespace) {
    wait_until(
        "IPv6 addresses to be usable",
        ADDRESS_DEADLINE,
        || match namespace.ip("-6 -o address show tentative") {
            none if none.trim().is_empty() => Ok(()),
            some => Err(some),
        },
    );
}

fn build_lan(router: &Namespace, lan: &Namespace, uplinks: &[String]) {
    router.veth(LAN_INTERFACE, lan, "eth0");
    router.ip("address add 192.168.88.1/24 dev lan0");
    lan.ip("address add 192.168.88.2/24 dev eth0");
    lan.ip("route add default via 192.168.88.1");
    let uplinks: Vec<String> = uplinks.iter().map(|name| format!("\"{name}\"")).collect();
    router.nft(&format!(
        "table ip nat {{\nchain postrouting {{\ntype nat hook postrouting priority srcnat;\n\
         oifname {{ {} }} masquerade\n}}\n}}\n",
        uplinks.join(", ")
    ));
}
