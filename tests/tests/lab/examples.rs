//! Each file of `config/examples`, as it is, run on a network with interfaces of its names: what it promises comes true.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use pingu_tests::lab::{
    daemon::Daemon,
    namespace::Namespace,
    route_watch::{self, Pace, RouteWatch},
    routes,
    site::{LEARNED_METRIC, Plan, Site, TARGET},
    turn,
    wait::wait_until,
};
use tempfile::TempDir;

/// The slowest of them probes each five seconds, and some wait out a hold-down.
const DEADLINE: Duration = Duration::from_secs(20);

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/examples")
}

#[test]
fn no_example_is_left_out() {
    let this_file = include_str!("examples.rs");
    let files = fs::read_dir(folder()).expect("the examples are there");
    let mut seen = 0;
    for file in files {
        let name = file.expect("the folder can be read").file_name();
        let name = name.to_str().expect("a name in ASCII");
        assert!(
            this_file.contains(&format!("run(\"{name}\"")),
            "{name} is run by no test"
        );
        seen += 1;
    }
    assert!(seen >= 6, "{seen}");
}

/// A running example.
struct Example {
    daemon: Daemon,
    site: Site,
    _directory: TempDir,
}

/// Runs an example on this site until all these uplinks are up.
#[track_caller]
fn run(file: &str, site: Site, names: &[&str]) -> Example {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let socket = directory.path().join("pingu.sock");
    let mut daemon = Daemon::start_shut_in(&site.router, &folder().join(file), &socket);
    daemon.wait_until_up(names);
    Example {
        daemon,
        site,
        _directory: directory,
    }
}

impl Example {
    /// Waits until the main table's own default routes are these, each told by words of `ip`, and no others.
    #[track_caller]
    fn wait_for_own(&self, expected: &[&str]) {
        wait_until("the own routes", DEADLINE, || {
            let own = own_of_main(&self.site.router);
            let fits = |wanted: &&str| own.iter().any(|line| has_words(line, wanted));
            if own.len() == expected.len() && expected.iter().all(fits) {
                Ok(())
            } else {
                Err(format!("{own:#?} instead of {expected:#?}"))
            }
        });
    }

    #[track_caller]
    fn traffic_leaves_by(&self, uplink: usize) {
        let ifindex = self.site.ifindex(uplink);
        route_watch::wait_until_by(&self.site.router, TARGET, ifindex, DEADLINE);
    }
}

fn own_of_main(router: &Namespace) -> Vec<String> {
    let mut own = routes::own(router);
    own.retain(|line| !line.contains(" table "));
    own
}

/// Whether a line has all these groups of words, which ` .. ` divides.
fn has_words(line: &str, groups: &str) -> bool {
    groups
        .split(" .. ")
        .all(|words| format!(" {line} ").contains(&format!(" {words} ")))
}

#[test]
fn py_pingu_takes_leases_over_and_a_route_stands_while_the_host_answers() {
    let _turn = turn::shared();
    let site = Plan::new(&["eno2", "wlo1"]).dhcp().build();
    let leased = routes::defaults(&site.router);
    let example = run("py-pingu.toml", site, &["eno2", "wlo1"]);
    let (eno2, wlo1) = (
        "default via 10.0.1.1 dev eno2 proto 136 .. metric 88",
        "default via 10.0.2.1 dev wlo1 proto 136 .. metric 50",
    );
    example.wait_for_own(&[wlo1, eno2]);
    wait_until(
        "the leased defaults to go",
        DEADLINE,
        || match routes::defaults(&example.site.router) {
            own if own.len() == 2 => Ok(()),
            other => Err(format!("{other:?}")),
        },
    );
    let watch = watch(&example);
    example.traffic_leaves_by(1);
    example.site.providers[1].black_hole();
    example.wait_for_own(&[eno2]);
    example.traffic_leaves_by(0);
    example.site.providers[1].repair();
    example.wait_for_own(&[wlo1, eno2]);
    example.traffic_leaves_by(1);
    assert_eq!(watch.finish().count.without_route, 0);
    assert!(example.daemon.stop().success());
    assert_eq!(routes::defaults(&example.site.router), leased);
}

fn watch(example: &Example) -> RouteWatch {
    let pace = Pace::Every(Duration::from_millis(1));
    RouteWatch::start(&example.site.router, TARGET, pace)
}

#[test]
fn multigateway_goes_by_the_order_and_stays_where_the_sticky_file_says() {
    let _turn = turn::shared();
    let interfaces = ["eth1", "eth2", "eth3"];
    let site = Plan::new(&interfaces)
        .same_gateway()
        .without_defaults()
        .build();
    let names = ["isp1", "isp2", "isp3"];
    let example = run("multigateway.toml", site, &names);
    let in_order = |order: [usize; 3]| {
        let lines = [0, 1, 2].map(|rank| {
            let line = order[rank];
            let (address, metric) = (11 + line, 100 + rank);
            format!(
                "default via 192.168.1.1 dev eth{} .. src 192.168.1.{address} metric {metric}",
                line + 1
            )
        });
        example.wait_for_own(&lines.each_ref().map(String::as_str));
    };
    in_order([0, 1, 2]);
    for (line, interface) in interfaces.iter().enumerate() {
        let address = example.site.providers[line].router_address();
        let way = example
            .site
            .router
            .ip(&format!("route get 8.8.8.8 from {address}"));
        assert!(way.contains(&format!("dev {interface} ")), "{way}");
    }
    example.site.providers[0].black_hole();
    in_order([1, 0, 2]);
    example.site.providers[1].black_hole();
    in_order([2, 0, 1]);
    example.site.providers[0].repair();
    in_order([0, 1, 2]);

    let sticky = example.daemon.path("/etc/pingu/sticky");
    fs::write(&sticky, "isp2\n").expect("the daemon runs");
    in_order([1, 0, 2]);
    fs::write(&sticky, "").expect("the daemon runs");
    in_order([0, 1, 2]);

    // Somebody's own default with a lower metric wins, and outlives all this.
    let users = "default via 192.168.1.1 dev eth3 metric 50";
    example.site.router.ip(&format!("route add {users}"));
    example.site.providers[1].repair();
    example.traffic_leaves_by(2);
    assert!(example.daemon.stop().success());
    assert_eq!(routes::defaults(&example.site.router), [users]);
}

#[test]
fn two_gateway_swaps_the_metrics_and_both_defaults_stay() {
    let _turn = turn::shared();
    let site = Plan::new(&["eth0", "eth1"])
        .same_gateway()
        .without_defaults()
        .build();
    let example = run("two-gateway.toml", site, &["primary", "backup"]);
    let by_primary = [
        "default via 192.168.1.1 dev eth0 .. metric 100",
        "default via 192.168.1.1 dev eth1 .. metric 101",
    ];
    let by_backup = [
        "default via 192.168.1.1 dev eth1 .. metric 100",
        "default via 192.168.1.1 dev eth0 .. metric 101",
    ];
    example.wait_for_own(&by_primary);
    let watch = watch(&example);
    example.site.providers[0].black_hole();
    example.wait_for_own(&by_backup);
    example.site.providers[0].repair();
    example.wait_for_own(&by_primary);
    assert_eq!(watch.finish().count.without_route, 0);
    assert!(example.daemon.stop().success());
    assert_eq!(routes::defaults(&example.site.router), [""; 0]);
}
