//! Embeds the eBPF object that `cargo xtask build-ebpf` made, or nothing: then pingu says at start what is missing.

use std::{env, fs, path::PathBuf};

/// Where the object is taken from instead, if this is set.
const OBJECT_VARIABLE: &str = "PINGU_EBPF_OBJECT";

fn main() {
    println!("cargo::rerun-if-env-changed={OBJECT_VARIABLE}");
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let object = env::var_os(OBJECT_VARIABLE).map_or_else(
        || manifest.join("../target/ebpf/bpfel-unknown-none/release/pingu-ebpf"),
        PathBuf::from,
    );
    // A path that does not exist makes cargo run this again each time, which is what finds the object once it is there.
    println!("cargo::rerun-if-changed={}", object.display());
    let embedded = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it")).join("pingu-ebpf");
    let bytes = fs::read(&object).unwrap_or_else(|error| {
        println!(
            "cargo::warning=no eBPF object at {} ({error}): run `cargo xtask build-ebpf --release`",
            object.display()
        );
        Vec::new()
    });
    fs::write(&embedded, bytes)
        .unwrap_or_else(|error| panic!("cannot write {}: {error}", embedded.display()));
}
