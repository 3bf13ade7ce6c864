//! Runs a program: no shell, no descriptors but its own, its whole process group gone when it ends or its time is over.

use std::{
    io::{self, PipeReader},
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::process::{CommandExt, ExitStatusExt},
    },
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use tokio::{
    io::{Interest, unix::AsyncFd},
    net::unix::pipe::Receiver,
};

use crate::{
    config::ExecCheck,
    engine::check::{Cause, CheckOrder, CheckOutcome, Exit, Failure},
};

/// So much of the output is kept; the rest is read and forgotten.
const OUTPUT_BYTES_MAX: usize = 4096;

/// So much of its last line is told.
const LINE_CHARS_MAX: usize = 200;

/// What a program finds its own programs by.
const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Killed, a process goes within microseconds, unless a device holds it.
const DEATH_MAX: Duration = Duration::from_millis(500);

/// Descriptors beyond this are not looked for one by one, on kernels that cannot do it at once.
const FILES_MAX: i32 = 65_536;

/// Runs an `exec` check.
pub(super) async fn run(order: &CheckOrder, check: &ExecCheck, deadline: Instant) -> CheckOutcome {
    let program = &check.command[0];
    let failed = |error: io::Error| Failure::local(format!("cannot run {program}"), error);
    let (mut group, pipe) = Group::start(order, check).map_err(failed)?;
    let mut output = Output::new(pipe).map_err(failed)?;
    let ended = loop {
        tokio::select! {
            biased;
            ended = group.handle.ready(Interest::READABLE) => {
                let _ready = ended.map_err(failed)?;
                break true;
            }
            () = output.read(), if output.is_open => {}
            () = tokio::time::sleep_until(deadline.into()) => break false,
        }
    };
    if ended {
        output.read_rest();
    }
    let status = group.finish().await.filter(|_| ended);
    let text = output.text();
    if status.is_some_and(|status| status.success()) {
        return Ok(match last_line(&text) {
            Some(line) => line,
            None => "exit status 0".to_owned(),
        });
    }
    let what = match status {
        None => "time is over: it was killed".to_owned(),
        Some(status) => described(status),
    };
    tracing::info!(uplink = %order.uplink, check = order.check.name, what, output = text, "program failed");
    let cause = match status {
        None => Cause::Timeout,
        Some(_) => Cause::Exit,
    };
    let name = program.rsplit('/').next().unwrap_or(program);
    let line = last_line(&text).map_or_else(String::new, |line| format!(": {line}"));
    Err(Failure::new(cause, format!("{name}: {what}{line}")))
}

fn described(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => status.to_string(),
    }
}

fn last_line(text: &str) -> Option<String> {
    let line = text.lines().rev().find(|line| !line.trim().is_empty())?;
    Some(line.trim().chars().take(LINE_CHARS_MAX).collect())
}

/// A program and everything that it has started in its process group. Dropped, it is killed.
struct Group {
    child: Child,
    /// Readable once the program has ended, while its number still is its own.
    handle: AsyncFd<OwnedFd>,
}

impl Group {
    fn start(order: &CheckOrder, check: &ExecCheck) -> io::Result<(Self, PipeReader)> {
        let (reader, writer) = io::pipe()?;
        let mut command = Command::new(&check.command[0]);
        command
            .args(&check.command[1..])
            .env_clear()
            .envs(environment(order))
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(writer.try_clone()?)
            .stderr(writer)
            .process_group(0);
        // SAFETY: `prepare` only makes system calls, which are async-signal-safe.
        unsafe { command.pre_exec(prepare) };
        let mut child = command.spawn()?;
        match handle_of(&child) {
            Ok(handle) => Ok((Self { child, handle }, reader)),
            Err(error) => {
                kill_group(&child);
                child.wait()?;
                Err(error)
            }
        }
    }

    /// Kills what is left of it, and gives how the program ended.
    async fn finish(&mut self) -> Option<ExitStatus> {
        // Its number is not given away before it has been waited for, nor is that of its group.
        kill_group(&self.child);
        let ended = self.handle.readable();
        let _ = tokio::time::timeout(DEATH_MAX, ended).await;
        self.child.try_wait().ok().flatten()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) {
            return;
        }
        kill_group(&self.child);
        let id = self.child.id() as libc::pid_t;
        // It may take a while to die, and somebody has to wait for it.
        let wait = move || {
            // SAFETY: a plain system call that waits for a child of this process.
            unsafe { libc::waitpid(id, std::ptr::null_mut(), 0) };
        };
        if let Err(error) = thread::Builder::new()
            .name("check-reaper".to_owned())
            .spawn(wait)
        {
            tracing::debug!(%error, "nobody waits for a killed program");
        }
    }
}

