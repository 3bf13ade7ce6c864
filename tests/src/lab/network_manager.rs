//! A real NetworkManager and the message bus that it cannot do without, in mounts of their own. Setup unpacks it into the target
//! directory rather than installing it: at the next boot it would begin to manage this machine.

use std::{env, fmt::Write, fs, path::PathBuf, process::Command, time::Duration};

use tempfile::TempDir;

use crate::lab::{namespace::Namespace, process::Process, provider::Provider};

/// It takes a second until it has looked at all interfaces; a busy machine takes longer.
const ACTIVATED_DEADLINE: Duration = Duration::from_secs(30);

/// It leaves everything as it is.
const STOP_DEADLINE: Duration = Duration::from_secs(10);

/// A place in the target directory, below the profile's.
const UNPACKED: &str = "tools/network-manager";

const PROGRAM: &str = "usr/sbin/NetworkManager";

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
     <policy context=\"default\"><allow send_destination=\"*\"/><allow eavesdrop=\"true\"/>\
     <allow own=\"*\"/><allow user=\"*\"/></policy></busconfig>";

const MAIN: &str = "[main]\nplugins=keyfile\ndns=none\nrc-manager=unmanaged\nno-auto-default=*\nsystemd-resolved=false\n\
     hostname-mode=none\n[logging]\nlevel=INFO\n[keyfile]\npath=/run/connections\nunmanaged-devices=";

/// Its process; dropped, it is killed, and leaves everything as it is.
pub struct NetworkManager {
    process: Process,
    place: Place,
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
        let place = Place::find();
        let mut command = namespace.command("unshare");
        command.args([
            "--mount",
            "--pid",
            "--fork",
            "--kill-child=KILL",
            "--mount-proc",
        ]);
        command.args(["sh", "-c", SHUT_IN, "sh"]);
        command.arg(directory.path()).arg(place.program(PROGRAM));
        place.tell(&mut command);
        let mut process = Process::spawn("NetworkManager", command);
        for interface in interfaces {
            let activated = format!("device ({interface}): Activation: successful");
            process.wait_for_log(&activated, ACTIVATED_DEADLINE);
        }
        Self {
            process,
            place,
            _directory: directory,
        }
    }

    /// Gives `nmcli` these arguments, separated by spaces, and waits until it has done them.
    #[track_caller]
    pub fn ask(&self, arguments: &str) {
        let mut command = Command::new("nsenter");
        // It listens only to processes that it can see.
        command
            .args(["--mount", "--pid", "--target"])
            .arg(self.inner().to_string());
        command.arg(self.place.program("usr/bin/nmcli"));
        command.args(arguments.split_whitespace());
        self.place.tell(&mut command);
        let output = command.output().expect("util-linux has nsenter");
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{told}\n{}", self.process.log());
    }

    /// The program itself: what we started only waits for it.
    #[track_caller]
    fn inner(&self) -> u32 {
        let id = self.process.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
        let child = children
            .ok()
            .and_then(|line| line.split_whitespace().next()?.parse().ok());
        child.expect("it runs")
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

/// Where its files are.
struct Place(PathBuf);

impl Place {
    #[track_caller]
    fn find() -> Self {
        let installed = PathBuf::from("/");
        if installed.join(PROGRAM).exists() {
            return Self(installed);
        }
        let own = env::current_exe().expect("a program knows its path");
        let mut places = own.ancestors().map(|above| above.join(UNPACKED));
        let unpacked = places.find(|place| place.join(PROGRAM).exists());
        Self(
            unpacked.expect("`cargo xtask setup` unpacks NetworkManager into the target directory"),
        )
    }

    fn program(&self, path: &str) -> PathBuf {
        self.0.join(path)
    }

    /// Says where the libraries are that came with it.
    fn tell(&self, command: &mut Command) {
        let triplet = format!("{}-linux-gnu", env::consts::ARCH);
        command.env("LD_LIBRARY_PATH", self.0.join("usr/lib").join(triplet));
    }
}
