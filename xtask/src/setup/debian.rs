//! Debian's packages: installed where the system should have them, unpacked into the target directory where it need not.

use std::path::Path;

use crate::{
    invocation::{Invocation, find_program},
    setup::{State, Step, compiler},
    workspace::Workspace,
};

/// The compiler that Debian keeps current for its web browsers, its lints, and a core library for eBPF, compiled.
const COMPILER_PACKAGES: [&str; 3] = ["rustc-web", "rust-web-clippy", "libstd-rust-web-dev-bpf"];

/// Installs packages with their services asleep, now and at the next boot: the tests run the programs in namespaces of their own,
/// and a routing or DHCP daemon that came with them must not begin to manage this machine. `policy-rc.d` is what Debian's
/// packages ask before they start a service; one that is there already is put back.
const INSTALL_ASLEEP: &str = r#"policy=/usr/sbin/policy-rc.d
kept=$policy.kept
put_back() { rm -f $policy; if [ -e $kept ]; then mv $kept $policy; fi; }
if [ -e $policy ] && [ ! -e $kept ]; then mv $policy $kept; fi
trap put_back EXIT
trap 'exit 1' HUP INT TERM
printf '#!/bin/sh\nexit 101\n' >$policy
chmod 755 $policy
apt-get install -y -q --no-install-recommends "$@"
for service in $(dpkg -L "$@" | sed -n 's|^/etc/init.d/||p'); do update-rc.d "$service" disable; done"#;

/// What is known of apt's package lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PackageLists {
    AsFound,
    /// They led to a failure: fetch them anew first.
    Refresh,
    Fresh,
}

impl PackageLists {
    /// What is known once these steps have run.
    pub(super) fn after(self, steps: &[Step]) -> Self {
        if steps.iter().any(|step| step.purpose == UPDATE_PURPOSE) {
            Self::Fresh
        } else {
            self
        }
    }
}

const UPDATE_PURPOSE: &str = "fetch the package lists";
const INSTALL_PURPOSE: &str = "install from Debian's packages";
const DOWNLOAD_PURPOSE: &str =
    "download Debian's compiler, to be unpacked rather than installed (120 MB)";
const MANAGER_DOWNLOAD_PURPOSE: &str =
    "download NetworkManager, to be unpacked rather than installed (12 MB)";

/// Whether a failure of these steps may be the fault of the package lists.
pub(super) fn is_about_packages(steps: &[Step]) -> bool {
    let downloads = [DOWNLOAD_PURPOSE, MANAGER_DOWNLOAD_PURPOSE];
    steps.iter().any(|step| {
        downloads.contains(&step.purpose.as_str()) || step.purpose.starts_with(INSTALL_PURPOSE)
    })
}

/// Unpacks the compiler into the target directory: no root, and the system stays as it was.
pub(super) fn fetch_compiler(workspace: &Workspace, lists: PackageLists) -> State {
    let purpose = DOWNLOAD_PURPOSE;
    match unpack(
        &COMPILER_PACKAGES,
        &compiler::unpacked(workspace),
        purpose,
        lists,
    ) {
        Ok(steps) => State::Lacking(steps),
        Err(NoPackages::NoApt) => State::Impossible(other_compilers("")),
        Err(NoPackages::Unknown) => {
            State::Impossible(other_compilers(" This system's packages have none."))
        }
    }
}

/// Unpacks NetworkManager into the target directory, and what it needs that is not there: installed, it would begin to manage this
/// machine at the next boot.
pub(super) fn fetch_network_manager(workspace: &Workspace, lists: PackageLists) -> State {
    let unpacked = workspace.tools().join("network-manager");
    let program = "usr/sbin/NetworkManager";
    if Path::new("/").join(program).exists() || unpacked.join(program).exists() {
        return State::Present("NetworkManager".to_owned());
    }
    match unpack(
        &["network-manager"],
        &unpacked,
        MANAGER_DOWNLOAD_PURPOSE,
        lists,
    ) {
        Ok(steps) => State::Lacking(steps),
        Err(_) => State::Impossible(
            "There is no apt here that knows `network-manager`: install NetworkManager".to_owned(),
        ),
    }
}

/// Why packages cannot be unpacked.
enum NoPackages {
    NoApt,
    Unknown,
}

/// What leads to packages, and those of their dependencies that are not installed, being unpacked in a directory.
fn unpack(
    packages: &[&str],
    unpacked: &Path,
    purpose: &str,
    lists: PackageLists,
) -> Result<Vec<Step>, NoPackages> {
    if find_program("apt-get").is_none() || find_program("dpkg").is_none() {
        return Err(NoPackages::NoApt);
    }
    if lists == PackageLists::Refresh || (lists == PackageLists::AsFound && !are_known(packages)) {
        return Ok(vec![update()]);
    }
    let simulation = Invocation::new("apt-get")
        .arguments(["-s", "install", "--no-install-recommends"])
        .arguments(packages)
        .variable("LC_ALL", "C")
        .text()
        .filter(|_| are_known(packages))
        .ok_or(NoPackages::Unknown)?;
    Ok(unpack_steps(
        unpacked,
        purpose,
        &newly_installed(&simulation),
    ))
}

