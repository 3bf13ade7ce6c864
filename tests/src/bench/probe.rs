//! Answered probes a second and the processor time that one costs, of pingu and its peers on the same veth pair. All of them, and the
//! answering kernel, run on one core; what softirq does on their behalf is charged to them.

mod flood;
mod lines;
mod measure;

use std::time::Duration;

use anyhow::Result;
use pingu::{config::ReceiveHook, probe::EngineKind};
use serde::Serialize;

use self::measure::Lab;
pub(super) use self::measure::is_here;
use super::{
    goal::{self, Goal},
    report::median,
};

/// What to measure.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Addresses that answer when pingu is at its fastest
    #[arg(long, default_value_t = 65_536, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub targets: u32,
    /// Probes in flight at once when pingu is at its fastest
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub window: u32,
    /// Probes of pingu's in a run at its fastest
    #[arg(long, default_value_t = 300_000)]
    pub probes: u32,
    /// Probes a second in the runs at a steady rate
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub rate: u32,
    /// Targets in the runs at a steady rate
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub rate_targets: u32,
    /// How long a program that does not end by itself is watched, in milliseconds
    #[arg(long, default_value_t = 1_500)]
    pub watch_ms: u64,
    /// Runs of each, in turns; the medians count
    #[arg(long, default_value_t = 5)]
    pub runs: usize,
    /// The core that everything runs on
    #[arg(long, default_value_t = 1)]
    pub core: usize,
    /// Where pingu matches replies
    #[arg(long, default_value = "tcx", value_parser = receive_hook)]
    pub receive: ReceiveHook,
    /// The dpinger to measure; Debian has no package of it
    #[arg(long, default_value = "dpinger")]
    pub dpinger: String,
    /// What of it
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Part::Flood, Part::Rate, Part::Each])]
    pub parts: Vec<Part>,
    /// Measure pingu alone
    #[arg(long)]
    pub alone: bool,
    /// Measure the bare loop with an AF_XDP socket, too, which pingu does not use; the loops probe a target for each in flight, so give
    /// `--targets` what `--window` has
    #[arg(long)]
    pub af_xdp: bool,
}

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// As fast as it goes
    Flood,
    /// At a steady rate
    Rate,
    /// At that rate, with a process for each target
    Each,
}

/// Reads the name of a receive hook.
pub(super) fn receive_hook(text: &str) -> Result<ReceiveHook, String> {
    match text {
        "tcx" => Ok(ReceiveHook::Tcx),
        "clsact" => Ok(ReceiveHook::Clsact),
        "xdp" => Ok(ReceiveHook::Xdp),
        _ => Err("one of tcx, clsact, xdp".to_owned()),
    }
}

/// One prober's medians.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// In which part.
    pub part: Part,
    /// Who.
    pub prober: &'static str,
    /// pingu's rate over this one's.
    pub rate_ratio: f64,
    /// pingu's processor time for a probe over this one's.
    pub cpu_ratio: f64,
    /// Echo replies that counted, over the time that it took.
    pub answered_per_second: f64,
    /// Processor time of tasks and softirq over probes sent.
    pub cpu_ns_per_probe: f64,
    /// The share of probes without an answer, over all runs, in percent.
    pub lost_percent: f64,
}

/// All probers.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// pingu first in each part.
    pub rows: Vec<Row>,
    /// What is promised.
    pub goals: Vec<Goal>,
    /// Peers that are not here.
    pub missing: Vec<String>,
    /// Runs of each.
    pub runs: usize,
    /// The hooks that served pingu's own loop at its fastest, where that was measured.
    pub engine: Option<EngineKind>,
    /// The core that everything ran on.
    pub core: usize,
    /// Medians of the round-trip times that bare loops at their fastest told: who, median and p99 in microseconds.
    pub rtts_us: Vec<(&'static str, [f64; 2])>,
}

/// One run of one prober.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub sent: u64,
    pub answered: u64,
    pub elapsed: Duration,
    pub cpu: Duration,
}

/// Unanswered for so long, a probe is lost.
pub(super) const TIMEOUT: Duration = Duration::from_secs(1);

const LOOP: &str = "pingu's transport";
const DAEMON: &str = "pingu, the daemon";

/// Measures, in namespaces that vanish with the process.
pub fn run(options: &Options) -> Result<Report> {
    let mut lab = Lab::new(options)?;
    for _ in 0..options.runs {
        for part in &options.parts {
            lab.turn(*part)?;
        }
    }
    let rows: Vec<Row> = options
        .parts
        .iter()
        .flat_map(|part| rows(*part, &lab.runs(*part)))
        .collect();
    let rtts_us = lab.rtts_us.iter().map(|(&name, runs)| {
        let middle = |place: usize| median(runs.iter().map(|run| run[place]));
        (name, [middle(0), middle(1)])
    });
    Ok(Report {
        rtts_us: rtts_us.collect(),
        goals: goals(&rows),
        rows,
        missing: lab.missing,
        runs: options.runs,
        engine: lab.engine,
        core: options.core,
    })
}

