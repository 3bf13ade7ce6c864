//! pingu's benchmarks: each beside its peers, on the same machine, in the same run.

use std::{env, path::PathBuf, process::Command};

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};
use pingu_tests::bench::{
    accuracy, detect, forward, idle, one_target, plot, probe, routes,
    saved::{Machine, Saved},
};

#[derive(Parser)]
#[command(about = "Measures pingu beside its peers, in namespaces of its own. Needs root.")]
struct Arguments {
    #[command(subcommand)]
    command: Benchmark,
    /// Print the result as JSON
    #[arg(long, global = true)]
    json: bool,
    /// Keep the result as a file in this directory
    #[arg(long, global = true, value_name = "DIR")]
    save: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Benchmark {
    /// Answered probes a second and processor time per probe, against ping, fping, oping, masscan, zmap and dpinger
    Probe(probe::Options),
    /// What the daemon costs that only watches: processor time, wake-ups, memory
    Idle(idle::Options),
    /// How far told round-trip times are from a capture, against ping, fping, oping and dpinger
    Accuracy(accuracy::Options),
    /// What the programs add to a forwarded packet that is not pingu's
    Forward(forward::Options),
    /// From a silent cut to the kernel's new route, against BFD of BIRD and FRR
    Detect(detect::Options),
    /// How fast routes move, against ip -batch and ip nexthop, and what a churning table costs
    Routes(routes::Options),
    /// All but `routes`, as they are by default; results are kept in docs/plots/data unless told otherwise
    All {
        /// The dpinger to measure; Debian has no package of it
        #[arg(long, default_value = "dpinger")]
        dpinger: String,
    },
    /// Draws what was kept
    Plot(plot::Options),
    /// Probes one target, as cheaply as a prober of dpinger's shape can: `probe` and `accuracy` start it
    #[command(hide = true)]
    OneTarget(one_target::Options),
}

/// In the order of their goals.
const ALL: [&str; 5] = ["probe", "idle", "accuracy", "forward", "detect"];

/// Where results are kept that plots are drawn from.
const DATA: &str = "docs/plots/data";

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    // A thousand of these begin at once, so that none looks at the machine.
    if let Benchmark::OneTarget(options) = &arguments.command {
        return one_target::run(options);
    }
    // Before it has put load on the machine.
    let machine = Machine::here()?;
    let told = Told {
        json: arguments.json,
        save: arguments.save,
        machine,
    };
    match arguments.command {
        Benchmark::Probe(options) => told.tell("probe", &probe::run(&options)?, probe::table),
        Benchmark::Idle(options) => told.tell("idle", &idle::run(&options)?, idle::table),
        Benchmark::Accuracy(options) => {
            told.tell("accuracy", &accuracy::run(&options)?, accuracy::table)
        }
        Benchmark::Forward(options) => {
            told.tell("forward", &forward::run(&options)?, forward::table)
        }
        Benchmark::Detect(options) => told.tell("detect", &detect::run(&options)?, detect::table),
        Benchmark::Routes(options) => told.tell("routes", &routes::run(&options)?, routes::table),
        Benchmark::All { dpinger } => {
            let save = told.save.unwrap_or_else(|| PathBuf::from(DATA));
            all(told.json, &save, &dpinger)
        }
        Benchmark::Plot(options) => {
            for path in plot::run(&options)? {
                println!("{path}");
            }
            Ok(())
        }
        Benchmark::OneTarget(options) => one_target::run(&options),
    }
}

/// Each in a process of its own: a benchmark pins threads and leaves namespaces to their process's end.
fn all(json: bool, save: &std::path::Path, dpinger: &str) -> Result<()> {
    let own = env::current_exe()?;
    let mut failed = Vec::new();
    for name in ALL {
        eprintln!("bench: {name}");
        let mut command = Command::new(&own);
        command.arg(name).arg("--save").arg(save);
        if json {
            command.arg("--json");
        }
        if matches!(name, "probe" | "accuracy") {
            command.args(["--dpinger", dpinger]);
        }
        if !command.status().context(name)?.success() {
            failed.push(name);
        }
    }
    ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    Ok(())
}

/// How results are told.
struct Told {
    json: bool,
    save: Option<PathBuf>,
    machine: Machine,
}

impl Told {
    fn tell<R: serde::Serialize>(
        &self,
        name: &str,
        report: &R,
        table: impl Fn(&R) -> String,
    ) -> Result<()> {
        let saved = Saved {
            machine: self.machine.clone(),
            report: serde_json::to_value(report)?,
        };
        if let Some(directory) = &self.save {
            saved.write(directory, name)?;
        }
        if self.json {
            println!("{}", serde_json::to_string_pretty(&saved)?);
        } else {
            println!("{}\n{}", table(report), self.machine.line());
        }
        Ok(())
    }
}
