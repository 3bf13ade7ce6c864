//! A real DHCP server and client: busybox's.

use std::{
    fs::{self, Permissions},
    net::Ipv4Addr,
    os::unix::fs::PermissionsExt,
    time::Duration,
};

use tempfile::TempDir;

use crate::lab::{namespace::Namespace, process::Process};

/// A client that gets no answer asks again after a second; this is several tries on a busy machine.
const LEASE_DEADLINE: Duration = Duration::from_secs(15);

/// Long enough that no test sees a renewal that it did not ask for.
const LEASE_SECONDS: u32 = 3600;

/// A DHCP server with one address to give away.
pub struct Server {
    _process: Process,
    _directory: TempDir,
}

/// A DHCP client; it sets the address and a default route as the script of a distribution would.
pub struct Client {
    process: Process,
    _directory: TempDir,
}

impl Server {
    /// Starts it.
    #[track_caller]
    pub fn start(
        namespace: &Namespace,
        interface: &str,
        gateway: Ipv4Addr,
        lease: Ipv4Addr,
    ) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let path = |name: &str| directory.path().join(name);
        let configuration = format!(
            "start {lease}\nend {lease}\ninterface {interface}\nmax_leases 1\npidfile {}\nlease_file {}\n\
             option subnet 255.255.255.0\noption router {gateway}\noption lease {LEASE_SECONDS}\n",
            path("pid").display(),
            path("leases").display()
        );
        fs::write(path("leases"), "").expect("a temporary file can be written");
        fs::write(path("udhcpd.conf"), configuration).expect("a temporary file can be written");
        let mut command = namespace.command("busybox");
        command.args(["udhcpd", "-f"]).arg(path("udhcpd.conf"));
        Self {
            _process: Process::spawn("udhcpd", command),
            _directory: directory,
        }
    }
}

impl Client {
    /// Starts it; its default route will have this metric.
    #[track_caller]
    pub fn start(namespace: &Namespace, interface: &str, metric: u32) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let script = directory.path().join("lease");
        fs::write(&script, lease_script(metric)).expect("a temporary file can be written");
        fs::set_permissions(&script, Permissions::from_mode(0o700)).expect("the file is ours");
        let mut command = namespace.command("busybox");
        command
            .args([
                "udhcpc", "-f", "-i", interface, "-t", "10", "-T", "1", "-A", "1", "-s",
            ])
            .arg(&script);
        Self {
            process: Process::spawn("udhcpc", command),
            _directory: directory,
        }
    }

    /// Waits until it has this address.
    #[track_caller]
    pub fn wait_for_lease(&mut self, address: Ipv4Addr) {
        self.process
            .wait_for_log(&format!("lab: bound {address} "), LEASE_DEADLINE);
    }

    /// Renews the lease and waits until that is done.
    #[track_caller]
    pub fn renew(&mut self) {
        let renewals = |log: &str| log.matches("lab: renew ").count();
        let before = renewals(&self.process.log());
        self.process.signal(libc::SIGUSR1);
        crate::lab::wait::wait_until("the lease to be renewed", LEASE_DEADLINE, || {
            let log = self.process.log();
            if renewals(&log) > before {
                Ok(())
            } else {
                Err(log)
            }
        });
    }
}

/// What udhcpc runs at each event, after the manner of Debian's default script: a renewal takes the default route away and
/// sets it again. To replace a route by its equal would be no event to the kernel.
fn lease_script(metric: u32) -> String {
    format!(
        "#!/bin/sh\n\
         case \"$1\" in\n\
         deconfig)\n\
           ip -4 address flush dev \"$interface\"\n\
           ip link set \"$interface\" up ;;\n\
         bound|renew)\n\
           ip address replace \"$ip/$mask\" dev \"$interface\"\n\
           ip route del default dev \"$interface\" proto dhcp metric {metric} 2>/dev/null\n\
           ip route add default via \"${{router%% *}}\" dev \"$interface\" proto dhcp metric {metric}\n\
           echo \"lab: $1 $ip via $router\" ;;\n\
         esac\n"
    )
}
