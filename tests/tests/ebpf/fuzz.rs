//! Random packets, most of them nearly right, against the plain reading of the rules: not one may be judged otherwise.

use pingu::{probe::ProbeTransport, units::Ifindex};

use crate::{
    harness::{IFINDEX, OTHER_IFINDEX, RECEIVERS, Receiver, Rig, SENT_NS, SLOTS},
    packets::{Echo, HERE_V4, HERE_V6},
    reference::Decision,
};

/// Packets for each of the three programs.
const PACKETS: u32 = 100_000;
const SEED: u64 = 0x7069_6e67_7500_0001;

#[test]
fn no_random_packet_is_judged_otherwise_than_by_the_rules() {
    for receiver in RECEIVERS {
        let mut random = Random(SEED);
        let mut rig = Rig::new();
        let mut replies = (0..SLOTS)
            .map(|slot| random_reply(&mut random, receiver, slot))
            .collect::<Vec<_>>();
        let mut seen = [0_u32; 9];
        let mut reflections = 0;
        for _ in 0..PACKETS {
            let slot = random.below(SLOTS as usize);
            if random.one_in(3) {
                replies[slot] = random_reply(&mut random, receiver, slot as u32);
                arm(&mut random, &mut rig, &replies[slot]);
            }
            let mut packet = random_packet(&mut random, &replies[slot]);
            packet.resize(packet.len().max(receiver.shortest_run(&packet)), 0);
            let decision = rig.check(receiver, &packet);
            let is_reflected = rig.entries[slot].remarks.reflection.is_some();
            reflections += u32::from(decision == Decision::Matched && is_reflected);
            let place = match decision {
                Decision::Foreign => 0,
                Decision::Stale => 1,
                Decision::Forged => 2,
                Decision::WrongUplink => 3,
                Decision::Duplicate => 4,
                Decision::Corrupt => 5,
                Decision::Matched => 6,
                Decision::Error => 7,
                Decision::ErrorUnproven => 8,
            };
            seen[place] += 1;
        }
        // A generator that never reaches a rule proves nothing about it.
        assert!(
            seen.iter().all(|count| *count > PACKETS / 200),
            "{receiver:?}: {seen:?}"
        );
        let traffic = rig.transport.traffic(Ifindex(IFINDEX)).unwrap();
        let counts = [traffic.ingress_packets, traffic.handshakes_answered];
        assert!(
            counts.iter().all(|count| *count > u64::from(PACKETS / 200)),
            "{traffic:?}"
        );
        assert!(reflections > PACKETS / 200, "{reflections}");
        println!(
            "{receiver:?}: foreign, stale, forged, wrong uplink, duplicate, corrupt, matched, error, unproven: {seen:?}"
        );
    }
}

fn random_reply(random: &mut Random, receiver: Receiver, slot: u32) -> Echo {
    let mut reply = if random.one_in(2) {
        Echo::reply_v4(receiver)
    } else {
        Echo::reply_v6(receiver)
    };
    reply.slot = slot;
    reply.cookie = std::array::from_fn(|_| random.next() as u32);
    reply.ident = random.next() as u16;
    reply.sequence = random.next() as u16;
    reply.payload_bytes = 20 + random.below(220) as u16;
    if random.one_in(4) {
        let numbers = std::array::from_fn::<u8, 20, _>(|_| random.next() as u8);
        reply.tail = [b"PGrp".as_slice(), &numbers].concat();
        reply.payload_bytes = reply.payload_bytes.max(43);
    }
    if reply.source.is_ipv4() && random.one_in(4) {
        reply.options = vec![1; 4 * random.below(11)];
    }
    if receiver.has_ethernet() {
        for _ in 0..[0, 0, 1, 2][random.below(4)] {
            reply.tags.push((
                if random.one_in(2) { 0x8100 } else { 0x88a8 },
                1 + random.below(4_094) as u16,
            ));
        }
    }
    reply
}

