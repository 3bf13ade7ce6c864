//! Which compiler is taken, from descriptions and from directories made for the purpose.

use super::*;

#[test]
fn a_compiled_core_is_preferred_to_any_source() {
    let taken = best(vec![
        compiler("nightly", CoreLibrary::Source, 97, true),
        compiler("debian", CoreLibrary::Compiled, 96, false),
        compiler("stable", CoreLibrary::Source, 98, false),
    ]);
    assert_eq!(name(taken), Some("debian".to_owned()));
}

#[test]
fn among_sources_a_nightly_is_preferred_to_a_newer_stable() {
    let taken = best(vec![
        compiler("stable", CoreLibrary::Source, 98, false),
        compiler("old-nightly", CoreLibrary::Source, 96, true),
        compiler("nightly", CoreLibrary::Source, 97, true),
    ]);
    assert_eq!(name(taken), Some("nightly".to_owned()));
}

#[test]
fn a_stable_with_source_will_do() {
    let taken = best(vec![compiler("stable", CoreLibrary::Source, 95, false)]);
    assert_eq!(name(taken), Some("stable".to_owned()));
}

#[test]
fn a_compiler_that_is_too_old_is_never_taken() {
    let taken = best(vec![
        compiler("old", CoreLibrary::Compiled, OLDEST_MINOR - 1, false),
        compiler("oldest", CoreLibrary::Source, OLDEST_MINOR, false),
    ]);
    assert_eq!(name(taken), Some("oldest".to_owned()));
    assert_eq!(best(Vec::new()), None);
}

#[test]
fn a_version_is_read_from_what_the_compiler_says() {
    let text = "rustc 1.97.0-nightly (0123456 2026-05-05)\nbinary: rustc\nhost: x86_64-unknown-linux-gnu\n\
                release: 1.97.0-nightly\nLLVM version: 22.1.4\n";
    let expected = Version {
        minor: 97,
        is_nightly: true,
        llvm_major: 22,
    };
    assert_eq!(Version::parse(text), Some(expected));
    let stable = text.replace("1.97.0-nightly", "1.95.0");
    assert!(!Version::parse(&stable).unwrap().is_nightly);
    assert_eq!(Version::parse("rustc 1.97.0"), None);
    assert_eq!(Version::parse(""), None);
}

#[test]
fn a_toolchain_called_nightly_that_has_no_library_source_does_not_count() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    assert_eq!(core_library(directory), None);
    file(directory, "lib/rustlib/src/rust/library/core/src/lib.rs");
    assert_eq!(core_library(directory), Some(CoreLibrary::Source));
    file(
        directory,
        &format!("lib/rustlib/{TARGET}/lib/libcore-0123.rlib"),
    );
    assert_eq!(core_library(directory), Some(CoreLibrary::Compiled));
}

#[test]
fn the_llvm_of_the_right_version_is_found_under_its_own_name() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    file(directory, "libLLVM-22.so");
    file(directory, "libLLVM.so.21.1");
    assert_eq!(llvm_library(directory, 22), None);
    file(directory, "libLLVM.so.22.1-rust-1.95.0-stable");
    assert_eq!(
        llvm_library(directory, 22),
        Some(directory.join("libLLVM.so.22.1-rust-1.95.0-stable"))
    );
}

fn compiler(name: &str, core: CoreLibrary, minor: u32, is_nightly: bool) -> Compiler {
    Compiler {
        sysroot: PathBuf::from(name),
        core,
        minor,
        is_nightly,
        llvm_major: 22,
        llvm_library: PathBuf::from("libLLVM.so.22.1"),
    }
}

fn name(compiler: Option<Compiler>) -> Option<String> {
    compiler.map(|compiler| compiler.sysroot.display().to_string())
}

fn file(directory: &Path, path: &str) {
    let path = directory.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, "").unwrap();
}
