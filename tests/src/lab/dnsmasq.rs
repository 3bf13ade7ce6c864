//! A real DHCP server whose offers change: dnsmasq, without its name server.

use std::{fs, net::Ipv4Addr, path::Path, time::Duration};

use tempfile::TempDir;

use crate::lab::{
    process::Process,
    provider::{Provider, ROUTER_SIDE},
    wait::wait_until,
};

/// Two minutes are the least that it gives; clients are told to come back sooner by their own configuration.
const LEASE_SECONDS: u32 = 120;

/// It reads its options anew within milliseconds.
const HEARD_DEADLINE: Duration = Duration::from_secs(10);

/// A DHCP server with one address to give away, at a provider's end of the router's wire.
pub struct Dnsmasq {
    process: Process,
    directory: TempDir,
}

impl Dnsmasq {
    /// Starts it; the router will get the provider's usual address for it, and the provider as its gateway.
    #[track_caller]
    pub fn start(provider: &Provider) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        write_options(directory.path(), provider.gateway());
        let path = |name: &str| directory.path().join(name).display().to_string();
        let lease = provider.router_address();
        let mut command = provider.namespace.command("dnsmasq");
        command.args([
            "--keep-in-foreground",
            "--log-facility=-",
            "--user=root",
            "--port=0",
            "--no-resolv",
            "--no-hosts",
            "--no-ping",
            "--bind-interfaces",
            "--dhcp-authoritative",
            "--conf-file=/dev/null",
            "--pid-file=",
        ]);
        command.arg(format!("--interface={ROUTER_SIDE}"));
        command.arg(format!(
            "--dhcp-range={lease},{lease},255.255.255.0,{LEASE_SECONDS}"
        ));
        command.arg(format!("--dhcp-optsfile={}", path("options")));
        command.arg(format!("--dhcp-leasefile={}", path("leases")));
        Self {
            process: Process::spawn("dnsmasq", command),
            directory,
        }
    }

    /// Names another gateway in every lease that it gives or renews from now on.
    #[track_caller]
    pub fn offer_gateway(&self, gateway: Ipv4Addr) {
        let read = format!(": read {}", self.directory.path().display());
        let heard = || self.process.log().matches(&read).count();
        let before = heard();
        write_options(self.directory.path(), gateway);
        self.process.signal(libc::SIGHUP);
        wait_until("dnsmasq to read its options", HEARD_DEADLINE, || {
            if heard() > before {
                Ok(())
            } else {
                Err(self.process.log())
            }
        });
    }
}

fn write_options(directory: &Path, gateway: Ipv4Addr) {
    fs::write(
        directory.join("options"),
        format!("option:router,{gateway}\n"),
    )
    .expect("a temporary file can be written");
}
