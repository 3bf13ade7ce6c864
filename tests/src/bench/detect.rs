//! From a silent cut to the kernel's new route: the real daemon against BFD at the same interval in the same site, idle and with every core
//! busy.

mod cut;
mod decision;
mod monitor;
mod who;

use std::{thread, time::Duration};

use anyhow::{Context, Result};
use serde::Serialize;

pub use self::who::Who;
use self::{cut::Knife, monitor::Monitor, who::Probing};
use super::{
    goal::{self, Goal},
    report::{median, quantile},
};
use crate::lab::{
    load::Load,
    site::{Plan, Site},
};

/// What to measure.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Cuts for pingu, in each case
    #[arg(long, default_value_t = 200)]
    pub cuts: u32,
    /// Cuts for each peer: theirs take seconds, since BFD begins slowly anew
    #[arg(long, default_value_t = 10)]
    pub peer_cuts: u32,
    /// Probe intervals in milliseconds
    #[arg(long, value_delimiter = ',', default_values_t = [10, 50])]
    pub intervals_ms: Vec<u64>,
    /// The interval that is only pingu's, in milliseconds; 0 for none
    #[arg(long, default_value_t = 1)]
    pub fast_ms: u64,
    /// Whether every core is kept busy
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Beside::Nothing, Beside::Hogs])]
    pub beside: Vec<Beside>,
    /// Lines of `[probe]` instead of the benchmark's own; INTERVAL and SUSPECT stand for times
    #[arg(long)]
    pub probe: Option<String>,
    /// Measure pingu alone
    #[arg(long)]
    pub alone: bool,
}

/// What else runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Beside {
    /// Nothing
    Nothing,
    /// A busy thread on every core
    Hogs,
}

/// One detector at one interval.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Who.
    pub who: Who,
    /// From one probe to the next; three are missed.
    pub interval_ms: u64,
    /// What else ran.
    pub beside: Beside,
    /// Cuts.
    pub cuts: usize,
    /// From the cut to the kernel's new route, in milliseconds: median, p99, the quickest, the slowest.
    pub median_ms: f64,
    /// The 99th percentile.
    pub p99_ms: f64,
    /// The quickest.
    pub min_ms: f64,
    /// The slowest.
    pub max_ms: f64,
    /// From the daemon's decision, by its log, to the kernel's change, in microseconds at the 99th percentile; pingu's only.
    pub decision_p99_us: Option<f64>,
    /// Falls of an uplink that nobody cut; pingu's only.
    pub false_alarms: Option<usize>,
}

/// All.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// By interval and load, pingu first.
    pub rows: Vec<Row>,
    /// What is promised.
    pub goals: Vec<Goal>,
}

const MULTIPLIER: u32 = 3;

/// A route moves within this time or the benchmark ends.
const MOVE_DEADLINE: Duration = Duration::from_secs(10);
/// And comes back within this one: BGP has to connect again.
const RETURN_DEADLINE: Duration = Duration::from_secs(60);
/// The hogs end by themselves after this time, which no case takes.
const HOGS_AT_MOST: Duration = Duration::from_secs(600);

/// Measures, in namespaces that vanish with the process.
pub fn run(options: &Options) -> Result<Report> {
    let mut rows = Vec::new();
    for beside in &options.beside {
        for interval_ms in &options.intervals_ms {
            let peers = [Who::Pingu, Who::Suspecting, Who::Bird, Who::Frr];
            let count = if options.alone { 2 } else { peers.len() };
            for who in &peers[..count] {
                rows.push(case(options, *who, *interval_ms, *beside)?);
            }
        }
        if options.fast_ms != 0 {
            rows.push(case(options, Who::Pingu, options.fast_ms, *beside)?);
        }
    }
    Ok(Report {
        goals: goals(&rows, options.fast_ms),
        rows,
    })
}

fn probing(options: &Options, who: Who, interval_ms: u64) -> Probing {
    let text = options.probe.as_deref().unwrap_or(PROBE);
    Probing {
        interval: Duration::from_millis(interval_ms),
        lines: [
            text.replace("INTERVAL", &format!("{interval_ms}ms"))
                .replace(
                    "SUSPECT",
                    &format!("{}ms", who.suspect_interval_ms(interval_ms)),
                )
                .replace("\\n", "\n"),
            format!("max_loss = 90\nfall = {MULTIPLIER}\nrise = {MULTIPLIER}"),
        ],
    }
}

/// A request each interval; three in a row that go unanswered, overdue by the path's own round-trip times, are a failure.
const PROBE: &str = "mode = \"rolling\"\ninterval = \"INTERVAL\"\ntimeout = \"INTERVAL\"\nwindow = \"10s\"\nsuspect_interval = \"SUSPECT\"";

