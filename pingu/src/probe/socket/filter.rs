//! Which packets a receiving socket is woken by: a classic BPF program, which any process may put on its own socket.
//!
//! Every cookie of a process begins with the same 32 random bits. So a flood of forged replies fills a small queue of its own, whose
//! overflow harms nobody, and never the one that true replies wait in. The other 96 bits differ from probe to probe.

mod traffic;

use std::{io, os::fd::BorrowedFd};

use super::inbox::set_option;

/// What a filter lets pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passes {
    /// Echo replies, and ICMP errors that quote an echo request, with a cookie that begins so.
    Own(u32),
    /// Echo replies whose cookie begins otherwise.
    OtherReplies(u32),
    /// All echo replies.
    AllReplies,
    /// What is counted as traffic: neither replies whose cookie begins so, nor what is not for this host alone.
    Traffic(u32),
}

/// Puts the filter on a packet socket; `bare` is one without link headers.
pub(super) fn attach(socket: BorrowedFd<'_>, passes: Passes, bare: bool) -> io::Result<()> {
    let mut program = match passes {
        Passes::Traffic(own) => traffic::assemble(own, bare),
        Passes::Own(_) | Passes::OtherReplies(_) | Passes::AllReplies => assemble(passes, bare),
    };
    let program = libc::sock_fprog {
        len: program.len() as u16,
        filter: program.as_mut_ptr(),
    };
    set_option(socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)
}

/// Instructions of classic BPF (`linux/bpf_common.h`).
const LOAD_BYTE: u16 = 0x30;
const LOAD_HALF: u16 = 0x28;
const LOAD_BYTE_AT_X: u16 = 0x50;
const LOAD_HALF_AT_X: u16 = 0x48;
const LOAD_WORD_AT_X: u16 = 0x40;
const SET_X: u16 = 0x01;
const AND: u16 = 0x54;
const SHIFT_LEFT: u16 = 0x64;
const SHIFT_RIGHT: u16 = 0x74;
const ADD_X: u16 = 0x0c;
const COPY_TO_X: u16 = 0x07;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_ANY_BIT: u16 = 0x45;
const JUMP_AT_LEAST: u16 = 0x35;
const RETURN: u16 = 0x06;

/// Where a jump leads; a jump that is not taken goes on with the next instruction.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Label {
    OneTag,
    TwoTags,
    Ipv4,
    Ipv6,
    Reply4,
    Reply6,
    Error4,
    Error6,
    /// The first word of the cookie is in the accumulator.
    Cookie,
    Count,
    Drop,
}

struct Instruction {
    code: u16,
    k: u32,
    /// Where it jumps to, if what it asks is so, or is not.
    jump: Option<(Label, bool)>,
}

#[derive(Default)]
struct Program {
    instructions: Vec<Instruction>,
    labels: Vec<(Label, usize)>,
}

impl Program {
    fn label(&mut self, label: Label) {
        self.labels.push((label, self.instructions.len()));
    }

    fn op(&mut self, code: u16, k: u32) {
        let jump = None;
        self.instructions.push(Instruction { code, k, jump });
    }

    fn jump_if(&mut self, code: u16, k: u32, to: Label) {
        let jump = Some((to, true));
        self.instructions.push(Instruction { code, k, jump });
    }

    fn jump_unless(&mut self, code: u16, k: u32, to: Label) {
        let jump = Some((to, false));
        self.instructions.push(Instruction { code, k, jump });
    }

    fn finish(self) -> Vec<libc::sock_filter> {
        let place = |wanted: Label| {
            let mut labels = self.labels.iter();
            let found = labels.find(|(label, _)| *label == wanted);
            found.expect("every label that is jumped to is set").1
        };
        let resolve = |(index, instruction): (usize, &Instruction)| {
            let distance = |label| {
                let distance = place(label) - index - 1;
                u8::try_from(distance).expect("the program is short, and jumps lead on")
            };
            let (jt, jf) = match instruction.jump {
                None => (0, 0),
                Some((label, true)) => (distance(label), 0),
                Some((label, false)) => (0, distance(label)),
            };
            let Instruction { code, k, .. } = *instruction;
            libc::sock_filter { code, jt, jf, k }
        };
        self.instructions.iter().enumerate().map(resolve).collect()
    }
}

