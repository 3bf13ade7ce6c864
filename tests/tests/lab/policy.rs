//! Policy routing: each uplink's table and rules, kept right as addresses change, and others' rules as they were.

use std::time::Duration;

use pingu_tests::lab::{
    daemon::Daemon,
    namespace::Namespace,
    pinger::Pinger,
    settings::Settings,
    site::{Plan, Site},
    turn,
    wait::wait_until,
};

const DEADLINE: Duration = Duration::from_secs(10);
const EVERY: Duration = Duration::from_millis(5);

fn with_tables() -> Settings {
    Settings::quick()
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
        )
}

fn running(settings: &Settings) -> (Site, Daemon) {
    let site = Plan::new(&["wan1", "wan2"]).build();
    let mut daemon = Daemon::start(&site.router, settings);
    daemon.wait_until_up(&["fibre", "lte"]);
    (site, daemon)
}

/// The rules that lead to the tables of uplinks.
fn rules(router: &Namespace) -> Vec<String> {
    let both = router.ip("-details -4 rule show") + &router.ip("-details -6 rule show");
    let mut rules: Vec<String> = both
        .lines()
        .filter(|line| line.contains("lookup 20"))
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    rules.sort();
    rules
}

/// Waits until there are exactly these rules, whatever their order.
#[track_caller]
fn wait_for_rules(router: &Namespace, expected: &[&str]) {
    let mut expected: Vec<String> = expected.iter().map(|&rule| rule.to_owned()).collect();
    expected.sort();
    wait_until("the rules", DEADLINE, || match rules(router) {
        found if found == expected => Ok(()),
        found => Err(format!("{found:#?} instead of {expected:#?}")),
    });
}

/// What an uplink's table holds, without what the kernel adds.
fn table(router: &Namespace, number: u32) -> Vec<String> {
    let both = router.ip(&format!("-4 route show table {number}"))
        + &router.ip(&format!("-6 route show table {number}"));
    both.lines().map(|line| line.trim().to_owned()).collect()
}

const RULES: [&str; 8] = [
    "20000: from all fwmark 0x100/0xff00 lookup 201 proto kernel",
    "20000: from all fwmark 0x200/0xff00 lookup 202 proto kernel",
    "21000: from 10.0.1.2 lookup 201 proto kernel",
    "21000: from 10.0.2.2 lookup 202 proto kernel",
    "20000: from all fwmark 0x100/0xff00 lookup 201 proto kernel",
    "20000: from all fwmark 0x200/0xff00 lookup 202 proto kernel",
    "21000: from 2001:db8:1::2 lookup 201 proto kernel",
    "21000: from 2001:db8:2::2 lookup 202 proto kernel",
];

#[test]
fn each_uplink_has_its_table_and_rules_and_takes_them_back() {
    let _turn = turn::alone();
    let site = Plan::new(&["wan1", "wan2"]).build();
    site.router
        .ip("rule add from 10.0.1.2 lookup 201 priority 21000 protocol static");
    site.router
        .ip("rule add to 192.0.2.0/24 lookup 99 priority 5");
    let foreign = rules_of_all(&site.router);
    let settings = with_tables();
    let mut daemon = Daemon::start(&site.router, &settings);
    daemon.wait_until_up(&["fibre", "lte"]);
    let mut expected = RULES.to_vec();
    expected.push("21000: from 10.0.1.2 lookup 201 proto static");
    wait_for_rules(&site.router, &expected);
    assert_eq!(
        table(&site.router, 201),
        [
            "default via 10.0.1.1 dev wan1 proto 136 src 10.0.1.2 metric 1",
            "10.0.1.0/24 dev wan1 proto 136 scope link src 10.0.1.2 metric 1",
            "192.168.88.0/24 dev lan0 proto 136 scope link src 192.168.88.1 metric 1",
            "2001:db8:1::/64 dev wan1 proto 136 metric 1 pref medium",
        ]
    );
    let leaves = |from: &str, by: &str| {
        let way = site.router.ip(&format!("route get 8.8.8.8 from {from}"));
        assert!(way.contains(&format!("dev {by} ")), "{way}");
    };
    leaves("10.0.1.2", "wan1");
    leaves("10.0.2.2", "wan2");
    let marked = site.router.ip("route get 8.8.8.8 mark 0x0234");
    assert!(marked.contains("dev wan2 "), "{marked}");
    assert!(daemon.stop().success());
    assert_eq!(rules_of_all(&site.router), foreign);
    assert_eq!(table(&site.router, 201), [] as [String; 0]);
    assert_eq!(table(&site.router, 202), [] as [String; 0]);
}

fn rules_of_all(router: &Namespace) -> String {
    router.ip("-details -4 rule show") + &router.ip("-details -6 rule show")
}

#[test]
fn rules_follow_addresses_that_come_and_go() {
    let _turn = turn::alone();
    let settings = with_tables();
    let (site, _daemon) = running(&settings);
    wait_for_rules(&site.router, &RULES);
    site.router.ip("address add 10.0.1.77/24 dev wan1");
    site.router.ip("address add 172.31.0.5/30 dev wan1");
    let mut more = RULES.to_vec();
    more.push("21000: from 10.0.1.77 lookup 201 proto kernel");
    more.push("21000: from 172.31.0.5 lookup 201 proto kernel");
    wait_for_rules(&site.router, &more);
    wait_until("the new network's route", DEADLINE, || {
        let routes = table(&site.router, 201);
        let found = routes.iter().any(|line| line.starts_with("172.31.0.4/30"));
        if found {
            Ok(())
        } else {
            Err(format!("{routes:?}"))
        }
    });
    site.router.ip("address del 10.0.1.77/24 dev wan1");
    site.router.ip("address del 172.31.0.5/30 dev wan1");
    wait_for_rules(&site.router, &RULES);
}

