//! A program of somebody else at an interface's hooks: it lets every packet pass or drops it, and nobody behind it sees one. By TCX, or by
//! a filter of clsact, which is all that kernels before Linux 6.6 have.

use std::{
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    process::Command,
};

use crate::lab::{kernel::default_hook, namespace::Namespace};

const BPF_PROG_LOAD: i64 = 5;
const BPF_LINK_CREATE: i64 = 28;
const BPF_PROG_TYPE_SCHED_CLS: u32 = 3;
const BPF_F_BEFORE: u32 = 1 << 3;

/// `TC_ACT_OK`: the packet is accepted, and the programs behind are not asked.
const ACCEPT: u8 = 0;

/// `TC_ACT_SHOT`: the packet is dropped.
const DROP: u8 = 2;

/// So many programs does a hook of TCX take (`bpf_mprog_max`).
const PROGRAMS_MAX: usize = 63;

/// A filter's handle, of nobody in particular. Of one priority, the one that came last is asked first.
const HANDLE: &str = "0x1";

/// The place of the daemon's own filters.
const OWN_HANDLE: &str = "0x50494e47";

/// Which way the packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Hook {
    /// What comes in; with TCX's number.
    Ingress = 46,
    /// What goes out.
    Egress = 47,
}

impl Hook {
    fn name(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }
}

/// It stays until this is dropped.
pub struct ForeignProgram {
    _link: Option<OwnedFd>,
    /// What takes a filter away.
    removal: Option<Command>,
}

impl ForeignProgram {
    /// Puts one that lets pass before all others, by `tcx` or `clsact`.
    #[track_caller]
    pub fn attach(namespace: &Namespace, interface: &str, by: &str, hook: Hook) -> Self {
        Self::attach_giving(namespace, interface, by, hook, ACCEPT)
    }

    /// Puts one that drops before all others, by what the kernel has.
    #[track_caller]
    pub fn attach_dropping(namespace: &Namespace, interface: &str, hook: Hook) -> Self {
        Self::attach_giving(namespace, interface, default_hook(), hook, DROP)
    }

    /// Leaves a daemon no place at the ingress of an interface: all of TCX is taken, or its own place among the filters of clsact.
    #[track_caller]
    pub fn fill_ingress(namespace: &Namespace, interface: &str, by: &str) -> Vec<Self> {
        if by == "clsact" {
            namespace.run(&["tc", "qdisc", "add", "dev", interface, "clsact"]);
            return vec![filter(
                namespace,
                interface,
                Hook::Ingress,
                OWN_HANDLE,
                ACCEPT,
            )];
        }
        let one = |_| Self::attach(namespace, interface, by, Hook::Ingress);
        (0..PROGRAMS_MAX).map(one).collect()
    }

    #[track_caller]
    fn attach_giving(
        namespace: &Namespace,
        interface: &str,
        by: &str,
        hook: Hook,
        verdict: u8,
    ) -> Self {
        if by == "clsact" {
            return filter(namespace, interface, hook, HANDLE, verdict);
        }
        let ifindex = namespace.ifindex(interface);
        // `r0 = verdict` and `exit`.
        let instructions = [u64::from(verdict) << 32 | 0xb7, 0x95];
        let link = namespace.enter(|| link(&load(&instructions)?, ifindex, hook));
        Self {
            _link: Some(link.expect("TCX is there, and it has room")),
            removal: None,
        }
    }
}

impl Drop for ForeignProgram {
    fn drop(&mut self) {
        if let Some(removal) = &mut self.removal {
            // It may be gone with the qdisc or the interface.
            drop(removal.output());
        }
    }
}

/// Puts a filter on a clsact that is there. A classic program's result is the verdict, as another one's is.
#[track_caller]
fn filter(
    namespace: &Namespace,
    interface: &str,
    hook: Hook,
    handle: &str,
    verdict: u8,
) -> ForeignProgram {
    let place = ["dev", interface, hook.name(), "prio", "1", "handle", handle];
    let kind = ["protocol", "all", "bpf"];
    let code = format!("1,6 0 0 {verdict}");
    let begin = ["tc", "filter", "add"];
    namespace.run(
        &[
            &begin[..],
            &place,
            &kind,
            &["bytecode", &code, "direct-action"],
        ]
        .concat(),
    );
    let mut removal = namespace.command("tc");
    removal.args(["filter", "del"]).args(place).args(kind);
    ForeignProgram {
        _link: None,
        removal: Some(removal),
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
