//! Who probes, and how each is run for so many probes.

use std::{
    env,
    io::{BufRead, BufReader},
    process::Stdio,
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result};
use serde::Serialize;

use super::{
    claims::{Claim, by_place, by_sequence, latest},
    own::{self, Engine},
};
use crate::lab::site::Site;

/// A prober.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Prober {
    /// Stamped and matched by TCX.
    PinguTc,
    /// Stamped by TCX, matched by native XDP.
    PinguXdp,
    /// The engine without BPF.
    PinguSocket,
    /// iputils.
    Ping,
    /// fping.
    Fping,
    /// oping.
    Oping,
    /// dpinger.
    Dpinger,
    /// What a prober of its shape tells at best.
    UserSpace,
}

/// dpinger tells nothing of its latest probe while that is on its way, and the same twice at times.
const DPINGER_LINES_PER_PROBE: u32 = 2;

impl Prober {
    pub(super) const ALL: [Self; 8] = [
        Self::PinguTc,
        Self::PinguXdp,
        Self::PinguSocket,
        Self::Ping,
        Self::Fping,
        Self::Oping,
        Self::Dpinger,
        Self::UserSpace,
    ];

    /// As it is called in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::PinguTc => "pingu, TC",
            Self::PinguXdp => "pingu, native XDP",
            Self::PinguSocket => "pingu, sockets",
            Self::Ping => "ping",
            Self::Fping => "fping",
            Self::Oping => "oping",
            Self::Dpinger => "dpinger",
            Self::UserSpace => "user-space stamps",
        }
    }

    /// The program that has to be there.
    pub(super) fn program(self, dpinger: &str) -> Option<&str> {
        match self {
            Self::PinguTc | Self::PinguXdp | Self::PinguSocket | Self::UserSpace => None,
            Self::Ping => Some("ping"),
            Self::Fping => Some("fping"),
            Self::Oping => Some("oping"),
            Self::Dpinger => Some(dpinger),
        }
    }

    /// Probes, and gives what it says.
    pub(super) fn run(
        self,
        site: &Site,
        dpinger: &str,
        count: u32,
        interval: Duration,
    ) -> Result<Vec<Claim>> {
        let times = count.to_string();
        let (seconds, millis) = (
            interval.as_secs_f64().to_string(),
            interval.as_millis().to_string(),
        );
        let target = "8.8.8.8";
        match self {
            Self::PinguTc => own::probe(site, Engine::Tc, count, interval),
            Self::PinguXdp => own::probe(site, Engine::Xdp, count, interval),
            Self::PinguSocket => own::probe(site, Engine::Socket, count, interval),
            Self::Ping => {
                let words = ["ping", "-n", "-D", "-c", &times, "-i", &seconds, target];
                Ok(by_sequence(&printed(site, &words)?))
            }
            Self::Oping => {
                let words = ["oping", "-c", &times, "-i", &seconds, target];
                Ok(by_sequence(&printed(site, &words)?))
            }
            Self::Fping => {
                let words = ["fping", "-D", "-c", &times, "-p", &millis, target];
                Ok(by_place(&printed(site, &words)?))
            }
            Self::Dpinger => {
                let words = [
                    dpinger, "-f", "-s", &millis, "-t", &millis, "-r", &millis, target,
                ];
                follow(site, &words, count * DPINGER_LINES_PER_PROBE)
            }
            Self::UserSpace => {
                let own = env::current_exe()?;
                let own = own.to_str().context("the path of the benchmark")?;
                let micros = interval.as_micros().to_string();
                let words = [
                    own,
                    "one-target",
                    "--interval-us",
                    &micros,
                    "--count",
                    &times,
                    target,
                ];
                Ok(by_sequence(&printed(site, &words)?))
            }
        }
    }
}

/// What it prints until it ends; that a probe was lost is no failure.
fn printed(site: &Site, words: &[&str]) -> Result<String> {
    let mut command = site.router.command(words[0]);
    command.args(&words[1..]);
    let output = command.output().with_context(|| words[0].to_owned())?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Reads so many lines as they come, with the time at which each did.
fn follow(site: &Site, words: &[&str], lines: u32) -> Result<Vec<Claim>> {
    let mut command = site.router.command(words[0]);
    command
        .args(&words[1..])
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = command.spawn().with_context(|| words[0].to_owned())?;
    let output = child.stdout.take().context("it is piped")?;
    let mut claims = Vec::new();
    for line in BufReader::new(output).lines().take(lines as usize) {
        let read_at = SystemTime::now();
        claims.extend(latest(&line?, read_at));
    }
    child.kill()?;
    child.wait()?;
    Ok(claims)
}
