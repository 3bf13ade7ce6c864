//! `pingu reflect` at the other end: each direction's losses told apart, against a provider that counts what it drops.

use std::{process::Command, time::Duration};

use pingu_tests::lab::{
    daemon::{self, Daemon, START_DEADLINE, STOP_DEADLINE},
    namespace::Namespace,
    process::Process,
    settings::Settings,
    site::{Plan, Site},
    status::{self, counter},
    turn,
};
use serde_json::Value;

mod bare;
mod clsact;
mod interfaces;
mod limit;
mod operator;

const DEADLINE: Duration = Duration::from_secs(60);

/// Where the reflector is: behind the provider, so that both directions pass its faults.
const FAR_V4: &str = "10.255.1.1";
const FAR_V6: &str = "2001:db8:f001::1";
const FAR_INTERFACE: &str = "p0";

/// Ten probes a second: what happens within some ten seconds is within the 200 that status looks back on.
const PACE: &str =
    "count = 20\nspacing = \"10ms\"\nperiod = \"2s\"\ntimeout = \"500ms\"\nreflect = true";

/// Probes that a lossy time lasts.
const LOSSY_PROBES: u64 = 120;

struct Reflector(Process);

impl Reflector {
    #[track_caller]
    fn start(namespace: &Namespace, arguments: &[&str]) -> Self {
        let mut reflector = Self::spawn(namespace, arguments);
        reflector.0.wait_for_log("reflecting", START_DEADLINE);
        reflector
    }

    #[track_caller]
    fn spawn(namespace: &Namespace, arguments: &[&str]) -> Self {
        Self::run(Self::command(namespace, arguments))
    }

    fn command(namespace: &Namespace, arguments: &[&str]) -> Command {
        let mut command = namespace.command(daemon::binary());
        command.args(["reflect", "--json"]).args(arguments);
        command.env("NO_COLOR", "1");
        command
    }

    #[track_caller]
    fn run(command: Command) -> Self {
        Self(Process::spawn("pingu reflect", command))
    }

    /// Ends it, and gives what it has to say at its end.
    #[track_caller]
    fn stop(self) -> Value {
        self.stop_by(libc::SIGTERM)
    }

    #[track_caller]
    fn stop_by(mut self, signal: i32) -> Value {
        self.0.signal(signal);
        let status = self.0.wait(STOP_DEADLINE);
        assert!(status.success(), "{status}");
        let log = self.0.log();
        let last = log
            .lines()
            .rfind(|line| line.starts_with('{'))
            .expect("it says something");
        serde_json::from_str(last).expect("it says JSON")
    }
}

fn far_settings(target: &str) -> Settings {
    Settings::new()
        .probe(&format!("targets = [\"{target}\"]\n{PACE}"))
        .health("max_lost = 19")
        .uplink("fibre", "wan1", "[\"10.0.1.1\", \"2001:db8:1::1\"]", 88)
}

fn directions(status: &Value) -> &Value {
    &status::target(status, "fibre", 0)["directions"]
}

fn is_told(status: &Value) -> bool {
    directions(status)["of"].as_u64().is_some_and(|of| of > 0)
}

/// Lets so many probes pass from now on, and everything before them be settled.
#[track_caller]
fn pass_probes(daemon: &mut Daemon, probes: u64) -> Value {
    let sent = counter(
        status::target(&daemon.status().expect("it runs"), "fibre", 0),
        "sent",
    );
    daemon.wait_for("probes to pass", DEADLINE, |status| {
        status::settled(status::target(status, "fibre", 0)) >= sent + probes
    })
}

#[test]
fn losses_are_told_of_their_direction_to_the_probe() {
    let _turn = turn::shared();
    for (target, is_forward) in [
        (FAR_V4, true),
        (FAR_V4, false),
        (FAR_V6, true),
        (FAR_V6, false),
    ] {
        let site = Plan::new(&["wan1"]).build();
        let _reflector = Reflector::start(&site.internet, &["--interface", FAR_INTERFACE]);
        let settings = far_settings(target);
        let mut daemon = Daemon::start(&site.router, &settings);
        daemon.wait_for("a first reflection", START_DEADLINE, is_told);
        if is_forward {
            site.providers[0].lose_requests(40);
        } else {
            site.providers[0].lose_replies(40);
        }
        pass_probes(&mut daemon, LOSSY_PROBES);
        site.providers[0].lose_no_more();
        let status = pass_probes(&mut daemon, 20);
        let found = directions(&status);
        let dropped = site.providers[0].replies().dropped;
        assert!(dropped > 20, "{dropped}");
        let (lossy, whole) = if is_forward {
            ("forward", "backward")
        } else {
            ("backward", "forward")
        };
        assert_eq!(found[format!("{lossy}_lost")], dropped, "{found:#}");
        assert_eq!(found[format!("{whole}_lost")], 0, "{found:#}");
        let way = if is_forward {
            "on the way there"
        } else {
            "on the way back"
        };
        assert!(found["fault"].as_str().unwrap().contains(way), "{found:#}");
        assert!(status::reason(&status, "fibre").contains(way), "{status:#}");
        println!("{target}: {found}");
    }
}

