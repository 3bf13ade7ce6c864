//! Health in, a routing protocol out: BIRD on the router learns pingu's routes by their protocol number and announces them to a
//! neighbour behind it, by BGP. What an uplink's health does to pingu's routes, the neighbour sees.

use std::time::Duration;

use pingu_tests::lab::{
    bird::Bird,
    daemon::Daemon,
    route_watch,
    settings::Settings,
    site::{Plan, Site, TARGET},
    turn,
};

use crate::running::{running, two_uplinks};

/// BIRD hears of a route from the kernel at once; of some changes it learns at its next scan, each second here.
const DEADLINE: Duration = Duration::from_secs(10);

const DEFAULT: &str = "0.0.0.0/0";

/// What each uplink advertises (RFC 5737).
const BY_FIBRE: &str = "203.0.113.0/24";
const BY_LTE: &str = "198.51.100.0/24";

/// How long two BGP speakers wait before they try again what failed.
const IMPATIENT: &str =
    "connect delay time 1; connect retry time 1; error wait time 1, 2; startup hold time 10;";

#[test]
fn a_neighbour_follows_the_default_from_one_uplink_to_the_other_and_back() {
    let _turn = turn::shared();
    let settings = two_uplinks(Settings::quick());
    let (site, mut daemon) = running(&settings);
    let neighbours = Neighbours::start(&site);
    // The attribute is the metric of the kernel's route.
    neighbours
        .lan
        .wait_for_route(DEFAULT, "BGP.med: 88", DEADLINE);

    site.providers[0].black_hole();
    daemon.wait_until_down("fibre");
    neighbours
        .lan
        .wait_for_route(DEFAULT, "BGP.med: 89", DEADLINE);

    site.providers[0].repair();
    daemon.wait_until_up(&["fibre"]);
    neighbours
        .lan
        .wait_for_route(DEFAULT, "BGP.med: 88", DEADLINE);
}

#[test]
fn the_announcement_is_withdrawn_when_pingu_ends_although_a_learned_default_stays() {
    let _turn = turn::shared();
    let settings = two_uplinks(Settings::quick());
    let (site, daemon) = running(&settings);
    let neighbours = Neighbours::start(&site);
    neighbours
        .lan
        .wait_for_route(DEFAULT, "BGP.med: 88", DEADLINE);
    daemon.stop();
    neighbours.lan.wait_until_withdrawn(DEFAULT, DEADLINE);
    assert!(route_watch::way_to(&site.router, TARGET).is_some());

    let mut daemon = Daemon::start(&site.router, &settings);
    daemon.wait_until_up(&["fibre", "lte"]);
    neighbours
        .lan
        .wait_for_route(DEFAULT, "BGP.med: 88", DEADLINE);
}

#[test]
fn nothing_is_announced_that_is_not_pingus() {
    let _turn = turn::shared();
    let site = Plan::new(&["wan1", "wan2"]).build();
    site.router
        .ip("route add 198.51.100.0/24 via 10.0.1.1 proto static");
    let neighbours = Neighbours::start(&site);
    // Positive control: what carries the number arrives, although it came last.
    site.router
        .ip("route add 203.0.113.0/24 via 10.0.1.1 proto 136");
    neighbours
        .lan
        .wait_for_route("203.0.113.0/24", "BGP.next_hop", DEADLINE);
    assert_eq!(
        neighbours.lan.routes_to(DEFAULT),
        None,
        "learned defaults stay here"
    );
    assert_eq!(neighbours.lan.routes_to("198.51.100.0/24"), None);
}

#[test]
fn an_uplinks_loss_withdraws_what_it_advertises_from_the_neighbour() {
    let _turn = turn::shared();
    let advertised =
        |prefix: &str| format!("advertise = [{{ prefixes = [\"{prefix}\"], table = \"main\" }}]");
    let settings = Settings::quick()
        .uplink_with("fibre", "wan1", "auto", 88, &advertised(BY_FIBRE))
        .uplink_with("lte", "wan2", "auto", 89, &advertised(BY_LTE));
    let site = Plan::new(&["wan1", "wan2"]).build();
    let mut daemon = Daemon::start(&site.router, &settings);
    daemon.wait_until_up(&["fibre", "lte"]);
    let lan = &Neighbours::start(&site).lan;
    lan.wait_for_route(BY_FIBRE, "BGP.med: 88", DEADLINE);
    lan.wait_for_route(BY_LTE, "BGP.med: 89", DEADLINE);

    site.providers[0].black_hole();
    daemon.wait_until_down("fibre");
    lan.wait_until_withdrawn(BY_FIBRE, DEADLINE);
    lan.wait_for_route(BY_LTE, "BGP.med: 89", DEADLINE);

    // With no uplink left the default stays where it was last good, but nothing is advertised.
    site.providers[1].black_hole();
    daemon.wait_until_down("lte");
    lan.wait_until_withdrawn(BY_LTE, DEADLINE);
    lan.wait_for_route(DEFAULT, "BGP.med: 89", DEADLINE);

    site.providers[0].repair();
    daemon.wait_until_up(&["fibre"]);
    lan.wait_for_route(BY_FIBRE, "BGP.med: 88", DEADLINE);
    assert_eq!(lan.routes_to(BY_LTE), None);
}

/// BIRD on the router and on the host behind it, whose session stands.
struct Neighbours {
    _router: Bird,
    lan: Bird,
}

impl Neighbours {
    #[track_caller]
    fn start(site: &Site) -> Self {
        let router = Bird::start(&site.router, &speaker(1, 2, LEARNING));
        let lan = Bird::start(&site.lan, &speaker(2, 1, ""));
        router.wait_for_session("neighbour");
        lan.wait_for_session("neighbour");
        Self {
            _router: router,
            lan,
        }
    }
}

/// All that a router's BIRD needs to pass on what pingu decides.
const LEARNING: &str = "protocol kernel { scan time 1; learn; ipv4 { export none; \
     import filter { if krt_source = 136 then accept; reject; }; }; }";

/// One end of the session over the LAN; the first announces what it has learned from the kernel.
fn speaker(own: u8, other: u8, learning: &str) -> String {
    format!(
        "router id 192.168.88.{own};\nprotocol device {{ scan time 1; }}\n{learning}\n\
         protocol bgp neighbour {{\nlocal 192.168.88.{own} as 6451{own};\nneighbor 192.168.88.{other} as 6451{other};\n\
         {IMPATIENT}\nipv4 {{\nimport all;\nnext hop self;\n\
         export filter {{ if source = RTS_INHERIT then {{ bgp_med = krt_metric; accept; }} reject; }};\n}};\n}}\n"
    )
}
