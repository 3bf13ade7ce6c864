//! What becomes of real connections through the router when the whole daemon moves their way out.

use std::{net::Ipv4Addr, time::Duration};

use pingu_tests::lab::{
    daemon::{Daemon, STOP_DEADLINE},
    flows::{self, Tcp, Udp},
    namespace::Namespace,
    route_watch,
    settings::Settings,
    site::{Site, TARGET},
    status, turn,
    wait::wait_until,
};

use crate::running::{running, two_uplinks};

mod failback;

const DEADLINE: Duration = Duration::from_secs(10);

/// The router's address on each uplink, which masquerading gives to what leaves by it.
const FIBRE: &str = "10.0.1.2";
const LTE: &str = "10.0.2.2";

/// The router's address in the LAN.
const ROUTER: &str = "192.168.88.1";

/// A host of the LAN whose address is routed by the first provider, without translation.
const ROUTED: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 5);

/// So many bursts more, and whatever pingu does about a change has been done.
const PROBES: u64 = 15;

/// The default: connections are told apart by their addresses.
fn by_address() -> Settings {
    two_uplinks(Settings::quick())
}

/// Connections are marked, and what has a mark stays on its uplink.
fn by_mark(group: &str) -> Settings {
    let marked = |table: u32, mark: u32| format!("table = {table}\nfwmark = \"{mark:#x}/0xff00\"");
    Settings::quick()
        .top("mark_connections = true")
        .group(&format!("name = \"wan\"\n{group}"))
        .member("fibre", "wan1", "auto", &marked(201, 0x100))
        .member("lte", "wan2", "auto", &marked(202, 0x200))
}

/// A site whose providers take only what has their own addresses, with servers in front and inside, and its daemon.
fn with_servers(settings: &Settings) -> (Site, Daemon) {
    let (site, daemon) = running(settings);
    for (provider, own) in site
        .providers
        .iter()
        .zip([format!("{FIBRE}, {ROUTED}"), LTE.to_owned()])
    {
        provider.namespace.nft(&format!(
            "table ip wires {{ chain wrong {{ type filter hook prerouting priority raw;\n\
             iifname \"r0\" ip saddr != {{ {own} }} drop\n}}\n}}"
        ));
    }
    flows::serve(&site.internet, ["8.8.8.8", "1.1.1.1"]);
    flows::serve(&site.router, ["127.0.0.1", ROUTER, FIBRE]);
    if settings.text().contains("mark_connections") {
        wait_until("the table of marks", DEADLINE, || marks_of(&site.router));
    }
    (site, daemon)
}

fn marks_of(router: &Namespace) -> Result<String, String> {
    let ruleset = router.run(&["nft", "list", "ruleset"]);
    let (_, table) = ruleset
        .split_once("table inet pingu {")
        .ok_or_else(|| ruleset.clone())?;
    Ok(table.to_owned())
}

/// The router's connections to the servers.
fn connections(site: &Site) -> Vec<String> {
    let mut all = flows::connections(&site.router);
    all.retain(|line| line.contains(" dport=7 "));
    all
}

/// Waits until there are so many connections, all settled.
#[track_caller]
fn settle(site: &Site, count: usize) -> Vec<String> {
    wait_until("the connections", DEADLINE, || {
        let all = connections(site);
        let settled = all.iter().filter(|line| flows::is_settled(line)).count();
        if settled == count && all.len() == count {
            Ok(all)
        } else {
            Err(format!("{all:#?}"))
        }
    })
}

/// A deletion follows its cause at once; the next look at everything would be far later than this.
const DELETION_MAX: Duration = Duration::from_secs(5);

/// Waits until exactly these are left.
#[track_caller]
fn wait_for_connections(site: &Site, expected: &[String]) {
    wait_until("the deletion", DELETION_MAX, || match connections(site) {
        found if found == expected => Ok(()),
        found => Err(format!("{found:#?} instead of {expected:#?}")),
    });
}

/// Waits until so many more probes over the second uplink have been settled.
#[track_caller]
fn some_bursts_later(daemon: &mut Daemon) {
    let settled = |status: &serde_json::Value| status::settled(status::target(status, "lte", 0));
    let before = settled(&daemon.status().expect("pingu answers"));
    daemon.wait_for("more probes", DEADLINE, |status| {
        settled(status) >= before + PROBES
    });
}

