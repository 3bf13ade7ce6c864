//! dpinger's command line.

use pingu::{
    config::{Config, HookEvent, LossLimit, ProbeMode, RollingConfig, Rule, UplinkConfig},
    import::{Kind, Severity},
};

use crate::{error_line, imported, ms, refused, says};

fn rolling(uplink: &UplinkConfig) -> RollingConfig {
    match uplink.probe.mode {
        ProbeMode::Rolling(rolling) => rolling,
        ProbeMode::Burst(_) => panic!("it is probed in bursts"),
    }
}

fn only(config: &Config) -> &UplinkConfig {
    assert_eq!(config.uplinks.len(), 1);
    &config.uplinks[0]
}

#[test]
fn every_option_is_carried_over_or_listed() {
    let text = "dpinger -S -f -R -P -i WAN -B 192.0.2.2 -s 250 -l 1250m -t 30s -d 100 -D 400 -L 12% -A 2s -H 25s\\\n \
                -r 0 -o /tmp/x -u /run/x -p /run/y \
                -C '/etc/alert igb1' 203.0.113.1\n";
    let imported = imported(text);
    assert_eq!(imported.kind, Kind::Dpinger);
    let wan = only(&imported.config);
    assert_eq!(wan.name, "WAN");
    assert_eq!(wan.source.v4, Some("192.0.2.2".parse().unwrap()));
    assert_eq!(wan.probe.targets[0].to_string(), "203.0.113.1");
    let pace = rolling(wan);
    assert_eq!(
        (pace.interval, pace.window, wan.probe.timeout),
        (ms(250), ms(30_000), ms(1250))
    );
    assert_eq!(wan.probe.size_bytes, 100);
    assert_eq!(wan.health.fail.max_delay, ms(400));
    assert_eq!(wan.health.fail.loss, LossLimit::Percent(12));
    assert_eq!(
        wan.health.rule,
        Rule::InARow { fall: 15, rise: 1 },
        "15 of 120 are more than 12 %"
    );
    assert_eq!(wan.health.hold_down, ms(25_000));
    let hook = &imported.config.hooks[0];
    assert_eq!(hook.command, ["/etc/alert", "igb1"]);
    assert_eq!(hook.on, [HookEvent::Down, HookEvent::Up]);
    for option in ["-S", "-f", "-R", "-P"] {
        assert!(
            says(&imported.notes, Severity::NotCarriedOver, 1, option),
            "{option}"
        );
    }
    for option in ["-r", "-o", "-u", "-p"] {
        assert!(
            says(&imported.notes, Severity::NotCarriedOver, 2, option),
            "{option}"
        );
    }
    assert!(says(&imported.notes, Severity::Differs, 2, "`-C`"));
    assert!(says(&imported.notes, Severity::Differs, 1, "only watches"));
    assert!(says(
        &imported.notes,
        Severity::Differs,
        1,
        "does not tell the interface"
    ));
}

#[test]
fn what_is_not_given_is_as_dpinger_has_it() {
    let config = imported("dpinger 203.0.113.1").config;
    let uplink = only(&config);
    let pace = rolling(uplink);
    assert_eq!(
        (pace.interval, pace.window, uplink.probe.timeout),
        (ms(500), ms(60_000), ms(2000))
    );
    assert_eq!(uplink.health.fail.loss, LossLimit::Percent(100));
    assert_eq!(uplink.health.fail.max_delay, ms(60_000));
    assert_eq!(uplink.health.hold_down, ms(10_000), "ten alert intervals");
    assert_eq!(uplink.probe.size_bytes, 24, "the least");
    assert!(config.hooks.is_empty());
}

#[test]
fn its_documented_examples_are_read() {
    for line in [
        "dpinger -t 300s -r 60s 192.168.0.1 >> /tmp/dpinger.out",
        "dpinger -r 0 -S -D 250m -L 20 -p /run/dpinger 192.168.0.1",
        "dpinger -f -B 192.168.0.50 -r 10s 192.168.0.1",
        "dpinger -R -o /tmp/gw.status fe80::1 -L 35% -C \"/var/etc/alert igb1\"",
        "dpinger -r 0 -s 200m -u /tmp/igb1.status -p /run/dpinger fe80::1",
        "dpinger -S -i Comcast -s 5s -t 600s -r 0 -L 10% -p /run/dpinger 8.8.8.8",
    ] {
        only(&imported(line).config);
    }
    let config =
        imported("dpinger -S -i Comcast -s 5s -t 600s -r 0 -L 10% -p /run/dpinger 8.8.8.8").config;
    let uplink = only(&config);
    assert_eq!(rolling(uplink).interval, ms(5000));
    assert_eq!(uplink.health.rule, Rule::InARow { fall: 13, rise: 1 });
}

