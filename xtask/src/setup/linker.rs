//! bpf-linker, built against the LLVM of the compiler that builds the eBPF programs, and kept.

use std::{fs, path::PathBuf};

use crate::{
    invocation::Invocation,
    setup::{State, Step, compiler::Compiler},
    workspace::{Workspace, cargo},
};

const VERSION: &str = "0.13.0";

/// The versions of LLVM that this version of bpf-linker has a feature for.
const LLVM_MAJORS: std::ops::RangeInclusive<u32> = 21..=23;

/// Where the linker for this compiler is, once it is built.
pub(crate) fn path(workspace: &Workspace, compiler: &Compiler) -> PathBuf {
    directory(workspace, compiler).join("bin/bpf-linker")
}

pub(super) fn state(workspace: &Workspace, compiler: &Compiler) -> State {
    let llvm_link = llvm_link(workspace, compiler);
    let is_linked = fs::canonicalize(&llvm_link)
        .is_ok_and(|library| Some(library) == fs::canonicalize(&compiler.llvm_library).ok());
    if is_linked && path(workspace, compiler).exists() {
        return State::Present(format!("{VERSION} with LLVM {}", compiler.llvm_major));
    }
    if !LLVM_MAJORS.contains(&compiler.llvm_major) {
        return State::Impossible(format!(
            "bpf-linker {VERSION} reads what LLVM {} to {} write, and the compiler has LLVM {}: {}",
            LLVM_MAJORS.start(),
            LLVM_MAJORS.end(),
            compiler.llvm_major,
            compiler.description()
        ));
    }
    State::Lacking(build_steps(workspace, compiler))
}

/// What to say while it is not known which LLVM it will be.
pub(super) fn without_compiler() -> String {
    format!(
        "Once there is a compiler, it is built against its LLVM:\n  \
         LLVM_PREFIX=DIRECTORY cargo install bpf-linker --version {VERSION} --locked --debug \
         --no-default-features --features llvm-MAJOR"
    )
}

fn build_steps(workspace: &Workspace, compiler: &Compiler) -> Vec<Step> {
    let directory = directory(workspace, compiler);
    let own_name_link = llvm_link(workspace, compiler);
    let link_directory = directory.join("lib");
    let link = |name: &PathBuf| {
        let invocation = Invocation::new("ln")
            .argument("-sfn")
            .argument(&compiler.llvm_library)
            .argument(name);
        Step::new("name the compiler's LLVM", invocation)
    };
    vec![
        Step::new(
            "make room",
            Invocation::new("mkdir")
                .argument("-p")
                .argument(&link_directory),
        ),
        link(&link_directory.join("libLLVM.so")),
        link(&own_name_link),
        Step::new(
            format!(
                "build bpf-linker against LLVM {} (a minute, once)",
                compiler.llvm_major
            ),
            Invocation::new(cargo())
                .arguments([
                    "install",
                    "bpf-linker",
                    "--version",
                    VERSION,
                    "--locked",
                    // LLVM, which does the work, is optimised; the rest would take three times as long to build.
                    "--debug",
                    "--no-default-features",
                ])
                .argument("--features")
                .argument(format!("llvm-{}", compiler.llvm_major))
                .argument("--root")
                .argument(&directory)
                .variable("LLVM_PREFIX", &directory)
                // LLVM's own libraries may be unpacked beside it and not installed.
                .variable("LD_LIBRARY_PATH", compiler.libraries()),
        ),
    ]
}

/// LLVM under the name by which it calls itself, which is what the linker looks for when it starts.
fn llvm_link(workspace: &Workspace, compiler: &Compiler) -> PathBuf {
    let name = compiler
        .llvm_library
        .file_name()
        .expect("a library is a file");
    directory(workspace, compiler).join("lib").join(name)
}

/// Named for everything that a rebuild depends on, so that what is there is what is wanted.
fn directory(workspace: &Workspace, compiler: &Compiler) -> PathBuf {
    let llvm = compiler
        .llvm_library
        .file_name()
        .expect("a library is a file")
        .to_string_lossy();
    workspace
        .tools()
        .join(format!("bpf-linker-{VERSION}-{llvm}"))
}
