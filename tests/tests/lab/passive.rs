//! What passing traffic changes: a cut that silence finds, probes that are saved, pings that are lost alone, portals, and what probing
//! costs against what a provider counts.
#![expect(
    clippy::disallowed_methods,
    reason = "the time from a cut to the new route is what is tested"
)]

use std::time::{Duration, Instant};

use pingu_tests::lab::{
    chatter::Chatter,
    daemon::Daemon,
    flows,
    route_watch::{self, Pace, RouteWatch},
    settings::Settings,
    site::{SECOND_TARGET, Site, TARGET},
    status, turn,
};
use serde_json::Value;

use crate::running::{running, two_uplinks};

const DEADLINE: Duration = Duration::from_secs(30);

/// Fast enough for every figure here, slow for a machine.
const CHAT: Duration = Duration::from_millis(20);

/// Two uplinks, with these lines of `[probe]` and `[health]`.
pub(crate) fn settings(probe: &str, health: &str) -> Settings {
    let settings = Settings::new()
        .probe("targets = [\"8.8.8.8\"]\ncount = 3\nspacing = \"20ms\"\ntimeout = \"200ms\"")
        .probe(probe)
        .health("max_lost = 1")
        .health(health);
    two_uplinks(settings)
}

/// Runs them, with a server behind them.
pub(crate) fn with_servers(settings: &Settings) -> (Site, Daemon) {
    let (site, daemon) = running(settings);
    flows::serve(&site.internet, ["1.1.1.1"]);
    (site, daemon)
}

fn counter(status: &Value, uplink: &str, name: &str) -> u64 {
    let value = &status::uplink(status, uplink)[name];
    value.as_u64().unwrap_or_else(|| panic!("{name}: {value}"))
}

fn cause<'a>(status: &'a Value, uplink: &str) -> &'a str {
    status::uplink(status, uplink)["cause"]
        .as_str()
        .unwrap_or("none")
}

#[test]
fn a_silence_moves_the_route_long_before_the_next_burst() {
    let _turn = turn::alone();
    let settings = settings("period = \"60s\"\nsilence = \"500ms\"", "");
    let (site, mut daemon) = with_servers(&settings);
    let lte = site.ifindex(1);
    let _chatter = Chatter::datagrams(&site.lan, SECOND_TARGET.into(), CHAT);
    daemon.wait_for("traffic to be seen", DEADLINE, |status| {
        let traffic = &status::uplink(status, "fibre")["traffic"];
        traffic["ingress_packets"]
            .as_u64()
            .is_some_and(|packets| packets > 20)
    });
    let watch = RouteWatch::start(&site.router, TARGET, Pace::Every(Duration::from_millis(1)));
    let cut = Instant::now();
    site.providers[0].black_hole();
    route_watch::wait_until_by(&site.router, TARGET, lte, DEADLINE);
    let sightings = watch.finish();
    let took = sightings.first_by(lte, cut).expect("it was just seen") - cut;
    println!("silence to new route: {took:?}");
    assert!(took >= Duration::from_millis(500), "{took:?}");
    assert!(took <= Duration::from_millis(1500), "{took:?}");
    assert_eq!(sightings.count.without_route, 0);
}

#[test]
fn traffic_saves_probes_and_what_follows_it_is_probed() {
    let _turn = turn::alone();
    let settings = settings(
        "period = \"500ms\"\nprobe_when = \"idle\"\nsilence = \"0s\"",
        "",
    );
    let (site, mut daemon) = with_servers(&settings);
    let lte = site.ifindex(1);
    let chatter = Chatter::datagrams(&site.lan, SECOND_TARGET.into(), CHAT);
    let skipped = |status: &Value, uplink: &str| {
        status::counter(status::target(status, uplink, 0), "skipped")
    };
    let sent =
        |status: &Value, uplink: &str| status::counter(status::target(status, uplink, 0), "sent");
    let before = daemon.wait_for("bursts to be left out", DEADLINE, |status| {
        skipped(status, "fibre") >= 1
    });
    let after = daemon.wait_for("twenty more", DEADLINE, |status| {
        skipped(status, "fibre") >= skipped(&before, "fibre") + 20
    });
    let saved = (
        sent(&after, "fibre") - sent(&before, "fibre"),
        sent(&after, "lte") - sent(&before, "lte"),
    );
    println!("sent meanwhile with and without traffic: {saved:?}");
    assert!(saved.0 * 5 <= saved.1, "{saved:?}");
    assert_eq!(skipped(&after, "lte"), 0);
    let watch = RouteWatch::start(&site.router, TARGET, Pace::Every(Duration::from_millis(1)));
    let cut = Instant::now();
    site.providers[0].black_hole();
    route_watch::wait_until_by(&site.router, TARGET, lte, DEADLINE);
    let took = watch.finish().first_by(lte, cut).expect("it was just seen") - cut;
    println!("end of traffic to new route: {took:?}");
    // A period, a burst, its timeout and some milliseconds.
    assert!(
        took <= Duration::from_millis(500 + 40 + 200 + 100),
        "{took:?}"
    );
    drop(chatter);
}

