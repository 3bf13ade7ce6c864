//! A peer that cannot run for long is run to its end.

use std::{
    net::Ipv4Addr,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result};

use super::{cpu, link::TARGETS, probe::Run};

/// fping 5.1 aborts when its 16-bit sequence numbers run out within 10 s.
const FPING_PROBES_MAX: u32 = 60_000;

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
