//! The lab itself, with plain tools instead of the daemon: what the other tests conclude from it must be true.
#![expect(
    clippy::disallowed_methods,
    reason = "the watch is asked for changes since a point in time"
)]

use std::{
    net::IpAddr,
    path::Path,
    time::{Duration, Instant},
};

use pingu_tests::lab::{
    capture::{self, Capture},
    namespace::Namespace,
    pinger::{Ping, Pinger},
    route_monitor::RouteMonitor,
    route_watch::{self, Pace, RouteWatch},
    routes,
    site::{Plan, SECOND_TARGET, TARGET, TARGET_V6},
    tun::Tun,
    turn,
    wait::wait_until,
};

const DEADLINE: Duration = Duration::from_secs(10);
const EVERY: Duration = Duration::from_millis(5);

#[test]
fn the_lan_reaches_the_internet_over_whichever_provider_the_route_names() {
    let _turn = turn::shared();
    let site = Plan::new(&["wan1", "wan2"]).build();
    for (uplink, provider) in site.providers.iter().enumerate() {
        let (gateway, interface) = (provider.gateway(), provider.interface());
        site.router.ip(&format!(
            "route replace default via {gateway} dev {interface} metric 5"
        ));
        assert_eq!(
            route_watch::way_to(&site.router, TARGET),
            Some(site.ifindex(uplink))
        );
        let capture = Capture::start(&site.router, interface);
        let pings = ping(&site.lan, TARGET.into(), 20);
        assert!(pings.iter().all(|ping| ping.rtt.is_some()), "{pings:?}");
        let exchanges = capture.finish();
        let seen = exchanges
            .iter()
            .filter(|e| e.source == provider.router_address() && e.rtt().is_some());
        assert!(seen.count() >= 20, "{exchanges:?}");
    }
}

#[test]
fn ipv6_passes_as_well() {
    let _turn = turn::shared();
    let site = Plan::new(&["wan1"]).build();
    let gateway = site.providers[0].gateway_v6();
    site.router
        .ip(&format!("-6 route add default via {gateway} dev wan1"));
    let capture = Capture::start(&site.router, "wan1");
    let pings = ping(&site.router, TARGET_V6.into(), 10);
    assert!(pings.iter().all(|ping| ping.rtt.is_some()), "{pings:?}");
    let exchanges = capture.finish();
    assert!(
        exchanges
            .iter()
            .filter(|e| e.target == TARGET_V6 && e.rtt().is_some())
            .count()
            >= 10
    );
}

#[test]
fn a_black_hole_swallows_everything_but_the_gateway_itself() {
    let _turn = turn::shared();
    let site = Plan::new(&["wan1"]).build();
    site.providers[0].black_hole();
    assert!(
        ping(&site.router, TARGET.into(), 3)
            .iter()
            .all(|ping| ping.rtt.is_none())
    );
    let gateway = site.providers[0].gateway();
    assert!(
        ping(&site.router, gateway.into(), 3)
            .iter()
            .all(|ping| ping.rtt.is_some())
    );
    site.providers[0].repair();
    assert!(
        ping(&site.router, TARGET.into(), 3)
            .iter()
            .all(|ping| ping.rtt.is_some())
    );
}

#[test]
fn a_lossy_provider_drops_as_many_replies_as_it_says() {
    let _turn = turn::shared();
    let site = Plan::new(&["wan1"]).build();
    site.providers[0].lose_replies(30);
    let pings = ping(&site.router, SECOND_TARGET.into(), 300);
    let lost = pings.iter().filter(|ping| ping.rtt.is_none()).count() as u64;
    let replies = site.providers[0].replies();
    assert!(lost > 0 && replies.seen >= pings.len() as u64);
    // A ping that was under way when the last one of the 300 was decided is counted by the provider only.
    assert!(
        replies.dropped.abs_diff(lost) <= replies.seen - pings.len() as u64,
        "{replies:?}, lost {lost}"
    );
}