fn handle_of(child: &Child) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: a plain system call with a number and no flags; the child has not been waited for, so the number is its own.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, child.id(), 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us alone.
    let fd = unsafe { OwnedFd::from_raw_fd(fd as i32) };
    // SAFETY: the descriptor is the same one, and open, until the `AsyncFd` that owns it is dropped.
    let handle = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
    Ok(handle?)
}

fn kill_group(child: &Child) {
    // SAFETY: a plain system call; the program has not been waited for, so its group's number is its own.
    unsafe { libc::killpg(child.id() as libc::pid_t, libc::SIGKILL) };
}

/// Runs in the child before the program: it dies with pingu, no descriptor but the first three outlives the exec, and what protects pingu
/// where memory is short does not protect it.
fn prepare() -> io::Result<()> {
    // SAFETY: plain system calls that touch only the child; the texts are alive, and the path ends with a NUL.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        let score = libc::open(c"/proc/self/oom_score_adj".as_ptr(), libc::O_WRONLY);
        if score >= 0 {
            libc::write(score, c"0".as_ptr().cast(), 1);
            libc::close(score);
        }
        let flags = libc::CLOSE_RANGE_CLOEXEC;
        if libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, flags) == 0 {
            return Ok(());
        }
        // Before Linux 5.11.
        for fd in 3..FILES_MAX {
            libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC);
        }
    }
    Ok(())
}

/// Everything that the program finds in its environment.
fn environment(order: &CheckOrder) -> Vec<(&'static str, String)> {
    let way = &order.way;
    let mut all = vec![
        ("PATH", SEARCH_PATH.to_owned()),
        ("PINGU_UPLINK", order.uplink.to_string()),
        ("PINGU_CHECK", order.check.name.clone()),
        ("PINGU_INTERFACE", way.interface.clone()),
        ("PINGU_IFINDEX", way.ifindex.to_string()),
        ("PINGU_MTU", way.mtu_bytes.to_string()),
        ("PINGU_TABLE", way.table.to_string()),
        (
            "PINGU_TIMEOUT_MS",
            order.check.timeout.as_millis().to_string(),
        ),
    ];
    let first = way.v4.or(way.v6);
    let of = |names: [&'static str; 2], exit: Option<Exit>| {
        let gateway = exit.and_then(|exit| exit.gateway);
        [
            exit.map(|exit| (names[0], exit.source.to_string())),
            gateway.map(|gateway| (names[1], gateway.to_string())),
        ]
    };
    let exits = [
        of(["PINGU_SOURCE", "PINGU_GATEWAY"], first),
        of(["PINGU_SOURCE_V6", "PINGU_GATEWAY_V6"], way.v6),
    ];
    all.extend(exits.into_iter().flatten().flatten());
    all
}

/// What a program writes, standard output and standard error as they come.
struct Output {
    pipe: Receiver,
    kept: Vec<u8>,
    is_open: bool,
}

impl Output {
    fn new(pipe: PipeReader) -> io::Result<Self> {
        let fd: OwnedFd = pipe.into();
        // SAFETY: a plain system call on a descriptor that we own.
        if unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) } < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self {
            pipe: Receiver::from_owned_fd(fd)?,
            kept: Vec::new(),
            is_open: true,
        })
    }

    async fn read(&mut self) {
        if self.pipe.readable().await.is_err() {
            self.is_open = false;
        }
        self.read_some();
    }

    /// Reads once; false: there is nothing more at the moment.
    fn read_some(&mut self) -> bool {
        let mut chunk = [0; OUTPUT_BYTES_MAX];
        match self.pipe.try_read(&mut chunk) {
            Ok(0) => {
                self.is_open = false;
                false
            }
            Ok(count) => {
                let room = OUTPUT_BYTES_MAX - self.kept.len();
                self.kept.extend_from_slice(&chunk[..count.min(room)]);
                true
            }
            Err(error) => {
                self.is_open &= error.kind() == io::ErrorKind::WouldBlock;
                false
            }
        }
    }

    /// Reads what a program that has ended left behind.
    fn read_rest(&mut self) {
        while self.is_open && self.kept.len() < OUTPUT_BYTES_MAX && self.read_some() {}
    }

    fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.kept);
        text.chars()
            .filter(|c| !c.is_control() || *c == '\n')
            .collect()
    }
}
