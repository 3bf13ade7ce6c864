//! A script that waits in its callback: probing goes on, and what came meanwhile is told afterwards.
#![expect(
    clippy::disallowed_methods,
    reason = "how evenly probes go on is measured"
)]

use std::time::{Duration, Instant};

use pingu_tests::lab::{
    capture::Capture,
    namespace::Namespace,
    script::{Setting, column},
    turn,
};

/// What the script sleeps.
const BLOCK: Duration = Duration::from_secs(3);

/// Between two requests, where fifty milliseconds were asked for: a busy machine is late, a blocked loop is three seconds late.
const GAP_MAX: Duration = Duration::from_millis(500);

#[test]
fn a_script_that_sleeps_in_a_callback_does_not_stop_probing() {
    let _turn = turn::shared();
    let (here, there) = (Namespace::new("here"), Namespace::new("there"));
    here.veth("eth0", &there, "eth0");
    here.ip("address add 192.168.0.10/24 dev eth0");
    there.ip("address add 192.168.0.1/24 dev eth0");
    let capture = Capture::start(&there, "eth0");
    let mut script = Setting::new(
        "privileged = true\n\
         ping_frequency, update_frequency, num_seconds = 0.05, 0.1, 1\n\
         probes = { probe.new('192.168.0.1') }\n\
         heard, updates = 0, 0\n\
         function on_recv(gps, ps) heard = heard + 1 end\n\
         function on_update(gps)\n\
           updates = updates + 1\n\
           if updates == 5 then\n\
             print('asleep', heard)\n\
             os.execute('sleep 3')\n\
             print('awake', heard)\n\
           elseif updates > 5 then\n\
             print('loss', gps:get('192.168.0.1'):loss(), heard)\n\
           end\n\
         end",
    )
    .start(&here);
    script.wait_for_lines("asleep", 1);
    let start = Instant::now();
    script.wait_for_lines("awake", 1);
    assert!(start.elapsed() > BLOCK.mul_f64(0.9));
    let losses = script.wait_for_lines("loss", 10);
    assert!(
        losses.iter().all(|loss| loss.starts_with("0\t")),
        "{losses:?}"
    );
    assert_eq!(script.stop(libc::SIGINT).code(), Some(0));
    let mut sent: Vec<u64> = capture
        .finish()
        .iter()
        .map(|exchange| exchange.request_ns)
        .collect();
    sent.sort_unstable();
    let gap_max = sent
        .windows(2)
        .map(|pair| pair[1] - pair[0])
        .max()
        .unwrap_or(u64::MAX);
    println!("{} requests, at most {gap_max} ns apart", sent.len());
    assert!(
        Duration::from_nanos(gap_max) < GAP_MAX,
        "{gap_max} ns without a request"
    );
    // What came while the script slept is told when it is awake.
    let heard = |lines: &[String], index| column(&lines[lines.len() - 1], index);
    let before = heard(&script.lines("asleep"), 0);
    let after = heard(&script.lines("loss"), 1);
    let told = script.complaints();
    assert!(
        after - before >= 60.0 || told.contains("dropped"),
        "{before} outcomes before, {after} after: {told}"
    );
}
