//! How fast routes move, in namespaces of its own: pingu's own path in this process, the whole daemon from a cut wire to the last route,
//! and what the daemon costs while others churn the table; beside `ip -batch` and `ip nexthop` in the same run.

mod fixture;
mod monitor;
mod mover;
mod moves;
mod running;
mod wire;

use std::{collections::BTreeMap, time::Duration};

use anyhow::Result;
use serde::Serialize;

use super::report::{median, quartiles};

/// What to measure.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Runs of each, in turns; medians and quartiles count
    #[arg(long, default_value_t = 7)]
    pub runs: usize,
    /// How many prefixes move at once
    #[arg(long, value_delimiter = ',', default_values_t = [1, 1_000, 10_000])]
    pub prefixes: Vec<u32>,
    /// The core that moves in this process and their peers run on
    #[arg(long, default_value_t = 1)]
    pub core: usize,
    /// Routes of a routing daemon's that make a table large
    #[arg(long, default_value_t = 100_000)]
    pub foreign: u32,
    /// How long the daemon's processor time is counted, in seconds
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(2..))]
    pub seconds: u32,
    /// What to measure
    #[arg(long, value_delimiter = ',', default_values = ["moves", "looks", "daemon", "churn"])]
    pub parts: Vec<Part>,
}

/// A part of the benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// pingu's own path and its peers, in this process
    Moves,
    /// One look at the kernel
    Looks,
    /// The whole daemon, from a cut wire to the last route
    Daemon,
    /// What the daemon costs while others change routes
    Churn,
}

/// One figure.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Who did what.
    pub what: String,
    /// How many prefixes it was about.
    pub prefixes: u32,
    /// Changes that were written, in the median run; none where they are not counted.
    pub changes: Option<usize>,
    /// Middle time in microseconds.
    pub median_us: f64,
    /// A quarter of the runs took less than the first, a quarter more than the second.
    pub quartiles_us: [f64; 2],
    /// The time over that of `ip -batch route replace` of as many prefixes in the same run; none where there is no such peer.
    pub to_ip_batch: Option<f64>,
}

/// What the daemon costs beside others.
#[derive(Clone, Debug, Serialize)]
pub struct Cost {
    /// Beside what.
    pub beside: String,
    /// The share of one core in percent.
    pub core_percent: f64,
}

/// All figures.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Moves of routes, and looks at them.
    pub times: Vec<Row>,
    /// What the daemon costs.
    pub costs: Vec<Cost>,
    /// Runs of each.
    pub runs: usize,
}

/// Measures, in namespaces that vanish with the process.
pub fn run(options: &Options) -> Result<Report> {
    let (mut times, mut costs) = (Vec::new(), Vec::new());
    for part in &options.parts {
        match part {
            Part::Moves => {
                for &count in &options.prefixes {
                    times.extend(moves::run(options, count)?);
                }
            }
            Part::Looks => times.extend(running::looks(options)?),
            Part::Daemon => times.extend(running::failovers(options)?),
            Part::Churn => costs.extend(running::churn(options)?),
        }
    }
    Ok(Report {
        times,
        costs,
        runs: options.runs,
    })
}

/// Times by what took them, in the order in which they were first noted.
#[derive(Default)]
struct Samples {
    order: Vec<String>,
    times_us: BTreeMap<String, Vec<f64>>,
    changes: BTreeMap<String, Vec<f64>>,
}

impl Samples {
    fn note(&mut self, what: &str, took: Duration) {
        let times = self.times_us.entry(what.to_owned()).or_insert_with(|| {
            self.order.push(what.to_owned());
            Vec::new()
        });
        times.push(took.as_secs_f64() * 1e6);
    }

    fn count(&mut self, what: &str, changes: usize) {
        let counts = self.changes.entry(what.to_owned()).or_default();
        counts.push(changes as f64);
    }

    fn median(&self, what: &str) -> f64 {
        let times = self.times_us.get(what);
        median(times.into_iter().flatten().copied())
    }

    fn rows(&self, prefixes: u32, reference_us: Option<f64>) -> Vec<Row> {
        let row = |what: &String| {
            let times = &self.times_us[what];
            let changes = self.changes.get(what);
            let median_us = median(times.iter().copied());
            Row {
                what: what.clone(),
                prefixes,
                changes: changes.map(|counts| median(counts.iter().copied()) as usize),
                median_us,
                quartiles_us: quartiles(times.iter().copied()),
                to_ip_batch: reference_us.map(|reference_us| median_us / reference_us),
            }
        };
        self.order.iter().map(row).collect()
    }
}

/// The report as a table.
pub fn table(report: &Report) -> String {
    let mut lines = Vec::new();
    let mut before = None;
    for row in &report.times {
        if before != Some(row.prefixes) {
            lines.push(format!(
                "{:<62} {:>8} {:>12} {:>25} {:>9}",
                format!("{} prefixes", row.prefixes),
                "changes",
                "median us",
                "quartiles us",
                "ip -batch"
            ));
            before = Some(row.prefixes);
        }
        let changes = row.changes.map(|count| count.to_string());
        let [low, high] = row.quartiles_us;
        let ratio = row.to_ip_batch.map(|ratio| format!("{ratio:.3} x"));
        lines.push(format!(
            "  {:<60} {:>8} {:>12.1} {:>12.1} {:>12.1} {:>9}",
            row.what,
            changes.unwrap_or_default(),
            row.median_us,
            low,
            high,
            ratio.unwrap_or_default()
        ));
    }
    for cost in &report.costs {
        lines.push(format!(
            "daemon beside {:<70} {:>6.2} % of a core",
            cost.beside, cost.core_percent
        ));
    }
    lines.push(format!("medians of {} runs in turns", report.runs));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_in_the_order_of_their_first_sample_with_ratios_to_the_reference() {
        let mut samples = Samples::default();
        for (what, took_us) in [("b", 10), ("a", 30), ("b", 30), ("a", 50)] {
            samples.note(what, Duration::from_micros(took_us));
        }
        samples.count("a", 2);
        let rows = samples.rows(7, Some(samples.median("b")));
        let seen: Vec<_> = rows
            .iter()
            .map(|row| (row.what.as_str(), row.changes, row.to_ip_batch))
            .collect();
        assert_eq!(seen, [("b", None, Some(1.0)), ("a", Some(2), Some(2.0))]);
    }
}
