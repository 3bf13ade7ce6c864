//! The configuration of one daemon, as text in a directory of its own.

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

/// A configuration in the making. The directory also holds the control socket and the daemon's state; it is gone when this is.
pub struct Settings {
    directory: TempDir,
    top: String,
    probe: String,
    health: String,
    groups: String,
    uplinks: String,
}

impl Settings {
    /// Nothing but where the socket and the state are.
    #[expect(clippy::new_without_default, reason = "it makes a directory")]
    pub fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let path = directory.path().display();
        let top = format!("socket = \"{path}/pingu.sock\"\nstate_directory = \"{path}/state\"\n");
        Self {
            directory,
            top,
            probe: String::new(),
            health: String::new(),
            groups: String::new(),
            uplinks: String::new(),
        }
    }

    /// Probing as in the goals for failover: a black hole moves the route within 700 ms.
    pub fn quick() -> Self {
        Self::new()
            .probe("targets = [\"8.8.8.8\"]")
            .probe("count = 3\nspacing = \"50ms\"\nperiod = \"200ms\"\ntimeout = \"200ms\"")
            .health("max_lost = 1")
    }

    /// Adds lines before the first table.
    pub fn top(mut self, lines: &str) -> Self {
        add(&mut self.top, lines);
        self
    }

    /// Adds lines to `[probe]`.
    pub fn probe(mut self, lines: &str) -> Self {
        add(&mut self.probe, lines);
        self
    }

    /// Adds lines to `[health]`.
    pub fn health(mut self, lines: &str) -> Self {
        add(&mut self.health, lines);
        self
    }

    /// Adds a `[[group]]` with these lines.
    pub fn group(mut self, lines: &str) -> Self {
        add(&mut self.groups, "\n[[group]]");
        add(&mut self.groups, lines);
        self
    }

    /// Adds an uplink whose metric follows from its group or its place.
    pub fn member(mut self, name: &str, interface: &str, gateway: &str, lines: &str) -> Self {
        write!(
            self.uplinks,
            "\n[[uplink]]\nname = \"{name}\"\ninterface = \"{interface}\"\ngateway = \"{gateway}\"\n{lines}\n"
        )
        .expect("a string takes all text");
        self
    }

    /// Adds an uplink.
    pub fn uplink(self, name: &str, interface: &str, gateway: &str, metric: u32) -> Self {
        self.uplink_with(name, interface, gateway, metric, "")
    }

    /// Adds an uplink with more keys of its own.
    pub fn uplink_with(
        mut self,
        name: &str,
        interface: &str,
        gateway: &str,
        metric: u32,
        lines: &str,
    ) -> Self {
        let gateway = if gateway.starts_with('[') {
            gateway.to_owned()
        } else {
            format!("\"{gateway}\"")
        };
        write!(
            self.uplinks,
            "\n[[uplink]]\nname = \"{name}\"\ninterface = \"{interface}\"\ngateway = {gateway}\nmetric = {metric}\n{lines}\n"
        )
        .expect("a string takes all text");
        self
    }

    /// The whole file.
    pub fn text(&self) -> String {
        format!(
            "{}\n[probe]\n{}\n[health]\n{}{}{}",
            self.top, self.probe, self.health, self.groups, self.uplinks
        )
    }

    /// Writes the file and tells where.
    #[track_caller]
    pub fn write(&self) -> PathBuf {
        let path = self.directory.path().join("pingu.toml");
        fs::write(&path, self.text()).expect("a temporary file can be written");
        path
    }

    /// The control socket.
    pub fn socket(&self) -> PathBuf {
        self.directory().join("pingu.sock")
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }
}

fn add(to: &mut String, lines: &str) {
    to.push_str(lines);
    to.push('\n');
}
