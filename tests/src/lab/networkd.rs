//! A real systemd-networkd, without systemd: it needs a `/run` of its own, in which udev seems to have finished with every interface.
//! Where it takes udev for absent, as in a container, it configures before it has seen what is there, and tidies nothing up.

use std::{fmt::Write, fs, net::Ipv4Addr, time::Duration};

use tempfile::TempDir;

use crate::lab::{namespace::Namespace, process::Process, provider::Provider};

/// It reads the state of the kernel and sets a few addresses; a busy machine takes longer.
const CONFIGURED_DEADLINE: Duration = Duration::from_secs(20);

/// It leaves everything as it is.
const STOP_DEADLINE: Duration = Duration::from_secs(5);

/// Hides this machine's own network files and gives it those in the directory that the first argument names; then becomes it.
const SHUT_IN: &str = "mount -t tmpfs tmpfs /run && mount -t sysfs sysfs /sys || exit 1\n\
     if [ -d /etc/systemd/network ]; then mount -t tmpfs tmpfs /etc/systemd/network || exit 1; fi\n\
     cd /run && mkdir -p systemd/network systemd/netif/links systemd/netif/leases systemd/netif/lldp udev/data || exit 1\n\
     for index in /sys/class/net/*/ifindex; do echo I:1 >udev/data/n$(cat $index); done\n\
     cp \"$1\"/* systemd/network && chmod 644 systemd/network/* && chown -R systemd-network:systemd-network systemd/netif || exit 1\n\
     exec /lib/systemd/systemd-networkd";

/// Its process; dropped, it is killed, and leaves everything as it is.
pub struct Networkd {
    process: Process,
    _directory: TempDir,
}

impl Networkd {
    /// Starts it with the addresses that the router has at these providers and a default route over each, of metrics from this
    /// one on; `more` goes into the first one's file. Returns once all is configured.
    #[track_caller]
    pub fn start(namespace: &Namespace, providers: &[Provider], metric: u32, more: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let more = [more].into_iter().chain(std::iter::repeat(""));
        for ((metric, provider), more) in (metric..).zip(providers).zip(more) {
            let file = format!("10-{}.network", provider.interface());
            fs::write(
                directory.path().join(file),
                network_file(provider, metric, more),
            )
            .expect("a temporary file can be written");
        }
        let mut command = namespace.command("unshare");
        command.args(["--mount", "sh", "-c", SHUT_IN, "sh"]);
        command.arg(directory.path());
        command.env("SYSTEMD_LOG_LEVEL", "debug");
        let mut process = Process::spawn("systemd-networkd", command);
        for provider in providers {
            let configured = format!(
                "{}: State changed: configuring -> configured",
                provider.interface()
            );
            process.wait_for_log(&configured, CONFIGURED_DEADLINE);
        }
        Self {
            process,
            _directory: directory,
        }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// What it has written so far.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Ends it as its service would.
    #[track_caller]
    pub fn stop(mut self) {
        self.process.signal(libc::SIGTERM);
        self.process.wait(STOP_DEADLINE);
    }
}

fn network_file(provider: &Provider, metric: u32, more: &str) -> String {
    let mut text = format!(
        "[Match]\nName={}\n[Network]\nLLDP=no\nIPv6AcceptRA=no\n",
        provider.interface()
    );
    let (address, address_v6) = (provider.router_address(), provider.router_address_v6());
    // It takes an address that the kernel holds for its own only if it is told all of it.
    let [a, b, c, _] = address.octets();
    let broadcast = Ipv4Addr::new(a, b, c, 255);
    let gateway = provider.gateway();
    write!(
        text,
        "[Address]\nAddress={address}/24\nBroadcast={broadcast}\n[Address]\nAddress={address_v6}/64\n\
         [Route]\nGateway={gateway}\nMetric={metric}\n{more}"
    )
    .expect("a string takes all text");
    text
}
