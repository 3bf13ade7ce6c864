//! Ten thousand paths: none is lost, none waits, and none costs a descriptor.

use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, Ipv4Addr},
    time::{Duration, Instant},
};

use pingu::script::probe::{Loss, Origin, Outcome, PathKey};

use crate::harness::{Driver, Site, enter, pace};

const PATHS: u32 = 10_000;

/// What the calling thread has used of a processor.
fn used() -> Duration {
    // SAFETY: plain numbers, for which zero is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the numbers outlive the call.
    unsafe { libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage) };
    let time = |time: libc::timeval| {
        Duration::from_secs(time.tv_sec as u64) + Duration::from_micros(time.tv_usec as u64)
    };
    time(usage.ru_utime) + time(usage.ru_stime)
}

/// Probes them for so long; tells the outcomes, the share of a processor, and how many left by hooks.
fn probe_all(site: &Site, privileged: bool, time: Duration) -> (Vec<Outcome>, f64, u64) {
    let paths: Vec<PathKey> = (0..PATHS)
        .map(|number| PathKey {
            destination: IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + number)),
            origin: Origin::Any,
        })
        .collect();
    let namespace = site.router.file().unwrap();
    let driver = std::thread::spawn(move || {
        enter(&namespace);
        let mut driver = Driver::new(pace(privileged, 1_000, 1_000), &paths);
        let before = used();
        let begin = Instant::now();
        let outcomes = driver.during(time);
        let share = (used() - before).as_secs_f64() / begin.elapsed().as_secs_f64();
        let descriptors = std::fs::read_dir("/proc/self/fd").unwrap().count();
        assert!(descriptors < 200, "{descriptors} descriptors");
        (outcomes, share, driver.prober.by_hooks())
    });
    let (outcomes, share, by_hooks) = driver.join().unwrap();
    println!("privileged {privileged}: {share:.3} of a processor, {by_hooks} by hooks");
    (outcomes, share, by_hooks)
}

#[test]
fn ten_thousand_dead_paths_are_lost_one_by_one() {
    for privileged in [false, true] {
        let site = Site::new();
        site.providers[0]
            .ip("route add blackhole 10.0.0.0/16")
            .unwrap();
        let (outcomes, share, _) = probe_all(&site, privileged, Duration::from_secs(4));
        let mut slots = HashSet::new();
        for outcome in &outcomes {
            assert_eq!(outcome.result, Err(Loss::NoReply));
            assert!(slots.insert((outcome.path.destination, outcome.sent_at)));
        }
        assert!(outcomes.len() > 2 * PATHS as usize, "{}", outcomes.len());
        assert!(share < 0.9, "{share}");
    }
}

#[test]
fn ten_thousand_paths_are_probed_each_second_and_all_answer() {
    for privileged in [false, true] {
        let site = Site::new();
        site.providers[0]
            .ip("route add local 10.0.0.0/16 dev lo")
            .unwrap();
        let (outcomes, _, by_hooks) = probe_all(&site, privileged, Duration::from_secs(5));
        let mut of: HashMap<IpAddr, Vec<Instant>> = HashMap::new();
        for outcome in &outcomes {
            assert!(outcome.result.is_ok(), "{outcome:?}");
            let times = of.entry(outcome.path.destination).or_default();
            times.push(outcome.sent_at);
        }
        assert_eq!(of.len(), PATHS as usize);
        for (destination, times) in of {
            assert!(times.len() >= 3, "{destination}: {}", times.len());
            let steps = times.windows(2).map(|pair| pair[1] - pair[0]);
            for step in steps {
                assert_eq!(
                    step.as_nanos() % 1_000_000_000,
                    0,
                    "{destination}: {step:?}"
                );
            }
        }
        if privileged {
            assert!(by_hooks > 30_000, "{by_hooks}");
        }
    }
}
