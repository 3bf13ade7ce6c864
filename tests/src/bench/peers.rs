//! The probers that pingu is measured beside, run as anybody would run them.

use std::{
    net::Ipv4Addr,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use super::{
    cpu,
    probe::{Run, TARGETS},
};

/// fping 5.1 aborts when its 16-bit sequence numbers run out within 10 s.
const FPING_PROBES_MAX: u32 = 60_000;
/// fping sends to one target once a millisecond, so it needs some hundreds to show its speed.
pub(super) const FPING_TARGETS_MIN: u32 = 256;
/// As many as a command line holds.
pub(super) const FPING_TARGETS_MAX: u32 = 2_000;

/// `ping -f` of the first target.
pub(super) fn ping(count: u32, options: &[&str]) -> Result<Run> {
    let answered_before = echo_replies()?;
    let begin = Instant::now();
    let mut command = Command::new("ping");
    // Its dots go nowhere: nobody who reads them must cost it time.
    command
        .args(["-f", "-c", &count.to_string(), "10.78.0.0"])
        .args(options)
        .stdout(Stdio::null());
    let (_, cpu) = timed(&mut command)?;
    let elapsed = begin.elapsed();
    Ok(Run {
        sent: u64::from(count),
        answered: echo_replies()? - answered_before,
        elapsed,
        cpu,
    })
}

/// The echo replies that this namespace's kernel has taken in.
fn echo_replies() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/thread-self/net/snmp")?;
    let mut lines = text.lines().filter(|line| line.starts_with("Icmp:"));
    let (names, values) = lines.next().zip(lines.next()).context("no Icmp lines")?;
    let mut columns = names.split(' ').zip(values.split(' '));
    Ok(columns
        .find(|(name, _)| *name == "InEchoReps")
        .context("no InEchoReps")?
        .1
        .parse()?)
}

/// `fping` of so many targets.
pub(super) fn fping(targets: u32, options: &[&str]) -> Result<Run> {
    let count = (FPING_PROBES_MAX / targets).to_string();
    let addresses = (0..targets).map(|target| Ipv4Addr::from(TARGETS + target).to_string());
    let mut command = Command::new("fping");
    command
        .args(["-s", "-i", "0", "-p", "1", "-c", &count])
        .args(options)
        .args(addresses)
        .stdout(Stdio::null());
    let (output, cpu) = timed(&mut command)?;
    let value = |label: &str| {
        let line = output.lines().find(|line| line.contains(label));
        line.and_then(|line| line.split_whitespace().next())
            .with_context(|| format!("fping says no `{label}`"))
    };
    Ok(Run {
        sent: value("ICMP Echos sent")?.parse()?,
        answered: value("ICMP Echo Replies received")?.parse()?,
        elapsed: Duration::from_secs_f64(value("elapsed real time")?.parse()?),
        cpu,
    })
}

/// Runs a command to its end; what it wrote to standard error, and the processor time that it cost.
fn timed(command: &mut Command) -> Result<(String, Duration)> {
    let softirq_before = cpu::softirq_threads_time()?;
    let before = cpu::children_time();
    let output = command
        .output()
        .with_context(|| format!("cannot run {command:?}"))?;
    let cpu = cpu::children_time() - before + (cpu::softirq_threads_time()? - softirq_before);
    Ok((String::from_utf8_lossy(&output.stderr).into_owned(), cpu))
}
