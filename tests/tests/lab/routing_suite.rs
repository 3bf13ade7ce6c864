//! FRR beside pingu: zebra has an opinion on every route of the kernel, and nexthop objects of its own.

use std::time::Duration;

use pingu_tests::lab::{
    bird::Bird,
    daemon::Daemon,
    frr::Frr,
    namespace::Namespace,
    route_monitor::RouteMonitor,
    route_watch::{self, Pace, RouteWatch},
    routes,
    settings::Settings,
    site::{Plan, Site, TARGET},
    status, turn,
    wait::wait_until,
};

const DEADLINE: Duration = Duration::from_secs(10);

/// How FRR's route of its own, to nobody (RFC 5737), is told; it stands behind the first provider.
const STATIC: &str = "203.0.113.0/24";

/// What the second uplink advertises.
const ADVERTISED: &str = "198.51.100.0/24";

/// Zebra forgets what a route led to only after some seconds; none of this is pingu's.
const ZEBRAS: &str = "proto zebra";

#[test]
fn zebras_default_teaches_a_gateway_although_it_yields_to_the_route_that_comes_of_it() {
    let _turn = turn::shared();
    let site = Plan::new(&["wan1", "wan2"]).without_defaults().build();
    // Zebra installs the nearest only: the second gateway is not to be learned from it.
    let statics = "ip route 0.0.0.0/0 10.0.1.1 wan1\nip route 0.0.0.0/0 10.0.2.1 wan2 200\n";
    let _frr = Frr::start(&site.router, &[("staticd", statics)]);
    route_watch::wait_until_by(&site.router, TARGET, site.ifindex(0), DEADLINE);
    let learned = site.router.ip("route show default");
    assert!(
        learned.contains(" nhid ") && learned.contains("metric 20"),
        "{learned}"
    );

    let settings = Settings::quick()
        .uplink("fibre", "wan1", "auto", 10)
        .uplink("lte", "wan2", "10.0.2.1", 11);
    let watch = RouteWatch::start(&site.router, TARGET, Pace::Every(Duration::from_millis(1)));
    let monitor = RouteMonitor::start(&site.router);
    let mut daemon = Daemon::start(&site.router, &settings);
    daemon.wait_until_up(&["fibre", "lte"]);
    // To zebra a kernel's route is nearer than any of its own.
    wait_until(
        "zebra's default to yield",
        DEADLINE,
        || match routes::defaults(&site.router) {
            only_own if only_own.iter().all(|route| route.contains("proto 136")) => Ok(()),
            others => Err(format!("{others:?}")),
        },
    );
    wait_for_bursts(&mut daemon, 15);
    let own = routes::own(&site.router);
    assert_eq!(own.len(), 2, "{own:?}");
    let events = own_events(&monitor);
    assert_eq!(events.len(), 2, "{events:?}");

    assert_eq!(watch.finish().count.without_route, 0);

    // It comes back as soon as nothing of pingu's stands before it.
    daemon.stop();
    wait_until("zebra's default to return", DEADLINE, || {
        let defaults = routes::defaults(&site.router);
        let is_back = defaults.len() == 1 && defaults[0].contains("metric 20");
        is_back.then_some(()).ok_or_else(|| format!("{defaults:?}"))
    });
}

#[test]
fn zebra_that_is_killed_and_started_sweeps_what_is_its_own_and_nothing_of_pingus() {
    let _turn = turn::shared();
    let settings = Settings::quick()
        .group("name = \"wan\"\nmode = \"balance\"\nstart_metric = 10")
        .member("fibre", "wan1", "auto", "weight = 3")
        .member("lte", "wan2", "auto", "");
    let site = Plan::new(&["wan1", "wan2"]).build();
    let mut daemon = Daemon::start(&site.router, &settings);
    daemon.wait_until_up(&["fibre", "lte"]);
    let (own, objects) = balanced(&site);

    let watch = RouteWatch::start(&site.router, TARGET, Pace::Every(Duration::from_millis(1)));
    let monitor = RouteMonitor::start(&site.router);
    let start = || {
        let statics = format!("ip route {STATIC} 10.0.1.1\n");
        let frr = Frr::start(&site.router, &[("staticd", statics.as_str())]);
        wait_until("FRR's own route", DEADLINE, || {
            let route = site.router.ip(&format!("route show {STATIC}"));
            route.contains(" nhid ").then_some(()).ok_or(route)
        });
        frr
    };
    start().kill();
    start().stop();
    wait_until("zebra to take its route away", DEADLINE, || {
        let route = site.router.ip(&format!("route show {STATIC}"));
        route.is_empty().then_some(()).ok_or(route)
    });
    wait_for_bursts(&mut daemon, 6);
    assert_eq!(
        (routes::own(&site.router), own_objects(&site.router)),
        (own, objects)
    );
    assert_eq!(own_events(&monitor), Vec::<String>::new());
    assert_eq!(watch.finish().count.without_route, 0);
}

