//! `[[uplink.check]]`: what each key means, and every message.

use std::{net::IpAddr, path::Path, time::Duration};

use pingu::{
    config::{CheckConfig, CheckKind, Config, RecordKind, WhenAllFail},
    units::{TableId, UplinkId},
};

use crate::{GOOD, good, problems};

fn with(lines: &str) -> String {
    format!("{GOOD}[[uplink.check]]\n{lines}\n")
}

fn only(lines: &str) -> CheckConfig {
    let config = good(&with(lines));
    assert_eq!(good(&config.to_toml()), config, "{}", config.to_toml());
    CheckConfig::clone(&config.uplinks[0].checks[0])
}

#[test]
fn the_example_that_is_shipped_is_right() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/checks.toml");
    let (config, warnings) = Config::load(&path).expect("the shipped file is right");
    assert_eq!(warnings, []);
    let counts: Vec<usize> = config.uplinks.iter().map(|u| u.checks.len()).collect();
    assert_eq!(counts, [2, 3]);
    assert_eq!(good(&config.to_toml()), config);
}

#[test]
fn what_is_absent_has_the_value_that_is_documented() {
    let check = only("kind = \"tcp\"\naddress = \"192.0.2.1:443\"");
    assert_eq!(check.name, "tcp");
    assert_eq!(check.every, Duration::from_secs(30));
    assert_eq!(check.timeout, Duration::from_secs(5));
    assert_eq!((check.fall, check.rise, check.required), (2, 1, true));
    assert_eq!(check.when_all_fail, WhenAllFail::Ignore);
    let program = only("kind = \"exec\"\ncommand = [\"/bin/true\"]");
    assert_eq!(program.when_all_fail, WhenAllFail::Fall);
    // A short period shortens the time limit with it.
    let check = only("kind = \"tcp\"\naddress = \"192.0.2.1:443\"\nevery = \"1s\"");
    assert_eq!(check.timeout, Duration::from_secs(1));
}

#[test]
fn each_kind_reads_back_as_it_is_written() {
    let CheckKind::Http(http) = only(
        "kind = \"https\"\nname = \"a \\\"b\\\"\"\nurl = \"https://[2001:db8::1]:8443/x?y=z\"\nstatus = [200, \"3xx\"]\n\
         body = \"it's \\\"fine\\\"\\n\"\nca_file = \"/etc/ca.pem\"\nevery = \"1m\"\ntimeout = \"9s\"\nfall = 4\nrise = 5\n\
         required = false",
    )
    .kind
    else {
        panic!("it is of kind https");
    };
    assert!(http.url.tls && http.verify);
    assert_eq!((http.url.port, http.url.path.as_str()), (8443, "/x?y=z"));
    let is_right = |status| http.status.iter().any(|range| range.has(status));
    assert!(is_right(200) && is_right(300) && is_right(399));
    assert!(!is_right(201) && !is_right(400));
    only(
        "kind = \"http\"\nurl = \"http://web.example\"\nresolver = [\"192.0.2.53\", \"2001:db8::53\"]\nstatus = \"2xx\"",
    );
    only(
        "kind = \"https\"\nurl = \"https://web.example/\"\naddress = \"192.0.2.1\"\nverify = false",
    );
    let CheckKind::Dns(dns) = only(
        "kind = \"dns\"\nresolver = \"192.0.2.53\"\nquery = \"web.example.\"\ntype = \"AAAA\"\nexpect = \"2001:db8::1\"",
    )
    .kind
    else {
        panic!("it is of kind dns");
    };
    assert_eq!(dns.record, RecordKind::Aaaa);
    assert_eq!(dns.expect, ["2001:db8::1".parse::<IpAddr>().unwrap()]);
    only("kind = \"dns\"\nresolver = \"192.0.2.53\"\nquery = \"_sip.example\"\ntype = \"TXT\"");
    only("kind = \"dns\"\nresolver = \"192.0.2.53\"\nquery = \".\"\ntype = \"NS\"");
    only("kind = \"exec\"\ncommand = [\"/bin/sh\", \"-c\", \"echo \\\"$PINGU_UPLINK\\\" 'x'\"]");
    only("kind = \"mtu\"\ntarget = \"192.0.2.1\"");
    let check = only("kind = \"mtu\"\ntarget = \"192.0.2.1\"\nwhen_all_fail = \"fall\"");
    assert_eq!(check.when_all_fail, WhenAllFail::Fall);
    only("kind = \"mtu\"\ntarget = \"2001:db8::1\"\nsize = 1280");
}

