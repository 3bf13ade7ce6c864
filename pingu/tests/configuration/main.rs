//! The configuration as its users meet it: every message word for word, and what is printed reads back.

mod any_text;
mod checks;
mod groups;
mod hooks;
mod keys;
mod messages;
mod migrating;
mod passive;
mod rolling;
mod script;

use pingu::config::{Config, LoadError};

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
    for n in 0..80 {
        text +=
            &format!("[[uplink]]\nname = \"u{n}\"\ninterface = \"tun{n}\"\ngateway = \"none\"\n");
    }
    let found = problems(&text);
    assert_eq!(found.len(), 1);
    assert!(found[0].contains("4194304 is the most"), "{found:?}");
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
    std::fs::write(&path, vec![b'#'; (16 << 20) + 1]).unwrap();
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
