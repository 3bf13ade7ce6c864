//! Groups, tables, rules, and what is advertised.

use pingu::{
    config::{AdvertiseKind, Failback, FirewallMark, Mode, RuleProtocol, WhenAllDown},
    units::{Metric, TableId},
};

use crate::{good, problems};

const PROBE: &str = "[probe]\ntargets = [\"192.0.2.1\"]\n";

/// Uplinks a, b, ... with these lines each.
fn uplinks(lines: &[&str]) -> String {
    let uplink = |(name, lines): (char, &&str)| {
        format!("[[uplink]]\nname = \"{name}\"\ninterface = \"wan-{name}\"\n{lines}\n")
    };
    ('a'..).zip(lines).map(uplink).collect()
}

#[test]
fn without_a_group_there_is_one_by_metrics_for_everything() {
    let config = good(&format!("{PROBE}{}", uplinks(&["", ""])));
    let [group] = &config.groups[..] else {
        panic!("one group")
    };
    assert_eq!((group.name.as_str(), group.mode), ("default", Mode::Metric));
    assert_eq!(group.when_all_down, WhenAllDown::Keep);
    assert_eq!(group.failback, Failback::Hard);
    let prefixes: Vec<String> = group.prefixes.iter().map(ToString::to_string).collect();
    assert_eq!(prefixes, ["0.0.0.0/0", "::/0"]);
    assert_eq!(good(&config.to_toml()), config);
}

#[test]
fn metrics_follow_from_the_mode_and_everything_reads_back() {
    let text = format!(
        "{PROBE}[rules]\nfrom_priority = 700\nmark_priority = 600\nprotocol = \"own\"\n\
         [[group]]\nname = \"hub\"\nmode = \"ordered\"\nstart_metric = 300\nwhen_all_down = \"unreachable\"\n\
         prefixes = [\"10.0.0.0/8\", \"default\"]\n\
         [[group]]\nname = \"pool\"\nmode = \"balance\"\nwhen_all_down = \"first\"\ndrain = \"10m\"\n\
         [[group]]\nname = \"rest\"\nprefixes = [\"2001:db8::/32\"]\n{}",
        uplinks(&[
            "group = \"hub\"",
            "group = \"pool\"\nweight = 3\ntable = 77\nfwmark = \"0x100/0xff00\"",
            "group = \"hub\"\nsource = [\"192.0.2.2\", \"2001:db8::2\"]",
            "group = \"pool\"\ntable = 78\ntable_name = \"two\"\nfwmark = \"512/65280\"",
            "group = \"rest\"\n[[uplink.advertise]]\nprefixes = [\"203.0.113.0/24\"]\n\
             [[uplink.advertise]]\nprefixes = [\"default\"]\ntable = 5\nmetric = 9\nkind = \"blackhole\"",
        ])
    );
    let config = good(&text);
    let metrics: Vec<u32> = config
        .uplinks
        .iter()
        .map(|uplink| uplink.metric.0)
        .collect();
    assert_eq!(metrics, [300, 100, 301, 100, 10]);
    assert_eq!(config.rules.protocol, RuleProtocol::Own);
    assert_eq!(
        config.groups[1].failback,
        Failback::Drain(std::time::Duration::from_secs(600))
    );
    let pool = &config.uplinks[1];
    let mark = FirewallMark {
        value: 0x100,
        mask: 0xff00,
    };
    assert_eq!((pool.weight, pool.fwmark), (3, Some(mark)));
    let table = pool.table.as_ref().expect("given");
    assert_eq!((table.id, table.name.as_str()), (TableId(77), "b"));
    let [own, far] = &config.uplinks[4].advertise[..] else {
        panic!("two")
    };
    assert_eq!(
        (own.table, own.metric, own.kind),
        (TableId::MAIN, Metric(10), AdvertiseKind::Unicast)
    );
    assert_eq!(
        (far.table, far.metric, far.kind),
        (TableId(5), Metric(9), AdvertiseKind::Blackhole)
    );
    assert_eq!(good(&config.to_toml()), config);
}

