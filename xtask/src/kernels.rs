//! Tests on the kernels that people have, each in a virtual machine that sees this machine's files: what a kernel without TCX, or with
//! another verifier, makes of the programs. The machine is emulated, and slow: nothing is measured there.

mod image;

use std::{
    fs,
    path::{Path, PathBuf},
    thread::available_parallelism,
};

use anyhow::{Result, bail};

use crate::{
    build_ebpf,
    invocation::Invocation,
    kernels::image::Image,
    release,
    setup::{self, Need},
    steps::Steps,
    test::{build_kernel_tests, outcome::Outcome, summarise},
    workspace::Workspace,
};

/// Debian's names for the newest kernel of a series, and which tests are not for it.
const KERNELS: [(&str, &[&str]); 2] = [
    ("linux-image-amd64", &NEWER),
    ("linux-image-6.12-amd64", &[]),
];

/// What differs between kernels: verifier, hooks, netlink, and how a packet passes. Parts of the names of tests.
const TESTS: [&str; 6] = [
    "engines::",
    "failover::",
    "leftovers::",
    "lifecycle::",
    "loss::",
    "reflector::",
];

/// Those among them that ask for more speed than an emulated machine has.
const FAST: [&str; 6] = [
    "a_lost_carrier_moves_the_default_route_at_once",
    "after_a_stall_nothing_leaves_in_a_burst",
    "every_dropped_reply_is_one_lost_probe_and_no_other_is",
    "in_time_and_without_a_gap",
    "own_routes_at_odd_places_are_put_in_order",
    "without_raw_sockets_the_kernels_echo_sockets_probe",
];

/// They count on what 6.1 lacks: links of TCX, which end with their process, and what a veth tells (6.3).
const NEWER: [&str; 2] = [
    "a_killed_reflector_leaves_nothing_and_the_kernel_answers_on",
    "a_second_reflector_and_a_wrong_hook_are_refused",
];

/// A machine that has not ended by then hangs, or its kernel has panicked: the tests take a third of it.
const MACHINE_SECONDS_MAX: &str = "5400";
/// More processors than this are of no use to the tests.
const PROCESSORS_MAX: usize = 4;
const MEMORY_MIB: &str = "4096";

/// So many times the tests' own deadlines are waited for there.
const PATIENCE: &str = "4";

const GUEST: &str = include_str!("kernels/guest.sh");

/// Boots each kernel of a series, or all, and runs the tests that the arguments select there.
pub(crate) fn run(workspace: &Workspace, kernel: &str, arguments: &[String]) -> Result<()> {
    if std::env::consts::ARCH != "x86_64" {
        bail!("only kernels for x86_64 are known here");
    }
    setup::require(workspace, &[Need::LabTools, Need::Emulator])?;
    let directory = workspace.target.join("kernels");
    let mut images = Vec::new();
    for (newest, skipped) in KERNELS {
        images.push((Image::fetch(&directory, newest)?, skipped));
    }
    images.retain(|(image, _)| is_of(&image.release, kernel));
    if images.is_empty() {
        bail!("there is no kernel of the series {kernel}");
    }
    build_ebpf::run(workspace, true)?;
    release::build(workspace, &["pingu"])?;
    let programs = build_kernel_tests(workspace)?
        .into_iter()
        .map(|program| program.executable)
        .collect::<Vec<_>>();

    let mut steps = Steps::default();
    let mut results = Vec::new();
    for (image, skipped) in &images {
        steps.take(&format!("Linux {}", image.release), || {
            let guest = directory.join(format!("{}.sh", image.release));
            let selected = selection(arguments, skipped);
            fs::write(&guest, guest_script(workspace, image, &programs, &selected))?;
            let outcome = Outcome::of(&machine(image, &image.initial_files(&guest)?))?;
            let tally = outcome.tally;
            let succeeded = outcome.succeeded && tally.failed == 0 && tally.passed > 0;
            results.push((image.release.clone(), outcome));
            if !succeeded {
                bail!("see above");
            }
            Ok(())
        });
    }
    summarise(&results);
    steps.finish()
}

/// Whether a release is of a series: 6.12.1 is of 6.12 and of none, not of 6.1.
fn is_of(release: &str, series: &str) -> bool {
    release.strip_prefix(series).is_some_and(|rest| {
        series.is_empty() || !rest.starts_with(|next: char| next.is_ascii_digit())
    })
}

/// What is handed to the test programs.
fn selection(arguments: &[String], skipped: &[&str]) -> Vec<String> {
    if !arguments.is_empty() {
        return arguments.to_vec();
    }
    let skipped = FAST.iter().chain(skipped);
    let skips = skipped.flat_map(|name| ["--skip", name]);
    TESTS.into_iter().chain(skips).map(str::to_owned).collect()
}

/// Written out, so that it can be read and changed where a kernel is looked into by hand.
fn guest_script(
    workspace: &Workspace,
    image: &Image,
    programs: &[PathBuf],
    selected: &[String],
) -> String {
    let mut script = format!("MODULES={}\n{GUEST}", image.modules.display());
    for program in programs {
        let tests = Invocation::new(program)
            .arguments(["--color=never", "--test-threads=1"])
            .arguments(selected)
            .variable("PINGU_BIN", workspace.release_binary("pingu"))
            .variable("PINGU_LAB_PATIENCE", PATIENCE)
            .directory(workspace.root.join("tests"));
        script.push_str(&format!("{tests}\n"));
    }
    script + "echo o > /proc/sysrq-trigger\nwhile :; do :; done\n"
}

/// Without hardware help, which a machine that is itself virtual seldom has.
fn machine(image: &Image, initial_files: &Path) -> Invocation {
    let processors = available_parallelism().map_or(1, usize::from);
    Invocation::new("timeout")
        .arguments(["--foreground", MACHINE_SECONDS_MAX, "qemu-system-x86_64"])
        .arguments([
            "-accel",
            "tcg,thread=multi",
            "-cpu",
            "max",
            "-m",
            MEMORY_MIB,
        ])
        .arguments(["-smp", &processors.min(PROCESSORS_MAX).to_string()])
        .arguments(["-nodefaults", "-display", "none", "-serial", "stdio"])
        .argument("-virtfs")
        .argument("local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap")
        .argument("-kernel")
        .argument(&image.kernel)
        .argument("-initrd")
        .argument(initial_files)
        .arguments(["-append", "console=ttyS0 loglevel=3 mitigations=off"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_of_its_series_and_of_none_whose_name_it_only_begins_with() {
        for series in ["", "6", "6.12", "6.12.117"] {
            assert!(is_of("6.12.117+deb12-amd64", series), "{series}");
        }
        for series in ["6.1", "6.12.11", "5"] {
            assert!(!is_of("6.12.117+deb12-amd64", series), "{series}");
        }
    }

    #[test]
    fn who_names_tests_gets_these_and_no_others() {
        let named = ["loss::".to_owned()];
        assert_eq!(selection(&named, &NEWER), named);
    }

    #[test]
    fn without_names_a_kernel_gets_the_list_but_what_is_not_for_it() {
        let selected = selection(&[], &["by_tcx"]);
        assert!(selected.starts_with(&TESTS.map(str::to_owned)));
        assert!(selected.ends_with(&["--skip".to_owned(), "by_tcx".to_owned()]));
    }
}
