//! Starts programs for others: no shell, no descriptor but the three that everybody has, nothing of pingu's own environment, and their
//! whole process group gone when they end or are given up.

use std::{
    io::{self, PipeReader},
    mem,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::process::{CommandExt, ExitStatusExt},
    },
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    ptr, thread,
    time::Duration,
};

use tokio::{
    io::{Interest, unix::AsyncFd},
    net::unix::pipe::Receiver,
};

/// What a program finds its own programs by.
pub(crate) const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Killed, a process goes within microseconds, unless a device holds it.
const DEATH_MAX: Duration = Duration::from_millis(500);

/// Descriptors beyond this are not looked for one by one, on kernels that cannot do it at once.
const FILES_MAX: i32 = 65_536;

/// Signals are numbered from 1 to this (signal(7), `SIGRTMAX`).
const SIGNAL_MAX: i32 = 64;

/// What the kernel takes for a signal's disposition is shorter on every machine, and all zeroes is `SIG_DFL` with nothing else said.
const SIGACTION_WORDS_MAX: usize = 8;

/// As the kernel has a set of signals: a bit for each.
const SIGSET_BYTES: usize = 8;

/// So much is read at once.
const CHUNK_BYTES: usize = 4096;

/// A program with its arguments, and all that is in its environment beside PATH.
pub(crate) struct Program<'a> {
    pub(crate) command: &'a [String],
    pub(crate) environment: Vec<(String, String)>,
    /// What its standard input is.
    pub(crate) input: Stdio,
}

/// How a program ended, in words.
pub(crate) fn described(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => status.to_string(),
    }
}

/// A program and everything that it has started in its process group. Dropped, it is killed.
pub(crate) struct Group {
    child: Child,
    /// Readable once the program has ended, while its number still is its own.
    handle: AsyncFd<OwnedFd>,
}

impl Group {
    /// Starts a program, and gives what it and its children write to standard output and standard error.
    pub(crate) fn start(program: Program<'_>) -> io::Result<(Self, Output)> {
        let (reader, writer) = io::pipe()?;
        let (name, arguments) = program
            .command
            .split_first()
            .expect("a configured command has a program");
        let mut command = Command::new(name);
        command
            .args(arguments)
            .env_clear()
            .env("PATH", SEARCH_PATH)
            .envs(program.environment)
            .current_dir("/")
            .stdin(program.input)
            .stdout(writer.try_clone()?)
            .stderr(writer)
            .process_group(0);
        // The pipe's other end is not to be held open beyond the program.
        let output = Output::new(reader)?;
        // SAFETY: `prepare` only makes system calls, which are async-signal-safe.
        unsafe { command.pre_exec(prepare) };
        let mut child = command.spawn()?;
        match handle_of(&child) {
            Ok(handle) => Ok((Self { child, handle }, output)),
            Err(error) => {
                kill_group(&child);
                child.wait()?;
                Err(error)
            }
        }
    }

    /// The other end of its standard input, if that is a pipe.
    pub(crate) fn input(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// Waits until the program itself has ended; safe to cancel.
    pub(crate) async fn ended(&self) -> io::Result<()> {
        self.handle.ready(Interest::READABLE).await.map(drop)
    }

    /// Kills what is left of it, and gives how the program ended.
    pub(crate) async fn finish(&mut self) -> Option<ExitStatus> {
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
            unsafe { libc::waitpid(id, ptr::null_mut(), 0) };
        };
        if let Err(error) = thread::Builder::new().name("reaper".to_owned()).spawn(wait) {
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

/// Runs in the child before the program: it dies with pingu, no descriptor but the first three outlives the exec, no signal is ignored or
/// blocked, and what protects pingu where memory is short does not protect it.
fn prepare() -> io::Result<()> {
    // SAFETY: plain system calls that touch only the child; the texts are alive, and the path ends with a NUL.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        // Not by the library, which keeps two for itself. The two that have no other disposition refuse, which changes nothing.
        let default = [0_u64; SIGACTION_WORDS_MAX];
        let previous: *mut u64 = ptr::null_mut();
        for signal in 1..=SIGNAL_MAX {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                &raw const default,
                previous,
                SIGSET_BYTES,
            );
        }
        let mut none: libc::sigset_t = mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
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

/// What a program writes, standard output and standard error as they come.
pub(crate) struct Output {
    pipe: Receiver,
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
            is_open: true,
        })
    }

    /// There may be more.
    pub(crate) fn is_open(&self) -> bool {
        self.is_open
    }

    /// Waits for something to read and hands it over; safe to cancel.
    pub(crate) async fn read(&mut self, take: &mut impl FnMut(&[u8])) {
        if self.pipe.readable().await.is_err() {
            self.is_open = false;
        }
        self.read_some(take);
    }

    /// Reads what a program that has ended left behind, up to about so much.
    pub(crate) fn read_rest(&mut self, mut take: impl FnMut(&[u8]), bytes_max: usize) {
        let mut left = bytes_max;
        while left > 0 && self.is_open {
            let read = self.read_some(&mut take);
            if read == 0 {
                return;
            }
            left = left.saturating_sub(read);
        }
    }

    /// Reads once, and tells how much; nothing: there is no more at the moment.
    fn read_some(&mut self, take: &mut impl FnMut(&[u8])) -> usize {
        let mut chunk = [0; CHUNK_BYTES];
        match self.pipe.try_read(&mut chunk) {
            Ok(0) => {
                self.is_open = false;
                0
            }
            Ok(count) => {
                take(&chunk[..count]);
                count
            }
            Err(error) => {
                self.is_open &= error.kind() == io::ErrorKind::WouldBlock;
                0
            }
        }
    }
}
