//! What a user would run: the release binary with its eBPF programs in it, and the programs that show and measure it.

use std::process::ExitCode;

use anyhow::Result;

use crate::{
    build_ebpf,
    invocation::{self, Invocation},
    setup::{self, Need},
    workspace::{Workspace, cargo},
};

/// Builds the program that is named for the verb and gives it the arguments and root; its exit status is ours.
pub(crate) fn run(workspace: &Workspace, verb: &str, arguments: &[String]) -> Result<ExitCode> {
    match verb {
        "bench" => setup::require(workspace, &[Need::LabTools, Need::Peers])?,
        _ => setup::require(workspace, &[Need::LabTools])?,
    }
    invocation::require_root(verb)?;
    build_ebpf::run(workspace, true)?;
    let program = format!("pingu-{verb}");
    build(workspace, &["pingu", &program])?;
    let mut invocation = Invocation::new(workspace.release_binary(&program)).arguments(arguments);
    if verb == "bench" {
        // Results are kept below the workspace, wherever this was called from.
        invocation = invocation.directory(&workspace.root);
    }
    invocation.privileged().exit_code()
}

/// Draws the plots of the documentation from the results that are kept there; needs neither root nor peers.
pub(crate) fn plot(workspace: &Workspace) -> Result<ExitCode> {
    Invocation::new(cargo())
        .arguments([
            "run",
            "--quiet",
            "--locked",
            "--bin",
            "pingu-bench",
            "--",
            "plot",
        ])
        .directory(&workspace.root)
        .exit_code()
}

/// Builds these binaries, at their fastest.
pub(crate) fn build(workspace: &Workspace, binaries: &[&str]) -> Result<()> {
    let selection = binaries.iter().flat_map(|binary| ["--bin", binary]);
    Invocation::new(cargo())
        .arguments(["build", "--release", "--locked"])
        .arguments(selection)
        .directory(&workspace.root)
        .run()
}