fn unpack_steps(unpacked: &Path, purpose: &str, packages: &[&str]) -> Vec<Step> {
    let unfinished = unpacked.with_extension("part");
    let archives = unfinished.join("archives");
    vec![
        Step::new("make room", Invocation::new("rm").argument("-rf").argument(&unfinished)),
        Step::new("make room", Invocation::new("mkdir").argument("-p").argument(&archives)),
        Step::new(
            purpose,
            Invocation::new("apt-get")
                // As root, apt would drop to a user of its own, who may not write here.
                .arguments([
                    "download",
                    "-q",
                    "-o",
                    "APT::Sandbox::User=root",
                    "-o",
                    "Acquire::Retries=3",
                ])
                .arguments(packages)
                .directory(&archives),
        ),
        Step::new(
            "unpack it",
            Invocation::new("sh")
                .arguments([
                    "-ec",
                    "for archive in archives/*.deb; do dpkg -x \"$archive\" .; done; rm -r archives",
                ])
                .directory(&unfinished),
        ),
        Step::new(
            "keep it",
            Invocation::new("mv")
                .argument("-T")
                .argument(&unfinished)
                .argument(unpacked),
        ),
    ]
}

/// Installs packages of the system.
pub(super) fn install(packages: &[&str], reason: &str, lists: PackageLists) -> State {
    if find_program("apt-get").is_none() {
        return State::Impossible(format!(
            "There is no apt here: install what Debian calls {} ({reason})",
            packages.join(" ")
        ));
    }
    let mut steps = Vec::new();
    if lists == PackageLists::Refresh || (lists == PackageLists::AsFound && !are_known(packages)) {
        steps.push(update());
    }
    let invocation = Invocation::new("sh")
        .arguments(["-ec", INSTALL_ASLEEP, "sh"])
        .arguments(packages)
        .variable("DEBIAN_FRONTEND", "noninteractive")
        .privileged();
    steps.push(Step::new(
        format!("{INSTALL_PURPOSE}: {reason}"),
        invocation,
    ));
    State::Lacking(steps)
}

fn update() -> Step {
    Step::new(
        UPDATE_PURPOSE,
        Invocation::new("apt-get")
            .arguments(["update", "-q"])
            .privileged(),
    )
}

/// Whether apt could install all of these.
fn are_known(packages: &[&str]) -> bool {
    Invocation::new("apt-cache")
        .argument("policy")
        .arguments(packages)
        .variable("LC_ALL", "C")
        .text()
        .is_some_and(|policy| candidates(&policy) == packages.len())
}

fn candidates(policy: &str) -> usize {
    policy
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Candidate: "))
        .filter(|candidate| *candidate != "(none)")
        .count()
}

/// The packages that a simulated installation would add. One that it would only replace is there already and will do:
/// a second C library beside the system's would not even start.
fn newly_installed(simulation: &str) -> Vec<&str> {
    simulation
        .lines()
        .filter_map(|line| line.strip_prefix("Inst ")?.split_once(' '))
        .filter(|(_, version)| !version.starts_with('['))
        .map(|(package, _)| package)
        .collect()
}

fn other_compilers(found: &str) -> String {
    format!(
        "None of the Rust toolchains here has a core library for {}, compiled or as source.{found}\n\
         Any of these will do:\n  \
         rustup toolchain install nightly --component rust-src\n  \
         rustup component add rust-src\n  \
         apt-get install {} (as root, on Debian 12 or later with its security updates)",
        compiler::TARGET,
        COMPILER_PACKAGES.join(" ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_packages_that_are_not_there_are_fetched() {
        let simulation = "Reading package lists...\nInst libllvm22 (1:22.1.8 Debian:12 [amd64])\n\
                          Inst libc6 [2.36-9] (2.36-10 Debian:12 [amd64])\nInst rustc-web (1.96.0 Debian:12 [amd64])\n\
                          Conf libllvm22 (1:22.1.8 Debian:12 [amd64])\n";
        assert_eq!(newly_installed(simulation), ["libllvm22", "rustc-web"]);
    }

    #[test]
    fn a_package_without_a_candidate_is_not_known() {
        let policy = "rustc-web:\n  Installed: (none)\n  Candidate: 1.96.0\nother:\n  Installed: (none)\n  Candidate: (none)\n";
        assert_eq!(candidates(policy), 1);
        assert_eq!(candidates(""), 0);
    }
}
