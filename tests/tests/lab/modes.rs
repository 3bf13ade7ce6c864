//! How uplinks share routes: by metrics, in order, by weights; destinations other than the default; and with all of them down.

use std::time::Duration;

use pingu_tests::lab::{
    daemon::Daemon,
    route_monitor::RouteMonitor,
    route_watch::{self, Pace, RouteWatch},
    routes,
    settings::Settings,
    site::{Plan, Site, TARGET},
    turn,
    wait::wait_until,
};

const DEADLINE: Duration = Duration::from_secs(10);

/// Two or three uplinks in one group.
fn grouped(group: &str, interfaces: &[&str]) -> Settings {
    let settings = Settings::quick().group(&format!("name = \"wan\"\n{group}"));
    interfaces
        .iter()
        .zip(["fibre", "lte", "dsl"])
        .fold(settings, |settings, (interface, name)| {
            settings.member(name, interface, "auto", "")
        })
}

fn running(settings: &Settings, interfaces: &[&str]) -> (Site, Daemon) {
    let site = Plan::new(interfaces).build();
    let mut daemon = Daemon::start(&site.router, settings);
    daemon.wait_until_up(&["fibre", "lte", "dsl"][..interfaces.len()]);
    (site, daemon)
}

/// Waits until pingu's own routes are these, each told by the words of `ip` that are named.
#[track_caller]
fn wait_for_own(site: &Site, expected: &[&str]) {
    wait_until("the own routes", DEADLINE, || {
        let own = routes::own(&site.router);
        let all_there = expected.iter().all(|wanted| {
            own.iter().any(|line| {
                wanted
                    .split(" .. ")
                    .all(|part| format!("{line} ").contains(&format!("{part} ")))
            })
        });
        if all_there && own.len() == expected.len() {
            Ok(())
        } else {
            Err(format!("{own:#?} instead of {expected:#?}"))
        }
    });
}

#[test]
fn in_order_all_stay_installed_and_the_wanted_one_comes_first() {
    let _turn = turn::alone();
    let interfaces = ["wan1", "wan2", "wan3"];
    let settings = grouped("mode = \"ordered\"\nstart_metric = 200", &interfaces);
    let (site, mut daemon) = running(&settings, &interfaces);
    let at_first = [
        "default .. dev wan1 .. metric 200",
        "default .. dev wan2 .. metric 201",
        "default .. dev wan3 .. metric 202",
    ];
    wait_for_own(&site, &at_first);
    let watch = RouteWatch::start(&site.router, TARGET, Pace::Tight);
    let monitor = RouteMonitor::start(&site.router);
    site.providers[0].black_hole();
    daemon.wait_until_down("fibre");
    wait_for_own(
        &site,
        &[
            "default .. dev wan2 .. metric 200",
            "default .. dev wan1 .. metric 201",
            "default .. dev wan3 .. metric 202",
        ],
    );
    site.providers[1].set_carrier(false);
    daemon.wait_until_down("lte");
    route_watch::wait_until_by(&site.router, TARGET, site.ifindex(2), DEADLINE);
    site.providers[1].set_carrier(true);
    site.providers[0].repair();
    daemon.wait_until_up(&["fibre", "lte"]);
    wait_for_own(&site, &at_first);
    let sightings = watch.finish();
    assert_eq!(sightings.count.without_route, 0, "{sightings:?}");
    assert!(monitor.fewest_defaults() >= 1);
    assert!(daemon.stop().success());
    assert_eq!(routes::own(&site.router), [] as [String; 0]);
}

#[test]
fn a_restart_in_order_moves_no_traffic() {
    let _turn = turn::alone();
    let interfaces = ["wan1", "wan2"];
    let settings = grouped("mode = \"ordered\"", &interfaces);
    let (site, mut daemon) = running(&settings, &interfaces);
    site.providers[0].black_hole();
    daemon.wait_until_down("fibre");
    let moved = [
        "default .. dev wan2 .. metric 100",
        "default .. dev wan1 .. metric 101",
    ];
    wait_for_own(&site, &moved);
    daemon.kill();
    let watch = RouteWatch::start(&site.router, TARGET, Pace::Tight);
    let monitor = RouteMonitor::start(&site.router);
    let mut daemon = Daemon::start(&site.router, &settings);
    daemon.wait_until_up(&["lte"]);
    daemon.wait_until_down("fibre");
    wait_for_own(&site, &moved);
    assert_eq!(watch.finish().changes.len(), 1, "nothing moved");
    assert_eq!(monitor.events().len(), 0, "{:?}", monitor.events());
}

