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
    let (protocols, tables) = (
        root.join("etc/iproute2/rt_protos.d/pingu.conf"),
        root.join("etc/iproute2/rt_tables.d/pingu.conf"),
    );
    assert_eq!(
        text(&first.stdout),
        format!(
            "wrote {}\nwrote {}\n",
            protocols.display(),
            tables.display()
        )
    );
    let names = fs::read_to_string(&tables).expect("it was just written");
    assert!(names.ends_with("\n201\tfibre\n"), "{names}");
    let again = pingu(&install);
    assert_eq!(text(&again.stdout).matches("unchanged").count(), 2);

    fs::remove_file(&config).expect("removable");
    let gone = pingu(&["uninstall", "--root", path(&root)]);
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
    assert_eq!(code(&pingu(&["install"])), Some(2));
}
