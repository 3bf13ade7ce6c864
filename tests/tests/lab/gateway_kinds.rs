//! Learned default routes of every kind that points somewhere, and own routes of the same kind.

use std::time::Duration;

use pingu_tests::lab::{
    advertisement,
    daemon::Daemon,
    namespace::Namespace,
    provider::ROUTER_SIDE,
    route_watch, routes,
    settings::Settings,
    site::{LEARNED_METRIC, Plan, Site, TARGET},
    status,
    tun::Tun,
    turn,
    wait::wait_until,
};

const DEADLINE: Duration = Duration::from_secs(10);

#[test]
fn an_onlink_gateway_outside_of_every_network_is_learned_and_reached() {
    let _turn = turn::shared();
    let site = Plan::new(&["wan1"]).without_defaults().build();
    site.providers[0]
        .namespace
        .ip(&format!("address add 198.51.100.1/32 dev {ROUTER_SIDE}"));
    site.router.ip(&format!(
        "route add default via 198.51.100.1 dev wan1 onlink proto dhcp metric {LEARNED_METRIC}"
    ));
    let (own, gateway) = own_route_and_gateway(&site);
    assert!(
        own.contains("via 198.51.100.1 ") && own.contains("onlink"),
        "{own}"
    );
    assert_eq!(gateway, "198.51.100.1");
}

#[test]
fn an_ipv4_default_by_an_ipv6_gateway_is_learned_and_reached() {
    let _turn = turn::shared();
    let site = Plan::new(&["wan1"]).without_defaults().build();
    let gateway = advertisement::gateway(&site.providers[0]).to_string();
    site.router.ip(&format!(
        "-4 route add default via inet6 {gateway} dev wan1 proto dhcp metric {LEARNED_METRIC}"
    ));
    let (own, learned) = own_route_and_gateway(&site);
    assert!(own.contains(&format!("via inet6 {gateway} ")), "{own}");
    assert_eq!(learned, gateway);
}

#[test]
fn a_default_with_a_preferred_source_keeps_it() {
    let _turn = turn::shared();
    let site = Plan::new(&["wan1"]).without_defaults().build();
    site.internet.ip("route add 10.0.1.77/32 via 10.255.1.2");
    site.router.ip("address add 10.0.1.77/24 dev wan1");
    site.router.ip(&format!(
        "route add default via 10.0.1.1 dev wan1 src 10.0.1.77 proto dhcp metric {LEARNED_METRIC}"
    ));
    let (own, _) = own_route_and_gateway(&site);
    assert!(own.contains("src 10.0.1.77"), "{own}");
}

#[test]
fn a_point_to_point_default_of_link_scope_is_learned_and_follows_its_peer() {
    let _turn = turn::shared();
    let router = Namespace::new("router");
    let _tun = Tun::start(&router, "ppp0");
    // As pppd with `defaultroute` leaves it.
    router.ip("address add 10.99.0.2 peer 10.99.0.1/32 dev ppp0");
    router.ip("route add default dev ppp0 scope link metric 1500");
    let settings = Settings::quick().uplink("dsl", "ppp0", "auto", 88);
    let mut daemon = Daemon::start(&router, &settings);
    daemon.wait_until_up(&["dsl"]);
    let own = wait_for_own(&router);
    assert!(
        own.contains("default dev ppp0") && own.contains("scope link"),
        "{own}"
    );

    // The peer hangs up: its address and every route over it are gone, without a word.
    router.ip("address del 10.99.0.2 peer 10.99.0.1/32 dev ppp0");
    daemon.wait_until_down("dsl");
    // And calls again, as somebody else.
    router.ip("address add 10.98.0.2 peer 10.98.0.1/32 dev ppp0");
    router.ip("route add default dev ppp0 scope link metric 1500");
    daemon.wait_until_up(&["dsl"]);
    wait_for_own(&router);
}

#[test]
fn of_several_gateways_on_one_interface_the_one_of_the_lowest_metric_is_taken() {
    let _turn = turn::shared();
    let site = Plan::new(&["wan1"]).without_defaults().build();
    site.providers[0]
        .namespace
        .ip(&format!("address add 10.0.1.99/24 dev {ROUTER_SIDE}"));
    site.router.ip_batch(
        "route add default via 10.0.1.99 dev wan1 proto static metric 2000\n\
         route add default via 10.0.1.1 dev wan1 proto dhcp metric 1000\n",
    );
    let settings = Settings::quick().uplink("fibre", "wan1", "auto", 88);
    let mut daemon = Daemon::start(&site.router, &settings);
    let status = daemon.wait_until_up(&["fibre"]);
    assert_eq!(status::uplink(&status, "fibre")["gateway"], "10.0.1.1");

    site.router
        .ip("route del default via 10.0.1.1 dev wan1 proto dhcp metric 1000");
    daemon.wait_for("the other gateway", DEADLINE, |status| {
        status::uplink(status, "fibre")["gateway"] == "10.0.1.99"
    });
    wait_until("the own route to follow", DEADLINE, || {
        let own = routes::own(&site.router);
        if own.len() == 1 && own[0].contains("via 10.0.1.99 ") {
            Ok(())
        } else {
            Err(format!("{own:?}"))
        }
    });
}

/// Runs a daemon until its own route carries traffic; gives that route, and the gateway that status names.
fn own_route_and_gateway(site: &Site) -> (String, String) {
    let settings = Settings::quick().uplink("fibre", "wan1", "auto", 88);
    let mut daemon = Daemon::start(&site.router, &settings);
    let status = daemon.wait_until_up(&["fibre"]);
    let own = wait_for_own(&site.router);
    route_watch::wait_until_by(&site.router, TARGET, site.ifindex(0), DEADLINE);
    let gateway = status::uplink(&status, "fibre")["gateway"].as_str();
    (own, gateway.expect("a gateway is a text").to_owned())
}

fn wait_for_own(namespace: &Namespace) -> String {
    wait_until("one own route", DEADLINE, || {
        let mut own = routes::own(namespace);
        match own.pop() {
            Some(route) if own.is_empty() => Ok(route),
            other => Err(format!("{other:?} {own:?}")),
        }
    })
}

#[test]
fn an_uplink_without_an_address_of_its_own_takes_one_that_is_named() {
    let _turn = turn::shared();
    let site = Plan::new(&["wan1"]).build();
    let tun = Tun::start(&site.router, "tun0");
    site.router.ip("address add 10.99.0.2/32 dev lo");
    let settings =
        Settings::quick().uplink_with("fibre", "tun0", "none", 10, "source = \"10.99.0.2\"");
    let mut daemon = Daemon::start(&site.router, &settings);
    daemon.wait_until_up(&["fibre"]);
    wait_until("its route", DEADLINE, || {
        let own = routes::own(&site.router);
        match own
            .iter()
            .any(|line| line.contains("dev tun0") && line.contains("src 10.99.0.2"))
        {
            true => Ok(()),
            false => Err(format!("{own:?}")),
        }
    });
    tun.set_silent(true);
    daemon.wait_until_down("fibre");
}
