//! That each check leaves by its uplink, and how connections fail.

use std::net::SocketAddr;

use pingu_tests::lab::{
    daemon::Daemon,
    route_watch,
    settings::Settings,
    site::{Plan, TARGET, TARGET_V6},
    status, turn,
    wait::wait_until,
};

use super::{
    DEADLINE, NO_CONTENT, both_with, check, first, http_server, wait_for_check, wait_for_request,
};
use crate::running::running;

#[test]
fn a_connection_is_made_over_each_uplink_and_over_no_other() {
    let _turn = turn::alone();
    let site = Plan::new(&["wan1", "wan2"]).build();
    let server = http_server(&site, NO_CONTENT);
    let foreign = site.router.ip("-4 rule show");
    for provider in &site.providers {
        provider.count("tcp dport 80");
    }
    let only_lte = check("tcp", "address = \"8.8.8.8:80\"");
    let settings = Settings::quick()
        .uplink("fibre", "wan1", "auto", 88)
        .uplink_with("lte", "wan2", "auto", 89, &only_lte);
    let mut daemon = Daemon::start(&site.router, &settings);
    daemon.wait_until_up(&["fibre", "lte"]);
    let status = wait_for_check(&mut daemon, "lte", "up", "connected to 8.8.8.8:80");
    assert_eq!(status["active"], "fibre", "{status:#}");
    assert_eq!(first(&status, "lte")["kind"], "tcp");
    assert!(
        first(&status, "lte")["took_ms"]
            .as_f64()
            .is_some_and(|took| took > 0.0)
    );
    wait_for_request(&server, site.providers[1].router_address().into());
    assert_eq!(
        site.providers[0].counted(),
        0,
        "nothing may go by the other"
    );
    assert!(site.providers[1].counted() >= 3);

    let rules = site.router.ip("-details -4 rule show");
    assert!(
        rules.contains("19000:\tfrom all oif wan2 lookup 136001 proto kernel"),
        "{rules}"
    );
    assert!(!rules.contains("wan1"), "{rules}");
    let table = site.router.ip("-4 route show table 136001");
    assert!(
        table.contains("default via 10.0.2.1 dev wan2 proto 136"),
        "{table}"
    );
    // What is bound to no interface does not see them.
    assert_eq!(
        route_watch::way_to(&site.router, TARGET),
        Some(site.ifindex(0))
    );
    assert!(daemon.stop().success());
    assert_eq!(site.router.ip("-4 rule show"), foreign);
    assert_eq!(site.router.ip("-4 route show table all proto 136"), "");
}

#[test]
fn a_check_runs_over_an_uplink_that_is_down_and_has_no_route() {
    let _turn = turn::alone();
    let settings = both_with(&check("tcp", "address = \"8.8.8.8:80\"\nrequired = false"));
    // Or the check's own handshakes would keep the uplink up.
    let settings = settings.health("handshakes = \"off\"");
    let (site, mut daemon) = running(&settings);
    let server = http_server(&site, NO_CONTENT);
    // Pings are lost, and TCP passes.
    site.providers[0].lose_first(1_000_000);
    let status = daemon.wait_until_down("fibre");
    assert_eq!(status::state(&status, "lte"), "up");
    wait_until("no own route by it", DEADLINE, || {
        let routes = site.router.ip("-4 route show default proto 136");
        if routes.contains("wan1") {
            Err(routes)
        } else {
            Ok(())
        }
    });
    wait_for_check(&mut daemon, "fibre", "up", "connected");
    let before = server.requests().len();
    wait_until("further requests", DEADLINE, || {
        let from = site.providers[0].router_address();
        let requests = server.requests();
        let further = requests[before..].iter().filter(|r| r.from == from);
        if further.count() >= 2 {
            Ok(())
        } else {
            Err(format!("{requests:?}"))
        }
    });
    assert_eq!(
        status::state(&daemon.status().expect("pingu answers"), "fibre"),
        "down"
    );
}

