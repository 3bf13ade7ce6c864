//! What becomes of the connections over an uplink that works when traffic goes back to the better one.

use pingu_tests::lab::{
    flows::{Tcp, Udp},
    turn,
    wait::wait_until,
};

use super::{
    DEADLINE, DELETION_MAX, FIBRE, LTE, by_address, by_mark, connections, fail_back, fail_over,
    local_flows, new_of, settle, some_bursts_later, wait_for_connections, with_servers,
};

#[test]
fn a_hard_failback_ends_the_connections_over_the_uplink_that_is_left() {
    let _turn = turn::alone();
    let settings = by_address();
    let (site, mut daemon) = with_servers(&settings);
    let _local = local_flows(&site);
    let local = settle(&site, 3);
    fail_over(&site, &mut daemon);
    let (_tcp, udp) = (
        Tcp::connect(&site.lan, "8.8.8.8"),
        Udp::connect(&site.lan, "8.8.8.8"),
    );
    let before = settle(&site, 5);
    assert_eq!(udp.seen_as().to_string(), LTE);
    some_bursts_later(&mut daemon);
    assert_eq!(connections(&site), before);
    fail_back(&site, &mut daemon);
    wait_for_connections(&site, &local);
    assert_eq!(udp.seen_as().to_string(), FIBRE);
}

#[test]
fn a_soft_failback_leaves_old_connections_where_they_are_and_new_ones_take_the_better_uplink() {
    let _turn = turn::alone();
    let settings = by_mark("mode = \"ordered\"\nfailback = \"soft\"");
    let (site, mut daemon) = with_servers(&settings);
    let (lan, router) = (&site.lan, &site.router);
    let dead = Udp::connect(lan, "8.8.8.8");
    let died = settle(&site, 1);
    fail_over(&site, &mut daemon);
    // Soft is for uplinks that work: those of a dead one end all the same.
    wait_until(
        "the dead uplink's connection to go",
        DEADLINE,
        || match connections(&site) {
            left if new_of(&died, &left) == died => Ok(()),
            left => Err(format!("{left:#?}")),
        },
    );
    drop(dead);
    let mut old = [
        Tcp::connect(lan, "8.8.8.8"),
        Tcp::connect(router, "8.8.8.8"),
    ];
    let old_udp = Udp::connect(lan, "8.8.8.8");
    let before = settle(&site, 3);
    fail_back(&site, &mut daemon);
    some_bursts_later(&mut daemon);
    assert_eq!(connections(&site), before);
    for tcp in &mut old {
        assert_eq!(tcp.seen_as().to_string(), LTE);
    }
    assert_eq!(old_udp.seen_as().to_string(), LTE);
    for from in [lan, router] {
        assert_eq!(Tcp::connect(from, "8.8.8.8").seen_as().to_string(), FIBRE);
        assert_eq!(Udp::connect(from, "8.8.8.8").seen_as().to_string(), FIBRE);
    }
    assert_eq!(old[0].seen_as().to_string(), LTE);

    // They end with their uplink, although no route moves: in this mode it keeps its place behind the other.
    site.providers[1].black_hole();
    daemon.wait_until_down("lte");
    wait_until(
        "the old connections to go",
        DELETION_MAX,
        || match connections(&site) {
            left if left.iter().all(|line| line.contains(" mark=256 ")) => Ok(()),
            left => Err(format!("{left:#?}")),
        },
    );
    assert_eq!(old_udp.seen_as().to_string(), FIBRE);
}

#[test]
fn a_drained_uplink_keeps_its_connections_for_the_time_and_then_loses_them() {
    let _turn = turn::alone();
    // The deletion at the end of a drain was asked for by itself.
    let settings = by_mark("drain = \"2s\"").top("flush_connections = false");
    let (site, mut daemon) = with_servers(&settings);
    let _local = local_flows(&site);
    let local = settle(&site, 3);
    fail_over(&site, &mut daemon);
    let (mut tcp, udp) = (
        Tcp::connect(&site.lan, "8.8.8.8"),
        Udp::connect(&site.lan, "8.8.8.8"),
    );
    let before = settle(&site, 5);
    fail_back(&site, &mut daemon);
    assert_eq!(connections(&site), before);
    assert_eq!(tcp.seen_as().to_string(), LTE);
    assert_eq!(udp.seen_as().to_string(), LTE);
    wait_for_connections(&site, &local);
    assert_eq!(udp.seen_as().to_string(), FIBRE);
}
