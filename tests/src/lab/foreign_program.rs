//! A program of somebody else at an interface's hooks: it lets every packet pass or drops it, and nobody behind it sees one.

use std::{
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

use crate::lab::namespace::Namespace;

const BPF_PROG_LOAD: i64 = 5;
const BPF_LINK_CREATE: i64 = 28;
const BPF_PROG_TYPE_SCHED_CLS: u32 = 3;
const BPF_F_BEFORE: u32 = 1 << 3;

/// `r0 = TC_ACT_OK` and `exit`: the packet is accepted, and the programs behind are not asked.
const ACCEPT: [u64; 2] = [0x0000_0000_0000_00b7, 0x0000_0000_0000_0095];

/// The same with `TC_ACT_SHOT`: the packet is dropped.
const DROP: [u64; 2] = [0x0000_0002_0000_00b7, 0x0000_0000_0000_0095];

/// Which way the packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Hook {
    /// TCX ingress.
    Ingress = 46,
    /// TCX egress.
    Egress = 47,
}

/// It stays until this is dropped.
pub struct ForeignProgram {
    _link: OwnedFd,
}

impl ForeignProgram {
    /// Puts one that lets pass before all others.
    #[track_caller]
    pub fn attach(namespace: &Namespace, interface: &str, hook: Hook) -> Self {
        Self::attach_running(namespace, interface, hook, &ACCEPT)
    }

    /// Puts one that drops before all others.
    #[track_caller]
    pub fn attach_dropping(namespace: &Namespace, interface: &str, hook: Hook) -> Self {
        Self::attach_running(namespace, interface, hook, &DROP)
    }

    #[track_caller]
    fn attach_running(
        namespace: &Namespace,
        interface: &str,
        hook: Hook,
        instructions: &[u64],
    ) -> Self {
        let ifindex = namespace.ifindex(interface);
        let link = namespace.enter(|| link(&load(instructions)?, ifindex, hook));
        Self {
            _link: link.expect("TCX is there, and it has room"),
        }
    }
}

/// The head of `union bpf_attr` for `BPF_PROG_LOAD`.
#[repr(C)]
struct ProgramLoad {
    kind: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_bytes: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
}

fn load(instructions: &[u64]) -> io::Result<OwnedFd> {
    let attributes = ProgramLoad {
        kind: BPF_PROG_TYPE_SCHED_CLS,
        instruction_count: instructions.len() as u32,
        instructions: instructions.as_ptr() as u64,
        license: c"MIT".as_ptr() as u64,
        log_level: 0,
        log_bytes: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
    };
    bpf(BPF_PROG_LOAD, &attributes)
}

/// The head of `union bpf_attr` for `BPF_LINK_CREATE`, with the tail that TCX has.
#[repr(C)]
struct LinkCreate {
    program_fd: u32,
    ifindex: u32,
    kind: u32,
    flags: u32,
    relative_fd: u32,
    padding: u32,
    expected_revision: u64,
}

fn link(program: &OwnedFd, ifindex: u32, hook: Hook) -> io::Result<OwnedFd> {
    let attributes = LinkCreate {
        program_fd: program.as_raw_fd() as u32,
        ifindex,
        kind: hook as u32,
        flags: BPF_F_BEFORE,
        relative_fd: 0,
        padding: 0,
        expected_revision: 0,
    };
    bpf(BPF_LINK_CREATE, &attributes)
}

fn bpf<T>(command: i64, attributes: &T) -> io::Result<OwnedFd> {
    // SAFETY: the attributes live through the call and their size is given; what they point to is static.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_ref(attributes),
            size_of::<T>(),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just returned this descriptor, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(result as i32) })
}
