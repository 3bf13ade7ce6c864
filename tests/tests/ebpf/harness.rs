//! Loaded programs, and one way to run them on packets and compare what they do with the reference.

use aya::{
    TestRun, TestRunOptions,
    programs::{Program, TestRunResult},
};
use pingu::{
    config::ReceiveHook,
    probe::{
        LinkHeader, ProbeOrder, ProbeTransport, Remarks,
        kernel::{KernelTransport, LoadOptions},
    },
    units::{Ifindex, SlotId},
};
use pingu_common::{PROGRAM_REPLY_BARE, PROGRAM_REPLY_ETHERNET, PROGRAM_REPLY_XDP};

use crate::{
    packets::Echo,
    reference::{self, Decision, Entry},
    sockets,
};

/// `BPF_PROG_TEST_RUN` runs a program as if on the loopback device.
pub const IFINDEX: u32 = 1;
/// A device that the packets of these tests do not come by.
pub const OTHER_IFINDEX: u32 = 2;
pub const SLOTS: u32 = 16;
/// What a slot says was the time of its request, where the test has no request.
pub const SENT_NS: u64 = 1_000;

/// The three programs that match replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receiver {
    Ethernet,
    Bare,
    Xdp,
}

pub const RECEIVERS: [Receiver; 3] = [Receiver::Ethernet, Receiver::Bare, Receiver::Xdp];

impl Receiver {
    fn program(self) -> &'static str {
        match self {
            Self::Ethernet => PROGRAM_REPLY_ETHERNET,
            Self::Bare => PROGRAM_REPLY_BARE,
            Self::Xdp => PROGRAM_REPLY_XDP,
        }
    }

    fn verdicts(self) -> Verdicts {
        match self {
            // TCX_NEXT and TCX_DROP.
            Self::Ethernet | Self::Bare => Verdicts {
                pass: u32::MAX,
                consume: 2,
            },
            // XDP_PASS and XDP_DROP.
            Self::Xdp => Verdicts {
                pass: 2,
                consume: 1,
            },
        }
    }

    pub fn has_ethernet(self) -> bool {
        self != Self::Bare
    }

    /// The kernel test-runs no program on less than an Ethernet header, and no classifier on what looks like IP by its Ethernet type
    /// but is too short for an IP header. On a device, both may come.
    pub fn shortest_run(self, packet: &[u8]) -> usize {
        match (self, packet.get(12..14)) {
            (Self::Ethernet | Self::Bare, Some([0x08, 0x00])) => 14 + 20,
            (Self::Ethernet | Self::Bare, Some([0x86, 0xdd])) => 14 + 40,
            _ => 14,
        }
    }
}

struct Verdicts {
    pass: u32,
    consume: u32,
}

/// The programs and their slots, beside a model of what the slots hold.
pub struct Rig {
    pub transport: KernelTransport,
    pub entries: Vec<Entry>,
    passes_replies: bool,
}

impl Rig {
    /// Loads the programs from a namespace of the calling thread's own.
    pub fn new() -> Self {
        Self::load(LoadOptions::new(SLOTS, ReceiveHook::Xdp).counting(1))
    }

    /// The same, and matched replies pass on.
    pub fn passing_replies() -> Self {
        Self::load(
            LoadOptions::new(SLOTS, ReceiveHook::Xdp)
                .counting(1)
                .passing_replies(),
        )
    }

    fn load(options: LoadOptions) -> Self {
        // SAFETY: a plain system call on this thread.
        let unshared = unsafe { libc::unshare(libc::CLONE_NEWNET) };
        assert_eq!(unshared, 0, "{}", std::io::Error::last_os_error());
        let mut transport = KernelTransport::load(options).unwrap();
        // So that what passes it is counted: only test runs do.
        transport.attach(Ifindex(IFINDEX), false).unwrap();
        Self {
            transport,
            entries: vec![Entry::default(); SLOTS as usize],
            passes_replies: options.passes_replies,
        }
    }

    /// Arms a slot for the reply, as if its request had left at [`SENT_NS`].
    pub fn expect(&mut self, reply: &Echo) {
        self.expect_on(reply, IFINDEX, SENT_NS);
    }

