//! OpenWrt's /etc/config/mwan3.

use pingu::{
    config::{LearnedRoutes, LossLimit, Mode, Quorum, Rule, WhenAllDown},
    import::{Imported, Kind, Original, Severity, import},
    units::TableId,
};

use crate::{burst, error_line, imported, ms, original, refused, says, uplink};

const PACKAGED: &str = include_str!("originals/mwan3");
const NETWORK: &str = include_str!("originals/network");

/// One interface, with these lines below it, in a policy that everything goes to.
fn one(lines: &str) -> String {
    format!(
        "config interface 'wan'\n\toption enabled '1'\n\tlist track_ip '192.0.2.1'\n{lines}\nconfig member 'm'\n\toption interface 'wan'\n\
         config policy 'p'\n\tlist use_member 'm'\nconfig rule 'r'\n\toption use_policy 'p'\n"
    )
}

fn with_network(text: &str, network: &str) -> Imported {
    let original = Original {
        network: Some(network),
        ..original(text)
    };
    import(original, Some(Kind::Mwan3)).unwrap_or_else(|refusal| panic!("{refusal}"))
}

#[test]
fn the_packaged_example_means_what_mwan3_does_with_it() {
    let imported = with_network(PACKAGED, NETWORK);
    let config = &imported.config;
    assert_eq!(config.learned_routes, LearnedRoutes::Adopt);
    assert!(config.flush_connections);
    assert_eq!(config.groups.len(), 1);
    let group = &config.groups[0];
    assert_eq!((&*group.name, group.mode), ("balanced", Mode::Balance));
    assert_eq!(group.when_all_down, WhenAllDown::Unreachable);
    assert_eq!(group.prefixes.len(), 2);
    let wan = uplink(config, "wan");
    assert_eq!((&*wan.interface, wan.weight), ("eth1", 3));
    assert_eq!(wan.probe.targets.len(), 4);
    assert_eq!(wan.health.quorum, Quorum::AtLeast(2));
    assert_eq!(
        (burst(wan).period, burst(wan).count, wan.probe.timeout),
        (ms(10_000), 1, ms(4000))
    );
    assert_eq!(wan.health.rule, Rule::InARow { fall: 5, rise: 5 });
    assert_eq!(wan.health.fail.loss, LossLimit::Probes(0));
    assert_eq!(wan.table.as_ref().unwrap().id, TableId(1));
    assert_eq!(wan.fwmark.unwrap().value, 0x100);
    let wanb = uplink(config, "wanb");
    assert_eq!((&*wanb.interface, wanb.weight), ("pppoe-wanb", 2));
    assert_eq!(
        wanb.table.as_ref().unwrap().id,
        TableId(3),
        "as mwan3 counts"
    );
    assert_eq!(
        wanb.health.fail.loss,
        LossLimit::Percent(19),
        "it fails at 20"
    );
    assert_eq!(wanb.health.recover.loss, LossLimit::Percent(5));
    assert_eq!(wanb.health.fail.max_delay, ms(400));
    assert_eq!(wanb.health.recover.max_delay, ms(301), "300 is good");
    let advertised = [wan, wanb].map(|uplink| {
        (
            uplink.advertise[0].metric.0,
            uplink.advertise[0].prefixes[0].to_string(),
        )
    });
    let office = "203.0.113.0/24".to_owned();
    assert_eq!(
        advertised,
        [(2, office.clone()), (1, office)],
        "wanb first, then wan"
    );
    for (line, words) in [
        (14, "\"wan6\""),
        (30, "failure_interval"),
        (39, "\"wanb6\""),
        (67, "wan6_m1_w3"),
        (80, "\"https\""),
    ] {
        assert!(
            says(&imported.notes, Severity::NotCarriedOver, line, words),
            "{line}"
        );
    }
    assert_eq!(imported.notes.len(), 5, "{:?}", imported.notes);
}

