//! What the real daemon costs that only watches: processor time and wake-ups for a probe, resident memory, over many uplinks and over ever
//! more targets at one rate. Beside them a bare loop, which tells what the machine charges.

mod bare;

use std::{
    fs,
    net::Ipv4Addr,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use serde::Serialize;

use super::{
    cpu,
    daemon::{Running, Uplink},
    goal::{self, Goal},
    link::Link,
    namespace::Namespace,
    report::median,
    watched::Counters,
};

/// What to measure.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Uplinks of the usual case
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u8).range(1..=250))]
    pub uplinks: u8,
    /// Targets of each
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub targets: u8,
    /// Probes a second to each target
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub target_rate: u32,
    /// How many targets share one rate
    #[arg(long, value_delimiter = ',', default_values_t = [10, 100, 1_000, 10_000, 65_536])]
    pub sizes: Vec<u32>,
    /// That rate: probes a second in all
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub rate: u32,
    /// How often each daemon is watched; the medians count
    #[arg(long, default_value_t = 5)]
    pub runs: usize,
    /// For how long, in seconds
    #[arg(long, default_value_t = 4)]
    pub seconds: u64,
}

/// One daemon.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Uplinks.
    pub uplinks: usize,
    /// Targets of all of them.
    pub targets: u32,
    /// Probes a second that the targets took in.
    pub probes_per_second: f64,
    /// Processor time for a probe, softirq included, in microseconds.
    pub cpu_us_per_probe: f64,
    /// The share of one core in percent.
    pub core_percent: f64,
    /// How often a second a thread of it woke up.
    pub wake_ups_per_second: f64,
    /// Probes for each of those.
    pub probes_per_wake_up: f64,
    /// Resident memory in MB (10^6 bytes), at the end.
    pub resident_mb: f64,
}

/// All daemons.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The usual case.
    pub usual: Row,
    /// One rate over ever more targets.
    pub sizes: Vec<Row>,
    /// What could not be measured, and why.
    pub unmeasured: Vec<String>,
    /// What a bare loop with ten probes a wake-up takes for a probe at that rate, in microseconds.
    pub bare_cpu_us_per_probe: f64,
    /// What is promised.
    pub goals: Vec<Goal>,
    /// Looks at each daemon.
    pub runs: usize,
}

/// The probes of a daemon that has just started come in the wanted number a second within this time, after [`UNEVEN_SHARE`].
const STEADY_DEADLINE: Duration = Duration::from_secs(40);
/// The first probes leave at once, and the second ones bring their paths into phase: until this share of the period has passed there are
/// now none and now more than one in a period.
const UNEVEN_SHARE: f64 = 0.75;
/// How far from that number they may be.
const STEADY_WITHIN: f64 = 0.15;
/// Looked at for so long each time.
const STEADY_LOOK: Duration = Duration::from_secs(2);

/// Measures, in namespaces that vanish with the process.
pub fn run(options: &Options) -> Result<Report> {
    let usual = usual(options)?;
    let (mut sizes, mut unmeasured) = (Vec::new(), Vec::new());
    for targets in &options.sizes {
        match size(options, *targets) {
            Ok(row) => sizes.push(row),
            Err(error) => unmeasured.push(format!("{targets} targets: {error:#}")),
        }
    }
    let look = Duration::from_secs(options.seconds);
    Ok(Report {
        bare_cpu_us_per_probe: bare::cpu_us_per_probe(options.rate, options.runs, look)?,
        goals: goals(&usual, &sizes, options.rate),
        usual,
        sizes,
        unmeasured,
        runs: options.runs,
    })
}

/// Many uplinks on wires of their own.
fn usual(options: &Options) -> Result<Row> {
    let (router, answerer) = (Namespace::new()?, Namespace::new()?);
    let target = |number| Ipv4Addr::new(10, 91, 0, number);
    for number in 1..=options.targets {
        answerer.ip(&format!("address add {}/32 dev lo", target(number)))?;
    }
    let mut uplinks = Vec::new();
    for number in 1..=options.uplinks {
        let (here, there) = (format!("wan{number}"), format!("peer{number}"));
        let (source, gateway) = (
            Ipv4Addr::new(10, 90, number, 1),
            Ipv4Addr::new(10, 90, number, 2),
        );
        router.veth(&here, &answerer, &there)?;
        router.ip(&format!("address add {source}/24 dev {here}"))?;
        answerer.ip(&format!("address add {gateway}/24 dev {there}"))?;
        uplinks.push(Uplink {
            interface: here,
            gateway,
            source,
            targets: (1..=options.targets).map(target).collect(),
        });
    }
    let period_ms = 1000 / options.target_rate;
    let rate = u32::from(options.uplinks) * u32::from(options.targets) * options.target_rate;
    let counters = Counters::new(&router, &answerer);
    watch(options, &router, &counters, &uplinks, [period_ms, rate])
}

