//! Builds the eBPF object and puts it where pingu's build script looks.

use std::{
    env::consts::ARCH,
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context, Result};

use crate::{
    invocation::Invocation,
    setup::{
        self, Need,
        compiler::{Compiler, CoreLibrary, TARGET},
        linker,
    },
    workspace::Workspace,
};

/// What is to be done with the programs.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Task<'driver> {
    Build,
    /// No object; a warning is an error.
    Check {
        clippy: Option<&'driver Path>,
    },
}

/// Always optimised: the verifier refuses what is not. `release` leaves out the packet log.
pub(crate) fn run(workspace: &Workspace, release: bool) -> Result<()> {
    let started = Instant::now();
    setup::require(workspace, &[Need::EbpfCompiler, Need::BpfLinker])?;
    let compiler = Compiler::find(workspace).context("the compiler that was there is gone")?;
    invocation(workspace, &compiler, Task::Build, !release).run()?;
    let built = build_directory(workspace)
        .join(TARGET)
        .join("release/pingu-ebpf");
    let object = workspace.ebpf_object();
    let is_new = replace_if_different(&built, &object)?;
    eprintln!(
        "{} {}, {:.1} s",
        object.display(),
        if is_new { "is new" } else { "is as it was" },
        started.elapsed().as_secs_f64()
    );
    Ok(())
}

/// cargo, as this target wants it.
pub(crate) fn invocation(
    workspace: &Workspace,
    compiler: &Compiler,
    task: Task,
    with_log: bool,
) -> Invocation {
    let linker = linker::path(workspace, compiler);
    let mut flags = vec![
        format!("--cfg=bpf_target_arch=\"{ARCH}\""),
        "-Cdebuginfo=2".to_owned(),
        // Compare-and-exchange needs version 3 of the instruction set.
        "-Ctarget-cpu=v3".to_owned(),
        format!("-Clinker={}", linker.display()),
        "-Clink-arg=--btf".to_owned(),
    ];
    let mut invocation = Invocation::new(compiler.cargo())
        .argument(match task {
            Task::Build => "build",
            Task::Check { .. } => "check",
        })
        .arguments(["--locked", "--release", "--target", TARGET, "--target-dir"])
        .argument(build_directory(workspace));
    if let Task::Check { clippy } = task {
        flags.push("-Dwarnings".to_owned());
        invocation = match clippy {
            Some(driver) => invocation.variable("RUSTC_WORKSPACE_WRAPPER", driver),
            None => invocation,
        };
    }
    if compiler.core == CoreLibrary::Source {
        invocation = invocation.argument("-Zbuild-std=core");
    }
    if with_log {
        invocation = invocation.arguments(["--features", "log"]);
    }
    invocation
        .variable("RUSTC", compiler.rustc())
        // Opens the unstable features that eBPF still needs, on a stable compiler too.
        .variable("RUSTC_BOOTSTRAP", "1")
        // This variable outranks all others that set flags, and allows for blanks in a path.
        .variable("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        .variable("LD_LIBRARY_PATH", compiler.libraries())
        .without_variable("RUSTUP_TOOLCHAIN")
        .without_variable("RUSTC_WRAPPER")
        .directory(workspace.root.join("pingu-ebpf"))
        .chatter_to_stderr()
}

/// Not below `ebpf`, which pingu's build script watches while the object is not there.
fn build_directory(workspace: &Workspace) -> PathBuf {
    workspace.target.join("ebpf-build")
}

/// Whether there was anything to replace. Nobody sees half a file, and cargo sees no change where there is none.
fn replace_if_different(from: &Path, to: &Path) -> Result<bool> {
    let bytes = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    if fs::read(to).is_ok_and(|present| present == bytes) {
        return Ok(false);
    }
    let directory = to.parent().expect("the object is in a directory");
    let unfinished = to.with_extension("part");
    fs::create_dir_all(directory)
        .with_context(|| format!("cannot make {}", directory.display()))?;
    fs::write(&unfinished, bytes)
        .with_context(|| format!("cannot write {}", unfinished.display()))?;
    fs::rename(&unfinished, to).with_context(|| format!("cannot write {}", to.display()))?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_replaced_only_by_a_different_one() {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (
            directory.path().join("from"),
            directory.path().join("deep/to"),
        );
        fs::write(&from, "one").unwrap();
        assert!(replace_if_different(&from, &to).unwrap());
        assert!(!replace_if_different(&from, &to).unwrap());
        fs::write(&from, "two").unwrap();
        assert!(replace_if_different(&from, &to).unwrap());
        assert_eq!(fs::read(&to).unwrap(), b"two");
        assert!(replace_if_different(&directory.path().join("none"), &to).is_err());
    }
}
