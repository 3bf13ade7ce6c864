//! `probe.new` in its forms, `probe.start` and `probe.stop`.

use pingu_tests::lab::{capture::Capture, turn, wait::wait_until};

use super::Wire;

use pingu_tests::lab::script::DEADLINE;

/// A script that says from where to where each answered probe went.
fn with(probes: &str) -> String {
    format!(
        "ping_frequency = 0.05\n\
         probes = {{ {probes} }}\n\
         function on_recv(gps, ps) print('recv', ps:src(), ps:dst(), ps:loss()) end"
    )
}

#[test]
fn with_one_argument_a_probe_goes_there_as_the_routes_say() {
    let _turn = turn::shared();
    let wire = Wire::new();
    let mut script = wire.start(&with("probe.new('192.168.0.1')"));
    script.wait_for_output("recv\t192.168.0.10\t192.168.0.1\t0\n");
}

#[test]
fn the_second_argument_may_be_the_source_address() {
    let _turn = turn::shared();
    let wire = Wire::new();
    let capture = Capture::start(&wire.there, "eth0");
    let mut script = wire.start(&with("probe.new('192.168.0.2', '192.168.0.11')"));
    script.wait_for_output("recv\t192.168.0.11\t192.168.0.2\t0\n");
    let seen = capture.finish();
    assert!(
        seen.iter()
            .any(|exchange| exchange.source.to_string() == "192.168.0.11"
                && exchange.target.to_string() == "192.168.0.2"
                && exchange.rtt().is_some()),
        "{seen:?}"
    );
}

#[test]
fn the_second_argument_may_be_the_interface_whose_address_is_the_source() {
    let _turn = turn::shared();
    let wire = Wire::new();
    let capture = Capture::start(&wire.there, "eth0");
    let mut script = wire.start(&with("probe.new('192.168.0.2', 'eth0')"));
    script.wait_for_output("recv\t192.168.0.10\t192.168.0.2\t0\n");
    let seen = capture.finish();
    assert!(
        seen.iter()
            .any(|exchange| exchange.source.to_string() == "192.168.0.10"),
        "{seen:?}"
    );
}

#[test]
fn a_probe_may_go_over_ipv6_in_all_three_forms() {
    let _turn = turn::shared();
    let wire = Wire::new();
    for form in ["", ", '2001:db8::10'", ", 'eth0'"] {
        let mut script = wire.start(&with(&format!("probe.new('2001:db8::1'{form})")));
        script.wait_for_output("recv\t2001:db8::10\t2001:db8::1\t0\n");
    }
}

#[test]
fn one_destination_may_be_asked_from_two_sources() {
    let _turn = turn::shared();
    let wire = Wire::new();
    let mut script = wire.start(&with(
        "probe.new('192.168.0.1', '192.168.0.10'), probe.new('192.168.0.1', '192.168.0.11')",
    ));
    script.wait_for_output("recv\t192.168.0.10\t192.168.0.1\t0\n");
    script.wait_for_output("recv\t192.168.0.11\t192.168.0.1\t0\n");
}

#[test]
fn a_probe_that_cannot_leave_is_a_lost_one_until_it_can() {
    let _turn = turn::shared();
    let wire = Wire::new();
    let mut script = wire.start(
        "ping_frequency, num_seconds = 0.05, 1\n\
         probes = { probe.new('192.168.0.1', 'ppp0'), probe.new('192.0.2.1') }\n\
         function on_recv(gps, ps) print('recv', ps:dst(), ps:loss()) end",
    );
    script.wait_for_output("recv\t192.168.0.1\t100\n");
    script.wait_for_output("recv\t192.0.2.1\t100\n");
    wire.here.ip("link set eth0 down");
    wire.here.ip("link set eth0 name ppp0");
    wire.here.ip("link set ppp0 up");
    script.wait_for_output("recv\t192.168.0.1\t0\n");
}

#[test]
fn probe_start_starts_one_at_run_time_and_probe_stop_stops_it() {
    let _turn = turn::shared();
    let wire = Wire::new();
    let mut script = wire.start(
        "ping_frequency, update_frequency = 0.05, 0.05\n\
         probes = { probe.new('192.168.0.1') }\n\
         updates, heard = 0, 0\n\
         function on_recv(gps, ps)\n\
           if ps:dst() == '192.168.0.2' then heard = heard + 1 end\n\
         end\n\
         function on_update(gps)\n\
           updates = updates + 1\n\
           if updates == 3 then probe.start(probe.new('192.168.0.2', '192.168.0.11')) print('started') end\n\
           if heard >= 5 and not stopped then probe.stop('192.168.0.2') stopped = true print('stopped') end\n\
           print('update', pcall(gps.get, gps, '192.168.0.2'))\n\
         end",
    );
    script.wait_for_output("started\n");
    script.wait_for_output("update\ttrue\t");
    script.wait_for_output("stopped\n");
    script.wait_for("its statistics to go", |script| {
        script
            .lines("update")
            .last()?
            .starts_with("false")
            .then_some(())
    });
    let (stopped, other) = (wire.requests("192.168.0.2"), wire.requests("192.168.0.1"));
    assert!(stopped >= 5, "{stopped}");
    wait_until("the other to go on", DEADLINE, || {
        match wire.requests("192.168.0.1") {
            more if more > other + 10 => Ok(()),
            few => Err(few.to_string()),
        }
    });
    assert_eq!(wire.requests("192.168.0.2"), stopped);
}

#[test]
fn a_probe_may_be_stopped_by_its_own_answer_and_started_again() {
    let _turn = turn::shared();
    let wire = Wire::new();
    let mut script = wire.start(
        "ping_frequency, update_frequency = 0.05, 0.05\n\
         probes = { probe.new('192.168.0.1'), probe.new('192.168.0.2') }\n\
         function on_recv(gps, ps)\n\
           if ps:dst() == '192.168.0.2' then probe.stop(ps:dst()) print('stopped') end\n\
           if ps:dst() == '192.168.0.1' and not again then again = true probe.start(probe.new('192.168.0.2')) end\n\
         end\n",
    );
    script.wait_for_lines("stopped", 1);
    let seen = wire.requests("192.168.0.1");
    wait_until("the other to go on", DEADLINE, || {
        match wire.requests("192.168.0.1") {
            more if more > seen + 5 => Ok(()),
            few => Err(few.to_string()),
        }
    });
    assert!(
        script.complaints().is_empty() || !script.complaints().contains("error"),
        "{}",
        script.complaints()
    );
    assert_eq!(script.stop(libc::SIGTERM).code(), Some(0));
}

#[test]
fn stopping_what_does_not_run_and_starting_what_runs_are_harmless() {
    let _turn = turn::shared();
    let wire = Wire::new();
    let mut script = wire.start(
        "ping_frequency, update_frequency = 0.1, 0.05\n\
         probes = { probe.new('192.168.0.1') }\n\
         function on_update(gps)\n\
           probe.stop('192.168.0.99')\n\
           probe.start(probe.new('192.168.0.1'))\n\
           print('update')\n\
         end",
    );
    script.wait_for_lines("update", 20);
    assert_eq!(script.stop(libc::SIGTERM).code(), Some(0));
    // A second of probing, ten a second: starting it again each time did not hurry it.
    let requests = wire.requests("192.168.0.1");
    assert!((5..=18).contains(&requests), "{requests}");
}