#[test]
fn lost_pings_move_nothing_while_handshakes_succeed() {
    let _turn = turn::alone();
    let settings = settings("period = \"500ms\"", "fall = 2");
    let (site, mut daemon) = with_servers(&settings);
    let (fibre, lte) = (site.ifindex(0), site.ifindex(1));
    let _chatter = Chatter::connections(&site.lan, SECOND_TARGET.into(), Duration::from_millis(50));
    daemon.wait_for("handshakes to be seen", DEADLINE, |status| {
        let handshakes = &status::uplink(status, "fibre")["handshakes"];
        handshakes["answered"]
            .as_u64()
            .is_some_and(|answered| answered >= 20)
    });
    let watch = RouteWatch::start(&site.router, TARGET, Pace::Every(Duration::from_millis(1)));
    site.providers[0].lose_pings();
    let status = daemon.wait_for("the pings to be missed", DEADLINE, |status| {
        let target = status::target(status, "fibre", 0);
        cause(status, "fibre") == "pings" && status::counter(target, "lost") >= 30
    });
    assert_eq!(status::state(&status, "fibre"), "up");
    let reason = status::reason(&status, "fibre");
    assert!(reason.starts_with("pings lost, but "), "{reason}");
    let sightings = watch.finish();
    let ways: Vec<_> = sightings
        .changes
        .iter()
        .map(|change| change.ifindex)
        .collect();
    assert_eq!(ways, [Some(fibre)], "{sightings:?}");
    // Then all is lost.
    site.providers[0].black_hole();
    route_watch::wait_until_by(&site.router, TARGET, lte, DEADLINE);
    daemon.wait_until_down("fibre");
}

#[test]
fn a_portal_that_answers_pings_is_found_whether_it_drops_or_resets() {
    let _turn = turn::alone();
    for (handshakes, with_reset) in [("report", true), ("judge", false)] {
        let settings = settings(
            "period = \"500ms\"",
            &format!("handshakes = \"{handshakes}\""),
        );
        let (site, mut daemon) = with_servers(&settings);
        let (fibre, lte) = (site.ifindex(0), site.ifindex(1));
        let _chatter =
            Chatter::connections(&site.lan, SECOND_TARGET.into(), Duration::from_millis(50));
        daemon.wait_for("handshakes to be seen", DEADLINE, |status| {
            let handshakes = &status::uplink(status, "fibre")["handshakes"];
            handshakes["answered"]
                .as_u64()
                .is_some_and(|answered| answered >= 20)
        });
        site.providers[0].refuse_tcp(with_reset);
        let status = daemon.wait_for("the portal to be named", DEADLINE, |status| {
            cause(status, "fibre") == "portal"
        });
        let by = if handshakes == "judge" {
            daemon.wait_until_down("fibre");
            lte
        } else {
            assert_eq!(status::state(&status, "fibre"), "up");
            fibre
        };
        route_watch::wait_until_by(&site.router, TARGET, by, DEADLINE);
        assert!(
            status::reason(&status, "fibre").contains("portal"),
            "{status:#}"
        );
        assert_eq!(cause(&status, "lte"), "none");
    }
}

#[test]
fn what_is_spent_is_what_the_provider_counts_and_survives_a_restart() {
    let _turn = turn::alone();
    let settings = settings("period = \"200ms\"\nbudget = \"50GB/month\"", "");
    let (site, mut daemon) = running(&settings);
    let spent = |status: &Value| counter(status, "fibre", "spent");
    let look = |daemon: &Daemon| daemon.status().expect("it runs");
    let begin = look(&daemon);
    assert!(spent(&begin) > 0);
    site.providers[0].count_pings();
    let begun = look(&daemon);
    let ending = daemon.wait_for("many probes", DEADLINE, |status| {
        spent(status) >= spent(&begun) + 20_000
    });
    let (packets, bytes) = site.providers[0].pings();
    let end = look(&daemon);
    let ethernet = 14;
    let counted = bytes + packets * ethernet;
    // What passed between two looks, at the daemon and at the provider, may be either's; and so may a burst under way.
    let (least, most) = (spent(&ending) - spent(&begun), spent(&end) - spent(&begin));
    let burst = 2 * 3 * (ethernet + 84);
    println!("spent {least} to {most}, counted {counted}");
    assert!(counted + burst >= least, "{counted}, {least}");
    assert!(counted <= most + burst, "{counted}, {most}");
    assert_eq!(counter(&end, "fibre", "budget"), 50_000_000_000);
    assert!(status::uplink(&end, "fibre")["resets_at"].is_string());
    assert!(daemon.stop().success());
    let mut again = Daemon::start(&site.router, &settings);
    let status = again.wait_until_up(&["fibre", "lte"]);
    assert!(spent(&status) > spent(&end));
}
