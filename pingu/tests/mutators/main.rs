//! Random mutators against the engine and its reconciler, in virtual time, on the model of the kernel's routing.
//!
//! A run is a seed. To see one again: `PINGU_MUTATOR_SEED=17 cargo test -p pingu --test mutators`.
#![expect(clippy::unwrap_used, reason = "a test's helpers fail as the test does")]

mod mutator;
mod properties;
mod random;
mod setting;
mod world;

use random::Random;
use world::World;

/// Runs.
const RUNS: u64 = 2000;

/// What makes a single run of the given seed, and tells its story.
const SEED: &str = "PINGU_MUTATOR_SEED";

#[test]
fn after_any_disturbance_the_routes_are_as_wanted_and_foreign_ones_as_they_were() {
    if let Ok(seed) = std::env::var(SEED) {
        return run(seed.parse().unwrap());
    }
    let workers: Vec<_> = (0..2)
        .map(|worker| {
            std::thread::spawn(move || (0..RUNS).filter(|seed| seed % 2 == worker).for_each(run))
        })
        .collect();
    for worker in workers {
        worker.join().unwrap();
    }
}

fn run(seed: u64) {
    let mut random = Random::new(seed);
    let mut world = World::new(seed, &mut random);
    world.live(20.0);
    world.converge();
    for _ in 0..3 {
        for _ in 0..1 + random.below(8) {
            world.disturb(&mut random);
            if random.percent(40) {
                let seconds = random.below(3) as f64;
                world.live(seconds);
            }
            if random.percent(60) {
                // Somebody may meddle between two writes, too.
                world.turn(Some(&mut random));
            }
        }
        if random.percent(25) {
            world.restart(seed);
        }
        world.repair(&mut random);
        world.converge();
        world.live(15.0);
        world.converge();
        world.check_desired();
        world.stays_quiet();
    }
}
