//! Gateways that are learned from the routes of others.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use pingu_tests::lab::{
    advertisement,
    capture::Capture,
    daemon::{Daemon, START_DEADLINE},
    provider::ROUTER_SIDE,
    route_monitor::RouteMonitor,
    route_watch, routes,
    settings::Settings,
    site::{LEARNED_METRIC, Plan, Site, TARGET, TARGET_V6},
    status::{self, counter},
    tun::Tun,
    turn,
    wait::wait_until,
};

use crate::running::two_uplinks;

const DEADLINE: Duration = Duration::from_secs(10);

/// Until a gateway with other hardware is in use again: the kernel asks the old one three times, a second apart.
const EXCHANGED_MAX: Duration = Duration::from_secs(8);

/// How long an advertised router stays one: no test sees the end of it.
const LIFETIME_S: u16 = 1800;

#[test]
fn gateways_are_learned_from_dhcp_and_renewals_cause_no_write() {
    let _turn = turn::shared();
    let mut site = Plan::new(&["eno2", "wlo1"]).dhcp().build();
    let settings = Settings::quick()
        .uplink("fibre", "eno2", "auto", 88)
        .uplink("lte", "wlo1", "auto", 89);
    let mut daemon = Daemon::start(&site.router, &settings);
    let status = daemon.wait_until_up(&["fibre", "lte"]);
    assert_eq!(status::uplink(&status, "fibre")["gateway"], "10.0.1.1");
    assert_eq!(status::uplink(&status, "lte")["gateway"], "10.0.2.1");
    wait_until("both own routes", DEADLINE, || {
        let own = routes::own(&site.router);
        if own.len() == 2 {
            Ok(())
        } else {
            Err(format!("{own:?}"))
        }
    });
    let own = routes::own(&site.router);
    let learned = routes::defaults(&site.router)
        .into_iter()
        .filter(|line| line.contains("proto dhcp"));
    assert_eq!(
        learned.count(),
        2,
        "the overlay leaves learned routes alone"
    );

    let monitor = RouteMonitor::start(&site.router);
    let sent = sent(&status);
    for client in &mut site.clients {
        client.renew();
    }
    // Some bursts later the daemon has seen and digested the renewals.
    daemon.wait_for("more probes", DEADLINE, |status| {
        self::sent(status) >= sent + 12
    });
    let events = monitor.events();
    assert!(
        events.iter().any(|event| event.contains("proto dhcp")),
        "a renewal writes its route again: {events:?}"
    );
    let own_events: Vec<&String> = events
        .iter()
        .filter(|event| event.contains("proto 136"))
        .collect();
    assert!(own_events.is_empty(), "{own_events:?}");
    assert_eq!(routes::own(&site.router), own);
}

/// Some routers have one default over all their uplinks, as a multipath route or by nexthop objects.
#[test]
fn gateways_are_learned_from_defaults_with_several_next_hops() {
    let _turn = turn::shared();
    let multipath = "nexthop via 10.0.1.1 dev wan1 nexthop via 10.0.2.1 dev wan2 weight 3";
    for (objects, compatible) in [(false, "1"), (true, "1"), (true, "0")] {
        let site = Plan::new(&["wan1", "wan2"]).without_defaults().build();
        site.router
            .sysctl("net.ipv4.nexthop_compat_mode", compatible);
        if objects {
            site.router.ip_batch(
                "nexthop add id 1 via 10.0.1.1 dev wan1 proto bgp\n\
                 nexthop add id 2 via 10.0.2.1 dev wan2 proto bgp\n\
                 nexthop add id 3 group 1/2,3 proto bgp\n\
                 route add default nhid 3 proto bgp metric 1000\n",
            );
        } else {
            site.router.ip(&format!(
                "route add default proto bgp metric 1000 {multipath}"
            ));
        }
        let before = routes::foreign(&site.router);
        let settings = two_uplinks(Settings::quick());
        let mut daemon = Daemon::start(&site.router, &settings);
        let status = daemon.wait_until_up(&["fibre", "lte"]);
        assert_eq!(status::uplink(&status, "fibre")["gateway"], "10.0.1.1");
        assert_eq!(status::uplink(&status, "lte")["gateway"], "10.0.2.1");
        route_watch::wait_until_by(&site.router, TARGET, site.ifindex(0), DEADLINE);
        wait_until("both own routes", DEADLINE, || {
            let own = routes::own(&site.router);
            (own.len() == 2)
                .then_some(())
                .ok_or_else(|| format!("{own:?}"))
        });
        assert_eq!(routes::foreign(&site.router), before);
        daemon.stop();
        assert_eq!(routes::foreign(&site.router), before);
    }
}

