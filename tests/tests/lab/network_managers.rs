//! Programs that manage all that an interface has, and take what is not theirs for something to be tidied up.

use std::time::Duration;

use pingu_tests::lab::{
    daemon::Daemon,
    namespace::Namespace,
    network_manager::NetworkManager,
    networkd::Networkd,
    process::Process,
    route_monitor::RouteMonitor,
    route_watch::{self, Pace, RouteWatch},
    routes,
    settings::Settings,
    site::{LEARNED_METRIC, Plan, Site, TARGET},
    stopwatch::Stopwatch,
    turn,
    wait::wait_until,
};

use crate::running::two_uplinks;

const DEADLINE: Duration = Duration::from_secs(10);

/// The goal: a route that was taken away is back within this time.
const MENDED_MAX: Duration = Duration::from_secs(1);

/// Restarts after which it is told who does that.
const RESTARTS: usize = 3;

/// Additions of default routes after one restart: two of the main table and two of the uplinks', and as many again where pingu is
/// faster than the one that still deletes.
const ADDED_MAX: usize = 8;

/// A rule of its own makes networkd look at those of others.
const OWN_RULE: &str = "[RoutingPolicyRule]\nFrom=192.0.2.77\nTable=77\nPriority=30077\n";

#[test]
fn networkd_that_is_restarted_takes_pingus_routes_which_are_back_in_a_second_and_leaves_its_rules()
{
    let _turn = turn::shared();
    let (site, mut networkd) = managed(OWN_RULE);
    let settings = Settings::quick()
        .member(
            "fibre",
            "wan1",
            "auto",
            "table = 201\nfwmark = \"0x100/0xff00\"",
        )
        .member(
            "lte",
            "wan2",
            "auto",
            "table = 202\nfwmark = \"0x200/0xff00\"",
        );
    let mut daemon = Daemon::start(&site.router, &settings);
    daemon.wait_until_up(&["fibre", "lte"]);
    let own = wait_for_own(&site, 10);
    // What is not the kernel's goes: this says that networkd looked.
    site.router
        .ip("rule add from 192.0.2.78 table 77 priority 30078 protocol boot");
    let rules = RuleMonitor::start(&site.router);
    let routes = RouteMonitor::start(&site.router);
    let watch = RouteWatch::start(&site.router, TARGET, Pace::Every(Duration::from_millis(1)));
    let mut slowest = Duration::ZERO;
    for _ in 0..RESTARTS {
        networkd = restart(&site, networkd, OWN_RULE, "proto: 136");
        slowest = slowest.max(wait_until_back(|| routes::own(&site.router), &own));
    }
    println!("the slowest: {slowest:?}");
    assert!(slowest <= MENDED_MAX, "{slowest:?}");
    assert_eq!(watch.finish().count.without_route, 0);
    let added = additions(&routes);
    assert!(
        added <= ADDED_MAX * RESTARTS,
        "{added}: {:?}",
        routes.events()
    );
    let rules = rules.events();
    assert!(rules.contains("Deleted 30078:"), "{rules}");
    assert!(!rules.contains("lookup 20"), "{rules}");
    let name = format!("by systemd-network (pid {})", networkd.id());
    daemon.wait_for("its name", DEADLINE, |status| {
        status["warnings"].to_string().contains(&name)
    });
}

#[test]
fn networkd_that_is_restarted_takes_a_group_of_nexthops_which_is_back_in_a_second() {
    let _turn = turn::shared();
    let (site, networkd) = managed("");
    let settings = Settings::quick()
        .group("name = \"wan\"\nmode = \"balance\"")
        .member("fibre", "wan1", "auto", "weight = 3")
        .member("lte", "wan2", "auto", "");
    let mut daemon = Daemon::start(&site.router, &settings);
    daemon.wait_until_up(&["fibre", "lte"]);
    wait_for_own(&site, 1);
    let all = || (routes::own(&site.router), nexthops(&site.router));
    let before = wait_until("the group", DEADLINE, || {
        let found = all();
        let is_whole = found
            .1
            .iter()
            .any(|object| object.contains(" group ") && object.contains('/'));
        is_whole
            .then_some(found.clone())
            .ok_or_else(|| format!("{found:?}"))
    });
    let routes = RouteMonitor::start(&site.router);
    let watch = RouteWatch::start(&site.router, TARGET, Pace::Every(Duration::from_millis(1)));
    let _networkd = restart(&site, networkd, "", "Removing foreign nexthop");
    let time = wait_until_back(all, &before);
    println!("{time:?}");
    assert!(time <= MENDED_MAX, "{time:?}");
    assert_eq!(watch.finish().count.without_route, 0);
    let added = additions(&routes);
    assert!(added <= ADDED_MAX, "{added}: {:?}", routes.events());
}