/// The first uplink dies, and its route moves.
#[track_caller]
fn fail_over(site: &Site, daemon: &mut Daemon) {
    site.providers[0].black_hole();
    daemon.wait_until_down("fibre");
    route_watch::wait_until_by(&site.router, TARGET, site.ifindex(1), DEADLINE);
}

/// The first uplink works again, and its route is back.
#[track_caller]
fn fail_back(site: &Site, daemon: &mut Daemon) {
    site.providers[0].repair();
    daemon.wait_until_up(&["fibre", "lte"]);
    route_watch::wait_until_by(&site.router, TARGET, site.ifindex(0), DEADLINE);
}

/// Flows that stay within the router and the LAN.
fn local_flows(site: &Site) -> impl Sized + use<> {
    let Site { lan, router, .. } = site;
    (
        Tcp::connect(lan, ROUTER),
        Tcp::connect(router, "127.0.0.1"),
        Udp::connect(lan, ROUTER),
    )
}

fn new_of(all: &[String], before: &[String]) -> Vec<String> {
    let new = all.iter().filter(|line| !before.contains(line));
    new.cloned().collect()
}

#[test]
fn a_failover_ends_the_connections_over_the_dead_uplink_and_no_others() {
    let _turn = turn::alone();
    let settings = by_address();
    let (site, mut daemon) = with_servers(&settings);
    let (lan, router) = (&site.lan, &site.router);
    let (_tcp, moving) = (Tcp::connect(lan, "8.8.8.8"), Udp::connect(lan, "8.8.8.8"));
    let _own = (
        Tcp::connect(router, "8.8.8.8"),
        Udp::connect(router, "8.8.8.8"),
    );
    assert_eq!(moving.seen_as().to_string(), FIBRE);
    let dying = settle(&site, 4);
    router.ip("route add 1.1.1.1 via 10.0.2.1");
    let mut other = (
        Tcp::connect(lan, "1.1.1.1"),
        Udp::connect(router, "1.1.1.1"),
    );
    // The last one is for the dead uplink's own address, but does not use the uplink.
    let _local = (local_flows(&site), Tcp::connect(lan, FIBRE));
    let others = new_of(&settle(&site, 10), &dying);
    assert_eq!(others.len(), 6);

    fail_over(&site, &mut daemon);
    wait_for_connections(&site, &others);
    assert_eq!(other.0.seen_as().to_string(), LTE);
    assert_eq!(other.1.seen_as().to_string(), LTE);
    // What the sender goes on with is translated anew; with its entry it would have left with the dead uplink's address.
    assert_eq!(moving.seen_as().to_string(), LTE);
}

#[test]
fn a_failover_ends_what_has_the_mark_of_the_dead_uplink_whatever_its_addresses() {
    let _turn = turn::alone();
    let settings = by_mark("");
    let (site, mut daemon) = with_servers(&settings);
    route_without_translation(&site);
    let lan = &site.lan;
    let _dying = (
        Udp::connect_as(lan, ROUTED, "8.8.8.8"),
        Tcp::connect(lan, "8.8.8.8"),
        Udp::connect(&site.router, "8.8.8.8"),
    );
    let dying = settle(&site, 3);
    assert!(
        dying.iter().all(|line| line.contains(" mark=256 ")),
        "{dying:#?}"
    );
    site.router.ip("route add 1.1.1.1 via 10.0.2.1");
    let mut other = (
        Tcp::connect(lan, "1.1.1.1"),
        Udp::connect(&site.router, "1.1.1.1"),
    );
    let _local = local_flows(&site);
    let others = new_of(&settle(&site, 8), &dying);
    let marked = others.iter().filter(|line| line.contains(" mark=512 "));
    assert_eq!(marked.count(), 2, "{others:#?}");

    fail_over(&site, &mut daemon);
    wait_for_connections(&site, &others);
    assert_eq!(other.0.seen_as().to_string(), LTE);
    assert_eq!(other.1.seen_as().to_string(), LTE);
}

/// The first provider routes a host's own address to the LAN.
fn route_without_translation(site: &Site) {
    site.lan.ip(&format!("address add {ROUTED}/32 dev eth0"));
    site.router.ip(&format!("route add {ROUTED} dev lan0"));
    site.router.nft(&format!(
        "insert rule ip nat postrouting ip saddr {ROUTED} accept"
    ));
    let provider = &site.providers[0].namespace;
    provider.ip(&format!("route add {ROUTED} via {FIBRE}"));
    site.internet
        .ip(&format!("route add {ROUTED} via 10.255.1.2"));
}

