//! Loading and calling.

use super::*;

#[test]
fn old_lua_runs_as_it_did() {
    let bench = Bench::new(
        "#!/usr/bin/env failoverd
         told = table.concat({ unpack({ 'a', 'b' }) }) .. tostring(10 / 2) .. table.getn({ 1, 2 })
         setfenv(function() inner = 1 end, {})()
         told = told .. tostring(inner) .. loadstring('return 7')()",
    );
    assert_eq!(bench.global("told"), "ab52nil7");
}

#[test]
fn programs_and_files_are_at_hand_and_an_exit_status_is_what_execute_returns() {
    let bench = Bench::new(
        "told = os.execute('exit 0') .. ' ' .. os.execute('exit 3') .. ' ' .. os.execute('kill -9 $$')
         pipe = io.popen('echo hello') told = told .. ' ' .. pipe:read('*l') pipe:close()
         local file = io.open('/dev/null', 'w') file:write('x') file:close()
         told = told .. ' ' .. type(os.time()) .. type(os.getenv('PATH'))",
    );
    assert_eq!(bench.global("told"), "0 3 137 hello numberstring");
}

#[test]
fn a_script_that_is_no_lua_or_fails_is_told_with_its_line() {
    assert!(problems("x = = 1")[0].contains("config.lua:1:"));
    let wrong = problems("local function f()\n error('boom')\nend\nf()");
    assert!(wrong[0].contains("config.lua:2: boom"), "{wrong:?}");
    assert!(wrong[0].contains("stack traceback"), "{wrong:?}");
}

#[test]
fn byte_code_is_no_script() {
    assert_eq!(problems("\x1bLua and more").len(), 1);
}

#[test]
fn a_callback_that_fails_is_told_with_its_traceback_and_the_next_one_is_called() {
    let bench = Bench::new(
        "count = 0
         function on_update() count = count + 1 error('boom') end
         function on_quit() told = 'quit' end",
    );
    for _ in 0..2 {
        let error = bench.update().expect_err("it raises").to_string();
        assert!(error.contains("config.lua:2: boom"), "{error}");
        assert!(error.contains("in function 'on_update'"), "{error}");
    }
    bench.machine.call(&Call::Quit).expect("no error");
    assert_eq!([bench.global("count"), bench.global("told")], ["2", "quit"]);
}

#[test]
fn callbacks_may_be_missing_or_be_made_later() {
    let bench = Bench::new("function on_update() on_update = nil on_quit = 5 end");
    bench.update().expect("no error");
    bench.update().expect("there is none");
    let error = bench
        .machine
        .call(&Call::Quit)
        .expect_err("no function")
        .to_string();
    assert_eq!(error, "`on_quit` must be a function, not a number");
}

#[test]
fn on_recv_gets_both_statistics() {
    let bench = Bench::new(
        "probes = { probe.new('192.0.2.1') }
         function on_recv(gps, ps) told = gps:lowest_loss():dst() .. ' ' .. ps:dst() .. ' ' .. ps:loss() end",
    );
    bench.shared.begin(Duration::from_secs(3600));
    bench.outcome(&path("192.0.2.1"), Err(Loss::NoReply));
    let call = bench.shared.wait(None);
    assert!(matches!(call, Call::Receive(_)));
    bench.machine.call(&call).expect("no error");
    assert_eq!(bench.global("told"), "192.0.2.1 192.0.2.1 100");
}

#[test]
fn timers_run_and_uplinks_are_none() {
    let bench = Bench::new(
        "pingu.after(0, function() told = 'later ' .. #pingu.uplinks() end)
         function on_update() pingu.log('hello') pingu.pin('wan1') end",
    );
    bench.shared.begin(Duration::from_secs(3600));
    let call = bench.shared.wait(bench.machine.timer_at());
    assert!(matches!(call, Call::Timer));
    bench.machine.call(&call).expect("no error");
    assert_eq!(bench.global("told"), "later 0");
    let error = bench.update().expect_err("there are none").to_string();
    assert!(
        error.contains("a script that runs alone pins no uplink"),
        "{error}"
    );
}
