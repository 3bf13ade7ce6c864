//! How far the round-trip times that probers tell are from what a capture on the interface says, probe by probe: idle, beside busy threads,
//! and beside a bulk flow, over a path of two milliseconds.

mod bulk;
mod claims;
mod own;
mod prober;
mod tap;

use std::{collections::BTreeMap, thread, time::Duration};

use anyhow::Result;
use serde::Serialize;

pub use self::prober::Prober;
use self::{bulk::Bulk, claims::errors_us, tap::Tap};
use super::{
    goal::{self, Goal},
    probe::is_here,
    report::{median, quantile},
};
use crate::lab::{
    delay::Delay,
    load::Load,
    site::{Plan, Site},
};

/// What to measure.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Probes of each prober in a run
    #[arg(long, default_value_t = 480, value_parser = clap::value_parser!(u32).range(10..=60_000))]
    pub probes: u32,
    /// From one to the next, in milliseconds
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..))]
    pub interval_ms: u64,
    /// What the path takes, in milliseconds
    #[arg(long, default_value_t = 2)]
    pub delay_ms: u64,
    /// Runs of each, in turns; the medians count
    #[arg(long, default_value_t = 5)]
    pub runs: usize,
    /// What else runs
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Beside::Nothing, Beside::Hogs, Beside::Bulk])]
    pub beside: Vec<Beside>,
    /// The dpinger to measure; Debian has no package of it
    #[arg(long, default_value = "dpinger")]
    pub dpinger: String,
}

/// What else runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Beside {
    /// Nothing
    Nothing,
    /// Two busy threads on every core
    Hogs,
    /// A connection over the uplink that takes all that it gets
    Bulk,
}

/// One prober beside one load: medians over the runs, in microseconds.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// What else ran.
    pub beside: Beside,
    /// Who.
    pub prober: Prober,
    /// pingu's 99th percentile, by TC, over this one's.
    pub p99_ratio: f64,
    /// Of the distances from the capture.
    pub median_us: f64,
    /// The 99th percentile.
    pub p99_us: f64,
    /// The greatest.
    pub max_us: f64,
    /// Probes that were compared, in all runs.
    pub probes: usize,
}

/// All.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// By load.
    pub rows: Vec<Row>,
    /// What is promised.
    pub goals: Vec<Goal>,
    /// Peers that are not here.
    pub missing: Vec<String>,
    /// Runs of each.
    pub runs: usize,
}

/// The loads end by themselves after this time, which no benchmark takes.
const LOAD_AT_MOST: Duration = Duration::from_secs(1_800);

/// The switch is thrown by a worker of the kernel's, within milliseconds.
const STAMPS_AFTER: Duration = Duration::from_millis(50);

/// Measures, in namespaces that vanish with the process.
pub fn run(options: &Options) -> Result<Report> {
    let site = Plan::new(&["wan1"]).without_defaults().build();
    site.router.ip("route add default via 10.0.1.1");
    let delay = Delay::start(&site.providers[0]);
    delay.set(Duration::from_millis(options.delay_ms));
    let (probers, missing) = probers(options);
    let mut errors: BTreeMap<(Beside, Prober), Vec<Vec<f64>>> = BTreeMap::new();
    for _ in 0..options.runs {
        for beside in &options.beside {
            let _hogs = (*beside == Beside::Hogs)
                .then(|| [Load::start(LOAD_AT_MOST), Load::start(LOAD_AT_MOST)]);
            let _bulk = (*beside == Beside::Bulk)
                .then(|| Bulk::start(&site))
                .transpose()?;
            for prober in &probers {
                let found = turn(&site, options, *prober)?;
                errors.entry((*beside, *prober)).or_default().push(found);
            }
        }
    }
    // Before the site that it delays.
    drop(delay);
    let rows = rows(&errors);
    Ok(Report {
        goals: goals(&rows),
        rows,
        missing,
        runs: options.runs,
    })
}

fn probers(options: &Options) -> (Vec<Prober>, Vec<String>) {
    let program = |prober: Prober| prober.program(&options.dpinger).map(str::to_owned);
    let (here, missing): (Vec<_>, Vec<_>) = Prober::ALL
        .into_iter()
        .partition(|prober| program(*prober).is_none_or(|name| is_here(&name)));
    (here, missing.into_iter().filter_map(program).collect())
}