fn arm(random: &mut Random, rig: &mut Rig, reply: &Echo) {
    match random.below(8) {
        0 => rig.expect_on(reply, OTHER_IFINDEX, SENT_NS),
        1 => rig.expect_on(reply, 1, 0),
        2 => rig.disarm(reply.slot),
        _ => rig.expect(reply),
    }
}

fn random_packet(random: &mut Random, right: &Echo) -> Vec<u8> {
    let mut reply = right.clone();
    if random.one_in(2) {
        change_a_part(random, &mut reply);
    }
    let mut packet = match random.below(8) {
        0 | 1 => random_error(random, &reply),
        2 => random_foreign(random, &reply),
        _ => reply.bytes(),
    };
    for _ in 0..[0, 0, 0, 1, 1, 2, 5][random.below(7)] {
        let headers = packet.len().min(reply.icmp_offset() + 28);
        let reach = if random.one_in(2) {
            headers
        } else {
            packet.len()
        };
        // Errors are longer than replies, and their quote is worth as much as a reply's head.
        let reach = reach.min(packet.len());
        let bit = random.below(reach * 8);
        packet[bit / 8] ^= 1 << (bit % 8);
    }
    match random.below(12) {
        0 => packet.truncate(14.max(random.below(packet.len()))),
        1 => packet.extend((0..random.below(40)).map(|byte| byte as u8)),
        2 => {
            packet = (0..14 + random.below(150))
                .map(|_| random.next() as u8)
                .collect()
        }
        _ => {}
    }
    packet
}

/// An ICMP error about the reply's request.
fn random_error(random: &mut Random, reply: &Echo) -> Vec<u8> {
    let kind = if random.one_in(8) {
        random.next() as u8
    } else if reply.source.is_ipv4() {
        [3, 4, 11, 12][random.below(4)]
    } else {
        1 + random.below(4) as u8
    };
    let mut quote = reply.quote();
    match random.below(6) {
        0 => quote.truncate(random.below(quote.len())),
        1 => {
            let bit = random.below(quote.len().min(80) * 8);
            quote[bit / 8] ^= 1 << (bit % 8);
        }
        _ => {}
    }
    let from = if reply.source.is_ipv4() {
        HERE_V4
    } else {
        HERE_V6
    };
    reply.error(from, kind, random.below(16) as u8, &quote)
}

/// The reply's bytes as those of something else: TCP, UDP or neighbour discovery.
fn random_foreign(random: &mut Random, reply: &Echo) -> Vec<u8> {
    let mut other = reply.clone();
    other.protocol = [6, 6, 17, 58][random.below(4)];
    other.kind = random.next() as u8;
    if other.protocol == 58 {
        other.kind = 130 + random.below(10) as u8;
    }
    if random.one_in(4) {
        other.link_destination = std::array::from_fn(|_| random.next() as u8);
    }
    // TCP's flags lie where an echo message has the cookie's first byte but one.
    other.cookie[0] = random.next() as u32;
    other.bytes()
}

fn change_a_part(random: &mut Random, reply: &mut Echo) {
    match random.below(12) {
        0 => reply.cookie[random.below(4)] ^= 1 << random.below(32),
        1 => reply.ident ^= 1 << random.below(16),
        2 => reply.sequence ^= 1 << random.below(16),
        3 => reply.slot ^= 1 << random.below(6),
        4 => reply.kind ^= 1 << random.below(8),
        5 => reply.code = random.below(3) as u8,
        6 => reply.protocol = [0, 1, 6, 17, 44, 58][random.below(6)],
        7 => reply.fragment = [0, 0x4000, 0x2000, 1, 0xffff][random.below(5)],
        8 => reply.checksum_error = random.next() as u16,
        9 if reply.has_ethernet => reply.tags.push((0x8100, random.below(4_096) as u16)),
        10 if reply.has_ethernet => {
            reply.tags.pop();
        }
        9..=11 => reply.padding = random.below(30),
        _ => unreachable!("12 cases"),
    }
}

/// SplitMix64: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }
}