    /// Arms a slot for the reply on an interface.
    pub fn expect_on(&mut self, reply: &Echo, ifindex: u32, sent_ns: u64) {
        let [outer, inner] = reply.vlan_ids();
        let (source, destination) = ([2; 6], [4; 6]);
        let order = ProbeOrder {
            slot: SlotId(reply.slot),
            ifindex: Ifindex(ifindex),
            link: match outer {
                0 => LinkHeader::Ethernet {
                    source,
                    destination,
                },
                _ => LinkHeader::Vlan {
                    source,
                    destination,
                    outer,
                    inner,
                },
            },
            source: reply.destination,
            target: reply.source,
            ident: reply.ident,
            sequence: reply.sequence,
            payload_bytes: reply.payload_bytes,
            reflect: None,
        };
        self.transport.arm(&order, reply.cookie, sent_ns);
        self.entries[reply.slot as usize] = Entry {
            is_live: true,
            is_stamped: sent_ns != 0,
            is_answered: false,
            cookie: reply.cookie,
            target: Some(reply.source),
            ifindex,
            ident: reply.ident,
            sequence: reply.sequence,
            vlan: [outer, inner],
            remarks: Remarks::default(),
        };
    }

    pub fn disarm(&mut self, slot: u32) {
        self.transport.disarm(SlotId(slot));
        self.entries[slot as usize].is_live = false;
    }

    /// Runs a packet through a program and demands that verdict, slots, remarks, counters and the packet's bytes are what the
    /// reference says. Returns what that was.
    pub fn check(&mut self, receiver: Receiver, packet: &[u8]) -> Decision {
        let judged = reference::decide(packet, receiver.has_ethernet(), IFINDEX, &self.entries);
        sockets::check(receiver, packet, &self.entries, &judged);
        let counted = reference::counted(packet, receiver, judged.decision);
        let before = self.transport.counters().unwrap();
        let traffic = self.transport.traffic(Ifindex(IFINDEX)).unwrap();
        let mut out = vec![0; packet.len() + 64];
        let result = self.run(receiver.program(), packet, &mut out, 0);
        let verdicts = receiver.verdicts();
        let verdict = if judged.decision == Decision::Matched && !self.passes_replies {
            verdicts.consume
        } else {
            verdicts.pass
        };
        reference::note(&judged, IFINDEX, &mut self.entries);
        let context = || format!("{receiver:?} {judged:?} {packet:02x?}\n{:?}", self.entries);
        assert_eq!(result.return_value, verdict, "{}", context());
        assert_eq!(
            out[..result.data_size_out as usize],
            *packet,
            "{}",
            context()
        );
        assert_eq!(
            reference::count(before, judged.decision),
            self.transport.counters().unwrap(),
            "{}",
            context()
        );
        assert_eq!(
            reference::add(traffic, packet, counted),
            self.transport.traffic(Ifindex(IFINDEX)).unwrap(),
            "{}",
            context()
        );
        for (slot, entry) in self.entries.iter().enumerate() {
            let slot = SlotId(slot as u32);
            let is_answered = self.transport.read(slot).received_ns.is_some();
            assert_eq!(
                is_answered,
                entry.is_live && entry.is_answered,
                "slot {slot}: {}",
                context()
            );
            let remarks = self.transport.remarks(slot);
            assert_eq!(remarks, entry.remarks, "slot {slot}: {}", context());
        }
        judged.decision
    }

    /// Runs a packet with this mark through any classifier or XDP program.
    pub fn run(&self, program: &str, packet: &[u8], out: &mut [u8], mark: u32) -> TestRunResult {
        run(
            self.transport.program(program).unwrap(),
            packet,
            out,
            mark,
            1,
        )
    }
}

/// The mark's place in `struct __sk_buff`.
const MARK_OFFSET: usize = 8;

pub fn run(
    program: &Program,
    packet: &[u8],
    out: &mut [u8],
    mark: u32,
    repeat: u32,
) -> TestRunResult {
    // With a context, the kernel sets the length on the wire as it does on a device.
    let mut context = [0; 64];
    context[MARK_OFFSET..MARK_OFFSET + 4].copy_from_slice(&mark.to_ne_bytes());
    let options = TestRunOptions {
        data_in: Some(packet),
        data_out: Some(out),
        ctx_in: Some(&context),
        repeat,
        ..Default::default()
    };
    match program {
        Program::SchedClassifier(program) => program.test_run(options).unwrap(),
        Program::Xdp(program) => {
            // Its context is another one.
            let ctx_in = None;
            program
                .test_run(TestRunOptions { ctx_in, ..options })
                .unwrap()
        }
        other => panic!("a program of an unexpected type: {:?}", other.prog_type()),
    }
}
