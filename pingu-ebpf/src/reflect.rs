//! The reflector: a probe that asks for a reflection goes back where it came from, with two stamps and a count. Whatever is not in every
//! way such a probe is left to the kernel, which answers it as any other request.

mod counted;
mod limit;
mod rewrite;

use aya_ebpf::{
    helpers::bpf_ktime_get_ns,
    macros::map,
    maps::{Array, HashMap, LpmTrie, PerCpuArray, lpm_trie::Key},
};
use pingu_common::{
    ICMP_HEADER_BYTES,
    reflection::REFLECTION_OFFSET,
    reflector::{
        CountedKey, FROM_MAX, MAGIC_REPLY, MAGIC_REQUEST, REFLECT_COUNTERS as COUNTER_COUNT,
        REFLECTED_BYTES, REFLECTED_PAYLOAD_BYTES_MIN, ReflectCounter, Reflected, SERVED_MAX,
        Served, ServedKey, stamp_words,
    },
};

use crate::packet::{
    checksum::{Peeked, checksum_is_right},
    echo::{self, EchoKind},
    icmp::Message,
    link::LinkLayer,
};

pub use rewrite::Rewrite;
use rewrite::{Network, fold};

/// Filled by user space.
#[map(name = "SERVED_1")]
static SERVED: HashMap<ServedKey, Served> = HashMap::with_max_entries(SERVED_MAX, 0);

/// Filled by user space: 4 or 6, since short IPv6 prefixes hold the mapped addresses, too; 0 where nobody may ask from.
#[map(name = "REFLECT_FROM")]
static FROM: LpmTrie<[u32; 4], u8> = LpmTrie::with_max_entries(FROM_MAX, 0);

/// Filled by user space.
#[map(name = "REFLECT_CLOCK")]
static CLOCK: Array<u64> = Array::with_max_entries(1, 0);

#[map(name = "REFLECT_COUNTERS")]
static COUNTERS: PerCpuArray<[u64; COUNTER_COUNT]> = PerCpuArray::with_max_entries(1, 0);

const REFLECTED_WORDS: usize = REFLECTED_BYTES / 4;

/// Why a packet was not reflected.
#[derive(Clone, Copy)]
pub enum NotReflected {
    /// It asks for no reflection, or not of this machine.
    Foreign,
    /// It comes from where no request may come from.
    Refused,
    /// A checksum is wrong.
    Corrupt,
    /// There were too many within the last second.
    Limited,
    /// It was changed in part.
    Torn,
}

impl NotReflected {
    /// In words.
    #[cfg(feature = "log")]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Foreign => "no request for a reflection",
            Self::Refused => "request for a reflection from outside the prefixes",
            Self::Corrupt => "request for a reflection with a wrong checksum",
            Self::Limited => "request for a reflection beyond the limit",
            Self::Torn => "request for a reflection that could not be rewritten",
        }
    }

    /// What it counts as.
    pub fn counter(self) -> Option<ReflectCounter> {
        match self {
            Self::Foreign => None,
            Self::Refused => Some(ReflectCounter::Refused),
            Self::Corrupt => Some(ReflectCounter::Corrupt),
            Self::Limited => Some(ReflectCounter::Limited),
            Self::Torn => Some(ReflectCounter::Dropped),
        }
    }
}

/// Makes a probe its own reply. An error other than `Torn` leaves the packet as it was.
#[inline(always)]
pub fn try_reflect<L: LinkLayer, P: Rewrite>(packet: P) -> Result<(), NotReflected> {
    let echo = echo::echo::<L, P>(packet, EchoKind::Request).ok_or(NotReflected::Foreign)?;
    let message = echo.message;
    // SAFETY: the helper has no precondition.
    let received_ns = unsafe { bpf_ktime_get_ns() };
    let asked = asked(packet, &message).ok_or(NotReflected::Foreign)?;
    let network = Network::read(packet, &message).ok_or(NotReflected::Foreign)?;
    let target = network.target();
    if !is_served(packet, &message, target) || !may_ask(&message) || message.source == target {
        return Err(NotReflected::Foreign);
    }
    match FROM.get(Key::new(128, message.source)) {
        Some(family) if u32::from(*family) == message.ip_version => {}
        Some(_) | None => return Err(NotReflected::Refused),
    }
    if !network.checksum_is_right() || !checksum_is_right::<Peeked, P>(packet, &message) {
        return Err(NotReflected::Corrupt);
    }
    // Before it is counted: to the prober the kernel's answer is one that says nothing of directions.
    if !limit::take(received_ns) {
        return Err(NotReflected::Limited);
    }
    let key = CountedKey {
        source: message.source,
        target,
        path: asked.path,
    };
    let requests = counted::count(&key, received_ns).ok_or(NotReflected::Foreign)?;
    let begin_ns = CLOCK.get(0).copied().unwrap_or(0);
    // SAFETY: as above.
    let sent_ns = unsafe { bpf_ktime_get_ns() };
    let answer = Reflected {
        magic: MAGIC_REPLY,
        received_ns: stamp_words(received_ns.wrapping_add(begin_ns)),
        sent_ns: stamp_words(sent_ns.wrapping_add(begin_ns)),
        requests: requests.to_be(),
        path: asked.path,
    };
    send_back(packet, &message, network, &asked, &answer)
}

