//! Which engine serves: sockets where the kernel refuses programs, or where hooks turn out to be blind, and status says why.

use std::time::Duration;

use pingu_tests::lab::{
    daemon::{self, Daemon},
    foreign_program::{ForeignProgram, Hook},
    kernel::{classifier_hooks, default_hook},
    old_kernel, route_watch,
    settings::Settings,
    site::{Plan, TARGET},
    status::{self, counter},
    turn,
};
use serde_json::Value;

use crate::running::two_uplinks;

const DEADLINE: Duration = Duration::from_secs(20);

/// What loading and attaching programs takes.
const BPF: [&str; 3] = ["bpf", "sys_admin", "perfmon"];

#[test]
fn a_daemon_that_may_not_load_programs_probes_by_sockets_and_says_why() {
    let _turn = turn::shared();
    let site = Plan::new(&["wan1", "wan2"]).build();
    let settings = two_uplinks(Settings::quick());
    let mut daemon = Daemon::start_without(&site.router, &settings, &BPF);
    let status = daemon.wait_until_up(&["fibre", "lte"]);
    for uplink in ["fibre", "lte"] {
        assert_served_by_sockets(&status, uplink, "CAP_BPF");
    }
    site.providers[0].black_hole();
    route_watch::wait_until_by(&site.router, TARGET, site.ifindex(1), DEADLINE);
    site.providers[0].repair();
    route_watch::wait_until_by(&site.router, TARGET, site.ifindex(0), DEADLINE);
}

#[test]
fn a_daemon_that_shall_use_programs_and_may_not_load_them_does_not_start() {
    let _turn = turn::shared();
    let site = Plan::new(&["wan1"]).build();
    let settings = Settings::quick()
        .top("engine = \"ebpf\"")
        .uplink("fibre", "wan1", "auto", 88);
    let path = settings.write();
    let arguments = ["--config", path.to_str().unwrap()];
    let finished = daemon::run_to_end_without(&site.router, &arguments, &BPF);
    assert_eq!(finished.status.code(), Some(77), "{}", finished.stderr);
    assert!(finished.stderr.contains("CAP_BPF"), "{}", finished.stderr);
}

#[test]
fn a_filter_of_system_calls_is_told_from_a_missing_capability() {
    let _turn = turn::shared();
    let site = Plan::new(&["wan1"]).build();
    let settings = Settings::quick()
        .top("engine = \"ebpf\"")
        .uplink("fibre", "wan1", "auto", 88);
    let mut command = site.router.command("timeout");
    command.arg(DEADLINE.as_secs().to_string());
    command.arg(daemon::binary()).arg("--config");
    command.arg(settings.write()).env("NO_COLOR", "1");
    old_kernel::without_bpf(&mut command);
    let output = command.output().expect("coreutils has timeout");
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(77), "{told}");
    assert!(
        told.contains("seccomp") && !told.contains("CAP_BPF"),
        "{told}"
    );
}

#[test]
fn engine_socket_loads_no_program() {
    let _turn = turn::shared();
    let site = Plan::new(&["wan1"]).build();
    let settings = Settings::quick()
        .top("engine = \"socket\"")
        .uplink("fibre", "wan1", "auto", 88);
    let mut daemon = Daemon::start(&site.router, &settings);
    let status = daemon.wait_until_up(&["fibre"]);
    assert_served_by_sockets(&status, "fibre", "engine = \"socket\"");
    let pid = daemon.process().id();
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let bpf: Vec<String> = descriptors
        .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
        .map(|link| link.display().to_string())
        .filter(|link| link.contains("bpf"))
        .collect();
    assert!(bpf.is_empty(), "{bpf:?}");
}

#[test]
fn an_interface_that_takes_no_hooks_is_probed_by_sockets_and_the_others_are_not() {
    let _turn = turn::shared();
    for hook in classifier_hooks() {
        let site = Plan::new(&["wan1", "wan2"]).build();
        let _full = ForeignProgram::fill_ingress(&site.router, "wan1", hook);
        let settings = matching_by(hook);
        let mut daemon = Daemon::start(&site.router, &settings);
        let status = daemon.wait_until_up(&["fibre", "lte"]);
        assert_served_by_sockets(&status, "fibre", &format!("{hook} ingress"));
        assert_eq!(status::uplink(&status, "lte")["engine"], *hook);
        assert!(status::uplink(&status, "lte")["engine_reason"].is_null());
    }
}

#[test]
fn a_program_that_hides_requests_from_the_hook_brings_sockets_and_no_loss() {
    let _turn = turn::shared();
    for hook in classifier_hooks() {
        let site = Plan::new(&["wan1", "wan2"]).build();
        let settings = matching_by(hook);
        let mut daemon = Daemon::start(&site.router, &settings);
        daemon.wait_until_up(&["fibre", "lte"]);
        let _foreign = ForeignProgram::attach(&site.router, "wan1", hook, Hook::Egress);
        let status = daemon.wait_for("sockets", DEADLINE, |status| {
            assert_eq!(status::state(status, "fibre"), "up", "{status:#}");
            is_by_sockets(status, "fibre")
        });
        assert_served_by_sockets(&status, "fibre", "egress hook");
        let answered = counter(status::target(&status, "fibre", 0), "answered");
        let status = daemon.wait_for("answers by sockets", DEADLINE, |status| {
            counter(status::target(status, "fibre", 0), "answered") >= answered + 20
        });
        assert_eq!(
            counter(status::target(&status, "fibre", 0), "lost"),
            0,
            "{status:#}"
        );
        assert_eq!(status::uplink(&status, "lte")["engine"], *hook);
    }
}

