//! Gateways that come and go with the leases of real DHCP clients and servers.

use std::{net::Ipv4Addr, time::Duration};

use pingu_tests::lab::{
    daemon::Daemon,
    dhclient::{Dhclient, Dhcpcd, Renewal},
    dhcp,
    dnsmasq::Dnsmasq,
    provider::ROUTER_SIDE,
    route_monitor::RouteMonitor,
    route_watch, routes,
    settings::Settings,
    site::{LEARNED_METRIC, Plan, Site, TARGET},
    status,
    stopwatch::Stopwatch,
    turn,
    wait::wait_until,
};

use crate::running::two_uplinks;

const DEADLINE: Duration = Duration::from_secs(10);

/// The goal: even a deletion that the kernel does not announce is noticed within this time.
const NOTICED_MAX: Duration = Duration::from_secs(1);

/// Nothing that a test waits for.
const UNHURRIED: Renewal = Renewal {
    every_s: 60,
    lease_s: 120,
};

/// The second gateway on the first provider's wire.
const OTHER_GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 99);

#[test]
fn dhclient_renewing_its_lease_with_the_same_gateway_causes_no_write() {
    let _turn = turn::shared();
    let (site, _server) = leased_by_dnsmasq();
    let renewal = Renewal {
        every_s: 2,
        lease_s: 60,
    };
    let mut client = Dhclient::start(&site.router, "wan1", LEARNED_METRIC, renewal);
    client.wait_for_lease(site.providers[0].router_address());
    let settings = two_uplinks(Settings::quick());
    let mut daemon = both_up(&site, &settings);
    let own = routes::own(&site.router);

    let monitor = RouteMonitor::start(&site.router);
    client.wait_for_renewals(2);
    wait_for_bursts(&mut daemon);
    assert_eq!(own_events(&monitor), Vec::<String>::new());
    assert_eq!(routes::own(&site.router), own);
}

#[test]
fn a_lease_that_runs_out_is_noticed_within_a_second_and_a_new_one_is_taken_up() {
    let _turn = turn::shared();
    let (site, server) = leased_by_dnsmasq();
    let renewal = Renewal {
        every_s: 3,
        lease_s: 6,
    };
    let mut client = Dhclient::start(&site.router, "wan1", LEARNED_METRIC, renewal);
    let address = site.providers[0].router_address();
    client.wait_for_lease(address);
    let settings = two_uplinks(Settings::quick());
    let mut daemon = both_up(&site, &settings);
    drop(server);

    let has_address = || {
        site.router
            .ip("-4 -o address show dev wan1")
            .contains(&address.to_string())
    };
    wait_until("the lease to run out", DEADLINE * 2, || {
        if has_address() {
            Err("the address is still there".to_owned())
        } else {
            Ok(())
        }
    });
    let start = Stopwatch::start();
    daemon.wait_until_down("fibre");
    route_watch::wait_until_by(&site.router, TARGET, site.ifindex(1), DEADLINE);
    assert!(start.elapsed() <= NOTICED_MAX, "{:?}", start.elapsed());
    assert_eq!(routes::own_over(&site.router, "wan1"), None);

    let _server = Dnsmasq::start(&site.providers[0]);
    daemon.wait_for("the uplink to return", DEADLINE * 3, |status| {
        status::all_up(status, &["fibre"])
    });
    route_watch::wait_until_by(&site.router, TARGET, site.ifindex(0), DEADLINE);
}

#[test]
fn an_address_that_goes_takes_the_uplink_down_within_a_second() {
    let _turn = turn::shared();
    let (site, _server) = leased_by_dnsmasq();
    let mut client = Dhclient::start(&site.router, "wan1", LEARNED_METRIC, UNHURRIED);
    let address = site.providers[0].router_address();
    client.wait_for_lease(address);
    let settings = two_uplinks(Settings::quick());
    let mut daemon = both_up(&site, &settings);
    site.router
        .ip(&format!("address del {address}/24 dev wan1"));
    let start = Stopwatch::start();
    let status = daemon.wait_until_down("fibre");
    assert!(start.elapsed() <= NOTICED_MAX, "{:?}", start.elapsed());
    assert!(
        status::uplink(&status, "fibre")["gateway"].is_null(),
        "{status:#}"
    );
    route_watch::wait_until_by(&site.router, TARGET, site.ifindex(1), DEADLINE);
}

