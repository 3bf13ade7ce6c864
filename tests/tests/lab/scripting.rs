//! A script cannot hurt: whatever it does in its callbacks, probes leave on time, and pingu ends when it is told to.
#![expect(
    clippy::disallowed_methods,
    reason = "the time that the end takes is measured"
)]

use std::{
    net::{IpAddr, Ipv4Addr},
    time::{Duration, Instant},
};

use pingu_tests::lab::{
    capture::Capture,
    namespace::Namespace,
    script::{Script, Setting, column},
    turn,
};

/// Two seconds that pingu gives a stuck callback, and what a busy machine adds.
const STUCK_END_MAX: Duration = Duration::from_secs(4);

/// Between two requests where fifty milliseconds were asked for. A loop that waited for the script would be a second late at least.
const GAP_MAX: Duration = Duration::from_millis(500);

const TARGET: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 0, 1));

const PROBES: &str = "\
    ping_frequency, update_frequency, privileged = 0.05, 0.2, true\n\
    probes = { probe.new('192.168.0.1') }\n";

struct Wire {
    here: Namespace,
    _there: Namespace,
}

impl Wire {
    fn new() -> Self {
        let (here, there) = (Namespace::new("here"), Namespace::new("there"));
        here.veth("eth0", &there, "eth0");
        here.ip("address add 192.168.0.10/24 dev eth0");
        there.ip("address add 192.168.0.1/24 dev eth0");
        Self {
            here,
            _there: there,
        }
    }

    #[track_caller]
    fn start(&self, script: &str) -> Script {
        Setting::new(&format!("{PROBES}{script}")).start(&self.here)
    }
}

/// What a callback does instead of returning, what the log then says, and how long it is watched.
const ABUSES: [(&str, &str); 8] = [
    ("while true do end", "processor time"),
    (
        "while true do pcall(function() while true do end end) end",
        "processor time",
    ),
    (
        "local loop = coroutine.wrap(function() while true do end end) while true do pcall(loop) end",
        "processor time",
    ),
    (
        "local text = 'x' while true do text = text .. text end",
        "not enough memory",
    ),
    (
        "local all = {} while true do all[#all + 1] = {} end",
        "not enough memory",
    ),
    (
        "local function deeper() return 1 + deeper() end deeper()",
        "stack overflow",
    ),
    ("string.rep('x', 2 ^ 40)", "not enough memory"),
    (
        "xpcall(function() error('a') end, function() error('b') end) error('error in handling')",
        "error in handling",
    ),
];

#[test]
fn whatever_a_callback_does_probing_goes_on_and_the_next_one_is_called() {
    let _turn = turn::alone();
    for (abuse, complaint) in ABUSES {
        let wire = Wire::new();
        let mut script = wire.start(&format!(
            "calls = 0\n\
             function on_update(gps)\n\
               calls = calls + 1\n\
               if calls == 2 then {abuse} end\n\
               print('update', calls, gps:get('192.168.0.1'):loss())\n\
             end\n\
             function on_quit() print('the end') end"
        ));
        script.wait_for_lines("update", 1);
        let capture = Capture::start(&wire.here, "eth0");
        script.wait_for(complaint, |script| {
            script.complaints().contains(complaint).then_some(())
        });
        let lines = script.wait_for_lines("update", 4);
        let complaints = script.complaints();
        assert!(
            complaints.contains("callback=\"on_update\""),
            "{abuse}: {complaints}"
        );
        // Lua has no memory left to tell where its memory ended.
        for word in ["config.lua:", "stack traceback"] {
            assert!(
                complaint == "not enough memory" || complaints.contains(word),
                "{abuse}: {complaints}"
            );
        }
        assert_eq!(column(&lines[3], 1), 0.0, "{abuse}: {lines:?}");
        let gap = longest_gap(capture);
        assert!(gap < GAP_MAX, "{abuse}: {gap:?}");
        assert_eq!(script.stop(libc::SIGTERM).code(), Some(0), "{abuse}");
        assert!(script.output().contains("the end"), "{abuse}");
    }
}

