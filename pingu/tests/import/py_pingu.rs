//! py-pingu's JSON.

use pingu::{
    config::{Gateway, HookEvent, LearnedRoutes, LossLimit, Rule},
    import::{Kind, Severity},
    units::{Metric, Protocol},
};

use crate::{burst, error_line, imported, ms, refused, says, uplink};

const DOCUMENTED: &str = include_str!("originals/py-pingu.json");

#[test]
fn the_documented_example_means_what_its_documentation_says() {
    let imported = imported(DOCUMENTED);
    assert_eq!(imported.kind, Kind::PyPingu);
    assert!(imported.notes.is_empty(), "{:?}", imported.notes);
    let config = &imported.config;
    assert_eq!(config.protocol, Protocol(136));
    assert_eq!(config.learned_routes, LearnedRoutes::Adopt);
    let names: Vec<&str> = config.uplinks.iter().map(|u| &*u.name).collect();
    assert_eq!(names, ["wlo1", "eno2"], "the lower metric first");
    let eno2 = uplink(config, "eno2");
    assert_eq!(eno2.metric, Metric(88));
    assert_eq!(eno2.gateway, Gateway::Auto);
    assert_eq!(
        eno2.probe.targets,
        ["8.8.8.8".parse::<std::net::IpAddr>().unwrap()]
    );
    assert_eq!((burst(eno2).count, burst(eno2).period), (10, ms(5000)));
    assert_eq!(eno2.health.fail.loss, LossLimit::Probes(5));
    assert_eq!(eno2.health.fail.max_delay, ms(100));
    let wlo1 = uplink(config, "wlo1");
    assert_eq!(wlo1.metric, Metric(50));
    assert_eq!((burst(wlo1).count, burst(wlo1).period), (5, ms(5000)));
    assert_eq!(wlo1.health.fail.loss, LossLimit::Probes(2));
    assert_eq!(wlo1.health.fail.max_delay, ms(1000));
    assert_eq!(wlo1.health.rule, Rule::InARow { fall: 1, rise: 1 });
    assert_eq!(wlo1.probe.timeout, ms(1000));
}

#[test]
fn what_is_not_given_is_as_py_pingu_has_it() {
    let text = r#"{"host": "192.0.2.1", "interfaces": {"eth0": {"metric": 7}}}"#;
    let config = imported(text).config;
    assert_eq!(config.protocol, Protocol(89));
    assert_eq!(burst(&config.uplinks[0]).period, ms(5000));
}

#[test]
fn later_keys_are_carried_over() {
    let text = r#"
{
  "host": "192.0.2.1",
  "gateways_file": "/var/lib/gateways.json",
  "interfaces": {
    "eno2": {
      "metric": 100,
      "period": 10,
      "reset_script": "/usr/local/bin/reset \"it\"; rm -rf $HOME",
      "reset_script_grace_period ": 60, /* a blank that is in the documentation */
    },
    "wlo1": {"metric": 50, "period": 0.5, "reset_script": "/sbin/reset",},
    "wlo2": {"metric": 51, "reset_script": null, "reset_script_grace_period": 0},
  },
}"#;
    let imported = imported(text);
    let config = &imported.config;
    assert_eq!(burst(uplink(config, "eno2")).period, ms(10_000));
    assert_eq!(burst(uplink(config, "wlo1")).period, ms(500));
    assert!(says(
        &imported.notes,
        Severity::NotCarriedOver,
        4,
        "gateways_file"
    ));
    assert!(says(
        &imported.notes,
        Severity::Differs,
        10,
        "reset_script_grace_period"
    ));
    assert_eq!(config.hooks.len(), 2);
    let hook = config
        .hooks
        .iter()
        .find(|hook| hook.at_most_every == Some(ms(60_000)))
        .unwrap();
    assert_eq!(
        hook.command,
        ["/usr/local/bin/reset \"it\"; rm -rf $HOME"],
        "one word, whatever is in it"
    );
    assert!(hook.on.contains(&HookEvent::Bad));
    let id = config
        .uplinks
        .iter()
        .position(|uplink| uplink.name == "eno2")
        .unwrap();
    assert_eq!(hook.uplinks.as_ref().unwrap()[0].index(), id);
    let hook = config
        .hooks
        .iter()
        .find(|hook| hook.command == ["/sbin/reset"])
        .unwrap();
    assert_eq!(hook.at_most_every, Some(ms(600_000)));
}

