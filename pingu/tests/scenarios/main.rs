//! Replays tests/scenarios/*.toml against the engine in virtual time: a story of what happens to the uplinks, and what must be true when.

mod attaching;
mod causes;
mod check_costs;
mod crowd;
mod dead_far_ends;
mod directions;
mod errands;
mod far_ends;
mod foresight;
mod passive;
mod properties;
mod scale;
mod suspicion;
mod wires;
mod world;

use std::{collections::BTreeMap, path::Path, time::Duration};

use pingu::engine::State;
use serde::Deserialize;
use world::{Setting, World};

/// A story. Times are in seconds after the start.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Scenario {
    /// What it shows; printed when it fails.
    about: String,
    /// The daemon's configuration.
    config: String,
    #[serde(default)]
    event: Vec<Event>,
    expect: Vec<Expectation>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Event {
    at: f64,
    uplink: Option<String>,
    #[serde(default)]
    set: Setting,
    /// An uplink to pin; "none" for none.
    pin: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expectation {
    at: f64,
    /// The uplink that the kernel's default leaves by; "none" for none.
    active: Option<String>,
    #[serde(default)]
    state: BTreeMap<String, State>,
    /// Changes of the active uplink since the start, at most.
    switches_max: Option<usize>,
    /// Changes of an uplink's state since the start, at most.
    #[serde(default)]
    changes_max: BTreeMap<String, usize>,
    dead_targets: Option<Vec<std::net::IpAddr>>,
    /// The pinned uplink; "none" for none.
    pinned: Option<String>,
    /// The uplink that traffic is steered to; "none" for none.
    preferred: Option<String>,
    #[serde(default)]
    suppressed: BTreeMap<String, bool>,
    /// Part of a warning.
    warning: Option<String>,
    /// Part of an uplink's reason.
    #[serde(default)]
    reason: BTreeMap<String, String>,
}

enum Step<'a> {
    Event(&'a Event),
    Expect(&'a Expectation),
}

fn replay(scenario: &Scenario) {
    let mut world = World::new(&scenario.config);
    let mut steps: Vec<(f64, Step<'_>)> = scenario
        .event
        .iter()
        .map(|event| (event.at, Step::Event(event)))
        .collect();
    steps.extend(
        scenario
            .expect
            .iter()
            .map(|expect| (expect.at, Step::Expect(expect))),
    );
    steps.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    for (at, step) in steps {
        world.run_until(Duration::from_secs_f64(at));
        match step {
            Step::Event(event) => {
                if let Some(uplink) = &event.uplink {
                    world.set(uplink, &event.set);
                }
                if let Some(uplink) = &event.pin {
                    world.pin(uplink);
                }
            }
            Step::Expect(expect) => check(&world, expect, &scenario.about),
        }
    }
}

fn check(world: &World, expect: &Expectation, about: &str) {
    let status = world.status();
    let context = || format!("{about}\nat {} s: {status:#?}", expect.at);
    if let Some(active) = &expect.active {
        assert_eq!(
            status.active.as_deref().unwrap_or("none"),
            active,
            "{}",
            context()
        );
    }
    for (name, state) in &expect.state {
        let uplink = status
            .uplinks
            .iter()
            .find(|uplink| uplink.name == *name)
            .expect("the scenario names an uplink");
        assert_eq!(uplink.state, *state, "{name}: {}", context());
    }
    for (name, part) in &expect.reason {
        let uplink = status
            .uplinks
            .iter()
            .find(|uplink| uplink.name == *name)
            .expect("the scenario names an uplink");
        assert!(
            uplink.reason.contains(part),
            "{name}: {:?} lacks {part:?}: {}",
            uplink.reason,
            context()
        );
    }
    if let Some(pinned) = &expect.pinned {
        let found = status.pinned.as_deref().unwrap_or("none");
        assert_eq!(found, pinned, "{}", context());
    }
    if let Some(preferred) = &expect.preferred {
        let found = status.uplinks.iter().find(|uplink| uplink.preferred);
        let found = found.map_or("none", |uplink| uplink.name.as_str());
        assert_eq!(found, preferred, "{}", context());
    }
    for (name, suppressed) in &expect.suppressed {
        let uplink = status.uplinks.iter().find(|uplink| uplink.name == *name);
        let damping = uplink.and_then(|uplink| uplink.damping.as_ref());
        let found = damping.expect("damping is on").suppressed;
        assert_eq!(found, *suppressed, "{name}: {}", context());
    }
    for (name, most) in &expect.changes_max {
        let changes = world.changes(name);
        assert!(changes <= *most, "{name}: {changes} changes: {}", context());
    }
    if let Some(dead) = &expect.dead_targets {
        assert_eq!(&status.dead_targets, dead, "{}", context());
    }
    if let Some(part) = &expect.warning {
        let found = status.warnings.iter().any(|warning| warning.contains(part));
        assert!(found, "no warning of {part:?}: {}", context());
    }
    if let Some(most) = expect.switches_max {
        assert!(
            world.switches() <= most,
            "{} switches: {}",
            world.switches(),
            context()
        );
    }
}

#[test]
fn every_scenario_ends_as_it_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/scenarios");
    let mut count = 0;
    for entry in std::fs::read_dir(&folder).expect("the folder of scenarios") {
        let path = entry.expect("readable").path();
        let text = std::fs::read_to_string(&path).expect("readable");
        let scenario: Scenario =
            toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        println!("{}: {}", path.display(), scenario.about);
        replay(&scenario);
        count += 1;
    }
    assert!(count >= 8, "only {count} scenarios found");
}

#[test]
fn equal_seeds_give_equal_lives() {
    let config = "[probe]\ntargets = [\"192.0.2.99\"]\nperiod = \"1s\"\n[[uplink]]\nname = \"a\"\ninterface = \"wan0\"\n\
                  gateway = \"10.0.0.1\"\n[[uplink]]\nname = \"b\"\ninterface = \"wan1\"\ngateway = \"10.0.1.1\"\n";
    let live = || {
        let mut world = World::new(config);
        world.set(
            "a",
            &Setting {
                loss_percent: Some(40),
                ..Setting::default()
            },
        );
        world.run_until(Duration::from_secs(600));
        (world.switches(), world.status())
    };
    assert_eq!(live(), live());
}
