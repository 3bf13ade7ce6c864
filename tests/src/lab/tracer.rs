//! strace on a running daemon: it counts the system calls of a kind, and can kill it at any one of them.

use std::{fs, time::Duration};

use tempfile::NamedTempFile;

use crate::lab::{namespace::Namespace, process::Process, wait::wait_until};

/// Attaching takes milliseconds; much more on a busy machine.
const ATTACH_DEADLINE: Duration = Duration::from_secs(10);

/// The system calls by which netlink messages leave. Probes leave by `sendmmsg`, and `pingu status` is answered by `write`.
pub const SENDING: &str = "sendto,sendmsg";

/// A strace at work; dropped, it lets its process go on.
pub struct Tracer {
    process: Process,
    log: NamedTempFile,
}

impl Tracer {
    /// Attaches to the process of this id, and has it killed in place of its K-th of these calls from now on. strace counts each
    /// thread's calls and each name in the set by itself.
    #[track_caller]
    pub fn attach(namespace: &Namespace, id: u32, calls: &str, kill_at: Option<u32>) -> Self {
        let log = NamedTempFile::new().expect("a temporary file can be made");
        let mut command = namespace.command("strace");
        command.args(["-f", "-qq", "-e", &format!("trace={calls}")]);
        if let Some(kill_at) = kill_at {
            command.arg("-e");
            command.arg(format!("inject={calls}:signal=KILL:when={kill_at}"));
        }
        command.arg("-o").arg(log.path());
        command.args(["-p", &id.to_string()]);
        let tracer = Self {
            process: Process::spawn("strace", command),
            log,
        };
        wait_until("strace to attach", ATTACH_DEADLINE, || {
            match tracer_of(id) {
                Some(tracer_id) if tracer_id == tracer.process.id() => Ok(()),
                other => Err(format!("{other:?}; {}", tracer.process.log())),
            }
        });
        tracer
    }

    /// The calls that it has seen so far, one a line, the one in whose place the process was killed included.
    pub fn calls(&self) -> Vec<String> {
        let text = fs::read_to_string(self.log.path()).unwrap_or_default();
        let is_call = |line: &&str| line.contains('(') && !line.contains(" resumed>");
        text.lines().filter(is_call).map(str::to_owned).collect()
    }

    /// Lets the process go on without it.
    #[track_caller]
    pub fn detach(mut self) {
        // strace is not asked: told to end, it may wait for a next call that a daemon at rest does not make. The kernel lets go of
        // what a tracer traced when that is killed, and each thread goes on where it was held.
        self.process.signal(libc::SIGKILL);
        self.process.wait(ATTACH_DEADLINE);
    }

    /// After the end of the process: the calls that it has seen.
    #[track_caller]
    pub fn finish(mut self) -> Vec<String> {
        self.process.wait(ATTACH_DEADLINE);
        self.calls()
    }
}

/// Who traces a process, if it is there and somebody does.
fn tracer_of(id: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("TracerPid:"))?;
    line.trim().parse().ok()
}