#[test]
fn it_is_found_in_scripts_and_units_wherever_it_is_run() {
    for (text, count) in [
        (include_str!("originals/dpinger.sh"), 3),
        (
            "#!/bin/sh\nstart() {\n  if true; then sudo nohup /usr/bin/dpinger -f -iA 192.0.2.1 & fi\n}\n",
            1,
        ),
        (
            "[Unit]\nDescription=Bob's (dpinger\n[Service]\nExecStart=-/usr/bin/dpinger -f \\\n -L 20%% 192.0.2.1\nRestart=always\n",
            1,
        ),
        (
            "T=192.0.2.1; dpinger -B 192.0.2.9 $T 2>/dev/null; dpinger -- ${T}\n",
            2,
        ),
        (
            "root  812  0.0  0.1  17728  2600  -  Is  06:00  0:01.23 /usr/local/bin/dpinger -S -r 0 -i WAN_DHCP 192.0.2.1\n\
             echo /usr/bin/dpinger -S 192.0.2.2\n[ -x /usr/bin/dpinger ] && pkill -f /usr/bin/dpinger -S\n",
            1,
        ),
        ("cat <<EOF\ndpinger 192.0.2.7\nEOF\ndpinger 192.0.2.1\n", 1),
    ] {
        assert_eq!(imported(text).config.uplinks.len(), count, "{text}");
    }
}

#[test]
fn two_targets_from_one_address_are_one_uplink() {
    let imported =
        imported("dpinger -B 192.0.2.2 198.51.100.1\ndpinger -B 192.0.2.2 198.51.100.2\n");
    assert_eq!(only(&imported.config).probe.targets.len(), 2);
    assert!(says(&imported.notes, Severity::Differs, 2, "the same -B"));
}

#[test]
fn a_link_local_target_tells_its_interface() {
    let config = imported("dpinger -B fe80::2%eth7 fe80::1%eth7").config;
    assert_eq!(only(&config).interface, "eth7");
    assert_eq!(only(&config).source.v6, Some("fe80::2".parse().unwrap()));
}

#[test]
fn an_alert_command_that_needs_a_shell_gets_one_and_stays_one_word() {
    let command = "/etc/alert \"$1\" > /tmp/x; reboot";
    let config = imported(&format!("dpinger -L 5 -C '{command}' 192.0.2.1")).config;
    assert_eq!(config.hooks[0].command, ["/bin/sh", "-c", command]);
}

#[test]
fn what_is_wrong_is_said_with_its_line() {
    for (text, words) in [
        (
            "\ndpinger -x 192.0.2.1",
            "\"-x\": dpinger has no such option",
        ),
        ("\ndpinger -s", "`-s` has no value"),
        ("\ndpinger -s 5x 192.0.2.1", "`-s` must be a time"),
        ("\ndpinger -s 0 192.0.2.1", "`-s` must be a time"),
        ("\ndpinger -L 120 192.0.2.1", "`-L` must be a percentage"),
        ("\ndpinger -d much 192.0.2.1", "`-d` must be a whole number"),
        ("\ndpinger -d 5000 192.0.2.1", "`-d`: as pingu reads it"),
        ("\ndpinger -B here 192.0.2.1", "`-B`: as pingu reads it"),
        (
            "\ndpinger -t 1s -s 900 192.0.2.1",
            "`-t`: as pingu reads it",
        ),
        ("\ndpinger", "one dest_addr, and here are 0"),
        (
            "\ndpinger 192.0.2.1 192.0.2.2",
            "one dest_addr, and here are 2",
        ),
        ("\ndpinger example.com", "`dest_addr` must be the address"),
        (
            "\ndpinger $TARGET",
            "`dest_addr` must be a plain text, not the variable",
        ),
        (
            "\ndpinger -B $(hostname) 192.0.2.1",
            "`-B` must be a plain text",
        ),
        ("\ndpinger 127.0.0.1", "`dest_addr`: as pingu reads it"),
        ("\ndpinger '192.0.2.1", "never closed"),
    ] {
        assert_eq!(
            error_line(&refused(text, Kind::Dpinger), words),
            2,
            "{text}"
        );
    }
    assert_eq!(
        error_line(
            &refused("echo", Kind::Dpinger),
            "no command line of dpinger"
        ),
        1
    );
}