#[test]
fn the_device_is_told_by_the_network_configuration_or_has_to_be_put_in() {
    let text = one("");
    let alone = imported(&text);
    assert_eq!(alone.config.uplinks[0].interface, "wan");
    assert!(says(
        &alone.notes,
        Severity::Differs,
        1,
        "/etc/config/network"
    ));
    for (lines, device) in [
        ("option device 'eth1'", "eth1"),
        ("option ifname 'eth1.2 eth3'", "eth1.2"),
        ("option proto pppoe\noption device eth1", "pppoe-wan"),
        ("option proto 3g", "3g-wan"),
        ("option proto wireguard", "wan"),
        ("option type bridge\noption ifname eth1", "br-wan"),
        (
            "option device '@other'\nconfig interface other\noption device eth9",
            "eth9",
        ),
    ] {
        let network = format!("config interface 'wan'\n{lines}\n");
        let imported = with_network(&text, &network);
        assert_eq!(imported.config.uplinks[0].interface, device, "{lines}");
        assert!(imported.notes.is_empty(), "{:?}", imported.notes);
    }
    for lines in [
        "option device '@wan'",
        "option device '/dev/cdc-wdm0'",
        "option proto qmi",
    ] {
        let network = format!("config interface 'wan'\n{lines}\n");
        let imported = with_network(&text, &network);
        assert!(
            says(
                &imported.notes,
                Severity::Differs,
                1,
                "does not tell its device"
            ),
            "{lines}"
        );
    }
    let exported =
        format!("package network\nconfig interface wan\noption device eth5\npackage mwan3\n{text}");
    assert_eq!(imported(&exported).config.uplinks[0].interface, "eth5");
}

#[test]
fn each_option_of_an_interface_is_carried_over_or_listed() {
    let text = one(
        "\toption count '3'\n\toption timeout '2'\n\toption interval '5'\n\toption down '2'\n\toption up '4'\n\toption size '20'\n\
         \toption max_ttl '60'\n\toption recovery_interval '3'\n\toption initial_state 'online'\n\toption track_method 'httping'\n\
         \toption colour 'red'\n\tlist track_ip 'example.com'\n\tlist flush_conntrack 'ifup'",
    );
    let imported = imported(&text);
    let wan = &imported.config.uplinks[0];
    assert_eq!(
        (burst(wan).count, burst(wan).period, wan.probe.timeout),
        (3, ms(5000), ms(2000))
    );
    assert_eq!(wan.health.rule, Rule::InARow { fall: 2, rise: 4 });
    assert_eq!(
        wan.health.fail.loss,
        LossLimit::Probes(2),
        "one answer is enough"
    );
    assert_eq!(wan.probe.size_bytes, 24);
    assert!(!imported.config.flush_connections);
    assert!(says(&imported.notes, Severity::Differs, 9, "`size` 20"));
    for (line, words) in [
        (10, "max_ttl"),
        (11, "recovery_interval"),
        (12, "initial_state"),
        (13, "track_method"),
        (14, "colour"),
        (15, "example.com"),
        (16, "ifup"),
    ] {
        assert!(
            says(&imported.notes, Severity::NotCarriedOver, line, words),
            "{words}"
        );
    }
}

#[test]
fn both_families_on_one_device_are_one_uplink() {
    let text = one("").replace(
        "config member 'm'",
        "config interface 'wan6'\n\toption enabled '1'\n\toption family 'ipv6'\n\tlist track_ip '2001:db8::1'\n\
         config member 'm6'\n\toption interface 'wan6'\nconfig member 'm'",
    );
    let text = text.replace(
        "list use_member 'm'",
        "list use_member 'm'\n\tlist use_member 'm6'",
    );
    for network in [
        "",
        "config interface wan\noption device eth1\nconfig interface wan6\noption device @wan\n",
    ] {
        let imported = with_network(&text, network);
        assert_eq!(imported.config.uplinks.len(), 1);
        assert_eq!(imported.config.uplinks[0].probe.targets.len(), 2);
        assert!(says(&imported.notes, Severity::Differs, 5, "IPv6 part"));
    }
    let apart =
        "config interface wan\noption device eth1\nconfig interface wan6\noption device eth2\n";
    assert_eq!(with_network(&text, apart).config.uplinks.len(), 2);
}

