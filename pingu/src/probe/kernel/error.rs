//! Why the eBPF engine could not be had, in words that say what to do about it.

use std::{error::Error, fs, io};

use aya::{EbpfError, programs::ProgramError};

use crate::units::Ifindex;

/// Why the programs could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The binary was built without them.
    #[error(
        "this pingu was built without its eBPF object: run `cargo xtask build-ebpf --release`, then build pingu again"
    )]
    NoObject,
    /// The object is of another version of the contract.
    #[error(
        "the eBPF object has no `{0}`, it is of another version: run `cargo xtask build-ebpf --release`, then build pingu again"
    )]
    OtherVersion(&'static str),
    /// The process may not.
    #[error(
        "the kernel refuses eBPF programs to this process: it needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN (or root)"
    )]
    MissingCapability(#[source] Box<dyn Error + Send + Sync>),
    /// The process may, and is refused all the same.
    #[error(
        "the kernel refuses eBPF programs to this process, although it has the capabilities: a seccomp filter (a container's, or \
         SystemCallFilter= of systemd), a security module or a user namespace is in the way"
    )]
    Forbidden(#[source] Box<dyn Error + Send + Sync>),
    /// The object was refused.
    #[error("cannot load the eBPF object (Linux 6.1 is the oldest that is tried)")]
    Object(#[source] EbpfError),
    /// A program was refused.
    #[error(
        "the kernel rejects the eBPF program `{program}` (Linux 6.1 is the oldest that is tried)"
    )]
    Program {
        /// Its name.
        program: &'static str,
        /// The kernel's answer, with the verifier's log.
        source: ProgramError,
    },
    /// The kernel does not say how many processors there may be.
    #[error("cannot read the number of processors from /sys/devices/system/cpu/possible")]
    Processors(#[source] io::Error),
    /// The slots could not be mapped.
    #[error("cannot map the probe slots into memory")]
    Map(#[source] io::Error),
    /// The reflector's maps could not be filled.
    #[error("cannot write what the reflector is to answer")]
    Fill(#[source] io::Error),
}

impl LoadError {
    pub(super) fn from_object(source: EbpfError) -> Self {
        if is_denied(&source) {
            Self::denied(source)
        } else {
            Self::Object(source)
        }
    }

    pub(super) fn from_program(program: &'static str, source: ProgramError) -> Self {
        if is_denied(&source) {
            Self::denied(source)
        } else if lacks(&[PERFMON]) {
            // Not the verifier's log, which speaks of pointers: the same program is taken of whoever may.
            let source = io::Error::from_raw_os_error(libc::EACCES);
            Self::MissingCapability(Box::new(source))
        } else {
            Self::Program { program, source }
        }
    }

    fn denied(source: impl Error + Send + Sync + 'static) -> Self {
        let source = Box::new(source);
        if lacks(&[BPF, PERFMON, NET_ADMIN]) {
            Self::MissingCapability(source)
        } else {
            Self::Forbidden(source)
        }
    }
}

/// Why an interface has no hooks.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// No packet socket.
    #[error(
        "cannot open a packet socket on interface {ifindex} (it needs CAP_NET_RAW and CAP_NET_ADMIN)"
    )]
    Socket {
        /// The interface.
        ifindex: Ifindex,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A program is not loaded.
    #[error("the eBPF program `{0}` is not loaded")]
    NotLoaded(&'static str),
    /// The kernel refused a hook.
    #[error("cannot attach to the {hook} hook of interface {ifindex}")]
    Hook {
        /// Which hook.
        hook: &'static str,
        /// The interface.
        ifindex: Ifindex,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A clsact filter of somebody else stands where ours would.
    #[error(
        "a foreign filter holds handle {handle:#x} of priority {priority} at the {hook} hook of interface {ifindex}"
    )]
    Occupied {
        /// Which hook.
        hook: &'static str,
        /// The interface.
        ifindex: Ifindex,
        /// The filter's priority.
        priority: u16,
        /// The filter's handle.
        handle: u32,
    },
}

impl AttachError {
    /// The kernel's answer, or what comes nearest.
    pub(in crate::probe) fn errno(&self) -> i32 {
        match self {
            Self::Socket { source, .. } | Self::Hook { source, .. } => {
                source.raw_os_error().unwrap_or(libc::EIO)
            }
            Self::NotLoaded(_) => libc::ENOENT,
            Self::Occupied { .. } => libc::EBUSY,
        }
    }
}

const NET_ADMIN: u32 = 12;
const SYS_ADMIN: u32 = 21;
const PERFMON: u32 = 38;
const BPF: u32 = 39;

/// Whether this process surely lacks one of these capabilities. Before Linux 5.8 CAP_SYS_ADMIN stood for those of eBPF, and still does:
/// without CAP_PERFMON the verifier refuses what our programs do with pointers.
fn lacks(capabilities: &[u32]) -> bool {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:\t"));
    let effective = line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    let has = |bits: u64, capability: u32| bits & (1 << capability) != 0;
    effective.is_some_and(|bits| {
        let stands_for = |capability| capability >= PERFMON && has(bits, SYS_ADMIN);
        capabilities
            .iter()
            .any(|&capability| !has(bits, capability) && !stands_for(capability))
    })
}

/// Whether an error was caused by the kernel's `EPERM`.
pub(super) fn is_denied(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::raw_os_error)
            == Some(libc::EPERM)
        {
            return true;
        }
        cause = error.source();
    }
    false
}