fn turn(site: &Site, options: &Options, prober: Prober) -> Result<Vec<f64>> {
    let tap = Tap::start(&site.router, "wan1")?;
    // The kernel begins to stamp a little after it is asked to.
    thread::sleep(STAMPS_AFTER);
    let interval = Duration::from_millis(options.interval_ms);
    let claims = prober.run(site, &options.dpinger, options.probes, interval)?;
    Ok(errors_us(&claims, &tap.finish()?))
}

fn rows(errors: &BTreeMap<(Beside, Prober), Vec<Vec<f64>>>) -> Vec<Row> {
    let p99 = |runs: &[Vec<f64>]| {
        let of = |run: &Vec<f64>| quantile(run.iter().copied(), 0.99);
        median(runs.iter().map(of))
    };
    errors
        .iter()
        .map(|((beside, prober), runs)| {
            let own = errors.get(&(*beside, Prober::PinguTc));
            let of = |fraction| {
                median(
                    runs.iter()
                        .map(|run| quantile(run.iter().copied(), fraction)),
                )
            };
            Row {
                beside: *beside,
                prober: *prober,
                p99_ratio: own.map_or(f64::NAN, |own| p99(own) / p99(runs)),
                median_us: of(0.5),
                p99_us: p99(runs),
                max_us: of(1.0),
                probes: runs.iter().map(Vec::len).sum(),
            }
        })
        .collect()
}

fn goals(rows: &[Row]) -> Vec<Goal> {
    let p99 = |beside, prober| {
        let row = rows
            .iter()
            .find(|row| row.beside == beside && row.prober == prober);
        row.map_or(f64::NAN, |row| row.p99_us)
    };
    let mut goals = Vec::new();
    let mut loads: Vec<Beside> = rows.iter().map(|row| row.beside).collect();
    loads.dedup();
    for beside in loads {
        let when = format!("beside {beside:?}").to_lowercase();
        let (tc, xdp) = (p99(beside, Prober::PinguTc), p99(beside, Prober::PinguXdp));
        let ping = p99(beside, Prober::Ping);
        goals.extend([
            Goal::at_most(format!("{when}: p99 error with TC"), tc, 9.0, "us"),
            Goal::at_most(format!("{when}: p99 error with native XDP"), xdp, 2.0, "us"),
            Goal::at_most(
                format!("{when}: p99 error with TC, of ping's"),
                tc / ping,
                1.0 / 3.0,
                "x",
            ),
            Goal::at_most(
                format!("{when}: p99 error with native XDP, of ping's"),
                xdp / ping,
                0.05,
                "x",
            ),
        ]);
        if beside == Beside::Hogs {
            let dpinger = p99(beside, Prober::Dpinger);
            let what = format!("{when}: p99 error with TC, of dpinger's");
            goals.push(Goal::at_most(what, tc / dpinger, 0.01, "x"));
        }
    }
    goals
}

/// The report as a table.
pub fn table(report: &Report) -> String {
    let mut lines = Vec::new();
    let mut before = None;
    for row in &report.rows {
        if before != Some(row.beside) {
            lines.push(format!(
                "{:<26} {:>9} {:>11} {:>9} {:>9} {:>7}",
                format!("beside {:?}", row.beside).to_lowercase(),
                "TC p99",
                "median us",
                "p99",
                "max",
                "probes"
            ));
            before = Some(row.beside);
        }
        lines.push(format!(
            "  {:<24} {:>7.3} x {:>11.1} {:>9.1} {:>9.1} {:>7}",
            row.prober.name(),
            row.p99_ratio,
            row.median_us,
            row.p99_us,
            row.max_us,
            row.probes
        ));
    }
    lines.push(format!("medians of {} runs in turns", report.runs));
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

    #[test]
    fn percentiles_are_of_a_run_and_medians_of_the_runs() {
        let run = |worst: f64| -> Vec<f64> {
            (1..=100)
                .map(|rank| worst * f64::from(rank) / 99.0)
                .collect()
        };
        let errors = BTreeMap::from([
            (
                (Beside::Nothing, Prober::PinguTc),
                vec![run(5.0), run(3.0), run(4.0)],
            ),
            ((Beside::Nothing, Prober::Ping), vec![run(16.0)]),
        ]);
        let rows = rows(&errors);
        assert_eq!(rows[0].p99_us, 4.0);
        assert_eq!((rows[1].p99_us, rows[1].p99_ratio), (16.0, 0.25));
        let goals = goals(&rows);
        let met: Vec<_> = goals.iter().map(Goal::is_met).collect();
        assert_eq!(met, [Some(true), None, Some(true), None]);
    }
}
