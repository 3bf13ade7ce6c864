//! What whoever runs a reflector sees of it: how it ends, what the service manager hears, and what it prints.

use pingu_tests::lab::{
    daemon::{self, START_DEADLINE, STOP_DEADLINE},
    namespace::Namespace,
    turn,
    wait::wait_until,
};

use super::{DEADLINE, Reflector};
use crate::notifying::Manager;

/// What loading programs takes beside CAP_NET_ADMIN: CAP_SYS_ADMIN stands for both.
const DENIED: [&[&str]; 2] = [&["bpf", "sys_admin", "perfmon"], &["sys_admin", "perfmon"]];

fn namespace() -> Namespace {
    let namespace = Namespace::new("reflector");
    for interface in ["one0", "two0"] {
        namespace.ip(&format!(
            "link add {interface} type veth peer name {interface}-peer"
        ));
    }
    namespace.ip("address add 10.7.0.1/24 dev one0");
    namespace.ip("address add 10.8.0.1/24 dev two0");
    namespace
}

#[test]
fn without_the_capabilities_it_ends_with_77_and_names_them() {
    let _turn = turn::shared();
    let namespace = namespace();
    for denied in DENIED {
        let arguments = ["reflect", "--interface", "one0"];
        let finished = daemon::run_to_end_without(&namespace, &arguments, denied);
        assert_eq!(finished.status.code(), Some(77), "{}", finished.stderr);
        let words = finished.stderr.trim_end();
        assert!(words.contains("CAP_BPF, CAP_PERFMON"), "{words}");
        assert_eq!(words.lines().count(), 1, "one line says it: {words}");
        assert_eq!(finished.stdout, "", "there is nothing to report");
    }
}

#[test]
fn arguments_that_can_never_be_right_are_refused_at_once() {
    let _turn = turn::shared();
    let namespace = namespace();
    let far_too_long = "x".repeat(128);
    for (arguments, words) in [
        (&["--interface", ""][..], "an interface's name"),
        (&["--interface", &far_too_long], "an interface's name"),
        (&["--interface", "one0/1"], "an interface's name"),
        (
            &["--interface", "one0", "--from", "10.0.0.0/33"],
            "a prefix",
        ),
        (&["--interface", "one0", "--hook", "generic"], "clsact"),
        (&[], "--interface"),
    ] {
        let arguments = [&["reflect"][..], arguments].concat();
        let finished = daemon::run_to_end(&namespace, &arguments);
        assert_eq!(finished.status.code(), Some(2), "{}", finished.stderr);
        assert!(finished.stderr.contains(words), "{}", finished.stderr);
    }
}

#[test]
fn the_service_manager_hears_of_readiness_of_interfaces_and_of_the_end() {
    let _turn = turn::shared();
    let namespace = namespace();
    let manager = Manager::new();
    let arguments = ["one0", "two0", "late0"].map(|name| ["--interface", name]);
    let mut command = Reflector::command(&namespace, arguments.as_flattened());
    command.env("NOTIFY_SOCKET", &manager.path);
    command.env("WATCHDOG_USEC", "1000000");
    let mut reflector = Reflector::run(command);
    let ready = manager.wait_for("READY=1");
    assert_eq!(
        ready.last().map(String::as_str),
        Some("READY=1\nSTATUS=reflecting on 2 of 3 interfaces")
    );
    manager.wait_for("WATCHDOG=1");
    namespace.ip("link add late0 type veth peer name late0-peer");
    manager.wait_for("STATUS=reflecting on 3 of 3 interfaces");
    namespace.ip("link del one0");
    manager.wait_for("STATUS=reflecting on 2 of 3 interfaces");
    reflector.0.signal(libc::SIGTERM);
    manager.wait_for("STOPPING=1");
    assert!(reflector.0.wait(STOP_DEADLINE).success());
}

#[test]
fn people_read_a_table_of_what_is_served_and_what_is_not() {
    let _turn = turn::shared();
    let namespace = namespace();
    let mut command = namespace.command(daemon::binary());
    command.args(["reflect", "-i", "one0", "-i", "two0", "-i", "late0"]);
    let mut reflector = Reflector::run(command);
    reflector.0.wait_for_log("reflecting", START_DEADLINE);
    reflector.0.signal(libc::SIGUSR1);
    wait_until("the table", DEADLINE, || {
        let log = reflector.0.log();
        let lines = [
            "one0 by tcx: 10.7.0.1",
            "two0 by tcx: 10.8.0.1",
            "late0: is not there",
            "0 reflected, 0 refused, 0 corrupt, 0 beyond the limit, 0 dropped",
        ];
        if lines.iter().all(|line| log.lines().any(|one| one == *line)) {
            Ok(())
        } else {
            Err(log)
        }
    });
    reflector.0.signal(libc::SIGINT);
    assert!(reflector.0.wait(STOP_DEADLINE).success());
}