fn case(options: &Options, who: Who, interval_ms: u64, beside: Beside) -> Result<Row> {
    let probing = probing(options, who, interval_ms);
    let site = Plan::new(&["wan1", "wan2"]).without_defaults().build();
    let knife = Knife::new(&site.providers[0])?;
    let mut running = who::start(who, &site, &probing)?;
    let cuts = match who {
        Who::Pingu | Who::Suspecting => options.cuts,
        Who::Bird | Who::Frr => options.peer_cuts,
    };
    let _hogs = (beside == Beside::Hogs).then(|| Load::start(HOGS_AT_MOST));
    let series = series(&site, &knife, who, probing.interval, cuts)
        .with_context(|| format!("{} at {interval_ms} ms", who.name()))?;
    let log = running.pingu.as_mut().map(|daemon| daemon.process().log());
    let of = |fraction| quantile(series.iter().map(|moved| moved.took_ms), fraction);
    let decisions = log.as_deref().map(|log| decision::falls(log, "wan1"));
    let latencies = decisions
        .as_ref()
        .map(|falls| decision::latencies_us(falls, &series));
    Ok(Row {
        who,
        interval_ms,
        beside,
        cuts: series.len(),
        median_ms: median(series.iter().map(|moved| moved.took_ms)),
        p99_ms: of(0.99),
        min_ms: of(0.0),
        max_ms: of(1.0),
        decision_p99_us: latencies.map(|latencies| quantile(latencies.into_iter(), 0.99)),
        false_alarms: decisions.map(|falls| falls.len().saturating_sub(series.len())),
    })
}

/// One move of the route.
#[derive(Clone, Copy, Debug)]
struct Moved {
    took_ms: f64,
    /// Microseconds since midnight, UTC.
    of_day_us: u64,
}

fn series(
    site: &Site,
    knife: &Knife,
    who: Who,
    interval: Duration,
    cuts: u32,
) -> Result<Vec<Moved>> {
    let (wanted, spare) = (site.ifindex(0), site.ifindex(1));
    let mut monitor = Monitor::start(&site.router)?;
    let mut series = Vec::new();
    for number in 0..cuts {
        monitor.wait_until_by(wanted, RETURN_DEADLINE)?;
        // The cuts fall into all parts of an interval.
        let part = f64::from(number) * GOLDEN % 1.0;
        let pause = who.settle(interval) + interval.mul_f64(part);
        thread::sleep(pause);
        // What fell meanwhile without a cut has come back.
        monitor.wait_until_by(wanted, RETURN_DEADLINE)?;
        let cut = knife.cut()?;
        let event = monitor.wait_until_by(spare, MOVE_DEADLINE)?;
        let event = event.context("the route had moved before the cut")?;
        series.push(Moved {
            took_ms: event.at.saturating_duration_since(cut.at).as_secs_f64() * 1e3,
            of_day_us: decision::since_midnight_us(event.of_day)?,
        });
        drop(cut);
    }
    Ok(series)
}

/// Its multiples fill an interval evenly, however many there are.
const GOLDEN: f64 = 0.618_033_988_749_895;

fn goals(rows: &[Row], fast_ms: u64) -> Vec<Goal> {
    let mut goals = Vec::new();
    let find = |who, row: &Row| {
        let same = |other: &&Row| {
            other.who == who && other.interval_ms == row.interval_ms && other.beside == row.beside
        };
        rows.iter().find(same)
    };
    for row in rows.iter().filter(|row| row.who.is_own()) {
        let (who, beside) = (row.who.name(), format!("{:?}", row.beside).to_lowercase());
        let when = format!("{who}, {} ms x 3, beside {beside}", row.interval_ms);
        if row.interval_ms == fast_ms {
            let what = format!("{when}: cut to new route, median");
            goals.push(Goal::at_most(what, row.median_ms, 3.0, "ms"));
        } else if let Some(bird) = find(Who::Bird, row) {
            let what = format!("{when}: cut to new route, median, of BIRD's");
            goals.push(Goal::at_most(
                what,
                row.median_ms / bird.median_ms,
                1.0,
                "x",
            ));
        }
        let latency = row.decision_p99_us.unwrap_or(f64::NAN);
        let what = format!("{when}: decision to the kernel's change, p99");
        goals.push(Goal::at_most(what, latency, 200.0, "us"));
    }
    goals
}

/// The report as a table.
pub fn table(report: &Report) -> String {
    let mut lines = vec![format!(
        "{:<18} {:>9} {:>9} {:>6} {:>10} {:>9} {:>9} {:>9} {:>16} {:>13}",
        "who",
        "interval",
        "beside",
        "cuts",
        "median ms",
        "p99",
        "min",
        "max",
        "decision p99 us",
        "false alarms"
    )];
    for row in &report.rows {
        let latency = row.decision_p99_us.map(|us| format!("{us:.0}"));
        let alarms = row.false_alarms.map(|count| count.to_string());
        lines.push(format!(
            "{:<18} {:>6} ms {:>9} {:>6} {:>10.1} {:>9.1} {:>9.1} {:>9.1} {:>16} {:>13}",
            row.who.name(),
            row.interval_ms,
            format!("{:?}", row.beside).to_lowercase(),
            row.cuts,
            row.median_ms,
            row.p99_ms,
            row.min_ms,
            row.max_ms,
            latency.unwrap_or_default(),
            alarms.unwrap_or_default()
        ));
    }
    lines.push(goal::lines(&report.goals));
    lines.join("\n")
}
