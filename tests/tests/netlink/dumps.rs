//! What a snapshot holds.

use std::{net::IpAddr, thread};

use pingu::{
    netlink::{KernelRoutes, RouteTable},
    network::{Hop, LinkLayer, NeighbourState, NextHop},
};

use crate::harness::{DEADLINE, OWN, ip, lab};

#[test]
fn links_tell_layer_state_and_size() {
    lab(async |mut lab| {
        ip("link set up0 mtu 1400 address 02:00:00:00:00:01");
        ip("link set up1 down");
        let up0 = lab.link("up0").await;
        assert_eq!(up0.layer, LinkLayer::Ethernet([2, 0, 0, 0, 0, 1]));
        assert_eq!(
            (up0.admin_up, up0.carrier, up0.mtu_bytes),
            (true, true, 1400)
        );
        let up1 = lab.link("up1").await;
        assert_eq!((up1.admin_up, up1.carrier), (false, false));
        let tun0 = lab.link("tun0").await;
        assert_eq!(tun0.layer, LinkLayer::Bare);
        // Nobody has opened it.
        assert_eq!((tun0.admin_up, tun0.carrier), (true, false));
        // Loopback has an Ethernet address and is none.
        assert_eq!(lab.link("lo").await.layer, LinkLayer::Other(772));
    });
}

#[test]
fn a_link_answers_to_each_of_its_names() {
    lab(async |mut lab| {
        let long = "uplink-towards-the-provider-in-the-basement";
        ip(&format!(
            "link property add dev up0 altname fibre altname {long}"
        ));
        let up0 = lab.link("up0").await;
        assert!(
            ["up0", "fibre", long]
                .iter()
                .all(|name| up0.is_called(name))
        );
        let up1 = lab.link("up1").await;
        assert!(up1.is_called("up1") && !up1.is_called("fibre"));
    });
}

#[test]
fn a_link_whose_far_end_is_down_has_no_carrier() {
    lab(async |mut lab| {
        lab.peer.ip("link set peer0 down").unwrap();
        let deadline = tokio::time::Instant::now() + DEADLINE;
        while lab.link("up0").await.carrier {
            assert!(tokio::time::Instant::now() < deadline);
        }
        assert!(lab.link("up0").await.admin_up);
    });
}

#[test]
fn a_dormant_link_has_no_carrier() {
    lab(async |mut lab| {
        lab.peer.ip("link set peer0 down").unwrap();
        ip("link set up0 mode dormant");
        lab.peer.ip("link set peer0 up").unwrap();
        let deadline = tokio::time::Instant::now() + DEADLINE;
        while !ip("link show up0").contains("state DORMANT") {
            assert!(tokio::time::Instant::now() < deadline);
        }
        assert!(ip("link show up0").contains("LOWER_UP"));
        assert!(!lab.link("up0").await.carrier);
    });
}

#[test]
fn addresses_tell_whether_they_may_be_used() {
    lab(async |mut lab| {
        ip("addr add 10.0.0.3/24 dev up0");
        ip("addr add 169.254.7.7/16 dev up0 scope link");
        ip("-6 addr add 2001:db8:0::3/64 dev up0 nodad preferred_lft 0");
        // Nobody is there to detect duplicates with until it is up.
        std::fs::write("/proc/sys/net/ipv6/conf/up1/accept_dad", "1").unwrap();
        ip("link set up1 down");
        ip("-6 addr add 2001:db8:1::3/64 dev up1");
        let snapshot = lab.look().await;
        let find = |text: &str| {
            let address: IpAddr = text.parse().unwrap();
            let mut all = snapshot.addresses.iter();
            all.find(|entry| entry.address == address).unwrap()
        };
        let plain = |text| {
            let entry = find(text);
            (
                entry.prefix_len,
                entry.global,
                entry.usable,
                entry.secondary,
            )
        };
        assert_eq!(plain("10.0.0.2"), (24, true, true, false));
        assert_eq!(plain("10.0.0.3"), (24, true, true, true));
        assert_eq!(plain("169.254.7.7"), (16, false, true, false));
        // The local end, not the peer's.
        assert_eq!(plain("10.9.0.2"), (32, true, true, false));
        assert_eq!(plain("2001:db8::2"), (64, true, true, false));
        assert_eq!(plain("2001:db8::3"), (64, true, false, false));
        assert_eq!(plain("2001:db8:1::3"), (64, true, false, false));
        assert_eq!(plain("127.0.0.1"), (8, false, true, false));
    });
}

