//! `[[hook]]`: what each key means, and every message.

use std::time::Duration;

use pingu::{
    config::{HookConfig, HookEvent},
    units::UplinkId,
};

use crate::{GOOD, good, problems};

const TWO: &str = "[probe]\ntargets = [\"192.0.2.1\"]\n[[uplink]]\nname = \"a\"\ninterface = \"wan0\"\n\
                   [[uplink]]\nname = \"$(reboot) `b` \\\"c\\\"\"\ninterface = \"wan1\"\n";

fn with(lines: &str) -> String {
    format!("{GOOD}[[hook]]\n{lines}\n")
}

fn hooks(text: &str) -> Vec<HookConfig> {
    let config = good(text);
    assert_eq!(good(&config.to_toml()), config, "{}", config.to_toml());
    config.hooks
}

#[test]
fn what_is_absent_has_the_value_that_is_documented() {
    let [hook] = &hooks(&with("on = [\"down\"]\ncommand = [\"/usr/bin/mail\"]"))[..] else {
        panic!("there is one hook");
    };
    assert_eq!(hook.name, "mail");
    assert_eq!(hook.on, [HookEvent::Down]);
    assert_eq!(hook.uplinks, None, "all");
    assert_eq!(hook.timeout, Duration::from_secs(30));
    assert_eq!(hook.at_most_every, None, "no limit");
}

#[test]
fn everything_that_is_given_is_read_and_reads_back_as_it_is_written() {
    let text = format!(
        "{TWO}[[hook]]\nname = \"tell\"\non = [\"up\", \"down\", \"switch\", \"bad\"]\n\
         command = [\"/bin/sh\", \"-c\", 'echo \"$PINGU_UPLINK\"; exit', \"\", \"a\\nb\"]\n\
         uplinks = [\"$(reboot) `b` \\\"c\\\"\", \"a\"]\ntimeout = \"1.5s\"\nat_most_every = \"600s\"\n\
         [[hook]]\non = \"bad\"\ncommand = [\"/x\"]\nuplinks = \"a\"\n"
    );
    let hooks = hooks(&text);
    use HookEvent::{Bad, Down, Switch, Up};
    assert_eq!(hooks[0].name, "tell");
    assert_eq!(hooks[0].on, [Up, Down, Switch, Bad]);
    assert_eq!(
        hooks[0].command[2..],
        ["echo \"$PINGU_UPLINK\"; exit", "", "a\nb"]
    );
    assert_eq!(hooks[0].uplinks, Some(vec![UplinkId(1), UplinkId(0)]));
    assert_eq!(hooks[0].timeout, Duration::from_millis(1500));
    assert_eq!(hooks[0].at_most_every, Some(Duration::from_secs(600)));
    assert_eq!(hooks[1].on, [Bad]);
    assert_eq!(hooks[1].uplinks, Some(vec![UplinkId(0)]));
}

#[test]
fn a_program_with_a_strange_name_still_has_one_that_reads_back() {
    for program in ["/", "/a\\nb", "/ ", "//", "/bin/"] {
        let lines = format!("on = \"up\"\ncommand = [\"{program}\"]");
        assert!(!hooks(&with(&lines))[0].name.trim().is_empty());
    }
    let long = "x".repeat(300);
    let lines = format!("on = \"up\"\ncommand = [\"/{long}\"]");
    assert_eq!(hooks(&with(&lines))[0].name.len(), 64);
}

#[test]
fn every_fault_is_told_at_once() {
    let text = with(
        "on = [\"up\", \"dwon\", \"up\", 3]\ncommand = [\"mail\"]\nuplinks = [\"a\", \"c\"]\ntimeout = \"1ms\"\n\
         at_most_every = \"900h\"\nname = \"\"\nwhen = 3",
    );
    let on = "a list of events, of \"up\", \"down\", \"switch\" and \"bad\"";
    assert_eq!(
        problems(&text),
        [
            format!("f:7:13: error: `hook[1].on` must be {on}, not \"dwon\""),
            "f:7:21: error: `hook[1].on` has \"up\" twice".to_owned(),
            format!("f:7:27: error: `hook[1].on` must be {on}, not 3"),
            "f:8:11: error: `hook[1].command` must be a list of 1 to 64 texts: the program by its absolute path, and its \
             arguments, not [\"mail\"]"
                .to_owned(),
            "f:9:17: error: `hook[1].uplinks`: there is no uplink \"c\"; there are \"a\"".to_owned(),
            "f:10:11: error: `hook[1].timeout` must be a duration with its unit, such as \"20ms\" or \"5s\", from 10ms to 1h, not \
             \"1ms\""
                .to_owned(),
            "f:11:17: error: `hook[1].at_most_every` must be a duration with its unit, such as \"20ms\" or \"5s\", from 10ms to \
             168h, not \"900h\""
                .to_owned(),
            "f:12:8: error: `hook[1].name` must be 1 to 64 printable characters, not \"\"".to_owned(),
            "f:13:1: error: unknown key `hook[1].when`; allowed here: at_most_every, command, name, on, timeout, uplinks"
                .to_owned(),
        ]
    );
}

#[test]
fn an_unknown_event_lists_the_known_ones() {
    let found = problems(&with("on = [\"dwon\"]\ncommand = [\"/x\"]"));
    assert_eq!(
        found,
        [
            "f:7:7: error: `hook[1].on` must be a list of events, of \"up\", \"down\", \"switch\" and \"bad\", not \"dwon\""
        ]
    );
}

#[test]
fn what_is_needed_is_asked_for() {
    assert_eq!(
        problems(&with("")),
        [
            "f:6:1: error: `hook[1].on` is needed: a list of events, of \"up\", \"down\", \"switch\" and \"bad\"",
            "f:6:1: error: `hook[1].command` is needed: a list of 1 to 64 texts: the program by its absolute path, and its \
             arguments",
        ]
    );
    for empty in ["on = []\ncommand = [\"/x\"]", "on = 3\ncommand = [\"/x\"]"] {
        let found = problems(&with(empty));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("`hook[1].on` must be"), "{found:?}");
    }
    for command in [
        "[]",
        "\"/bin/true\"",
        "[\"/bin/true\", 3]",
        "[\"/a\\u0000\"]",
    ] {
        let found = problems(&with(&format!("on = \"up\"\ncommand = {command}")));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("`hook[1].command` must be"), "{found:?}");
    }
}

#[test]
fn a_hook_names_an_uplink_that_has_a_fault_of_its_own() {
    let text = "[probe]\ntargets = [\"192.0.2.1\"]\n[[uplink]]\nname = \"a\"\n[[hook]]\non = \"up\"\ncommand = [\"/x\"]\n\
                uplinks = [\"a\"]\n";
    let found = problems(text);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("uplink[1].interface"), "{found:?}");
}

#[test]
fn one_table_in_single_brackets_and_too_many_are_refused() {
    let found = problems(&format!("{GOOD}[hook]\non = \"up\"\n"));
    assert_eq!(
        found,
        ["f:6:1: error: `hook` must be written as [[hook]], once for each, not [hook]"]
    );
    let many = "[[hook]]\non = \"up\"\ncommand = [\"/x\"]\n".repeat(65);
    let found = problems(&format!("{GOOD}{many}"));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("at most 64 times, not 65"), "{found:?}");
}