/// A route for some packets only has a key of its own, and no place that pingu's could want.
#[test]
fn a_default_for_some_packets_stands_in_nobodys_way() {
    let _turn = turn::shared();
    let site = Plan::new(&["wan1", "wan2"]).build();
    site.router
        .ip("route add default via 10.0.2.1 tos 0x10 metric 88 proto static");
    site.router
        .ip("-6 route add default from 2001:db8:5::/48 via 2001:db8:2::1 metric 88 proto static");
    let before = routes::foreign(&site.router);
    let settings = two_uplinks(Settings::quick());
    let mut daemon = Daemon::start(&site.router, &settings);
    daemon.wait_until_up(&["fibre", "lte"]);
    wait_until("the own route of the fibre", DEADLINE, || {
        routes::own_over(&site.router, "wan1").ok_or_else(String::new)
    });
    let status = daemon.wait_until_up(&["fibre", "lte"]);
    assert_eq!(status["warnings"], serde_json::json!([]), "{status:#}");
    assert_eq!(status["active"], "fibre");
    assert_eq!(routes::foreign(&site.router), before);
}

#[test]
fn a_new_gateway_of_the_lease_is_followed() {
    let _turn = turn::shared();
    let site = Plan::new(&["wan1"]).build();
    let settings = Settings::quick().uplink("fibre", "wan1", "auto", 88);
    let mut daemon = Daemon::start(&site.router, &settings);
    daemon.wait_until_up(&["fibre"]);
    site.providers[0]
        .namespace
        .ip("address add 10.0.1.99/24 dev r0");
    site.router.ip(&format!(
        "route replace default via 10.0.1.99 dev wan1 proto dhcp metric {LEARNED_METRIC}"
    ));
    wait_until("the own route to follow", DEADLINE, || {
        let own = routes::own(&site.router);
        if own.len() == 1 && own[0].contains("via 10.0.1.99 ") {
            Ok(())
        } else {
            Err(format!("{own:?}"))
        }
    });
    let status = daemon.wait_until_up(&["fibre"]);
    assert_eq!(status::uplink(&status, "fibre")["gateway"], "10.0.1.99");
}

#[test]
fn an_ipv6_gateway_is_learned_from_advertisements_and_forgotten_when_they_are_taken_back() {
    let _turn = turn::shared();
    let site = Plan::new(&["wan1", "wan2"]).without_defaults().build();
    for provider in &site.providers {
        advertisement::accept(&site.router, provider.interface());
    }
    let settings = Settings::new()
        .probe(&format!("targets = [\"{TARGET_V6}\"]"))
        .probe("count = 3\nspacing = \"50ms\"\nperiod = \"200ms\"\ntimeout = \"200ms\"")
        .uplink("fibre", "wan1", "auto", 88)
        .uplink("lte", "wan2", "auto", 89);
    let mut daemon = Daemon::start(&site.router, &settings);
    for provider in &site.providers {
        advertisement::send(provider, LIFETIME_S);
    }
    let status = daemon.wait_until_up(&["fibre", "lte"]);
    let gateway = advertisement::gateway(&site.providers[0]).to_string();
    assert_eq!(status::uplink(&status, "fibre")["gateway"], *gateway);
    wait_until_v6_leaves_by(&site, "wan1");

    advertisement::send(&site.providers[0], 0);
    daemon.wait_until_down("fibre");
    wait_until_v6_leaves_by(&site, "wan2");

    advertisement::send(&site.providers[0], LIFETIME_S);
    daemon.wait_until_up(&["fibre"]);
    wait_until_v6_leaves_by(&site, "wan1");
}