#[test]
fn nothing_is_deleted_where_that_is_switched_off() {
    let _turn = turn::alone();
    let settings = by_address().top("flush_connections = false");
    let (site, mut daemon) = with_servers(&settings);
    let _old = (
        Tcp::connect(&site.lan, "8.8.8.8"),
        Udp::connect(&site.lan, "8.8.8.8"),
    );
    settle(&site, 2);
    fail_over(&site, &mut daemon);
    let _new = Udp::connect(&site.lan, "1.1.1.1");
    let all = settle(&site, 3);
    some_bursts_later(&mut daemon);
    fail_back(&site, &mut daemon);
    some_bursts_later(&mut daemon);
    assert_eq!(connections(&site), all);
}

#[test]
fn the_table_of_marks_outlives_a_kill_and_goes_with_a_clean_end() {
    let _turn = turn::alone();
    let settings = by_mark("failback = \"soft\"");
    let (site, mut daemon) = with_servers(&settings);
    let foreign = site.router.run(&["nft", "list", "table", "ip", "nat"]);
    fail_over(&site, &mut daemon);
    let (mut tcp, udp) = (
        Tcp::connect(&site.lan, "8.8.8.8"),
        Udp::connect(&site.lan, "8.8.8.8"),
    );
    fail_back(&site, &mut daemon);
    let before = settle(&site, 2);
    let marks = marks_of(&site.router).expect("it is there");

    daemon.kill();
    assert_eq!(marks_of(&site.router).expect("it stays"), marks);
    assert_eq!(tcp.seen_as().to_string(), LTE);
    let mut daemon = Daemon::start(&site.router, &settings);
    daemon.wait_until_up(&["fibre", "lte"]);
    some_bursts_later(&mut daemon);
    assert_eq!(connections(&site), before);
    assert_eq!(marks_of(&site.router).expect("it is there"), marks);
    assert_eq!(tcp.seen_as().to_string(), LTE);
    assert_eq!(udp.seen_as().to_string(), LTE);
    let new = Udp::connect(&site.lan, "1.1.1.1");
    assert_eq!(new.seen_as().to_string(), FIBRE);

    // The next one knows what to delete although it did not see the connections begin.
    let dying = settle(&site, 3);
    fail_over(&site, &mut daemon);
    let old = dying.iter().filter(|line| line.contains(" dst=8.8.8.8 "));
    let left: Vec<String> = old.cloned().collect();
    assert_eq!(left.len(), 2);
    wait_for_connections(&site, &left);
    assert!(daemon.stop().success());
    assert_eq!(
        site.router.run(&["nft", "list", "ruleset"]).trim(),
        foreign.trim()
    );
    wait_for_connections(&site, &left);
}

#[test]
fn a_table_of_marks_that_somebody_takes_away_is_back_in_seconds() {
    let _turn = turn::alone();
    let settings = by_mark("");
    let (site, _daemon) = with_servers(&settings);
    let marks = marks_of(&site.router).expect("it is there");
    site.router
        .run(&["nft", "delete", "table", "inet", "pingu"]);
    wait_until("the table", STOP_DEADLINE * 2, || {
        match marks_of(&site.router)? {
            same if same == marks => Ok(()),
            other => Err(other),
        }
    });
}

/// As after a kill between the last route and the deletion.
#[test]
fn a_start_on_a_dead_uplink_ends_the_connections_that_were_left_there() {
    let _turn = turn::alone();
    let settings = by_address();
    let careless = by_address().top("flush_connections = false");
    let (site, mut daemon) = with_servers(&careless);
    let flow = Udp::connect(&site.lan, "8.8.8.8");
    settle(&site, 1);
    fail_over(&site, &mut daemon);
    let _other = Udp::connect(&site.lan, "1.1.1.1");
    let both = settle(&site, 2);
    daemon.kill();
    assert_eq!(connections(&site), both);
    let mut daemon = Daemon::start(&site.router, &settings);
    daemon.wait_until_down("fibre");
    let left = both.into_iter().filter(|line| line.contains(LTE));
    wait_for_connections(&site, &left.collect::<Vec<_>>());
    assert_eq!(flow.seen_as().to_string(), LTE);
}
