//! Embeds the eBPF object that `cargo xtask build-ebpf` made, or nothing: then pingu says at start what is missing.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

/// Where the object is taken from instead, if this is set.
const OBJECT_VARIABLE: &str = "PINGU_EBPF_OBJ";

fn main() {
    let object = object();
    let embedded = Path::new(&env::var_os("OUT_DIR").expect("cargo sets it")).join("pingu-ebpf");
    let bytes = fs::read(&object).unwrap_or_else(|error| {
        println!(
            "cargo::warning=pingu is built without its eBPF programs (cannot read {}: {error}): \
             `cargo xtask build-ebpf --release` makes them",
            object.display()
        );
        Vec::new()
    });
    println!("cargo::rerun-if-changed={}", watched(&object).display());
    fs::write(&embedded, bytes)
        .unwrap_or_else(|error| panic!("cannot write {}: {error}", embedded.display()));
}

fn object() -> PathBuf {
    for variable in [OBJECT_VARIABLE, "CARGO_TARGET_DIR"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    if let Some(object) = env::var_os(OBJECT_VARIABLE) {
        return PathBuf::from(object);
    }
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let workspace = manifest
        .parent()
        .expect("this package is a directory of the workspace");
    // xtask finds the target directory by the same rule.
    let target = env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    workspace.join(target).join("ebpf/pingu-ebpf")
}

/// The object, or while there is none the directory that it will appear in: a file that is not there would make cargo build
/// this package anew each time.
fn watched(object: &Path) -> &Path {
    let directory = object.parent().expect("the object is in a directory");
    if object.exists() || fs::create_dir_all(directory).is_err() {
        object
    } else {
        directory
    }
}