#[test]
fn only_default_routes_of_the_main_table_are_seen() {
    lab(async |mut lab| {
        for family in ["-4", "-6"] {
            let (gateway, net) = match family {
                "-4" => ("10.0.0.1", "192.0.2.0/24"),
                _ => ("2001:db8::1", "2001:db8:ffff::/48"),
            };
            ip(&format!(
                "{family} route add default via {gateway} table 100"
            ));
            ip(&format!(
                "{family} route add default via {gateway} table 70000"
            ));
            ip(&format!("{family} route add {net} via {gateway}"));
            ip(&format!("{family} rule add from all lookup 100"));
        }
        assert_eq!(lab.look().await.routes, []);
        ip("route add default via 10.0.0.1 metric 5 proto dhcp");
        ip("-6 route add default via 2001:db8::1 metric 6 proto ra");
        let routes = lab.look().await.routes;
        let keys: Vec<_> = routes
            .iter()
            .map(|route| {
                (
                    route.ipv6(),
                    route.table.0,
                    route.metric.0,
                    route.protocol.0,
                )
            })
            .collect();
        assert_eq!(keys, [(false, 254, 5, 16), (true, 254, 6, 9)]);
    });
}

#[test]
fn a_namespace_without_any_route_is_empty_and_no_error() {
    lab(async |mut lab| {
        for name in ["up0", "up1", "tun0", "lo"] {
            ip(&format!("link set {name} down"));
        }
        assert_eq!(lab.look().await.routes, []);
    });
}

#[test]
fn a_namespace_without_a_main_table_is_empty_and_no_error() {
    // Loopback stays down here: its address is what makes the kernel create the tables.
    let routes = thread::spawn(|| {
        // SAFETY: a plain system call; the thread leaves the process's namespace for one of its own.
        assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNET) }, 0);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut routes = KernelRoutes::new(OWN).unwrap();
            routes.snapshot().await.unwrap().routes
        })
    });
    assert_eq!(routes.join().unwrap(), []);
}

#[test]
fn next_hops_that_pingu_leaves_alone_are_named() {
    lab(async |mut lab| {
        for (metric, kind) in (20..).zip(["unreachable", "blackhole", "throw", "prohibit"]) {
            ip(&format!("route add {kind} default metric {metric}"));
            ip(&format!("-6 route add {kind} default metric {metric}"));
            let named = NextHop::Other(kind.to_owned());
            assert_eq!(lab.route(false, metric).await.next_hop, named);
            assert_eq!(lab.route(true, metric).await.next_hop, named);
        }
        ip("route add default via 10.0.0.1 tos 0x10 metric 30");
        let named = NextHop::Selective("for packets with tos 0x10".to_owned());
        assert_eq!(lab.route(false, 30).await.next_hop, named);
        ip("-6 route add default from 2001:db8:5::/48 via 2001:db8::1 metric 32");
        let named = NextHop::Selective("for packets from certain sources".to_owned());
        assert_eq!(lab.route(true, 32).await.next_hop, named);
    });
}

#[test]
fn every_hop_of_several_is_seen() {
    lab(async |mut lab| {
        let (up0, up1, tun0) = (
            lab.ifindex("up0").await,
            lab.ifindex("up1").await,
            lab.ifindex("tun0").await,
        );
        ip(
            "route add default metric 10 nexthop via 203.0.113.1 dev up0 onlink weight 3 \
             nexthop via inet6 2001:db8:1::1 dev up1 nexthop dev tun0",
        );
        ip(
            "-6 route add default metric 11 nexthop via 2001:db8::1 dev up0 nexthop via 2001:db8:1::1 dev up1",
        );
        let hop = |ifindex, gateway: Option<&str>, onlink| Hop {
            ifindex,
            gateway: gateway.map(|gateway| gateway.parse().unwrap()),
            onlink,
        };
        let several = |what: &str, hops: &[Hop]| NextHop::Several {
            what: what.to_owned(),
            hops: hops.to_vec(),
        };
        let three = [
            hop(up0, Some("203.0.113.1"), true),
            hop(up1, Some("2001:db8:1::1"), false),
            hop(tun0, None, false),
        ];
        let two = [
            hop(up0, Some("2001:db8::1"), false),
            hop(up1, Some("2001:db8:1::1"), false),
        ];
        let v4 = lab.route(false, 10).await.next_hop;
        assert_eq!(v4, several("multipath", &three));
        let v6 = lab.route(true, 11).await.next_hop;
        assert_eq!(v6, several("multipath", &two));
    });
}

