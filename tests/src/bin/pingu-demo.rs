//! Shows pingu at work: two uplinks in a lab of namespaces, a black hole on the first, failover, repair and failback.

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use pingu_tests::demo::{self, Options, Outcome};

/// Shows a real failover: the release binary with its real configuration, between two providers, in network namespaces.
///
/// Needs root. Takes less than a minute, touches nothing outside the namespaces that it makes, and removes them. The exit
/// status is 0 only if the kernel's route really moved away from the cut uplink and back, and packets followed.
#[derive(Parser)]
#[command(name = "pingu-demo", version)]
struct Arguments {
    /// Write nothing but JSON to standard output: an object a line for each event, the last one the summary.
    #[arg(long)]
    json: bool,

    /// The configuration to run; its uplinks are eno2 and wlo1. Default: config/pingu.toml of the source tree.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

fn main() -> ExitCode {
    let Arguments { json, config } = Arguments::parse();
    match demo::run(&Options { json, config }) {
        Ok(Outcome::Shown) => ExitCode::SUCCESS,
        Ok(Outcome::Failed) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("pingu-demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}