fn rows(part: Part, probers: &[(&'static str, Vec<Run>)]) -> Vec<Row> {
    let mut rows: Vec<Row> = probers
        .iter()
        .map(|(prober, runs)| {
            let total = |of: fn(&Run) -> u64| runs.iter().map(of).sum::<u64>() as f64;
            let (sent, answered) = (total(|run| run.sent), total(|run| run.answered));
            Row {
                part,
                prober,
                rate_ratio: 1.0,
                cpu_ratio: 1.0,
                answered_per_second: median(
                    runs.iter()
                        .map(|run| run.answered as f64 / run.elapsed.as_secs_f64()),
                ),
                cpu_ns_per_probe: median(
                    runs.iter()
                        .map(|run| run.cpu.as_nanos() as f64 / run.sent as f64),
                ),
                lost_percent: (sent - answered) / sent * 100.0,
            }
        })
        .collect();
    let first = rows.first().cloned();
    for (row, first) in rows.iter_mut().zip(first.iter().cycle()) {
        row.rate_ratio = first.answered_per_second / row.answered_per_second;
        row.cpu_ratio = first.cpu_ns_per_probe / row.cpu_ns_per_probe;
    }
    rows
}

fn goals(rows: &[Row]) -> Vec<Goal> {
    let of = |part: Part, prober: &str| {
        let row = rows
            .iter()
            .find(|row| row.part == part && row.prober.starts_with(prober));
        row.map_or((f64::NAN, f64::NAN), |row| (row.rate_ratio, row.cpu_ratio))
    };
    let rate = |prober: &str, goal| {
        let what = format!("flood: answered probes a second, of {prober}'s");
        Goal::at_least(what, of(Part::Flood, prober).0, goal, "x")
    };
    let cpu = |part: Part, prober: &str, goal| {
        let when = match part {
            Part::Flood => "flood",
            Part::Rate => "steady rate, the daemon",
            Part::Each => "steady rate, the daemon, a process a target",
        };
        let what = format!("{when}: CPU for a probe, of {prober}'s");
        Goal::at_most(what, of(part, prober).1, goal, "x")
    };
    let mut goals = vec![
        rate("ping -f", 2.0),
        rate("fping", 2.8),
        rate("zmap", 1.5),
        rate("masscan", 1.5),
        cpu(Part::Flood, "zmap", 0.5),
        cpu(Part::Flood, "masscan", 0.5),
        cpu(Part::Rate, "fping, evenly", 0.2),
        cpu(Part::Rate, "masscan", 1.0),
        cpu(Part::Rate, "oping", 1.0),
        cpu(Part::Each, "dpinger", 0.05),
    ];
    let measured = |part| rows.iter().any(|row| row.part == part);
    let parts = [(Part::Flood, 0..6), (Part::Rate, 6..9), (Part::Each, 9..10)];
    for (part, places) in parts.into_iter().rev() {
        if !measured(part) {
            goals.drain(places);
        }
    }
    goals
}

/// The report as a table.
pub fn table(report: &Report) -> String {
    let mut lines = Vec::new();
    let mut before = None;
    for row in &report.rows {
        if before != Some(row.part) {
            let title = match row.part {
                Part::Flood => "as fast as it goes",
                Part::Rate => "at a steady rate",
                Part::Each => "a process a target",
            };
            lines.push(format!(
                "{title:<26} {:>10} {:>9}   {:>10} {:>13} {:>7}",
                "pingu rate", "pingu CPU", "answered/s", "CPU ns/probe", "lost %"
            ));
            before = Some(row.part);
        }
        lines.push(format!(
            "  {:<24} {:>8.2} x {:>7.3} x   {:>10.0} {:>13.0} {:>7.2}",
            row.prober,
            row.rate_ratio,
            row.cpu_ratio,
            row.answered_per_second,
            row.cpu_ns_per_probe,
            row.lost_percent
        ));
    }
    let engine = report.engine.map_or_else(String::new, |engine| {
        format!(" pingu's loop by {engine:?};")
    });
    lines.push(format!(
        "medians of {} runs in turns;{engine} all on core {}, the answering kernel included",
        report.runs, report.core
    ));
    lines.extend(report.rtts_us.iter().map(|(name, [middle, most])| {
        format!("{name}: round-trip times of {middle:.1} us, p99 {most:.1} us")
    }));
    lines.extend(
        report
            .missing
            .iter()
            .map(|peer| format!("not here: {peer}")),
    );
    lines.push(goal::lines(&report.goals));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ran(answered: u64, cpu_ns: u64) -> Vec<Run> {
        let run = Run {
            sent: 1_000,
            answered,
            elapsed: Duration::from_secs(1),
            cpu: Duration::from_nanos(cpu_ns * 1_000),
        };
        vec![run; 3]
    }

    #[test]
    fn ratios_are_to_the_first_prober_of_a_part_and_goals_only_of_what_was_measured() {
        let probers = [(LOOP, ran(1_000, 10)), ("zmap", ran(500, 40))];
        let rows = rows(Part::Flood, &probers);
        assert_eq!(rows[1].rate_ratio, 2.0);
        assert_eq!(rows[1].cpu_ratio, 0.25);
        assert_eq!(rows[1].lost_percent, 50.0);
        let goals = goals(&rows);
        assert_eq!(goals.len(), 6);
        let zmap = goals.iter().filter(|goal| goal.what.contains("zmap"));
        assert!(zmap.map(Goal::is_met).all(|met| met == Some(true)));
        assert_eq!(goals[0].is_met(), None, "there was no ping");
    }
}
