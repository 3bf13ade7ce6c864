//! The project's own verbs. Each finds or installs the tools that it needs before it starts.
#![expect(
    clippy::disallowed_methods,
    reason = "people are told how long each step took"
)]

mod build_ebpf;
mod check;
mod invocation;
mod kernels;
mod release;
mod setup;
mod steps;
mod test;
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
    /// Run all tests, those that need a kernel as root
    Test {
        /// Handed to each test program: parts of the names of tests, and options such as --nocapture
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Run tests on the kernels of Debian stable and its backports, in emulated machines; takes its time, and no root
    Kernels {
        /// Only that of a series, such as 6.1
        #[arg(long, default_value = "")]
        kernel: String,
        /// Handed to each test program, instead of the names of the tests that depend most on the kernel
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Show a failover and the way back in network namespaces, as root; succeeds only if both happened
    Demo {
        /// Handed to the demo: --json for machines, --config FILE for another configuration
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Measure pingu beside its peers in network namespaces, as root
    Bench {
        /// Only draw the plots in docs/plots again, from the results in docs/plots/data
        #[arg(long)]
        plot: bool,
        /// Handed to the benchmarks: probe, idle, accuracy, forward, detect, routes or all, and --help after any for more
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse().verb) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(verb: Verb) -> Result<ExitCode> {
    let workspace = Workspace::find();
    match verb {
        Verb::Setup { dry_run } => setup::run(&workspace, &Need::ALL, dry_run)?,
        Verb::BuildEbpf { release } => build_ebpf::run(&workspace, release)?,
        Verb::Check => check::run(&workspace)?,
        Verb::Test { arguments } => test::run(&workspace, &arguments)?,
        Verb::Kernels { kernel, arguments } => kernels::run(&workspace, &kernel, &arguments)?,
        Verb::Demo { arguments } => return release::run(&workspace, "demo", &arguments),
        Verb::Bench { plot: true, .. } => return release::plot(&workspace),
        Verb::Bench { arguments, .. } => return release::run(&workspace, "bench", &arguments),
    }
    Ok(ExitCode::SUCCESS)
}
