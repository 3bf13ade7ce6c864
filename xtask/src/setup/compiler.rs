//! Which Rust compiler builds the eBPF programs: any that has the core library for the target, compiled or as source.

use std::{
    cmp::Reverse,
    env, fs,
    path::{Path, PathBuf},
};

use crate::{
    invocation::Invocation,
    workspace::{Workspace, cargo},
};

/// The eBPF target of this machine's byte order.
pub(crate) const TARGET: &str = if cfg!(target_endian = "big") {
    "bpfeb-unknown-none"
} else {
    "bpfel-unknown-none"
};

/// aya-ebpf 0.2 needs this minor version of Rust 1.
const OLDEST_MINOR: u32 = 87;

/// How a compiler comes by the core library for the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum CoreLibrary {
    /// It brings one, compiled: nothing to build, no unstable cargo option.
    Compiled,
    /// It brings the source: `-Z build-std=core`.
    Source,
}

/// A compiler that can build the programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Compiler {
    /// The directory above its `bin` and `lib`.
    pub(crate) sysroot: PathBuf,
    pub(crate) core: CoreLibrary,
    /// `1.96` is 96.
    pub(crate) minor: u32,
    pub(crate) is_nightly: bool,
    pub(crate) llvm_major: u32,
    /// The LLVM that it runs on; bpf-linker must be able to read what it writes.
    pub(crate) llvm_library: PathBuf,
}

impl Compiler {
    /// The best of those on this machine.
    pub(crate) fn find(workspace: &Workspace) -> Option<Self> {
        best(sysroots(workspace).into_iter().filter_map(probe).collect())
    }

    pub(crate) fn rustc(&self) -> PathBuf {
        self.sysroot.join("bin/rustc")
    }

    /// The clippy of this very compiler: no other can read the core library that this one brings.
    pub(crate) fn clippy_driver(&self) -> Option<PathBuf> {
        let driver = self.sysroot.join("bin/clippy-driver");
        driver.exists().then_some(driver)
    }

    /// The cargo to run it with. `build-std` wants the one of the same release; otherwise the one that runs us will do.
    pub(crate) fn cargo(&self) -> PathBuf {
        let sibling = self.sysroot.join("bin/cargo");
        match self.core {
            CoreLibrary::Source if sibling.exists() => sibling,
            CoreLibrary::Source | CoreLibrary::Compiled => cargo(),
        }
    }

    /// Where its shared libraries are: a compiler that is unpacked but not installed finds them only when told.
    pub(crate) fn libraries(&self) -> &Path {
        self.llvm_library
            .parent()
            .expect("a library is in a directory")
    }

    /// One line for people.
    pub(crate) fn description(&self) -> String {
        let channel = if self.is_nightly { " nightly" } else { "" };
        let core = match self.core {
            CoreLibrary::Compiled => "with a compiled core library",
            CoreLibrary::Source => "building its core library from source",
        };
        format!(
            "Rust 1.{}{channel} (LLVM {}) in {}, {core}",
            self.minor,
            self.llvm_major,
            self.sysroot.display()
        )
    }
}

/// A compiled core before a source; a nightly, whose unstable options are meant to be used, before a stable; then the newest.
fn best(mut compilers: Vec<Compiler>) -> Option<Compiler> {
    compilers.retain(|compiler| compiler.minor >= OLDEST_MINOR);
    compilers.into_iter().min_by_key(|compiler| {
        (
            compiler.core,
            !compiler.is_nightly && compiler.core == CoreLibrary::Source,
            Reverse(compiler.minor),
        )
    })
}

