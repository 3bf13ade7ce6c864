//! Those who come from other systems: the configuration that the documentation of theirs shows, imported or run as it is, does on
//! real networks what that documentation says.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use pingu_tests::lab::{
    daemon::{self, Daemon},
    namespace::Namespace,
    provider::ROUTER_SIDE,
    route_watch::{self, Pace, RouteWatch},
    routes,
    script::Setting,
    site::{Plan, Site, TARGET},
    turn,
    wait::wait_until,
};
use tempfile::TempDir;

mod dpinger;
mod mwan3;
mod py_pingu;

/// py-pingu's bursts take five seconds, and so does it from one to the next; a fault may begin just after one.
const DEADLINE: Duration = Duration::from_secs(30);

fn old_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/lab/migration")
        .join(name)
}

/// A daemon that does the work of another, and where it does.
struct Moved {
    daemon: Daemon,
    site: Site,
    _directory: TempDir,
}

impl Moved {
    /// Imports an old configuration and runs what came of it, until all these uplinks are up.
    #[track_caller]
    fn import(file: &str, site: Site, uplinks: &[&str]) -> Self {
        Self::import_and_edit(file, site, uplinks, |text| text)
    }

    /// The same, with what the import asks to be put right by hand.
    #[track_caller]
    fn import_and_edit(
        file: &str,
        site: Site,
        uplinks: &[&str],
        edit: impl FnOnce(String) -> String,
    ) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let (old, new) = (old_file(file), directory.path().join("pingu.toml"));
        let (from, to) = (old.to_string_lossy(), new.to_string_lossy());
        let done = daemon::run_to_end(&site.router, &["import", &from, "-o", &to]);
        assert_eq!(done.status.code(), Some(0), "{}", done.stderr);
        println!("{}", done.stderr);
        let text = fs::read_to_string(&new).expect("the import has written it");
        fs::write(&new, edit(text)).expect("a temporary file can be written");
        let check = daemon::run_to_end(&site.router, &["check", "--config", &to]);
        assert_eq!(check.status.code(), Some(0), "{}", check.stderr);
        assert_eq!(check.stderr, "", "no warnings");
        Self::run(&new, site, directory, uplinks)
    }

    /// Runs an old configuration as it is.
    #[track_caller]
    fn direct(file: &str, site: Site, uplinks: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        Self::run(&old_file(file), site, directory, uplinks)
    }

    #[track_caller]
    fn run(config: &Path, site: Site, directory: TempDir, uplinks: &[&str]) -> Self {
        let socket = directory.path().join("pingu.sock");
        let mut daemon = Daemon::start_shut_in(&site.router, config, &socket);
        daemon.wait_until_up(uplinks);
        Self {
            daemon,
            site,
            _directory: directory,
        }
    }

    /// Waits until the main table's defaults are these, each told by groups of words with ` .. ` between them, and no others.
    #[track_caller]
    fn wait_for_defaults(&self, expected: &[&str]) {
        wait_until("the defaults", DEADLINE, || {
            let defaults = routes::defaults(&self.site.router);
            let fits = |wanted: &&str| {
                defaults.iter().any(|line| {
                    let has = |words: &str| format!(" {line} ").contains(&format!(" {words} "));
                    wanted.split(" .. ").all(has)
                })
            };
            if defaults.len() == expected.len() && expected.iter().all(fits) {
                Ok(())
            } else {
                Err(format!("{defaults:#?} instead of {expected:#?}"))
            }
        });
    }

    #[track_caller]
    fn traffic_leaves_by(&self, uplink: usize) {
        let ifindex = self.site.ifindex(uplink);
        route_watch::wait_until_by(&self.site.router, TARGET, ifindex, DEADLINE);
    }

    fn watch(&self) -> RouteWatch {
        let pace = Pace::Every(Duration::from_millis(1));
        RouteWatch::start(&self.site.router, TARGET, pace)
    }
}

/// What `multigateway` should have, with the providers in this order.
fn in_order(order: [usize; 3]) -> [String; 3] {
    const VIA: [(&str, &str); 3] = [
        ("10.10.1.254 dev eth1", "10.10.1.1"),
        ("10.10.2.254 dev eth2", "10.10.2.2"),
        ("10.10.1.254 dev eth3", "10.10.1.3"),
    ];
    [0, 1, 2].map(|rank| {
        let (via, source) = VIA[order[rank]];
        format!("default via {via} .. src {source} metric {}", 100 + rank)
    })
}

