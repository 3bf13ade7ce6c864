//! Paths that swallow large packets, and those that say so.

use pingu_tests::lab::{
    daemon::Daemon,
    settings::Settings,
    site::{Plan, TARGET_V6},
    status, turn,
};

use super::{check, first, wait_for_check};

fn mtu(lines: &str) -> String {
    check("mtu", lines).replace("250ms", "300ms")
}

#[test]
fn a_path_that_swallows_large_packets_is_found_although_pings_pass() {
    let _turn = turn::alone();
    let site = Plan::new(&["wan1", "wan2"]).build();
    for provider in &site.providers {
        provider.count("icmp type echo-request meta length 1500");
    }
    let settings = Settings::quick()
        .uplink("fibre", "wan1", "auto", 88)
        .uplink_with(
            "lte",
            "wan2",
            "auto",
            89,
            &mtu("name = \"large\"\ntarget = \"1.1.1.1\""),
        );
    let mut daemon = Daemon::start(&site.router, &settings);
    wait_for_check(&mut daemon, "lte", "up", "1500 bytes pass");
    assert_eq!(site.providers[0].counted(), 0);
    assert!(site.providers[1].counted() > 0);
    site.providers[1].drop_longer_than(1400);
    let status = wait_for_check(&mut daemon, "lte", "down", "path-MTU black hole");
    assert_eq!(first(&status, "lte")["cause"], "mtu", "{status:#}");
    assert_eq!(
        status::target(&status, "lte", 0)["state"],
        "up",
        "{status:#}"
    );
    let reason = status::reason(&status, "lte");
    assert!(
        reason
            .starts_with("check large: path-MTU black hole: 128 bytes are answered, 1500 are not"),
        "{reason}"
    );
    site.providers[1].black_hole();
    let status = wait_for_check(&mut daemon, "lte", "down", "does not answer at all");
    assert_eq!(first(&status, "lte")["cause"], "timeout", "{status:#}");
    site.providers[1].repair();
    daemon.wait_until_up(&["lte"]);
}

#[test]
fn a_router_that_says_what_passes_is_believed_unless_a_size_is_asked_for() {
    let _turn = turn::alone();
    let site = Plan::new(&["wan1", "wan2"]).build();
    site.providers[0].namespace.ip("link set i0 mtu 1400");
    site.providers[1].namespace.ip("link set i0 mtu 1400");
    let settings = Settings::quick()
        .uplink_with("fibre", "wan1", "auto", 88, &mtu("target = \"1.1.1.1\""))
        .uplink_with(
            "lte",
            "wan2",
            "auto",
            89,
            &mtu("target = \"1.1.1.1\"\nsize = 1500"),
        );
    let mut daemon = Daemon::start(&site.router, &settings);
    wait_for_check(
        &mut daemon,
        "fibre",
        "up",
        "1400 bytes pass: 10.0.1.1 says that the path's MTU is 1400",
    );
    let status = wait_for_check(
        &mut daemon,
        "lte",
        "down",
        "1500 bytes do not pass: 10.0.2.1 says that the path's MTU is 1400",
    );
    assert_eq!(first(&status, "lte")["cause"], "mtu", "{status:#}");
    // It says so, and then swallows what it said would pass.
    site.providers[0].drop_longer_than(1300);
    let status = wait_for_check(&mut daemon, "fibre", "down", "but 1400 bytes do not pass");
    assert_eq!(first(&status, "fibre")["cause"], "mtu", "{status:#}");
}

#[test]
fn large_packets_of_ipv6_are_tried_as_well() {
    let _turn = turn::alone();
    let site = Plan::new(&["wan1", "wan2"]).build();
    let gateways = |index: usize| {
        let provider = &site.providers[index];
        format!(
            "[\"{}\", \"{}\"]",
            provider.gateway(),
            provider.gateway_v6()
        )
    };
    let checks = mtu(&format!("target = \"{TARGET_V6}\""));
    let settings = Settings::quick()
        .uplink_with("fibre", "wan1", &gateways(0), 88, &checks)
        .uplink_with("lte", "wan2", &gateways(1), 89, &checks);
    site.providers[1].drop_longer_than(1400);
    site.providers[0].namespace.ip("link set i0 mtu 1350");
    let mut daemon = Daemon::start(&site.router, &settings);
    let says = "1350 bytes pass: 2001:db8:1::1 says that the path's MTU is 1350";
    wait_for_check(&mut daemon, "fibre", "up", says);
    let status = wait_for_check(&mut daemon, "lte", "down", "path-MTU black hole");
    assert_eq!(first(&status, "lte")["cause"], "mtu", "{status:#}");
    // More than the interface takes never leaves.
    site.router.ip("link set wan2 mtu 1280");
    site.providers[1].repair();
    wait_for_check(&mut daemon, "lte", "up", "1280 bytes pass");
}
