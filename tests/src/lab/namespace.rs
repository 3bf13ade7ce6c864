//! A network namespace with a name of its own: `ip netns exec NAME` looks into it while a test runs.

use std::{
    ffi::OsStr,
    fs::File,
    io::Write,
    os::{fd::AsRawFd, unix::process::CommandExt},
    path::Path,
    process::{Command, Stdio},
    sync::{
        Once,
        atomic::{AtomicU32, Ordering},
    },
};

use crate::lab::worker::{Stop, Worker};

/// Every namespace of the lab is called so; then come the id of its process, a number and a tag.
const PREFIX: &str = "pingu-lab-";

/// Where iproute2 keeps its names.
const NAMES: &str = "/run/netns";

/// A network namespace; dropped, it is deleted.
pub struct Namespace {
    name: String,
    handle: File,
}

impl Namespace {
    /// Makes a namespace with its loopback up, quick IPv6 addresses (no duplicate detection) and no reverse path filter.
    #[track_caller]
    pub fn new(tag: &str) -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        static SWEEP: Once = Once::new();
        SWEEP.call_once(remove_orphans);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{number}-{tag}", std::process::id());
        finish(Command::new("ip").args(["netns", "add", &name]), "");
        let handle = File::open(Path::new(NAMES).join(&name)).expect("iproute2 has just made it");
        let namespace = Self { name, handle };
        for (key, value) in [
            ("net.ipv6.conf.all.accept_dad", "0"),
            ("net.ipv6.conf.default.accept_dad", "0"),
            ("net.ipv4.conf.all.rp_filter", "0"),
            ("net.ipv4.conf.default.rp_filter", "0"),
        ] {
            namespace.sysctl(key, value);
        }
        namespace.ip("link set lo up");
        namespace
    }

    /// Its name in iproute2.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A command that will run inside.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        let handle = self
            .handle
            .try_clone()
            .expect("a descriptor can be doubled");
        // SAFETY: setns is async-signal-safe, and the closure owns the descriptor that it names.
        unsafe { command.pre_exec(move || enter_by(handle.as_raw_fd())) };
        command
    }

    /// Runs a program inside and gives its standard output; panics with its standard error where it fails.
    #[track_caller]
    pub fn run(&self, words: &[&str]) -> String {
        let (program, arguments) = words.split_first().expect("a command has a first word");
        finish(self.command(program).args(arguments), "")
    }

    /// `ip` with these arguments, separated by spaces.
    #[track_caller]
    pub fn ip(&self, arguments: &str) -> String {
        finish(self.command("ip").args(arguments.split_whitespace()), "")
    }

    /// Many `ip` commands at once, one a line.
    #[track_caller]
    pub fn ip_batch(&self, lines: &str) {
        finish(self.command("ip").args(["-batch", "-"]), lines);
    }

    /// Loads rules.
    #[track_caller]
    pub fn nft(&self, rules: &str) {
        finish(self.command("nft").args(["-f", "-"]), rules);
    }

    /// Sets a `net.` sysctl inside.
    #[track_caller]
    pub fn sysctl(&self, key: &str, value: &str) {
        let path = format!("/proc/sys/{}", key.replace('.', "/"));
        self.enter(|| {
            std::fs::write(&path, value).unwrap_or_else(|error| panic!("{path}: {error}"))
        });
    }

    /// Makes a veth pair, both ends up: `here` in this namespace, `there` in the other.
    #[track_caller]
    pub fn veth(&self, here: &str, other: &Self, there: &str) {
        self.ip(&format!(
            "link add {here} type veth peer name {there} netns {}",
            other.name
        ));
        self.ip(&format!("link set {here} up"));
        other.ip(&format!("link set {there} up"));
    }

    /// An interface's number inside.
    #[track_caller]
    pub fn ifindex(&self, interface: &str) -> u32 {
        let line = self.ip(&format!("-o link show dev {interface}"));
        line.split(':')
            .next()
            .and_then(|number| number.parse().ok())
            .expect("`ip -o link` begins with a number")
    }

    /// An interface's Ethernet address.
    #[track_caller]
    pub fn mac(&self, interface: &str) -> [u8; 6] {
        let line = self.ip(&format!("-o link show dev {interface}"));
        let text = line
            .split_whitespace()
            .skip_while(|word| *word != "link/ether")
            .nth(1)
            .expect("an Ethernet device");
        let mut bytes = [0; 6];
        for (byte, part) in bytes.iter_mut().zip(text.split(':')) {
            *byte = u8::from_str_radix(part, 16).expect("iproute2 writes hexadecimal bytes");
        }
        bytes
    }

    /// Runs a function inside, on a thread of its own, and waits for it.
    pub fn enter<R: Send>(&self, function: impl FnOnce() -> R + Send) -> R {
        let handle = self.handle.as_raw_fd();
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                enter_by(handle).expect("root may enter a namespace");
                function()
            });
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Starts a worker inside.
    pub fn worker<R: Send + 'static>(
        &self,
        name: &str,
        work: impl FnOnce(&Stop) -> R + Send + 'static,
    ) -> Worker<R> {
        let handle = self
            .handle
            .try_clone()
            .expect("a descriptor can be doubled");
        Worker::start(name, move |stop| {
            enter_by(handle.as_raw_fd()).expect("root may enter a namespace");
            work(stop)
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        delete(&self.name);
    }
}

fn enter_by(handle: i32) -> std::io::Result<()> {
    // SAFETY: a plain system call that changes the calling thread's namespace only.
    match unsafe { libc::setns(handle, libc::CLONE_NEWNET) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

fn delete(name: &str) {
    // It may have been deleted by hand; there is nobody to tell in a drop.
    let _ = Command::new("ip")
        .args(["netns", "delete", name])
        .stderr(Stdio::null())
        .status();
}

/// Deletes what labs left behind that were killed: their names say which process they belonged to.
fn remove_orphans() {
    let Ok(entries) = std::fs::read_dir(NAMES) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split('-').next())
            .map(str::to_owned);
        if owner.is_some_and(|owner| !Path::new("/proc").join(owner).exists()) {
            delete(&name);
        }
    }
}

#[track_caller]
fn finish(command: &mut Command, input: &str) -> String {
    let text = format!("{command:?}");
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {text}: {error}"));
    let mut stdin = child.stdin.take().expect("it is piped");
    // One that ends without reading says why on its standard error.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().expect("a child can be waited for");
    if !output.status.success() {
        panic!(
            "{text} failed: {}{input}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    String::from_utf8_lossy(&output.stdout).into_owned()
}
