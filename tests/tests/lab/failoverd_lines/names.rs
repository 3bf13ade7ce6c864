//! The `dns` module: names of a real resolver, of the hosts file, and those that nobody knows.

use pingu_tests::lab::{
    script::{DEADLINE, Setting},
    server::NameServer,
    turn,
};

use super::Wire;

/// A resolver that knows some names, asked through `/etc/resolv.conf`.
fn name_server(wire: &Wire) -> NameServer {
    NameServer::start(
        &wire.there,
        std::net::Ipv4Addr::new(192, 168, 0, 2).into(),
        &[
            "--host-record=google.com,192.168.0.1",
            "--host-record=both.example,192.168.0.1,2001:db8::1",
            "--host-record=four.example,192.168.0.1",
            "--host-record=six.example,2001:db8::1",
            "--host-record=many.example,192.168.0.1",
            "--host-record=many.example,192.168.0.2",
            "--local=/example/",
            "--local=/com/",
        ],
    )
}

/// A script whose system asks that resolver.
fn asking(script: &str) -> Setting {
    Setting::new(script)
        .over(
            "/etc/resolv.conf",
            "nameserver 192.168.0.2\noptions timeout:1 attempts:1\n",
        )
        .over(
            "/etc/hosts",
            "127.0.0.1 localhost\n192.168.0.2 printer.example printer\n",
        )
}

/// Says what a lookup gives: its addresses in order, or its error.
const SAY: &str = "\
    local dns = require('dns')\n\
    function say(how, name)\n\
      local ok, found = pcall(dns[how], name)\n\
      if not ok then print(how, name, 'raised', tostring(found)) return end\n\
      table.sort(found)\n\
      print(how, name, #found, type(found[1]), table.concat(found, ' '))\n\
    end\n";

