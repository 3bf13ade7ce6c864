//! Real DHCP clients of distributions, with the scripts that these ship: ISC's dhclient and dhcpcd. Both would write to `/etc` and
//! `/var`; they see those read-only or empty, and their mounts are their own.

use std::{fs, net::Ipv4Addr, time::Duration};

use tempfile::TempDir;

use crate::lab::{namespace::Namespace, process::Process, wait::wait_until};

/// A client that gets no answer asks again after a few seconds; this is several tries on a busy machine.
const LEASE_DEADLINE: Duration = Duration::from_secs(30);

/// Shuts `/etc` for writing and empties what clients remember leases in, and becomes what the arguments say.
const SHUT_IN: &str = "mount --bind /etc /etc && mount -o remount,bind,ro /etc || exit 1\n\
     for directory in /run /var/lib; do mount -t tmpfs tmpfs $directory || exit 1; done\n\
     mkdir -p /var/lib/dhcpcd /run/dhcpcd\nexec \"$@\"";

/// A DHCP client; dropped, it is killed and leaves its address and route.
pub struct Dhclient {
    process: Process,
    _directory: TempDir,
}

/// When a client asks again.
#[derive(Clone, Copy, Debug)]
pub struct Renewal {
    /// From a lease to its renewal.
    pub every_s: u32,
    /// From a lease or its last renewal to its end.
    pub lease_s: u32,
}

impl Dhclient {
    /// Starts ISC's dhclient with Debian's script; its default route will have this metric.
    #[track_caller]
    pub fn start(namespace: &Namespace, interface: &str, metric: u32, renewal: Renewal) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let path = |name: &str| directory.path().join(name);
        let Renewal { every_s, lease_s } = renewal;
        let configuration = format!(
            "request subnet-mask, routers;\ninitial-interval 1;\nbackoff-cutoff 2;\nsupersede dhcp-lease-time {lease_s};\n\
             supersede dhcp-renewal-time {every_s};\nsupersede dhcp-rebinding-time {lease_s};\n"
        );
        fs::write(path("dhclient.conf"), configuration).expect("a temporary file can be written");
        let mut command = shut_in(namespace);
        command.args(["dhclient", "-4", "-d", "-e"]);
        command.arg(format!("IF_METRIC={metric}"));
        command.arg("-cf").arg(path("dhclient.conf"));
        command.arg("-lf").arg(path("leases"));
        command.arg("-pf").arg(path("pid")).arg(interface);
        Self {
            process: Process::spawn("dhclient", command),
            _directory: directory,
        }
    }

    /// Waits until it has this address.
    #[track_caller]
    pub fn wait_for_lease(&mut self, address: Ipv4Addr) {
        self.process
            .wait_for_log(&format!("bound to {address}"), LEASE_DEADLINE);
    }

    /// Waits until it has renewed its lease so many times more.
    #[track_caller]
    pub fn wait_for_renewals(&self, count: usize) {
        let bound = || self.process.log().matches("bound to ").count();
        let wanted = bound() + count;
        wait_until("renewals of the lease", LEASE_DEADLINE, || {
            if bound() >= wanted {
                Ok(())
            } else {
                Err(self.process.log())
            }
        });
    }
}

/// dhcpcd, which manages addresses and routes itself.
pub struct Dhcpcd {
    process: Process,
    _directory: TempDir,
}

impl Dhcpcd {
    /// Starts it; its default route will have this metric.
    #[track_caller]
    pub fn start(namespace: &Namespace, interface: &str, metric: u32) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let file = directory.path().join("dhcpcd.conf");
        let configuration = "ipv4only\nnoarp\noption routers\nrequire dhcp_server_identifier\n";
        fs::write(&file, configuration).expect("a temporary file can be written");
        let mut command = shut_in(namespace);
        command.args(["dhcpcd", "-B", "-d", "-c", "/bin/true", "-m"]);
        command.arg(metric.to_string()).arg("-f").arg(file);
        command.arg(interface);
        Self {
            process: Process::spawn("dhcpcd", command),
            _directory: directory,
        }
    }

    /// Waits until it has this address.
    #[track_caller]
    pub fn wait_for_lease(&mut self, address: Ipv4Addr) {
        self.process
            .wait_for_log(&format!("leased {address} "), LEASE_DEADLINE);
    }

    /// Asks for the lease anew, and waits until that is done.
    #[track_caller]
    pub fn renew(&self) {
        let leased = || self.process.log().matches("leased ").count();
        let before = leased();
        self.signal_inner(libc::SIGUSR1);
        wait_until("the lease to be renewed", LEASE_DEADLINE, || {
            if leased() > before {
                Ok(())
            } else {
                Err(self.process.log())
            }
        });
    }

    /// Signals the client itself: what we started only waits for it.
    fn signal_inner(&self, signal: i32) {
        let id = self.process.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
        let child = children
            .ok()
            .and_then(|line| line.split_whitespace().next()?.parse().ok());
        let child: i32 = child.expect("the client runs");
        // SAFETY: a plain system call; the child is waited for by its parent, which still runs.
        unsafe { libc::kill(child, signal) };
    }
}

/// A process namespace of its own ends all that a client forks together with what we started.
fn shut_in(namespace: &Namespace) -> std::process::Command {
    let mut command = namespace.command("unshare");
    command.args([
        "--mount",
        "--pid",
        "--fork",
        "--kill-child=KILL",
        "--mount-proc",
        "sh",
        "-c",
        SHUT_IN,
        "sh",
    ]);
    command
}