#[test]
fn networkd_unconfigures_an_interface_without_carrier_and_pingu_follows_both_ways() {
    let _turn = turn::shared();
    let (site, _networkd) = managed("");
    follows_carrier(&site);
}

/// Whoever manages the interfaces takes the first one's address at the loss of its carrier, and sets it again.
#[track_caller]
fn follows_carrier(site: &Site) {
    let settings = two_uplinks(Settings::quick());
    let mut daemon = Daemon::start(&site.router, &settings);
    daemon.wait_until_up(&["fibre", "lte"]);
    let own = wait_for_own(site, 2);
    let routes = RouteMonitor::start(&site.router);
    site.providers[0].set_carrier(false);
    daemon.wait_until_down("fibre");
    route_watch::wait_until_by(&site.router, TARGET, site.ifindex(1), DEADLINE);
    // Not before its address is gone is it certain that its manager was there.
    wait_until("the interface to be unconfigured", DEADLINE * 2, || {
        let addresses = site.router.ip("-4 -o address show dev wan1");
        addresses.is_empty().then_some(()).ok_or(addresses)
    });
    site.providers[0].set_carrier(true);
    daemon.wait_until_up(&["fibre"]);
    route_watch::wait_until_by(&site.router, TARGET, site.ifindex(0), DEADLINE);
    wait_until_back(|| routes::own(&site.router), &own);
    let added = additions(&routes);
    assert!(added <= ADDED_MAX, "{added}: {:?}", routes.events());
}

#[test]
fn network_manager_may_be_killed_move_its_default_and_activate_an_interface_anew() {
    let _turn = turn::shared();
    let (site, manager) = managed_by_network_manager();
    let settings = two_uplinks(Settings::quick());
    let mut daemon = Daemon::start(&site.router, &settings);
    daemon.wait_until_up(&["fibre", "lte"]);
    let own = wait_for_own(&site, 2);
    let routes = RouteMonitor::start(&site.router);
    let watch = RouteWatch::start(&site.router, TARGET, Pace::Every(Duration::from_millis(1)));
    manager.kill();
    let manager = NetworkManager::start(&site.router, &site.providers, LEARNED_METRIC);
    assert_eq!(routes::own(&site.router), own);
    assert_eq!(additions(&routes), 0, "{:?}", routes.events());

    // With another metric the default is another route: the new one is set and the old one removed.
    let metric = LEARNED_METRIC - 300;
    manager.ask(&format!(
        "connection modify wan1 ipv4.route-metric {metric}"
    ));
    manager.ask("device reapply wan1");
    wait_until("the default with its new metric", DEADLINE, || {
        let defaults = routes::defaults(&site.router);
        let has = |metric: u32| {
            defaults
                .iter()
                .any(|route| route.ends_with(&format!(" metric {metric}")))
        };
        let is_moved = has(metric) && !has(LEARNED_METRIC);
        is_moved
            .then_some(())
            .ok_or_else(|| format!("{defaults:?}"))
    });
    assert_eq!(routes::own(&site.router), own);
    assert_eq!(additions(&routes), 0, "{:?}", routes.events());

    // Activated anew, the interface loses its address first, and with it every route.
    manager.ask("connection up wan1");
    let time = wait_until_back(|| routes::own(&site.router), &own);
    println!("{time:?}");
    assert!(time <= MENDED_MAX, "{time:?}");
    assert_eq!(watch.finish().count.without_route, 0);
    let added = additions(&routes);
    assert!(
        (1..=ADDED_MAX).contains(&added),
        "{added}: {:?}",
        routes.events()
    );
}

