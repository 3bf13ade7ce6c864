//! pingu's benchmarks: each beside its peers, on the same machine, in the same run.

use anyhow::Result;
use clap::{Parser, Subcommand};
use pingu_tests::bench::{detect, forward, idle, probe, routes};

#[derive(Parser)]
#[command(about = "Measures pingu beside its peers, in namespaces of its own. Needs root.")]
struct Arguments {
    #[command(subcommand)]
    command: Benchmark,
    /// Print the result as JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Benchmark {
    /// Answered probes a second and processor time per probe, against ping, fping, oping, masscan, zmap and dpinger
    Probe(probe::Options),
    /// What the daemon costs that only watches: processor time, wake-ups, memory
    Idle(idle::Options),
    /// What the programs add to a forwarded packet that is not pingu's
    Forward(forward::Options),
    /// From a silent cut to the kernel's new route, against BFD of BIRD and FRR
    Detect(detect::Options),
    /// How fast routes move, against ip -batch and ip nexthop, and what a churning table costs
    Routes(routes::Options),
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    match arguments.command {
        Benchmark::Probe(options) => {
            let report = probe::run(&options)?;
            print(arguments.json, &report, probe::table)
        }
        Benchmark::Idle(options) => {
            let report = idle::run(&options)?;
            print(arguments.json, &report, idle::table)
        }
        Benchmark::Detect(options) => {
            let report = detect::run(&options)?;
            print(arguments.json, &report, detect::table)
        }
        Benchmark::Forward(options) => {
            let report = forward::run(&options)?;
            print(arguments.json, &report, forward::table)
        }
        Benchmark::Routes(options) => {
            let report = routes::run(&options)?;
            print(arguments.json, &report, routes::table)
        }
    }
}

fn print<R: serde::Serialize>(json: bool, report: &R, table: impl Fn(&R) -> String) -> Result<()> {
    if json {
        println!("{}", serde_json::to_string_pretty(report)?);
    } else {
        println!("{}", table(report));
    }
    Ok(())
}