#[test]
fn a_table_and_its_rules_do_not_depend_on_health() {
    let _turn = turn::alone();
    let settings = with_tables();
    let (site, mut daemon) = running(&settings);
    wait_for_rules(&site.router, &RULES);
    site.providers[0].black_hole();
    daemon.wait_until_down("fibre");
    wait_for_rules(&site.router, &RULES);
    assert_eq!(table(&site.router, 201).len(), 4);
    site.providers[0].set_carrier(false);
    daemon.wait_for("the carrier to be missed", DEADLINE, |status| {
        let reason = status["uplinks"][0]["reason"].to_string();
        reason.contains("carrier")
    });
    wait_for_rules(&site.router, &RULES);
    let left = table(&site.router, 201);
    assert!(
        left.iter().any(|line| line.starts_with("default")),
        "{left:?}"
    );
}

#[test]
fn flushed_rules_and_tables_are_back_within_a_second() {
    let _turn = turn::alone();
    let settings = with_tables();
    let (site, _daemon) = running(&settings);
    wait_for_rules(&site.router, &RULES);
    let whole = table(&site.router, 201);
    site.router.ip("rule del priority 20000");
    site.router.ip("-6 rule del priority 21000");
    site.router.ip("route flush table 201");
    site.router.ip("route flush table 202");
    wait_until("everything to be back", Duration::from_secs(1), || {
        let mut expected = RULES.map(str::to_owned);
        expected.sort();
        if rules(&site.router) == expected && table(&site.router, 201) == whole {
            Ok(())
        } else {
            Err(format!(
                "{:?} {:?}",
                rules(&site.router),
                table(&site.router, 201)
            ))
        }
    });
}

#[test]
fn a_killed_pingu_finds_its_rules_and_tables_again() {
    let _turn = turn::alone();
    let settings = with_tables();
    let (site, daemon) = running(&settings);
    wait_for_rules(&site.router, &RULES);
    let before = (rules_of_all(&site.router), table(&site.router, 201));
    daemon.kill();
    let mut daemon = Daemon::start(&site.router, &settings);
    daemon.wait_until_up(&["fibre", "lte"]);
    wait_for_rules(&site.router, &RULES);
    assert_eq!(
        (rules_of_all(&site.router), table(&site.router, 201)),
        before
    );
    assert!(daemon.stop().success());
    assert_eq!(rules(&site.router), [] as [String; 0]);
}

#[test]
fn the_same_gateway_and_network_on_two_uplinks_have_a_table_each() {
    let _turn = turn::alone();
    let site = Plan::new(&["wan1", "wan2"]).same_gateway().build();
    let addresses: Vec<String> = site
        .providers
        .iter()
        .map(|provider| provider.router_address().to_string())
        .collect();
    let settings = Settings::quick()
        .group("name = \"wan\"\nmode = \"ordered\"")
        .member(
            "one",
            "wan1",
            "192.168.1.1",
            &format!("source = \"{}\"\ntable = 201", addresses[0]),
        )
        .member(
            "two",
            "wan2",
            "192.168.1.1",
            &format!("source = \"{}\"\ntable = 202", addresses[1]),
        );
    let mut daemon = Daemon::start(&site.router, &settings);
    daemon.wait_until_up(&["one", "two"]);
    for (number, interface, address) in [(201, "wan1", &addresses[0]), (202, "wan2", &addresses[1])]
    {
        let expected =
            format!("default via 192.168.1.1 dev {interface} proto 136 src {address} metric 1");
        wait_until("the table", DEADLINE, || {
            let found = table(&site.router, number);
            if found.contains(&expected) {
                Ok(())
            } else {
                Err(format!("{found:?}"))
            }
        });
        let way = site.router.ip(&format!("route get 8.8.8.8 from {address}"));
        assert!(way.contains(&format!("dev {interface} ")), "{way}");
    }
    let mains = site.router.ip("-4 route show default proto 136");
    assert!(
        mains.contains(&format!("src {} metric 100", addresses[0])),
        "{mains}"
    );
    assert!(
        mains.contains(&format!("src {} metric 101", addresses[1])),
        "{mains}"
    );
}

#[test]
fn the_lan_reaches_the_router_by_the_address_of_an_uplink() {
    let _turn = turn::alone();
    let settings = with_tables();
    let (site, _daemon) = running(&settings);
    wait_for_rules(&site.router, &RULES);
    let pinger = Pinger::start(&site.lan, "10.0.1.2".parse().expect("an address"), EVERY);
    let mut pings = Vec::new();
    wait_until("answers to the LAN", DEADLINE, || {
        pings.extend(pinger.decided());
        let answered = pings.iter().filter(|ping| ping.rtt.is_some()).count();
        if answered >= 3 {
            Ok(())
        } else {
            Err(format!("{pings:?}"))
        }
    });
}
