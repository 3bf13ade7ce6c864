//! The programs that tests, demo and benchmarks run.

use crate::{
    invocation::find_program,
    setup::{
        State,
        debian::{self, PackageLists},
    },
};

/// A program, the Debian package that has it, and what it is for.
struct Tool {
    command: &'static str,
    package: &'static str,
    purpose: &'static str,
}

const TOOLS: [Tool; 17] = [
    tool("ip", "iproute2", "namespaces, devices and routes"),
    tool(
        "tc",
        "iproute2",
        "drop rates, and foreign filters beside ours",
    ),
    tool(
        "nft",
        "nftables",
        "black holes, and packets counted on their way",
    ),
    tool(
        "tcpdump",
        "tcpdump",
        "the capture that round trip times are compared with",
    ),
    tool(
        "ping",
        "iputils-ping",
        "the LAN's client, and a peer of the benchmarks",
    ),
    tool("fping", "fping", "a peer of the benchmarks"),
    tool("busybox", "busybox", "a DHCP server and client"),
    tool(
        "dnsmasq",
        "dnsmasq-base",
        "a DHCP server whose leases change",
    ),
    tool("dhclient", "isc-dhcp-client", "a DHCP client"),
    tool("dhcpcd", "dhcpcd-base", "another DHCP client"),
    tool(
        "conntrack",
        "conntrack",
        "the connections that the kernel keeps",
    ),
    tool("radvd", "radvd", "router advertisements"),
    tool("bird", "bird2", "a routing protocol that passes routes on"),
    tool("vtysh", "frr", "another one"),
    tool(
        "networkctl",
        "systemd",
        "a manager that removes foreign routes",
    ),
    tool("dbus-daemon", "dbus-daemon", "a network manager's bus"),
    tool(
        "strace",
        "strace",
        "system calls counted, and a kill at each",
    ),
];

/// What only benchmarks run: `cargo xtask bench` asks for them, `cargo xtask test` does not.
const PEERS: [Tool; 3] = [
    tool("oping", "oping", "a prober to compare with"),
    tool("masscan", "masscan", "another one"),
    tool("zmap", "zmap", "another one"),
];

/// What `cargo xtask kernels` runs.
const EMULATOR: [Tool; 5] = [
    tool(
        "qemu-system-x86_64",
        "qemu-system-x86",
        "an emulated machine",
    ),
    tool("depmod", "kmod", "a kernel's modules put in order"),
    tool("modprobe", "kmod", "a kernel's modules found"),
    tool("cpio", "cpio", "the files that a kernel begins with"),
    tool("xz", "xz-utils", "modules that are compressed"),
];

const fn tool(command: &'static str, package: &'static str, purpose: &'static str) -> Tool {
    Tool {
        command,
        package,
        purpose,
    }
}

pub(super) fn state(lists: PackageLists) -> State {
    state_of(&TOOLS, lists)
}

pub(super) fn state_of_peers(lists: PackageLists) -> State {
    state_of(&PEERS, lists)
}

pub(super) fn state_of_emulator(lists: PackageLists) -> State {
    state_of(&EMULATOR, lists)
}

fn state_of(tools: &[Tool], lists: PackageLists) -> State {
    let missing: Vec<_> = tools
        .iter()
        .filter(|tool| find_program(tool.command).is_none())
        .collect();
    if missing.is_empty() {
        let commands: Vec<_> = tools.iter().map(|tool| tool.command).collect();
        return State::Present(commands.join(", "));
    }
    let mut packages: Vec<_> = missing.iter().map(|tool| tool.package).collect();
    packages.dedup();
    let reasons: Vec<_> = missing
        .iter()
        .map(|tool| format!("{} for {}", tool.command, tool.purpose))
        .collect();
    debian::install(&packages, &reasons.join("; "), lists)
}
