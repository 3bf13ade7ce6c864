//! The type `probe`, and probes that are started and stopped while the script runs.

use super::*;

fn keys(bench: &Bench) -> Vec<PathKey> {
    bench
        .shared
        .store(|store, _| store.keys().cloned().collect())
}

#[test]
fn a_probe_has_a_destination_and_perhaps_a_source() {
    let probes = Bench::new(
        "probes = { probe.new('192.0.2.1'), probe.new('192.0.2.1', 'eth0.100'),
                    probe.new('192.0.2.1', '192.0.2.9'), probe.new('2001:db8::1', '2001:db8::9'), probe.new('::1', '') }",
    )
    .variables
    .probes;
    let from = |source: &str| Origin::Source(source.parse().unwrap());
    let origins: Vec<Origin> = probes.iter().map(|key| key.origin.clone()).collect();
    let by = Origin::Interface("eth0.100".to_owned());
    assert_eq!(
        origins,
        [
            Origin::Any,
            by,
            from("192.0.2.9"),
            from("2001:db8::9"),
            Origin::Any
        ]
    );
}

#[test]
fn wrong_addresses_are_errors_that_name_them() {
    for (call, expected) in [
        (
            "probe.new('one.example')",
            "`one.example` is not an IP address; dns.lookup",
        ),
        (
            "probe.new('192.0.2.256')",
            "`192.0.2.256` is not an IP address",
        ),
        ("probe.new('')", "`` is not an IP address"),
        ("probe.new('0.0.0.0')", "`0.0.0.0` cannot be probed"),
        ("probe.new('224.0.0.1')", "`224.0.0.1` cannot be probed"),
        (
            "probe.new('255.255.255.255')",
            "`255.255.255.255` cannot be probed",
        ),
        (
            "probe.new('fe80::1%eth0')",
            "probe.new(\"fe80::1\", \"eth0\")",
        ),
        (
            "probe.new('192.0.2.1', 'a name that is long')",
            "`a name that is long` is neither",
        ),
        (
            "probe.new('192.0.2.1', '192.0.2.256')",
            "`192.0.2.256` is neither",
        ),
        (
            "probe.new('192.0.2.1', '2001:db8::1')",
            "one is IPv4, the other IPv6",
        ),
        ("probe.new(5)", "an address must be a string, not a number"),
        ("probe.new()", "an address must be a string, not nil"),
        (
            "probe.new('192.0.2.1', {})",
            "an address must be a string, not a table",
        ),
        (
            "probe.start('192.0.2.1')",
            "probe.new(..) is needed, not a string",
        ),
        ("probe.start()", "probe.new(..) is needed, not nil"),
        (
            "probe.stop('one.example')",
            "`one.example` is not an IP address",
        ),
    ] {
        let wrong = problems(&format!("\n\n{call}"));
        assert_eq!(wrong.len(), 1);
        assert!(wrong[0].contains(expected), "{call}: {wrong:?}");
        assert!(
            wrong[0].contains("config.lua:3:"),
            "{call} is told with its line: {wrong:?}"
        );
    }
}

#[test]
fn callbacks_start_and_stop_probes() {
    let bench = Bench::new(
        "probes = { probe.new('192.0.2.1'), probe.new('192.0.2.2') }
         function on_update(gps)
           started = probe.start(probe.new('192.0.2.3', 'eth1'))
           again = probe.start(probe.new('192.0.2.1'))
           stopped = probe.stop('192.0.2.2')
           nothing = probe.stop('192.0.2.9')
           count = #gps
         end",
    );
    bench.update().expect("no error");
    assert_eq!(
        keys(&bench),
        [path("192.0.2.1"), path_by("192.0.2.3", "eth1")]
    );
    let told = ["started", "again", "stopped", "nothing", "count"].map(|name| bench.global(name));
    assert_eq!(told, ["true", "false", "true", "false", "2"]);
}

#[test]
fn one_of_two_paths_to_a_destination_is_stopped_by_its_source() {
    let bench = Bench::new(
        "probes = { probe.new('192.0.2.1', 'eth0'), probe.new('192.0.2.1', 'eth1') }
         function on_update() probe.stop('192.0.2.1', 'eth0') end",
    );
    bench.update().expect("no error");
    assert_eq!(keys(&bench), [path_by("192.0.2.1", "eth1")]);
}

#[test]
fn probes_that_the_script_starts_while_it_is_loaded_run() {
    let bench = Bench::new("probe.start(probe.new('192.0.2.1'))");
    assert_eq!(keys(&bench), [path("192.0.2.1")]);
}

#[test]
fn too_many_probes_are_an_error_and_not_the_end() {
    let bench = Bench::new(
        "function on_update()
           for i = 0, 20000 do probe.start(probe.new(string.format('10.%d.%d.1', i / 256, i % 256))) end
         end",
    );
    let error = bench.update().expect_err("too many").to_string();
    assert!(error.contains("16384 probes are running"), "{error}");
}
