//! Loss, against a provider that counts what it drops.

use std::time::Duration;

use pingu_tests::lab::{
    daemon::Daemon,
    settings::Settings,
    site::Plan,
    status::{self, counter},
    turn,
};

/// Share of the replies that is dropped.
const PERCENT: u8 = 30;

/// Probes before the loss ends.
const PROBES: u64 = 4000;

/// In standard deviations: one run in a million is further off by chance.
const BOUND: f64 = 4.9;

const DEADLINE: Duration = Duration::from_secs(60);

#[test]
fn every_dropped_reply_is_one_lost_probe_and_no_other_is() {
    let _turn = turn::shared();
    count_losses("auto");
}

#[test]
fn by_sockets_every_dropped_reply_is_one_lost_probe_and_no_other_is() {
    let _turn = turn::shared();
    count_losses("socket");
}

fn count_losses(engine: &str) {
    let site = Plan::new(&["wan1"]).build();
    site.providers[0].lose_replies(PERCENT);
    let settings = Settings::new()
        .top(&format!("engine = \"{engine}\""))
        .probe("targets = [\"8.8.8.8\"]\ncount = 100\nspacing = \"1ms\"\nperiod = \"200ms\"\ntimeout = \"150ms\"")
        .health("max_lost = 99")
        .uplink("fibre", "wan1", "auto", 88);
    let mut daemon = Daemon::start(&site.router, &settings);
    let probed = |enough: u64| {
        move |status: &serde_json::Value| {
            status::settled(status::target(status, "fibre", 0)) >= enough
        }
    };
    let status = daemon.wait_for("some thousand probes", DEADLINE, probed(PROBES));
    let measured = loss_of(&status);

    site.providers[0].lose_no_more();
    let sent = counter(
        status::target(&daemon.status().expect("it runs"), "fibre", 0),
        "sent",
    );
    // Two bursts more: what was under way when the loss ended has been settled by then.
    let status = daemon.wait_for(
        "the last lossy bursts to be settled",
        DEADLINE,
        probed(sent + 200),
    );
    let target = status::target(&status, "fibre", 0);
    let replies = site.providers[0].replies();
    assert_eq!(
        counter(target, "lost"),
        replies.dropped,
        "{replies:?}\n{target:#}"
    );
    assert_eq!(counter(target, "late"), 0, "{target:#}");
    assert_eq!(counter(target, "not_sent"), 0, "{target:#}");

    let rate = f64::from(PERCENT) / 100.0;
    let deviation = (rate * (1.0 - rate) / PROBES as f64).sqrt();
    println!(
        "{PERCENT} % dropped; measured {:.2} %, bound +-{:.2} points",
        100.0 * measured,
        100.0 * BOUND * deviation
    );
    assert!(
        (measured - rate).abs() <= BOUND * deviation,
        "measured {measured}"
    );
}

#[test]
fn without_loss_none_is_measured() {
    let _turn = turn::shared();
    count_none("auto");
}

#[test]
fn by_sockets_without_loss_none_is_measured() {
    let _turn = turn::shared();
    count_none("socket");
}

fn count_none(engine: &str) {
    let site = Plan::new(&["wan1"]).build();
    let settings = Settings::new()
        .top(&format!("engine = \"{engine}\""))
        .probe("targets = [\"8.8.8.8\"]\ncount = 100\nspacing = \"1ms\"\nperiod = \"200ms\"\ntimeout = \"1s\"")
        .uplink("fibre", "wan1", "auto", 88);
    let mut daemon = Daemon::start(&site.router, &settings);
    let status = daemon.wait_for("a thousand probes", DEADLINE, |status| {
        status::settled(status::target(status, "fibre", 0)) >= 1000
    });
    let target = status::target(&status, "fibre", 0);
    for nothing in ["lost", "late", "not_sent"] {
        assert_eq!(counter(target, nothing), 0, "{target:#}");
    }
    assert!(
        counter(target, "answered") <= counter(target, "sent"),
        "{target:#}"
    );
}

fn loss_of(status: &serde_json::Value) -> f64 {
    let target = status::target(status, "fibre", 0);
    counter(target, "lost") as f64 / status::settled(target) as f64
}