/// So many targets at one rate.
fn size(options: &Options, targets: u32) -> Result<Row> {
    let link = Link::new(targets)?;
    let uplinks = link.uplinks(targets)?;
    let period_ms = u64::from(targets) * 1000 / u64::from(options.rate);
    let times = [period_ms as u32, options.rate];
    watch(options, &link.sender, &link.counters, &uplinks, times)
}

fn watch(
    options: &Options,
    namespace: &Namespace,
    counters: &Counters,
    uplinks: &[Uplink],
    [period_ms, rate]: [u32; 2],
) -> Result<Row> {
    let timeout_ms = period_ms.min(1_000);
    let probe = format!("count = 1\nperiod = \"{period_ms}ms\"\ntimeout = \"{timeout_ms}ms\"");
    let running = Running::start(namespace, uplinks, [&probe, ""])?;
    thread::sleep(Duration::from_millis(period_ms.into()).mul_f64(UNEVEN_SHARE));
    wait_until_steady(counters, f64::from(rate))?;
    let process = running.watched.id();
    let mut looks = Vec::new();
    for _ in 0..options.runs {
        looks.push(look(
            process,
            counters,
            Duration::from_secs(options.seconds),
        )?);
    }
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let of = |value: fn(&Look) -> f64| median(looks.iter().map(value));
    Ok(Row {
        uplinks: uplinks.len(),
        targets: uplinks
            .iter()
            .map(|uplink| uplink.targets.len() as u32)
            .sum(),
        probes_per_second: of(|look| look.probes / look.seconds),
        cpu_us_per_probe: of(|look| look.cpu_us / look.probes),
        core_percent: of(|look| look.cpu_us / look.seconds / 1e4),
        wake_ups_per_second: of(|look| look.wake_ups / look.seconds),
        probes_per_wake_up: of(|look| look.probes / look.wake_ups),
        resident_mb: cpu::status_field(&status, "VmRSS")? as f64 * 1024.0 / 1e6,
    })
}

/// What happened in a while.
struct Look {
    seconds: f64,
    probes: f64,
    cpu_us: f64,
    wake_ups: f64,
}

fn look(process: u32, counters: &Counters, length: Duration) -> Result<Look> {
    let read = || -> Result<(u64, u64, Duration)> {
        let cpu = cpu::process_time(process)? + cpu::softirq_threads_time()?;
        Ok((counters.answered()?.0, cpu::wake_ups(process)?, cpu))
    };
    let begin = Instant::now();
    let (probes, wake_ups, cpu) = read()?;
    thread::sleep(length);
    let seconds = begin.elapsed().as_secs_f64();
    let (probes_after, wake_ups_after, cpu_after) = read()?;
    Ok(Look {
        seconds,
        probes: (probes_after - probes) as f64,
        cpu_us: (cpu_after - cpu).as_secs_f64() * 1e6,
        wake_ups: (wake_ups_after - wake_ups) as f64,
    })
}

fn wait_until_steady(counters: &Counters, rate: f64) -> Result<()> {
    let end = Instant::now() + STEADY_DEADLINE;
    let mut before = f64::INFINITY;
    loop {
        let begin = Instant::now();
        let (sent, _) = counters.answered()?;
        thread::sleep(STEADY_LOOK);
        let seen = (counters.answered()?.0 - sent) as f64 / begin.elapsed().as_secs_f64();
        // Twice in a row: the tail of a first burst to all may look like it once.
        let is_steady = |seen: f64| (seen / rate - 1.0).abs() < STEADY_WITHIN;
        if is_steady(seen) && is_steady(before) {
            return Ok(());
        }
        ensure!(
            Instant::now() < end,
            "{seen:.0} probes a second instead of {rate:.0}: they are not spread over their period"
        );
        before = seen;
    }
}