/// Drops replies on their way, and looks that they, and no requests, are told as lost.
#[track_caller]
fn lost_replies_are_told(site: &Site, daemon: &mut Daemon) {
    daemon.wait_for("a first reflection", START_DEADLINE, is_told);
    site.providers[0].lose_replies(40);
    pass_probes(daemon, 60);
    site.providers[0].lose_no_more();
    let status = pass_probes(daemon, 20);
    let found = directions(&status);
    let dropped = site.providers[0].replies().dropped;
    assert_eq!(found["backward_lost"], dropped, "{found:#}");
    assert_eq!(found["forward_lost"], 0, "{found:#}");
}

#[test]
fn without_ebpf_the_directions_are_told_as_well() {
    let _turn = turn::shared();
    let site = Plan::new(&["wan1"]).build();
    let _reflector = Reflector::start(&site.internet, &["--interface", FAR_INTERFACE]);
    let settings = far_settings(FAR_V4).top("engine = \"socket\"");
    let mut daemon = Daemon::start(&site.router, &settings);
    lost_replies_are_told(&site, &mut daemon);
}

#[test]
fn an_outage_tells_its_direction_as_soon_as_something_returns() {
    let _turn = turn::shared();
    for is_forward in [true, false] {
        let site = Plan::new(&["wan1"]).build();
        let reflector = Reflector::start(&site.internet, &["--interface", FAR_INTERFACE]);
        let settings = far_settings(FAR_V4);
        let mut daemon = Daemon::start(&site.router, &settings);
        daemon.wait_for("a first reflection", START_DEADLINE, is_told);
        if is_forward {
            site.providers[0].lose_requests(100);
        } else {
            site.providers[0].lose_replies(100);
        }
        daemon.wait_until_down("fibre");
        let during = pass_probes(&mut daemon, 40);
        assert!(counter(directions(&during), "untold") >= 40, "{during:#}");
        site.providers[0].lose_no_more();
        let status = daemon.wait_for("the uplink to return", START_DEADLINE, |status| {
            status::state(status, "fibre") == "up"
        });
        let found = directions(&status);
        let lossy = if is_forward {
            "forward_lost"
        } else {
            "backward_lost"
        };
        let whole = if is_forward {
            "backward_lost"
        } else {
            "forward_lost"
        };
        assert_eq!(
            found[lossy],
            site.providers[0].replies().dropped,
            "{found:#}"
        );
        assert_eq!(found[whole], 0, "{found:#}");
        let sent = counter(status::target(&status, "fibre", 0), "sent");
        drop(daemon);
        let report = reflector.stop();
        let requests = report["paths"][0]["requests"].as_u64().unwrap();
        if is_forward {
            assert!(requests < sent, "{report:#}");
        } else {
            assert!(requests >= sent, "{report:#}");
        }
    }
}

#[test]
fn pings_are_the_kernel_s_and_probes_the_reflector_s() {
    let _turn = turn::shared();
    let site = Plan::new(&["wan1"]).build();
    let reflector = Reflector::start(&site.internet, &["--interface", FAR_INTERFACE]);
    let settings = far_settings(FAR_V4);
    let mut daemon = Daemon::start(&site.router, &settings);
    daemon.wait_for("a first reflection", START_DEADLINE, is_told);
    site.router
        .run(&["ping", "-c", "3", "-i", "0.1", "-W", "2", FAR_V4]);
    // From here on nobody answers but the reflector.
    site.internet.sysctl("net.ipv4.icmp_echo_ignore_all", "1");
    let status = pass_probes(&mut daemon, 40);
    assert_eq!(status::state(&status, "fibre"), "up", "{status:#}");
    let lost = counter(status::target(&status, "fibre", 0), "lost");
    assert_eq!(lost, 0, "{status:#}");
    assert!(!pings(&site), "the kernel was told to ignore them");
    drop(daemon);
    let report = reflector.stop();
    assert_eq!(
        report["paths"].as_array().map(Vec::len),
        Some(1),
        "{report:#}"
    );
    assert_eq!(report["reflected"], report["paths"][0]["requests"]);
}

fn pings(site: &Site) -> bool {
    let mut command = site.router.command("ping");
    command.args(["-c", "1", "-W", "1", FAR_V4]);
    let output = command.output().expect("there is such a program");
    output.status.success()
}