#[test]
fn only_uplinks_with_checks_have_a_table_for_them() {
    let text = format!(
        "{}[[uplink]]\nname = \"b\"\ninterface = \"wan1\"\ntable = 7\n[[uplink.check]]\nkind = \"mtu\"\ntarget = \"192.0.2.1\"\n\
         [[uplink]]\nname = \"c\"\ninterface = \"wan2\"\n[rules]\ncheck_table = 500\ncheck_priority = 77\n",
        with("kind = \"tcp\"\naddress = \"192.0.2.1:443\"")
    );
    let config = good(&text);
    let tables = [0, 1, 2].map(|index| config.table_of(UplinkId(index)));
    assert_eq!(tables, [Some(TableId(500)), Some(TableId(7)), None]);
    assert_eq!(config.rules.check_priority, 77);
    assert_eq!(good(&config.to_toml()), config);
}

#[test]
fn every_problem_of_a_check_is_said() {
    let kinds = "\"tcp\", \"http\", \"https\", \"dns\", \"exec\", \"mtu\"";
    let tcp = "kind = \"tcp\"\naddress = \"192.0.2.1:443\"";
    let single = "an address of a single host and a port, such as \"192.0.2.1:443\" or \"[2001:db8::1]:443\"";
    for (lines, messages) in [
        ("", vec![format!("f:6:1: error: `uplink[1].check[1].kind` is needed: one of {kinds}")]),
        (
            "kind = \"icmp\"\ntarget = 1\ntimeotu = \"1s\"",
            vec![
                format!("f:7:8: error: `uplink[1].check[1].kind` must be one of {kinds}, not \"icmp\""),
                "f:9:1: error: unknown key `uplink[1].check[1].timeotu`; did you mean `timeout`?".to_owned(),
            ],
        ),
        (
            "kind = \"tcp\"\naddress = \"192.0.2.1:443\"\nwhen_all_fail = \"keep\"",
            vec!["f:9:17: error: `uplink[1].check[1].when_all_fail` must be one of \"ignore\", \"fall\", not \"keep\"".to_owned()],
        ),
        (
            "kind = \"tcp\"",
            vec![format!("f:6:1: error: `uplink[1].check[1].address` is needed: {single}")],
        ),
        (
            "kind = \"tcp\"\naddress = \"192.0.2.1\"\nevery = \"1s\"\ntimeout = \"2s\"\nfall = 0",
            vec![
                format!("f:8:11: error: `uplink[1].check[1].address` must be {single}, not \"192.0.2.1\""),
                "f:10:11: error: `uplink[1].check[1].timeout` 2s is longer than `every` 1s".to_owned(),
                "f:11:8: error: `uplink[1].check[1].fall` must be a whole number from 1 to 1000, not 0".to_owned(),
            ],
        ),
        (
            &format!("{tcp}\nurl = \"http://192.0.2.1/\""),
            vec![
                "f:9:1: error: unknown key `uplink[1].check[1].url`; allowed here: address, every, fall, kind, name, required, \
                 rise, timeout, when_all_fail"
                    .to_owned(),
            ],
        ),
        (
            &format!("{tcp}\n[[uplink.check]]\n{tcp}"),
            vec!["f:9:1: error: `uplink[1].check[2].name` \"tcp\" is taken by another check of this uplink".to_owned()],
        ),
        (
            "kind = \"http\"\nurl = \"https://192.0.2.1/\"\nstatus = 99",
            vec![
                "f:8:7: error: `uplink[1].check[1].url` \"https://192.0.2.1/\": of kind \"http\" it begins with http://".to_owned(),
                "f:9:10: error: `uplink[1].check[1].status` must be a status from 100 to 599, a class such as \"2xx\", or a list of \
                 1 to 16 of them, not 99"
                    .to_owned(),
            ],
        ),
        (
            "kind = \"http\"\nurl = \"http://web.example/\"",
            vec![
                "f:6:1: error: `uplink[1].check[1].url` has a name as its host, which is looked up over the uplink: `resolver` says \
                 where, or `address` what it is"
                    .to_owned(),
            ],
        ),
        (
            "kind = \"http\"\nurl = \"http://127.0.0.1/\"",
            vec!["f:8:7: error: `uplink[1].check[1].url` \"http://127.0.0.1/\": its host is a loopback address".to_owned()],
        ),
        (
            "kind = \"http\"\nurl = \"http://192.0.2.1/\"\nverify = false",
            vec![
                "f:9:1: error: unknown key `uplink[1].check[1].verify`; allowed here: address, body, every, fall, kind, name, \
                 required, resolver, rise, status, timeout, url, when_all_fail"
                    .to_owned(),
            ],
        ),
        (
            "kind = \"https\"\nurl = \"https://192.0.2.1/\"\nverify = false\nca_file = \"/ca.pem\"",
            vec!["f:10:11: error: `uplink[1].check[1].ca_file` means nothing with `verify = false`".to_owned()],
        ),
        (
            "kind = \"dns\"\nquery = \"a..b\"",
            vec![
                "f:6:1: error: `uplink[1].check[1].resolver` is needed: the address of the resolver that is asked".to_owned(),
                "f:8:9: error: `uplink[1].check[1].query` must be the name that is asked for, such as \"example.com\", or \".\" for \
                 the root, not \"a..b\""
                    .to_owned(),
            ],
        ),
        (
            "kind = \"dns\"\nresolver = \"192.0.2.53\"\nquery = \"a.b\"\nexpect = [\"192.0.2.1\", \"2001:db8::1\"]",
            vec![
                "f:10:24: error: `uplink[1].check[1].expect` is no address that a record of type \"A\" holds".to_owned(),
            ],
        ),
        (
            "kind = \"dns\"\nresolver = \"192.0.2.53\"\nquery = \"a.b\"\ntype = \"MX\"\nexpect = \"192.0.2.1\"",
            vec!["f:11:10: error: `uplink[1].check[1].expect` is for records of type \"A\" and \"AAAA\"".to_owned()],
        ),
        (
            "kind = \"exec\"\ncommand = \"/bin/true\"",
            vec![
                "f:8:11: error: `uplink[1].check[1].command` must be a list of 1 to 64 texts: the program by its absolute path, and \
                 its arguments, not \"/bin/true\""
                    .to_owned(),
            ],
        ),
        (
            "kind = \"exec\"\ncommand = [\"true\"]",
            vec![
                "f:8:11: error: `uplink[1].check[1].command` must be a list of 1 to 64 texts: the program by its absolute path, and \
                 its arguments, not [\"true\"]"
                    .to_owned(),
            ],
        ),
        (
            "kind = \"mtu\"\ntarget = \"2001:db8::1\"\nsize = 1279",
            vec!["f:9:8: error: `uplink[1].check[1].size` must be at least 1280 for IPv6, not 1279".to_owned()],
        ),
    ] {
        assert_eq!(problems(&with(lines)), messages, "{lines}");
    }
    let static_gateway = GOOD.replace("[[uplink]]", "[[uplink]]\ngateway = \"192.0.2.9\"");
    assert_eq!(
        problems(&format!(
            "{static_gateway}[[uplink.check]]\nkind = \"mtu\"\ntarget = \"2001:db8::1\"\n"
        )),
        [
            "f:7:1: error: `uplink[1].gateway` has no IPv6 address: check \"mtu\" cannot be run over it"
        ]
    );
}

#[test]
fn tables_and_priorities_of_checks_are_nobody_else_s() {
    let checked = with("kind = \"tcp\"\naddress = \"192.0.2.1:443\"");
    assert_eq!(
        problems(&format!(
            "{checked}[[uplink]]\nname = \"b\"\ninterface = \"wan1\"\ntable = 136000\n"
        )),
        [
            "f:12:9: error: table 136000 is that of the checks of uplink[1], counted from `rules.check_table` 136000"
        ]
    );
    // Without checks nobody has it.
    good(&format!(
        "{GOOD}[[uplink]]\nname = \"b\"\ninterface = \"wan1\"\ntable = 136000\n"
    ));
    assert_eq!(
        problems(&format!("{GOOD}[rules]\ncheck_priority = 21000\n")),
        [
            "f:7:18: error: `rules.from_priority` and `rules.check_priority` are both 21000: which rule comes first would be left \
             to chance"
        ]
    );
    assert_eq!(
        problems(&format!("{GOOD}[rules]\ncheck_table = 255\n")),
        [
            "f:7:15: error: `rules.check_table` must be a whole number from 256 to 4294966271, not 255"
        ]
    );
}
