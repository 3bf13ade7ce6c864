//! The two-gateway failover's config.sh.

use pingu::{
    config::{Gateway, Mode, Rule},
    import::{Kind, Severity},
    units::{Metric, TableId},
};

use crate::{burst, error_line, imported, ms, refused, says, uplink};

const DOCUMENTED: &str = include_str!("originals/two-gateway.sh");

#[test]
fn the_original_file_means_what_its_documentation_says() {
    let imported = imported(DOCUMENTED);
    assert_eq!(imported.kind, Kind::TwoGateway);
    let config = &imported.config;
    let group = &config.groups[0];
    assert_eq!(
        (group.mode, group.start_metric),
        (Mode::Ordered, Metric(100))
    );
    let names: Vec<&str> = config.uplinks.iter().map(|uplink| &*uplink.name).collect();
    assert_eq!(names, ["primary", "backup"]);
    for (name, interface, own, table, table_name) in [
        ("primary", "eth0", "10.10.1.1", 1, "ISP1"),
        ("backup", "eth1", "10.10.1.2", 2, "ISP2"),
    ] {
        let uplink = uplink(config, name);
        assert_eq!(uplink.interface, interface);
        assert_eq!(uplink.source.v4, Some(own.parse().unwrap()));
        let v4 = Some("10.10.1.254".parse().unwrap());
        assert_eq!(
            uplink.gateway,
            Gateway::Static { v4, v6: None },
            "both have the same one"
        );
        let own_table = uplink.table.as_ref().unwrap();
        assert_eq!(
            (own_table.id, &*own_table.name),
            (TableId(table), table_name)
        );
        assert_eq!(uplink.probe.targets[0].to_string(), "1.1.1.1");
        assert_eq!((burst(uplink).period, burst(uplink).count), (ms(5000), 1));
        assert_eq!(uplink.health.rule, Rule::InARow { fall: 1, rise: 1 });
    }
    for (line, words) in [
        (17, "DELETE_DEFAULT_ROUTE"),
        (18, "ADD_"),
        (20, "ADD_"),
        (23, "a function"),
        (25, "a function"),
    ] {
        assert!(
            says(&imported.notes, Severity::NotCarriedOver, line, words),
            "{line}"
        );
    }
    assert_eq!(imported.notes.len(), 5, "{:?}", imported.notes);
}

/// A file that is good, in plain words.
fn plain() -> String {
    DOCUMENTED
        .lines()
        .take(15)
        .map(|line| format!("{line}\n"))
        .collect()
}

#[test]
fn quotes_comments_exports_and_variables_are_those_of_a_shell() {
    let text = plain()
        .replace(
            "CHECK_DELAY=\"5\"",
            "export CHECK_DELAY='0'.\"5\"  # half a second; CHECK_DELAY=7",
        )
        .replace("BACKUP_GW=\"10.10.1.254\"", "BACKUP_GW=$PRIMARY_GW")
        .replace("BACKUP_IF=\"eth1\"", "A=et; BACKUP_IF=${A}h\\1")
        .replace(
            "NETWORK=\"10.10.1.0/24\"",
            "NETWORK=${NETWORK:-10.10.1.0/24}",
        );
    let imported = imported(&text);
    assert_eq!(burst(&imported.config.uplinks[0]).period, ms(500));
    assert_eq!(imported.config.uplinks[1].interface, "eth1");
    assert!(matches!(
        imported.config.uplinks[1].gateway,
        Gateway::Static {
            v4: Some(_),
            v6: None
        }
    ));
}

#[test]
fn what_would_have_to_be_run_is_an_error_where_it_counts() {
    for (value, words) in [
        ("$(ip route | sed s/x/y/)", "$(...)"),
        ("`touch /tmp/run`", "`...`"),
        ("$HOME", "the variable `HOME`"),
        ("\"${X:?no}\"", "the variable `X:?no`"),
        ("$1", "`$1`"),
        ("(a b)", "an array"),
        ("$'a'", "escapes"),
    ] {
        let text = plain().replace("PRIMARY_GW=\"10.10.1.254\"", &format!("PRIMARY_GW={value}"));
        let refusal = refused(&text, Kind::TwoGateway);
        assert_eq!(error_line(&refusal, words), 9, "{value}");
        assert!(
            refusal
                .to_string()
                .contains("original:9: error: `PRIMARY_GW` must be a plain text")
        );
    }
    let text = plain() + "if true; then\n  PRIMARY_GW=192.0.2.1\nfi\n";
    assert_eq!(
        error_line(&refused(&text, Kind::TwoGateway), "inside a block"),
        17
    );
}

#[test]
fn what_is_missing_or_wrong_is_said_with_its_line() {
    let text = plain()
        .replace("CHECK_DELAY=\"5\"", "CHECK_DELAY=soon")
        .replace("CHECK_IP=\"1.1.1.1\"", "CHECK_IP=one")
        .replace("PRIMARY_GW=\"10.10.1.254\"", "PRIMARY_GW=gw")
        .replace("BACKUP_IF=\"eth1\"", "BACKUP_IF=a/b")
        .replace("BACKUP_IF_ADDR", "OTHER");
    let refusal = refused(&text, Kind::TwoGateway);
    for (words, line) in [
        ("`CHECK_DELAY` must be a number of seconds", 2),
        ("`CHECK_IP` must be the address", 3),
        ("`PRIMARY_GW`: as pingu reads it", 9),
        ("`BACKUP_IF`: as pingu reads it", 12),
        ("`BACKUP_IF_ADDR` is needed", 2),
    ] {
        assert_eq!(error_line(&refusal, words), line, "{words}");
    }
    for (text, line, words) in [
        ("A=1\nCHECK_IP=\"1", 2, "never closed"),
        ("A=1\nB='1\n", 2, "never closed"),
        ("A=$(ls\n", 1, "never closed"),
        ("A=`ls\n", 1, "never closed"),
    ] {
        assert_eq!(
            error_line(&refused(text, Kind::TwoGateway), words),
            line,
            "{text}"
        );
    }
}

#[test]
fn variables_that_double_each_other_end_at_a_limit() {
    let mut text = plain() + "A=xxxxxxxx\n";
    for _ in 0..60 {
        text.push_str("A=$A$A\n");
    }
    let refusal = refused(&text, Kind::TwoGateway);
    assert!(error_line(&refusal, "longer than 4096 bytes") > 16);
}