#[test]
fn a_killed_reflector_leaves_nothing_and_the_kernel_answers_on() {
    let _turn = turn::shared();
    let site = Plan::new(&["wan1"]).build();
    let settings = far_settings(FAR_V4);
    let mut daemon = None;
    for _ in 0..3 {
        let mut reflector = Reflector::start(&site.internet, &["--interface", FAR_INTERFACE]);
        let daemon = daemon.get_or_insert_with(|| Daemon::start(&site.router, &settings));
        let before = daemon
            .status()
            .ok()
            .map_or(0, |status| directions(&status)["of"].as_u64().unwrap_or(0));
        daemon.wait_for("reflections", START_DEADLINE, |status| {
            directions(status)["of"]
                .as_u64()
                .is_some_and(|of| of > before)
        });
        reflector.0.signal(libc::SIGKILL);
        reflector.0.wait(STOP_DEADLINE);
        // The kernel echoes what asks for a reflection; with it silenced, nobody answers.
        site.internet.sysctl("net.ipv4.icmp_echo_ignore_all", "1");
        daemon.wait_until_down("fibre");
        site.internet.sysctl("net.ipv4.icmp_echo_ignore_all", "0");
        daemon.wait_until_up(&["fibre"]);
    }
}

#[test]
fn a_second_reflector_and_a_wrong_hook_are_refused_in_clear_words() {
    let _turn = turn::shared();
    let site = Plan::new(&["wan1"]).build();
    let arguments = ["--interface", FAR_INTERFACE];
    let _first = Reflector::start(&site.internet, &arguments);
    let refused = |arguments: &[&str], words: &str| {
        let mut second = Reflector::spawn(&site.internet, arguments);
        let status = second.0.wait(START_DEADLINE);
        assert_eq!(status.code(), Some(1), "{}", second.0.log());
        assert!(second.0.log().contains(words), "{}", second.0.log());
    };
    refused(&arguments, "another reflector serves p0");
    refused(
        &["--interface", "lo", "--hook", "xdp"],
        "lo cannot be served",
    );
    site.internet.ip("link add v0 type veth peer name v1");
    refused(
        &["--interface", "v0", "--hook", "xdp"],
        "takes no XDP frames",
    );
}

#[test]
fn only_whom_it_may_answer_is_reflected() {
    let _turn = turn::shared();
    let site = Plan::new(&["wan1"]).build();
    let arguments = ["--interface", FAR_INTERFACE, "--from", "10.9.0.0/16"];
    let reflector = Reflector::start(&site.internet, &arguments);
    let settings = far_settings(FAR_V4);
    let mut daemon = Daemon::start(&site.router, &settings);
    daemon.wait_until_up(&["fibre"]);
    let status = pass_probes(&mut daemon, 20);
    assert!(directions(&status).is_null(), "{status:#}");
    assert_eq!(status::state(&status, "fibre"), "up", "the kernel answers");
    drop(daemon);
    let report = reflector.stop();
    assert_eq!(report["reflected"], 0, "{report:#}");
    assert!(report["refused"].as_u64().unwrap() >= 20, "{report:#}");
}

#[test]
fn xdp_reflects_as_long_as_the_other_end_takes_its_frames() {
    let _turn = turn::shared();
    let site = Plan::new(&["wan1"]).build();
    let settings = Settings::new()
        .top("receive_hook = \"xdp\"")
        .probe(&format!("targets = [\"10.0.1.1\"]\n{PACE}"))
        .health("max_lost = 19")
        .uplink("fibre", "wan1", "10.0.1.1", 88);
    // Its own XDP program makes the other end take frames.
    let mut daemon = Daemon::start(&site.router, &settings);
    daemon.wait_until_up(&["fibre"]);
    let provider = &site.providers[0].namespace;
    let mut reflector = Reflector::start(provider, &["--interface", "r0", "--hook", "xdp"]);
    let status = daemon.wait_for("a first reflection", START_DEADLINE, is_told);
    println!("{}", directions(&status));
    assert!(
        provider.ip("link show dev r0").contains("xdp"),
        "it is native"
    );
    let status = pass_probes(&mut daemon, 40);
    assert_eq!(
        counter(directions(&status), "backward_lost"),
        0,
        "{status:#}"
    );
    assert_eq!(
        counter(directions(&status), "forward_lost"),
        0,
        "{status:#}"
    );
    daemon.stop();
    reflector
        .0
        .wait_for_log("reflecting no more", START_DEADLINE);
    assert!(!provider.ip("link show dev r0").contains("xdp"));
    site.router.run(&["ping", "-c", "1", "-W", "2", "10.0.1.1"]);
    reflector.stop();
}
