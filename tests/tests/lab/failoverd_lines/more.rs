//! What a script may rely on around its callbacks: output that is there at once, the shell, signals, and figures beyond loss.

use pingu_tests::lab::{script::Setting, turn};

use super::Wire;

#[test]
fn what_is_written_is_there_at_once_and_in_order() {
    let _turn = turn::shared();
    let wire = Wire::new();
    let mut script = wire.start(
        "io.write('one ') print('two') os.execute('echo three') io.stdout:write('four\\n')\n\
         io.stderr:write('five\\n') probes = {}",
    );
    // Nothing has filled a buffer, and the script runs on.
    script.wait_for_output("one two\nthree\nfour\n");
    script.wait_for("the error", |script| {
        script.complaints().contains("five\n").then_some(())
    });
}

#[test]
fn a_sigint_while_the_script_waits_for_a_command_is_not_lost() {
    let _turn = turn::shared();
    let wire = Wire::new();
    let mut script = wire.start(
        "update_frequency = 0.05 probes = {}\n\
         function on_update()\n\
           print('begin') os.execute('while [ ! -e go ]; do sleep 0.02; done') print('done')\n\
           on_update = nil\n\
         end\n\
         function on_quit() print('quit') end",
    );
    script.wait_for_output("begin\n");
    script.process().signal(libc::SIGINT);
    script.write("go", "");
    assert_eq!(
        script
            .process()
            .wait(pingu_tests::lab::script::DEADLINE)
            .code(),
        Some(0)
    );
    assert_eq!(script.output(), "begin\ndone\nquit\n");
}

#[test]
fn a_command_s_status_is_0_where_it_succeeds_and_not_0_where_it_fails() {
    let _turn = turn::shared();
    let wire = Wire::new();
    let mut script = wire.start(
        "print('true', os.execute('true') == 0)\n\
         print('false', os.execute('false') ~= 0, type(os.execute('exit 3')))\n\
         print('pipe', io.popen('echo out of a pipe'):read('*a'))\n\
         print('half', 10/2, 7/2, unpack({ 1, 2 }))\n\
         probes = {} print('end')",
    );
    script.wait_for_output("end\n");
    assert_eq!(
        script.output(),
        "true\ttrue\nfalse\ttrue\tnumber\npipe\tout of a pipe\n\nhalf\t5\t3.5\t1\t2\nend\n"
    );
}

#[test]
fn all_of_lua_5_1_s_libraries_are_there() {
    let _turn = turn::shared();
    let wire = Wire::new();
    let mut script = wire.start(
        "print(_VERSION, xpcall(function() error('deep') end, debug.traceback))\n\
         local co = coroutine.wrap(function(a) local b = coroutine.yield(a + 1) return b * 2 end)\n\
         print('co', co(1), co(5), math.mod(7, 4), table.getn({ 1, 2 }), ('x'):rep(3))\n\
         print('env', getfenv(1) == _G, loadstring('return 5')(), select('#', 1, nil), os.getenv('NO_COLOR'))\n\
         print('date', os.date('!%Y', 0), os.time({ year = 2001, month = 1, day = 1, hour = 12 }) > 9e8, os.clock() >= 0)\n\
         local here = debug.getinfo(1, 'Sl')\n\
         print('here', here.short_src, here.currentline)\n\
         probes = {} print('end')",
    );
    script.wait_for_output("end\n");
    let output = script.output();
    assert!(
        output.starts_with("Lua 5.1\tfalse\tconfig.lua:1: deep\nstack traceback:\n"),
        "{output}"
    );
    for line in [
        "co\t2\t10\t3\t2\txxx\n",
        "env\ttrue\t5\t2\t1\n",
        "date\t1970\ttrue\ttrue\n",
        "here\tconfig.lua\t6\n",
    ] {
        assert!(output.contains(line), "no {line:?} in:\n{output}");
    }
}

#[test]
fn string_format_writes_every_value_as_a_text() {
    let _turn = turn::shared();
    let wire = Wire::new();
    let mut script = wire.start(
        "print(string.format('%s|%5s|%-6s|%s%%|%d', nil, true, false, probe.new('192.168.0.1'), 3.7))\n\
         print(('%s'):format(setmetatable({}, { __tostring = function() return 'mine' end })))\n\
         print(pcall(function() local text = string.format('%d', 'x') return text end))\n\
         print(select(2, pcall(string.format, '%.1f', nil)))\n\
         probes = {} print('end')",
    );
    script.wait_for_output("end\n");
    assert_eq!(
        script.output(),
        "nil| true|false |192.168.0.1%|3\nmine\n\
         false\tconfig.lua:3: bad argument #2 to 'format' (number expected, got string)\n\
         bad argument #2 to 'format' (number expected, got nil)\nend\n"
    );
}

#[test]
fn a_script_by_a_path_finds_its_modules_where_it_was_started_and_beside_itself() {
    let _turn = turn::shared();
    let wire = Wire::new();
    let script = Setting::new(
        "require('near') print(require('deep.far').word, package.loaded.dns) probes = {}",
    )
    .file("near.lua", "print('near')")
    .file("deep/far.lua", "return { word = 'far' }");
    let mut script = script.start(&wire.here);
    script.wait_for_output("near\nfar\tnil\n");
}

#[test]
fn the_same_target_over_two_interfaces_is_two_probes_with_figures_of_their_own() {
    let _turn = turn::shared();
    let wire = Wire::new();
    wire.here.veth("eth1", &wire.there, "eth1");
    wire.here.ip("address add 192.168.1.10/24 dev eth1");
    wire.there.ip("address add 192.168.1.1/24 dev eth1");
    // By eth1 there is a way, and no answer.
    wire.here
        .ip("route add 192.168.0.1/32 via 192.168.1.1 dev eth1 metric 50");
    wire.there.nft(
        "table ip fault { chain input { type filter hook input priority 0; iifname eth1 icmp type echo-request drop; }\n}\n",
    );
    let mut script = wire.start(
        "privileged = true\n\
         ping_frequency, update_frequency, num_seconds = 0.05, 0.1, 2\n\
         probes = { probe.new('192.168.0.1', 'eth0'), probe.new('192.168.0.1', 'eth1') }\n\
         function on_update(gps)\n\
           local up, down = gps:get('192.168.0.1', 'eth0'), gps:get('192.168.0.1', 'eth1')\n\
           print('two', up:src(), up:loss(), down:src(), down:loss(), up:lost(), down:lost() > 0)\n\
           local rtt = up:rtt()\n\
           if rtt then print('rtt', rtt.mean > 0 and rtt.p50 <= rtt.p99 and rtt.jitter >= 0) end\n\
           print('cause', down:cause())\n\
           local seen = {}\n\
           for ps in gps do seen[#seen + 1] = ps:src() end\n\
           print('all', table.concat(seen, ' '))\n\
         end",
    );
    script.wait_for_output("two\t192.168.0.10\t0\t192.168.1.10\t100\t0\ttrue\n");
    script.wait_for_output("rtt\ttrue\n");
    script.wait_for("a cause", |script| {
        script
            .lines("cause")
            .last()
            .filter(|cause| !cause.is_empty() && *cause != "nil")
            .map(|_| ())
    });
    script.wait_for_output("all\t192.168.0.10 192.168.1.10\n");
}