/// Whether the kernel names the hops of an object in a dump of routes or not, they are known.
#[test]
fn the_hops_of_somebody_elses_nexthop_objects_are_known() {
    for compatible in ["1", "0"] {
        lab(async move |mut lab| {
            std::fs::write("/proc/sys/net/ipv4/nexthop_compat_mode", compatible).unwrap();
            let (up0, up1) = (lab.ifindex("up0").await, lab.ifindex("up1").await);
            ip("nexthop add id 7 via 10.0.0.1 dev up0 proto bgp");
            ip("nexthop add id 8 via 10.1.0.1 dev up1 proto bgp");
            ip("nexthop add id 9 group 7,3/8,1 proto bgp");
            ip("nexthop add id 17 via 2001:db8::1 dev up0 proto bgp");
            ip("nexthop add id 18 via 2001:db8:1::1 dev up1 proto bgp");
            ip("nexthop add id 19 group 17/18 proto bgp");
            ip("route add default nhid 7 metric 7");
            ip("route add default nhid 9 metric 9");
            ip("-6 route add default nhid 17 metric 17");
            ip("-6 route add default nhid 19 metric 19");
            let gateway = |ifindex, gateway: &str| Hop {
                ifindex,
                gateway: Some(gateway.parse().unwrap()),
                onlink: false,
            };
            let first = |ipv6| gateway(up0, if ipv6 { "2001:db8::1" } else { "10.0.0.1" });
            let second = |ipv6| gateway(up1, if ipv6 { "2001:db8:1::1" } else { "10.1.0.1" });
            for (ipv6, id, hops) in [
                (false, 7, vec![first(false)]),
                (false, 9, vec![first(false), second(false)]),
                (true, 17, vec![first(true)]),
                (true, 19, vec![first(true), second(true)]),
            ] {
                let what = format!("nexthop object {id}");
                let found = lab.route(ipv6, id).await.next_hop;
                assert_eq!(found, NextHop::Several { what, hops }, "{compatible}");
            }
        });
    }
}

#[test]
fn an_ipv4_route_may_have_an_ipv6_gateway() {
    lab(async |mut lab| {
        let ifindex = lab.ifindex("up0").await;
        ip("-4 route add default via inet6 2001:db8::1 dev up0 metric 5");
        let gateway = "2001:db8::1".parse().unwrap();
        let route = lab.route(false, 5).await;
        assert_eq!(
            route.next_hop,
            NextHop::Gateway {
                ifindex,
                gateway,
                onlink: false
            }
        );
    });
}

#[test]
fn neighbours_are_stations_one_can_send_to() {
    lab(async |mut lab| {
        let ifindex = lab.ifindex("up0").await;
        ip("neigh add 10.0.0.9 lladdr 02:00:00:00:00:09 dev up0 nud reachable");
        ip("neigh add 2001:db8::9 lladdr 02:00:00:00:00:0a dev up0 nud stale");
        ip("neigh add 10.0.0.10 dev up0 nud failed");
        ip("neigh add 10.0.0.12 lladdr 02:00:00:00:00:0c dev up0 nud permanent");
        ip("neigh add 10.0.0.13 lladdr 02:00:00:00:00:0d dev up0 nud noarp");
        // Made by hand, multicast and broadcast look like any other entry.
        ip("neigh add 224.0.0.9 lladdr 01:00:5e:00:00:09 dev up0 nud permanent");
        ip("neigh add 224.0.0.10 lladdr 02:00:00:00:00:0b dev up0 nud permanent");
        ip("neigh add 10.0.0.11 lladdr 01:00:5e:00:00:0b dev up0 nud permanent");
        ip("neigh add 10.0.0.255 lladdr ff:ff:ff:ff:ff:ff dev up0 nud permanent");
        let mut found: Vec<_> = lab.look().await.neighbours;
        found.retain(|entry| entry.ifindex == ifindex && !is_link_local(entry.address));
        found.sort_by_key(|entry| entry.address);
        let found: Vec<_> = found
            .iter()
            .map(|entry| (entry.address.to_string(), entry.state))
            .collect();
        assert_eq!(
            found,
            [
                (
                    "10.0.0.9".to_owned(),
                    NeighbourState::Usable([2, 0, 0, 0, 0, 9])
                ),
                ("10.0.0.10".to_owned(), NeighbourState::Failed),
                (
                    "10.0.0.12".to_owned(),
                    NeighbourState::Fixed([2, 0, 0, 0, 0, 12])
                ),
                (
                    "10.0.0.13".to_owned(),
                    NeighbourState::Fixed([2, 0, 0, 0, 0, 13])
                ),
                (
                    "2001:db8::9".to_owned(),
                    NeighbourState::Usable([2, 0, 0, 0, 0, 10])
                ),
            ]
        );
    });
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}
