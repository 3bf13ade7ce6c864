//! The real daemon, in a namespace.

use std::{
    env,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    time::Duration,
};

use serde_json::Value;

use crate::lab::{
    namespace::Namespace,
    process::Process,
    settings::Settings,
    status,
    wait::{try_wait_until, wait_until},
};

/// Loading and verifying the programs takes most of a start.
pub const START_DEADLINE: Duration = Duration::from_secs(30);

/// Withdrawing routes and detaching takes milliseconds.
pub const STOP_DEADLINE: Duration = Duration::from_secs(15);

/// Makes a machine's files look untouched, and becomes what the arguments say.
const SHUT_IN: &str = "mount -t tmpfs tmpfs /run && cp -a /etc /run/etc && mount --bind /run/etc /etc && \
     mount -t tmpfs tmpfs /var/lib && mkdir -p /etc/pingu /etc/failover && exec \"$@\"";

/// A running pingu; dropped, it is killed, and its log is printed if a test is failing.
pub struct Daemon {
    process: Process,
    socket: PathBuf,
}

/// What a finished pingu left.
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Daemon {
    /// Starts pingu with a configuration of the lab.
    #[track_caller]
    pub fn start(namespace: &Namespace, settings: &Settings) -> Self {
        let mut command = namespace.command(binary());
        command.arg("--config").arg(settings.write());
        Self::spawn(command, settings.socket())
    }

    /// Starts pingu with more in its environment.
    #[track_caller]
    pub fn start_with_environment(
        namespace: &Namespace,
        settings: &Settings,
        environment: &[(&str, &OsStr)],
    ) -> Self {
        let mut command = namespace.command(binary());
        command.arg("--config").arg(settings.write());
        command.envs(environment.iter().copied());
        Self::spawn(command, settings.socket())
    }

    /// Starts pingu with a log on a disk that is full.
    #[track_caller]
    pub fn start_with_full_log(namespace: &Namespace, settings: &Settings) -> Self {
        let mut command = namespace.command("sh");
        command.args(["-c", "exec \"$@\" 2>/dev/full", "sh"]);
        command.arg(binary()).arg("--config").arg(settings.write());
        Self::spawn(command, settings.socket())
    }

    /// Starts pingu without some capabilities, which are named as `setpriv` names them.
    #[track_caller]
    pub fn start_without(
        namespace: &Namespace,
        settings: &Settings,
        capabilities: &[&str],
    ) -> Self {
        let mut command = namespace.command("setpriv");
        command.args(without(capabilities)).arg(binary());
        command.arg("--config").arg(settings.write());
        Self::spawn(command, settings.socket())
    }

    /// Starts pingu with any configuration file, and its control socket elsewhere than the file says.
    #[track_caller]
    pub fn start_with_file(namespace: &Namespace, config: &Path, socket: &Path) -> Self {
        let mut command = namespace.command(binary());
        command
            .arg("--config")
            .arg(config)
            .arg("--socket")
            .arg(socket);
        Self::spawn(command, socket.to_owned())
    }

    /// Starts pingu with a configuration file as it is, but for its control socket, on a machine that looks to it as if nothing had
    /// ever run there: it sees `/run` and `/var/lib` empty, and an `/etc` of its own ([`Daemon::path`]).
    #[track_caller]
    pub fn start_shut_in(namespace: &Namespace, config: &Path, socket: &Path) -> Self {
        let mut command = namespace.command("unshare");
        command.args(["--mount", "sh", "-c", SHUT_IN, "sh"]);
        command.arg(binary()).arg("--config").arg(config);
        command.arg("--socket").arg(socket);
        Self::spawn(command, socket.to_owned())
    }

    /// Where a file is that the daemon knows by this absolute path.
    pub fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.process.id()))
    }

    /// Starts a process that is pingu once it is continued (`SIGCONT`): until then it is stopped.
    #[track_caller]
    pub fn start_stopped(namespace: &Namespace, settings: &Settings) -> Self {
        let mut command = namespace.command("sh");
        command.args(["-c", "kill -STOP $$ && exec \"$@\"", "sh"]);
        command.arg(binary()).arg("--config").arg(settings.write());
        let daemon = Self::spawn(command, settings.socket());
        let stat = format!("/proc/{}/stat", daemon.process.id());
        wait_until("the process to stop itself", STOP_DEADLINE, || {
            match fs::read_to_string(&stat) {
                // The name before the state ends with the only parenthesis.
                Ok(line) if line.contains(") T ") => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
        daemon
    }

    fn spawn(mut command: Command, socket: PathBuf) -> Self {
        command.env("NO_COLOR", "1");
        Self {
            process: Process::spawn("pingu", command),
            socket,
        }
    }

    /// What it publishes, or why that cannot be had.
    pub fn status(&self) -> Result<Value, String> {
        let output = Command::new(binary())
            .args(["status", "--json", "--socket"])
            .arg(&self.socket)
            .output()
            .map_err(|error| format!("cannot run pingu: {error}"))?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        serde_json::from_slice(&output.stdout)
            .map_err(|error| format!("{error} in `{}`", String::from_utf8_lossy(&output.stdout)))
    }

    /// What `pingu status` prints for people.
    #[track_caller]
    pub fn table(&self) -> String {
        let output = Command::new(binary())
            .args(["status", "--socket"])
            .arg(&self.socket)
            .output()
            .expect("pingu can be run");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Waits until what it publishes is as wanted, and gives it; panics at the deadline, and when the daemon ends before.
    #[track_caller]
    pub fn wait_for(
        &mut self,
        what: &str,
        deadline: Duration,
        wanted: impl Fn(&Value) -> bool,
    ) -> Value {
        let found = try_wait_until(deadline, || {
            if let Some(status) = self.process.ended() {
                return Ok(Err(format!("pingu ended: {status}")));
            }
            let status = self.status()?;
            if wanted(&status) {
                Ok(Ok(status))
            } else {
                Err(format!("{status:#}"))
            }
        });
        match found {
            Ok(Ok(status)) => status,
            Ok(Err(ended)) => panic!("waited for {what}; {ended}"),
            Err(seen) => panic!("waited {deadline:?} for {what}; seen instead: {seen}"),
        }
    }

    /// Waits until all these uplinks are up.
    #[track_caller]
    pub fn wait_until_up(&mut self, names: &[&str]) -> Value {
        self.wait_for(&format!("{names:?} to be up"), START_DEADLINE, |status| {
            status::all_up(status, names)
        })
    }

    /// Waits until an uplink is down.
    #[track_caller]
    pub fn wait_until_down(&mut self, name: &str) -> Value {
        self.wait_for(&format!("{name} to be down"), START_DEADLINE, |status| {
            status::state(status, name) == "down"
        })
    }

    /// The process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Asks it to end, and waits for that.
    #[track_caller]
    pub fn stop(mut self) -> ExitStatus {
        self.process.signal(libc::SIGTERM);
        self.process.wait(STOP_DEADLINE)
    }

    /// Kills it on the spot.
    #[track_caller]
    pub fn kill(mut self) {
        self.process.signal(libc::SIGKILL);
        self.process.wait(STOP_DEADLINE);
    }
}

fn without(capabilities: &[&str]) -> [String; 2] {
    let names: Vec<String> = capabilities.iter().map(|name| format!("-{name}")).collect();
    let names = names.join(",");
    [
        format!("--inh-caps={names}"),
        format!("--bounding-set={names}"),
    ]
}

/// Runs pingu in a namespace to its end, which must come by itself.
#[track_caller]
pub fn run_to_end(namespace: &Namespace, arguments: &[&str]) -> Finished {
    run_to_end_without(namespace, arguments, &[])
}

/// The same without some capabilities.
#[track_caller]
pub fn run_to_end_without(
    namespace: &Namespace,
    arguments: &[&str],
    capabilities: &[&str],
) -> Finished {
    let mut command = namespace.command("timeout");
    // A daemon that runs although it should not must not hang the test.
    command.arg(START_DEADLINE.as_secs().to_string());
    if !capabilities.is_empty() {
        command.arg("setpriv").args(without(capabilities));
    }
    command.arg(binary()).args(arguments).env("NO_COLOR", "1");
    let output = command.output().expect("coreutils has timeout");
    Finished {
        status: output.status,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// The binary under test: `PINGU_BIN`, or the one in the same target directory and profile as this program.
#[track_caller]
pub fn binary() -> PathBuf {
    let path = match env::var_os("PINGU_BIN") {
        Some(path) => PathBuf::from(path),
        None => {
            let own = env::current_exe().expect("a program knows its path");
            let mut profile = own.parent().expect("a program is in a directory");
            if profile.ends_with("deps") {
                profile = profile
                    .parent()
                    .expect("cargo keeps `deps` in the profile's directory");
            }
            profile.join("pingu")
        }
    };
    assert!(
        path.exists(),
        "there is no {}: build it with `cargo build -p pingu`, or name another by PINGU_BIN",
        path.display()
    );
    path
}
