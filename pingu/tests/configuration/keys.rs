//! What each key means, and what its absence does.

use std::{net::IpAddr, path::Path, time::Duration};

use pingu::config::{
    Config, EngineChoice, Gateway, LossLimit, ProbeMode, Quorum, Rule, UplinkConfig,
};

use crate::{GOOD, good, problems};

#[test]
fn the_file_that_is_shipped_is_right_and_explains_every_key() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/pingu.toml");
    let (config, warnings) = Config::load(&path).expect("the shipped file is right");
    assert_eq!(warnings, []);
    let names: Vec<&str> = config
        .uplinks
        .iter()
        .map(|uplink| uplink.name.as_str())
        .collect();
    assert_eq!(names, ["fibre", "lte"]);
    let text = std::fs::read_to_string(&path).expect("it was just read");
    let mut keys = 0;
    for line in config.to_toml().lines().filter(|line| line.contains('=')) {
        let key = line.split(" =").next().expect("a line has a beginning");
        let written: Vec<usize> = text
            .lines()
            .enumerate()
            .filter(|(_, line)| line.starts_with(&format!("{key} =")))
            .map(|(n, _)| n)
            .collect();
        let first = *written
            .first()
            .unwrap_or_else(|| panic!("{key} is not in the shipped file"));
        assert!(
            text.lines()
                .nth(first - 1)
                .is_some_and(|above| above.starts_with('#')),
            "{key} is not explained"
        );
        keys += 1;
    }
    assert!(keys >= 20, "{keys}");
}

#[test]
fn what_the_shipped_file_shows_commented_out_is_known() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/pingu.toml");
    let text = std::fs::read_to_string(&path).expect("it is there");
    let is_key = |line: &str| {
        let key = line.split(" = ").next().unwrap_or_default();
        line.contains(" = ") && key.chars().all(|c| c.is_ascii_lowercase() || c == '_')
    };
    let mut shown = 0;
    let lines = text.lines().map(|line| match line.strip_prefix("# ") {
        Some(rest) if is_key(rest) || rest.starts_with('[') => {
            shown += 1;
            rest
        }
        _ => line,
    });
    let whole: Vec<&str> = lines.collect();
    let unknown: Vec<String> = problems(&whole.join("\n"))
        .into_iter()
        .filter(|problem| problem.contains("unknown key"))
        .collect();
    assert_eq!(unknown, [""; 0]);
    assert!(shown >= 7, "{shown}");
}

#[test]
fn limits_for_recovering_are_those_for_failing_unless_they_are_given() {
    let health = |keys: &str| good(&format!("{GOOD}{keys}")).uplinks[0].health;
    let plain = health("max_lost = 3\nmax_jitter = \"9ms\"\n");
    assert_eq!(plain.recover, plain.fail);
    let given = health(
        "max_lost = 3\nrecover_lost = 0\nrecover_delay = \"20ms\"\nrecover_jitter = \"5ms\"\n",
    );
    assert_eq!(
        (given.fail.loss, given.recover.loss),
        (LossLimit::Probes(3), LossLimit::Probes(0))
    );
    assert_eq!(given.recover.max_delay, Duration::from_millis(20));
    assert_eq!(given.fail.max_jitter, None);
    assert_eq!(given.recover.max_jitter, Some(Duration::from_millis(5)));
}

#[test]
fn an_uplink_s_own_rule_replaces_the_common_one() {
    let text = GOOD.replace(
        "[[uplink]]",
        "[health]\nwindow = 9\nmax_failed = 2\n[[uplink]]",
    );
    let second = "[[uplink]]\nname = \"b\"\ninterface = \"wan1\"\n";
    let config = good(&format!("{text}{second}fall = 3\n"));
    assert_eq!(
        config.uplinks[1].health.rule,
        Rule::InARow { fall: 3, rise: 1 }
    );
    assert_eq!(good(&config.to_toml()), config);
    let config = good(&format!("{text}{second}max_failed = 0\n"));
    let rule = |window, max_failed| Rule::Window {
        window,
        max_failed,
        min_consecutive: 1,
    };
    assert_eq!(config.uplinks[0].health.rule, rule(9, 2));
    assert_eq!(config.uplinks[1].health.rule, rule(9, 0));
    assert_eq!(good(&config.to_toml()), config);
}

#[test]
fn damping_and_comparing_are_off_unless_their_tables_are_there() {
    let config = good(GOOD);
    assert_eq!((config.damping, config.prefer_better), (None, None));
    let config = good(&format!("prefer_better = {{}}\n[damping]\n{GOOD}"));
    let damping = config.damping.expect("the table is there");
    assert_eq!(damping.half_life, Duration::from_secs(15 * 60));
    assert_eq!((damping.suppress, damping.reuse), (2000, 750));
    assert_eq!(damping.max_suppress, Duration::from_secs(60 * 60));
    let better = config.prefer_better.expect("the table is there");
    assert_eq!(better.by_delay, Duration::from_millis(50));
    assert_eq!(better.by_loss_percent, 5);
    assert_eq!(better.for_time, Duration::from_secs(60));
    assert_eq!(good(&config.to_toml()), config);
    let own = good(&format!(
        "prefer_better = {{ by_loss = 7, for = \"5m\" }}\n[damping]\nreuse = 9\nsuppress = 10\n{GOOD}"
    ));
    assert_eq!(own.damping.map(|damping| damping.reuse), Some(9));
    assert_eq!(
        own.prefer_better.map(|better| better.by_loss_percent),
        Some(7)
    );
    assert_eq!(good(&own.to_toml()), own);
}