#[test]
fn each_rule_of_groups_has_its_message() {
    let wan = "[[group]]\nname = \"wan\"\n";
    for (text, message) in [
        (
            format!("{PROBE}{wan}mode = \"ordred\"\n{}", uplinks(&[""])),
            "f:5:8: error: `group[1].mode` must be one of \"metric\", \"ordered\", \"balance\", not \"ordred\"",
        ),
        (
            format!("{PROBE}{wan}start_metric = 5\n{}", uplinks(&[""])),
            "f:5:16: error: `start_metric` is for the modes \"ordered\" and \"balance\"; in mode \"metric\" each uplink has its own \
             `metric`",
        ),
        (
            format!(
                "{PROBE}{wan}mode = \"ordered\"\n{}",
                uplinks(&["metric = 4"])
            ),
            "f:9:10: error: `uplink[1].metric` is for mode \"metric\"; in its group the metrics follow `start_metric`",
        ),
        (
            format!(
                "{PROBE}{wan}prefixes = [\"10.0.0.1/8\"]\n{}",
                uplinks(&[""])
            ),
            "f:5:13: error: `group[1].prefixes` has 10.0.0.1/8, which has host bits; the network is 10.0.0.0/8",
        ),
        (
            format!(
                "{PROBE}{wan}prefixes = [\"10.0.0.0/8\", \"10.0.0.0/8\"]\n{}",
                uplinks(&[""])
            ),
            "f:5:27: error: `group[1].prefixes` has 10.0.0.0/8 twice",
        ),
        (
            format!(
                "{PROBE}{wan}[[group]]\nname = \"hub\"\n{}",
                uplinks(&["group = \"wan\""])
            ),
            "f:5:1: error: group \"hub\" has no uplink",
        ),
        (
            format!("{PROBE}{}", uplinks(&["group = \"wan\""])),
            "f:6:9: error: `uplink[1].group` must be the name of a [[group]], of which there is none, not \"wan\"",
        ),
        (
            format!(
                "{PROBE}{wan}failback = \"hard\"\ndrain = \"10m\"\n{}",
                uplinks(&[""])
            ),
            "f:6:9: error: `group[1].drain` lets connections stay for a while, and `failback = \"hard\"` does not",
        ),
        (
            format!("{PROBE}{wan}failback = \"soft\"\n{}", uplinks(&[""])),
            "f:3:1: error: group \"wan\" lets connections stay on an uplink that traffic has left, which needs `fwmark` (and \
             `table`) in every uplink of it: a has none",
        ),
        (
            format!("{PROBE}{}", uplinks(&["table = 254"])),
            "f:6:9: error: `uplink[1].table` must be a table of its own: 253 (default), 254 (main) and 255 (local) are \
             everybody's, not 254",
        ),
        (
            format!("{PROBE}{}", uplinks(&["table = 7", "table = 7"])),
            "f:10:9: error: `uplink[2].table` 7 is taken by uplink[1]; tables of uplinks must be unique",
        ),
        (
            format!("{PROBE}{}", uplinks(&["fwmark = 1"])),
            "f:6:10: error: `uplink[1].fwmark` needs `table` beside it: where marked packets are looked up",
        ),
        (
            format!(
                "{PROBE}{}",
                uplinks(&["table = 7\nfwmark = \"0x100/0xff\""])
            ),
            "f:7:10: error: `uplink[1].fwmark` must be a mark that is not 0, as a number or as \"VALUE/MASK\" with the value's bits \
             within the mask, not \"0x100/0xff\"",
        ),
        (
            format!("{PROBE}{}", uplinks(&["[[uplink.advertise]]\ntable = 7"])),
            "f:6:1: error: `uplink[1].advertise[1].prefixes` is needed: a list of networks",
        ),
        (
            format!("{PROBE}[rules]\nfrom_priority = 20000\n{}", uplinks(&[""])),
            "f:4:17: error: `rules.from_priority` and `rules.mark_priority` are both 20000: which rule comes first would be left \
             to chance",
        ),
    ] {
        assert_eq!(problems(&text), [message], "{text}");
    }
}