#[test]
fn metrics_make_an_order_and_policies_groups() {
    let names = ["a", "b", "c"];
    let interfaces = names.map(|name| {
        format!("config interface {name}\n option enabled 1\n list track_ip 192.0.2.1\nconfig member m_{name}\n option interface {name}\n")
    });
    let text = format!(
        "{}config member first\n option interface b\n option metric 1\nconfig member second\n option interface a\n option metric 9\n\
         config policy fail\n list use_member 'second first'\n option last_resort default\n\
         config policy only_c\n list use_member m_c\n option last_resort blackhole\n\
         config rule net\n option dest_ip 198.51.100.7\n option use_policy only_c\n\
         config rule net2\n option dest_ip 203.0.113.9/24\n option use_policy only_c\n\
         config rule all\n option use_policy fail\n option proto all\n option family ipv4\n\
         config rule never\n option dest_ip 0.0.0.0/0\n option use_policy only_c\n",
        interfaces.concat()
    );
    let imported = imported(&text);
    let config = &imported.config;
    let groups: Vec<(&str, Mode, String)> = config
        .groups
        .iter()
        .map(|group| {
            let prefixes: Vec<String> = group.prefixes.iter().map(ToString::to_string).collect();
            (&*group.name, group.mode, prefixes.join(" "))
        })
        .collect();
    let expected = [
        ("fail", Mode::Ordered, "0.0.0.0/0".to_owned()),
        (
            "only_c",
            Mode::Ordered,
            "198.51.100.7/32 203.0.113.0/24".to_owned(),
        ),
    ];
    assert_eq!(groups, expected);
    let names: Vec<&str> = config.uplinks.iter().map(|uplink| &*uplink.name).collect();
    assert_eq!(names, ["b", "a", "c"]);
    assert_eq!(config.groups[0].when_all_down, WhenAllDown::Keep);
    assert!(
        imported
            .notes
            .iter()
            .any(|note| note.message.contains("blackhole"))
    );
    assert!(
        imported
            .notes
            .iter()
            .any(|note| note.message.contains("for the same packets"))
    );
}

#[test]
fn without_a_rule_for_everything_the_first_policy_is_it() {
    let text = one("").replace(
        "option use_policy 'p'",
        "option use_policy 'p'\n\toption src_ip '192.0.2.0/24'",
    );
    let imported = imported(&text);
    assert!(
        imported
            .notes
            .iter()
            .any(|note| note.message.contains("src_ip"))
    );
    assert!(
        imported
            .notes
            .iter()
            .any(|note| note.message.contains("is taken for it"))
    );
    assert_eq!(imported.config.groups[0].prefixes.len(), 2);
}

#[test]
fn what_is_wrong_is_said_with_its_line() {
    for (lines, line, words) in [
        (
            "\toption count 'many'",
            4,
            "`count` must be a whole number, not \"many\"",
        ),
        ("\toption interval '0'", 4, "`interval`: as pingu reads it"),
        (
            "\toption reliability '2'",
            4,
            "`reliability`: as pingu reads it",
        ),
        ("\toption timeout '90'", 4, "`timeout`: as pingu reads it"),
        ("\toption count '5", 4, "never closed"),
        ("\toption count", 4, "has no value"),
        ("hello", 4, "\"hello\" is expected to be"),
        (
            "config globals\n\toption mmx_mask 'x'",
            5,
            "`mmx_mask` must be a mask",
        ),
    ] {
        let refusal = refused(&one(lines), Kind::Mwan3);
        assert_eq!(error_line(&refusal, words), line, "{lines}");
    }
    let text = one("").replace(
        "option interface 'wan'",
        "option interface 'wan'\n\toption weight 'heavy'",
    );
    assert_eq!(
        error_line(&refused(&text, Kind::Mwan3), "`weight` must be"),
        7
    );
    let text = one("").replace("\tlist track_ip '192.0.2.1'\n", "");
    assert_eq!(
        error_line(&refused(&text, Kind::Mwan3), "needs a `track_ip`"),
        1
    );
    let text = one("").replace("option enabled '1'", "option enabled '0'");
    refused(&text, Kind::Mwan3);
}

#[test]
fn a_section_that_comes_again_goes_on() {
    let text =
        one("") + "config interface 'wan'\n\toption interval '7'\n\tlist track_ip '192.0.2.2'\n";
    let imported = imported(&text);
    let wan = uplink(&imported.config, "wan");
    assert_eq!(burst(wan).period, ms(7000));
    assert_eq!(wan.probe.targets.len(), 2);
    assert!(
        !imported
            .notes
            .iter()
            .any(|note| note.message.contains("not enabled"))
    );
}
