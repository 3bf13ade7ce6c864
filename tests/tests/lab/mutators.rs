//! Random operations of `ip` beside the running daemon: then everything is as wanted within a second, everything of others as they left
//! it, and nothing is written any more.
//!
//! A run is a seed; a failure tells it, and all that was done. `PINGU_LAB_SEED=17` makes that one alone.

use std::{process::Stdio, time::Duration};

use pingu_tests::lab::{
    daemon::Daemon,
    namespace::Namespace,
    routes,
    settings::Settings,
    site::{LEARNED_METRIC, Plan, Site},
    stopwatch::Stopwatch,
    tracer::{SENDING, Tracer},
    turn,
    wait::wait_until,
};

const DEADLINE: Duration = Duration::from_secs(20);

/// The goal.
const MENDED_MAX: Duration = Duration::from_secs(1);

/// Operations of one disturbance. A route that is lost thirty times in a minute is put back slowly, so there are not many.
const OPERATIONS: usize = 9;

/// Disturbances of one daemon.
const ROUNDS: u64 = 3;

/// Looks that the daemon takes, after which it is believed to be in sync.
const LOOKS: usize = 5;

const SEED: &str = "PINGU_LAB_SEED";

#[test]
fn own_metrics_survive_any_operation() {
    survives(&[1, 2], "mode = \"metric\"\nprefixes = [\"default\"]");
}

#[test]
fn an_order_survives_any_operation() {
    survives(
        &[3, 4],
        "mode = \"ordered\"\nstart_metric = 88\nprefixes = [\"default\", \"198.51.100.0/24\"]",
    );
}

#[test]
fn a_balance_survives_any_operation() {
    survives(
        &[5, 6],
        "mode = \"balance\"\nstart_metric = 88\nprefixes = [\"default\"]",
    );
}

fn survives(seeds: &[u64], group: &str) {
    let _turn = turn::alone();
    let given = std::env::var(SEED).map(|seed| vec![seed.parse().expect("a seed is a number")]);
    for seed in given.as_deref().unwrap_or(seeds) {
        survives_seed(*seed, group);
    }
}

fn survives_seed(seed: u64, group: &str) {
    let member = |table: u32| {
        let metric = match group.contains("start_metric") {
            true => String::new(),
            false => format!("metric = {}\n", table - 113),
        };
        format!("{metric}table = {table}\nfwmark = {table}")
    };
    let settings = Settings::quick()
        .group(&format!("name = \"all\"\n{group}"))
        .member("fibre", "wan1", "auto", &member(201))
        .member("lte", "wan2", "auto", &member(202));
    let site = Plan::new(&["wan1", "wan2"]).build();
    let mut daemon = Daemon::start(&site.router, &settings);
    daemon.wait_until_up(&["fibre", "lte"]);
    let wanted = settled(&site.router);
    let mut mutator = Mutator {
        random: seed,
        story: vec![format!("seed {seed}")],
    };
    for round in 0..ROUNDS {
        mutator.moves_links(&site);
        daemon.wait_until_up(&["fibre", "lte"]);
        wait_until("everything to be back", DEADLINE, || {
            mutator.agree(&own(&site.router), &wanted)
        });
        for _ in 0..OPERATIONS {
            mutator.operates(&site.router);
        }
        let foreign = mutator.makes_way(&site.router);
        let start = Stopwatch::start();
        wait_until("everything to be back", DEADLINE, || {
            mutator.agree(&own(&site.router), &wanted)
        });
        assert!(
            start.elapsed() <= MENDED_MAX,
            "{:?}\n{}",
            start.elapsed(),
            mutator.story.join("\n")
        );
        assert_eq!(
            others(&site.router),
            foreign,
            "{}",
            mutator.story.join("\n")
        );
        if round == ROUNDS - 1 {
            stays_quiet(&site.router, &mut daemon);
        }
        assert_eq!(
            others(&site.router),
            foreign,
            "{}",
            mutator.story.join("\n")
        );
        assert_eq!(own(&site.router), wanted);
    }
}

/// The state of a daemon that has just found its way: unchanged over two looks, with rules and tables in it.
fn settled(router: &Namespace) -> Vec<String> {
    let mut before = Vec::new();
    wait_until("the daemon to have written everything", DEADLINE, || {
        let now = own(router);
        let done =
            now == before && now.iter().filter(|line| line.contains("lookup 20")).count() >= 8;
        before.clone_from(&now);
        done.then_some(now).ok_or_else(|| format!("{before:#?}"))
    })
}

/// Everything of pingu's: routes, rules, nexthop objects.
fn own(router: &Namespace) -> Vec<String> {
    let mut all = routes::own(router);
    all.extend(rules(router).filter(|line| is_own_rule(line)));
    all.extend(nexthops(router).filter(|line| line.contains("proto 136")));
    all.sort();
    all
}

/// Everything of others'.
fn others(router: &Namespace) -> Vec<String> {
    let text = routes::foreign(router);
    let mut all: Vec<String> = text
        .lines()
        .filter(|line| !is_own_rule(line))
        .map(str::to_owned)
        .collect();
    all.extend(nexthops(router).filter(|line| !line.contains("proto 136")));
    all
}