fn assemble(passes: Passes, bare: bool) -> Vec<libc::sock_filter> {
    let mut program = Program::default();
    let p = &mut program;
    if bare {
        by_version(p);
    } else {
        p.op(SET_X, 14);
        p.op(LOAD_HALF, 12);
        by_ether_type(p, Label::OneTag);
        p.label(Label::OneTag);
        p.op(SET_X, 18);
        p.op(LOAD_HALF, 16);
        by_ether_type(p, Label::TwoTags);
        p.label(Label::TwoTags);
        p.op(SET_X, 22);
        p.op(LOAD_HALF, 20);
        p.jump_if(JUMP_EQUAL, 0x0800, Label::Ipv4);
        p.jump_unless(JUMP_EQUAL, 0x86dd, Label::Drop);
    }
    let errors = matches!(passes, Passes::Own(_));
    p.label(Label::Ipv6);
    p.op(LOAD_BYTE_AT_X, 6);
    p.jump_unless(JUMP_EQUAL, 58, Label::Drop);
    p.op(LOAD_BYTE_AT_X, 40);
    p.jump_if(JUMP_EQUAL, 129, Label::Reply6);
    for kind in [1, 2, 3, 4].into_iter().filter(|_| errors) {
        p.jump_if(JUMP_EQUAL, kind, Label::Error6);
    }
    p.op(RETURN, 0);
    p.label(Label::Ipv4);
    p.op(LOAD_BYTE_AT_X, 9);
    p.jump_unless(JUMP_EQUAL, 1, Label::Drop);
    p.op(LOAD_HALF_AT_X, 6);
    p.jump_if(JUMP_ANY_BIT, 0x3fff, Label::Drop);
    skip_header(p, 0);
    p.op(LOAD_BYTE_AT_X, 0);
    p.jump_if(JUMP_EQUAL, 0, Label::Reply4);
    for kind in [3, 4, 11, 12].into_iter().filter(|_| errors) {
        p.jump_if(JUMP_EQUAL, kind, Label::Error4);
    }
    p.op(RETURN, 0);
    // From here on X is where the ICMP header begins (IPv4) or the IP header (IPv6); a cookie begins 12 bytes into ICMP.
    if errors {
        p.label(Label::Error4);
        skip_header(p, 8);
        p.op(LOAD_BYTE_AT_X, 8);
        p.jump_unless(JUMP_EQUAL, 8, Label::Drop);
        p.op(LOAD_WORD_AT_X, 8 + 12);
        always(p, Label::Cookie);
        p.label(Label::Error6);
        p.op(LOAD_BYTE_AT_X, 40 + 8 + 40);
        p.jump_unless(JUMP_EQUAL, 128, Label::Drop);
        p.op(LOAD_WORD_AT_X, 40 + 8 + 40 + 12);
        always(p, Label::Cookie);
    }
    p.label(Label::Reply6);
    p.op(LOAD_WORD_AT_X, 40 + 12);
    always(p, Label::Cookie);
    p.label(Label::Reply4);
    p.op(LOAD_WORD_AT_X, 12);
    p.label(Label::Cookie);
    match passes {
        // Loads are big-endian.
        Passes::Own(word) => p.jump_unless(JUMP_EQUAL, word.to_be(), Label::Drop),
        Passes::OtherReplies(word) => p.jump_if(JUMP_EQUAL, word.to_be(), Label::Drop),
        Passes::AllReplies | Passes::Traffic(_) => {}
    }
    p.op(RETURN, u32::MAX);
    p.label(Label::Drop);
    p.op(RETURN, 0);
    program.finish()
}

/// The IP header comes first: IPv6 goes on with the next instruction.
fn by_version(p: &mut Program) {
    p.op(SET_X, 0);
    p.op(LOAD_BYTE, 0);
    p.op(SHIFT_RIGHT, 4);
    p.jump_if(JUMP_EQUAL, 4, Label::Ipv4);
    p.jump_unless(JUMP_EQUAL, 6, Label::Drop);
}

fn by_ether_type(p: &mut Program, tag: Label) {
    p.jump_if(JUMP_EQUAL, 0x0800, Label::Ipv4);
    p.jump_if(JUMP_EQUAL, 0x86dd, Label::Ipv6);
    p.jump_if(JUMP_EQUAL, 0x8100, tag);
    p.jump_unless(JUMP_EQUAL, 0x88a8, Label::Drop);
}

/// Adds the length of the IPv4 header that begins so far behind X to X.
fn skip_header(p: &mut Program, offset: u32) {
    p.op(LOAD_BYTE_AT_X, offset);
    p.op(AND, 0x0f);
    p.op(SHIFT_LEFT, 2);
    p.op(ADD_X, 0);
    p.op(COPY_TO_X, 0);
}

/// Jumps if the accumulator is at least 0, which it is.
fn always(p: &mut Program, label: Label) {
    p.jump_if(JUMP_AT_LEAST, 0, label);
}

#[cfg(test)]
mod tests;