#[test]
fn without_any_route_in_main_and_with_the_same_gateway_twice_checks_find_their_way() {
    let _turn = turn::alone();
    let site = Plan::new(&["wan1", "wan2"])
        .same_gateway()
        .without_defaults()
        .build();
    let server = http_server(&site, NO_CONTENT);
    let checks = check("http", "url = \"http://8.8.8.8/\"\nstatus = 204");
    let settings = Settings::quick()
        .uplink_with("one", "wan1", "192.168.1.1", 88, &checks)
        .uplink_with("two", "wan2", "192.168.1.1", 89, &checks);
    for provider in &site.providers {
        let own = provider.router_address();
        provider.count(&format!("tcp dport 80 ip saddr != {own}"));
    }
    // Both start as a black hole for pings: nothing ever gets a route in main.
    for provider in &site.providers {
        provider.lose_first(1_000_000);
    }
    let mut daemon = Daemon::start(&site.router, &settings);
    for (uplink, provider) in ["one", "two"].into_iter().zip(&site.providers) {
        wait_for_check(&mut daemon, uplink, "up", "answers 204");
        wait_for_request(&server, provider.router_address().into());
        assert_eq!(provider.counted(), 0, "each leaves by its own wire alone");
    }
}

#[test]
fn a_closed_port_and_a_black_hole_are_told_apart_and_fell_the_uplink() {
    let _turn = turn::alone();
    let settings = both_with(&check("tcp", "name = \"web\"\naddress = \"1.1.1.1:81\""));
    let (site, mut daemon) = running(&settings);
    let address: SocketAddr = "1.1.1.1:81".parse().expect("an address");
    let _server = super::HttpServer::start(&site.internet, &[address], NO_CONTENT);
    wait_for_check(&mut daemon, "lte", "up", "connected");
    site.providers[0].refuse_tcp(true);
    let status = daemon.wait_until_down("fibre");
    assert_eq!(first(&status, "fibre")["cause"], "refused", "{status:#}");
    let reason = status::reason(&status, "fibre");
    assert_eq!(
        reason,
        "check web: cannot connect to 1.1.1.1:81: connection refused"
    );
    // Pings pass all the time.
    assert_eq!(status::target(&status, "fibre", 0)["state"], "up");
    site.providers[1].block(&["1.1.1.1".parse().expect("an address")]);
    let status = wait_for_check(&mut daemon, "lte", "down", "time is over");
    assert_eq!(first(&status, "lte")["cause"], "timeout", "{status:#}");
    site.providers[0].repair();
    site.providers[0]
        .namespace
        .ip("route add unreachable 1.1.1.1");
    let status = wait_for_check(&mut daemon, "fibre", "down", "no route to host");
    assert_eq!(
        first(&status, "fibre")["cause"],
        "unreachable",
        "{status:#}"
    );
    site.providers[0]
        .namespace
        .ip("route del unreachable 1.1.1.1");
    site.providers[1].repair();
    daemon.wait_until_up(&["fibre", "lte"]);
}

#[test]
fn two_uplinks_on_one_wire_are_told_apart_by_their_sources() {
    let _turn = turn::alone();
    let site = Plan::new(&["wan1", "wan2"]).build();
    let server = http_server(&site, NO_CONTENT);
    // A second address, and a second gateway, on the first wire.
    site.router.ip("address add 10.0.9.2/24 dev wan1");
    site.providers[0]
        .namespace
        .ip("address add 10.0.9.1/24 dev r0");
    site.internet.ip("route add 10.0.9.2/32 via 10.255.1.2");
    let checks = check("http", "url = \"http://8.8.8.8/\"\nstatus = 204");
    let settings = Settings::quick()
        .uplink_with(
            "one",
            "wan1",
            "10.0.1.1",
            88,
            &format!("source = \"10.0.1.2\"\n{checks}"),
        )
        .uplink_with(
            "two",
            "wan1",
            "10.0.9.1",
            89,
            &format!("source = \"10.0.9.2\"\n{checks}"),
        );
    let mut daemon = Daemon::start(&site.router, &settings);
    for (uplink, source) in [("one", "10.0.1.2"), ("two", "10.0.9.2")] {
        wait_for_check(&mut daemon, uplink, "up", "answers 204");
        wait_for_request(&server, source.parse().expect("an address"));
    }
    let rules = site.router.ip("-4 rule show");
    for rule in [
        "from 10.0.1.2 oif wan1 lookup 136000",
        "from 10.0.9.2 oif wan1 lookup 136001",
    ] {
        assert!(rules.contains(rule), "{rules}");
    }
    let table = site.router.ip("-4 route show table 136001");
    assert!(table.contains("default via 10.0.9.1 dev wan1"), "{table}");
}

