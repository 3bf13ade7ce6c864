//! Ingress: which packet is the reply that a live slot waits for. Everything about it must be right, and only the first counts.

use pingu_common::{
    Counter, ICMP_HEADER_BYTES, Slot,
    reflection::{MAGIC_REPLY, PAYLOAD_BYTES_REFLECTED, REFLECTION_OFFSET, Reflection},
};

use crate::{
    icmp_error,
    maps::{self, SlotRef},
    packet::{
        Packet,
        checksum::{Peeked, checksum_is_right},
        echo::{self, Echo, EchoKind},
        icmp,
        link::LinkLayer,
    },
    remark::{self, Found},
    stamp::{now_ns, received_ns},
};

/// Set when the object is loaded; see `pingu_common::GLOBAL_PASS_REPLIES`.
#[unsafe(no_mangle)]
static PASS_REPLIES: u32 = 0;

/// Whether a matched reply ends here.
#[inline(always)]
pub fn is_consumed() -> bool {
    // SAFETY: it is written before the program is loaded, where the compiler does not see it.
    unsafe { core::ptr::read_volatile(&PASS_REPLIES) == 0 }
}

/// Why a packet is not a reply that counts.
#[derive(Clone, Copy)]
pub enum NotMatched {
    /// No echo reply, or one that names no slot.
    Foreign,
    /// Its slot is dead, or the request was never seen to leave.
    Stale,
    /// Cookie, identifier, sequence or source differ.
    Forged,
    /// It came in by another interface or VLAN.
    WrongUplink,
    /// The probe was answered before.
    Duplicate,
    /// The checksum is wrong.
    Corrupt,
    /// An ICMP error about a probe of ours.
    Error,
    /// An ICMP error about a request that is none of ours any more, or never was.
    ErrorUnproven,
}

impl NotMatched {
    /// In words.
    #[cfg(feature = "log")]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Foreign => "no reply of ours",
            Self::Stale => "reply for a dead or unsent probe",
            Self::Forged => "reply with a wrong cookie, identifier, sequence or source",
            Self::WrongUplink => "reply by another uplink",
            Self::Duplicate => "reply to an answered probe",
            Self::Corrupt => "reply with a wrong checksum",
            Self::Error => "ICMP error about a probe",
            Self::ErrorUnproven => "ICMP error about no probe that is awaited",
        }
    }

    /// What it counts as.
    pub fn counter(self) -> Option<Counter> {
        match self {
            Self::Foreign => None,
            Self::Stale => Some(Counter::Stale),
            Self::Forged => Some(Counter::Forged),
            Self::WrongUplink => Some(Counter::WrongUplink),
            Self::Duplicate => Some(Counter::Duplicate),
            Self::Corrupt => Some(Counter::Corrupt),
            Self::Error => Some(Counter::Error),
            Self::ErrorUnproven => Some(Counter::ErrorUnproven),
        }
    }
}

/// Gives the slot that waits for this reply the time, and notes beside the probe whatever else this says of it.
#[inline(always)]
pub fn try_match<L: LinkLayer, P: Packet>(packet: P) -> Result<(), NotMatched> {
    // As near to the packet's coming as can be: after a rest of the machine each look may wait for memory, for microseconds in all.
    let came_ns = if P::IS_STAMPED { now_ns() } else { 0 };
    let message = icmp::message::<L, P>(packet).ok_or(NotMatched::Foreign)?;
    let echo = match echo::echo_in(packet, message, EchoKind::Reply) {
        Ok(echo) => echo,
        Err(message) => return Err(icmp_error::note(packet, &message)),
    };
    let slot = maps::slot(echo.payload.slot).ok_or(NotMatched::Foreign)?;
    let judged = judge(packet, &echo, slot, came_ns);
    if let Err(reason) = judged {
        let found = match reason {
            NotMatched::Duplicate => Found::Duplicate,
            NotMatched::Corrupt => Found::Corrupt,
            NotMatched::WrongUplink => Found::WrongUplink {
                came_in_by: packet.ifindex(),
            },
            NotMatched::Forged => Found::Forged,
            NotMatched::Foreign
            | NotMatched::Stale
            | NotMatched::Error
            | NotMatched::ErrorUnproven => return judged,
        };
        // SAFETY: the pointer comes from a lookup that found it.
        let cookie = unsafe { (*slot.expected()).cookie };
        remark::note(echo.payload.slot, &cookie, found);
    }
    judged
}

#[inline(always)]
fn judge<P: Packet>(packet: P, echo: &Echo, slot: SlotRef, came_ns: u64) -> Result<(), NotMatched> {
    let state = slot.state();
    if state == 0 {
        return Err(NotMatched::Stale);
    }
    // SAFETY: the pointer comes from a lookup that found it.
    let expected = unsafe { &*slot.expected() };
    if expected.cookie != echo.payload.cookie
        || expected.ident != echo.ident
        || expected.sequence != echo.sequence
        || expected.ip_version != echo.message.ip_version
        || expected.target != echo.message.source
    {
        return Err(NotMatched::Forged);
    }
    if expected.ifindex != packet.ifindex() || expected.vlan != echo.message.vlan {
        return Err(NotMatched::WrongUplink);
    }
    let sent_ns = slot.sent_ns();
    if sent_ns == 0 {
        return Err(NotMatched::Stale);
    }
    if !Slot::is_armed(state) {
        return Err(NotMatched::Duplicate);
    }
    if !checksum_is_right::<Peeked, P>(packet, &echo.message) {
        return Err(NotMatched::Corrupt);
    }
    // Before the reply counts, so that whoever sees its time sees this too.
    if let Some(reflection) = reflection(packet, echo) {
        remark::note(
            echo.payload.slot,
            &echo.payload.cookie,
            Found::Reflection(reflection),
        );
    }
    let came_ns = match P::IS_STAMPED {
        true => received_ns(packet, came_ns, sent_ns),
        false => now_ns(),
    };
    if !slot.answer(Slot::armed(&echo.payload.cookie), came_ns) {
        return Err(NotMatched::Duplicate);
    }
    Ok(())
}

/// What a reflector wrote into the reply, if one did.
#[inline(always)]
fn reflection<P: Packet>(packet: P, echo: &Echo) -> Option<Reflection> {
    if echo.message.icmp_bytes < ICMP_HEADER_BYTES + usize::from(PAYLOAD_BYTES_REFLECTED) {
        return None;
    }
    let offset = echo.message.icmp_offset + ICMP_HEADER_BYTES + REFLECTION_OFFSET;
    let reflection = packet.load::<Reflection>(offset)?;
    (reflection.magic == MAGIC_REPLY).then_some(reflection)
}
