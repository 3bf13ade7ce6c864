//! The project's own verbs. Each finds or installs the tools that it needs before it starts.
#![expect(
    clippy::disallowed_methods,
    reason = "people are told how long each step took"
)]

mod build_ebpf;
mod check;
mod invocation;
mod setup;
mod steps;
mod tidy;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::{setup::Need, workspace::Workspace};

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    about = "pingu's development tasks"
)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Find or install what building and testing need; does nothing where nothing is missing
    Setup {
        /// Only print what would be run
        #[arg(long)]
        dry_run: bool,
    },
    /// Build the eBPF object that pingu embeds
    BuildEbpf {
        /// Leave out the packet log
        #[arg(long)]
        release: bool,
    },
    /// Look at format, lints, habits, documentation and dependencies
    Check,
}

fn main() -> ExitCode {
    match run(Arguments::parse().verb) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(verb: Verb) -> Result<()> {
    let workspace = Workspace::find();
    match verb {
        Verb::Setup { dry_run } => setup::run(&workspace, &Need::ALL, dry_run),
        Verb::BuildEbpf { release } => build_ebpf::run(&workspace, release),
        Verb::Check => check::run(&workspace),
    }
}
