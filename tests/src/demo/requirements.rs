//! What the demonstration needs of the machine, told before anything is made.

use std::{env, path::Path};

use anyhow::{Result, bail};

/// Programs, and the Debian packages that hold them.
const PROGRAMS: [(&str, &str); 3] = [
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("busybox", "busybox"),
];

/// Fails with all that is missing.
pub(super) fn check() -> Result<()> {
    // SAFETY: a plain system call.
    if unsafe { libc::geteuid() } != 0 {
        bail!("network namespaces need root: run it with sudo");
    }
    let missing: Vec<&str> = PROGRAMS
        .iter()
        .filter(|(program, _)| !is_installed(program))
        .map(|(_, package)| *package)
        .collect();
    if !missing.is_empty() {
        bail!(
            "something is missing; install it with: apt-get install {}",
            missing.join(" ")
        );
    }
    Ok(())
}

fn is_installed(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|directory| Path::new(&directory).join(program).is_file())
}
