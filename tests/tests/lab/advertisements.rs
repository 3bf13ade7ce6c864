//! IPv6 gateways that a real radvd advertises and takes back.

use std::time::Duration;

use pingu_tests::lab::{
    advertisement,
    daemon::Daemon,
    radvd::Radvd,
    routes,
    settings::Settings,
    site::{Plan, Site, TARGET_V6},
    status, turn,
    wait::wait_until,
};

const DEADLINE: Duration = Duration::from_secs(10);

/// No test sees the end of it.
const LIFETIME_S: u16 = 1800;

#[test]
fn a_router_lifetime_of_zero_withdraws_the_gateway_and_a_new_one_brings_it_back() {
    let _turn = turn::shared();
    let site = site();
    let radvds: Vec<Radvd> = site
        .providers
        .iter()
        .map(|provider| Radvd::start(provider, LIFETIME_S))
        .collect();
    let settings = settings();
    let mut daemon = Daemon::start(&site.router, &settings);
    let status = daemon.wait_until_up(&["fibre", "lte"]);
    let gateway = advertisement::gateway(&site.providers[0]).to_string();
    assert_eq!(status::uplink(&status, "fibre")["gateway"], *gateway);
    wait_until_v6_leaves_by(&site, "wan1");

    radvds[0].set_lifetime(0);
    daemon.wait_until_down("fibre");
    wait_until_v6_leaves_by(&site, "wan2");
    assert_eq!(routes::own_over(&site.router, "wan1"), None);

    radvds[0].set_lifetime(LIFETIME_S);
    daemon.wait_until_up(&["fibre"]);
    wait_until_v6_leaves_by(&site, "wan1");
}

#[test]
fn a_radvd_that_ends_says_farewell_and_one_that_starts_is_heard() {
    let _turn = turn::shared();
    let site = site();
    let first = Radvd::start(&site.providers[0], LIFETIME_S);
    let _second = Radvd::start(&site.providers[1], LIFETIME_S);
    let settings = settings();
    let mut daemon = Daemon::start(&site.router, &settings);
    daemon.wait_until_up(&["fibre", "lte"]);
    wait_until_v6_leaves_by(&site, "wan1");

    first.stop();
    daemon.wait_until_down("fibre");
    wait_until_v6_leaves_by(&site, "wan2");

    let _first = Radvd::start(&site.providers[0], LIFETIME_S);
    daemon.wait_until_up(&["fibre"]);
    wait_until_v6_leaves_by(&site, "wan1");
}

#[test]
fn a_router_that_falls_silent_is_one_no_more_when_its_lifetime_is_over() {
    let _turn = turn::shared();
    let site = site();
    // The kernel itself stops using the route at once, but leaves it in the table until it next sweeps: by default in 30 s.
    site.router.sysctl("net.ipv6.route.gc_interval", "1");
    // Longer than radvd's pause, or the gateway would come and go.
    let first = Radvd::start(&site.providers[0], 6);
    let _second = Radvd::start(&site.providers[1], LIFETIME_S);
    let settings = settings();
    let mut daemon = Daemon::start(&site.router, &settings);
    daemon.wait_until_up(&["fibre", "lte"]);
    wait_until_v6_leaves_by(&site, "wan1");
    // Killed, it takes nothing back.
    drop(first);
    daemon.wait_until_down("fibre");
    wait_until_v6_leaves_by(&site, "wan2");
}

/// A site whose router has IPv6 addresses and hears advertisements.
fn site() -> Site {
    let site = Plan::new(&["wan1", "wan2"]).without_defaults().build();
    for provider in &site.providers {
        advertisement::accept(&site.router, provider.interface());
    }
    site
}

fn settings() -> Settings {
    Settings::new()
        .probe(&format!("targets = [\"{TARGET_V6}\"]"))
        .probe("count = 3\nspacing = \"50ms\"\nperiod = \"200ms\"\ntimeout = \"200ms\"")
        .uplink("fibre", "wan1", "auto", 88)
        .uplink("lte", "wan2", "auto", 89)
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