fn rules(router: &Namespace) -> String {
    router.ip("-4 rule") + &router.ip("-6 rule")
}

#[test]
fn multigateway_s_config_py_imported_prefers_the_first_that_is_reliable_and_the_users_own_default()
{
    let _turn = turn::shared();
    let site = Plan::new(&["eth1", "eth2", "eth3"])
        .wires(&[
            ([10, 10, 1, 254], [10, 10, 1, 1]),
            ([10, 10, 2, 254], [10, 10, 2, 2]),
            ([10, 10, 1, 254], [10, 10, 1, 3]),
        ])
        .without_defaults()
        .build();
    let rules_before = rules(&site.router);
    let moved = Moved::import("config.py", site, &["isp1", "isp2", "isp3"]);
    let expect = |order| {
        let lines = in_order(order);
        moved.wait_for_defaults(&lines.each_ref().map(String::as_str));
    };
    expect([0, 1, 2]);
    let router = &moved.site.router;
    for (table, (address, interface)) in [
        ("10.10.1.1", "eth1"),
        ("10.10.2.2", "eth2"),
        ("10.10.1.3", "eth3"),
    ]
    .into_iter()
    .enumerate()
    {
        let way = router.ip(&format!("route get 8.8.8.8 from {address}"));
        let by_its_table = format!("dev {interface} table {} ", table + 1);
        assert!(way.contains(&by_its_table), "{way}");
    }
    let watch = moved.watch();
    moved.site.providers[0].black_hole();
    expect([1, 0, 2]);
    moved.site.providers[1].black_hole();
    expect([2, 0, 1]);
    moved.site.providers[0].repair();
    expect([0, 1, 2]);

    // The sticky provider is main whatever the checks say.
    let sticky = moved.daemon.path("/etc/failover/sticky.provider");
    fs::write(&sticky, "isp2\n").expect("the daemon runs");
    expect([1, 0, 2]);
    fs::write(&sticky, "isp9\n").expect("the daemon runs");
    expect([0, 1, 2]);
    fs::write(&sticky, "isp3\n").expect("the daemon runs");
    expect([2, 0, 1]);
    fs::remove_file(&sticky).expect("the daemon runs");
    expect([0, 1, 2]);
    assert_eq!(watch.finish().count.without_route, 0);

    let users = "default via 10.10.2.254 dev eth2 metric 50";
    router.ip(&format!("route add {users}"));
    moved.traffic_leaves_by(1);
    moved.site.providers[0].black_hole();
    let [first, second, third] = in_order([2, 0, 1]);
    moved.wait_for_defaults(&[users, &first, &second, &third]);
    assert!(moved.daemon.stop().success());
    assert_eq!(routes::defaults(router), [users]);
    assert_eq!(rules(router), rules_before);
}

fn primary_and_backup() -> Site {
    Plan::new(&["eth4", "eth0"])
        .wires(&[
            ([192, 168, 1, 254], [192, 168, 1, 2]),
            ([192, 168, 1, 254], [192, 168, 1, 1]),
        ])
        .without_defaults()
        .build()
}

