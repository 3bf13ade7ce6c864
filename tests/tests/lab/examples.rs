//! Each file of `config/examples`, as it is, run on a network with interfaces of its names: what it promises comes true.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use pingu_tests::lab::{
    daemon::Daemon,
    namespace::Namespace,
    route_watch::{self, Pace, RouteWatch},
    routes,
    script::Setting,
    server::{HttpServer, NameServer},
    site::{Plan, SECOND_TARGET, Site, TARGET},
    status,
    tun::Tun,
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
            this_file.contains(&format!("(\"{name}\", ")),
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
    let (daemon, directory) = run_in(file, &site.router, names);
    Example {
        daemon,
        site,
        _directory: directory,
    }
}

/// Runs an example in any namespace, until all these uplinks are up; the directory holds its control socket.
#[track_caller]
fn run_in(file: &str, router: &Namespace, names: &[&str]) -> (Daemon, TempDir) {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let socket = directory.path().join("pingu.sock");
    let mut daemon = Daemon::start_shut_in(router, &folder().join(file), &socket);
    daemon.wait_until_up(names);
    (daemon, directory)
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

#[test]
fn failoverd_s_script_replaces_the_default_when_the_line_loses_and_when_it_is_well_again() {
    let _turn = turn::shared();
    let site = Plan::new(&["eth0", "eth1"]).build();
    let before = routes::defaults(&site.router);
    let text = script("failoverd.lua", &folder());
    let mut script = Setting::new(&text).start(&site.router);
    let leaves_by = |uplink| {
        route_watch::wait_until_by(&site.router, TARGET, site.ifindex(uplink), DEADLINE);
    };
    script.wait_for_output("leaving by eth0\n");
    let pace = Pace::Every(Duration::from_millis(1));
    let watch = RouteWatch::start(&site.router, TARGET, pace);
    leaves_by(0);
    site.providers[0].black_hole();
    leaves_by(1);
    site.providers[0].repair();
    leaves_by(0);
    assert_eq!(watch.finish().count.without_route, 0);
    assert_eq!(script.stop(libc::SIGTERM).code(), Some(0));
    assert_eq!(
        script.output(),
        "leaving by eth0\nleaving by eth1\nleaving by eth0\nShutting down\n"
    );
    assert_eq!(routes::defaults(&site.router), before);
}

fn script(file: &str, folder: &Path) -> String {
    fs::read_to_string(folder.join(file)).expect("the example is there")
}

#[test]
fn at_home_the_metered_spare_is_hardly_probed_and_serves_when_the_fibre_fails() {
    let _turn = turn::shared();
    let site = Plan::new(&["eth0", "wwan0"]).build();
    site.providers[1].count_pings();
    let mut example = run("home.toml", site, &["fibre", "lte"]);
    example.traffic_leaves_by(0);
    // One target that is dead is no dead line.
    let dead = "table inet fault {\nchain input {\ntype filter hook input priority 0;\nip daddr 1.1.1.1 drop\n}\n}\n";
    example.site.internet.nft(dead);
    example
        .daemon
        .wait_for("1.1.1.1 to be down", DEADLINE, |status| {
            status::target(status, "fibre", 1)["state"] == "down"
        });
    assert_eq!(
        status::state(&example.daemon.status().unwrap(), "fibre"),
        "up"
    );
    let watch = watch(&example);
    example.site.providers[0].black_hole();
    example.traffic_leaves_by(1);
    example.site.providers[0].repair();
    let status = example.daemon.wait_until_up(&["fibre"]);
    assert_eq!(status["active"], "lte", "held down: {status:#}");
    example.traffic_leaves_by(0);
    assert_eq!(watch.finish().count.without_route, 0);
    let (pings, bytes) = example.site.providers[1].pings();
    assert!(pings <= 12, "{pings} pings at a burst of three each minute");
    let status = example.daemon.status().unwrap();
    let lte = status::uplink(&status, "lte");
    assert!(
        lte["spent"].as_u64().is_some_and(|spent| spent >= bytes),
        "{lte:#}"
    );
}

#[test]
fn in_the_office_a_login_page_is_no_internet_and_answers_leave_by_the_line_of_the_question() {
    let _turn = turn::shared();
    let site = Plan::new(&["eth0", "eth1"]).build();
    let web = SocketAddr::new(SECOND_TARGET.into(), 80);
    let right = "HTTP/1.1 204 No Content\r\n\r\n";
    let _web = HttpServer::start(&site.internet, &[web], right);
    let resolver = Ipv4Addr::new(9, 9, 9, 9).into();
    let record = ["--host-record=example.com,8.8.8.8"];
    let _resolver = NameServer::start(&site.internet, resolver, &record);
    let login =
        "HTTP/1.1 302 Found\r\nLocation: http://login.example/\r\nContent-Length: 0\r\n\r\n";
    let everywhere = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 8080);
    let _portal = HttpServer::start(&site.providers[0].namespace, &[everywhere], login);
    let mut example = run("office.toml", site, &["fibre", "dsl"]);
    example.daemon.wait_for("both checks", DEADLINE, |status| {
        let checks = status::uplink(status, "fibre")["checks"].as_array();
        checks.is_some_and(|checks| checks.iter().all(|check| check["state"] == "up"))
    });
    example.traffic_leaves_by(0);
    for (provider, interface) in example.site.providers.iter().zip(["eth0", "eth1"]) {
        let address = provider.router_address();
        let router = &example.site.router;
        wait_until("answers to leave by the line", DEADLINE, || {
            match router.ip(&format!("route get 8.8.8.8 from {address}")) {
                way if way.contains(&format!("dev {interface} ")) => Ok(()),
                way => Err(way),
            }
        });
    }
    example.site.providers[0].capture_http(8080);
    example.traffic_leaves_by(1);
    let status = example.daemon.wait_until_down("fibre");
    let reason = status::reason(&status, "fibre");
    assert!(reason.contains("captive portal"), "{reason}");
    assert_eq!(status::target(&status, "fibre", 0)["state"], "up");
    example.site.providers[0].release_http();
    example.traffic_leaves_by(0);
}

