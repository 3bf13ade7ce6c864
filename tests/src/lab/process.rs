//! A child process whose output is kept, and which never outlives its owner.

use std::{
    io::{Read, Seek},
    os::unix::process::CommandExt,
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use tempfile::NamedTempFile;

use crate::lab::wait::try_wait_until;

/// A running program.
pub struct Process {
    name: String,
    child: Child,
    log: NamedTempFile,
}

impl Process {
    /// Starts a program, in a process group of its own: Ctrl-C is for its owner alone. Its standard output and standard error go
    /// to one log.
    #[track_caller]
    pub fn spawn(name: &str, mut command: Command) -> Self {
        let log = NamedTempFile::new().expect("a temporary file can be made");
        let out = log.reopen().expect("the log can be opened again");
        let err = out.try_clone().expect("the log can be shared");
        command.stdin(Stdio::null()).stdout(out).stderr(err);
        command.process_group(0);
        die_with_parent(&mut command);
        let child = command
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start `{name}`: {error}"));
        Self {
            name: name.to_owned(),
            child,
            log,
        }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has written so far.
    pub fn log(&self) -> String {
        let mut text = Vec::new();
        let mut file = self
            .log
            .reopen()
            .expect("the log exists as long as the process");
        file.rewind().expect("a file can be rewound");
        file.read_to_end(&mut text).expect("the log can be read");
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: i32) {
        // SAFETY: a plain system call; the child has not been waited for, so its id is still its own.
        unsafe { libc::kill(self.child.id() as i32, signal) };
    }

    /// Its exit status, if it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be waited for")
    }

    /// Waits for its end; panics at the deadline.
    #[track_caller]
    pub fn wait(&mut self, deadline: Duration) -> ExitStatus {
        match try_wait_until(deadline, || self.ended().ok_or_else(String::new)) {
            Ok(status) => status,
            Err(_) => panic!(
                "`{}` still runs after {deadline:?}; its log:\n{}",
                self.name,
                self.log()
            ),
        }
    }

    /// Waits until it has written this; panics at the deadline, or when it ends before.
    #[track_caller]
    pub fn wait_for_log(&mut self, text: &str, deadline: Duration) {
        let found = try_wait_until(deadline, || {
            if self.log().contains(text) {
                Ok(true)
            } else {
                self.ended().map(|_| false).ok_or_else(String::new)
            }
        });
        if found != Ok(true) {
            panic!(
                "`{}` did not write `{text}` within {deadline:?}; its log:\n{}",
                self.name,
                self.log()
            );
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // With what it has started: a shell's loop would go on. One that has been waited for leads no group any more.
        if let Ok(None) = self.child.try_wait() {
            // SAFETY: a plain system call; the group is that of a child of ours that has not been waited for.
            unsafe { libc::kill(-self.child.id().cast_signed(), libc::SIGKILL) };
        }
        // It fails only where it has already ended.
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- log of `{}` ---\n{}--- end ---", self.name, self.log());
        }
    }
}

/// Has the kernel kill the child when the thread that starts it ends, however it does.
fn die_with_parent(command: &mut Command) {
    // SAFETY: prctl is async-signal-safe and touches only the child.
    unsafe {
        command.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            Ok(())
        });
    }
}
