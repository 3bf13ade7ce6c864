//! A filter in the kernel that keeps routes of no concern from waking pingu: a routing daemon may change thousands a second.

use std::{io, os::fd::AsRawFd};

use netlink_sys::Socket;

use crate::units::Protocol;

// Offsets in bytes of `nlmsg_type` and `nlmsg_pid` in `struct nlmsghdr`, and behind that of `rtm_dst_len` and `rtm_protocol` in
// `struct rtmsg`.
const MESSAGE_TYPE_AT: u32 = 4;
const PORT_AT: u32 = 12;
const DESTINATION_LEN_AT: u32 = 16 + 1;
const PROTOCOL_AT: u32 = 16 + 5;

// Of classic BPF (linux/bpf_common.h), as far as libc has no names for the whole operations.
const LOAD_WORD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const LOAD_HALF: u16 = (libc::BPF_LD | libc::BPF_H | libc::BPF_ABS) as u16;
const LOAD_BYTE: u16 = (libc::BPF_LD | libc::BPF_B | libc::BPF_ABS) as u16;
const JUMP_IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

/// Keeps a whole message, however long.
const WHOLE: u32 = u32::MAX;

/// Own sockets whose doings can be told apart: one for single requests, one for batches, and room.
const PORTS_MAX: usize = 4;

/// Lets pass on a socket everything but routes to other destinations than everything that are not own, or that were asked for by one of
/// these ports, which are pingu's own and need no news. A route is announced in a datagram of its own, so that the first message tells
/// for all of it.
pub(crate) fn attach(socket: &Socket, own: Protocol, ports: &[u32]) -> io::Result<()> {
    let mut program = program(own, ports);
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

fn program(own: Protocol, ports: &[u32]) -> Vec<libc::sock_filter> {
    let ports = &ports[..ports.len().min(PORTS_MAX)];
    let count = ports.len() as u8;
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
    // Loads read the network's byte order, and netlink writes the machine's. Behind the last jump come a rest of `count` instructions,
    // then the one that lets pass, and the one that does not.
    let kind = |kind: u16| u32::from(kind.to_be());
    let mut program = vec![
        statement(LOAD_HALF, MESSAGE_TYPE_AT),
        jump(kind(libc::RTM_NEWROUTE), 1, 0),
        jump(kind(libc::RTM_DELROUTE), 0, 5 + count),
        statement(LOAD_BYTE, DESTINATION_LEN_AT),
        jump(0, 3 + count, 0),
        statement(LOAD_BYTE, PROTOCOL_AT),
        jump(u32::from(own.0), 0, 2 + count),
        statement(LOAD_WORD, PORT_AT),
    ];
    for (place, port) in ports.iter().enumerate() {
        program.push(jump(port.to_be(), count - place as u8, 0));
    }
    program.extend([statement(RETURN, WHOLE), statement(RETURN, 0)]);
    program
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: Protocol = Protocol(136);

    const OWN_PORTS: [u32; 2] = [4_711, 0xfeed_0001];
    const FOREIGN_PORT: u32 = 815;

    /// What the kernel would do: it runs the few operations that are used here.
    fn passes(ports: &[u32], message: &[u8]) -> bool {
        let program = program(OWN, ports);
        let (mut place, mut loaded) = (0, 0_u32);
        loop {
            let libc::sock_filter { code, jt, jf, k } = program[place];
            place += 1;
            let at = k as usize;
            let big_endian = |bytes: &[u8]| bytes.iter().fold(0, |sum, b| sum << 8 | u32::from(*b));
            match code {
                LOAD_WORD => loaded = big_endian(&message[at..at + 4]),
                LOAD_HALF => loaded = big_endian(&message[at..at + 2]),
                LOAD_BYTE => loaded = big_endian(&message[at..=at]),
                JUMP_IF_EQUAL => place += usize::from(if loaded == k { jt } else { jf }),
                RETURN => return k != 0,
                other => panic!("operation {other}"),
            }
        }
    }

    fn message(kind: u16, destination_len: u8, protocol: u8, port: u32) -> Vec<u8> {
        let mut message = vec![0; 28];
        message[4..6].copy_from_slice(&kind.to_ne_bytes());
        message[12..16].copy_from_slice(&port.to_ne_bytes());
        message[17] = destination_len;
        message[21] = protocol;
        message
    }

    #[test]
    fn what_others_do_to_defaults_and_own_routes_comes_through() {
        for ports in [&[][..], &OWN_PORTS[..1], &OWN_PORTS] {
            for kind in [libc::RTM_NEWROUTE, libc::RTM_DELROUTE] {
                for port in [0, FOREIGN_PORT] {
                    assert!(passes(ports, &message(kind, 0, 11, port)));
                    assert!(passes(ports, &message(kind, 0, OWN.0, port)));
                    assert!(passes(ports, &message(kind, 24, OWN.0, port)));
                    assert!(!passes(ports, &message(kind, 24, 11, port)));
                    assert!(!passes(ports, &message(kind, 128, 0, port)));
                }
            }
        }
    }

    #[test]
    fn what_pingu_does_to_own_routes_is_no_news_but_for_defaults() {
        for port in OWN_PORTS {
            for kind in [libc::RTM_NEWROUTE, libc::RTM_DELROUTE] {
                assert!(!passes(&OWN_PORTS, &message(kind, 24, OWN.0, port)));
                assert!(passes(&OWN_PORTS, &message(kind, 0, OWN.0, port)));
                assert!(passes(&[], &message(kind, 24, OWN.0, port)));
            }
        }
    }

    #[test]
    fn whatever_is_no_route_comes_through() {
        for kind in [libc::RTM_NEWLINK, libc::RTM_NEWADDR, libc::RTM_NEWNEIGH, 0] {
            for port in [0, OWN_PORTS[0]] {
                assert!(passes(&OWN_PORTS, &message(kind, 24, 11, port)));
            }
        }
    }
}
