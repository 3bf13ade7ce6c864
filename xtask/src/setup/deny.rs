//! cargo-deny, built once into the target directory.

use std::path::PathBuf;

use crate::{
    invocation::Invocation,
    setup::{State, Step},
    workspace::{Workspace, cargo},
};

const VERSION: &str = "0.20.2";

/// Where it is, once it is built.
pub(crate) fn cargo_deny(workspace: &Workspace) -> PathBuf {
    directory(workspace).join("bin/cargo-deny")
}

pub(super) fn state(workspace: &Workspace) -> State {
    if cargo_deny(workspace).exists() {
        return State::Present(VERSION.to_owned());
    }
    let invocation = Invocation::new(cargo())
        .arguments([
            "install",
            "cargo-deny",
            "--version",
            VERSION,
            "--locked",
            // It runs for seconds, and would be optimised for minutes.
            "--debug",
            "--root",
        ])
        .argument(directory(workspace));
    State::Lacking(vec![Step::new(
        "build cargo-deny (a minute, once)",
        invocation,
    )])
}

fn directory(workspace: &Workspace) -> PathBuf {
    workspace.tools().join(format!("cargo-deny-{VERSION}"))
}
