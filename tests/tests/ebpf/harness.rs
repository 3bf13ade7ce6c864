//! Loaded programs, packets made from their parts, and one way to run the ones on the others.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

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
    reference::{self, Decision, Entry},
    sockets,
};

/// `BPF_PROG_TEST_RUN` runs a program as if on the loopback device.
pub const IFINDEX: u32 = 1;
/// A device that the packets of these tests do not come by.
pub const OTHER_IFINDEX: u32 = 2;
pub const SLOTS: u32 = 16;
pub const COOKIE: [u32; 4] = [0x0123_4567, 0x89ab_cdef, 0x0f1e_2d3c, 0x4b5a_6978];
/// What a slot says was the time of its request, where the test has no request.
pub const SENT_NS: u64 = 1_000;

pub const HERE_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
pub const THERE_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7));
pub const HERE_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));
pub const THERE_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0xffff, 0xfffe));

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
}

impl Rig {
    /// Loads the programs from a namespace of the calling thread's own.
    pub fn new() -> Self {
        // SAFETY: a plain system call on this thread.
        let unshared = unsafe { libc::unshare(libc::CLONE_NEWNET) };
        assert_eq!(unshared, 0, "{}", std::io::Error::last_os_error());
        let options = LoadOptions::new(SLOTS, ReceiveHook::Xdp).counting(1);
        let mut transport = KernelTransport::load(options).unwrap();
        // So that what passes it is counted: only test runs do.
        transport.attach(Ifindex(IFINDEX), false).unwrap();
        Self {
            transport,
            entries: vec![Entry::default(); SLOTS as usize],
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
        let verdict = if judged.decision == Decision::Matched {
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

/// An echo message in parts. What [`Echo::reply_v4`] and [`Echo::reply_v6`] make is right in all of them.
#[derive(Clone, Debug)]
pub struct Echo {
    pub has_ethernet: bool,
    /// Destination of the Ethernet header; the loopback device's own address is zeros.
    pub link_destination: [u8; 6],
    /// Protocol and control information of each VLAN tag.
    pub tags: Vec<(u16, u16)>,
    pub source: IpAddr,
    pub destination: IpAddr,
    /// IPv4 options, a multiple of 4 bytes.
    pub options: Vec<u8>,
    /// The IPv4 fragment field.
    pub fragment: u16,
    /// IPv4 protocol or IPv6 next header.
    pub protocol: u8,
    pub kind: u8,
    pub code: u8,
    pub ident: u16,
    pub sequence: u16,
    pub slot: u32,
    pub cookie: [u32; 4],
    pub payload_bytes: u16,
    /// What stands behind the cookie.
    pub tail: Vec<u8>,
    /// What is wrong with the checksum.
    pub checksum_error: u16,
    /// Bytes behind the IP packet, as Ethernet pads short frames.
    pub padding: usize,
}

impl Echo {
    pub fn reply_v4(receiver: Receiver) -> Self {
        Self {
            has_ethernet: receiver.has_ethernet(),
            link_destination: [0; 6],
            tags: Vec::new(),
            source: THERE_V4,
            destination: HERE_V4,
            options: Vec::new(),
            fragment: 0x4000,
            protocol: 1,
            kind: 0,
            code: 0,
            ident: 0x1234,
            sequence: 0xabcd,
            slot: 3,
            cookie: COOKIE,
            payload_bytes: 56,
            tail: Vec::new(),
            checksum_error: 0,
            padding: 0,
        }
    }

    pub fn reply_v6(receiver: Receiver) -> Self {
        Self {
            source: THERE_V6,
            destination: HERE_V6,
            protocol: 58,
            kind: 129,
            ..Self::reply_v4(receiver)
        }
    }

    /// A right reply of each family.
    pub fn replies(receiver: Receiver) -> [Self; 2] {
        [Self::reply_v4(receiver), Self::reply_v6(receiver)]
    }

    fn vlan_ids(&self) -> [u16; 2] {
        let mut ids = self
            .tags
            .iter()
            .map(|(_, tag)| tag & 0xfff)
            .filter(|id| *id != 0);
        [ids.next().unwrap_or(0), ids.next().unwrap_or(0)]
    }

    /// Where the IP header begins.
    pub fn ip_offset(&self) -> usize {
        if self.has_ethernet {
            14 + 4 * self.tags.len()
        } else {
            0
        }
    }

    /// Where the ICMP header begins.
    pub fn icmp_offset(&self) -> usize {
        self.ip_offset()
            + if self.source.is_ipv4() {
                20 + self.options.len()
            } else {
                40
            }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut icmp = vec![self.kind, self.code, 0, 0];
        icmp.extend(self.ident.to_be_bytes());
        icmp.extend(self.sequence.to_be_bytes());
        icmp.extend(self.slot.to_ne_bytes());
        icmp.extend(self.cookie.iter().flat_map(|word| word.to_ne_bytes()));
        icmp.extend(&self.tail);
        icmp.resize(8 + usize::from(self.payload_bytes), 0x5a);
        self.wrapped(icmp)
    }

    /// The request that this is the reply to, without a link header: what an ICMP error quotes.
    pub fn quote(&self) -> Vec<u8> {
        let request = Self {
            has_ethernet: false,
            tags: Vec::new(),
            kind: if self.source.is_ipv4() { 8 } else { 128 },
            source: self.destination,
            destination: self.source,
            ..self.clone()
        };
        request.bytes()
    }

    /// An ICMP error that comes the way of this reply and quotes these bytes.
    pub fn error(&self, from: IpAddr, kind: u8, code: u8, quote: &[u8]) -> Vec<u8> {
        let mut icmp = vec![kind, code, 0, 0, 0, 0, 0, 0];
        icmp.extend(quote);
        Self {
            source: from,
            ..self.clone()
        }
        .wrapped(icmp)
    }

    /// The ICMP message in its packet, with the right checksum but for what should be wrong there.
    fn wrapped(&self, mut icmp: Vec<u8>) -> Vec<u8> {
        let mut packet = Vec::new();
        if self.has_ethernet {
            packet.extend(self.link_destination);
            packet.extend([2, 0, 0, 0, 0, 2]);
            for (protocol, tag) in &self.tags {
                packet.extend(protocol.to_be_bytes());
                packet.extend(tag.to_be_bytes());
            }
            packet.extend(if self.source.is_ipv4() {
                [0x08, 0x00]
            } else {
                [0x86, 0xdd]
            });
        }
        let pseudo = match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let mut ip = vec![0x45 + (self.options.len() / 4) as u8, 0];
                ip.extend(((20 + self.options.len() + icmp.len()) as u16).to_be_bytes());
                ip.extend([0, 0]);
                ip.extend(self.fragment.to_be_bytes());
                ip.extend([64, self.protocol, 0, 0]);
                ip.extend(source.octets());
                ip.extend(destination.octets());
                ip.extend(&self.options);
                let checksum = !reference::sum(&ip);
                ip[10..12].copy_from_slice(&checksum.to_be_bytes());
                packet.extend(ip);
                Vec::new()
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                packet.extend([0x60, 0, 0, 0]);
                packet.extend((icmp.len() as u16).to_be_bytes());
                packet.extend([self.protocol, 64]);
                packet.extend(source.octets());
                packet.extend(destination.octets());
                let mut pseudo = [source.octets(), destination.octets()].concat();
                pseudo.extend((icmp.len() as u32).to_be_bytes());
                pseudo.extend([0, 0, 0, 58]);
                pseudo
            }
            _ => panic!("two families in one packet"),
        };
        let checksum = !reference::sum(&[pseudo, icmp.clone()].concat()) ^ self.checksum_error;
        icmp[2..4].copy_from_slice(&checksum.to_be_bytes());
        packet.extend(icmp);
        packet.resize(packet.len() + self.padding, 0);
        packet
    }
}