fn goals(usual: &Row, sizes: &[Row], rate: u32) -> Vec<Goal> {
    let mut goals = vec![
        Goal::at_most(
            format!(
                "{} uplinks, {} targets: share of a core",
                usual.uplinks, usual.targets
            ),
            usual.core_percent,
            0.5,
            "%",
        ),
        Goal::at_most(
            format!(
                "{} uplinks, {} targets: resident memory",
                usual.uplinks, usual.targets
            ),
            usual.resident_mb,
            24.0,
            "MB",
        ),
    ];
    let small = sizes.iter().filter(|row| row.targets <= 1_000);
    goals.extend(small.map(|row| {
        let what = format!(
            "{rate} probes/s over {} targets: CPU for a probe",
            row.targets
        );
        Goal::at_most(what, row.cpu_us_per_probe, 18.0, "us")
    }));
    // More targets may cost no more for a probe. That they cost less, because more of them are due together, is no fault.
    if let [fewest, more @ ..] = sizes
        && !more.is_empty()
    {
        let dearest = more.iter().map(|row| row.cpu_us_per_probe);
        let what = format!(
            "{rate} probes/s over {} to {} targets: dearest over {}",
            fewest.targets,
            more[more.len() - 1].targets,
            fewest.targets
        );
        let ratio = dearest.fold(0.0, f64::max) / fewest.cpu_us_per_probe;
        goals.push(Goal::at_most(what, ratio, 1.1, "x"));
    }
    goals
}

/// The report as a table.
pub fn table(report: &Report) -> String {
    let mut lines = vec![format!(
        "{:>7} {:>8} {:>9} {:>13} {:>11} {:>11} {:>15} {:>8}",
        "uplinks",
        "targets",
        "probes/s",
        "CPU us/probe",
        "% of core",
        "wake-ups/s",
        "probes/wake-up",
        "RSS MB"
    )];
    for row in [&report.usual].into_iter().chain(&report.sizes) {
        lines.push(format!(
            "{:>7} {:>8} {:>9.1} {:>13.1} {:>11.2} {:>11.1} {:>15.2} {:>8.1}",
            row.uplinks,
            row.targets,
            row.probes_per_second,
            row.cpu_us_per_probe,
            row.core_percent,
            row.wake_ups_per_second,
            row.probes_per_wake_up,
            row.resident_mb
        ));
    }
    lines.push(format!(
        "a bare loop, {} probes a wake-up: {:.1} us for a probe",
        bare::TOGETHER,
        report.bare_cpu_us_per_probe
    ));
    lines.push(format!(
        "medians of {} looks at the release daemon",
        report.runs
    ));
    lines.extend(
        report
            .unmeasured
            .iter()
            .map(|what| format!("not measured: {what}")),
    );
    lines.push(goal::lines(&report.goals));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(targets: u32, cpu_us_per_probe: f64) -> Row {
        Row {
            uplinks: 1,
            targets,
            probes_per_second: 100.0,
            cpu_us_per_probe,
            core_percent: 0.1,
            wake_ups_per_second: 10.0,
            probes_per_wake_up: 10.0,
            resident_mb: 30.0,
        }
    }

    #[test]
    fn more_targets_are_held_against_the_fewest() {
        let sizes = [row(10, 10.0), row(1_000, 12.0), row(65_536, 20.0)];
        let goals = goals(&row(128, 15.0), &sizes, 100);
        let met: Vec<_> = goals.iter().map(Goal::is_met).collect();
        assert_eq!(met, [true, false, true, true, false].map(Some));
        assert_eq!(goals[4].measured, Ok(2.0));
    }

    #[test]
    fn more_targets_may_be_cheaper() {
        let sizes = [row(10, 16.0), row(1_000, 8.0), row(65_536, 17.0)];
        let goals = goals(&row(128, 15.0), &sizes, 100);
        assert_eq!(goals[4].measured, Ok(17.0 / 16.0));
        assert_eq!(goals[4].is_met(), Some(true));
        assert_eq!(super::goals(&row(128, 15.0), &sizes[..1], 100).len(), 3);
    }
}
