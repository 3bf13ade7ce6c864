//! Somebody holds the lock of the kernel's network configuration for seconds: nobody's probes wait for that.
#![expect(
    clippy::disallowed_methods,
    reason = "what left while the lock was held is told by the time"
)]

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use pingu_tests::lab::{
    capture::Capture, daemon::Daemon, namespace::Namespace, settings::Settings, site::Plan, status,
    turn,
};

use crate::running::two_uplinks;

const DEADLINE: Duration = Duration::from_secs(20);

/// Each is a pair of devices with so many queues that its removal takes the kernel some 100 ms, all of which it holds the lock.
const HEAVY_PAIRS: usize = 24;

/// Less would not tell a loop that waits from a machine that is busy.
const HELD_MIN: Duration = Duration::from_millis(500);

/// What is removed in one go, and so under the lock.
fn heavy() -> Namespace {
    let namespace = Namespace::new("heavy");
    let queues = "numtxqueues 4096 numrxqueues 4096";
    let lines: Vec<String> = (0..HEAVY_PAIRS)
        .map(|pair| {
            format!("link add a{pair} group 7 {queues} type veth peer name b{pair} {queues}\n")
        })
        .collect();
    namespace.ip_batch(&lines.concat());
    namespace
}

#[test]
fn an_interface_that_comes_while_somebody_holds_the_lock_delays_no_probe_of_another() {
    let _turn = turn::alone();
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
    heavy.ip("link del group 7");
    let (held, ended) = (begin.elapsed(), since_the_epoch());
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
    assert!(
        longest < held / 2,
        "no probe left for {longest:?} of {held:?}: {} in all",
        left.len() - 2
    );
    let status = daemon.status().unwrap();
    assert!(status::all_up(&status, &["fibre", "lte"]), "{status}");
}

fn since_the_epoch() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("the clock is right")
}
