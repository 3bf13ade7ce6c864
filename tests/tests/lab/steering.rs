//! What makes an uplink fail, recover, wait and yield, with real loss and real delay.
#![expect(
    clippy::disallowed_methods,
    reason = "the time from a change to what follows is what is tested"
)]

use std::time::{Duration, Instant};

use pingu_tests::lab::{
    daemon::Daemon,
    delay::Delay,
    route_watch::{self, Pace, RouteWatch},
    settings::Settings,
    site::TARGET,
    status, turn,
};
use serde_json::Value;

use crate::running::{running, two_uplinks};

mod limits;
mod quorum;

const DEADLINE: Duration = Duration::from_secs(10);

/// So many probes more, and whatever had changed before them has been judged several times.
const PROBES: u64 = 30;

#[test]
fn an_uplink_that_flaps_is_suppressed_until_its_penalty_has_decayed() {
    let _turn = turn::alone();
    let settings = two_uplinks(Settings::quick().top(
        "damping = { half_life = \"2s\", suppress = 1200, reuse = 900, max_suppress = \"20s\" }",
    ));
    let (site, mut daemon) = running(&settings);
    let (fibre, lte) = (site.ifindex(0), site.ifindex(1));
    let damping = |status: &Value| status::uplink(status, "fibre")["damping"].clone();
    let figure = |damping: &Value, key: &str| damping[key].as_f64().unwrap_or(f64::NAN);
    let status = daemon.status().expect("pingu answers");
    assert_eq!(figure(&damping(&status), "penalty"), 0.0, "{status:#}");

    // The first fall alone does not suppress.
    site.providers[0].black_hole();
    let fallen = damping(&daemon.wait_until_down("fibre"));
    assert!((500.0..=1000.0).contains(&figure(&fallen, "penalty")));
    assert_eq!(fallen["suppressed"], false);
    site.providers[0].repair();
    daemon.wait_until_up(&["fibre"]);
    route_watch::wait_until_by(&site.router, TARGET, fibre, DEADLINE);

    site.providers[0].black_hole();
    daemon.wait_until_down("fibre");
    route_watch::wait_until_by(&site.router, TARGET, lte, DEADLINE);
    let watch = RouteWatch::start(&site.router, TARGET, Pace::Every(Duration::from_millis(1)));
    site.providers[0].repair();
    let asked = Instant::now();
    let status = daemon.wait_until_up(&["fibre"]);
    let told = Instant::now();
    let suppressed = damping(&status);
    assert_eq!(suppressed["suppressed"], true, "{status:#}");
    assert_eq!(status["active"], "lte", "{status:#}");
    assert!(status::reason(&status, "fibre").contains("suppressed for flapping"));
    let penalty = figure(&suppressed, "penalty");
    assert!((900.0..=2000.0).contains(&penalty), "{suppressed}");
    // The two figures say the same by the law of decay.
    let reuse_in_s = figure(&suppressed, "reuse_in_s");
    assert!((reuse_in_s - 2.0 * (penalty / 900.0).log2()).abs() < 0.01);

    route_watch::wait_until_by(&site.router, TARGET, fibre, DEADLINE);
    let sightings = watch.finish();
    let moved = sightings
        .first_by(fibre, asked)
        .expect("it went back there");
    let reuse_in = Duration::from_secs_f64(reuse_in_s);
    println!(
        "penalty {penalty:.0}: reuse in {reuse_in:?}, moved {:?} later",
        moved - told
    );
    assert!(moved >= asked + reuse_in, "{sightings:?}");
    assert!(moved <= told + reuse_in + Duration::from_secs(1));
    assert_eq!(sightings.changes.len(), 2, "{sightings:?}");
    let status = daemon.status().expect("pingu answers");
    assert_eq!(damping(&status)["suppressed"], false, "{status:#}");
    assert!(figure(&damping(&status), "penalty") <= 900.0);
}

#[test]
fn a_brownout_moves_traffic_after_its_time_and_back_after_as_long() {
    let _turn = turn::alone();
    let time = Duration::from_secs(1);
    let settings = slow("max_delay = \"400ms\"")
        .top("prefer_better = { by_delay = \"80ms\", by_loss = 5, for = \"1s\" }");
    let (site, mut daemon) = running(&settings);
    let (fibre, lte) = (site.ifindex(0), site.ifindex(1));
    let delay = Delay::start(&site.providers[0]);
    let watch = RouteWatch::start(&site.router, TARGET, Pace::Every(Duration::from_millis(1)));
    let slower = Instant::now();
    delay.set(Duration::from_millis(240));
    route_watch::wait_until_by(&site.router, TARGET, lte, DEADLINE);
    let status = daemon.wait_for("the better one to be preferred", DEADLINE, |status| {
        status::uplink(status, "lte")["preferred"] == true
    });
    assert!(status::all_up(&status, &["fibre", "lte"]), "{status:#}");
    assert!(status::reason(&status, "fibre").contains("yields to lte, which is better"));
    let quicker = Instant::now();
    delay.set(Duration::ZERO);
    route_watch::wait_until_by(&site.router, TARGET, fibre, DEADLINE);
    let sightings = watch.finish();
    let there = sightings.first_by(lte, slower).expect("it went") - slower;
    let back = sightings.first_by(fibre, quicker).expect("it came back") - quicker;
    println!("there after {there:?}, back after {back:?}");
    for moved in [there, back] {
        // The mean over the last hundred probes follows within the time that these take.
        assert!(moved >= time && moved <= time * 5, "{there:?} {back:?}");
    }
    assert_eq!(sightings.changes.len(), 3, "{sightings:?}");
}

/// Bursts whose round-trip times may be long.
fn slow(health: &str) -> Settings {
    let settings = Settings::new()
        .probe("targets = [\"8.8.8.8\"]\ncount = 10\nspacing = \"10ms\"\nperiod = \"250ms\"\ntimeout = \"500ms\"")
        .health(health);
    two_uplinks(settings)
}

/// Waits until so many more probes over the first uplink's first target have been settled.
fn after_more_probes(daemon: &mut Daemon) -> Value {
    let settled = |status: &Value| status::settled(status::target(status, "fibre", 0));
    let before = settled(&daemon.status().expect("pingu answers"));
    daemon.wait_for("more probes", DEADLINE, |status| {
        settled(status) >= before + PROBES
    })
}

/// The first uplink keeps its state over many probes.
#[track_caller]
fn stays(daemon: &mut Daemon, state: &str) {
    let before = daemon.status().expect("pingu answers");
    let after = after_more_probes(daemon);
    let of = |status: &Value| {
        let uplink = status::uplink(status, "fibre");
        (uplink["state"].clone(), uplink["since"].clone())
    };
    assert_eq!(of(&after), of(&before), "{after:#}");
    assert_eq!(status::state(&after, "fibre"), state, "{after:#}");
}
