//! What needs no kernel to be found out: format, lints, habits, documentation, and what the dependencies bring along.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::{
    build_ebpf::{self, Task},
    invocation::Invocation,
    setup::{self, Need, compiler::Compiler, deny},
    steps::Steps,
    tidy,
    workspace::{Workspace, cargo},
};

/// A database that has not come by then does not come.
const FETCH_SECONDS_MAX: &str = "60";

/// Every check, whatever becomes of the others.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let mut steps = Steps::default();
    steps.take("fmt", || format(workspace));
    steps.take("clippy", || clippy(workspace));
    steps.take("clippy pingu-ebpf", || clippy_ebpf(workspace));
    steps.take("tidy", || tidy::run(workspace));
    steps.take("docs", || documentation(workspace));
    steps.take("deny", || dependencies(workspace));
    steps.finish()
}

fn format(workspace: &Workspace) -> Result<()> {
    setup::require(workspace, &[Need::Lints])?;
    for directory in [workspace.root.clone(), ebpf_directory(workspace)] {
        in_directory(&directory, &["fmt", "--all", "--check"]).run()?;
    }
    Ok(())
}

fn clippy(workspace: &Workspace) -> Result<()> {
    setup::require(workspace, &[Need::Lints])?;
    let lints = [
        "clippy",
        "--workspace",
        "--all-targets",
        "--locked",
        "--",
        "-Dwarnings",
    ];
    in_directory(&workspace.root, &lints).run()
}

/// With the compiler that builds the programs, if there is one: they are all conditions on its target.
fn clippy_ebpf(workspace: &Workspace) -> Result<()> {
    let Some(compiler) = Compiler::find(workspace) else {
        println!("not checked: there is no compiler for the eBPF programs (`cargo xtask setup`)");
        return Ok(());
    };
    let driver = compiler.clippy_driver();
    if driver.is_none() {
        println!("this compiler has no clippy: its own warnings alone are looked at");
    }
    let task = Task::Check {
        clippy: driver.as_deref(),
    };
    for with_log in [false, true] {
        build_ebpf::invocation(workspace, &compiler, task, with_log).run()?;
    }
    Ok(())
}

fn documentation(workspace: &Workspace) -> Result<()> {
    in_directory(
        &workspace.root,
        &[
            "doc",
            "--workspace",
            "--no-deps",
            "--document-private-items",
            "--locked",
        ],
    )
    // Private items are documented too, so links to them lead somewhere.
    .variable(
        "RUSTDOCFLAGS",
        "-Dwarnings -Arustdoc::private_intra_doc_links",
    )
    .run()
}

fn dependencies(workspace: &Workspace) -> Result<()> {
    setup::require(workspace, &[Need::CargoDeny])?;
    let mut checks = vec!["licenses", "bans", "sources"];
    match fetch_advisories(workspace) {
        Ok(()) => checks.push("advisories"),
        Err(reason) => println!("advisories not looked at, their database cannot be had: {reason}"),
    }
    for directory in [workspace.root.clone(), ebpf_directory(workspace)] {
        deny(workspace, &directory)
            .argument("check")
            .argument("--hide-inclusion-graph")
            .arguments(&checks)
            .run()?;
    }
    Ok(())
}

fn fetch_advisories(workspace: &Workspace) -> Result<()> {
    let output = Invocation::new("timeout")
        .argument(FETCH_SECONDS_MAX)
        .argument(deny::cargo_deny(workspace))
        .arguments(["fetch", "db"])
        .directory(&workspace.root)
        .output()?;
    if output.status.success() {
        return Ok(());
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    bail!(
        "{}",
        complaint
            .lines()
            .rfind(|line| !line.is_empty())
            .unwrap_or("no answer")
    );
}

fn deny(workspace: &Workspace, directory: &Path) -> Invocation {
    Invocation::new(deny::cargo_deny(workspace))
        .arguments(["--locked", "--config"])
        .argument(workspace.root.join("deny.toml"))
        .argument("--manifest-path")
        .argument(directory.join("Cargo.toml"))
        .directory(directory)
}

fn in_directory(directory: &Path, arguments: &[&str]) -> Invocation {
    Invocation::new(cargo())
        .arguments(arguments)
        .directory(directory)
}

fn ebpf_directory(workspace: &Workspace) -> PathBuf {
    workspace.root.join("pingu-ebpf")
}
