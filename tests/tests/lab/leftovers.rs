//! What a crash, an older configuration or a hand can leave under pingu's protocol number: the next start makes it what it should be,
//! and at no instant is there no default route.

use std::time::Duration;

use pingu_tests::lab::{
    daemon::{Daemon, START_DEADLINE},
    route_monitor::RouteMonitor,
    route_watch::{self, Pace, RouteWatch},
    routes,
    settings::Settings,
    site::{Plan, Site, TARGET},
    status,
    stopwatch::Stopwatch,
    tracer::{SENDING, Tracer},
    turn,
    wait::wait_until,
};

use crate::running::{running, two_uplinks};

const DEADLINE: Duration = Duration::from_secs(10);

/// The goal for the start after a crash.
const CONVERGED_MAX: Duration = Duration::from_secs(2);

/// Own routes at places where none belongs, a set a line.
const ODD_PLACES: [&str; 10] = [
    // The two uplinks in each other's place.
    "route add default via 10.0.2.1 dev wan2 proto 136 metric 88\n\
     route add default via 10.0.1.1 dev wan1 proto 136 metric 89",
    // Metrics that no uplink has, better and worse.
    "route add default via 10.0.1.1 dev wan1 proto 136 metric 5\n\
     route add default via 10.0.2.1 dev wan2 proto 136 metric 500",
    // Only one, of the worse uplink, where nobody looks for it.
    "route add default via 10.0.2.1 dev wan2 proto 136 metric 700",
    // Two in one place.
    "route add default via 10.0.1.1 dev wan1 proto 136 metric 88\n\
     route append default via 10.0.2.1 dev wan2 proto 136 metric 88",
    // By a gateway of an earlier lease.
    "route add default via 10.0.1.99 dev wan1 proto 136 metric 88",
    // Without a gateway.
    "route add default dev wan1 proto 136 metric 88",
    // Over an interface that is no uplink.
    "route add default via 192.168.88.2 dev lan0 proto 136 metric 88",
    // To another type of service, which is another route.
    "route add default via 10.0.1.1 dev wan1 tos 0x10 proto 136 metric 88\n\
     route add default via 10.0.2.1 dev wan2 proto 136 metric 89",
    // With a source address and an MTU.
    "route add default via 10.0.1.1 dev wan1 src 10.0.1.2 mtu 1400 proto 136 metric 88",
    // More than there are uplinks.
    "route add default via 10.0.1.1 dev wan1 proto 136 metric 1\n\
     route add default via 10.0.1.1 dev wan1 proto 136 metric 2\n\
     route add default via 10.0.2.1 dev wan2 proto 136 metric 3\n\
     route add default via 10.0.1.1 dev wan1 proto 136 metric 88",
];

#[test]
fn own_routes_at_odd_places_are_put_in_order_without_an_instant_without_a_default() {
    let _turn = turn::alone();
    let site = Plan::new(&["wan1", "wan2"]).without_defaults().build();
    let settings = static_gateways();
    let mut daemon = Daemon::start(&site.router, &settings);
    let wanted = wait_for_order(&site, &mut daemon, None);
    daemon.stop();
    for left in ODD_PLACES {
        site.router.ip_batch(left);
        let monitor = RouteMonitor::start(&site.router);
        let watch = RouteWatch::start(&site.router, TARGET, Pace::Every(Duration::from_millis(1)));
        let start = Stopwatch::start();
        let mut daemon = Daemon::start(&site.router, &settings);
        wait_for_order(&site, &mut daemon, Some(&wanted));
        let time = start.elapsed_of(daemon.process().id());
        let sightings = watch.finish();
        assert_eq!(
            sightings.count.without_route, 0,
            "after `{left}`: {sightings:?}"
        );
        let events = monitor.events();
        assert!(monitor.fewest_defaults() >= 1, "after `{left}`: {events:?}");
        assert!(time <= CONVERGED_MAX, "after `{left}`: {time:?}");
        assert_eq!(daemon.stop().code(), Some(0));
        // What pingu does not take for its own to change, it also leaves.
        for route in routes::own(&site.router) {
            assert!(route.contains("tos"), "after `{left}`: {route} is left");
        }
        site.router.ip("route flush proto 136");
    }
}

#[test]
fn a_crash_while_the_only_uplink_is_dead_leaves_its_route_through_the_next_start() {
    let _turn = turn::shared();
    let site = Plan::new(&["wan1", "wan2"]).without_defaults().build();
    let settings = static_gateways();
    let mut daemon = Daemon::start(&site.router, &settings);
    wait_for_order(&site, &mut daemon, None);
    for provider in &site.providers {
        provider.black_hole();
    }
    daemon.wait_until_down("fibre");
    daemon.wait_until_down("lte");
    let before = routes::own(&site.router);
    assert!(!before.is_empty());
    daemon.kill();

    let watch = RouteWatch::start(&site.router, TARGET, Pace::Every(Duration::from_millis(1)));
    let mut daemon = Daemon::start(&site.router, &settings);
    daemon.wait_until_down("fibre");
    daemon.wait_until_down("lte");
    assert_eq!(routes::own(&site.router).len(), 1, "the last one stays");
    site.providers[1].repair();
    daemon.wait_until_up(&["lte"]);
    route_watch::wait_until_by(&site.router, TARGET, site.ifindex(1), DEADLINE);
    assert_eq!(watch.finish().count.without_route, 0);
}

#[test]
fn a_second_instance_sends_the_kernel_nothing() {
    let _turn = turn::shared();
    let settings = two_uplinks(Settings::quick());
    let (site, _first) = running(&settings);
    let mut second = Daemon::start_stopped(&site.router, &settings);
    let tracer = Tracer::attach(&site.router, second.process().id(), SENDING, None);
    second.process().signal(libc::SIGCONT);
    assert_eq!(second.process().wait(START_DEADLINE).code(), Some(1));
    let sent = tracer.calls();
    let writes: Vec<&String> = sent
        .iter()
        .filter(|call| call.contains("nlmsg_type"))
        .collect();
    assert!(writes.is_empty(), "{writes:#?}");
    let log = second.process().log();
    assert!(log.contains("another pingu"), "{log}");
}

/// Gateways that are configured: own routes are the only defaults.
fn static_gateways() -> Settings {
    Settings::quick()
        .uplink("fibre", "wan1", "10.0.1.1", 88)
        .uplink("lte", "wan2", "10.0.2.1", 89)
}

/// Waits until both uplinks are up and have their routes, and gives these.
fn wait_for_order(site: &Site, daemon: &mut Daemon, wanted: Option<&[String]>) -> Vec<String> {
    wait_until("own routes in order", START_DEADLINE, || {
        let own: Vec<String> = routes::own(&site.router)
            .into_iter()
            .filter(|line| !line.contains("tos"))
            .collect();
        let in_order = match wanted {
            Some(wanted) => own == wanted,
            None => own.len() == 2,
        };
        let knows = || {
            let status = daemon.status();
            status.is_ok_and(|status| status::all_up(&status, &["fibre", "lte"]))
        };
        if in_order && knows() {
            Ok(own)
        } else {
            Err(format!("{own:?}\n{}", daemon.process().log()))
        }
    })
}