#[test]
fn what_two_gateway_leaves_behind_is_named_and_once_it_is_removed_pingu_takes_its_place() {
    let _turn = turn::shared();
    let site = primary_and_backup();
    let rules_before = rules(&site.router);
    site.router.ip_batch(
        "route add default via 192.168.1.254 dev eth0 metric 100\n\
         route add default via 192.168.1.254 dev eth4 metric 101\n\
         route add 192.168.1.0/24 dev eth4 src 192.168.1.2 table 1\n\
         route add default via 192.168.1.254 dev eth4 table 1\n\
         rule add from 192.168.1.2 table 1\n\
         route add 192.168.1.0/24 dev eth0 src 192.168.1.1 table 2\n\
         route add default via 192.168.1.254 dev eth0 table 2\n\
         rule add from 192.168.1.1 table 2\n",
    );
    let mut moved = Moved::import("config.sh", site, &["primary", "backup"]);
    for metric in ["metric 100 is taken", "metric 101 is taken"] {
        moved.daemon.wait_for(metric, DEADLINE, |status| {
            status["warnings"].to_string().contains(metric)
        });
    }
    let watch = moved.watch();
    // As the page for movers says: one after the other.
    let router = &moved.site.router;
    router.ip("route del default metric 100");
    moved.wait_for_defaults(&[
        "default via 192.168.1.254 dev eth4 proto 136 .. metric 100",
        "default via 192.168.1.254 dev eth4 metric 101",
    ]);
    router.ip("route del default metric 101");
    moved.wait_for_defaults(&[
        "default via 192.168.1.254 dev eth4 proto 136 .. metric 100",
        "default via 192.168.1.254 dev eth0 proto 136 .. metric 101",
    ]);
    assert_eq!(watch.finish().count.without_route, 0);
    moved
        .daemon
        .wait_for("nothing to warn of", DEADLINE, |status| {
            status["warnings"] == serde_json::json!([])
        });
    assert!(moved.daemon.stop().success());
    router.ip_batch("rule del from 192.168.1.2\nrule del from 192.168.1.1\n");
    assert_eq!(rules(router), rules_before);
}

#[test]
fn two_gateway_s_config_sh_imported_swaps_the_metrics_at_one_failure_and_at_one_success() {
    let _turn = turn::shared();
    let moved = Moved::import("config.sh", primary_and_backup(), &["primary", "backup"]);
    let by_primary = [
        "default via 192.168.1.254 dev eth4 .. metric 100",
        "default via 192.168.1.254 dev eth0 .. metric 101",
    ];
    let by_backup = [
        "default via 192.168.1.254 dev eth0 .. metric 100",
        "default via 192.168.1.254 dev eth4 .. metric 101",
    ];
    moved.wait_for_defaults(&by_primary);
    let router = &moved.site.router;
    for (address, interface, table) in [("192.168.1.2", "eth4", 1), ("192.168.1.1", "eth0", 2)] {
        let way = router.ip(&format!("route get 8.8.8.8 from {address}"));
        assert!(
            way.contains(&format!("dev {interface} table {table} ")),
            "{way}"
        );
    }
    let watch = moved.watch();
    // One reply that is lost is one failure.
    moved.site.providers[0].lose_first(1);
    moved.wait_for_defaults(&by_backup);
    moved.wait_for_defaults(&by_primary);
    moved.site.providers[0].black_hole();
    moved.wait_for_defaults(&by_backup);
    moved.site.providers[0].repair();
    moved.wait_for_defaults(&by_primary);
    assert_eq!(watch.finish().count.without_route, 0);
    assert!(moved.daemon.stop().success());
    assert_eq!(routes::defaults(router), [""; 0]);
}

#[test]
fn failoverd_s_documented_script_sees_a_loss_come_and_go() {
    let _turn = turn::shared();
    let site = Plan::new(&["eth0"])
        .wires(&[([192, 168, 0, 1], [192, 168, 0, 10])])
        .without_defaults()
        .build();
    let far = &site.providers[0].namespace;
    far.ip(&format!("address add 192.168.0.2/24 dev {ROUTER_SIDE}"));
    let example = include_str!("failoverd_lines/example.lua");
    let mut script = Setting::new(example).start(&site.router);
    let loss = |line: &String| -> f64 { line.trim().parse().expect("the script prints numbers") };
    script.wait_for_lines("192.168.0.1:", 2);
    far.nft(
        "table ip fault {\nchain input {\ntype filter hook input priority 0;\nip daddr 192.168.0.1 drop\n}\n}\n",
    );
    script.wait_for("a loss", |script| {
        let lines = script.lines("192.168.0.1:");
        lines.iter().any(|line| loss(line) >= 20.0).then_some(())
    });
    far.nft("table ip fault\ndelete table ip fault\n");
    script.wait_for("the loss to be forgotten", |script| {
        let lines = script.lines("192.168.0.1:");
        lines.last().filter(|line| loss(line) == 0.0).map(|_| ())
    });
    let other = script.lines("192.168.0.2:");
    assert!(other.iter().all(|line| loss(line) == 0.0), "{other:?}");
    assert!(other.len() >= 5, "{other:?}");
    assert_eq!(script.stop(libc::SIGINT).code(), Some(0));
    assert!(script.output().ends_with("\nShutting down\n"));
}
