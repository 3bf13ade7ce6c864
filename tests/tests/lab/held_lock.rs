//! Somebody holds the lock of the kernel's network configuration for seconds: nobody's probes wait for that.
#![expect(
    clippy::disallowed_methods,
    reason = "what left while the lock was held is told by the time"
)]

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use pingu_tests::lab::{
    capture::Capture, daemon::Daemon, load, namespace::Namespace, settings::Settings, site::Plan,
    status, stopwatch::waited_to_run, turn,
};

use crate::running::two_uplinks;

const DEADLINE: Duration = Duration::from_secs(20);

/// The lock is taken so many times, with next to nothing in between: who gets it once does not get it a second time at once.
const GROUPS: std::ops::Range<u32> = 7..10;

/// In each group. Each is a pair of devices with so many queues that its removal takes the kernel some 100 ms, with the lock in its hand.
const HEAVY_PAIRS: u32 = 12;

/// Less would not tell a loop that waits from a machine that is busy.
const HELD_MIN: Duration = Duration::from_secs(1);

/// What is removed group by group, each in one go and so under the lock.
fn heavy() -> Namespace {
    let namespace = Namespace::new("heavy");
    let queues = "numtxqueues 4096 numrxqueues 4096";
    let pairs = GROUPS.flat_map(|group| (0..HEAVY_PAIRS).map(move |pair| (group, pair)));
    let lines: Vec<String> = pairs
        .map(|(group, pair)| {
            let name = format!("{group}x{pair}");
            format!(
                "link add a{name} group {group} {queues} type veth peer name b{name} {queues}\n"
            )
        })
        .collect();
    namespace.ip_batch(&lines.concat());
    namespace
}

#[test]
fn an_interface_that_comes_while_somebody_holds_the_lock_delays_no_probe_of_another() {
    let _turn = turn::alone();
    // A kernel that is not preempted keeps its processor while it removes them: what is started from here on has the other one.
    stay_on(1);
    let (heavy, far) = (heavy(), Namespace::new("far"));
    let site = Plan::new(&["wan1", "wan2"]).build();
    let settings = two_uplinks(Settings::quick()).uplink("spare", "wan3", "10.0.3.1", 90);
    let mut daemon = Daemon::start(&site.router, &settings);
    daemon.wait_until_up(&["fibre", "lte"]);
    let capture = Capture::start(&site.router, "wan1");

    site.router.ip_batch(&format!(
        "link add wan3 type veth peer name far3 netns {}\nlink set wan3 up\naddress add 10.0.3.2/24 dev wan3\n",
        far.name()
    ));
    let (begin, began) = (Instant::now(), since_the_epoch());
    let waited_before = waited_to_run(daemon.process().id());
    let lines: Vec<String> = GROUPS
        .map(|group| format!("link del group {group}\n"))
        .collect();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        // Whoever looks at every change does so between one hold and the next as well. Linux 6.18 takes no such lock for IPv6 routes.
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                let route = "blackhole ::/0 metric 9999\n";
                site.router
                    .ip_batch(&format!("route add {route}route del {route}"));
            }
        });
        let removal = scope.spawn(|| {
            stay_on(0);
            heavy.ip_batch(&lines.concat());
        });
        let removed = removal.join();
        is_over.store(true, Ordering::Relaxed);
        removed.unwrap();
    });
    let (held, ended) = (begin.elapsed(), since_the_epoch());
    let waited = waited_to_run(daemon.process().id()) - waited_before;
    assert!(held > HELD_MIN, "the lock was held for {held:?} only");

    daemon.wait_for("hooks on the new interface", DEADLINE, |status| {
        status::uplink(status, "spare")["engine"].is_string()
    });
    let mut left: Vec<Duration> = capture
        .finish()
        .iter()
        .map(|exchange| Duration::from_nanos(exchange.request_ns))
        .filter(|sent| *sent > began && *sent < ended)
        .collect();
    left.extend([began, ended]);
    left.sort();
    let longest = left.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
    // A loop that waits for the lock does so for a third, at least.
    assert!(
        longest.saturating_sub(waited) < held / 5,
        "no probe left for {longest:?} of {held:?}, {waited:?} of which it waited for a processor: {} in all",
        left.len() - 2
    );
    let status = daemon.status().unwrap();
    assert!(status::all_up(&status, &["fibre", "lte"]), "{status}");
}

/// On a machine that has it.
fn stay_on(core: usize) {
    if thread::available_parallelism().is_ok_and(|cores| cores.get() > core) {
        load::stay_on(core);
    }
}

fn since_the_epoch() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("the clock is right")
}
