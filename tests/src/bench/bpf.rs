//! The few uses of bpf(2) that the benchmarks and tests need beside pingu's own: programs of a handful of instructions, links for
//! them as other software would hold, and timed test runs.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    time::Duration,
};

const BPF_MAP_CREATE: libc::c_int = 0;
const BPF_MAP_UPDATE_ELEM: libc::c_int = 2;
const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_PROG_TEST_RUN: libc::c_int = 10;
const BPF_LINK_CREATE: libc::c_int = 28;

/// The kinds of programs of `enum bpf_prog_type` that are wanted here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `BPF_PROG_TYPE_SCHED_CLS`
    Classifier,
    /// `BPF_PROG_TYPE_XDP`
    Xdp,
}

/// The hooks of `enum bpf_attach_type` that are wanted here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// `BPF_TCX_INGRESS`
    TcxIngress,
    /// `BPF_TCX_EGRESS`
    TcxEgress,
    /// `BPF_XDP`, in the driver
    XdpNative,
}

#[repr(C)]
struct ProgramLoad {
    kind: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    rest: [u64; 15],
}

#[repr(C)]
struct LinkCreate {
    program_fd: u32,
    ifindex: u32,
    hook: u32,
    flags: u32,
    rest: [u64; 2],
}

#[repr(C)]
struct TestRun {
    program_fd: u32,
    return_value: u32,
    data_in_bytes: u32,
    data_out_bytes: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration_ns: u32,
    rest: [u64; 4],
}

/// A classifier whose verdict may be changed while it is attached, by one write to its memory.
pub struct Switch {
    map: OwnedFd,
    program: OwnedFd,
}

impl Switch {
    /// Loads it with this verdict.
    pub fn load(verdict: i32) -> io::Result<Self> {
        // An array of one number.
        let map = descriptor(BPF_MAP_CREATE, &[2_u32, 4, 4, 1, 0])?;
        // r1 = the number's address; r0 = *(u32 *) r1; exit
        let address = (map.as_raw_fd() as u64) << 32 | 0x21_18;
        let program = load(Kind::Classifier, &[address, 0, 0x10_61, 0x95])?;
        let switch = Self { map, program };
        switch.set(verdict)?;
        Ok(switch)
    }

    /// What is to be attached.
    pub fn program(&self) -> BorrowedFd<'_> {
        self.program.as_fd()
    }

    /// From now on it returns this. Takes about a microsecond, and no lock that routes are changed under.
    pub fn set(&self, verdict: i32) -> io::Result<()> {
        let key = 0_u32;
        let attributes = [
            self.map.as_raw_fd() as u64,
            std::ptr::from_ref(&key) as u64,
            std::ptr::from_ref(&verdict) as u64,
            0,
        ];
        // SAFETY: the attributes, the key and the value live through the call.
        let result = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                BPF_MAP_UPDATE_ELEM,
                attributes.as_ptr(),
                size_of_val(&attributes),
            )
        };
        if result == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }
}

/// Loads a program that only returns this.
pub fn load_returning(kind: Kind, value: i32) -> io::Result<OwnedFd> {
    // r0 = value; exit
    load(kind, &[(value as u32 as u64) << 32 | 0xb7, 0x95])
}

fn load(kind: Kind, instructions: &[u64]) -> io::Result<OwnedFd> {
    let attributes = ProgramLoad {
        kind: match kind {
            Kind::Classifier => 3,
            Kind::Xdp => 6,
        },
        instruction_count: instructions.len() as u32,
        instructions: instructions.as_ptr() as u64,
        license: c"MIT".as_ptr() as u64,
        rest: [0; 15],
    };
    descriptor(BPF_PROG_LOAD, &attributes)
}

/// Attaches a program behind whatever is at the hook; the link's descriptor holds it there.
pub fn attach(program: BorrowedFd<'_>, ifindex: u32, hook: Hook) -> io::Result<OwnedFd> {
    let (hook, flags) = match hook {
        Hook::TcxIngress => (46, 0),
        Hook::TcxEgress => (47, 0),
        Hook::XdpNative => (37, 1 << 2),
    };
    descriptor(
        BPF_LINK_CREATE,
        &LinkCreate {
            program_fd: program.as_raw_fd() as u32,
            ifindex,
            hook,
            flags,
            rest: [0; 2],
        },
    )
}

/// Runs a program so often on a packet; what it returned, and its mean time.
pub fn test_run(
    program: BorrowedFd<'_>,
    packet: &[u8],
    repeat: u32,
) -> io::Result<(u32, Duration)> {
    let mut attributes = TestRun {
        program_fd: program.as_raw_fd() as u32,
        return_value: 0,
        data_in_bytes: packet.len() as u32,
        data_out_bytes: 0,
        data_in: packet.as_ptr() as u64,
        data_out: 0,
        repeat,
        duration_ns: 0,
        rest: [0; 4],
    };
    // SAFETY: the attributes and the packet live through the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_PROG_TEST_RUN,
            &raw mut attributes,
            size_of::<TestRun>(),
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok((
        attributes.return_value,
        Duration::from_nanos(u64::from(attributes.duration_ns)),
    ))
}

fn descriptor<T>(command: libc::c_int, attributes: &T) -> io::Result<OwnedFd> {
    // SAFETY: the attributes, and what they point to, live through the call; the commands used here return a descriptor.
    unsafe {
        let result = libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_ref(attributes),
            size_of::<T>(),
        );
        if result < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(OwnedFd::from_raw_fd(result as i32))
        }
    }
}