#[test]
fn ipv6_checks_leave_by_their_uplink_as_well_and_link_local_hosts_stay_near() {
    let _turn = turn::alone();
    let site = Plan::new(&["wan1", "wan2"]).build();
    let address = SocketAddr::new(TARGET_V6.into(), 80);
    let server = super::HttpServer::start(&site.internet, &[address], NO_CONTENT);
    let checks = check(
        "http",
        &format!("url = \"http://[{TARGET_V6}]/\"\nstatus = [204, \"3xx\"]"),
    );
    let gateways = |index: usize| {
        let provider = &site.providers[index];
        format!(
            "[\"{}\", \"{}\"]",
            provider.gateway(),
            provider.gateway_v6()
        )
    };
    let settings = Settings::quick()
        .uplink_with("fibre", "wan1", &gateways(0), 88, &checks)
        .uplink_with("lte", "wan2", &gateways(1), 89, &checks);
    let mut daemon = Daemon::start(&site.router, &settings);
    for (uplink, provider) in ["fibre", "lte"].into_iter().zip(&site.providers) {
        wait_for_check(&mut daemon, uplink, "up", "answers 204");
        wait_for_request(&server, provider.router_address_v6().into());
    }
    let way = site.router.ip("-6 route get fe80::1234 oif wan2");
    assert!(!way.contains("via"), "{way}");
    assert!(daemon.stop().success());
    let left =
        site.router.ip("-6 rule show") + &site.router.ip("-6 route show table all proto 136");
    assert!(!left.contains("wan2"), "{left}");
}

#[test]
fn a_strict_reverse_path_filter_is_named_and_a_table_is_the_cure() {
    let _turn = turn::alone();
    let site = Plan::new(&["wan1", "wan2"]).build();
    let _server = http_server(&site, NO_CONTENT);
    for interface in ["wan1", "wan2"] {
        site.router
            .sysctl(&format!("net.ipv4.conf.{interface}.rp_filter"), "1");
    }
    let checks = check("tcp", "address = \"8.8.8.8:80\"\nrequired = false");
    let start = |table: &str| {
        let settings = Settings::quick()
            .uplink_with("fibre", "wan1", "auto", 88, &checks)
            .uplink_with("lte", "wan2", "auto", 89, &format!("{table}\n{checks}"));
        let daemon = Daemon::start(&site.router, &settings);
        (settings, daemon)
    };
    let (_settings, mut daemon) = start("");
    wait_for_check(&mut daemon, "fibre", "up", "connected");
    let status = wait_for_check(&mut daemon, "lte", "down", "rp_filter is strict");
    assert_eq!(first(&status, "lte")["cause"], "timeout");
    assert_eq!(
        status::state(&status, "lte"),
        "up",
        "it is not required: {status:#}"
    );
    assert!(
        status::reason(&status, "lte").contains("; check tcp: "),
        "{status:#}"
    );
    site.router.sysctl("net.ipv4.conf.wan2.rp_filter", "2");
    wait_for_check(&mut daemon, "lte", "up", "connected");
    site.router.sysctl("net.ipv4.conf.wan2.rp_filter", "1");
    wait_for_check(&mut daemon, "lte", "down", "rp_filter is strict");
    assert!(daemon.stop().success());
    let (_settings, mut daemon) = start("table = 202");
    wait_for_check(&mut daemon, "lte", "up", "connected");
    let rules = site.router.ip("-4 rule show");
    assert!(
        rules.contains("19000:\tfrom all oif wan2 lookup 202"),
        "{rules}"
    );
}
