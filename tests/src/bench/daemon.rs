//! The real daemon, at its fastest, in a namespace of the benchmarks: a share of targets for each of its uplinks.

use std::{
    fs,
    net::Ipv4Addr,
    path::PathBuf,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;

use super::{namespace::Namespace, watched::Watched};
use crate::lab::daemon::binary;

/// A configuration takes no more targets for an uplink.
const TARGETS_PER_UPLINK_MAX: u32 = 64;

/// A thousand uplinks take some seconds to come up.
const UP_DEADLINE: Duration = Duration::from_secs(60);

/// Between two questions, which cost the daemon time.
const ASK_EVERY: Duration = Duration::from_millis(200);

/// One uplink of a configuration.
#[derive(Clone, Debug)]
pub(super) struct Uplink {
    pub(super) interface: String,
    pub(super) gateway: Ipv4Addr,
    pub(super) source: Ipv4Addr,
    pub(super) targets: Vec<Ipv4Addr>,
}

/// A running daemon.
pub(super) struct Running {
    /// Its process.
    pub(super) watched: Watched,
    directory: TempDir,
}

impl Running {
    /// Starts it; `probe` are lines of `[probe]`, `health` of `[health]`.
    pub(super) fn start(
        namespace: &Namespace,
        uplinks: &[Uplink],
        [probe, health]: [&str; 2],
    ) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().display();
        let mut text = format!(
            "socket = \"{path}/pingu.sock\"\nstate_directory = \"{path}/state\"\n\
             [probe]\n{probe}\n[health]\n{health}\n"
        );
        for (number, uplink) in uplinks.iter().enumerate() {
            text += &uplink_text(number, uplink);
        }
        let file = directory.path().join("pingu.toml");
        fs::write(&file, text)?;
        let words = [
            binary().display().to_string(),
            "--config".to_owned(),
            file.display().to_string(),
        ];
        let watched = Watched::start(namespace, vec![words.to_vec()])?;
        Ok(Self { watched, directory })
    }

    /// Waits until all its uplinks are up.
    pub(super) fn wait_until_up(&self) -> Result<()> {
        let end = Instant::now() + UP_DEADLINE;
        loop {
            let seen = self.status().map(|status| states(&status));
            match &seen {
                Ok(states) if states.iter().all(|state| state == "up") => return Ok(()),
                _ if Instant::now() < end => thread::sleep(ASK_EVERY),
                _ => bail!("the uplinks did not come up: {seen:?}"),
            }
        }
    }

    /// What it publishes.
    pub(super) fn status(&self) -> Result<Value> {
        let output = Command::new(binary())
            .args(["status", "--json", "--socket"])
            .arg(self.socket())
            .output()?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "pingu status: {complaint}");
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("pingu.sock")
    }
}

fn states(status: &Value) -> Vec<String> {
    let uplinks = status["uplinks"].as_array().into_iter().flatten();
    uplinks
        .map(|uplink| uplink["state"].as_str().unwrap_or("unknown").to_owned())
        .collect()
}

fn uplink_text(number: usize, uplink: &Uplink) -> String {
    let targets: Vec<String> = uplink
        .targets
        .iter()
        .map(|target| format!("\"{target}\""))
        .collect();
    format!(
        "\n[[uplink]]\nname = \"uplink{number}\"\ninterface = \"{}\"\ngateway = \"{}\"\nsource = \"{}\"\ntargets = [{}]\n",
        uplink.interface,
        uplink.gateway,
        uplink.source,
        targets.join(", ")
    )
}

/// How many uplinks share so many targets evenly, and how many each has.
pub(super) fn shares(targets: u32) -> (u32, u32) {
    let each = (1..=TARGETS_PER_UPLINK_MAX)
        .rev()
        .find(|each| targets.is_multiple_of(*each))
        .unwrap_or(1);
    (targets / each, each)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_shared_evenly_by_few_uplinks() {
        assert_eq!(shares(10), (1, 10));
        assert_eq!(shares(100), (2, 50));
        assert_eq!(shares(1_000), (20, 50));
        assert_eq!(shares(65_536), (1_024, 64));
    }

    #[test]
    fn the_lines_of_an_uplink_are_a_configuration() {
        let uplink = Uplink {
            interface: "uplink0".to_owned(),
            gateway: Ipv4Addr::new(10, 77, 0, 2),
            source: Ipv4Addr::new(10, 77, 1, 1),
            targets: vec![Ipv4Addr::new(10, 78, 0, 0), Ipv4Addr::new(10, 78, 0, 1)],
        };
        let text = uplink_text(3, &uplink);
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("pingu.toml");
        fs::write(&file, text).unwrap();
        let (config, _) = pingu::config::Config::load(&file).unwrap();
        assert_eq!(config.uplinks.len(), 1);
    }
}
