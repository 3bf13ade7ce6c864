//! A network namespace without a name: it belongs to one thread and vanishes with it, however the process ends.

use std::{
    fs::File,
    process::Command,
    sync::mpsc::{Sender, channel},
    thread::{self, JoinHandle},
};

use anyhow::{Context, Result, bail, ensure};

type Job = Box<dyn FnOnce() + Send>;

/// A network namespace and the thread that lives in it.
pub struct Namespace {
    thread_id: i32,
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Namespace {
    /// Makes a namespace with its loopback up.
    pub fn new() -> Result<Self> {
        let (jobs, queue) = channel::<Job>();
        let (ready, made) = channel();
        let thread = thread::spawn(move || {
            // SAFETY: plain system calls; the thread leaves the process's namespace for one of its own.
            let made = unsafe {
                if libc::unshare(libc::CLONE_NEWNET) == 0 {
                    Ok(libc::gettid())
                } else {
                    Err(std::io::Error::last_os_error())
                }
            };
            let failed = made.is_err();
            if ready.send(made).is_err() || failed {
                return;
            }
            for job in queue {
                job();
            }
        });
        let thread_id = made
            .recv()
            .context("namespace thread died")?
            .context("unshare(CLONE_NEWNET), which needs root")?;
        let namespace = Self {
            thread_id,
            jobs: Some(jobs),
            thread: Some(thread),
        };
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    /// Runs a function in the namespace's thread and waits for its result.
    pub fn run<R: Send + 'static>(&self, job: impl FnOnce() -> R + Send + 'static) -> R {
        let (done, result) = channel();
        let jobs = self
            .jobs
            .as_ref()
            .expect("the queue lives as long as the namespace");
        let job: Job = Box::new(move || {
            // The receiver waits below.
            let _ = done.send(job());
        });
        assert!(jobs.send(job).is_ok(), "the namespace's thread died");
        result
            .recv()
            .expect("the job panicked in the namespace's thread")
    }

    /// Runs a command in the namespace; its arguments are split at spaces. Fails with what it wrote to standard error.
    pub fn command(&self, line: &str) -> Result<String> {
        let line = line.to_owned();
        self.run(move || {
            let mut words = line.split_whitespace();
            let program = words.next().context("empty command")?;
            let output = Command::new(program)
                .args(words)
                .output()
                .with_context(|| format!("cannot run `{program}`"))?;
            if !output.status.success() {
                bail!(
                    "`{line}`: {}",
                    String::from_utf8_lossy(&output.stderr).trim()
                );
            }
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        })
    }

    /// `ip` with these arguments, in the namespace.
    pub fn ip(&self, arguments: &str) -> Result<String> {
        self.command(&format!("ip {arguments}"))
    }

    /// Sets a `net.` sysctl in the namespace (`/proc/sys/net` shows that of the thread that reads it).
    pub fn sysctl(&self, name: &str, value: &str) -> Result<()> {
        let path = format!("/proc/sys/{}", name.replace('.', "/"));
        let value = value.to_owned();
        self.run(move || std::fs::write(&path, value).with_context(|| path))
    }

    /// Makes a veth pair: `here` in this namespace, `there` in the other.
    pub fn veth(&self, here: &str, other: &Self, there: &str) -> Result<()> {
        self.ip(&format!(
            "link add {here} type veth peer name {there} netns {}",
            other.thread_id
        ))?;
        self.ip(&format!("link set {here} up"))?;
        other.ip(&format!("link set {there} up"))?;
        Ok(())
    }

    /// An interface's number in this namespace.
    pub fn ifindex(&self, interface: &str) -> Result<u32> {
        let text = self.ip(&format!("-o link show dev {interface}"))?;
        text.split(':')
            .next()
            .and_then(|number| number.parse().ok())
            .with_context(|| format!("no number in `{text}`"))
    }

    /// An interface's Ethernet address.
    pub fn mac(&self, interface: &str) -> Result<[u8; 6]> {
        let text = self.ip(&format!("-o link show dev {interface}"))?;
        let mut words = text
            .split_whitespace()
            .skip_while(|word| *word != "link/ether");
        let address = words
            .nth(1)
            .with_context(|| format!("no Ethernet address in `{text}`"))?;
        let mut bytes = [0; 6];
        let mut parts = address.split(':');
        for byte in &mut bytes {
            *byte = u8::from_str_radix(parts.next().context("short address")?, 16)?;
        }
        ensure!(parts.next().is_none(), "long address {address}");
        Ok(bytes)
    }

    /// The namespace itself, to be named by a file descriptor.
    pub fn file(&self) -> Result<File> {
        let path = format!("/proc/self/task/{}/ns/net", self.thread_id);
        File::open(&path).context(path)
    }

    /// The number by which `ip link set netns` names this namespace.
    pub fn thread_id(&self) -> i32 {
        self.thread_id
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            // A panic in a job was reported by `run`.
            let _ = thread.join();
        }
    }
}
