//! The configuration as its users meet it: every message word for word, and what is printed reads back.

use std::{net::IpAddr, path::Path, time::Duration};

use pingu::config::{Config, Gateway, LoadError, Quorum, Rule, Severity};
use proptest::prelude::*;

/// A file that is right, for tests that break one thing of it.
const GOOD: &str =
    "[probe]\ntargets = [\"192.0.2.1\"]\n[[uplink]]\nname = \"a\"\ninterface = \"wan0\"\n";

fn problems(text: &str) -> Vec<String> {
    match Config::parse(text, "f") {
        Ok((_, warnings)) => warnings.iter().map(ToString::to_string).collect(),
        Err(problems) => problems.list.iter().map(ToString::to_string).collect(),
    }
}

fn good(text: &str) -> Config {
    let (config, warnings) =
        Config::parse(text, "f").unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(warnings, [], "no warnings");
    config
}

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
    assert_eq!((given.fail.max_lost, given.recover.max_lost), (3, 0));
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
    assert_eq!((a.probe.count, b.probe.count), (10, 3));
    assert_eq!(b.probe.targets, ["2001:db8::1".parse::<IpAddr>().unwrap()]);
    assert_eq!(b.health.hold_down, Duration::from_secs(120));
    assert_eq!((a.metric.0, b.metric.0), (10, 11));
    assert_eq!(
        (a.health.fail.max_lost, b.health.fail.max_lost),
        (5, 1),
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
fn every_problem_is_said_at_once_with_its_place() {
    let text = r#"protokol = 136
receive_hook = "tc"
socket = "pingu.sock"
[probe]
targets = ["8.8.8.8", "dns.google", "224.0.0.1", "8.8.8.8"]
period = 5
count = 0
[health]
max_dealy = "1s"
[[uplink]]
name = "fibre"
interface = "a:very-long-interface"
metric = 88
[[uplink]]
name = "fibre"
interface = "wlo1"
gateway = "10.0.0.256"
metric = 88
spacing = "20"
probe = { period = "1s" }
[[uplink]]
interface = "ppp0"
"#;
    let allowed = "must be addresses of single hosts, in quotes (names are not resolved), not";
    assert_eq!(
        problems(text),
        [
            "f:1:1: error: unknown key `protokol`; did you mean `protocol`?".to_owned(),
            "f:2:16: error: `receive_hook` must be one of \"auto\", \"tcx\", \"clsact\", \"xdp\", not \"tc\"".to_owned(),
            "f:3:10: error: `socket` must be an absolute path of at most 107 bytes, not \"pingu.sock\"".to_owned(),
            format!("f:5:23: error: `probe.targets` {allowed} \"dns.google\""),
            "f:5:37: error: `probe.targets` must be addresses of single hosts, in quotes (names are not resolved); \
             224.0.0.1 is a multicast address".to_owned(),
            "f:6:10: error: `probe.period` must be a duration with its unit, such as \"20ms\" or \"5s\", from \
             1ms to 1h, not 5".to_owned(),
            "f:7:9: error: `probe.count` must be a whole number from 1 to 1000, not 0".to_owned(),
            "f:9:1: error: unknown key `health.max_dealy`; did you mean `max_delay`?".to_owned(),
            "f:12:13: error: `uplink[1].interface` must be an interface's name: 1 to 127 bytes without spaces, \
             `/` and `:`, not \"a:very-long-interface\"".to_owned(),
            "f:15:8: error: `uplink[2].name` \"fibre\" is taken by uplink[1]; names must be unique".to_owned(),
            "f:17:11: error: `uplink[2].gateway` must be \"auto\", \"none\", the next hop's address, or a \
             list of an IPv4 and an IPv6 address, not \"10.0.0.256\"".to_owned(),
            "f:18:10: error: `uplink[2].metric` 88 is taken by uplink[1]; metrics must be unique".to_owned(),
            "f:19:11: error: `uplink[2].spacing` must be a duration with its unit, such as \"20ms\" or \
             \"5s\", from 1ms to 10s, not \"20\"".to_owned(),
            "f:20:1: error: unknown key `uplink[2].probe`; write the keys of [probe] directly in [[uplink]]".to_owned(),
            "f:21:1: error: `uplink[3].name` is needed: 1 to 64 printable characters".to_owned(),
        ]
    );
}

#[test]
fn each_rule_has_its_message() {
    for (text, message) in [
        (
            String::new(),
            "f:1:1: error: at least one [[uplink]] is needed, and there is none",
        ),
        (
            GOOD.replace("[probe]\ntargets = [\"192.0.2.1\"]\n", ""),
            "f:1:1: error: `uplink[1].targets` is needed, here or in [probe]: a list of addresses that answer echo requests",
        ),
        (
            GOOD.replace("[\"192.0.2.1\"]", "[]"),
            "f:2:11: error: `probe.targets` must be a list of 1 to 64 IP addresses, not []",
        ),
        (
            GOOD.replace("[\"192.0.2.1\"]", "[\"192.0.2.1\", \"192.0.2.1\"]"),
            "f:2:25: error: `probe.targets` has 192.0.2.1 twice",
        ),
        (
            GOOD.replace("[[uplink]]", "count = 100\n[[uplink]]")
                .replace("count", "period = \"1s\"\ncount"),
            "f:3:10: error: `period` 1s is not longer than a burst: 100 requests, 20ms apart, take 1980ms",
        ),
        (
            format!("{GOOD}[[uplink]]\nname = \"b\"\ninterface = \"wan0\"\n"),
            "f:8:13: error: `uplink[2]` has interface and gateway of uplink[1]: both would be the same way out",
        ),
        (
            format!("{GOOD}gateway = \"fe80::1\"\n"),
            "f:6:11: error: `uplink[1].gateway` has no IPv4 address: 192.0.2.1 cannot be probed over it",
        ),
        (
            format!("{GOOD}max_lost = 10\n"),
            "f:6:12: warning: `max_lost` 10 is not below `count` 10: only a burst without any reply is bad by its losses",
        ),
        (
            format!("{GOOD}max_lost = 2\nrecover_lost = 3\n"),
            "f:7:16: error: `recover_lost` 3 is above `max_lost` 2: what comes up must be better than what stays up",
        ),
        (
            format!("{GOOD}recover_delay = \"101ms\"\n"),
            "f:6:17: error: `recover_delay` 101ms is above `max_delay` 100ms: what comes up must be better than what stays up",
        ),
        (
            format!("{GOOD}max_jitter = \"5ms\"\nrecover_jitter = \"6ms\"\n"),
            "f:7:18: error: `recover_jitter` 6ms is above `max_jitter` 5ms: what comes up must be better than what stays up",
        ),
        (
            format!("{GOOD}window = 5\nrise = 1\n"),
            "f:7:8: error: `rise` and `window` exclude each other: two rules for one state",
        ),
        (
            format!("{GOOD}max_failed = 5\n"),
            "f:6:14: error: `max_failed` means nothing without `window`",
        ),
        (
            format!("{GOOD}window = 2\nmin_consecutive = 2\n"),
            "f:7:19: error: `min_consecutive` 2 is not below `window` 2: the uplink would never be up",
        ),
        (
            format!("{GOOD}quorum = 2\n"),
            "f:6:10: error: `quorum` 2 is more than there are `targets`: 1",
        ),
        (
            format!("[damping]\nreuse = 2000\n{GOOD}"),
            "f:2:9: error: `damping.reuse` 2000 is not below `damping.suppress` 2000",
        ),
        (
            format!("[damping]\nmax_suppress = \"20m\"\n{GOOD}"),
            "f:2:16: error: `damping.max_suppress` 20m is too short for `damping.half_life` 15m: no penalty would ever \
             exceed `damping.suppress` 2000",
        ),
        (
            format!("prefer_better = {{ by_los = 5 }}\n{GOOD}"),
            "f:1:19: error: unknown key `prefer_better.by_los`; did you mean `by_loss`?",
        ),
        (
            format!("{GOOD}quorum = 0\n"),
            "f:6:10: error: `uplink[1].quorum` must be \"any\", \"all\" or how many targets must be up, from 1, not 0",
        ),
        (
            format!(
                "{GOOD}metric = 101\n[[uplink]]\nname = \"b\"\ninterface = \"wan1\"\nmetric = 99\n"
            ),
            "f:10:10: warning: uplink[2] has metric 99, lower than 101 of uplink[1] before it: the kernel \
             prefers the lower metric, \
             the order of the file says otherwise",
        ),
        (
            format!("protocol = 12\n{GOOD}"),
            "f:1:12: warning: `protocol` 12 belongs to bird: its default routes would be taken for pingu's own and removed",
        ),
        (
            format!("mark_connections = 1\n{GOOD}"),
            "f:1:20: error: `mark_connections` must be true or false, not 1",
        ),
        (
            format!("{GOOD}flush_connections = false\n"),
            "f:6:1: error: unknown key `uplink[1].flush_connections`; it belongs at the top, before the first table",
        ),
        (
            format!("mark_connections = true\n{GOOD}"),
            "f:1:20: error: `mark_connections` needs `fwmark` in at least one [[uplink]]",
        ),
        (
            format!(
                "mark_connections = true\nflush_connections = false\n{GOOD}table = 7\nfwmark = 1\n"
            ),
            "f:2:21: warning: with `mark_connections` and without `flush_connections`, the connections of an uplink that \
             dies stay on it",
        ),
        (
            format!(
                "mark_connections = true\n{GOOD}table = 7\nfwmark = 1\n[[uplink]]\nname = \"b\"\ninterface = \"wan0\"\n\
                 source = \"192.0.2.9\"\n"
            ),
            "f:11:13: error: `mark_connections` cannot tell uplink[2] from uplink[1]: both have interface \"wan0\"",
        ),
        (
            format!("mark_connections = true\n{GOOD}table = 7\nfwmark = 1\n")
                .replace("\"wan0\"", "\"wan*\""),
            "f:6:13: error: `mark_connections` cannot name the interface of uplink[1] in nftables: it has a quote, `*`, \
             `\\` or a control character",
        ),
        (
            format!("protocol = 4\n{GOOD}"),
            "f:1:12: error: `protocol` must be a whole number from 5 to 255, not 4",
        ),
        (
            format!("uplinks = 1\n{GOOD}"),
            "f:1:1: error: unknown key `uplinks`; did you mean `uplink`?",
        ),
        (
            GOOD.replace("[[uplink]]", "[uplink]"),
            "f:3:1: error: `uplink` must be written as [[uplink]], once for each, not [uplink]",
        ),
    ] {
        assert_eq!(problems(&text), [message], "{text}");
    }
}

#[test]
fn broken_syntax_hides_no_other_line_and_invents_nothing() {
    let found = problems("protocol = 1\n[[uplink]]\nname = \ninterface = \"wan0\"\ncuont = 3\n");
    assert_eq!(found.len(), 3, "{found:#?}");
    assert!(
        found[0].starts_with("f:1:12: error: `protocol` must be"),
        "{found:#?}"
    );
    assert!(found[1].starts_with("f:3:"), "{found:#?}");
    assert!(
        found[2].starts_with("f:5:1: error: unknown key `uplink[1].cuont`; did you mean `count`?"),
        "{found:#?}"
    );
}

#[test]
fn a_thousand_uplinks_are_read_and_one_more_than_1024_is_not() {
    let many = |count: u32| {
        let mut text = "[probe]\ntargets = [\"192.0.2.1\"]\n".to_owned();
        for n in 0..count {
            text += &format!(
                "[[uplink]]\nname = \"u{n}\"\ninterface = \"tun{n}\"\ngateway = \"none\"\n"
            );
        }
        text
    };
    assert_eq!(good(&many(1024)).uplinks.len(), 1024);
    assert_eq!(
        problems(&many(1025)),
        ["f:3:1: error: `uplink` must be given 1 to 1024 times, not 1025"]
    );
}

#[test]
fn more_probes_in_flight_than_there_can_be_slots_are_refused() {
    let mut text =
        "[probe]\ncount = 1\nperiod = \"1ms\"\ntimeout = \"60s\"\ntargets = [\"192.0.2.1\"]\n"
            .to_owned();
    for n in 0..20 {
        text +=
            &format!("[[uplink]]\nname = \"u{n}\"\ninterface = \"tun{n}\"\ngateway = \"none\"\n");
    }
    let found = problems(&text);
    assert_eq!(found.len(), 1);
    assert!(found[0].contains("1048576 is the most"), "{found:?}");
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("absent.toml");
    let error = Config::load(&path).unwrap_err();
    assert!(matches!(error, LoadError::Read { .. }));
    assert!(
        error.to_string().starts_with(&path.display().to_string()),
        "{error}"
    );
    std::fs::write(&path, b"protocol = 136\nsocket = \"\xff\"\n").unwrap();
    assert!(
        Config::load(&path)
            .unwrap_err()
            .to_string()
            .contains("line 2 is not UTF-8")
    );
    std::fs::write(&path, vec![b'#'; (4 << 20) + 1]).unwrap();
    assert!(matches!(
        Config::load(&path).unwrap_err(),
        LoadError::TooLarge { .. }
    ));
}

#[test]
fn people_at_a_terminal_see_the_line() {
    let problems = Config::parse("receive_hook = \"tc\"\n", "f").unwrap_err();
    let shown = problems.render();
    assert!(
        shown.contains("receive_hook = \"tc\"")
            && shown.contains("^^^^")
            && shown.contains("f:1:16"),
        "{shown}"
    );
}

/// Values of a key, right and wrong.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        "[0-9]{1,5}",
        "(true|false)",
        "\"[0-9]{1,4}(ms|s|m|h|us|x)\"",
        "\"(auto|none|tcx|adopt|any|all|10\\.0\\.0\\.1|fe80::1|wan0)\"",
        "\\[\"(10\\.0\\.0\\.2|2001:db8::1)\"\\]",
    ]
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "(\\PC|\n){0,200}") {
        let _ = Config::parse(&text, "f").map_err(|problems| problems.render());
    }

    #[test]
    fn no_keys_and_values_make_it_panic_and_what_is_accepted_reads_back(
        lines in prop::collection::vec((
            prop::sample::select(vec![
                "protocol", "receive_hook", "learned_routes", "mark_connections", "flush_connections", "fwmark", "table",
                "[damping]", "half_life", "suppress", "reuse", "max_suppress",
                "[prefer_better]", "by_delay", "by_loss", "for", "[probe]", "targets", "period", "count", "spacing", "timeout",
                "size", "[health]", "max_lost", "max_delay", "max_jitter", "recover_lost", "recover_delay", "recover_jitter", "fall",
                "rise", "window", "max_failed", "min_consecutive", "quorum", "hold_down", "[[uplink]]", "gateway", "metric",
            ]),
            value(),
        ), 0..12),
    ) {
        let mut text = String::new();
        for (key, value) in lines {
            if key.starts_with('[') { text += key } else { text += &format!("{key} = {value}") }
            text.push('\n');
        }
        text += "[[uplink]]\nname = \"last\"\ninterface = \"wan9\"\ntargets = [\"10.0.0.3\", \"2001:db8::3\"]\n";
        match Config::parse(&text, "f") {
            Ok((config, _)) => {
                let printed = config.to_toml();
                let (again, _) = Config::parse(&printed, "printed").expect("what is printed is right");
                prop_assert_eq!(again, config);
            }
            Err(problems) => {
                prop_assert!(problems.list.iter().any(|problem| problem.severity == Severity::Error));
                prop_assert!(problems.list.iter().all(|problem| problem.line >= 1 && problem.line <= text.lines().count() + 1));
            }
        }
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