/// Counts one packet on this CPU.
#[inline(always)]
pub fn note(counter: ReflectCounter) {
    if let Some(counters) = COUNTERS.get_ptr_mut(0) {
        // SAFETY: the pointer is to this CPU's own entry, and no program of ours interrupts another on one CPU.
        unsafe { (*counters)[counter as usize] += 1 };
    }
}

#[inline(always)]
fn asked<P: Rewrite>(packet: P, message: &Message) -> Option<Reflected> {
    if message.icmp_bytes < ICMP_HEADER_BYTES + usize::from(REFLECTED_PAYLOAD_BYTES_MIN) {
        return None;
    }
    let asked: Reflected =
        packet.read(message.icmp_offset + ICMP_HEADER_BYTES + REFLECTION_OFFSET)?;
    (asked.magic == MAGIC_REQUEST).then_some(asked)
}

/// Whether the request is for this machine, by its addresses of both layers.
#[inline(always)]
fn is_served<P: Rewrite>(packet: P, message: &Message, target: [u32; 4]) -> bool {
    let key = ServedKey {
        ifindex: packet.ifindex(),
        vlan: message.vlan,
        address: target,
    };
    // SAFETY: an entry that user space changes meanwhile is at worst another own address.
    let Some(served) = (unsafe { SERVED.get(key) }) else {
        return false;
    };
    if message.ip_offset == 0 {
        return true;
    }
    let Some([to, from]) = packet.read::<[[u8; 6]; 2]>(0) else {
        return false;
    };
    to == served.link_address && from[0] & 1 == 0
}

/// Whether the source can be a host's: nobody else is answered.
#[inline(always)]
fn may_ask(message: &Message) -> bool {
    let source = message.source;
    if message.ip_version == 4 {
        let first = u32::from_be(source[3]) >> 24;
        return first != 0 && first != 127 && first < 224;
    }
    // Neither multicast nor in ::/80, which holds the unspecified address, loopback and IPv4 in disguise.
    let first = u32::from_be(source[0]);
    first >> 24 != 0xff && (first | source[1] | source[2] & 0xffff_u32.swap_bytes()) != 0
}

#[inline(always)]
fn send_back<P: Rewrite>(
    packet: P,
    message: &Message,
    mut network: Network,
    asked: &Reflected,
    answer: &Reflected,
) -> Result<(), NotReflected> {
    let icmp_offset = message.icmp_offset;
    let reflected_offset = icmp_offset + ICMP_HEADER_BYTES + REFLECTION_OFFSET;
    let head: [u16; 2] = packet.read(icmp_offset).ok_or(NotReflected::Foreign)?;
    let kind = u16::from_ne_bytes([if message.ip_version == 4 { 0 } else { 129 }, 0]);
    // RFC 1624, 3: the sum loses what is replaced and gains what replaces it. Swapped addresses leave it as it is.
    let sum = u64::from(!head[1]) + u64::from(!head[0]) + u64::from(kind) + replaced(asked, answer);
    network.turn_round();
    let addresses = packet.read::<[[u8; 6]; 2]>(0);
    if !packet.prepare(reflected_offset + REFLECTED_BYTES) {
        return Err(NotReflected::Foreign);
    }
    let done = packet.write(reflected_offset, answer)
        && packet.write(icmp_offset, &[kind, !fold(sum)])
        && network.write(packet, message.ip_offset);
    let turned =
        message.ip_offset == 0 || addresses.is_some_and(|[to, from]| packet.write(0, &[from, to]));
    if done && turned {
        Ok(())
    } else {
        Err(NotReflected::Torn)
    }
}

/// What the checksum's sum gains.
#[inline(always)]
fn replaced(old: &Reflected, new: &Reflected) -> u64 {
    let (old, new) = (words(old), words(new));
    let mut sum = 0;
    for word in 0..REFLECTED_WORDS {
        sum += u64::from(!old[word]) + u64::from(new[word]);
    }
    sum
}

#[inline(always)]
fn words(reflected: &Reflected) -> [u32; REFLECTED_WORDS] {
    // SAFETY: both are plain old data of the same size, in the order of memory.
    unsafe { core::mem::transmute(*reflected) }
}
