//! The keys of passive signs: what traffic changes about probing, and what probing may cost.

use std::time::Duration;

use pingu::config::{Budget, BudgetTime, Config, Handshakes, PassiveConfig, ProbeWhen};

use crate::{GOOD, good, problems};

fn passive(keys: &str) -> PassiveConfig {
    good(&format!("{GOOD}{keys}")).uplinks[0]
        .probe
        .passive
        .clone()
}

#[test]
fn without_keys_every_burst_is_sent_and_silence_is_looked_for() {
    let config = good(GOOD);
    let expected = PassiveConfig {
        when: ProbeWhen::Always,
        at_least: Duration::from_secs(300),
        silence: Some(Duration::from_secs(2)),
        budget: None,
    };
    assert_eq!(config.uplinks[0].probe.passive, expected);
    assert_eq!(config.uplinks[0].health.handshakes, Handshakes::Report);
}

#[test]
fn what_is_given_is_read_and_written() {
    let keys = "probe_when = \"idle\"\nprobe_at_least = \"1m\"\nsilence = \"500ms\"\nbudget = \"1.5GB/week\"\n\
                handshakes = \"judge\"\n";
    let config = good(&format!("{GOOD}{keys}"));
    let expected = PassiveConfig {
        when: ProbeWhen::Idle,
        at_least: Duration::from_secs(60),
        silence: Some(Duration::from_millis(500)),
        budget: Some(Budget {
            bytes: 1_500_000_000,
            per: BudgetTime::Week,
        }),
    };
    assert_eq!(config.uplinks[0].probe.passive, expected);
    assert_eq!(config.uplinks[0].health.handshakes, Handshakes::Judge);
    assert_eq!(good(&config.to_toml()), config);
    assert_eq!(passive("silence = \"0s\"\n").silence, None);
    let quiet = good(&format!(
        "{GOOD}silence = \"0s\"\nhandshakes = \"off\"\n[[uplink]]\nname = \"b\"\ninterface = \"wan1\"\n"
    ));
    assert_eq!(
        quiet.uplinks[1].probe.passive.silence,
        Some(Duration::from_secs(2))
    );
    assert_eq!(good(&quiet.to_toml()), quiet);
}

#[test]
fn an_uplink_s_own_keys_win_over_the_common_ones() {
    let text = GOOD.replace(
        "[probe]\n",
        "[probe]\nprobe_when = \"idle\"\nbudget = \"9GB/month\"\n",
    );
    let second = "[[uplink]]\nname = \"b\"\ninterface = \"wan1\"\nprobe_when = \"always\"\nbudget = \"8GB/month\"\n";
    let config = good(&format!("{text}{second}"));
    let of = |index: usize| {
        let passive = &config.uplinks[index].probe.passive;
        (passive.when, passive.budget.map(|budget| budget.bytes))
    };
    assert_eq!(of(0), (ProbeWhen::Idle, Some(9_000_000_000)));
    assert_eq!(of(1), (ProbeWhen::Always, Some(8_000_000_000)));
    assert_eq!(good(&config.to_toml()), config);
}

#[test]
fn a_period_above_the_least_frequent_probing_wins() {
    assert_eq!(
        passive("period = \"10m\"\n").at_least,
        Duration::from_secs(600)
    );
    let text = format!("{GOOD}period = \"10m\"\nprobe_at_least = \"2m\"\n");
    let (config, warnings) = Config::parse(&text, "f").expect("a warning only");
    assert_eq!(
        config.uplinks[0].probe.passive.at_least,
        Duration::from_secs(600)
    );
    let [warning] = &warnings[..] else {
        panic!("{warnings:?}")
    };
    assert!(warning.to_string().contains("`period` 10m"), "{warning}");
}

#[test]
fn a_budget_that_no_pace_keeps_is_warned_of() {
    let (_, warnings) =
        Config::parse(&format!("{GOOD}budget = \"1MB/month\"\n"), "f").expect("a warning only");
    let [warning] = &warnings[..] else {
        panic!("{warnings:?}")
    };
    assert!(
        warning.to_string().contains("will be exceeded"),
        "{warning}"
    );
    let (_, warnings) =
        Config::parse(&format!("{GOOD}budget = \"50MB/month\"\n"), "f").expect("right");
    assert_eq!(warnings, []);
}

#[test]
fn what_only_programs_see_is_warned_of_where_none_are_loaded() {
    let judge = format!("{GOOD}[health]\nhandshakes = \"judge\"\n");
    for (engine, warned) in [("socket", true), ("auto", false), ("ebpf", false)] {
        let text = format!("engine = \"{engine}\"\n{judge}");
        let (_, warnings) = Config::parse(&text, "f").expect("a warning only");
        let about: Vec<String> = warnings.iter().map(ToString::to_string).collect();
        let names_it = |text: &String| text.contains("handshakes") && text.starts_with("f:1:");
        assert_eq!(about.iter().any(names_it), warned, "{engine}: {about:?}");
        assert_eq!(about.is_empty(), !warned, "{engine}: {about:?}");
    }
    let (_, warnings) = Config::parse(&format!("engine = \"socket\"\n{GOOD}"), "f").expect("right");
    assert_eq!(warnings, []);
}

#[test]
fn every_wrong_value_is_told_at_once() {
    let text = format!(
        "{GOOD}probe_when = \"never\"\nprobe_at_least = \"1ms\"\nsilence = \"5ms\"\nbudget = \"50MB\"\nhandshakes = true\n"
    );
    let problems = problems(&text);
    assert_eq!(problems.len(), 5, "{problems:#?}");
    for (problem, part) in problems.iter().zip([
        "one of \"always\", \"idle\"",
        "from 1s to 24h",
        "at least 100ms, or \"0s\" for none",
        "such as \"50MB/month\"",
        "one of \"off\", \"report\", \"judge\"",
    ]) {
        assert!(problem.contains(part), "{problem}");
    }
}