#[test]
fn a_site_s_networks_move_between_its_tunnels_and_no_others_with_them() {
    let _turn = turn::shared();
    let hub = Namespace::new("hub");
    let tunnels = [
        ("wg1a", "172.31.1.1/30"),
        ("wg1b", "172.31.1.5/30"),
        ("wg2a", "172.31.2.1/30"),
        ("wg2b", "172.31.2.5/30"),
    ]
    .map(|(name, address)| {
        let tunnel = Tun::start(&hub, name);
        hub.ip(&format!("address add {address} dev {name}"));
        tunnel
    });
    let names = ["bern-a", "bern-b", "oslo-a", "oslo-b"];
    let (daemon, _directory) = run_in("vpn-hub.toml", &hub, &names);
    let leave_by = |address: &str, way_out: &str| {
        wait_until(&format!("{address} by {way_out}"), DEADLINE, || {
            let mut command = hub.command("ip");
            command.args(["route", "get", address]);
            let output = command.output().expect("ip runs");
            let said = [output.stdout, output.stderr].concat();
            match String::from_utf8_lossy(&said).into_owned() {
                said if said.contains(way_out) => Ok(()),
                said => Err(said),
            }
        });
    };
    leave_by("10.1.2.3", "dev wg1a ");
    leave_by("10.2.2.3", "dev wg2a ");
    tunnels[0].set_silent(true);
    leave_by("10.1.2.3", "dev wg1b ");
    leave_by("10.2.2.3", "dev wg2a ");
    tunnels[1].set_silent(true);
    leave_by("10.1.2.3", "No route to host");
    tunnels[1].set_silent(false);
    leave_by("10.1.2.3", "dev wg1b ");
    tunnels[0].set_silent(false);
    leave_by("10.1.2.3", "dev wg1a ");
    leave_by("10.2.2.3", "dev wg2a ");
    assert!(daemon.stop().success());
    assert_eq!(routes::own(&hub), [""; 0]);
}