#[test]
fn a_program_that_hides_replies_from_the_hook_brings_sockets_and_the_uplink_back() {
    let _turn = turn::shared();
    for hook in classifier_hooks() {
        let site = Plan::new(&["wan1", "wan2"]).build();
        let settings = matching_by(hook);
        let mut daemon = Daemon::start(&site.router, &settings);
        daemon.wait_until_up(&["fibre", "lte"]);
        let _foreign = ForeignProgram::attach(&site.router, "wan1", hook, Hook::Ingress);
        let status = daemon.wait_for("sockets", DEADLINE, |status| is_by_sockets(status, "fibre"));
        assert_served_by_sockets(&status, "fibre", "ingress hook");
        let status = daemon.wait_until_up(&["fibre", "lte"]);
        assert_eq!(status::uplink(&status, "lte")["engine"], *hook);
        route_watch::wait_until_by(&site.router, TARGET, site.ifindex(0), DEADLINE);
    }
}

#[test]
fn a_black_hole_does_not_make_hooks_look_blind() {
    let _turn = turn::shared();
    let site = Plan::new(&["wan1", "wan2"]).build();
    let settings = two_uplinks(Settings::quick());
    let mut daemon = Daemon::start(&site.router, &settings);
    daemon.wait_until_up(&["fibre", "lte"]);
    for _ in 0..2 {
        site.providers[0].black_hole();
        let down = daemon.wait_until_down("fibre");
        let sent = counter(status::target(&down, "fibre", 0), "sent");
        daemon.wait_for("seconds of silence", DEADLINE, |status| {
            assert_eq!(
                status::uplink(status, "fibre")["engine"],
                default_hook(),
                "{status:#}"
            );
            counter(status::target(status, "fibre", 0), "sent") >= sent + 45
        });
        site.providers[0].repair();
        let status = daemon.wait_until_up(&["fibre"]);
        assert_eq!(
            status::uplink(&status, "fibre")["engine"],
            default_hook(),
            "{status:#}"
        );
    }
}

#[test]
fn without_raw_sockets_the_kernels_echo_sockets_probe_and_status_says_so() {
    let _turn = turn::shared();
    let site = Plan::new(&["wan1", "wan2"]).build();
    site.router
        .run(&["sysctl", "-qw", "net.ipv4.ping_group_range=0 0"]);
    let settings = two_uplinks(Settings::quick());
    let missing = [&BPF[..], &["net_raw"]].concat();
    let mut daemon = Daemon::start_without(&site.router, &settings, &missing);
    let status = daemon.wait_until_up(&["fibre", "lte"]);
    for uplink in ["fibre", "lte"] {
        assert_served_by_sockets(&status, uplink, "CAP_NET_RAW");
    }
    site.providers[0].black_hole();
    route_watch::wait_until_by(&site.router, TARGET, site.ifindex(1), DEADLINE);
    site.providers[0].repair();
    route_watch::wait_until_by(&site.router, TARGET, site.ifindex(0), DEADLINE);
    let status = daemon.status().unwrap();
    let target = status::target(&status, "lte", 0);
    assert_eq!(counter(target, "lost"), 0, "{target:#}");
    assert_eq!(counter(target, "not_sent"), 0, "{target:#}");
    let p50 = target["rtt_us"]["p50"].as_f64().unwrap();
    println!("median RTT by echo sockets: {p50} us");
    assert!(p50 > 0.0 && p50 < 5_000.0, "{target:#}");
}

#[test]
fn where_even_echo_sockets_are_refused_the_cause_is_the_kernels_answer() {
    let _turn = turn::shared();
    let site = Plan::new(&["wan1"]).build();
    site.router
        .run(&["sysctl", "-qw", "net.ipv4.ping_group_range=1 0"]);
    let settings = Settings::quick().uplink("fibre", "wan1", "auto", 88);
    let missing = [&BPF[..], &["net_raw"]].concat();
    let mut daemon = Daemon::start_without(&site.router, &settings, &missing);
    let refused = |status: &Value| {
        let causes = status::target(status, "fibre", 0)["causes"].as_array()?;
        let found = causes.iter().find(|cause| cause["cause"] == "not-sent");
        found.cloned()
    };
    let status = daemon.wait_for("refused probes", DEADLINE, |status| {
        refused(status).is_some_and(|cause| counter(&cause, "count") >= 6)
    });
    assert_ne!(status::state(&status, "fibre"), "up", "{status:#}");
    let reason = status::reason(&status, "fibre");
    assert!(reason.contains("CAP_NET_RAW"), "{reason}");
    let cause = refused(&status).unwrap();
    let detail = cause["detail"].as_str().unwrap_or_default();
    assert!(detail.contains("not permitted"), "{cause:#}");
}

fn matching_by(hook: &str) -> Settings {
    two_uplinks(Settings::quick().top(&format!("receive_hook = \"{hook}\"")))
}

fn is_by_sockets(status: &Value, uplink: &str) -> bool {
    status::uplink(status, uplink)["engine"] == "socket"
}

#[track_caller]
fn assert_served_by_sockets(status: &Value, uplink: &str, why: &str) {
    let found = status::uplink(status, uplink);
    assert_eq!(found["engine"], "socket", "{found:#}");
    let reason = found["engine_reason"].as_str().unwrap_or_default();
    let reason = reason.to_lowercase();
    assert!(reason.contains(&why.to_lowercase()), "{found:#}");
}