#[test]
fn a_script_by_a_relative_path_is_left_as_a_comment() {
    let text = "{\"host\": \"192.0.2.1\", \"interfaces\": {\"eth0\": {\"metric\": 7,\n\"reset_script\": \"reset.sh\"}}}";
    let imported = imported(text);
    assert!(imported.config.hooks.is_empty());
    assert!(imported.toml.contains("# command = [\"reset.sh\"]"));
    assert!(says(
        &imported.notes,
        Severity::NotCarriedOver,
        2,
        "reset.sh"
    ));
}

#[test]
fn bursts_always_fit_into_their_period() {
    for (count, period) in [
        (1, "0.001"),
        (2, "0.01"),
        (10, "1"),
        (100, "5"),
        (1000, "3"),
        (5, "3600"),
    ] {
        let text = format!(
            r#"{{"host": "192.0.2.1", "period": {period}, "interfaces": {{"eth0": {{"metric": 7, "count": {count}}}}}}}"#
        );
        let config = imported(&text).config;
        let burst = burst(&config.uplinks[0]);
        assert!(
            burst.spacing * u32::from(burst.count - 1) < burst.period,
            "{burst:?}"
        );
    }
}

#[test]
fn a_burst_of_one_is_bad_when_that_is_lost() {
    let text = r#"{"host": "192.0.2.1", "interfaces": {"eth0": {"metric": 7, "count": 1}}}"#;
    let imported = imported(text);
    assert!(imported.notes.is_empty());
    assert_eq!(
        imported.config.uplinks[0].health.fail.loss,
        LossLimit::Probes(0)
    );
}

#[test]
fn everything_that_is_wrong_is_said_at_once_with_its_line() {
    let text = r#"{
  "host": "example.com",
  "proto": 3,
  "period": "5",
  "interfaces": {
    "eth0": {
      "metric": "low",
      "count": 2000,
      "max_lost": 1.5,
      "colour": "red"
    },
    "eth1": {"count": 5},
    "eth 2": {"metric": 9},
    "eth3": 7
  }
}"#;
    let refusal = refused(text, Kind::PyPingu);
    for (words, line) in [
        (
            "`host` must be the address of a host (names are not resolved), not \"example.com\"",
            2,
        ),
        ("`proto`: as pingu reads it, `protocol` must be", 3),
        ("`period` must be a number", 4),
        (
            "`interfaces.eth0.metric` must be a whole number, not \"low\"",
            7,
        ),
        ("`interfaces.eth0.count`: as pingu reads it", 8),
        (
            "`interfaces.eth0.max_lost` must be a whole number, not 1.5",
            9,
        ),
        ("`interfaces.eth1.metric` is needed", 12),
        (
            "`interfaces.eth 2`: as pingu reads it, `uplink[1].interface` must be",
            13,
        ),
        ("`interfaces.eth3` must be a map in braces, not 7", 14),
    ] {
        assert_eq!(error_line(&refusal, words), line, "{words}");
    }
    assert!(says(&refusal.list, Severity::NotCarriedOver, 10, "colour"));
}

#[test]
fn what_is_no_json_is_refused_by_its_line() {
    for (text, line, words) in [
        ("{\n\"host\": \"a", 2, "never closed"),
        ("{\n\"host\" 1}", 2, "`:` is expected"),
        ("{\n/* a\n", 2, "never closed"),
        ("{\"a\": [1,\n2", 2, "never closed"),
        ("{\"a\": tru}", 1, "a value is expected"),
        ("{\"a\": 1e999}", 1, "is no number"),
        ("{\"a\": \"\\ud800\"}", 1, "half of a pair"),
        ("{}\n{}", 2, "nothing may follow"),
        ("[1]", 1, "must be a map"),
        ("", 1, "a value is expected"),
    ] {
        let refusal = refused(text, Kind::PyPingu);
        assert_eq!(error_line(&refusal, words), line, "{text}");
    }
    let deep = format!("{{\"a\": {}", "[".repeat(100_000));
    assert_eq!(error_line(&refused(&deep, Kind::PyPingu), "deep"), 1);
}

#[test]
fn a_key_that_is_given_twice_counts_the_last_time() {
    let text = "{\"host\": \"192.0.2.1\",\n\"host\": \"192.0.2.2\",\n\"interfaces\": {\"e\": {\"metric\": 1},\n\"e\": {\"metric\": 2}}}";
    let imported = imported(text);
    assert_eq!(imported.config.uplinks.len(), 1);
    assert_eq!(imported.config.uplinks[0].metric, Metric(2));
    assert_eq!(
        imported.config.uplinks[0].probe.targets[0].to_string(),
        "192.0.2.2"
    );
    assert!(says(
        &imported.notes,
        Severity::Differs,
        1,
        "given again in line 2"
    ));
    assert!(says(
        &imported.notes,
        Severity::Differs,
        3,
        "given again in line 4"
    ));
}
