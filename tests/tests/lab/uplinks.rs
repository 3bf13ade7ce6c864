//! Uplinks of every kind, and many of them.

use std::time::Duration;

use pingu_tests::lab::{
    daemon::{Daemon, START_DEADLINE},
    namespace::Namespace,
    route_watch, routes,
    settings::Settings,
    site::{Plan, Site, TARGET, TARGET_V6},
    status::{self, counter},
    tun::Tun,
    turn,
    wait::wait_until,
};

const DEADLINE: Duration = Duration::from_secs(10);

/// How many uplinks the largest router has.
const MANY: usize = 64;

#[test]
fn sixty_four_uplinks_are_probed_at_once_and_one_that_is_cut_goes_down_alone() {
    let _turn = turn::alone();
    let (router, far) = star();
    let mut settings = Settings::quick();
    for index in 0..MANY {
        let (name, interface) = (format!("line{index}"), format!("w{index}"));
        settings = settings.uplink(
            &name,
            &interface,
            &format!("10.1.{index}.1"),
            100 + index as u32,
        );
    }
    let mut daemon = Daemon::start(&router, &settings);
    let names: Vec<String> = (0..MANY).map(|index| format!("line{index}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    daemon.wait_until_up(&names);
    wait_until(
        "an own route for each uplink",
        DEADLINE,
        || match routes::own(&router).len() {
            MANY => Ok(()),
            other => Err(format!("{other} own routes")),
        },
    );

    far.nft(
        "table inet fault {\nchain input {\ntype filter hook input priority 0;\n\
         iifname \"f17\" icmp type echo-request drop\n}\n}\n",
    );
    let status = daemon.wait_until_down("line17");
    for name in names.iter().filter(|name| **name != "line17") {
        assert_eq!(status::state(&status, name), "up", "{name}");
        assert_eq!(
            counter(status::target(&status, name, 0), "lost"),
            0,
            "{name}"
        );
    }
    wait_until(
        "the own route of line17 to go",
        DEADLINE,
        || match routes::own_over(&router, "w17") {
            None => Ok(()),
            Some(route) => Err(route),
        },
    );
    assert_eq!(routes::own(&router).len(), MANY - 1);
}

#[test]
fn targets_of_both_families_are_probed_over_one_uplink() {
    let _turn = turn::shared();
    let site = Plan::new(&["wan1"]).build();
    let settings = both_families(Settings::quick(), &site, &["fibre"]);
    let mut daemon = Daemon::start(&site.router, &settings);
    let status = daemon.wait_for("answers of both families", START_DEADLINE, |status| {
        (0..2).all(|index| counter(status::target(status, "fibre", index), "answered") >= 6)
    });
    for (index, address) in [TARGET.to_string(), TARGET_V6.to_string()]
        .iter()
        .enumerate()
    {
        let target = status::target(&status, "fibre", index);
        assert_eq!(target["address"], **address);
        assert!(
            target["rtt_us"]["p50"].as_f64().is_some_and(|us| us > 0.0),
            "{target:#}"
        );
    }
    wait_until("own routes of both families", DEADLINE, || {
        let own = routes::own(&site.router);
        if own.len() == 2 {
            Ok(())
        } else {
            Err(format!("{own:?}"))
        }
    });
}

#[test]
fn a_dead_target_of_one_family_takes_only_that_familys_route_elsewhere() {
    let _turn = turn::shared();
    let site = Plan::new(&["wan1", "wan2"]).build();
    let settings = both_families(Settings::quick(), &site, &["fibre", "lte"]);
    let mut daemon = Daemon::start(&site.router, &settings);
    daemon.wait_for("answers of both families", START_DEADLINE, |status| {
        ["fibre", "lte"]
            .iter()
            .all(|name| (0..2).all(|i| counter(status::target(status, name, i), "answered") >= 6))
    });
    let leaves_by = |interface: &str| {
        let route = site.router.ip(&format!("-6 route get {TARGET_V6}"));
        if route.contains(&format!(" dev {interface} ")) {
            Ok(())
        } else {
            Err(route)
        }
    };
    wait_until("IPv6 to leave by the fibre", DEADLINE, || leaves_by("wan1"));

    site.providers[0].namespace.nft(
        "table ip6 fault {\nchain forward {\ntype filter hook forward priority 0;\npolicy drop;\n}\n}\n",
    );
    wait_until("IPv6 to leave by lte", DEADLINE, || leaves_by("wan2"));
    assert_eq!(
        route_watch::way_to(&site.router, TARGET),
        Some(site.ifindex(0)),
        "IPv4 stays on the fibre"
    );
    assert_eq!(status::state(&daemon.status().unwrap(), "fibre"), "up");
}

#[test]
fn an_uplink_may_have_ipv6_alone() {
    let _turn = turn::shared();
    let site = Plan::new(&["wan1"]).without_defaults().build();
    let settings = Settings::quick().uplink_with(
        "fibre",
        "wan1",
        &site.providers[0].gateway_v6().to_string(),
        88,
        &format!("targets = [\"{TARGET_V6}\"]"),
    );
    let mut daemon = Daemon::start(&site.router, &settings);
    daemon.wait_until_up(&["fibre"]);
    wait_until("an own IPv6 route", DEADLINE, || {
        let own = routes::own(&site.router);
        if own.len() == 1 && own[0].contains("2001:db8:1::1") {
            Ok(())
        } else {
            Err(format!("{own:?}"))
        }
    });
}

#[test]
fn a_tun_device_without_a_gateway_is_an_uplink() {
    let _turn = turn::shared();
    let site = Plan::new(&["wan1"]).build();
    let tun = Tun::start(&site.router, "tun0");
    site.router.ip("address add 10.99.0.2/32 dev tun0");
    let settings = Settings::quick()
        .uplink("tunnel", "tun0", "none", 88)
        .uplink("fibre", "wan1", "auto", 89);
    let mut daemon = Daemon::start(&site.router, &settings);
    let status = daemon.wait_until_up(&["tunnel", "fibre"]);
    assert!(
        status::uplink(&status, "tunnel")["gateway"].is_null(),
        "{status:#}"
    );
    let tunnel = site.router.ifindex("tun0");
    route_watch::wait_until_by(&site.router, TARGET, tunnel, DEADLINE);

    tun.set_silent(true);
    daemon.wait_until_down("tunnel");
    route_watch::wait_until_by(&site.router, TARGET, site.ifindex(0), DEADLINE);

    tun.set_silent(false);
    daemon.wait_until_up(&["tunnel"]);
    route_watch::wait_until_by(&site.router, TARGET, tunnel, DEADLINE);
}

#[test]
fn two_uplinks_may_have_the_same_gateway_address() {
    let _turn = turn::shared();
    let site = Plan::new(&["wan1", "wan2"]).same_gateway().build();
    let settings = Settings::quick()
        .uplink("fibre", "wan1", "auto", 88)
        .uplink("lte", "wan2", "auto", 89);
    let mut daemon = Daemon::start(&site.router, &settings);
    let status = daemon.wait_until_up(&["fibre", "lte"]);
    for name in ["fibre", "lte"] {
        assert_eq!(status::uplink(&status, name)["gateway"], "192.168.1.1");
    }
    route_watch::wait_until_by(&site.router, TARGET, site.ifindex(0), DEADLINE);
    site.providers[0].black_hole();
    route_watch::wait_until_by(&site.router, TARGET, site.ifindex(1), DEADLINE);
    assert_eq!(status::state(&daemon.status().unwrap(), "lte"), "up");
    site.providers[0].repair();
    route_watch::wait_until_by(&site.router, TARGET, site.ifindex(0), DEADLINE);
}

fn both_families(settings: Settings, site: &Site, names: &[&str]) -> Settings {
    names.iter().zip(&site.providers).enumerate().fold(
        settings,
        |settings, (index, (name, provider))| {
            settings.uplink_with(
                name,
                provider.interface(),
                &format!(
                    "[\"{}\", \"{}\"]",
                    provider.gateway(),
                    provider.gateway_v6()
                ),
                88 + index as u32,
                &format!("targets = [\"{TARGET}\", \"{TARGET_V6}\"]"),
            )
        },
    )
}

/// A router with many wires to one namespace that answers for the target on all of them.
fn star() -> (Namespace, Namespace) {
    let router = Namespace::new("router");
    let far = Namespace::new("far");
    far.ip(&format!("address add {TARGET}/32 dev lo"));
    let near_lines = lines(|index| {
        format!(
            "link add w{index} type veth peer name f{index} netns {}\naddress add 10.1.{index}.2/24 dev w{index}\nlink set w{index} up\n",
            far.name()
        )
    });
    let far_lines = lines(|index| {
        format!("address add 10.1.{index}.1/24 dev f{index}\nlink set f{index} up\n")
    });
    router.ip_batch(&near_lines);
    far.ip_batch(&far_lines);
    (router, far)
}

fn lines(of_one: impl Fn(usize) -> String) -> String {
    (0..MANY).map(of_one).collect()
}
