//! Results in files, with what they were measured on.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Debian's packages whose versions matter, where they are installed.
const PACKAGES: [&str; 8] = [
    "bird2",
    "fping",
    "frr",
    "iproute2",
    "iputils-ping",
    "masscan",
    "oping",
    "zmap",
];

/// A result and its circumstances.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Saved {
    /// What it was measured on.
    pub machine: Machine,
    /// The benchmark's own report.
    pub report: Value,
}

/// What something was measured on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name.
    pub processor: String,
    /// Its cores.
    pub cores: usize,
    /// The kernel's release.
    pub kernel: String,
    /// The load average of the minute before the benchmark began, when the machine should have had nothing to do.
    pub load_before: f64,
    /// Versions of peers by their packages.
    pub packages: BTreeMap<String, String>,
}

impl Machine {
    /// This one.
    pub fn here() -> Result<Self> {
        let processors = fs::read_to_string("/proc/cpuinfo")?;
        let load = fs::read_to_string("/proc/loadavg")?;
        Ok(Self {
            processor: processor(&processors).unwrap_or("unknown").to_owned(),
            cores: std::thread::available_parallelism()?.get(),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?
                .trim()
                .to_owned(),
            load_before: load
                .split(' ')
                .next()
                .and_then(|word| word.parse().ok())
                .context("/proc/loadavg")?,
            packages: packages(),
        })
    }

    /// One line for people.
    pub fn line(&self) -> String {
        let packages: Vec<String> = self
            .packages
            .iter()
            .map(|(name, version)| format!("{name} {version}"))
            .collect();
        format!(
            "{}, {} cores, Linux {}, load {} before; {}",
            self.processor,
            self.cores,
            self.kernel,
            self.load_before,
            packages.join(", ")
        )
    }
}

impl Saved {
    /// Writes it to `directory/name.json`.
    pub fn write(&self, directory: &Path, name: &str) -> Result<()> {
        fs::create_dir_all(directory)?;
        let path = directory.join(format!("{name}.json"));
        let text = serde_json::to_string_pretty(self)? + "\n";
        fs::write(&path, text).with_context(|| path.display().to_string())
    }

    /// Reads it back; none where there is no such file.
    pub fn read(directory: &Path, name: &str) -> Result<Option<Self>> {
        let path = directory.join(format!("{name}.json"));
        if !path.exists() {
            return Ok(None);
        }
        let text = fs::read_to_string(&path)?;
        let saved = serde_json::from_str(&text);
        saved.with_context(|| path.display().to_string()).map(Some)
    }
}

fn processor(cpuinfo: &str) -> Option<&str> {
    let line = cpuinfo
        .lines()
        .find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim())
}

/// Those of them that dpkg knows; none on other systems.
fn packages() -> BTreeMap<String, String> {
    let output = Command::new("dpkg-query")
        .args(["-W", "-f", "${Package} ${Version}\n"])
        .args(PACKAGES)
        .output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let text = text.unwrap_or_default();
    let pair = |line: &str| {
        let (name, version) = line.split_once(' ')?;
        (!version.is_empty()).then(|| (name.to_owned(), version.to_owned()))
    };
    text.lines().filter_map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_saved_is_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let saved = Saved {
            machine: Machine::here().unwrap(),
            report: serde_json::json!({ "rows": [1, 2] }),
        };
        saved.write(directory.path(), "probe").unwrap();
        let again = Saved::read(directory.path(), "probe").unwrap().unwrap();
        assert_eq!(again.report, saved.report);
        assert_eq!(again.machine.kernel, saved.machine.kernel);
        assert!(Saved::read(directory.path(), "idle").unwrap().is_none());
    }

    #[test]
    fn the_processor_is_named_by_its_model() {
        let text = "processor\t: 0\nmodel name\t: Example 9000\nflags\t: fpu\n";
        assert_eq!(processor(text), Some("Example 9000"));
    }
}