/// Where compilers may be: what the tests of `probe` cost is one start of `rustc` for each that has a core library.
fn sysroots(workspace: &Workspace) -> Vec<PathBuf> {
    let mut sysroots = vec![
        PathBuf::from("/usr"),
        PathBuf::from("/usr/local"),
        unpacked(workspace).join("usr"),
    ];
    let rustup = env::var_os("RUSTUP_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".rustup")));
    let toolchains = rustup.and_then(|rustup| fs::read_dir(rustup.join("toolchains")).ok());
    sysroots.extend(
        toolchains
            .into_iter()
            .flatten()
            .flatten()
            .map(|toolchain| toolchain.path()),
    );
    // A distribution that keeps compilers somewhere of its own.
    let in_path = Invocation::new("rustc")
        .arguments(["--print", "sysroot"])
        .text();
    sysroots.extend(in_path.map(|line| PathBuf::from(line.trim_end())));
    let mut real: Vec<_> = sysroots
        .iter()
        .filter_map(|sysroot| fs::canonicalize(sysroot).ok())
        .collect();
    real.sort();
    real.dedup();
    real
}

/// Where `setup` unpacks Debian's compiler.
pub(crate) fn unpacked(workspace: &Workspace) -> PathBuf {
    workspace.tools().join("debian-rust")
}

fn probe(sysroot: PathBuf) -> Option<Compiler> {
    let core = core_library(&sysroot)?;
    let library_directories = library_directories(&sysroot);
    let version = Invocation::new(sysroot.join("bin/rustc"))
        .argument("-vV")
        .variable(
            "LD_LIBRARY_PATH",
            env::join_paths(&library_directories).ok()?,
        )
        .text()?;
    let version = Version::parse(&version)?;
    let llvm_library = library_directories
        .iter()
        .find_map(|directory| llvm_library(directory, version.llvm_major))?;
    Some(Compiler {
        sysroot,
        core,
        minor: version.minor,
        is_nightly: version.is_nightly,
        llvm_major: version.llvm_major,
        llvm_library,
    })
}

fn core_library(sysroot: &Path) -> Option<CoreLibrary> {
    let rustlib = sysroot.join("lib/rustlib");
    let compiled = fs::read_dir(rustlib.join(TARGET).join("lib"))
        .into_iter()
        .flatten()
        .flatten()
        .any(|file| file.file_name().to_string_lossy().starts_with("libcore-"));
    if compiled {
        Some(CoreLibrary::Compiled)
    } else if rustlib.join("src/rust/library/core/src/lib.rs").exists() {
        Some(CoreLibrary::Source)
    } else {
        None
    }
}

/// `lib`, and the directories below it that are named for a machine, as Debian has them.
fn library_directories(sysroot: &Path) -> Vec<PathBuf> {
    let lib = sysroot.join("lib");
    let multiarch = format!("{}-linux-gnu", env::consts::ARCH);
    let mut directories = vec![
        lib.join(multiarch),
        lib.join("lib64"),
        sysroot.join("lib64"),
        lib,
    ];
    directories.retain(|directory| directory.is_dir());
    directories
}

/// The file that carries the library's own name for itself, as in `libLLVM.so.22.1`: that is what a program linked to it looks for.
fn llvm_library(directory: &Path, major: u32) -> Option<PathBuf> {
    let name_start = format!("libLLVM.so.{major}.");
    let mut found: Vec<_> = fs::read_dir(directory)
        .ok()?
        .flatten()
        .filter(|file| file.file_name().to_string_lossy().starts_with(&name_start))
        .map(|file| file.path())
        .collect();
    found.sort();
    found.pop()
}

/// What `rustc -vV` says.
#[derive(Debug, PartialEq, Eq)]
struct Version {
    minor: u32,
    is_nightly: bool,
    llvm_major: u32,
}

impl Version {
    fn parse(text: &str) -> Option<Self> {
        let field = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
        };
        let release = field("release")?;
        Some(Self {
            minor: release
                .strip_prefix("1.")?
                .split('.')
                .next()?
                .parse()
                .ok()?,
            is_nightly: release.ends_with("-nightly") || release.ends_with("-dev"),
            llvm_major: field("LLVM version")?.split('.').next()?.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests;