#[test]
fn more_probes_than_there_may_be_are_refused_and_the_others_run() {
    let _turn = turn::alone();
    let wire = Wire::new();
    // Nobody answers but the target; 16,384 probes each ten seconds are what the whole may take.
    wire.here.ip("route add 10.0.0.0/8 via 192.168.0.1");
    let mut script = wire.start(
        "ping_frequency, num_seconds = 10, 60\n\
         function on_update(gps)\n\
           print('update', #gps, gps:get('192.168.0.1'):sent())\n\
           for i = 0, 20000 do probe.start(probe.new(('10.%d.%d.1'):format(i / 256, i % 256))) end\n\
         end",
    );
    script.wait_for("a refusal", |script| {
        let complaints = script.complaints();
        complaints
            .contains("16384 probes are running")
            .then_some(())
    });
    let all = script.wait_for("all", |script| {
        let lines = script.lines("update");
        let is_all = |line: &String| line.starts_with("16384\t") && column(line, 1) >= 2.0;
        lines.into_iter().find(is_all)
    });
    assert_eq!(column(&all, 0), 16384.0);
    assert_eq!(script.stop(libc::SIGTERM).code(), Some(0));
}

/// The longest time between two requests to the target.
#[track_caller]
fn longest_gap(capture: Capture) -> Duration {
    let requests: Vec<u64> = capture
        .finish()
        .iter()
        .filter(|exchange| exchange.target == TARGET)
        .map(|exchange| exchange.request_ns)
        .collect();
    let gaps = requests.windows(2).map(|pair| pair[1] - pair[0]);
    Duration::from_nanos(gaps.max().expect("many requests"))
}

#[test]
fn a_callback_that_waits_for_ever_does_not_keep_pingu_from_ending() {
    let _turn = turn::shared();
    let wire = Wire::new();
    let mut script = wire.start(
        "function on_update() print('waiting') os.execute('exec sleep 60') end\n\
         function on_quit() print('the end') end",
    );
    script.wait_for_output("waiting");
    let asked = Instant::now();
    assert_eq!(script.stop(libc::SIGTERM).code(), Some(0));
    let took = asked.elapsed();
    assert!(took < STUCK_END_MAX, "{took:?}");
    let complaints = script.complaints();
    assert!(complaints.contains("on_update"), "{complaints}");
    assert!(complaints.contains("on_quit is left out"), "{complaints}");
    assert!(!script.output().contains("the end"));
}

#[test]
fn on_quit_may_take_its_time_until_a_second_signal() {
    let _turn = turn::shared();
    let wire = Wire::new();
    let mut script = wire.start(
        "function on_quit() print('begins') os.execute('sleep 3') print('ends') end\n\
         function on_update() print('runs') end",
    );
    script.wait_for_output("runs");
    assert_eq!(script.stop(libc::SIGINT).code(), Some(0));
    assert!(script.output().contains("begins\nends"));

    let mut script = wire.start(
        "function on_quit() print('begins') os.execute('exec sleep 60') end\n\
         function on_update() print('runs') end",
    );
    script.wait_for_output("runs");
    script.process().signal(libc::SIGINT);
    script.wait_for_output("begins");
    assert_eq!(script.stop(libc::SIGINT).code(), Some(0));
}

#[test]
fn programs_of_a_script_have_the_priority_of_pingu_and_not_that_of_the_script() {
    let _turn = turn::shared();
    let wire = Wire::new();
    let mut script = wire.start("function on_update() os.execute('echo nice $(nice)') end");
    let lines = script.wait_for_lines("nice", 1);
    assert_eq!(lines[0], "0");
}

#[test]
fn outcomes_that_a_slow_script_has_no_time_for_are_left_out_and_counted() {
    let _turn = turn::shared();
    let wire = Wire::new();
    let mut script = wire.start(
        "ping_frequency = 0.001\n\
         probes = {}\n\
         for i = 1, 4 do probes[i] = probe.new('192.168.0.' .. i) end\n\
         function on_update(gps) print('update', gps:get('192.168.0.1'):loss()) os.execute('sleep 3') end\n\
         function on_recv() end",
    );
    script.wait_for("a warning", |script| {
        let complaints = script.complaints();
        complaints.contains("on_recv was not called").then_some(())
    });
    script.wait_for_next("update");
}