#[test]
fn the_example_of_the_dns_module_runs_as_it_stands() {
    let _turn = turn::shared();
    let wire = Wire::new();
    let _server = name_server(&wire);
    let example = "\
local dns = require(\"dns\")

addresses = dns.lookup_v4(\"google.com\")
for i,addr in ipairs(addresses) do
    table.insert(probes, probe.new(addr))
end
";
    let script = format!(
        "probes = {{}}\nping_frequency = 0.05\n{example}\n\
         function on_recv(gps, ps) print('recv', ps:dst(), ps:loss()) end"
    );
    let mut script = asking(&script).start(&wire.here);
    script.wait_for_output("recv\t192.168.0.1\t0\n");
}

#[test]
fn the_lookups_give_arrays_of_addresses_of_their_family() {
    let _turn = turn::shared();
    let wire = Wire::new();
    let _server = name_server(&wire);
    let script = format!(
        "{SAY}\
         say('lookup_v4', 'both.example') say('lookup_v6', 'both.example') say('lookup', 'both.example')\n\
         say('lookup_v4', 'many.example') say('lookup', 'four.example') say('lookup', 'six.example')\n\
         say('lookup_v4', 'printer') say('lookup_v4', '192.0.2.7') say('lookup_v6', '2001:db8::7')\n\
         probes = {{}} print('done')"
    );
    let mut script = asking(&script).start(&wire.here);
    script.wait_for_output("done\n");
    let output = script.output();
    for line in [
        "lookup_v4\tboth.example\t1\tstring\t192.168.0.1\n",
        "lookup_v6\tboth.example\t1\tstring\t2001:db8::1\n",
        "lookup\tboth.example\t2\tstring\t192.168.0.1 2001:db8::1\n",
        "lookup_v4\tmany.example\t2\tstring\t192.168.0.1 192.168.0.2\n",
        "lookup\tfour.example\t1\tstring\t192.168.0.1\n",
        "lookup\tsix.example\t1\tstring\t2001:db8::1\n",
        "lookup_v4\tprinter\t1\tstring\t192.168.0.2\n",
        "lookup_v4\t192.0.2.7\t1\tstring\t192.0.2.7\n",
        "lookup_v6\t2001:db8::7\t1\tstring\t2001:db8::7\n",
    ] {
        assert!(output.contains(line), "no {line:?} in:\n{output}");
    }
}

#[test]
fn a_lookup_that_fails_raises_and_names_what_it_looked_for() {
    let _turn = turn::shared();
    let wire = Wire::new();
    let _server = name_server(&wire);
    let script = format!(
        "{SAY}\
         say('lookup_v4', 'none.example') say('lookup_v6', 'four.example') say('lookup', 'none.example')\n\
         probes = {{}} print('done')"
    );
    let mut script = asking(&script).start(&wire.here);
    script.wait_for_output("done\n");
    let output = script.output();
    for (how, name) in [
        ("lookup_v4", "none.example"),
        ("lookup_v6", "four.example"),
        ("lookup", "none.example"),
    ] {
        let line = output
            .lines()
            .find(|line| line.starts_with(&format!("{how}\t{name}\traised")));
        let told = line.is_some_and(|line| line.matches(name).count() == 2);
        assert!(told, "{how} {name}:\n{output}");
    }
}

#[test]
fn a_lookup_that_fails_at_the_start_ends_pingu_with_status_1() {
    let _turn = turn::shared();
    let wire = Wire::new();
    let _server = name_server(&wire);
    let finished = asking("local dns = require('dns')\naddresses = dns.lookup('none.example')")
        .run_to_end(&wire.here);
    assert_eq!(finished.status.code(), Some(1), "{}", finished.stderr);
    assert!(
        finished.stderr.contains("none.example") && finished.stderr.contains("config.lua:2"),
        "{}",
        finished.stderr
    );
}

#[test]
fn set_timeout_bounds_a_lookup_in_milliseconds() {
    let _turn = turn::shared();
    let wire = Wire::new();
    wire.silence("192.168.0.2");
    let script = "\
        local dns = require('dns')\n\
        dns.set_timeout(200)\n\
        print('begin')\n\
        print('end', pcall(dns.lookup_v4, 'slow.example'))\n\
        probes = {}";
    // Ten times ten seconds: as the system is set up here, the resolver alone would not give up in time.
    let setting = Setting::new(script).over(
        "/etc/resolv.conf",
        "nameserver 192.168.0.2\noptions timeout:10 attempts:10\n",
    );
    let mut script = setting.start(&wire.here);
    let lines = script.wait_for_lines("end", 1);
    assert!(
        lines[0].starts_with("false\t") && lines[0].contains("slow.example"),
        "{lines:?} within {DEADLINE:?}"
    );
}

#[test]
fn a_timeout_of_zero_is_none_and_a_lookup_in_a_callback_does_not_stop_probing() {
    let _turn = turn::shared();
    let wire = Wire::new();
    wire.silence("192.168.0.2");
    let script = "\
        local dns = require('dns')\n\
        dns.set_timeout(0)\n\
        ping_frequency, update_frequency = 0.05, 0.05\n\
        probes = { probe.new('192.168.0.1') }\n\
        function on_update(gps)\n\
          on_update = nil\n\
          print('begin')\n\
          print('end', pcall(dns.lookup_v4, 'slow.example'))\n\
        end";
    let setting = Setting::new(script).over(
        "/etc/resolv.conf",
        "nameserver 192.168.0.2\noptions timeout:2 attempts:1\n",
    );
    let mut script = setting.start(&wire.here);
    script.wait_for_output("begin\n");
    let before = wire.requests("192.168.0.1");
    script.wait_for_lines("end", 1);
    let asked = wire.requests("192.168.0.1") - before;
    assert!(
        asked >= 25,
        "{asked} requests in the two seconds of the lookup"
    );
    assert!(script.lines("end")[0].starts_with("false\t"));
}

#[test]
fn names_are_read_again_at_each_lookup() {
    let _turn = turn::shared();
    let wire = Wire::new();
    let script = "\
        local dns = require('dns')\n\
        update_frequency = 0.05\n\
        probes = {}\n\
        function on_update() print('now', table.concat(dns.lookup_v4('moving.example'), ' ')) end";
    let script = Setting::new(script).over("/etc/hosts", "192.0.2.1 moving.example\n");
    let mut script = script.start(&wire.here);
    script.wait_for_output("now\t192.0.2.1\n");
    script.write("over0", "192.0.2.2 moving.example\n");
    script.wait_for_output("now\t192.0.2.2\n");
}
