//! A real NetworkManager and the message bus that it cannot do without, in mounts of their own. Setup unpacks it into the target
//! directory rather than installing it: at the next boot it would begin to manage this machine.

use std::{
    env,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use tempfile::TempDir;

use crate::lab::{namespace::Namespace, process::Process, provider::Provider};

/// It takes a second until it has looked at all interfaces; a busy machine takes longer.
const ACTIVATED_DEADLINE: Duration = Duration::from_secs(30);

/// It leaves everything as it is.
const STOP_DEADLINE: Duration = Duration::from_secs(10);

/// A place in the target directory, below the profile's.
const UNPACKED: &str = "tools/network-manager";

/// The arguments are the directory with its configuration and the program. `/run` is where it keeps what it finds, `/sys` the
/// namespace's own, and only to be read, as in a container: then it does not wait for udev.
const SHUT_IN: &str = "for directory in /run /var/lib; do mount -t tmpfs tmpfs $directory || exit 1; done\n\
     mount -t sysfs -o ro sysfs /sys && mkdir -p /run/dbus /run/NetworkManager /run/connections || exit 1\n\
     cp \"$1\"/*.nmconnection /run/connections && chmod 600 /run/connections/* || exit 1\n\
     dbus-daemon --config-file=\"$1\"/bus.conf --nopidfile --nofork &\n\
     until [ -S /run/dbus/system_bus_socket ]; do kill -0 $! || exit 1; done\n\
     exec \"$2\" --debug --config=\"$1\"/main.conf --config-dir=/run/none --system-config-dir=/run/none \
     --intern-config=/run/intern.conf --state-file=/run/state --pid-file=/run/nm.pid";

const BUS: &str = "<busconfig><type>system</type><listen>unix:path=/run/dbus/system_bus_socket</listen><auth>EXTERNAL</auth>\
     <policy context=\"default\"><allow send_destination=\"*\"/><allow eavesdrop=\"true\"/><allow own=\"*\"/><allow user=\"*\"/></policy></busconfig>";

const MAIN: &str = "[main]\nplugins=keyfile\ndns=none\nrc-manager=unmanaged\nno-auto-default=*\nsystemd-resolved=false\n\
     hostname-mode=none\n[logging]\nlevel=INFO\n[keyfile]\npath=/run/connections\nunmanaged-devices=";

/// Its process; dropped, it is killed, and leaves everything as it is.
pub struct NetworkManager {
    process: Process,
    _directory: TempDir,
}

impl NetworkManager {
    /// Starts it with the addresses that the router has at these providers and a default route over each, of metrics from this
    /// one on. Returns once all is configured.
    #[track_caller]
    pub fn start(namespace: &Namespace, providers: &[Provider], metric: u32) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let write = |name: &str, text: &str| {
            fs::write(directory.path().join(name), text).expect("a temporary file can be written");
        };
        write("bus.conf", BUS);
        let interfaces: Vec<&str> = providers.iter().map(Provider::interface).collect();
        let others = format!(
            "*;except:interface-name:{}",
            interfaces.join(";except:interface-name:")
        );
        write("main.conf", &format!("{MAIN}{others}\n"));
        for (metric, provider) in (metric..).zip(providers) {
            let file = format!("{}.nmconnection", provider.interface());
            write(&file, &connection(provider, metric));
        }
        let (program, libraries) = find();
        let mut command = namespace.command("unshare");
        command.args([
            "--mount",
            "--pid",
            "--fork",
            "--kill-child=KILL",
            "--mount-proc",
        ]);
        command.args(["sh", "-c", SHUT_IN, "sh"]);
        command.arg(directory.path()).arg(program);
        if let Some(libraries) = libraries {
            command.env("LD_LIBRARY_PATH", libraries);
        }
        let mut process = Process::spawn("NetworkManager", command);
        for interface in interfaces {
            let activated = format!("device ({interface}): Activation: successful");
            process.wait_for_log(&activated, ACTIVATED_DEADLINE);
        }
        Self {
            process,
            _directory: directory,
        }
    }

    /// What it has written so far.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Kills it on the spot, and its bus.
    #[track_caller]
    pub fn kill(mut self) {
        self.process.signal(libc::SIGKILL);
        self.process.wait(STOP_DEADLINE);
    }
}

fn connection(provider: &Provider, metric: u32) -> String {
    let interface = provider.interface();
    let mut text = format!(
        "[connection]\nid={interface}\ntype=ethernet\ninterface-name={interface}\nautoconnect=true\n"
    );
    let (address, gateway) = (provider.router_address(), provider.gateway());
    let address_v6 = provider.router_address_v6();
    write!(
        text,
        "[ipv4]\nmethod=manual\naddress1={address}/24,{gateway}\nroute-metric={metric}\n\
         [ipv6]\nmethod=manual\naddress1={address_v6}/64\n"
    )
    .expect("a string takes all text");
    text
}

/// The program, and where the libraries are that came with it if it is not installed.
#[track_caller]
fn find() -> (PathBuf, Option<PathBuf>) {
    let installed = Path::new("/usr/sbin/NetworkManager");
    if installed.exists() {
        return (installed.to_owned(), None);
    }
    let own = env::current_exe().expect("a program knows its path");
    let unpacked = own
        .ancestors()
        .map(|above| above.join(UNPACKED))
        .find(|place| place.exists());
    let unpacked =
        unpacked.expect("`cargo xtask setup` unpacks NetworkManager into the target directory");
    let libraries = unpacked
        .join("usr/lib")
        .join(format!("{}-linux-gnu", env::consts::ARCH));
    (unpacked.join("usr/sbin/NetworkManager"), Some(libraries))
}
