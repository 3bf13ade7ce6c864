//! Scripts that cannot be run: what is said, and the exit status.

use pingu_tests::lab::{namespace::Namespace, script::Setting, turn};

/// Runs a script that cannot start; it ends with status 1 and complains in these words.
#[track_caller]
fn refused(namespace: &Namespace, script: &str, words: &[&str]) {
    let finished = Setting::new(script).run_to_end(namespace);
    assert_eq!(
        finished.status.code(),
        Some(1),
        "{script}: {}",
        finished.stderr
    );
    for word in words {
        assert!(
            finished.stderr.contains(word),
            "{script}: no {word:?} in:\n{}",
            finished.stderr
        );
    }
    assert!(!finished.stderr.contains("panicked"), "{}", finished.stderr);
}

#[test]
fn a_variable_of_the_wrong_type_is_named_with_both_types() {
    let _turn = turn::shared();
    let namespace = Namespace::new("types");
    for (script, message) in [
        (
            "ping_frequency = 'often'",
            "`ping_frequency` must be a number, not a string",
        ),
        (
            "ping_frequency = '1'",
            "`ping_frequency` must be a number, not a string",
        ),
        (
            "update_frequency = {}",
            "`update_frequency` must be a number, not a table",
        ),
        (
            "num_seconds = true",
            "`num_seconds` must be a number, not a boolean",
        ),
        (
            "privileged = 1",
            "`privileged` must be a boolean, not a number",
        ),
        (
            "privileged = 'true'",
            "`privileged` must be a boolean, not a string",
        ),
        (
            "probes = '192.168.0.1'",
            "`probes` must be an array of probes, not a string",
        ),
        (
            "probes = { '192.168.0.1' }",
            "`probes[1]` must be a probe, not a string",
        ),
        (
            "probes = { probe.new('192.168.0.1'), 5 }",
            "`probes[2]` must be a probe, not a number",
        ),
        (
            "function on_quit() end on_recv = 'print'",
            "`on_recv` must be a function, not a string",
        ),
        (
            "on_update = 5",
            "`on_update` must be a function, not a number",
        ),
        ("on_quit = {}", "`on_quit` must be a function, not a table"),
    ] {
        refused(&namespace, script, &[message]);
    }
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    let _turn = turn::shared();
    let namespace = Namespace::new("problems");
    let script = "ping_frequency, num_seconds, privileged, on_quit = 'a', {}, 'b', 4";
    let names = [
        "`ping_frequency`",
        "`num_seconds`",
        "`privileged`",
        "`on_quit`",
    ];
    refused(&namespace, script, &names);
}

#[test]
fn a_number_that_is_no_time_is_refused() {
    let _turn = turn::shared();
    let namespace = Namespace::new("numbers");
    for name in ["ping_frequency", "update_frequency", "num_seconds"] {
        for value in ["0", "-1", "0/0", "1/0"] {
            refused(&namespace, &format!("{name} = {value}"), &[name]);
        }
    }
}

#[test]
fn a_script_with_a_mistake_is_named_with_file_and_line() {
    let _turn = turn::shared();
    let namespace = Namespace::new("mistakes");
    for (script, words) in [
        (
            "probes = {\n\nprobe.new(}",
            ["config.lua:3", "unexpected symbol"],
        ),
        (
            "probes = {}\nerror('not today')",
            ["config.lua:2", "not today"],
        ),
        (
            "probes = {}\nundefined.field = 1",
            ["config.lua:2", "undefined"],
        ),
        (
            "local x = require('no_such_module')",
            ["config.lua:1", "no_such_module"],
        ),
        (
            "probes = { probe.new('not an address') }",
            ["config.lua:1", "not an address"],
        ),
        ("probes = { probe.new() }", ["config.lua:1", "string"]),
        (
            "\nprobes = { probe.new('192.168.0.1', {}) }",
            ["config.lua:2", "string"],
        ),
    ] {
        refused(&namespace, script, &words);
    }
}

#[test]
fn an_error_that_a_script_catches_is_a_text_that_names_the_place() {
    let _turn = turn::shared();
    let namespace = Namespace::new("caught");
    let finished = Setting::new(
        "local dns = require('dns')\n\
         for _, call in ipairs({\n\
           function() probe.new('nobody') end, function() probe.start('eth0') end,\n\
           function() dns.lookup('no such name') end, function() dns.set_timeout('soon') end,\n\
         }) do\n\
           local _, what = pcall(call)\n\
           print(type(what), 'caught: ' .. what)\n\
         end\n\
         print(select(2, coroutine.resume(coroutine.create(probe.new))))\n\
         os.exit(0)",
    )
    .run_to_end(&namespace);
    assert_eq!(finished.status.code(), Some(0), "{}", finished.stderr);
    let lines: Vec<&str> = finished.stdout.lines().collect();
    assert_eq!(lines.len(), 5, "{lines:#?}");
    for (line, place) in lines.iter().zip(["3", "3", "4", "4"]) {
        let begin = format!("string\tcaught: config.lua:{place}: ");
        assert!(line.starts_with(&begin), "{lines:#?}");
    }
}

#[test]
fn a_script_that_is_not_there_is_named() {
    let _turn = turn::shared();
    let namespace = Namespace::new("absent");
    let finished = pingu_tests::lab::daemon::run_to_end(&namespace, &["--config", "absent.lua"]);
    assert_eq!(finished.status.code(), Some(1), "{}", finished.stderr);
    assert!(
        finished.stderr.contains("absent.lua"),
        "{}",
        finished.stderr
    );
}

#[test]
fn os_exit_ends_pingu_with_its_status() {
    let _turn = turn::shared();
    let namespace = Namespace::new("exit");
    let finished = Setting::new("io.write('leaving') os.exit(7)").run_to_end(&namespace);
    assert_eq!(finished.status.code(), Some(7), "{}", finished.stderr);
    assert_eq!(finished.stdout, "leaving");
}

#[test]
fn a_method_called_with_a_dot_is_told_how_it_is_called_and_where() {
    let _turn = turn::shared();
    let namespace = Namespace::new("dots");
    let finished = Setting::new(
        "print(pcall(function()\n probe:new('192.168.0.1') end))\n\
         print(pcall(function()\n print(probe.new('192.168.0.1').dst()) end))\n\
         os.exit(0)",
    )
    .run_to_end(&namespace);
    assert_eq!(finished.status.code(), Some(0), "{}", finished.stderr);
    assert_eq!(
        finished.stdout,
        "false\tconfig.lua:2: an address must be a string, not a table; functions of `probe` are called with a dot\n\
         false\tconfig.lua:4: methods are called with a colon: probe:dst()\n"
    );
}

#[test]
fn a_byte_order_mark_before_the_first_line_is_no_mistake() {
    let _turn = turn::shared();
    let namespace = Namespace::new("mark");
    for begin in ["\u{feff}", "\u{feff}#!/usr/bin/env failoverd"] {
        let script = format!("{begin}\r\ndofile('beside.lua')\r\nerror('third')\r\n");
        let finished = Setting::new(&script)
            .file("beside.lua", "\u{feff}print('beside')")
            .run_to_end(&namespace);
        assert_eq!(finished.stdout, "beside\n", "{}", finished.stderr);
        assert!(
            finished.stderr.contains("config.lua:3: third"),
            "{}",
            finished.stderr
        );
    }
}