/// Waits until it is an own route by which IPv6 leaves here.
fn wait_until_v6_leaves_by(site: &Site, interface: &str) {
    wait_until(&format!("IPv6 to leave by {interface}"), DEADLINE, || {
        let route = site.router.ip(&format!("-6 route get {TARGET_V6}"));
        if route.contains(&format!(" dev {interface} proto 136 ")) {
            Ok(())
        } else {
            Err(route)
        }
    });
}

#[test]
fn a_gateway_that_announces_other_hardware_is_followed() {
    let _turn = turn::shared();
    let site = Plan::new(&["wan1"]).build();
    // The kernel otherwise ignores announcements in an entry's first second.
    site.router.sysctl("net.ipv4.neigh.wan1.locktime", "0");
    let gateway = &site.providers[0].namespace;
    gateway.sysctl(&format!("net.ipv4.conf.{ROUTER_SIDE}.arp_notify"), "1");
    let settings = Settings::quick().uplink("fibre", "wan1", "auto", 88);
    let mut daemon = Daemon::start(&site.router, &settings);
    daemon.wait_until_up(&["fibre"]);
    gateway.ip(&format!("link set {ROUTER_SIDE} address 02:00:00:00:00:99"));
    let before = answered(&daemon.status().unwrap());
    daemon.wait_for("answers from there", DEADLINE, |status| {
        status::all_up(status, &["fibre"]) && answered(status) >= before + 12
    });
}

/// The kernel itself would trust the old address for half a minute.
#[test]
fn a_gateway_whose_hardware_is_exchanged_without_a_word_is_found_again() {
    let _turn = turn::shared();
    let site = Plan::new(&["wan1"]).build();
    let gateway = &site.providers[0].namespace;
    let settings = Settings::quick().uplink("fibre", "wan1", "auto", 88);
    let mut daemon = Daemon::start(&site.router, &settings);
    daemon.wait_until_up(&["fibre"]);
    // It learns nothing of whoever it would ask itself, and thereby says nothing.
    let router = site.providers[0].router_address();
    let hardware = site
        .router
        .mac("wan1")
        .map(|byte| format!("{byte:02x}"))
        .join(":");
    gateway.ip(&format!(
        "neighbour replace {router} dev {ROUTER_SIDE} lladdr {hardware} nud permanent"
    ));
    gateway.ip(&format!("link set {ROUTER_SIDE} address 02:00:00:00:00:99"));
    gateway.ip(&format!(
        "neighbour replace {router} dev {ROUTER_SIDE} lladdr {hardware} nud permanent"
    ));
    daemon.wait_until_down("fibre");
    let before = answered(&daemon.status().unwrap());
    daemon.wait_for("answers from there", EXCHANGED_MAX, |status| {
        status::all_up(status, &["fibre"]) && answered(status) >= before + 6
    });
}

#[test]
fn a_gateway_that_was_set_by_hand_stays_as_it_was_set() {
    let _turn = turn::shared();
    let site = Plan::new(&["wan1"]).build();
    let provider = &site.providers[0];
    // Such entries are there because the gateway cannot be asked.
    provider.set_arp(false);
    let hardware = provider
        .namespace
        .mac(ROUTER_SIDE)
        .map(|byte| format!("{byte:02x}"))
        .join(":");
    let gateway = provider.gateway();
    site.router.ip(&format!(
        "neighbour replace {gateway} dev wan1 lladdr {hardware} nud permanent"
    ));
    let before = site.router.ip("neighbour show dev wan1");
    let settings = Settings::quick().uplink("fibre", "wan1", "auto", 88);
    let mut daemon = Daemon::start(&site.router, &settings);
    daemon.wait_until_up(&["fibre"]);
    daemon.wait_for("some bursts", DEADLINE, |status| answered(status) >= 30);
    assert_eq!(site.router.ip("neighbour show dev wan1"), before);
}