#[test]
fn both_clients_get_their_lease_from_a_gateway_of_the_same_address() {
    let _turn = turn::shared();
    let mut site = Plan::new(&["eno2", "wlo1"]).same_gateway().dhcp().build();
    let expected = |metric: u32, interface: &str| {
        format!("default via 192.168.1.1 dev {interface} proto dhcp metric {metric}")
    };
    assert_eq!(
        routes::defaults(&site.router),
        [expected(1000, "eno2"), expected(1001, "wlo1")]
    );
    let pings = ping(&site.lan, TARGET.into(), 5);
    assert!(pings.iter().all(|ping| ping.rtt.is_some()), "{pings:?}");
    site.clients[0].renew();
    assert_eq!(routes::defaults(&site.router).len(), 2);
}

#[test]
fn a_tun_device_answers_until_it_is_silent() {
    let _turn = turn::shared();
    let namespace = Namespace::new("tun");
    let tun = Tun::start(&namespace, "tun0");
    namespace.ip("address add 10.99.0.2/32 dev tun0");
    namespace.ip("address add 2001:db8:99::2/128 dev tun0");
    namespace.ip("route add default dev tun0");
    namespace.ip("-6 route add default dev tun0");
    let capture = Capture::start(&namespace, "tun0");
    for target in [IpAddr::from(TARGET), IpAddr::from(TARGET_V6)] {
        let pings = ping(&namespace, target, 5);
        assert!(
            pings.iter().all(|ping| ping.rtt.is_some()),
            "{target}: {pings:?}"
        );
    }
    tun.set_silent(true);
    assert!(
        ping(&namespace, TARGET.into(), 2)
            .iter()
            .all(|ping| ping.rtt.is_none())
    );
    let answered: Vec<Duration> = capture
        .finish()
        .iter()
        .filter_map(|exchange| exchange.rtt())
        .collect();
    assert!(answered.len() >= 10);
    assert!(capture::median(answered) < Duration::from_millis(100));
}

#[test]
fn an_instant_without_a_default_route_is_seen_by_watch_and_monitor() {
    let _turn = turn::alone();
    let site = Plan::new(&["wan1", "wan2"]).without_defaults().build();
    let add = |provider: usize, verb: &str| {
        let (gateway, interface) = (
            site.providers[provider].gateway(),
            site.providers[provider].interface(),
        );
        site.router.ip(&format!(
            "route {verb} default via {gateway} dev {interface}"
        ));
    };
    add(0, "add");

    let monitor = RouteMonitor::start(&site.router);
    let watch = RouteWatch::start(&site.router, TARGET, Pace::Tight);
    let before = Instant::now();
    add(1, "replace");
    let sightings = watch.finish();
    assert_eq!(sightings.count.without_route, 0, "replace leaves no gap");
    assert!(sightings.count.looks > 100, "{:?}", sightings.count);
    assert!(
        sightings.first_by(site.ifindex(1), before).is_some(),
        "{sightings:?}"
    );
    assert_eq!(monitor.fewest_defaults(), 1, "{:?}", monitor.events());

    let watch = RouteWatch::start(&site.router, TARGET, Pace::Tight);
    add(1, "del");
    add(0, "add");
    let sightings = watch.finish();
    assert!(sightings.count.without_route > 0, "{sightings:?}");
    assert_eq!(
        sightings
            .changes
            .iter()
            .map(|c| c.ifindex)
            .collect::<Vec<_>>(),
        [Some(site.ifindex(1)), None, Some(site.ifindex(0))]
    );
    assert_eq!(monitor.fewest_defaults(), 0, "{:?}", monitor.events());
}

#[test]
fn a_namespace_does_not_outlive_a_panic() {
    let _turn = turn::shared();
    let (sender, receiver) = std::sync::mpsc::channel();
    let panicked = std::thread::spawn(move || {
        let namespace = Namespace::new("doomed");
        sender
            .send(Path::new("/run/netns").join(namespace.name()))
            .unwrap();
        namespace.ip("link show dev nowhere");
    })
    .join();
    assert!(panicked.is_err(), "a failing command must panic");
    let path = receiver.recv().unwrap();
    assert!(!path.exists(), "{} is left over", path.display());
}

fn ping(from: &Namespace, to: IpAddr, count: usize) -> Vec<Ping> {
    let pinger = Pinger::start(from, to, EVERY);
    let mut pings = Vec::new();
    wait_until("pings to be decided", DEADLINE, || {
        pings.extend(pinger.decided());
        if pings.len() >= count {
            Ok(())
        } else {
            Err(format!("{} of {count}", pings.len()))
        }
    });
    pings
}
