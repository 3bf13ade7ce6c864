//! A real FRR: zebra, which holds its routes, and the daemons that tell it some.

use std::{fs, path::Path, process::Command, time::Duration};

use tempfile::TempDir;

use crate::lab::{namespace::Namespace, process::Process, wait::wait_until};

/// Where packages keep the daemons.
const DAEMONS: &str = "/usr/lib/frr";

/// The user that they become, who must be able to write to their directory.
const USER: &str = "frr:frr";

/// They open their sockets within half a second.
const START_DEADLINE: Duration = Duration::from_secs(10);

/// Sweeping some routes takes milliseconds.
const STOP_DEADLINE: Duration = Duration::from_secs(5);

/// A running zebra and its clients; dropped, they are killed and leave their routes.
pub struct Frr {
    /// In the order of their start.
    daemons: Vec<Process>,
    directory: TempDir,
}

impl Frr {
    /// Starts zebra and these daemons (`staticd`, `bgpd`, ...), each with a configuration.
    #[track_caller]
    pub fn start(namespace: &Namespace, daemons: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let mut frr = Self {
            daemons: Vec::new(),
            directory,
        };
        frr.start_daemon(namespace, "zebra", "");
        for (name, configuration) in daemons {
            frr.start_daemon(namespace, name, configuration);
        }
        frr
    }

    /// What a daemon answers to a command of the router's shell.
    fn ask(&self, daemon: &str, question: &str) -> Result<String, String> {
        let output = Command::new("vtysh")
            .arg("--vty_socket")
            .arg(self.directory.path())
            .args(["-d", daemon, "-c", question])
            .output()
            .map_err(|error| format!("cannot run vtysh: {error}"))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            Ok(text)
        } else {
            Err(text + &String::from_utf8_lossy(&output.stderr))
        }
    }

    /// Ends all of them as their service would, zebra last: it takes its own routes away.
    #[track_caller]
    pub fn stop(mut self) {
        for daemon in self.daemons.iter_mut().rev() {
            daemon.signal(libc::SIGTERM);
            daemon.wait(STOP_DEADLINE);
        }
    }

    /// Kills all of them on the spot: their routes stay.
    #[track_caller]
    pub fn kill(mut self) {
        for daemon in &mut self.daemons {
            daemon.signal(libc::SIGKILL);
            daemon.wait(STOP_DEADLINE);
        }
    }

    #[track_caller]
    fn start_daemon(&mut self, namespace: &Namespace, name: &str, configuration: &str) {
        let path = |suffix: &str| self.directory.path().join(format!("{name}.{suffix}"));
        fs::write(path("conf"), configuration).expect("a temporary file can be written");
        give_away(self.directory.path());
        let mut command = namespace.command(Path::new(DAEMONS).join(name));
        command.arg("-f").arg(path("conf"));
        command.arg("-i").arg(path("pid"));
        command
            .arg("-z")
            .arg(self.directory.path().join("zserv.api"));
        command.arg("--vty_socket").arg(self.directory.path());
        // No telnet.
        command.args(["-P", "0", "--log", "stdout"]);
        self.daemons.push(Process::spawn(name, command));
        wait_until(&format!("{name} to answer"), START_DEADLINE, || {
            let log = || self.daemons.last().map(Process::log).unwrap_or_default();
            self.ask(name, "show version").map_err(|why| why + &log())
        });
    }
}

fn give_away(directory: &Path) {
    let status = Command::new("chown")
        .args(["-R", USER])
        .arg(directory)
        .status();
    let status = status.expect("coreutils has chown");
    assert!(status.success(), "FRR's package brings its user");
}
