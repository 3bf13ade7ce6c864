//! Probes keep to their grid, whatever is started, stopped or late.

use proptest::prelude::*;

use super::*;
use crate::engine::test_clock;

const MS: Duration = Duration::from_millis(1);

fn path(number: u32) -> PathKey {
    PathKey {
        destination: std::net::Ipv4Addr::from(0x0a00_0000 + number).into(),
        origin: Origin::Any,
    }
}

/// All that is due at a time.
fn taken(schedule: &mut Schedule, now: Instant) -> Vec<Due> {
    std::iter::from_fn(|| schedule.take(now)).collect()
}

#[test]
fn few_paths_begin_at_once_and_starting_twice_starts_once() {
    let start = test_clock();
    let mut schedule = Schedule::new(1_000 * MS);
    for number in [0, 1, 2, 1] {
        schedule.start(path(number), start);
    }
    assert_eq!(taken(&mut schedule, start).len(), 3);
    assert_eq!(taken(&mut schedule, start + 999 * MS).len(), 0);
    assert_eq!(taken(&mut schedule, start + 1_000 * MS).len(), 3);
}

#[test]
fn many_paths_are_spread_over_the_interval_and_none_waits_longer() {
    const PATHS: u32 = 10_000;
    let start = test_clock();
    let mut schedule = Schedule::new(1_000 * MS);
    for number in 0..PATHS {
        schedule.start(path(number), start);
    }
    let mut in_each: Vec<usize> = Vec::new();
    for step in 0..100 {
        in_each.push(
            taken(
                &mut schedule,
                start + (step * 10 + 10) * MS - Duration::from_micros(1),
            )
            .len(),
        );
    }
    assert_eq!(in_each.iter().sum::<usize>(), PATHS as usize);
    let (least, most) = (in_each.iter().min().unwrap(), in_each.iter().max().unwrap());
    assert!(*least >= 90 && *most <= 115, "{in_each:?}");
}

#[test]
fn after_a_stall_missed_slots_are_left_out_and_the_grid_stays() {
    let start = test_clock();
    let mut schedule = Schedule::new(100 * MS);
    schedule.start(path(0), start);
    assert_eq!(schedule.take(start).unwrap().at, start);
    // Thirty slots later, and much too late for the last one.
    let stalled = start + 3_050 * MS;
    assert_eq!(taken(&mut schedule, stalled), []);
    let due = taken(&mut schedule, start + 3_101 * MS);
    assert_eq!(due.len(), 1);
    assert_eq!(due[0].at, start + 3_100 * MS);
    assert_eq!(due[0].sequence, 1, "what is left out has no number");
    // A little late is not missed.
    let due = taken(&mut schedule, start + 3_215 * MS);
    assert_eq!(due[0].at, start + 3_200 * MS);
}

#[test]
fn what_is_stopped_is_not_due_and_may_start_again() {
    let start = test_clock();
    let mut schedule = Schedule::new(100 * MS);
    let over = |name: &str| PathKey {
        origin: Origin::Interface(name.to_owned()),
        ..path(0)
    };
    schedule.start(over("eth0"), start);
    schedule.start(over("eth1"), start);
    schedule.start(path(1), start);
    let eth0 = Origin::Interface("eth0".to_owned());
    let before = schedule.places[&over("eth0")];
    schedule.stop(path(0).destination, Some(&eth0));
    assert_eq!(schedule.key(before), None);
    let due: Vec<_> = taken(&mut schedule, start);
    let keys: Vec<_> = due.iter().map(|due| schedule.key(due.place)).collect();
    assert_eq!(keys, [Some(&over("eth1")), Some(&path(1))]);
    schedule.stop(path(0).destination, None);
    assert_eq!(schedule.len(), 1);
    schedule.start(over("eth0"), start + 150 * MS);
    let due = taken(&mut schedule, start + 150 * MS);
    let slots: Vec<_> = due.iter().map(|due| due.at).collect();
    assert_eq!(slots, [start + 150 * MS], "the other's slot was missed");
    assert_eq!(schedule.key(before), None, "the place is another path's");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// However irregularly somebody looks: slots are on their path's grid, each is taken once at most and in order, none before its time,
    /// and none is left out while looks come often enough.
    #[test]
    fn slots_are_on_their_grids(
        interval_us in 1_u64..200_000,
        paths in 1_u32..40,
        steps_us in prop::collection::vec(0_u64..300_000, 1..200),
    ) {
        let start = test_clock();
        let interval = Duration::from_micros(interval_us);
        let mut schedule = Schedule::new(interval);
        for number in 0..paths {
            schedule.start(path(number), start);
        }
        let first: Vec<Instant> = schedule.slots.iter().flat_map(|slot| &slot.path).map(|path| path.next).collect();
        prop_assert!(first.iter().all(|first| *first - start < interval.max(Duration::from_nanos(1))));
        let mut last: Vec<Option<Instant>> = vec![None; paths as usize];
        let mut now = start;
        let mut before = start;
        for step in steps_us {
            now += Duration::from_micros(step);
            for due in taken(&mut schedule, now) {
                let index = due.place.index as usize;
                prop_assert!(due.at <= now);
                prop_assert!(now - due.at < interval, "an old slot is none");
                let offset = due.at - first[index];
                prop_assert_eq!(offset.as_nanos() % interval.as_nanos(), 0);
                if let Some(last) = last[index] {
                    prop_assert!(due.at > last);
                    if now - before < LATE_MIN.min(interval / LATE_SHARE) {
                        prop_assert!(due.at - last <= interval + (before - last.min(before)));
                    }
                }
                last[index] = Some(due.at);
            }
            if let Some(next) = schedule.next() {
                prop_assert!(next > now);
                prop_assert!(next <= now + interval);
            }
            before = now;
        }
    }
}
