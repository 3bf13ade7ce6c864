//! Replies that are not the target's own answer to pingu's own question: none counts.

use std::time::Duration;

use pingu_tests::lab::{
    daemon::Daemon,
    forger::{Deed, Forger},
    settings::Settings,
    site::Plan,
    status::{self, counter},
    turn,
};

const DEADLINE: Duration = Duration::from_secs(30);

/// Probes that the forger is given to answer: 50 a second, several forgeries each.
const PROBES: u64 = 300;

#[test]
fn forged_replies_do_not_raise_a_dead_uplink() {
    let _turn = turn::shared();
    withstand_forgeries("receive_hook = \"auto\"");
}

#[test]
fn forged_replies_do_not_raise_a_dead_uplink_behind_xdp() {
    let _turn = turn::shared();
    withstand_forgeries("receive_hook = \"xdp\"");
}

#[test]
fn forged_replies_do_not_raise_a_dead_uplink_probed_by_sockets() {
    let _turn = turn::shared();
    withstand_forgeries("engine = \"socket\"");
}

fn withstand_forgeries(engine: &str) {
    let site = Plan::new(&["wan1", "wan2"]).build();
    let settings = Settings::new()
        .top(engine)
        .probe("targets = [\"8.8.8.8\"]\ncount = 10\nspacing = \"10ms\"\nperiod = \"200ms\"\ntimeout = \"100ms\"")
        .health("max_lost = 5")
        .uplink("fibre", "wan1", "auto", 88)
        .uplink("lte", "wan2", "auto", 89);
    let forger = Forger::start(&site, 0, 1);
    let mut daemon = Daemon::start(&site.router, &settings);
    daemon.wait_until_up(&["fibre", "lte"]);
    daemon.wait_for("enough replies to replay", DEADLINE, |status| {
        answered(status) >= 64
    });

    site.providers[0].black_hole();
    let dead = daemon.wait_until_down("fibre");
    let (answered_before, sent_before) = (
        answered(&dead),
        counter(status::target(&dead, "fibre", 0), "sent"),
    );
    forger.turn_to(Deed::Forge);
    let forged = daemon.wait_for(
        "the forger to answer some hundred probes",
        DEADLINE,
        |status| {
            assert_eq!(status::state(status, "fibre"), "down", "{status:#}");
            assert_eq!(status::state(status, "lte"), "up", "{status:#}");
            counter(status::target(status, "fibre", 0), "sent") >= sent_before + PROBES
        },
    );
    assert_eq!(answered(&forged), answered_before, "{forged:#}");
    let other = status::target(&forged, "lte", 0);
    assert!(
        counter(other, "answered") <= counter(other, "sent"),
        "{other:#}"
    );
    assert_eq!(counter(other, "lost"), 0, "{other:#}");

    forger.turn_to(Deed::Answer);
    daemon.wait_until_up(&["fibre"]);
    let sent = forger.finish();
    println!("{sent:?}");
    for (kind, count) in [
        ("replayed", sent.replayed),
        ("with one bit wrong", sent.one_bit_wrong),
        ("foreign", sent.foreign),
        ("on the other uplink", sent.on_other_uplink),
        ("from another source", sent.from_other_source),
    ] {
        assert!(count >= PROBES / 2, "only {count} forgeries {kind}");
    }
}

#[test]
fn a_true_reply_that_comes_back_by_the_other_uplink_does_not_count() {
    let _turn = turn::shared();
    send_back_by_the_other_uplink("auto");
}

#[test]
fn by_sockets_a_true_reply_that_comes_back_by_the_other_uplink_does_not_count() {
    let _turn = turn::shared();
    send_back_by_the_other_uplink("socket");
}

fn send_back_by_the_other_uplink(engine: &str) {
    let site = Plan::new(&["wan1", "wan2"]).build();
    let settings = Settings::quick()
        .top(&format!("engine = \"{engine}\""))
        .uplink("fibre", "wan1", "auto", 88)
        .uplink("lte", "wan2", "auto", 89);
    let mut daemon = Daemon::start(&site.router, &settings);
    daemon.wait_until_up(&["fibre", "lte"]);

    let address = site.providers[0].router_address();
    let other_address = site.providers[1].router_address();
    site.providers[1]
        .namespace
        .ip(&format!("route add {address}/32 via {other_address}"));
    site.internet
        .ip(&format!("route replace {address}/32 via 10.255.2.2"));
    daemon.wait_until_down("fibre");

    site.internet
        .ip(&format!("route replace {address}/32 via 10.255.1.2"));
    daemon.wait_until_up(&["fibre", "lte"]);
}

fn answered(status: &serde_json::Value) -> u64 {
    counter(status::target(status, "fibre", 0), "answered")
}