#[test]
fn by_weights_a_group_of_nexthops_shrinks_to_the_last_member_and_grows_again() {
    let _turn = turn::alone();
    let interfaces = ["wan1", "wan2"];
    let settings = Settings::quick()
        .group("name = \"wan\"\nmode = \"balance\"\nstart_metric = 50")
        .member("fibre", "wan1", "auto", "weight = 3")
        .member("lte", "wan2", "auto", "");
    let (site, mut daemon) = running(&settings, &interfaces);
    let nexthops = |wanted: &[&str]| {
        wait_until("the nexthop group", DEADLINE, || {
            let route = site.router.ip("-4 route show default proto 136");
            let lines: Vec<&str> = route.lines().skip(1).map(str::trim).collect();
            let line = route.lines().next().unwrap_or_default();
            let single: Vec<&str> = if lines.is_empty() { vec![line] } else { lines };
            let fits = single.len() == wanted.len()
                && line.contains("metric 50")
                && wanted.iter().all(|part| {
                    single
                        .iter()
                        .any(|hop| part.split(" .. ").all(|word| hop.contains(word)))
                });
            if fits { Ok(()) } else { Err(route) }
        });
    };
    nexthops(&["dev wan1 .. weight 3", "dev wan2 .. weight 1"]);
    let watch = RouteWatch::start(&site.router, TARGET, Pace::Tight);
    let before = site.router.ip("-4 route show default proto 136");
    site.providers[0].black_hole();
    daemon.wait_until_down("fibre");
    nexthops(&["dev wan2"]);
    let same_object = |text: &str| text.split_whitespace().nth(2).map(str::to_owned);
    let after = site.router.ip("-4 route show default proto 136");
    assert_eq!(same_object(&before), same_object(&after), "{before}{after}");
    site.providers[1].black_hole();
    daemon.wait_until_down("lte");
    nexthops(&["dev wan2"]);
    site.providers[0].repair();
    site.providers[1].repair();
    daemon.wait_until_up(&["fibre", "lte"]);
    nexthops(&["dev wan1 .. weight 3", "dev wan2 .. weight 1"]);
    site.providers[1].set_carrier(false);
    nexthops(&["dev wan1"]);
    site.providers[1].set_carrier(true);
    daemon.wait_until_up(&["lte"]);
    nexthops(&["dev wan1 .. weight 3", "dev wan2 .. weight 1"]);
    assert_eq!(watch.finish().count.without_route, 0);
    assert!(daemon.stop().success());
    assert_eq!(site.router.ip("nexthop show"), "");
    assert_eq!(routes::own(&site.router), [] as [String; 0]);
}

#[test]
fn a_restart_by_weights_finds_its_group_and_moves_no_traffic() {
    let _turn = turn::alone();
    let interfaces = ["wan1", "wan2"];
    let settings = grouped("mode = \"balance\"", &interfaces);
    let (site, daemon) = running(&settings, &interfaces);
    let both = ["default .. metric 100"];
    wait_for_own(&site, &both);
    let objects = || site.router.ip("nexthop show");
    wait_until("both members", DEADLINE, || {
        match objects().lines().count() {
            3 => Ok(()),
            _ => Err(objects()),
        }
    });
    let before = objects();
    daemon.kill();
    site.router.ip("route del default proto dhcp dev wan1");
    site.router.ip("route del default proto dhcp dev wan2");
    let monitor = RouteMonitor::start(&site.router);
    let mut daemon = Daemon::start(&site.router, &settings);
    daemon.wait_until_up(&["fibre", "lte"]);
    assert_eq!(objects(), before);
    assert_eq!(monitor.events().len(), 0, "{:?}", monitor.events());
}

#[test]
fn every_destination_of_a_group_follows_its_uplinks() {
    let _turn = turn::alone();
    let interfaces = ["wan1", "wan2"];
    let prefixes = "prefixes = [\"8.8.0.0/16\", \"203.0.113.0/24\", \"2001:db8:77::/48\"]";
    let settings = grouped(&format!("mode = \"ordered\"\n{prefixes}"), &interfaces);
    let (site, mut daemon) = running(&settings, &interfaces);
    wait_for_own(
        &site,
        &[
            "8.8.0.0/16 .. dev wan1 .. metric 100",
            "8.8.0.0/16 .. dev wan2 .. metric 101",
            "203.0.113.0/24 .. dev wan1 .. metric 100",
            "203.0.113.0/24 .. dev wan2 .. metric 101",
        ],
    );
    site.providers[0].black_hole();
    daemon.wait_until_down("fibre");
    wait_for_own(
        &site,
        &[
            "8.8.0.0/16 .. dev wan2 .. metric 100",
            "8.8.0.0/16 .. dev wan1 .. metric 101",
            "203.0.113.0/24 .. dev wan2 .. metric 100",
            "203.0.113.0/24 .. dev wan1 .. metric 101",
        ],
    );
}

