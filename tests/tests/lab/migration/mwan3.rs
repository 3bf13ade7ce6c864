//! Those who come from OpenWrt's mwan3, with the configuration that its package brings and a second line switched on.

use std::{fs, net::Ipv4Addr};

use pingu_tests::lab::{
    provider::Provider,
    routes,
    site::{Plan, Site},
    turn,
    wait::wait_until,
};

use super::{DEADLINE, Moved, rules};

/// Both lines by DHCP, as netifd has them, and all that the packaged configuration tracks.
fn leased() -> Site {
    let site = Plan::new(&["eth1", "eth2"]).dhcp().build();
    for target in ["208.67.222.222", "208.67.220.220"] {
        site.internet.ip(&format!("address add {target}/32 dev lo"));
    }
    site
}

/// Of the four targets, all but one.
const THREE: [Ipv4Addr; 3] = [
    Ipv4Addr::new(1, 0, 0, 1),
    Ipv4Addr::new(1, 1, 1, 1),
    Ipv4Addr::new(208, 67, 222, 222),
];

/// Waits until an uplink was probed so often that a failure would have been noticed.
#[track_caller]
fn more_probes(provider: &Provider) {
    provider.count("ip daddr 208.67.220.220 icmp type echo-request");
    wait_until("probes", DEADLINE, || match provider.counted() {
        few @ 0..5 => Err(few.to_string()),
        _ => Ok(()),
    });
}

/// `fwmark` leads a packet out of one uplink, as the rules of a firewall written for mwan3 expect.
#[track_caller]
fn marked_leaves_by(site: &Site, mark: &str, interface: &str) {
    let way = site.router.ip(&format!("route get 9.9.9.9 mark {mark}"));
    assert!(way.contains(&format!("dev {interface} ")), "{mark}: {way}");
}

#[test]
fn mwan3_s_packaged_configuration_imported_balances_fails_over_and_comes_back() {
    let _turn = turn::shared();
    let site = leased();
    let before = (routes::defaults(&site.router), rules(&site.router));
    let moved = Moved::import("openwrt/mwan3", site, &["wan", "wanb"]);
    let both = [
        "default .. proto 136 .. via 10.0.1.1 dev eth1 weight 3 .. via 10.0.2.1 dev eth2 weight 2",
    ];
    moved.wait_for_defaults(&both);
    marked_leaves_by(&moved.site, "0x100", "eth1");
    marked_leaves_by(&moved.site, "0x300", "eth2");
    let watch = moved.watch();
    moved.site.providers[0].black_hole();
    moved.wait_for_defaults(&["default .. via 10.0.2.1 dev eth2 proto 136"]);
    moved.site.providers[0].repair();
    moved.wait_for_defaults(&both);

    // Two of the four targets are enough for `wan`, and one for `wanb`.
    let [primary, backup] = &moved.site.providers[..] else {
        panic!("the site has two providers");
    };
    backup.block(&THREE);
    more_probes(backup);
    moved.wait_for_defaults(&both);
    backup.repair();
    primary.block(&THREE[..2]);
    more_probes(primary);
    moved.wait_for_defaults(&both);
    primary.block(&THREE);
    moved.wait_for_defaults(&["default .. via 10.0.2.1 dev eth2 proto 136"]);
    assert_eq!(watch.finish().count.without_route, 0);
    assert!(moved.daemon.stop().success());
    let after = (
        routes::defaults(&moved.site.router),
        rules(&moved.site.router),
    );
    assert_eq!(after, before);
}

#[test]
fn mwan3_s_policy_of_a_main_line_and_a_backup_moves_there_and_back() {
    let _turn = turn::shared();
    // What people change first.
    let original =
        include_str!("openwrt/mwan3").replace("use_policy 'balanced'", "use_policy 'wan_wanb'");
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let path = |name| directory.path().join(name);
    fs::write(path("mwan3"), original)
        .and_then(|()| fs::write(path("network"), include_str!("openwrt/network")))
        .expect("a temporary file can be written");
    let file = path("mwan3");
    let moved = Moved::import(&file.to_string_lossy(), leased(), &["wan", "wanb"]);
    let by_wan = [
        "default via 10.0.1.1 dev eth1 proto 136 metric 1",
        "default via 10.0.2.1 dev eth2 proto 136 metric 2",
    ];
    moved.wait_for_defaults(&by_wan);
    let watch = moved.watch();
    moved.site.providers[0].black_hole();
    moved.traffic_leaves_by(1);
    moved.site.providers[0].repair();
    moved.traffic_leaves_by(0);
    moved.site.providers[0].set_carrier(false);
    moved.traffic_leaves_by(1);
    moved.site.providers[0].set_carrier(true);
    moved.traffic_leaves_by(0);
    moved.wait_for_defaults(&by_wan);
    assert_eq!(watch.finish().count.without_route, 0);

    // Its last resort is to refuse.
    for provider in &moved.site.providers {
        provider.black_hole();
    }
    moved.wait_for_defaults(&["unreachable default .. proto 136"]);
    moved.site.providers[1].repair();
    moved.traffic_leaves_by(1);
    assert!(moved.daemon.stop().success());
}
