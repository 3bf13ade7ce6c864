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
    setup::require(workspace, &[Need::LabTools])?;
    invocation::require_root(verb)?;
    build_ebpf::run(workspace, true)?;
    let program = format!("pingu-{verb}");
    build(workspace, &["pingu", &program])?;
    Invocation::new(workspace.release_binary(&program))
        .arguments(arguments)
        .privileged()
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
