//! Programs that manage all that an interface has, and take what is not theirs for something to be tidied up.
#![expect(
    clippy::disallowed_methods,
    reason = "own routes must be back within a second"
)]

use std::time::{Duration, Instant};

use pingu_tests::lab::{
    daemon::Daemon,
    namespace::Namespace,
    networkd::Networkd,
    process::Process,
    route_monitor::RouteMonitor,
    route_watch::{self, Pace, RouteWatch},
    routes,
    settings::Settings,
    site::{LEARNED_METRIC, Plan, Site, TARGET},
    turn,
    wait::wait_until,
};

const DEADLINE: Duration = Duration::from_secs(10);

/// The goal: a route that was taken away is back within this time.
const MENDED_MAX: Duration = Duration::from_secs(1);

/// Own routes that are put back after one round of tidying up, of the two defaults: some rounds of deletions reach into each other.
const RESTORED_MAX: usize = 8;

/// A rule of its own makes networkd look at those of others.
const OWN_RULE: &str = "[RoutingPolicyRule]\nFrom=192.0.2.77\nTable=77\nPriority=30077\n";

#[test]
fn networkd_that_is_restarted_takes_pingus_routes_which_are_back_in_a_second_and_leaves_its_rules()
{
    let _turn = turn::shared();
    let (site, networkd) = managed(OWN_RULE);
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
    let own = wait_for_count(&site, 10);
    // What is not the kernel's goes: this says that networkd looked.
    site.router
        .ip("rule add from 192.0.2.78 table 77 priority 30078 protocol boot");
    let rules = rules(&site.router);
    println!("{own:#?} {rules:#?}");
    let mut rule_monitor = RuleMonitor::start(&site.router);
    let watch = RouteWatch::start(&site.router, TARGET, Pace::Every(Duration::from_millis(1)));
    let monitor = RouteMonitor::start(&site.router);
    networkd.stop();
    let networkd = Networkd::start(&site.router, &site.providers, LEARNED_METRIC, OWN_RULE);
    println!(
        "{}",
        networkd
            .log()
            .lines()
            .filter(|l| l.contains("Remov"))
            .collect::<Vec<_>>()
            .join("\n")
    );
    let start = Instant::now();
    wait_until("own routes to be back", DEADLINE, || {
        let now = routes::own(&site.router);
        (now == own)
            .then_some(())
            .ok_or_else(|| format!("{now:#?}"))
    });
    println!("{:?}", start.elapsed());
    println!("{:#?}", monitor.events());
    println!("{:#?}", rule_monitor.events());
    println!("{:#?}", watch.finish());
    println!("{:#}", daemon.status().unwrap()["warnings"]);
    panic!("look");
}

/// A site whose uplinks networkd has configured.
#[track_caller]
fn managed(more: &str) -> (Site, Networkd) {
    let site = Plan::new(&["wan1", "wan2"]).without_defaults().build();
    for provider in &site.providers {
        site.router.ip(&format!(
            "address flush dev {} scope global",
            provider.interface()
        ));
    }
    let networkd = Networkd::start(&site.router, &site.providers, LEARNED_METRIC, more);
    (site, networkd)
}

#[track_caller]
fn wait_for_count(site: &Site, count: usize) -> Vec<String> {
    wait_until("all own routes", DEADLINE, || {
        let own = routes::own(&site.router);
        (own.len() >= count)
            .then_some(own.clone())
            .ok_or_else(|| format!("{own:#?}"))
    })
}

/// The IPv4 rules, with their protocols.
fn rules(router: &Namespace) -> String {
    router.ip("-details -4 rule show")
}

/// What the kernel tells of rules.
struct RuleMonitor {
    process: Process,
}

impl RuleMonitor {
    fn start(namespace: &Namespace) -> Self {
        let mut command = namespace.command("ip");
        command.args(["-4", "-o", "-details", "monitor", "rule"]);
        Self {
            process: Process::spawn("ip monitor", command),
        }
    }

    fn events(&mut self) -> String {
        self.process.log()
    }
}