#[test]
fn a_lease_of_another_address_is_probed_from_that_address() {
    let _turn = turn::shared();
    let site = Plan::new(&["wan1"]).build();
    let settings = Settings::quick().uplink("fibre", "wan1", "auto", 88);
    let mut daemon = Daemon::start(&site.router, &settings);
    daemon.wait_until_up(&["fibre"]);
    site.internet.ip("route add 10.0.1.77/32 via 10.255.1.2");
    let old = site.providers[0].router_address();
    site.router.ip_batch(&format!(
        "address del {old}/24 dev wan1\naddress add 10.0.1.77/24 dev wan1\n\
         route add default via 10.0.1.1 dev wan1 proto dhcp metric {LEARNED_METRIC}\n"
    ));
    let capture = Capture::start(&site.router, "wan1");
    let before = answered(&daemon.wait_until_up(&["fibre"]));
    daemon.wait_for("more answers", DEADLINE, |status| {
        answered(status) >= before + 6
    });
    let exchanges = capture.finish();
    let sources: BTreeSet<IpAddr> = exchanges
        .iter()
        .filter(|e| e.reply_ns.is_some())
        .map(|e| e.source)
        .collect();
    assert_eq!(sources, BTreeSet::from([IpAddr::from([10, 0, 1, 77])]));
    assert!(routes::own_over(&site.router, "wan1").is_some());
}

#[test]
fn an_uplink_waits_for_its_gateway_to_be_learned() {
    let _turn = turn::shared();
    let site = Plan::new(&["wan1", "wan2"]).without_defaults().build();
    let settings = Settings::quick()
        .uplink("fibre", "wan1", "auto", 88)
        .uplink("lte", "wan2", "10.0.2.1", 89);
    let mut daemon = Daemon::start(&site.router, &settings);
    let status = daemon.wait_until_up(&["lte"]);
    assert_ne!(status::state(&status, "fibre"), "up");
    assert!(
        status::uplink(&status, "fibre")["gateway"].is_null(),
        "{status:#}"
    );
    assert!(routes::own_over(&site.router, "wan1").is_none());
    route_watch::wait_until_by(&site.router, TARGET, site.ifindex(1), DEADLINE);

    site.providers[0].leave_default(&site.router, LEARNED_METRIC);
    daemon.wait_until_up(&["fibre"]);
    route_watch::wait_until_by(&site.router, TARGET, site.ifindex(0), DEADLINE);
}

#[test]
fn a_default_route_without_a_gateway_is_learned_as_the_device_itself() {
    let _turn = turn::shared();
    let site = Plan::new(&["wan1"]).build();
    let _tun = Tun::start(&site.router, "tun0");
    site.router.ip("address add 10.99.0.2/32 dev tun0");
    site.router.ip("route add default dev tun0 metric 1500");
    let settings = Settings::quick()
        .uplink("dsl", "tun0", "auto", 88)
        .uplink("fibre", "wan1", "auto", 89);
    let mut daemon = Daemon::start(&site.router, &settings);
    daemon.wait_until_up(&["dsl", "fibre"]);
    route_watch::wait_until_by(
        &site.router,
        TARGET,
        site.ifindex(0).max(site.router.ifindex("tun0")),
        DEADLINE,
    );
    let own = routes::own_over(&site.router, "tun0").expect("an own route over the tunnel");
    assert!(!own.contains(" via "), "{own}");
}

#[test]
fn probes_need_no_route_to_their_target() {
    let _turn = turn::shared();
    let site = Plan::new(&["wan1"]).without_defaults().build();
    // The kernel itself could not send there.
    site.router.ip(&format!("route add unreachable {TARGET}"));
    let settings = Settings::quick().uplink("fibre", "wan1", "10.0.1.1", 88);
    let mut daemon = Daemon::start(&site.router, &settings);
    let status = daemon.wait_for("answers", START_DEADLINE, |status| {
        counter(status::target(status, "fibre", 0), "answered") >= 6
    });
    assert_eq!(status::state(&status, "fibre"), "up", "{status:#}");
}

fn sent(status: &serde_json::Value) -> u64 {
    counter(status::target(status, "fibre", 0), "sent")
}

fn answered(status: &serde_json::Value) -> u64 {
    counter(status::target(status, "fibre", 0), "answered")
}