fn rules(router: &Namespace) -> impl Iterator<Item = String> {
    let both = ["-4 rule", "-6 rule"].map(|arguments| router.ip(arguments));
    both.into_iter().flat_map(|text| {
        let lines = text.lines().map(str::to_owned);
        lines.collect::<Vec<_>>()
    })
}

fn nexthops(router: &Namespace) -> impl Iterator<Item = String> {
    let text = router.ip("nexthop");
    let lines = text.lines().map(|line| line.trim().to_owned());
    lines.collect::<Vec<_>>().into_iter()
}

/// Rules of strangers have priorities of their own.
fn is_own_rule(line: &str) -> bool {
    line.starts_with("20000:") || line.starts_with("21000:")
}

/// Somebody else's news makes it look, and it finds nothing to write.
fn stays_quiet(router: &Namespace, daemon: &mut Daemon) {
    let tracer = Tracer::attach(router, daemon.process().id(), SENDING, None);
    let looks = || {
        let calls = tracer.calls();
        calls
            .iter()
            .filter(|call| call.contains("RTM_GETLINK"))
            .count()
    };
    for look in 1..=LOOKS {
        router.ip_batch(
            "address add 192.168.89.1/32 dev lan0\naddress del 192.168.89.1/32 dev lan0\n",
        );
        wait_until("the daemon to look", DEADLINE, || {
            if looks() >= look {
                Ok(())
            } else {
                Err(format!("{:#?}", tracer.calls()))
            }
        });
    }
    let writes = ["ROUTE", "RULE", "NEXTHOP"];
    let calls = tracer.calls();
    let is_write = |call: &&String| {
        writes.iter().any(|what| {
            call.contains(&format!("RTM_NEW{what}")) || call.contains(&format!("RTM_DEL{what}"))
        })
    };
    let written: Vec<&String> = calls.iter().filter(is_write).collect();
    assert!(written.is_empty(), "{written:#?}");
    tracer.detach();
}

/// Whoever else is at work.
struct Mutator {
    random: u64,
    story: Vec<String>,
}

impl Mutator {
    fn below(&mut self, bound: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    fn agree(&self, found: &[String], wanted: &[String]) -> Result<(), String> {
        if found == wanted {
            return Ok(());
        }
        let story = self.story.join("\n");
        Err(format!("{found:#?} instead of {wanted:#?}\n{story}"))
    }

    /// Links and addresses come and go, and their leases are taken again.
    fn moves_links(&mut self, site: &Site) {
        let uplink = self.below(2) as usize;
        let provider = &site.providers[uplink];
        let (name, metric) = (provider.interface(), LEARNED_METRIC + uplink as u32);
        match self.below(3) {
            0 => {
                self.ip(
                    &site.router,
                    &format!("link set {name} down\nlink set {name} up"),
                );
                provider.set_router_address_v6(&site.router);
            }
            1 => {
                self.ip(&site.router, &format!("-4 address flush dev {name}"));
                provider.set_router_address(&site.router);
            }
            _ => {
                self.ip(
                    &site.router,
                    &format!("route flush default dev {name} metric {metric}"),
                );
                self.ip(&site.router, "route flush proto 136");
            }
        }
        self.ip(
            &site.router,
            &format!("route flush default dev {name} metric {metric}"),
        );
        provider.leave_default(&site.router, metric);
    }

    fn operates(&mut self, router: &Namespace) {
        let uplink = 1 + self.below(2);
        let number = self.below(6);
        let metric = 88 + self.below(2);
        let table = 200 + uplink;
        let line = match self.below(16) {
            0 | 1 => format!("route del default metric {metric}"),
            2 => "route flush proto 136".to_owned(),
            3 => format!("route flush table {table}"),
            4 => "rule del pref 21000".to_owned(),
            5 => "rule del pref 20000".to_owned(),
            6 => "nexthop flush proto 136".to_owned(),
            7 => format!("nexthop del id {}", 136_000_000 + 2 * (uplink - 1)),
            8 | 9 => format!("route add 203.0.113.{number} via 10.0.{uplink}.1 proto 99"),
            10 => format!("route del 203.0.113.{number}"),
            11 => format!("route add default via 10.0.{uplink}.1 metric 500{number} proto 99"),
            12 => format!("route replace default via 10.0.{uplink}.1 metric {metric} proto 98"),
            13 => format!("route append default via 10.0.{uplink}.1 metric {metric} proto 98"),
            14 => format!("rule add pref 50{number} fwmark 7 lookup {table} proto 99"),
            _ => format!(
                "nexthop add id {} via 10.0.{uplink}.1 dev wan{uplink} proto 99",
                7 + number
            ),
        };
        self.ip(router, &line);
    }

    /// What strangers put into places of pingu's goes; everything else of theirs stays.
    fn makes_way(&mut self, router: &Namespace) -> Vec<String> {
        self.ip(router, "route flush proto 98");
        others(router)
    }

    /// Does it, whether the kernel wants it or not.
    fn ip(&mut self, router: &Namespace, lines: &str) {
        self.story.push(lines.to_owned());
        for line in lines.lines() {
            let mut command = router.command("ip");
            command.args(line.split_whitespace()).stdin(Stdio::null());
            let output = command.output().expect("iproute2 is installed");
            if !output.status.success() {
                let complaint = String::from_utf8_lossy(&output.stderr);
                self.story.push(format!("  {}", complaint.trim()));
            }
        }
    }
}