#[test]
fn network_manager_unconfigures_an_interface_without_carrier_and_pingu_follows_both_ways() {
    let _turn = turn::shared();
    let (site, _manager) = managed_by_network_manager();
    follows_carrier(&site);
}

#[track_caller]
fn managed_by_network_manager() -> (Site, NetworkManager) {
    let site = Plan::new(&["wan1", "wan2"]).without_defaults().build();
    forget_addresses(&site);
    let manager = NetworkManager::start(&site.router, &site.providers, LEARNED_METRIC);
    (site, manager)
}

/// A site whose uplinks networkd has configured; `more` is in the file of the first one.
#[track_caller]
fn managed(more: &str) -> (Site, Networkd) {
    let site = Plan::new(&["wan1", "wan2"]).without_defaults().build();
    forget_addresses(&site);
    let networkd = Networkd::start(&site.router, &site.providers, LEARNED_METRIC, more);
    (site, networkd)
}

/// Those of the uplinks that somebody will set.
fn forget_addresses(site: &Site) {
    for provider in &site.providers {
        let interface = provider.interface();
        site.router
            .ip(&format!("address flush dev {interface} scope global"));
    }
}

/// Restarts networkd, which must have written that it removed something with these words.
#[track_caller]
fn restart(site: &Site, networkd: Networkd, more: &str, removed: &str) -> Networkd {
    networkd.stop();
    let networkd = Networkd::start(&site.router, &site.providers, LEARNED_METRIC, more);
    let log = networkd.log();
    let is_removal = |line: &str| line.contains("Removing foreign") && line.contains(removed);
    assert!(log.lines().any(is_removal), "{log}");
    networkd
}

#[track_caller]
fn wait_for_own(site: &Site, count: usize) -> Vec<String> {
    wait_until("all own routes", DEADLINE, || {
        let own = routes::own(&site.router);
        (own.len() == count)
            .then_some(own.clone())
            .ok_or_else(|| format!("{own:#?}"))
    })
}

/// How long it takes from now until something is as it was.
#[track_caller]
fn wait_until_back<T: PartialEq + std::fmt::Debug>(look: impl Fn() -> T, before: &T) -> Duration {
    let start = Stopwatch::start();
    wait_until("all to be back", DEADLINE, || {
        let now = look();
        (now == *before)
            .then_some(())
            .ok_or_else(|| format!("{now:#?}"))
    });
    start.elapsed()
}

fn additions(monitor: &RouteMonitor<'_>) -> usize {
    let is_addition = |event: &String| event.starts_with("default") && event.contains("proto 136");
    monitor.events().into_iter().filter(is_addition).count()
}

fn nexthops(router: &Namespace) -> Vec<String> {
    let listing = router.ip("nexthop show");
    listing.lines().map(|line| line.trim().to_owned()).collect()
}

/// What the kernel tells of IPv4's rules.
struct RuleMonitor<'a> {
    namespace: &'a Namespace,
    process: Process,
}

/// A priority that nobody uses: seen in the log, a rule of it says that everything before it is there as well.
const MARK: &str = "30999";

impl<'a> RuleMonitor<'a> {
    #[track_caller]
    fn start(namespace: &'a Namespace) -> Self {
        let mut command = namespace.command("ip");
        command.args(["-4", "-o", "-details", "monitor", "rule"]);
        let monitor = Self {
            namespace,
            process: Process::spawn("ip monitor", command),
        };
        monitor.events();
        monitor
    }

    #[track_caller]
    fn events(&self) -> String {
        let marks = || self.process.log().matches(MARK).count();
        let before = marks();
        wait_until("ip monitor to listen", DEADLINE, || {
            let rule = format!("from 192.0.2.79 table 77 priority {MARK}");
            self.namespace.ip(&format!("rule add {rule}"));
            self.namespace.ip(&format!("rule del {rule}"));
            let log = self.process.log();
            (marks() > before).then_some(log.clone()).ok_or(log)
        })
    }
}
