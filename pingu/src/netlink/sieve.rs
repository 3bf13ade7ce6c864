//! A filter in the kernel that keeps routes of no concern from waking pingu: a routing daemon may change thousands a second.

use std::{io, os::fd::AsRawFd};

use netlink_sys::Socket;

use crate::units::Protocol;

// Offsets in bytes of `nlmsg_type` in `struct nlmsghdr`, and behind that of `rtm_dst_len` and `rtm_protocol` in `struct rtmsg`.
const MESSAGE_TYPE_AT: u32 = 4;
const DESTINATION_LEN_AT: u32 = 16 + 1;
const PROTOCOL_AT: u32 = 16 + 5;

// Of classic BPF (linux/bpf_common.h), as far as libc has no names for the whole operations.
const LOAD_HALF: u16 = (libc::BPF_LD | libc::BPF_H | libc::BPF_ABS) as u16;
const LOAD_BYTE: u16 = (libc::BPF_LD | libc::BPF_B | libc::BPF_ABS) as u16;
const JUMP_IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

/// Keeps a whole message, however long.
const WHOLE: u32 = u32::MAX;

/// Lets pass on a socket everything but routes that are neither defaults nor own: each is announced in a datagram of its own, so that
/// the first message tells for all of it.
pub(crate) fn attach(socket: &Socket, own: Protocol) -> io::Result<()> {
    let mut program = program(own);
    let description = libc::sock_fprog {
        len: program.len() as libc::c_ushort,
        filter: program.as_mut_ptr(),
    };
    // SAFETY: the descriptor is open, and the option's value describes a program that lives through the call; the kernel copies it.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const description).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    match set {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn program(own: Protocol) -> [libc::sock_filter; 9] {
    let statement = |code, k| libc::sock_filter {
        code,
        jt: 0,
        jf: 0,
        k,
    };
    let jump = |k, jt, jf| libc::sock_filter {
        code: JUMP_IF_EQUAL,
        jt,
        jf,
        k,
    };
    // Loads read the network's byte order, and netlink writes the machine's.
    let kind = |kind: u16| u32::from(kind.to_be());
    [
        statement(LOAD_HALF, MESSAGE_TYPE_AT),
        jump(kind(libc::RTM_NEWROUTE), 1, 0),
        jump(kind(libc::RTM_DELROUTE), 0, 5),
        statement(LOAD_BYTE, DESTINATION_LEN_AT),
        jump(0, 3, 0),
        statement(LOAD_BYTE, PROTOCOL_AT),
        jump(u32::from(own.0), 1, 0),
        statement(RETURN, 0),
        statement(RETURN, WHOLE),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: Protocol = Protocol(136);

    /// What the kernel would do: it runs the few operations that are used here.
    fn passes(message: &[u8]) -> bool {
        let program = program(OWN);
        let (mut place, mut loaded) = (0, 0_u32);
        loop {
            let libc::sock_filter { code, jt, jf, k } = program[place];
            place += 1;
            let at = k as usize;
            match code {
                LOAD_HALF => {
                    loaded = u32::from(u16::from_be_bytes([message[at], message[at + 1]]));
                }
                LOAD_BYTE => loaded = u32::from(message[at]),
                JUMP_IF_EQUAL => place += usize::from(if loaded == k { jt } else { jf }),
                RETURN => return k != 0,
                other => panic!("operation {other}"),
            }
        }
    }

    fn message(kind: u16, destination_len: u8, protocol: u8) -> Vec<u8> {
        let mut message = vec![0; 28];
        message[4..6].copy_from_slice(&kind.to_ne_bytes());
        message[17] = destination_len;
        message[21] = protocol;
        message
    }

    #[test]
    fn only_routes_that_are_neither_defaults_nor_own_stay_outside() {
        for kind in [libc::RTM_NEWROUTE, libc::RTM_DELROUTE] {
            assert!(passes(&message(kind, 0, 11)));
            assert!(passes(&message(kind, 24, OWN.0)));
            assert!(passes(&message(kind, 0, OWN.0)));
            assert!(!passes(&message(kind, 24, 11)));
            assert!(!passes(&message(kind, 128, 0)));
        }
        for kind in [libc::RTM_NEWLINK, libc::RTM_NEWADDR, libc::RTM_NEWNEIGH, 0] {
            assert!(passes(&message(kind, 24, 11)));
        }
    }
}
