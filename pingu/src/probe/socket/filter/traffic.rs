//! The filter of a socket that only counts: unicast IP packets for this host, as the eBPF programs count them. What a dead provider's
//! segment still carries does not pass it: broadcasts, multicasts, neighbour discovery, frames of a VLAN. Nor do replies to our own probes,
//! and ICMP errors, which tell that something did not arrive.

use super::{
    JUMP_ANY_BIT, JUMP_AT_LEAST, JUMP_EQUAL, LOAD_BYTE, LOAD_BYTE_AT_X, LOAD_HALF, LOAD_HALF_AT_X,
    LOAD_WORD_AT_X, Label, Program, RETURN, SET_X, always, by_version, skip_header,
};

/// Where the kernel's notes beside a packet are read (`SKF_AD_OFF`, `linux/filter.h`): whom it is for; whether a tag was taken out.
const NOTE_PACKET_TYPE: u32 = 0xffff_f000 + 4;
const NOTE_TAG_PRESENT: u32 = 0xffff_f000 + 48;

/// `PACKET_HOST`.
const FOR_THIS_HOST: u32 = 0;

/// ICMPv6 errors are below this.
const ICMPV6_ERRORS_END: u32 = 128;
/// Queries and reports of multicast listeners, router and neighbour discovery, redirects (RFC 2710, 4861), the second edge not included.
const ICMPV6_LOCAL: [u32; 2] = [130, 138];

/// ICMP errors: unreachable, source quench, redirect, time exceeded, parameter problem.
const ICMP_ERRORS: [u32; 5] = [3, 4, 5, 11, 12];

/// The program for a socket of an interface with Ethernet headers, or `bare`, without; own cookies begin with `own`.
pub(super) fn assemble(own: u32, bare: bool) -> Vec<libc::sock_filter> {
    let mut program = Program::default();
    let p = &mut program;
    p.op(LOAD_BYTE, NOTE_PACKET_TYPE);
    p.jump_unless(JUMP_EQUAL, FOR_THIS_HOST, Label::Drop);
    assemble_headers(p, own, bare);
    program.finish()
}

/// The part that looks at the packet alone.
fn assemble_headers(p: &mut Program, own: u32, bare: bool) {
    if bare {
        by_version(p);
    } else {
        p.op(LOAD_BYTE, NOTE_TAG_PRESENT);
        p.jump_unless(JUMP_EQUAL, 0, Label::Drop);
        p.op(SET_X, 14);
        p.op(LOAD_HALF, 12);
        p.jump_if(JUMP_EQUAL, 0x0800, Label::Ipv4);
        p.jump_unless(JUMP_EQUAL, 0x86dd, Label::Drop);
    }
    p.op(LOAD_BYTE_AT_X, 24);
    p.jump_if(JUMP_EQUAL, 0xff, Label::Drop);
    p.op(LOAD_BYTE_AT_X, 6);
    p.jump_unless(JUMP_EQUAL, 58, Label::Count);
    p.op(LOAD_BYTE_AT_X, 40);
    p.jump_if(JUMP_EQUAL, 129, Label::Reply6);
    let [local, local_end] = ICMPV6_LOCAL;
    p.jump_if(JUMP_AT_LEAST, local_end, Label::Count);
    p.jump_if(JUMP_AT_LEAST, local, Label::Drop);
    p.jump_if(JUMP_AT_LEAST, ICMPV6_ERRORS_END, Label::Count);
    always(p, Label::Drop);
    p.label(Label::Ipv4);
    p.op(LOAD_BYTE_AT_X, 16);
    // Multicast, reserved and the broadcast address.
    p.jump_if(JUMP_AT_LEAST, 224, Label::Drop);
    p.op(LOAD_BYTE_AT_X, 9);
    p.jump_unless(JUMP_EQUAL, 1, Label::Count);
    p.op(LOAD_HALF_AT_X, 6);
    p.jump_if(JUMP_ANY_BIT, 0x1fff, Label::Count);
    skip_header(p, 0);
    p.op(LOAD_BYTE_AT_X, 0);
    p.jump_if(JUMP_EQUAL, 0, Label::Reply4);
    for kind in ICMP_ERRORS {
        p.jump_if(JUMP_EQUAL, kind, Label::Drop);
    }
    always(p, Label::Count);
    p.label(Label::Reply6);
    p.op(LOAD_WORD_AT_X, 40 + 12);
    always(p, Label::Cookie);
    p.label(Label::Reply4);
    p.op(LOAD_WORD_AT_X, 12);
    p.label(Label::Cookie);
    p.jump_if(JUMP_EQUAL, own.to_be(), Label::Drop);
    p.label(Label::Count);
    // A byte of each is enough to be counted.
    p.op(RETURN, 1);
    p.label(Label::Drop);
    p.op(RETURN, 0);
}