#[test]
fn a_quorum_is_a_word_or_a_number() {
    for (text, quorum) in [
        ("\"any\"", Quorum::Any),
        ("\"all\"", Quorum::All),
        ("1", Quorum::AtLeast(1)),
    ] {
        let config = good(&format!("{GOOD}quorum = {text}\n"));
        assert_eq!(config.uplinks[0].health.quorum, quorum);
        assert!(config.to_toml().contains(&format!("quorum = {text}\n")));
    }
}

#[test]
fn what_is_absent_has_the_value_that_the_shipped_file_shows() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/pingu.toml");
    let (shipped, _) = Config::load(&path).expect("the shipped file is right");
    let short = good(
        "[probe]\ntargets = [\"8.8.8.8\"]\n[[uplink]]\nname = \"fibre\"\ninterface = \"eno2\"\nmetric = 88\n\
         [[uplink]]\nname = \"lte\"\ninterface = \"wlo1\"\nmetric = 89\n",
    );
    assert_eq!(short, shipped);
}

#[test]
fn an_uplink_s_own_keys_win() {
    let config = good(&format!(
        "{GOOD}[[uplink]]\nname = \"b\"\ninterface = \"wan1\"\ntargets = [\"2001:db8::1\"]\ncount = 3\nhold_down = \"2m\"\n"
    ));
    let [a, b] = &config.uplinks[..] else {
        panic!("two uplinks")
    };
    let count = |uplink: &UplinkConfig| match uplink.probe.mode {
        ProbeMode::Burst(burst) => burst.count,
        ProbeMode::Rolling(_) => 0,
    };
    assert_eq!((count(a), count(b)), (10, 3));
    assert_eq!(b.probe.targets, ["2001:db8::1".parse::<IpAddr>().unwrap()]);
    assert_eq!(b.health.hold_down, Duration::from_secs(120));
    assert_eq!((a.metric.0, b.metric.0), (10, 11));
    assert_eq!(
        (a.health.fail.loss, b.health.fail.loss),
        (LossLimit::Probes(5), LossLimit::Probes(1)),
        "half of a short burst"
    );
}

#[test]
fn gateways_are_learned_given_or_none() {
    for (text, gateway) in [
        ("\"auto\"", Gateway::Auto),
        ("\"none\"", Gateway::Device),
        (
            "\"192.0.2.9\"",
            Gateway::Static {
                v4: Some([192, 0, 2, 9].into()),
                v6: None,
            },
        ),
        (
            "[\"fe80::1\", \"192.0.2.9\"]",
            Gateway::Static {
                v4: Some([192, 0, 2, 9].into()),
                v6: Some("fe80::1".parse().unwrap()),
            },
        ),
    ] {
        assert_eq!(
            good(&format!("{GOOD}gateway = {text}\n")).uplinks[0].gateway,
            gateway,
            "{text}"
        );
    }
}

#[test]
fn a_sticky_file_is_an_absolute_path_or_none() {
    assert_eq!(good(GOOD).sticky_file, None);
    let text = format!("sticky_file = \"/etc/pingu/sticky\"\n{GOOD}");
    let config = good(&text);
    assert_eq!(
        config.sticky_file.as_deref(),
        Some(Path::new("/etc/pingu/sticky"))
    );
    assert_eq!(good(&config.to_toml()), config);
    assert_eq!(
        problems(&format!("sticky_file = \"sticky\"\n{GOOD}")),
        ["f:1:15: error: `sticky_file` must be an absolute path, not \"sticky\""]
    );
    assert_eq!(
        problems(&format!("{GOOD}sticky_file = \"/etc/sticky\"\n")),
        [
            "f:6:1: error: unknown key `uplink[1].sticky_file`; it belongs at the top, before the first table"
        ]
    );
}

#[test]
fn a_reflection_may_be_asked_for_everywhere_or_over_one_uplink() {
    let uplinks = |first: &str, own: &str| {
        let text = format!(
            "[probe]\ntargets = [\"192.0.2.1\"]\n{first}\n[[uplink]]\nname = \"a\"\ninterface = \"wan0\"\n{own}\n\
             [[uplink]]\nname = \"b\"\ninterface = \"wan1\"\n"
        );
        let config = good(&text);
        assert_eq!(good(&config.to_toml()), config);
        [0, 1].map(|index| config.uplinks[index].probe.reflect)
    };
    assert_eq!(uplinks("", ""), [false, false]);
    assert_eq!(uplinks("reflect = true", ""), [true, true]);
    assert_eq!(uplinks("reflect = true", "reflect = false"), [false, true]);
    assert_eq!(uplinks("size = 48", "reflect = true"), [true, false]);
    let small = "[probe]\nsize = 47\nreflect = true\ntargets = [\"192.0.2.1\"]\n[[uplink]]\nname = \"a\"\ninterface = \"wan0\"\n";
    assert_eq!(
        problems(small),
        [
            "f:2:8: error: `size` 47 is too small for `reflect`: a reflector writes up to byte 48 of the payload"
        ]
    );
}

#[test]
fn probes_need_no_programs_where_the_file_says_so() {
    for (line, expected) in [
        ("", EngineChoice::Auto),
        ("engine = \"auto\"", EngineChoice::Auto),
        ("engine = \"ebpf\"", EngineChoice::Ebpf),
        ("engine = \"socket\"", EngineChoice::Socket),
    ] {
        let config = good(&format!("{line}\n{GOOD}"));
        assert_eq!(config.engine, expected);
        assert_eq!(good(&config.to_toml()), config);
    }
    assert_eq!(
        problems(&format!("engine = \"xdp\"\n{GOOD}")),
        ["f:1:10: error: `engine` must be one of \"auto\", \"ebpf\", \"socket\", not \"xdp\""]
    );
}