#[test]
fn a_lease_of_udhcpc_that_names_another_gateway_moves_the_own_route() {
    let _turn = turn::shared();
    let (site, server) = leased_by_dnsmasq();
    let mut client = dhcp::Client::start(&site.router, "wan1", LEARNED_METRIC);
    client.wait_for_lease(site.providers[0].router_address());
    let settings = two_uplinks(Settings::quick());
    let mut daemon = both_up(&site, &settings);
    let before = only_own_over_wan1(&site);
    assert!(before.contains("via 10.0.1.1 "), "{before}");

    add_other_gateway(&site);
    server.offer_gateway(OTHER_GATEWAY);
    client.renew();
    wait_for_other_gateway(&site, &mut daemon);
}

#[test]
fn dhcpcds_gateway_is_learned_and_renewed_without_a_write_and_followed_when_it_changes() {
    let _turn = turn::shared();
    let (site, server) = leased_by_dnsmasq();
    let mut client = Dhcpcd::start(&site.router, "wan1", LEARNED_METRIC);
    client.wait_for_lease(site.providers[0].router_address());
    let settings = two_uplinks(Settings::quick());
    let mut daemon = both_up(&site, &settings);
    let own = routes::own(&site.router);

    let monitor = RouteMonitor::start(&site.router);
    client.renew();
    wait_for_bursts(&mut daemon);
    assert_eq!(own_events(&monitor), Vec::<String>::new());
    assert_eq!(routes::own(&site.router), own);

    add_other_gateway(&site);
    server.offer_gateway(OTHER_GATEWAY);
    client.renew();
    wait_for_other_gateway(&site, &mut daemon);
}

/// A site whose first uplink has no address yet but somebody to ask for one.
fn leased_by_dnsmasq() -> (Site, Dnsmasq) {
    let site = Plan::new(&["wan1", "wan2"]).build();
    // With the address the kernel drops the default route that it served.
    site.router.ip("-4 address flush dev wan1");
    // dhclient reads answers from the wire, where those to a request that was given another port would have that one.
    site.router.nft(
        "table ip untracked {\nchain in {\ntype filter hook prerouting priority raw;\nudp dport 68 notrack\n}\n\
         chain out {\ntype filter hook output priority raw;\nudp sport 68 notrack\n}\n}\n",
    );
    let server = Dnsmasq::start(&site.providers[0]);
    (site, server)
}

/// A daemon whose two own routes stand.
fn both_up(site: &Site, settings: &Settings) -> Daemon {
    let mut daemon = Daemon::start(&site.router, settings);
    daemon.wait_until_up(&["fibre", "lte"]);
    wait_until("both own routes", DEADLINE, || {
        let own = routes::own(&site.router);
        if own.len() == 2 {
            Ok(())
        } else {
            Err(format!("{own:?}"))
        }
    });
    daemon
}

/// Some bursts later the daemon has seen and digested whatever was to be seen.
fn wait_for_bursts(daemon: &mut Daemon) {
    let sent =
        |status: &serde_json::Value| status::counter(status::target(status, "fibre", 0), "sent");
    let before = sent(&daemon.status().expect("the daemon runs"));
    daemon.wait_for("more probes", DEADLINE, |status| {
        sent(status) >= before + 12
    });
}

fn own_events(monitor: &RouteMonitor<'_>) -> Vec<String> {
    let events = monitor.events().into_iter();
    events.filter(|event| event.contains("proto 136")).collect()
}

fn only_own_over_wan1(site: &Site) -> String {
    let own = routes::own(&site.router);
    let mut over: Vec<String> = own
        .iter()
        .filter(|line| line.contains(" dev wan1 "))
        .cloned()
        .collect();
    assert_eq!(over.len(), 1, "{own:?}");
    over.remove(0)
}

fn add_other_gateway(site: &Site) {
    site.providers[0]
        .namespace
        .ip(&format!("address add {OTHER_GATEWAY}/24 dev {ROUTER_SIDE}"));
}

fn wait_for_other_gateway(site: &Site, daemon: &mut Daemon) {
    wait_until("the own route to follow", DEADLINE, || {
        let own: Vec<String> = routes::own(&site.router)
            .into_iter()
            .filter(|line| line.contains(" dev wan1 "))
            .collect();
        if own.len() == 1 && own[0].contains(&format!("via {OTHER_GATEWAY} ")) {
            Ok(())
        } else {
            Err(format!("{own:?}"))
        }
    });
    let status = daemon.wait_until_up(&["fibre"]);
    assert_eq!(
        status::uplink(&status, "fibre")["gateway"],
        OTHER_GATEWAY.to_string()
    );
}
