//! `pingu install` and `pingu uninstall` as people call them.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

const GOOD: &str = "[probe]\ntargets = [\"192.0.2.1\"]\n[[uplink]]\nname = \"fibre\"\ninterface = \"wan0\"\ntable = 201\n";

fn pingu(arguments: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_pingu"))
        .args(arguments)
        .output();
    output.expect("the program has been built")
}

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).expect("UTF-8")
}

fn path(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

#[test]
fn what_is_installed_below_a_directory_is_told_and_uninstalled_without_a_configuration() {
    let directory = tempfile::tempdir().expect("a directory for the test");
    let config = directory.path().join("pingu.toml");
    fs::write(&config, GOOD).expect("writable");
    let root = directory.path().join("root");
    fs::create_dir(&root).expect("writable");
    let install = ["install", "--config", path(&config), "--root", path(&root)];
    let first = pingu(&install);
    assert_eq!(code(&first), Some(0), "{}", text(&first.stderr));
    let files = [
        "etc/pingu/pingu.toml",
        "usr/bin/pingu",
        "etc/systemd/system/pingu.service",
        "etc/iproute2/rt_protos.d/pingu.conf",
        "etc/iproute2/rt_tables.d/pingu.conf",
    ]
    .map(|file| root.join(file));
    let wrote = files.each_ref().map(|f| format!("wrote {}\n", f.display()));
    assert_eq!(text(&first.stdout), wrote.concat());
    let names = fs::read_to_string(&files[4]).expect("it was just written");
    assert!(names.ends_with("\n201\tfibre\n"), "{names}");
    let program = files[1].to_str().expect("UTF-8");
    let check = Command::new(program)
        .args(["check", "--config"])
        .arg(&files[0])
        .output();
    assert_eq!(code(&check.expect("it can be run")), Some(0));
    // By the program that was installed, as by an administrator.
    let again = Command::new(program)
        .args(["install", "--root"])
        .arg(&root)
        .output();
    let again = again.expect("it can be run");
    assert_eq!(text(&again.stdout).matches("unchanged").count(), 5);

    fs::remove_file(&config).expect("removable");
    let gone = Command::new(program)
        .args(["uninstall", "--root"])
        .arg(&root)
        .output();
    let gone = gone.expect("it can be run");
    assert_eq!(code(&gone), Some(0), "{}", text(&gone.stderr));
    assert_eq!(fs::read_dir(&root).expect("readable").count(), 0);
    let nothing = pingu(&[
        "uninstall",
        "--config",
        path(&config),
        "--root",
        path(&root),
    ]);
    assert_eq!(code(&nothing), Some(0), "{}", text(&nothing.stderr));
    assert_eq!(text(&nothing.stdout), "there is nothing to do\n");
}

#[test]
fn the_unit_is_one_that_systemd_takes() {
    let directory = tempfile::tempdir().expect("a directory for the test");
    let root = directory.path();
    let installed = pingu(&["install", "--root", path(root)]);
    assert_eq!(code(&installed), Some(0), "{}", text(&installed.stderr));
    let edit = format!(
        "next: edit {}\n",
        root.join("etc/pingu/pingu.toml").display()
    );
    assert!(
        text(&installed.stdout).ends_with(&edit),
        "{}",
        text(&installed.stdout)
    );
    let unit = root.join("etc/systemd/system/pingu.service");
    let written = fs::read_to_string(&unit).expect("it was just written");
    let values: Vec<(&str, &str)> = written
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once('='))
        .collect();
    for wanted in [
        ("Type", "notify"),
        ("NotifyAccess", "main"),
        ("WatchdogSec", "30s"),
        ("Restart", "always"),
        ("RestartPreventExitStatus", "78"),
        ("ExecStart", "/usr/bin/pingu --config /etc/pingu/pingu.toml"),
        ("StateDirectory", "pingu"),
        ("WantedBy", "multi-user.target"),
    ] {
        assert!(values.contains(&wanted), "{wanted:?}: {written}");
    }
    let names: Vec<&str> = values.iter().map(|(name, _)| *name).collect();
    let is_repeated = |name: &&str| names.iter().filter(|other| *other == name).count() > 1;
    let repeated: Vec<&&str> = names.iter().filter(|name| is_repeated(name)).collect();
    assert!(repeated.is_empty(), "{repeated:?}");
    // Where systemd's own tool is there, it has the last word. It looks for the program, which is not in its place here.
    let copy = root.join("pingu.service");
    let here = written.replace(
        "=/usr/bin/pingu ",
        &format!("={} ", env!("CARGO_BIN_EXE_pingu")),
    );
    fs::write(&copy, here).expect("writable");
    let verify = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .arg(&copy)
        .output();
    if let Ok(verify) = verify {
        let said = text(&verify.stderr);
        let of_ours: Vec<&str> = said
            .lines()
            .filter(|l| l.contains("pingu.service"))
            .collect();
        assert!(of_ours.is_empty(), "{said}");
    }
}

