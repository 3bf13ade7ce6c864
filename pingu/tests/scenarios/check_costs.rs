//! What checks cost, and how a budget slows them down, in virtual time.

use std::time::Duration;

use pingu::engine::{
    State,
    check::{Cause, Cost},
};

use crate::world::World;

const COST: Cost = Cost {
    packets: 10,
    bytes: 4860,
};

/// The same with the headers of Ethernet.
const COST_BYTES: u64 = 5000;

fn hours(count: u64) -> Duration {
    Duration::from_secs(3600 * count)
}

/// Two uplinks with a check each ten seconds, and these lines for the first one.
fn world(lines: &str) -> World {
    let check = "[[uplink.check]]\nkind = \"tcp\"\naddress = \"192.0.2.80:80\"\nevery = \"10s\"\n";
    let mut world = World::new(&format!(
        "[probe]\ntargets = [\"192.0.2.99\"]\ncount = 2\nspacing = \"20ms\"\ntimeout = \"200ms\"\nperiod = \"10s\"\n\
         [health]\nmax_lost = 1\n[[uplink]]\nname = \"a\"\ninterface = \"wan0\"\n{lines}\n{check}\
         [[uplink]]\nname = \"b\"\ninterface = \"wan1\"\n{check}"
    ));
    world.far_ends().cost = COST;
    world
}

fn spent(world: &World) -> u64 {
    world.status().uplinks[0].passive.spent
}

fn runs(world: &mut World) -> u64 {
    let begun = world.far_ends().begun.iter();
    begun.filter(|(_, uplink)| uplink == "a").count() as u64
}

#[test]
fn without_a_budget_checks_cost_what_they_cost_and_run_as_they_are_to() {
    let mut world = world("");
    world.run_until(hours(1));
    let runs = runs(&mut world);
    assert!((359..=362).contains(&runs), "{runs}");
    let probes = 361 * 2 * 2 * (14 + 20 + 8 + 56);
    let spent = spent(&world);
    let difference = spent.abs_diff(runs * COST_BYTES + probes);
    assert!(difference <= 2 * COST_BYTES, "{spent}");
    let status = world.status();
    assert_eq!(status.uplinks[0].checks[0].cost_bytes, Some(COST_BYTES));
}

#[test]
fn a_budget_is_spread_over_checks_and_probes() {
    // A tenth of what both cost: 43 MB and 1.7 MB a day.
    let mut world = world("budget = \"4MB/day\"");
    world.run_until(hours(24) - Duration::from_secs(10));
    let spent = spent(&world);
    assert!((3_400_000..=3_700_000).contains(&spent), "{spent}");
    let of_day = runs(&mut world);
    assert!((600..=800).contains(&of_day), "{of_day}");
    // The other one has no budget, and its checks their pace.
    let begun = &world.far_ends().begun;
    let others = begun.iter().filter(|(_, uplink)| uplink == "b").count();
    assert!(others > 8600, "{others}");
    assert_eq!(world.switches(), 0);
}

#[test]
fn with_nothing_left_checks_run_as_seldom_as_bursts_may() {
    let mut world = world("budget = \"10kB/day\"\nprobe_at_least = \"10m\"");
    world.run_until(hours(12));
    let runs = runs(&mut world);
    assert!((72..=80).contains(&runs), "{runs}");
    // One that fails is asked as often as it is to be until that is sure.
    let failed = (Cause::Refused, "refused".to_owned());
    world.far_ends().over.insert("a".to_owned(), failed);
    let cut = world.elapsed();
    while world.status().uplinks[0].state != State::Down {
        let next = world.elapsed() + Duration::from_secs(1);
        world.run_until(next);
        assert!(next < cut + Duration::from_secs(600 + 15), "it must fall");
    }
}