#[test]
fn what_frr_redistributes_of_pingus_follows_the_uplinks() {
    let _turn = turn::shared();
    let advertised = format!("advertise = [{{ prefixes = [\"{ADVERTISED}\"] }}]");
    let settings = Settings::quick()
        .uplink_with("fibre", "wan1", "10.0.1.1", 10, &advertised)
        .uplink("lte", "wan2", "10.0.2.1", 11);
    let site = Plan::new(&["wan1", "wan2"]).without_defaults().build();
    let mut daemon = Daemon::start(&site.router, &settings);
    daemon.wait_until_up(&["fibre", "lte"]);
    let _frr = Frr::start(&site.router, &[("bgpd", SPEAKER)]);
    let neighbour = Bird::start(&site.lan, NEIGHBOUR);
    neighbour.wait_for_session("neighbour");
    neighbour.wait_for_route("0.0.0.0/0", "BGP.med: 10", DEADLINE);
    neighbour.wait_for_route(ADVERTISED, "BGP.next_hop: 192.168.88.1", DEADLINE);

    site.providers[0].black_hole();
    daemon.wait_until_down("fibre");
    neighbour.wait_for_route("0.0.0.0/0", "BGP.med: 11", DEADLINE);
    neighbour.wait_until_withdrawn(ADVERTISED, DEADLINE);

    site.providers[0].repair();
    daemon.wait_until_up(&["fibre"]);
    neighbour.wait_for_route("0.0.0.0/0", "BGP.med: 10", DEADLINE);
    neighbour.wait_for_route(ADVERTISED, "BGP.next_hop: 192.168.88.1", DEADLINE);
}

/// FRR's end of a session over the LAN.
const SPEAKER: &str = "router bgp 64511\nbgp router-id 192.168.88.1\nno bgp ebgp-requires-policy\n\
     neighbor 192.168.88.2 remote-as 64512\nneighbor 192.168.88.2 timers connect 1\n\
     neighbor 192.168.88.2 advertisement-interval 0\n\
     address-family ipv4 unicast\nredistribute kernel\nexit-address-family\n";

/// BIRD's end.
const NEIGHBOUR: &str = "router id 192.168.88.2;\nprotocol device { scan time 1; }\n\
     protocol bgp neighbour {\nlocal 192.168.88.2 as 64512;\nneighbor 192.168.88.1 as 64511;\n\
     connect delay time 1; connect retry time 1; error wait time 1, 2;\nipv4 { import all; export none; };\n}\n";

/// Waits for the balanced route, and gives it with the objects that it leads to.
#[track_caller]
fn balanced(site: &Site) -> (Vec<String>, Vec<String>) {
    wait_until("the balanced route", DEADLINE, || {
        let found = (routes::own(&site.router), own_objects(&site.router));
        let is_whole =
            found.0.len() == 1 && found.1.iter().any(|object| object.contains(" group "));
        is_whole
            .then_some(found.clone())
            .ok_or_else(|| format!("{found:?}"))
    })
}

/// Nexthop objects that are not zebra's.
fn own_objects(router: &Namespace) -> Vec<String> {
    let listing = router.ip("nexthop show");
    let objects = listing.lines().filter(|line| !line.contains(ZEBRAS));
    objects.map(|line| line.trim().to_owned()).collect()
}

fn own_events(monitor: &RouteMonitor<'_>) -> Vec<String> {
    let events = monitor.events().into_iter();
    events.filter(|event| event.contains("proto 136")).collect()
}

/// So many probes later the daemon has seen and digested whatever was to be seen.
fn wait_for_bursts(daemon: &mut Daemon, probes: u64) {
    let sent =
        |status: &serde_json::Value| status::counter(status::target(status, "fibre", 0), "sent");
    let before = sent(&daemon.status().expect("the daemon runs"));
    daemon.wait_for("more probes", DEADLINE, |status| {
        sent(status) >= before + probes
    });
}
