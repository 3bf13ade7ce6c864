//! `pingu import` as people call it, and py-pingu's file given to the daemon.

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Output, Stdio},
};

const JSON: &str = include_str!("originals/py-pingu.json");

fn pingu(directory: &Path, arguments: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_pingu"))
        .args(arguments)
        .current_dir(directory)
        .output();
    output.unwrap()
}

fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).unwrap()
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn the_result_goes_to_standard_output_or_to_a_file_that_loads() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    fs::write(directory.join("config.json"), JSON).unwrap();
    let shown = pingu(directory, &["import", "config.json"]);
    assert_eq!(shown.status.code(), Some(0));
    assert!(text(&shown.stdout).contains("metric = 88  # line 6: interfaces.eno2.metric"));
    let dashed = pingu(directory, &["import", "config.json", "-o", "-"]);
    assert_eq!(dashed.stdout, shown.stdout);
    assert_eq!(names(directory), ["config.json"]);
    let written = pingu(directory, &["import", "config.json", "-o", "pingu.toml"]);
    assert_eq!(written.status.code(), Some(0), "{}", text(&written.stderr));
    assert_eq!(
        fs::read(directory.join("pingu.toml")).unwrap(),
        shown.stdout
    );
    assert_eq!(names(directory), ["config.json", "pingu.toml"]);
    let check = pingu(directory, &["check", "-c", "pingu.toml"]);
    assert_eq!(check.status.code(), Some(0));
    let direct = pingu(directory, &["check", "-c", "config.json"]);
    assert_eq!(
        text(&direct.stdout),
        text(&check.stdout),
        "the daemon takes it as it is"
    );
}

#[test]
fn a_file_that_is_there_is_replaced_only_by_force() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    fs::write(directory.join("config.json"), JSON).unwrap();
    fs::write(directory.join("pingu.toml"), "mine").unwrap();
    let mine = |directory: &Path| fs::read(directory.join("pingu.toml")).unwrap() == b"mine";
    let refused = pingu(directory, &["import", "config.json", "-o", "pingu.toml"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("not replaced without --force"));
    assert!(mine(directory));
    let forced = pingu(
        directory,
        &["import", "config.json", "-o", "pingu.toml", "--force"],
    );
    assert_eq!(forced.status.code(), Some(0));
    assert!(!mine(directory));
    for output in ["config.json", "."] {
        let refused = pingu(
            directory,
            &["import", "config.json", "-o", output, "--force"],
        );
        assert_eq!(refused.status.code(), Some(1), "{output}");
    }
    assert_eq!(
        fs::read_to_string(directory.join("config.json")).unwrap(),
        JSON
    );
    let nowhere = pingu(
        directory,
        &["import", "config.json", "-o", "missing/pingu.toml"],
    );
    assert_eq!(nowhere.status.code(), Some(1));
    assert_eq!(
        names(directory),
        ["config.json", "pingu.toml"],
        "nothing half-written is left"
    );
}

#[test]
fn a_wrong_file_ends_with_78_and_writes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    fs::write(
        directory.join("config.json"),
        JSON.replace("\"8.8.8.8\"", "8"),
    )
    .unwrap();
    fs::write(directory.join("unknown"), "hello\n").unwrap();
    fs::write(directory.join("binary.json"), b"{\n\xff}").unwrap();
    for (file, words) in [
        (
            "config.json",
            "config.json:2: error: `host` must be a text in quotes, not 8",
        ),
        ("unknown", "unknown:1: error: nobody knows what this is"),
        ("binary.json", "binary.json:2: error: this is not UTF-8"),
        ("missing", "missing: error: cannot be read"),
        (".", "cannot be read"),
    ] {
        let refused = pingu(directory, &["import", file, "-o", "pingu.toml"]);
        assert_eq!(refused.status.code(), Some(78), "{file}");
        assert!(
            text(&refused.stderr).contains(words),
            "{}",
            text(&refused.stderr)
        );
    }
    let refused = pingu(directory, &["check", "-c", "config.json"]);
    assert_eq!(refused.status.code(), Some(78));
    assert!(text(&refused.stderr).starts_with("config.json:2: error: `host`"));
    assert!(!directory.join("pingu.toml").exists());
    let large = " ".repeat((1 << 20) + 1);
    fs::write(directory.join("large"), large).unwrap();
    assert_eq!(
        pingu(directory, &["import", "large"]).status.code(),
        Some(78)
    );
}

#[test]
fn the_kind_may_be_said_and_the_network_file_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    fs::write(directory.join("mwan3"), include_str!("originals/mwan3")).unwrap();
    fs::write(directory.join("network"), include_str!("originals/network")).unwrap();
    fs::copy(directory.join("mwan3"), directory.join("other")).unwrap();
    let beside = pingu(directory, &["import", "mwan3"]);
    assert!(text(&beside.stdout).contains("interface = \"eth1\""));
    let alone = pingu(directory, &["import", "other", "--from", "mwan3"]);
    assert!(text(&alone.stdout).contains("interface = \"wan\""));
    let given = pingu(directory, &["import", "other", "--network", "network"]);
    assert!(text(&given.stdout).contains("interface = \"eth1\""));
    let wrong = pingu(directory, &["import", "other", "--from", "dpinger"]);
    assert_eq!(wrong.status.code(), Some(78));
    assert_eq!(
        pingu(directory, &["import", "other", "--from", "nagios"])
            .status
            .code(),
        Some(2)
    );
}

#[test]
fn a_dash_is_standard_input() {
    let directory = tempfile::tempdir().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_pingu"))
        .args(["import", "-"])
        .current_dir(directory.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(JSON.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stdout).contains("metric = 88"));
}
