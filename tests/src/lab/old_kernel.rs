//! A process, or a thread, for which the kernel is another one: it refuses what an older one does not know, or a container may not.

use std::{io, os::unix::process::CommandExt, process::Command};

/// `BPF_LINK_CREATE` of `enum bpf_cmd`.
const BPF_LINK_CREATE: u32 = 28;
/// Where `struct seccomp_data` has the system call's number.
const NUMBER: u32 = 0;
/// Where it has the low half of the first argument.
const FIRST_ARGUMENT: u32 = if cfg!(target_endian = "little") {
    16
} else {
    20
};

/// Lets the program have no link to a hook: as before Linux 6.6, which knows no TCX, the kernel calls that an invalid argument.
pub fn without_tcx(command: &mut Command) {
    // SAFETY: the closure makes two system calls and allocates nothing.
    unsafe { command.pre_exec(refuse_links) };
}

/// The same for the calling thread, for as long as it lives.
#[track_caller]
pub fn without_tcx_here() {
    refuse_links().expect("root may filter its own system calls");
}

/// Lets the program have nothing of eBPF, whoever runs it: as the filter of a container does.
pub fn without_bpf(command: &mut Command) {
    // SAFETY: the closure makes one system call and allocates nothing.
    unsafe {
        command.pre_exec(|| {
            filter(&mut [
                statement(LOAD, NUMBER),
                skip_unless(libc::SYS_bpf as u32, 1),
                statement(GIVE, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
                statement(GIVE, libc::SECCOMP_RET_ALLOW),
            ])
        });
    }
}

fn refuse_links() -> io::Result<()> {
    filter(&mut [
        statement(LOAD, NUMBER),
        skip_unless(libc::SYS_bpf as u32, 3),
        statement(LOAD, FIRST_ARGUMENT),
        skip_unless(BPF_LINK_CREATE, 1),
        statement(GIVE, libc::SECCOMP_RET_ERRNO | libc::EINVAL as u32),
        statement(GIVE, libc::SECCOMP_RET_ALLOW),
    ])
}

const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
const GIVE: u32 = libc::BPF_RET | libc::BPF_K;

fn statement(code: u32, k: u32) -> libc::sock_filter {
    libc::sock_filter {
        code: code as u16,
        jt: 0,
        jf: 0,
        k,
    }
}

fn skip_unless(value: u32, skipped: u8) -> libc::sock_filter {
    libc::sock_filter {
        code: (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16,
        jt: 0,
        jf: skipped,
        k: value,
    }
}

fn filter(rules: &mut [libc::sock_filter]) -> io::Result<()> {
    let program = libc::sock_fprog {
        len: rules.len() as u16,
        filter: rules.as_mut_ptr(),
    };
    // SAFETY: the program and its rules live through the call, which copies them.
    let result = unsafe {
        libc::prctl(
            libc::PR_SET_SECCOMP,
            libc::SECCOMP_MODE_FILTER,
            &raw const program,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