#[test]
fn with_all_down_a_group_refuses_packets_or_falls_to_its_first_uplink() {
    let _turn = turn::alone();
    let interfaces = ["wan1", "wan2"];
    for (mode, first) in [("metric", 10), ("ordered", 100), ("balance", 100)] {
        let group = format!("mode = \"{mode}\"\nwhen_all_down = \"unreachable\"");
        let settings = grouped(&group, &interfaces);
        let (site, mut daemon) = running(&settings, &interfaces);
        site.providers[0].black_hole();
        site.providers[1].black_hole();
        daemon.wait_until_down("fibre");
        daemon.wait_until_down("lte");
        let refusal = format!("unreachable default .. metric {first}");
        // No uplink ever had an IPv6 gateway: that family is not pingu's to refuse.
        wait_for_own(&site, &[&refusal]);
        site.providers[1].repair();
        daemon.wait_until_up(&["lte"]);
        route_watch::wait_until_by(&site.router, TARGET, site.ifindex(1), DEADLINE);
        wait_until("the refusals to go", DEADLINE, || {
            let own = routes::own(&site.router);
            match own.iter().any(|line| line.contains("unreachable")) {
                false => Ok(()),
                true => Err(format!("{own:?}")),
            }
        });
    }
    for mode in ["metric", "ordered", "balance"] {
        let group = format!("mode = \"{mode}\"\nwhen_all_down = \"first\"");
        let settings = grouped(&group, &interfaces);
        let (site, mut daemon) = running(&settings, &interfaces);
        site.providers[0].black_hole();
        route_watch::wait_until_by(&site.router, TARGET, site.ifindex(1), DEADLINE);
        site.providers[1].black_hole();
        daemon.wait_until_down("lte");
        route_watch::wait_until_by(&site.router, TARGET, site.ifindex(0), DEADLINE);
        site.providers[1].repair();
        daemon.wait_until_up(&["lte"]);
        route_watch::wait_until_by(&site.router, TARGET, site.ifindex(1), DEADLINE);
    }
}

#[test]
fn groups_decide_for_themselves() {
    let _turn = turn::alone();
    let interfaces = ["wan1", "wan2", "wan3"];
    let settings = Settings::quick()
        .group("name = \"wan\"")
        .group("name = \"hub\"\nmode = \"ordered\"\nprefixes = [\"203.0.113.0/24\"]\nstart_metric = 300")
        .member("fibre", "wan1", "auto", "group = \"wan\"")
        .member("lte", "wan2", "auto", "group = \"hub\"")
        .member("dsl", "wan3", "auto", "group = \"hub\"");
    let (site, mut daemon) = running(&settings, &interfaces);
    let before = [
        "default .. dev wan1 .. metric 10",
        "203.0.113.0/24 .. dev wan2 .. metric 300",
        "203.0.113.0/24 .. dev wan3 .. metric 301",
    ];
    wait_for_own(&site, &before);
    site.providers[1].black_hole();
    daemon.wait_until_down("lte");
    wait_for_own(
        &site,
        &[
            "default .. dev wan1 .. metric 10",
            "203.0.113.0/24 .. dev wan3 .. metric 300",
            "203.0.113.0/24 .. dev wan2 .. metric 301",
        ],
    );
}

#[test]
fn what_is_advertised_exists_only_while_its_uplink_is_up() {
    let _turn = turn::alone();
    let advertise = "[[uplink.advertise]]\nprefixes = [\"203.0.113.0/24\"]\n\
                     [[uplink.advertise]]\nprefixes = [\"198.51.100.0/24\"]\ntable = 77\nkind = \"blackhole\"\nmetric = 5";
    let settings = Settings::quick().member("fibre", "wan1", "auto", advertise);
    let (site, mut daemon) = running(&settings, &["wan1"]);
    let up = [
        "default .. dev wan1 .. metric 10",
        "203.0.113.0/24 .. dev wan1 .. metric 10",
        "blackhole 198.51.100.0/24 table 77 .. metric 5",
    ];
    wait_for_own(&site, &up);
    site.providers[0].black_hole();
    daemon.wait_until_down("fibre");
    wait_for_own(&site, &["default .. dev wan1 .. metric 10"]);
    site.providers[0].repair();
    wait_for_own(&site, &up);
}

#[test]
fn with_all_down_from_the_start_packets_are_refused_where_that_is_asked_for() {
    let _turn = turn::alone();
    let interfaces = ["wan1", "wan2"];
    let settings = grouped("when_all_down = \"unreachable\"", &interfaces);
    let site = Plan::new(&interfaces).build();
    site.providers
        .iter()
        .for_each(|provider| provider.black_hole());
    let mut daemon = Daemon::start(&site.router, &settings);
    daemon.wait_until_down("fibre");
    daemon.wait_until_down("lte");
    wait_for_own(&site, &["unreachable default .. metric 10"]);
    site.providers[1].repair();
    wait_for_own(&site, &["default .. dev wan2 .. metric 11"]);
}
