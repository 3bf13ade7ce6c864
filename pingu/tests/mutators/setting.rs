//! A random configuration, and the router that it is for: up to three uplinks, each with both families.

use std::net::IpAddr;

use pingu::{
    netlink::model::{Addition, End, FakeKernel, Verb},
    network::{Link, LinkLayer, NextHop, Route, default_of},
    units::{Ifindex, Metric, Protocol, TableId},
};

use crate::random::Random;

/// `RTPROT_DHCP` and `RTPROT_RA`: who teaches the gateways.
const TEACHERS: [Protocol; 2] = [Protocol(16), Protocol(9)];

/// Metrics of learned routes: this plus the uplink's place.
const LEARNED_METRIC: u32 = 1000;

/// The configuration.
pub fn configuration(random: &mut Random) -> String {
    let mode = random.of(&["metric", "ordered", "balance"]);
    let all_down = random.of(&["keep", "first", "unreachable"]);
    let learned = random.of(&["overlay", "overlay", "adopt"]);
    let rules = random.of(&["kernel", "own"]);
    let prefixes = random.of(&[
        "[\"default\"]",
        "[\"default\"]",
        "[\"default\", \"198.51.100.0/24\"]",
    ]);
    let mut text = format!(
        "learned_routes = \"{learned}\"\n[rules]\nprotocol = \"{rules}\"\n[probe]\n\
         targets = [\"192.0.2.1\", \"2001:db8:ffff::1\"]\nperiod = \"1s\"\ncount = 1\ntimeout = \"500ms\"\n\
         [health]\nmax_lost = 0\n[[group]]\nname = \"g\"\nmode = \"{mode}\"\nwhen_all_down = \"{all_down}\"\nprefixes = {prefixes}\n"
    );
    if mode != "metric" {
        text += "start_metric = 50\n";
    }
    for index in 0..1 + random.below(3) {
        text += &format!("[[uplink]]\nname = \"u{index}\"\ninterface = \"wan{index}\"\n");
        if mode == "metric" {
            text += &format!("metric = {}\n", 10 + index);
        }
        if random.percent(50) {
            text += &format!("table = {}\nfwmark = {}\n", 100 + index, 1 + index);
        }
        if random.percent(30) {
            let kind = random.of(&["unicast", "blackhole", "unreachable"]);
            let table = random.of(&["\"main\"", "300"]);
            text += &format!(
                "[[uplink.advertise]]\nprefixes = [\"203.0.{index}.0/24\"]\ntable = {table}\nmetric = 77\nkind = \"{kind}\"\n"
            );
        }
    }
    text
}

/// The number of an uplink's interface when it is made for the `generation`th time.
pub fn ifindex(uplink: usize, generation: usize) -> Ifindex {
    Ifindex((10 + 10 * uplink + generation) as u32)
}

/// Its interface.
pub fn plug(model: &mut FakeKernel, uplink: usize, generation: usize) {
    let ifindex = ifindex(uplink, generation);
    let link = Link {
        ifindex,
        name: format!("wan{uplink}"),
        layer: LinkLayer::Ethernet([2, 0, 0, 0, 0, ifindex.0 as u8]),
        admin_up: false,
        carrier: false,
        is_port: false,
        mtu_bytes: 1500,
        alternative_names: Vec::new(),
    };
    model.add_link(link, End::Outside(true));
}

/// Its addresses.
pub fn addresses(uplink: usize) -> [(IpAddr, u8); 2] {
    let v4: IpAddr = [10, 0, uplink as u8, 2].into();
    let v6 = format!("2001:db8:{uplink}::2").parse().unwrap();
    [(v4, 24), (v6, 64)]
}

/// An address that it may have beside them, in a network of its own.
pub fn another_address(uplink: usize, ipv6: bool) -> (IpAddr, u8) {
    match ipv6 {
        false => ([172, 16, uplink as u8, 2].into(), 24),
        true => (format!("2001:db8:10{uplink}::2").parse().unwrap(), 64),
    }
}

/// One of its gateways.
pub fn gateway(uplink: usize, ipv6: bool, second: bool) -> IpAddr {
    let host = if second { 254 } else { 1 };
    match ipv6 {
        false => [10, 0, uplink as u8, host].into(),
        true => format!("2001:db8:{uplink}::{host}").parse().unwrap(),
    }
}

/// Its lease: the default route that a client learned, in its own place.
pub fn lease(
    model: &mut FakeKernel,
    uplink: usize,
    ifindex: Ifindex,
    ipv6: bool,
    second: bool,
) -> bool {
    let route = Route {
        destination: default_of(ipv6),
        table: TableId::MAIN,
        metric: Metric(LEARNED_METRIC + uplink as u32),
        protocol: TEACHERS[usize::from(ipv6)],
        next_hop: NextHop::Gateway {
            ifindex,
            gateway: gateway(uplink, ipv6, second),
            onlink: false,
        },
        preferred_source: None,
        wire: Vec::new(),
    };
    model.route(Verb::Replace, &Addition::from(&route)).is_ok()
}
