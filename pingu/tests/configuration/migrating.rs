//! The page for those who come from other systems: its tables name nothing that there is not.

use std::{collections::BTreeSet, path::Path, process::Command};

use pingu::config::Config;

use crate::problems;

/// What may stand below each header: `[probe]` and `[health]` may be said again below `[[uplink]]`.
const SECTIONS: [&str; 7] = [
    "probe", "health", "rules", "damping", "group", "uplink", "hook",
];

fn page() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/migrating.md");
    std::fs::read_to_string(path).expect("the page is there")
}

/// The second cells of all rows, without those that say no more than that there is nothing.
fn cells_about_pingu() -> Vec<String> {
    let text = page();
    let mut cells = Vec::new();
    let mut in_table = false;
    for line in text.lines() {
        let row: Vec<&str> = line.split('|').map(str::trim).collect();
        if row.len() == 5 && row[2] == "pingu" {
            in_table = true;
        } else if row.len() != 5 {
            in_table = false;
        } else if in_table && row[2] != "---" && row[2] != "—" {
            cells.push(row[2].to_owned());
        }
    }
    cells
}

/// The words between backticks.
fn spans(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// A whole file with this one setting; a value that may be wrong where the page names none.
fn file_with(setting: &str) -> String {
    let (key, value) = setting.split_once(" = ").unwrap_or((setting, "0"));
    let (section, key) = key.split_once('.').unwrap_or(("", key));
    assert!(
        section.is_empty() || SECTIONS.contains(&section),
        "`{setting}`: there is no [{section}]"
    );
    let of = |wanted: &str| {
        if section == wanted {
            format!("{key} = {value}\n")
        } else {
            String::new()
        }
    };
    let group = if section == "group" && key != "name" {
        format!("[[group]]\nname = \"wan\"\n{}", of("group"))
    } else {
        String::new()
    };
    let hook = if section == "hook" {
        format!("[[hook]]\n{}", of("hook"))
    } else {
        String::new()
    };
    let uplink = ["name", "interface"].map(|needed| {
        if setting == format!("uplink.{needed}") {
            String::new()
        } else {
            format!("{needed} = \"wan0\"\n")
        }
    });
    let targets = if setting == "probe.targets" {
        ""
    } else {
        "targets = [\"192.0.2.1\"]\n"
    };
    format!(
        "{}[probe]\n{targets}{}[health]\n{}[rules]\n{}[damping]\n{}{group}{hook}[[uplink]]\n{}{}",
        of(""),
        of("probe"),
        of("health"),
        of("rules"),
        of("damping"),
        uplink.concat(),
        of("uplink")
    )
}

#[test]
fn every_key_in_the_tables_of_the_page_for_movers_exists() {
    let mut keys = 0;
    for cell in cells_about_pingu() {
        assert!(spans(&cell).next().is_some(), "`{cell}` names nothing");
        for span in spans(&cell).filter(|span| !span.starts_with("pingu ")) {
            let found = problems(&file_with(span));
            let key = span.split(" = ").next().unwrap_or(span);
            let about: Vec<&String> = found
                .iter()
                .filter(|problem| {
                    problem.contains("unknown key")
                        || (span.contains(" = ") && problem.contains(&format!("`{key}`")))
                })
                .collect();
            assert!(about.is_empty(), "`{span}` in `{cell}`: {about:?}");
            keys += 1;
        }
    }
    assert!(keys >= 60, "{keys}: the tables were not read");
}

#[test]
fn every_command_on_the_page_for_movers_exists() {
    let text = page();
    let help = |words: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_pingu"))
            .args(words)
            .arg("--help")
            .output()
            .expect("pingu was built");
        output.status.success().then_some(output.stdout)
    };
    let mut verbs = BTreeSet::new();
    for command in text.split('`').skip(1).step_by(2).flat_map(str::lines) {
        let words: Vec<&str> = command.split_whitespace().collect();
        let own = match words[..] {
            ["sudo", "pingu", ..] => &words[2..],
            ["pingu", ..] => &words[1..],
            _ => continue,
        };
        let verb = own.first().copied().filter(|word| !word.starts_with('-'));
        let said = verb.map_or_else(|| help(&[]), |verb| help(&[verb]));
        let said = said.unwrap_or_else(|| panic!("`{command}`: no such verb"));
        let said = String::from_utf8_lossy(&said);
        for option in own.iter().filter(|word| word.starts_with('-')) {
            assert!(said.contains(option), "`{command}`: no {option} in {said}");
        }
        verbs.extend(verb);
    }
    let expected = [
        "check",
        "import",
        "install",
        "pin",
        "status",
        "uninstall",
        "why",
    ];
    assert_eq!(verbs.into_iter().collect::<Vec<_>>(), expected);
}

#[test]
fn a_key_that_does_not_exist_would_be_found() {
    for setting in ["probe.cuont", "uplink.probe", "learnt_routes = \"adopt\""] {
        let found = problems(&file_with(setting));
        assert!(
            found.iter().any(|problem| problem.contains("unknown key")),
            "{setting}: {found:?}"
        );
    }
    let found = problems(&file_with("learned_routes = \"adapt\""));
    assert!(
        found
            .iter()
            .any(|problem| problem.contains("`learned_routes`")),
        "{found:?}"
    );
    let plain = file_with("protocol = 136");
    Config::parse(&plain, "f").unwrap_or_else(|problems| panic!("{problems}"));
}
