//! The variables and their mistakes.

use super::*;

#[test]
fn an_empty_script_has_the_documented_defaults() {
    let variables = Bench::new("").variables;
    assert_eq!(variables.ping_frequency, Duration::from_secs(1));
    assert_eq!(variables.update_frequency, Duration::from_secs(1));
    assert_eq!(variables.num_seconds, Duration::from_secs(10));
    assert!(!variables.privileged);
    assert_eq!(variables.probes, []);
}

#[test]
fn fractions_are_fractions() {
    let variables =
        Bench::new("ping_frequency, update_frequency, num_seconds = 0.25, 1/8, 2.5").variables;
    assert_eq!(variables.ping_frequency, Duration::from_millis(250));
    assert_eq!(variables.update_frequency, Duration::from_millis(125));
    assert_eq!(variables.num_seconds, Duration::from_millis(2500));
}

#[test]
fn all_wrong_types_are_told_at_once_with_both_types() {
    let wrong = problems(
        "ping_frequency = '1'; update_frequency = true; num_seconds = {}; privileged = 1
         probes = 'x'; on_recv = 5; on_update = 'f'; on_quit = {}",
    );
    assert_eq!(
        wrong,
        [
            "`ping_frequency` must be a number, not a string",
            "`update_frequency` must be a number, not a boolean",
            "`privileged` must be a boolean, not a number",
            "`num_seconds` must be a number, not a table",
            "`probes` must be an array of probes, not a string",
            "`on_recv` must be a function, not a number",
            "`on_update` must be a function, not a string",
            "`on_quit` must be a function, not a table",
        ]
    );
}

#[test]
fn a_period_is_finite_and_above_zero() {
    for value in ["0", "-1", "0/0", "1/0", "-1/0", "1e-9", "1e300"] {
        for name in ["ping_frequency", "update_frequency", "num_seconds"] {
            let wrong = problems(&format!("{name} = {value}"));
            assert_eq!(wrong.len(), 1, "{wrong:?}");
            let start = format!("`{name}` must be a number of seconds above 0");
            assert!(wrong[0].starts_with(&start), "{wrong:?}");
        }
    }
}

#[test]
fn what_is_no_probe_is_named_by_its_place() {
    let text = "probes = { probe.new('192.0.2.1'), '192.0.2.2', wan = 3, 7 }";
    assert_eq!(
        problems(text),
        [
            "`probes[2]` must be a probe, not a string",
            "`probes[3]` must be a probe, not a number",
            "`probes[\"wan\"]` must be a probe, not a number",
        ]
    );
}

#[test]
fn probes_come_in_order_named_ones_last() {
    let text = "probes = { b = probe.new('192.0.2.4'), a = probe.new('192.0.2.3'),
                           probe.new('192.0.2.1'), nil, probe.new('192.0.2.2') }";
    let probes = Bench::new(text).variables.probes;
    let expected = ["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"].map(path);
    assert_eq!(probes, expected);
}

#[test]
fn probes_may_be_added_to_the_table_that_is_there() {
    let probes = Bench::new("table.insert(probes, probe.new('2001:db8::1'))")
        .variables
        .probes;
    assert_eq!(probes, [path("2001:db8::1")]);
}

#[test]
fn a_script_that_forbids_undefined_globals_still_loads() {
    let text = "setmetatable(_G, { __index = function(_, name) error('undefined ' .. name) end })";
    assert_eq!(
        Bench::new(text).variables.ping_frequency,
        Duration::from_secs(1)
    );
}

#[test]
fn ten_thousand_probes_are_all_there() {
    let text = "for i = 0, 9999 do table.insert(probes, probe.new(('10.0.%d.%d'):format(i / 200, i % 200 + 1))) end";
    let bench = Bench::new(&format!(
        "{text} function on_update(gps) count = #gps .. ' ' .. #gps:all() end"
    ));
    assert_eq!(bench.variables.probes.len(), 10_000);
    bench.update().expect("no error");
    assert_eq!(bench.global("count"), "10000 10000");
}
