//! Every message, word for word.

use crate::{GOOD, problems};

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
            "f:2:11: error: `probe.targets` must be a list of 1 to 65536 IP addresses, not []",
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
