//! `on_recv`, `on_update` and `on_quit`: when they are called, with what, and that none of them is needed.

use pingu_tests::lab::{turn, wait::wait_until};

use super::Wire;

use pingu_tests::lab::script::DEADLINE;

#[test]
fn on_recv_is_called_for_each_answer_with_the_statistics_of_its_probe() {
    let _turn = turn::shared();
    let wire = Wire::new();
    let mut script = wire.start(
        "ping_frequency = 0.05\n\
         probes = { probe.new('192.168.0.1'), probe.new('192.168.0.2') }\n\
         function on_recv(gps, ps)\n\
           print(ps:dst(), gps:get(ps:dst()):dst() == ps:dst(), type(gps:lowest_loss():loss()))\n\
         end",
    );
    for line in ["192.168.0.1\ttrue\tnumber\n", "192.168.0.2\ttrue\tnumber\n"] {
        script.wait_for_output(line);
    }
    script.wait_for_lines("192.168.0.1", 10);
    assert_eq!(script.stop(libc::SIGTERM).code(), Some(0));
    for address in ["192.168.0.1", "192.168.0.2"] {
        let (calls, requests) = (script.lines(address).len(), wire.requests(address));
        assert!(
            calls <= requests && calls + 2 >= requests,
            "{calls} calls for {requests} requests to {address}"
        );
    }
}

#[test]
fn on_recv_is_called_for_what_is_lost_as_well() {
    let _turn = turn::shared();
    let wire = Wire::new();
    wire.silence("192.168.0.2");
    let mut script = wire.start(
        "ping_frequency, num_seconds = 0.05, 2\n\
         probes = { probe.new('192.168.0.2') }\n\
         function on_recv(gps, ps) print('recv', ps:loss()) end",
    );
    let lines = script.wait_for_lines("recv", 5);
    assert!(lines.iter().all(|loss| loss == "100"), "{lines:?}");
    wire.answer();
    script.wait_for_output("recv\t0\n");
}

#[test]
fn on_update_is_given_the_statistics_of_all_probes() {
    let _turn = turn::shared();
    let wire = Wire::new();
    wire.silence("192.168.0.1");
    let mut script = wire.start(
        "ping_frequency, update_frequency, num_seconds = 0.05, 0.1, 2\n\
         probes = { probe.new('192.168.0.1'), probe.new('192.168.0.2') }\n\
         function on_update(gps)\n\
           print('best', gps:lowest_loss():dst(), gps:get('192.168.0.1'):loss(), gps:get('192.168.0.2'):loss())\n\
         end",
    );
    script.wait_for_output("best\t192.168.0.2\t100\t0\n");
}

#[test]
fn on_quit_is_called_at_sigint_and_at_sigterm_with_the_statistics() {
    let _turn = turn::shared();
    for signal in [libc::SIGINT, libc::SIGTERM] {
        let wire = Wire::new();
        let mut script = wire.start(
            "ping_frequency = 0.05\n\
             probes = { probe.new('192.168.0.1') }\n\
             function on_recv() print('recv') end\n\
             function on_quit(gps)\n\
               os.execute('echo from the shell')\n\
               print('quit', gps:get('192.168.0.1'):loss(), gps:lowest_loss():dst())\n\
             end",
        );
        script.wait_for_lines("recv", 2);
        assert_eq!(script.stop(signal).code(), Some(0));
        let output = script.output();
        assert!(
            output.ends_with("from the shell\nquit\t0\t192.168.0.1\n"),
            "{output}"
        );
    }
}

#[test]
fn a_script_without_any_function_probes_and_ends() {
    let _turn = turn::shared();
    let wire = Wire::new();
    let mut script = wire.start("ping_frequency = 0.05 probes = { probe.new('192.168.0.1') }");
    wait_until("requests", DEADLINE, || {
        match wire.requests("192.168.0.1") {
            few @ ..5 => Err(format!("{few}")),
            _ => Ok(()),
        }
    });
    assert_eq!(script.stop(libc::SIGINT).code(), Some(0));
    assert_eq!(script.output(), "");
}

#[test]
fn any_one_of_the_functions_may_be_missing() {
    let _turn = turn::shared();
    let wire = Wire::new();
    for missing in ["on_recv", "on_update", "on_quit"] {
        let mut script = wire.start(&format!(
            "ping_frequency, update_frequency = 0.05, 0.05\n\
             probes = {{ probe.new('192.168.0.1') }}\n\
             function on_recv() print('on_recv') end\n\
             function on_update() print('on_update') end\n\
             function on_quit() print('on_quit') end\n\
             {missing} = nil"
        ));
        for function in ["on_recv", "on_update"] {
            if function != missing {
                script.wait_for_lines(function, 2);
            }
        }
        assert_eq!(script.stop(libc::SIGINT).code(), Some(0));
        assert!(!script.output().contains(missing), "{}", script.output());
        assert_eq!(script.output().contains("on_quit"), missing != "on_quit");
    }
}

#[test]
fn a_function_may_be_replaced_or_removed_at_run_time() {
    let _turn = turn::shared();
    let wire = Wire::new();
    let mut script = wire.start(
        "update_frequency = 0.05\n\
         local function second() print('second') on_update = nil on_quit = function() print('end') end end\n\
         function on_update() print('first') on_update = second end",
    );
    script.wait_for_output("second\n");
    assert_eq!(script.stop(libc::SIGINT).code(), Some(0));
    assert_eq!(script.output(), "first\nsecond\nend\n");
}

#[test]
fn an_error_in_a_function_is_told_with_its_line_and_the_next_call_comes() {
    let _turn = turn::shared();
    let wire = Wire::new();
    let mut script = wire.start(
        "update_frequency = 0.05\n\
         calls = 0\n\
         function on_update()\n\
           calls = calls + 1\n\
           if calls == 2 then error('no way out') end\n\
           print('call', calls)\n\
         end",
    );
    script.wait_for_output("call\t4\n");
    let complaints = script.complaints();
    assert!(
        complaints.contains("config.lua:5: no way out") && complaints.contains("traceback"),
        "{complaints}"
    );
}
