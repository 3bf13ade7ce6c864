//! `privileged`: which sockets the probes need, and what a user without any capability can do.

use pingu_tests::lab::{script::Setting, turn};

use super::Wire;

fn with(privileged: &str) -> String {
    format!(
        "{privileged}\n\
         ping_frequency = 0.05\n\
         probes = {{ probe.new('192.168.0.1'), probe.new('192.168.0.2', '192.168.0.11'), probe.new('2001:db8::1') }}\n\
         function on_recv(gps, ps) print('recv', ps:src(), ps:dst(), ps:loss()) end"
    )
}

const ANSWERS: [&str; 3] = [
    "recv\t192.168.0.10\t192.168.0.1\t0\n",
    "recv\t192.168.0.11\t192.168.0.2\t0\n",
    "recv\t2001:db8::10\t2001:db8::1\t0\n",
];

#[test]
fn with_or_without_privileges_root_gets_the_same_answers() {
    let _turn = turn::shared();
    let wire = Wire::new();
    for privileged in ["privileged = true", "privileged = false", ""] {
        let mut script = wire.start(&with(privileged));
        for answer in ANSWERS {
            script.wait_for_output(answer);
        }
        assert_eq!(script.stop(libc::SIGINT).code(), Some(0));
    }
}

#[test]
fn a_user_without_capabilities_probes_unless_privileged_is_true() {
    let _turn = turn::shared();
    let wire = Wire::new();
    for privileged in ["privileged = false", ""] {
        let mut script = Setting::new(&with(privileged))
            .unprivileged()
            .start(&wire.here);
        for answer in ANSWERS {
            script.wait_for_output(answer);
        }
        assert_eq!(script.stop(libc::SIGINT).code(), Some(0));
    }
}

#[test]
fn privileged_without_the_capability_says_what_is_missing() {
    let _turn = turn::shared();
    let wire = Wire::new();
    let finished = Setting::new(&with("privileged = true"))
        .unprivileged()
        .run_to_end(&wire.here);
    assert_eq!(finished.status.code(), Some(1), "{}", finished.stderr);
    assert!(
        finished.stderr.contains("CAP_NET_RAW"),
        "{}",
        finished.stderr
    );
}

#[test]
fn unprivileged_where_the_system_forbids_it_says_which_setting_does() {
    let _turn = turn::shared();
    let wire = Wire::new();
    wire.here.sysctl("net.ipv4.ping_group_range", "1 0");
    let finished = Setting::new(&with("privileged = false"))
        .unprivileged()
        .run_to_end(&wire.here);
    assert_eq!(finished.status.code(), Some(1), "{}", finished.stderr);
    assert!(
        finished.stderr.contains("net.ipv4.ping_group_range"),
        "{}",
        finished.stderr
    );
}

#[test]
fn where_the_system_forbids_it_root_probes_all_the_same_and_is_told() {
    let _turn = turn::shared();
    let wire = Wire::new();
    wire.here.sysctl("net.ipv4.ping_group_range", "1 0");
    let mut script = wire.start(&with(""));
    for answer in ANSWERS {
        script.wait_for_output(answer);
    }
    assert!(script.complaints().contains("net.ipv4.ping_group_range"));
}