#[test]
fn what_stands_in_the_way_is_named_and_nothing_is_written() {
    let directory = tempfile::tempdir().expect("a directory for the test");
    let config = directory.path().join("pingu.toml");
    fs::write(&config, GOOD).expect("writable");
    let root = directory.path().join("root");
    let tables = root.join("etc/iproute2/rt_tables");
    fs::create_dir_all(root.join("etc/iproute2")).expect("writable");
    fs::write(&tables, "254\tmain\n201\tR1\n").expect("writable");
    let install = ["install", "--config", path(&config), "--root", path(&root)];
    let refused = pingu(&install);
    assert_eq!(code(&refused), Some(1));
    let place = format!("{}:2: ", tables.display());
    assert!(
        text(&refused.stderr).contains(&place),
        "{}",
        text(&refused.stderr)
    );
    assert!(!root.join("etc/iproute2/rt_protos.d").exists());

    fs::write(&config, "protocl = 1").expect("writable");
    assert_eq!(code(&pingu(&install)), Some(78));
    let now = pingu(&["install", "--now", "--root", path(&root)]);
    assert_eq!(code(&now), Some(1));
    // All at once: no configuration, not with a root.
    assert_eq!(
        text(&now.stderr).lines().count(),
        2,
        "{}",
        text(&now.stderr)
    );
}

#[test]
fn a_script_is_no_configuration_of_the_service_and_the_way_to_run_it_is_told() {
    let directory = tempfile::tempdir().expect("a directory for the test");
    let script = directory.path().join("config.lua");
    fs::write(&script, "probes = {}").expect("writable");
    let root = directory.path().join("root");
    fs::create_dir(&root).expect("writable");
    let refused = pingu(&["install", "--config", path(&script), "--root", path(&root)]);
    assert_eq!(code(&refused), Some(1));
    let said = text(&refused.stderr);
    assert!(said.contains("systemctl edit pingu"), "{said}");
    let left = fs::read_dir(&root).expect("readable").count();
    assert_eq!(left, 0, "nothing is written");
}

#[test]
fn a_policy_script_that_would_not_be_found_by_the_service_is_told_before_anything_is_written() {
    let directory = tempfile::tempdir().expect("a directory for the test");
    let config = directory.path().join("pingu.toml");
    let script = directory.path().join("policy.lua");
    let root = directory.path().join("root");
    fs::create_dir(&root).expect("writable");
    fs::write(&script, "function rank(uplinks) return uplinks end").expect("writable");
    fs::write(&config, format!("script = \"policy.lua\"\n{GOOD}")).expect("writable");
    let install = ["install", "--config", path(&config), "--root", path(&root)];
    let refused = pingu(&install);
    assert_eq!(code(&refused), Some(1));
    let said = text(&refused.stderr);
    assert!(
        said.contains("etc/pingu/policy.lua cannot be read"),
        "{said}"
    );
    assert_eq!(fs::read_dir(&root).expect("readable").count(), 0);

    fs::create_dir_all(root.join("etc/pingu")).expect("writable");
    fs::copy(&script, root.join("etc/pingu/policy.lua")).expect("writable");
    assert_eq!(code(&pingu(&install)), Some(0));
}
